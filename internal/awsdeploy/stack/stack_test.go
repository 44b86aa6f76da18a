package stack_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	tagging "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	tagtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// things provides a resource type that keeps nothing; a change of Fixed replaces it.
type things struct{}

func (things) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	return &resource.Physical{ID: strings.ToLower(r.LogicalID), Attributes: map[string]string{"Arn": "arn:" + r.LogicalID}}, nil
}

func (things) Update(_ context.Context, old *resource.Physical, _, _ *resource.Resource) (*resource.Physical, error) {
	return old, nil
}
func (things) Delete(context.Context, *resource.Physical, *resource.Resource) error { return nil }
func (things) Replaces(property string, _, _ any) resource.Replacement {
	if property == "Fixed" {
		return resource.Always
	}
	return resource.Never
}

// account is CloudFormation with one type of resources, whose operations fail on demand.
type account struct {
	*stack.Client
	api *cfn.Client

	mu   sync.Mutex
	fail map[string]string // "PHASE LogicalID" → reason
}

func (a *account) failWith(what, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = map[string]string{what: reason}
}

func open(t *testing.T) *account {
	t.Helper()
	a := &account{}
	service := cloudformation.New(cloudformation.Options{
		Providers: resource.Providers{"Test::A::Thing": things{}},
		PageSize:  2,
		Fail: func(_, logicalID, _ string, phase cloudformation.Phase) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			if reason := a.fail[fmt.Sprintf("%s %s", phase, logicalID)]; reason != "" {
				return errors.New(reason)
			}
			return nil
		},
	})
	config := protocoltest.Serve(t, service.Protocol())
	t.Cleanup(func() {
		if err := service.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	a.api = cfn.NewFromConfig(config)
	a.Client = &stack.Client{API: a.api, Poll: time.Millisecond}
	return a
}

const template = `
Parameters:
  Colour: {Type: String, Default: red}
  Size: {Type: String, Default: small}
Resources:
  First:
    Type: Test::A::Thing
    Properties: {Colour: !Ref Colour, Size: !Ref Size}
  Second:
    Type: Test::A::Thing
    DependsOn: First
    Properties: {Fixed: !Ref Colour}
Outputs:
  FirstArn:
    Value: !GetAtt First.Arn
    Export: {Name: !Sub '${AWS::StackName}-FirstArn'}
`

func TestApplyCreatesUpdatesAndLeavesAlone(t *testing.T) {
	a := open(t)
	var seen []string
	apply := func(parameters map[string]string, keep ...string) *stack.Result {
		t.Helper()
		seen = nil
		result, err := a.Apply(t.Context(), &stack.Request{
			Name: "one", Template: template, Parameters: parameters, Keep: keep, Tags: map[string]string{"ManagedBy": "zae-limiter"},
			Event: func(e stack.Event) { seen = append(seen, e.LogicalID+" "+e.Status) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	created := apply(map[string]string{"Size": "large"})
	if created.Action != stack.Created || created.Stack.Outputs["FirstArn"] != "arn:First" || created.Stack.Tags["ManagedBy"] != "zae-limiter" {
		t.Errorf("first: %+v", created.Stack)
	}
	for _, want := range []string{"First CREATE_COMPLETE", "Second CREATE_COMPLETE", "one CREATE_COMPLETE"} {
		if n := len(slices.DeleteFunc(slices.Clone(seen), func(s string) bool { return s != want })); n != 1 {
			t.Errorf("event %q seen %d times, want once: %v", want, n, seen)
		}
	}
	if again := apply(map[string]string{"Size": "large"}); again.Action != stack.Unchanged || len(seen) != 0 {
		t.Errorf("the same again: %s, events %v", again.Action, seen)
	}
	updated := apply(nil, "Size", "Colour")
	if updated.Action != stack.Unchanged {
		t.Errorf("kept values: %s", updated.Action)
	}
	updated = apply(map[string]string{"Colour": "blue"}, "Size")
	if updated.Action != stack.Updated || updated.Stack.Parameters["Size"] != "large" || updated.Stack.Parameters["Colour"] != "blue" {
		t.Errorf("one value: %s, %v", updated.Action, updated.Stack.Parameters)
	}
	if slices.Contains(seen, "one CREATE_COMPLETE") {
		t.Errorf("events of an earlier operation: %v", seen)
	}
	previous, err := a.Apply(t.Context(), &stack.Request{Name: "one", Parameters: map[string]string{"Size": "tiny"}})
	if err != nil || previous.Action != stack.Updated || previous.Stack.Parameters["Colour"] != "blue" || previous.Stack.Tags["ManagedBy"] == "" {
		t.Errorf("with the previous template: %+v, %v", previous, err)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	a := open(t)
	result, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template, DryRun: true})
	if err != nil || result.Action != stack.Planned || len(result.Changes) != 2 || result.Changes[0].Action != "Add" {
		t.Fatalf("got %+v, %v", result, err)
	}
	if _, err := a.Describe(t.Context(), "one"); !errors.Is(err, stack.ErrNotFound) {
		t.Errorf("a shell is left: %v", err)
	}
}

func TestGuardRefusesReplacement(t *testing.T) {
	a := open(t)
	refused := errors.New("no")
	request := &stack.Request{Name: "one", Template: template, Guard: func(changes []stack.Change) error {
		for i := range changes {
			if changes[i].Replaces() {
				return refused
			}
		}
		return nil
	}}
	if _, err := a.Apply(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	request.Parameters = map[string]string{"Colour": "blue"}
	if _, err := a.Apply(t.Context(), request); !errors.Is(err, refused) {
		t.Errorf("got %v, want the guard's error", err)
	}
	request.Template = strings.ReplaceAll(template, "Second:", "Third:")
	request.Parameters = nil
	if _, err := a.Apply(t.Context(), request); !errors.Is(err, refused) {
		t.Errorf("removal: got %v, want the guard's error", err)
	}
	if s, err := a.Describe(t.Context(), "one"); err != nil || s.Status != "CREATE_COMPLETE" {
		t.Errorf("the stack was touched: %+v, %v", s, err)
	}
}

func TestFailureNamesTheFirstResource(t *testing.T) {
	a := open(t)
	a.failWith("CREATE First", "quota exceeded")
	_, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template})
	failure, ok := errors.AsType[*stack.FailedError](err)
	if !ok || failure.Cause == nil || failure.Cause.LogicalID != "First" || !strings.Contains(failure.Error(), "quota exceeded") {
		t.Fatalf("got %v", err)
	}
	if _, err := a.Describe(t.Context(), "one"); !errors.Is(err, stack.ErrNotFound) {
		t.Errorf("a creation that failed left a stack: %v", err)
	}
	a.failWith("", "")
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template}); err != nil {
		t.Fatal(err)
	}
	a.failWith("UPDATE First", "not today")
	_, err = a.Apply(t.Context(), &stack.Request{Name: "one", Template: template, Parameters: map[string]string{"Size": "large"}})
	if failure, ok = errors.AsType[*stack.FailedError](err); !ok || failure.Status != "UPDATE_ROLLBACK_COMPLETE" || failure.Cause == nil || failure.Cause.Reason != "not today" {
		t.Errorf("got %v", err)
	}
	a.failWith("", "")
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template, Parameters: map[string]string{"Size": "large"}}); err != nil {
		t.Errorf("a stack that was rolled back is whole: %v", err)
	}
}

