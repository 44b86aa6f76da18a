package cloudformation

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
)

// withTypes adds the resource types that a template names.
func (w *world) withTypes(body string) {
	for _, match := range regexp.MustCompile(`Type: (AWS::[A-Za-z0-9]+::[A-Za-z0-9]+)\n`).FindAllStringSubmatch(body, -1) {
		w.service.options.Providers[match[1]] = w.shelf
	}
}

func named(in *cfn.CreateChangeSetInput) {
	in.Capabilities = []types.Capability{types.CapabilityCapabilityNamedIam}
}

func parameters(pairs ...string) func(*cfn.CreateChangeSetInput) {
	return func(in *cfn.CreateChangeSetInput) {
		for i := 0; i < len(pairs); i += 2 {
			in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: &pairs[i], ParameterValue: &pairs[i+1]})
		}
	}
}

// TestTemplatesOfTheStacks applies the templates that this program deploys: the limiter's stack and a
// load test's that imports from it.
func TestTemplatesOfTheStacks(t *testing.T) {
	w := newWorld(t)
	limiter, err := awsdeploy.LimiterTemplate(true)
	if err != nil {
		t.Fatal(err)
	}
	load := awsdeploy.LoadTemplate()
	w.withTypes(limiter)
	w.withTypes(load)

	w.changeSet("limits", "c", limiter, forCreate, named, parameters("EnableAggregator", "false", "EnableProvisioner", "false"))
	w.execute("limits", "c")
	w.wantStatus("limits", types.StackStatusCreateComplete)

	own := parameters(
		"TargetStackName", "limits", "VpcId", "vpc-local", "PrivateSubnetIds", "subnet-a,subnet-b",
		"ImageDigest", "sha256:"+strings.Repeat("0", 64), "CreateSsmEndpoint", "true", "PrivateRouteTableIds", "rtb-1",
	)
	w.changeSet("limits-load", "c", load, forCreate, named, own)
	w.execute("limits-load", "c")
	w.wantStatus("limits-load", types.StackStatusCreateComplete)
	outputs := map[string]string{}
	for _, o := range w.stack("limits-load").Outputs {
		outputs[aws.ToString(o.ExportName)] = *o.OutputValue
	}
	if got := outputs["limits-load-LocustRepositoryUri"]; !strings.HasPrefix(got, "registry/LocustRepository-") {
		t.Errorf("repository %q, outputs %v", got, outputs)
	}
	if set := w.changeSet("limits-load", "again", load, named, own); aws.ToString(set.StatusReason) != noChanges {
		t.Errorf("the second time there are changes: %v", set.Changes)
	}
	more := func(in *cfn.CreateChangeSetInput) {
		own(in)
		parameters("LogRetentionDays", "14")(in)
	}
	set := w.changeSet("limits-load", "more", load, named, more)
	var changed []string
	for _, c := range set.Changes {
		changed = append(changed, *c.ResourceChange.LogicalResourceId)
		if c.ResourceChange.Replacement != types.ReplacementFalse {
			t.Errorf("%s is replaced: %s", *c.ResourceChange.LogicalResourceId, c.ResourceChange.Replacement)
		}
	}
	if want := []string{"MasterLogGroup", "WorkerLogGroup"}; !slices.Equal(changed[:min(2, len(changed))], want) {
		t.Errorf("another log retention changes %v, want %v", changed, want)
	}

	w.remove("limits")
	if got := aws.ToString(w.stack("limits").StackStatusReason); !strings.Contains(got, "in use by limits-load") {
		t.Errorf("the limiter's stack is deleted under the load test: %q", got)
	}
	w.remove("limits-load")
	w.remove("limits")
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}
