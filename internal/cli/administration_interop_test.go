//go:build interop

package cli

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// python runs a program with the installed zae-limiter (Python) and returns what it prints.
func python(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	interpreter := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if interpreter == "" {
		t.Fatal("ZAE_INTEROP_LOCUST_PYTHON names no interpreter with zae-limiter: interop/run sets it")
	}
	cmd := exec.CommandContext(t.Context(), interpreter, append([]string{"-c", program}, arguments...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_DEFAULT_REGION=us-east-1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return string(out)
}

// helpTree prints commands with their options.
const helpTree = `
import json
from zae_limiter.cli import cli
tree = {}
def walk(command, path):
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            walk(child, path + [name])
    else:
        tree[" ".join(path)] = [o for p in command.params if p.param_type_name == "option" for o in (*p.opts, *p.secondary_opts)]
walk(cli, [])
print(json.dumps(tree))
`

// notHere has the commands and options of the Python client that this program does without, and why.
var notHere = map[string]string{
	"local up":     "local is the engine in this program's own process: there is no container to start",
	"local down":   "local ends with its process",
	"local status": "local runs in the foreground, and says where",
	"local logs":   "local writes its log to its own stderr",
	"local env":    "local prints the one variable to set, ZAE_LIMITER_ENDPOINT_URL; it needs no credentials",
}

// Every command of the Python client, with every option, is one of this program.
func TestTheCommandLineHasTheCommandsOfThePythonClient(t *testing.T) {
	var tree map[string][]string
	if err := json.Unmarshal([]byte(python(t, helpTree)), &tree); err != nil {
		t.Fatal(err)
	}
	a := &app{getenv: func(string) string { return "" }, stdout: &resultWriter{w: io.Discard}, stderr: term.NewStream(io.Discard, func(string) string { return "" })}
	root := a.rootCommand()
	excused := map[string]bool{}
	missing := func(what string) {
		if notHere[what] == "" {
			t.Errorf("%s is not here, and nothing says why", what)
		}
		excused[what] = true
	}
	for path, options := range tree {
		cmd, rest, err := root.Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			missing(path)
			continue
		}
		for _, option := range options {
			if !takesOption(cmd, option) {
				missing(path + " " + option)
			}
		}
	}
	for what := range notHere {
		if !excused[what] {
			t.Errorf("%s is excused, but here", what)
		}
	}
	if len(tree) < 60 {
		t.Errorf("%d commands compared: %v", len(tree), tree)
	}
}

// otherSide reads what this program wrote, and writes what it reads then.
const otherSide = `
import asyncio, json, sys
from zae_limiter import Limit, RateLimiter, Repository
async def main():
    repo = await Repository.connect("default", stack="zae-limiter", region="us-east-1", endpoint_url=sys.argv[1])
    entity = await repo.get_entity("u")
    limits = {l.name: l.to_dict() for l in await repo.get_resource_defaults("gpt-4")}
    state = await repo.get_provisioner_state()
    async with RateLimiter(repository=repo).acquire("u", "gpt-4", {"tpm": 5, "day": 10, "ses": 10, "soft": 20}) as lease:
        consumed = lease.consumed
    topped = await repo.top_up("u", "gpt-4", {"day": 25}, idempotency_key="k1")
    await repo.set_limits("e1", [Limit.per_minute("rpm", 5)], resource="gpt-4")
    await repo.disable_entity("e1", resource="gpt-4", principal="python")
    print(json.dumps({
        "parent": entity.parent_id, "cascade": await repo.get_resource_cascade("gpt-4"), "limits": limits, "consumed": consumed,
        "managed": state["managed_resources"], "topped": topped.amounts,
        "audit": [e.action for e in await repo.get_audit_events("u")],
    }))
    await repo.close()
asyncio.run(main())
`

const declaredForBothSides = `
namespace: default
resources:
  gpt-4:
    cascade: true
    limits:
      tpm: {capacity: 1000}
      day: {capacity: 100, reset_schedule: [{cron: "0 0 * * *", tz: UTC}]}
      ses: {capacity: 50, reset_after_seconds: 18000}
      soft: {capacity: 10, soft: true}
`

// A table that this program administers is one for the Python client, and the reverse.
func TestBothSidesAdministerOneTable(t *testing.T) {
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go engine.Serve(t.Context(), listener)
	endpoint := "http://" + listener.Addr().String()
	file := t.TempDir() + "/limits.yaml"
	if err := os.WriteFile(file, []byte(declaredForBothSides), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(into any, arguments ...string) {
		t.Helper()
		var out, notes strings.Builder
		code := Main(Process{Args: append(arguments, "--endpoint-url", endpoint, "--json"), Stdout: &out, Stderr: &notes})
		if code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", arguments, code, out.String(), notes.String())
		}
		if into == nil {
			return
		}
		if err := json.Unmarshal([]byte(out.String()), into); err != nil {
			t.Fatalf("%v: %v\n%s", arguments, err, out.String())
		}
	}
	run(nil, "namespace", "register", "default", "--create-table")
	run(nil, "system", "declare-readers")
	run(nil, "limits", "apply", "--file", file)
	run(nil, "entity", "create", "org")
	run(nil, "entity", "create", "u", "--parent", "org")

	var seen struct {
		Parent   string
		Cascade  bool
		Limits   map[string]map[string]any
		Consumed map[string]int64
		Managed  []string
		Topped   map[string]int64
		Audit    []string
	}
	if err := json.Unmarshal([]byte(python(t, otherSide, endpoint)), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Parent != "org" || !seen.Cascade || !slices.Equal(seen.Managed, []string{"gpt-4"}) || seen.Topped["day"] != 25 || seen.Consumed["day"] != 20 ||
		!slices.Equal(seen.Audit, []string{"bucket_topped_up", "entity_created"}) {
		t.Errorf("the Python client saw %+v", seen)
	}
	if l := seen.Limits; len(l) != 4 || l["ses"]["reset_after_seconds"] != 18000.0 || l["soft"]["soft"] != true || l["day"]["reset_schedule"] == nil {
		t.Errorf("limits in the Python client: %v", l)
	}

	var again struct{ Amounts map[string]int64 }
	run(&again, "entity", "top-up", "u", "--resource", "gpt-4", "--add", "day:25", "--idempotency-key", "k1")
	if again.Amounts["day"] != 25 {
		t.Errorf("the recorded top-up: %v", again)
	}
	run(&again, "entity", "reset", "u", "--resource", "gpt-4", "--limit", "day", "--limit", "ses")
	if again.Amounts["day"] != -15 || again.Amounts["ses"] != 10 {
		t.Errorf("the reset of what the Python client consumed and topped up: %v", again)
	}
	var level struct {
		Disabled any
		Limits   []map[string]any
	}
	run(&level, "entity", "get-limits", "e1", "--resource", "gpt-4")
	if level.Disabled != true || len(level.Limits) != 1 || level.Limits[0]["capacity"] != 5.0 {
		t.Errorf("what the Python client set: %+v", level)
	}
	var audit struct{ Events []map[string]any }
	run(&audit, "audit", "list", "--entity-id", "e1")
	if len(audit.Events) != 2 || audit.Events[0]["principal"] != "python" {
		t.Errorf("audit events of the Python client: %v", audit)
	}
	var drift struct{ Changes []any }
	run(&drift, "limits", "diff", "--file", file)
	if len(drift.Changes) != 0 {
		t.Errorf("drift: %v", drift)
	}
}

// declared prints a manifest as the provisioner understands it: the file itself, and the properties of the template
// as CloudFormation hands them on, every value a text.
const declared = `
import json, sys, yaml
from zae_limiter_provisioner.handler import _cfn_properties_to_manifest
from zae_limiter_provisioner.manifest import LimitsManifest
def text(x):
    if isinstance(x, dict): return {k: text(v) for k, v in x.items()}
    if isinstance(x, list): return [text(v) for v in x]
    return str(x).lower() if isinstance(x, bool) else str(x)
document = yaml.safe_load(open(sys.argv[1]))
if "Resources" in document:
    resource = document["Resources"]["TenantLimits"]
    assert resource["Type"] == "Custom::ZaeLimiterLimits"
    assert resource["Properties"]["ServiceToken"] == {"Fn::ImportValue": "my-limiter-ProvisionerArn"}
    assert resource["Properties"]["TableName"] == "my-limiter"
    document = _cfn_properties_to_manifest(text(resource["Properties"]))
print(json.dumps(LimitsManifest.from_dict(document).to_dict(), sort_keys=True))
`

const declaredForTheProvisioner = `
namespace: prod
system:
  on_unavailable: allow
  limits:
    rpm: {capacity: 100}
resources:
  gpt-4:
    disabled: bypass
    cascade: false
    limits:
      tpm: {capacity: 20000, refill_amount: 10000, refill_period: 3600, soft: true}
      halved:
        capacity: 10
        schedule:
          - {cron: "* 9-17 * * 1-5", tz: Europe/Zurich, scale: 0.5}
          - {cron: "* * * * 6", tz: Europe/Zurich, capacity: 3, refill_amount: 2, refill_period_seconds: 7}
  closed:
    disabled: true
entities:
  "123":
    resources:
      gpt-4:
        limits:
          daily: {capacity: 500, reset_schedule: [{cron: "0 0 * * *", tz: UTC}]}
          session: {capacity: 50, reset_after_seconds: 18000}
      _default_:
        cascade: true
        disabled: false
`

// What the template of a manifest has the provisioner apply is the manifest.
func TestTheProvisionerReadsTheTemplateAsTheManifest(t *testing.T) {
	file, template := t.TempDir()+"/limits.yaml", t.TempDir()+"/template.yaml"
	if err := os.WriteFile(file, []byte(declaredForTheProvisioner), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, notes strings.Builder
	if code := Main(Process{Args: []string{"limits", "cfn-template", "--name", "my-limiter", "-f", file, "-o", template}, Stdout: &out, Stderr: &notes}); code != 0 {
		t.Fatalf("exit code %d: %s", code, notes.String())
	}
	if got, want := python(t, declared, template), python(t, declared, file); got != want {
		t.Errorf("the template declares\n%s\nthe manifest\n%s", got, want)
	}
}