// leaveRolledBack makes the stack as a creation without our options leaves it.
func (a *account) leaveRolledBack(t *testing.T, name string) {
	t.Helper()
	a.failWith("CREATE Second", "no")
	body := template
	if _, err := a.api.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: &name, TemplateBody: &body}); err != nil {
		t.Fatal(err)
	}
	s, err := a.Settled(t.Context(), name, nil)
	if err != nil || s.Status != "ROLLBACK_COMPLETE" {
		t.Fatalf("%+v, %v", s, err)
	}
	a.failWith("", "")
}

func TestRemainsOfACreationAreReplaced(t *testing.T) {
	a := open(t)
	a.leaveRolledBack(t, "one")
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template, DryRun: true}); err == nil || !strings.Contains(err.Error(), "ROLLBACK_COMPLETE") {
		t.Errorf("dry run: got %v", err)
	}
	var notes []string
	result, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template, Note: func(n string) { notes = append(notes, n) }})
	if err != nil || result.Action != stack.Created || len(notes) == 0 || !strings.Contains(notes[len(notes)-1], "ROLLBACK_COMPLETE") {
		t.Errorf("got %+v, %v, notes %v", result, err, notes)
	}
}

func TestShellOfAChangeSetIsUsed(t *testing.T) {
	a := open(t)
	name, set, body := "one", "someones", template
	_, err := a.api.CreateChangeSet(t.Context(), &cfn.CreateChangeSetInput{StackName: &name, ChangeSetName: &set, TemplateBody: &body, ChangeSetType: "CREATE"})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := a.Describe(t.Context(), name); err != nil || s.Status != "REVIEW_IN_PROGRESS" || s.Busy() {
		t.Fatalf("%+v, %v", s, err)
	}
	if result, err := a.Apply(t.Context(), &stack.Request{Name: name, Template: template}); err != nil || result.Action != stack.Created {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestRollbackThatFailedIsForAPerson(t *testing.T) {
	a := open(t)
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template}); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.fail = map[string]string{"UPDATE First": "no", "ROLLBACK First": "neither"}
	a.mu.Unlock()
	request := &stack.Request{Name: "one", Template: template, Parameters: map[string]string{"Size": "large"}}
	_, err := a.Apply(t.Context(), request)
	if failure, ok := errors.AsType[*stack.FailedError](err); !ok || failure.Status != "UPDATE_ROLLBACK_FAILED" {
		t.Fatalf("got %v", err)
	}
	_, err = a.Apply(t.Context(), request)
	if broken, ok := errors.AsType[*stack.BrokenError](err); !ok || !strings.Contains(broken.Remedy, "continue-update-rollback") {
		t.Errorf("got %v", err)
	}
}

