// Package zaelimiter holds the tests of the module as a whole.
package zaelimiter

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/zeroae/zae-limiter-go"

// allowedImports is the table of ARCHITECTURE.md: what a package may import inside the module.
// A trailing "/..." allows a whole subtree.
var allowedImports = map[string][]string{
	"cmd/zae-limiter":                   {"internal/cli", "internal/tunnel"},
	"limiter":                           {"limiter/bucket", "limiter/schedule"},
	"limiter/bucket":                    {"limiter/schedule"},
	"limiter/dynamostore":               {"limiter", "limiter/bucket", "limiter/schedule", "limiter/dynamostore/internal/lean"},
	"limiter/httplimit":                 {"limiter"},
	"limiter/memstore":                  {"limiter", "limiter/bucket", "limiter/schedule"},
	"limiter/redisstore":                {"limiter", "limiter/bucket", "limiter/schedule", "limiter/redisstore/internal/resp"},
	"limiter/redisstore/internal/resp":  {},
	"limiter/schedule":                  {},
	"limiter/dynamostore/internal/lean": {},
	"limiter/storetest":                 {"limiter", "limiter/bucket", "limiter/schedule"},
	"loadtest":                          {"loadtest/stats"},
	"loadtest/stats":                    {},
	"dynamolocal":                       {"dynamolocal/internal/..."},
	"internal/loadclient":               {"limiter", "loadtest", "loadtest/stats"},
	"internal/locustfile":               {"loadtest", "loadtest/stats", "limiter", "limiter/memstore", "internal/loadclient"},
	"internal/target":                   {"dynamolocal", "internal/account", "limiter", "limiter/dynamostore", "limiter/redisstore", "loadtest/stats"},
	"internal/report":                   {"loadtest/stats"},
	"internal/term":                     {},
	"internal/webapi":                   {"loadtest/stats"},
	"internal/settings":                 {},
	"internal/limitmanifest":            {"limiter", "limiter/schedule"},
	"internal/webui":                    {},
	"internal/wire":                     {"loadtest/stats"},

	"internal/autoscale":    {},
	"internal/invocation":   {},
	"internal/orchestrator": {"internal/autoscale"},
	"internal/workerproc":   {},

	"internal/account": {},
	"internal/awsrun":  {},
	"internal/cost":    {},
	"internal/tunnel":  {"internal/account"},

	"internal/awsrun/functions": {"internal/invocation", "internal/orchestrator"},
	"internal/awsrun/metadata":  {},
	"internal/lambdaworker":     {"internal/invocation", "internal/report"},
	"internal/aggregator":       {"limiter/bucket", "limiter/schedule"},

	"internal/awsdeploy":          {"internal/awsdeploy/stack", "internal/awsdeploy/artifact"},
	"internal/awsdeploy/stack":    {},
	"internal/awsdeploy/artifact": {},

	"internal/awsfake/lambda":                  {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/protocol":                {},
	"internal/awsfake/protocol/protocoltest":   {"internal/account", "internal/awsfake/protocol"},
	"internal/awsfake/network":                 {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/iam":                     {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/resource":                {},
	"internal/awsfake/cloudformation/template": {},
	"internal/awsfake/cloudformation":          {"internal/awsfake/cloudformation/template", "internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/dynamo":                  {"dynamolocal", "internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/ecr":                     {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/ecs":                     {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/logs":                    {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/metrics":                 {"internal/awsfake/protocol", "internal/awsfake/resource"},
	"internal/awsfake/quotas":                  {"internal/awsfake/protocol"},
	"internal/awsfake/ssm":                     {"internal/awsfake/protocol"},
	"internal/awsfake/tagging":                 {"internal/awsfake/protocol"},
	"internal/awsfake":                         {"dynamolocal", "internal/awsfake/..."},

	"internal/wire/wiretest": {},
	"internal/worker":        {"internal/wire", "loadtest", "loadtest/stats"},
	"internal/master":        {"internal/wire", "loadtest", "loadtest/stats"},
	"internal/cli":           {"..."},
	"bench/peers/sdkloop":    {"limiter", "limiter/dynamostore"},
	"bench/peers/fixedloop":  {"limiter", "limiter/dynamostore"},
	"bench/redis":            {"limiter", "limiter/dynamostore", "limiter/redisstore", "loadtest/stats"},
	"bench/engine":           {"limiter/dynamostore"},
	"interop/limiter":        {},
	"interop/limiter/peer":   {},
	"interop/locust":         {},
	"bench/master":           {"internal/wire", "loadtest/stats"},
	"bench/package":          {"internal/awsdeploy/artifact"},
}

// standardLibraryOnly lists the packages that must stay free of dependencies, so that importing
// them links neither an SDK nor Starlark.
var standardLibraryOnly = []string{"limiter", "limiter/bucket", "limiter/httplimit", "limiter/memstore", "limiter/redisstore", "limiter/schedule", "loadtest", "loadtest/stats"}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestPackagesImportDownwardsOnly(t *testing.T) {
	for _, p := range listPackages(t) {
		name, ok := inModule(p.ImportPath)
		if !ok || name == "" {
			continue
		}
		allowed, known := allowancesOf(name)
		if !known {
			t.Errorf("package %s has no row in the import table (here and in ARCHITECTURE.md)", name)
			continue
		}
		for _, imported := range p.Imports {
			inner, ok := inModule(imported)
			if ok && !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, inner) }) {
				t.Errorf("%s imports %s, which its row does not allow", name, inner)
			}
		}
	}
}

func TestLibrariesLinkNothingBeyondTheStandardLibrary(t *testing.T) {
	for _, p := range listPackages(t) {
		name, ok := inModule(p.ImportPath)
		if !ok || !slices.Contains(standardLibraryOnly, name) {
			continue
		}
		for _, dependency := range p.Deps {
			_, own := inModule(dependency)
			first, _, _ := strings.Cut(dependency, "/")
			if !own && strings.Contains(first, ".") {
				t.Errorf("%s depends on %s", name, dependency)
			}
		}
	}
}

// allowancesOf returns the row of a package; engine internals may import each other.
func allowancesOf(name string) (allowed []string, known bool) {
	if allowed, known = allowedImports[name]; known {
		return allowed, true
	}
	if strings.HasPrefix(name, "dynamolocal/internal/") {
		return []string{"dynamolocal/internal/..."}, true
	}
	return nil, false
}

func matches(pattern, name string) bool {
	prefix, subtree := strings.CutSuffix(pattern, "...")
	if subtree {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// inModule returns a package's path inside the module.
func inModule(importPath string) (name string, ok bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list output: %v", err)
		}
		packages = append(packages, p)
	}
}
