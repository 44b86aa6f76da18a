package awsdeploy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// templates are those that are applied, by name.
func templates(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"load": LoadTemplate()}
	for name, indexes := range map[string]bool{"limiter": true, "limiter-without-lsi": false} {
		text, err := LimiterTemplate(indexes)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = text
	}
	return found
}

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	return document.Content[0]
}

func keys(n *yaml.Node) []string {
	var names []string
	if n != nil {
		for i := 0; i < len(n.Content); i += 2 {
			names = append(names, n.Content[i].Value)
		}
	}
	return names
}

// The surface of a template is what stacks and their users depend on: parameters with type and default,
// resources with type and condition, outputs with condition and export.
func TestSurfaceOfTemplates(t *testing.T) {
	for name, text := range templates(t) {
		t.Run(name, func(t *testing.T) {
			root := parse(t, text)
			var got strings.Builder
			value := func(n *yaml.Node, path ...string) string {
				if found := lookup(n, path...); found != nil {
					return found.Value
				}
				return "-"
			}
			for _, id := range keys(lookup(root, "Parameters")) {
				p := lookup(root, "Parameters", id)
				fmt.Fprintf(&got, "parameter %s %s default=%q\n", id, value(p, "Type"), value(p, "Default"))
			}
			for _, id := range keys(lookup(root, "Resources")) {
				r := lookup(root, "Resources", id)
				fmt.Fprintf(&got, "resource %s %s if %s\n", id, value(r, "Type"), value(r, "Condition"))
			}
			for _, id := range keys(lookup(root, "Outputs")) {
				o := lookup(root, "Outputs", id)
				fmt.Fprintf(&got, "output %s if %s export %s\n", id, value(o, "Condition"), value(o, "Export", "Name"))
			}
			golden := filepath.Join("testdata", name+".surface")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("surface (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTemplatesKeepTheRules(t *testing.T) {
	for name, text := range templates(t) {
		t.Run(name, func(t *testing.T) {
			if len(text) > maxTemplate {
				t.Errorf("%d bytes, want at most %d", len(text), maxTemplate)
			}
			for _, literal := range []string{"arn:aws:", "arn:aws-", "amazonaws.com.cn", ".amazonaws.com/"} {
				if strings.Contains(text, literal) {
					t.Errorf("contains %q: partition and suffix must come from pseudo parameters", literal)
				}
			}
			if strings.Contains(text, "ssm:StartSession") {
				t.Error("a role may start sessions: that opens every node of the account to the container")
			}
			root := parse(t, text)
			used := references(root)
			for _, condition := range keys(lookup(root, "Conditions")) {
				if !used[condition] {
					t.Errorf("condition %s is not referenced", condition)
				}
			}
			for _, parameter := range keys(lookup(root, "Parameters")) {
				if !used[parameter] {
					t.Errorf("parameter %s is not referenced", parameter)
				}
			}
		})
	}
}

// references are all scalars that stand somewhere as a value, split at what !Sub has around names.
func references(root *yaml.Node) map[string]bool {
	used := map[string]bool{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				continue
			}
			for _, word := range strings.FieldsFunc(c.Value, func(r rune) bool { return strings.ContainsRune("${}.", r) }) {
				used[word] = true
			}
			walk(c)
		}
	}
	walk(root)
	return used
}

// An export without a value is refused by CloudFormation: what may be empty is under a condition.
func TestNoExportIsEmpty(t *testing.T) {
	root := parse(t, templates(t)["limiter"])
	for _, id := range []string{"PermissionBoundaryArn", "RoleNameFormat"} {
		if lookup(root, "Outputs", id, "Condition") == nil {
			t.Errorf("output %s is not conditional", id)
		}
	}
}

// A change of these texts would replace the policies of stacks made by the Python tool (aws.md 2.5).
func TestPolicyDescriptionsAreThoseOfExistingStacks(t *testing.T) {
	want := map[string]string{
		"AcquireOnlyPolicy":         "Rate limiter acquire-only access (read + transact write)",
		"FullAccessPolicy":          "Rate limiter full access (all operations)",
		"ReadOnlyPolicy":            "Rate limiter read-only access (monitoring)",
		"NamespaceAcquirePolicy":    "Namespace-scoped acquire-only access (read + update within namespace)",
		"NamespaceFullAccessPolicy": "Namespace-scoped full access (all operations within namespace)",
		"NamespaceReadOnlyPolicy":   "Namespace-scoped read-only access (monitoring within namespace)",
	}
	for _, variant := range []string{"limiter", "limiter-without-lsi"} {
		root := parse(t, templates(t)[variant])
		for id, text := range want {
			if got := lookup(root, "Resources", id, "Properties", "Description"); got == nil || got.Value != text {
				t.Errorf("%s: description of %s: got %v, want %q", variant, id, got, text)
			}
		}
	}
}

// How the stream is read decides about what is lost, and for how long one bad record holds up the rest
// (aws.md 2.4). Insertions go to the aggregator, which counts what a bucket is made with.
func TestTheStreamIsReadAsByTheOriginal(t *testing.T) {
	for _, variant := range []string{"limiter", "limiter-without-lsi"} {
		root := parse(t, templates(t)[variant])
		properties := lookup(root, "Resources", "AggregatorEventSourceMapping", "Properties")
		for name, want := range map[string]string{
			"StartingPosition": "LATEST", "BatchSize": "100", "MaximumBatchingWindowInSeconds": "5", "MaximumRetryAttempts": "3",
			"MaximumRecordAgeInSeconds": "3600", "BisectBatchOnFunctionError": "true",
		} {
			if got := lookup(properties, name); got == nil || got.Value != want {
				t.Errorf("%s: %s is %v, want %s", variant, name, got, want)
			}
		}
		if got := lookup(properties, "FunctionResponseTypes"); got == nil || len(got.Content) != 1 || got.Content[0].Value != "ReportBatchItemFailures" {
			t.Errorf("%s: without ReportBatchItemFailures every answer is a success", variant)
		}
		filters := lookup(properties, "FilterCriteria", "Filters").Content
		if len(filters) != 1 || lookup(filters[0], "Pattern").Value != `{"eventName":["INSERT","MODIFY"],"dynamodb":{"NewImage":{"SK":{"S":["#STATE"]}}}}` {
			t.Errorf("%s: filters %v", variant, filters)
		}
	}
}

func TestVariantWithoutLocalIndexesDiffersInThemOnly(t *testing.T) {
	all := templates(t)
	with, without := parse(t, all["limiter"]), parse(t, all["limiter-without-lsi"])
	table := lookup(without, "Resources", "RateLimitsTable", "Properties")
	if lookup(table, "LocalSecondaryIndexes") != nil || strings.Contains(all["limiter-without-lsi"], "LSI") {
		t.Error("local indexes are still there")
	}
	if n := len(lookup(table, "AttributeDefinitions").Content); n != 10 {
		t.Errorf("%d attribute definitions, want 10", n)
	}
	for _, section := range []string{"Parameters", "Conditions", "Resources", "Outputs"} {
		if got, want := keys(lookup(without, section)), keys(lookup(with, section)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", section, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct{ name, format, wrong string }{
		{"my-limiter", "", ""},
		{"MyLimiter", "{}", ""},
		{"1st", "", "a letter first"},
		{"my_limiter", "", "letters, digits and hyphens"},
		{"", "", "must not be empty"},
		{strings.Repeat("a", 56), "", "at most 55"},
		{strings.Repeat("a", 52), "", ""},
		{strings.Repeat("a", 53), "", "its function"},
		{strings.Repeat("a", 40), "PowerUserPB-{}", ""},
		{strings.Repeat("a", 41), "PowerUserPB-{}", "room for a limiter's name of 40"},
		{"a", "{}-{}", "exactly one {}"},
	} {
		err := CheckLoadNames(test.name, test.format)
		switch {
		case test.wrong == "" && err != nil:
			t.Errorf("CheckLoadNames(%q, %q) = %v, want nil", test.name, test.format, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
			t.Errorf("CheckLoadNames(%q, %q) = %v, want text %q", test.name, test.format, err, test.wrong)
		}
	}
}