func TestDeleteNamesWhatIsStuck(t *testing.T) {
	a := open(t)
	if err := a.Delete(t.Context(), &stack.Deletion{Name: "none"}); err != nil {
		t.Errorf("a stack that does not exist: %v", err)
	}
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template}); err != nil {
		t.Fatal(err)
	}
	a.failWith("DELETE First", "in use")
	err := a.Delete(t.Context(), &stack.Deletion{Name: "one"})
	failure, ok := errors.AsType[*stack.FailedError](err)
	if !ok || len(failure.Stuck) != 1 || failure.Stuck[0].LogicalID != "First" || failure.Stuck[0].Reason != "in use" {
		t.Fatalf("got %v", err)
	}
	var events int
	if err := a.Delete(t.Context(), &stack.Deletion{Name: "one", Retain: []string{"First"}, Event: func(stack.Event) { events++ }}); err != nil || events == 0 {
		t.Errorf("retaining: %v, %d events", err, events)
	}
}

func TestImporters(t *testing.T) {
	a := open(t)
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one", Template: template}); err != nil {
		t.Fatal(err)
	}
	if names, err := a.Importers(t.Context(), "one-FirstArn", "no-such-export"); err != nil || len(names) != 0 {
		t.Errorf("got %v, %v", names, err)
	}
	importing := "Resources: {A: {Type: Test::A::Thing, Properties: {Of: !ImportValue one-FirstArn}}}"
	if _, err := a.Apply(t.Context(), &stack.Request{Name: "one-load", Template: importing}); err != nil {
		t.Fatal(err)
	}
	if names, err := a.Importers(t.Context(), "one-FirstArn"); err != nil || !slices.Equal(names, []string{"one-load"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

// tags answers the tagging service's one call.
type tags struct {
	arns []string
	err  error
}

func (f tags) GetResources(context.Context, *tagging.GetResourcesInput, ...func(*tagging.Options)) (*tagging.GetResourcesOutput, error) {
	out := &tagging.GetResourcesOutput{}
	for _, arn := range f.arns {
		out.ResourceTagMappingList = append(out.ResourceTagMappingList, tagtypes.ResourceTagMapping{ResourceARN: &arn})
	}
	return out, f.err
}

// noListing denies a look at all stacks.
type noListing struct{ stack.API }

func (n noListing) DescribeStacks(ctx context.Context, in *cfn.DescribeStacksInput, o ...func(*cfn.Options)) (*cfn.DescribeStacksOutput, error) {
	if in.StackName == nil {
		return nil, &smithy.GenericAPIError{Code: "AccessDenied", Message: "not all of them"}
	}
	return n.API.DescribeStacks(ctx, in, o...)
}

func TestDiscover(t *testing.T) {
	a := open(t)
	var ids []string
	for name, tagged := range map[string]map[string]string{
		"my-limiter":      {"ManagedBy": "zae-limiter", "zae-limiter:name": "my-limiter", "zae-limiter:type": "limiter"},
		"my-limiter-load": {"ManagedBy": "zae-limiter", "zae-limiter:name": "my-limiter", "zae-limiter:type": "load-test"},
		"ZAEL-old":        {"Team": "x"},
		"other":           {"Team": "y"},
	} {
		result, err := a.Apply(t.Context(), &stack.Request{Name: name, Template: template, Tags: tagged})
		if err != nil {
			t.Fatal(err)
		}
		if tagged["ManagedBy"] != "" {
			ids = append(ids, result.Stack.ID)
		}
	}
	ids = append(ids, strings.Replace(ids[0], "my-limiter", "gone", 1))
	describe := func(f *stack.Found) []string {
		var list []string
		for _, s := range f.Stacks {
			list = append(list, s.Name+" "+s.UserName()+" "+s.Type())
		}
		return list
	}
	tagged := []string{"my-limiter my-limiter limiter", "my-limiter-load my-limiter load-test"}
	all := append([]string{"ZAEL-old old limiter"}, tagged...)
	for name, f := range map[string]tags{"both": {arns: ids}, "no tagging service": {err: errors.New("denied")}} {
		found, err := a.Discover(t.Context(), f)
		if err != nil || !slices.Equal(describe(found), all) || found.Incomplete != "" {
			t.Errorf("%s: %v, %v", name, describe(found), err)
		}
	}
	denied := &stack.Client{API: noListing{a.api}}
	found, err := denied.Discover(t.Context(), tags{arns: ids})
	if err != nil || !slices.Equal(describe(found), tagged) || found.Incomplete == "" {
		t.Errorf("without a listing: %v, %v", found, err)
	}
	if _, err := denied.Discover(t.Context(), tags{err: errors.New("denied")}); err == nil {
		t.Error("without both: no error")
	}
}
