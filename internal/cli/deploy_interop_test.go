//go:build interop

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pythonTemplate reads a template of the installed zae-limiter (Python).
func pythonTemplate(t *testing.T, name string) string {
	t.Helper()
	python := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if python == "" {
		t.Fatal("ZAE_INTEROP_LOCUST_PYTHON names no interpreter with zae-limiter: interop/run sets it")
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", "import importlib.util; print(importlib.util.find_spec('zae_limiter').submodule_search_locations[0])").Output()
	if err != nil {
		t.Fatalf("where zae-limiter is: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The stacks that the Python tool's own templates make are updated in place: nothing but the task
// definition, of which each change makes a revision, gets another id.
func TestStacksOfPythonsTemplatesAreUpdatedInPlace(t *testing.T) {
	limiter, load := pythonTemplate(t, "infra/cfn_template.yaml"), pythonTemplate(t, "loadtest/cfn_template.yaml")
	for _, functions := range []string{"false", "true"} {
		t.Run("functions "+functions, func(t *testing.T) {
			w := newAWSWorld(t)
			w.create("my-limiter", limiter, "EnableAggregator", functions, "EnableProvisioner", functions)
			w.registerVersion()
			w.create("my-limiter-load", load, "TargetStackName", "my-limiter", "VpcId", "vpc-local", "PrivateSubnetIds", "subnet-a,subnet-b", "PrivateRouteTableIds", "rtb-local", "CreateSsmEndpoint", "true")
			for name, command := range map[string][]string{"my-limiter-load": w.deploy("--ssm-endpoint"), "my-limiter": {"upgrade", "--name", "my-limiter"}} {
				before := w.physical(name)
				w.must(command...)
				after := w.physical(name)
				for id, physical := range before {
					if id != "MasterSecurityGroupSelfIngress" && id != "LocustMasterTaskDefinition" && after[id] != physical {
						t.Errorf("%s of %s was %s and is %s", id, name, physical, after[id])
					}
				}
				if again := w.must(command...); again.doc["action"] != "unchanged" {
					t.Errorf("%v again: %s", command, again.stdout)
				}
			}
		})
	}
}
