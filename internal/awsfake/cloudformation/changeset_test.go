package cloudformation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// changeSet makes a change set and waits for it.
func (w *world) changeSet(stack, name, body string, options ...func(*cfn.CreateChangeSetInput)) *cfn.DescribeChangeSetOutput {
	w.Helper()
	in := &cfn.CreateChangeSetInput{StackName: &stack, ChangeSetName: &name, TemplateBody: &body}
	for _, option := range options {
		option(in)
	}
	out, err := w.client.CreateChangeSet(w.Context(), in)
	if err != nil {
		w.Fatalf("CreateChangeSet: %v", err)
	}
	w.settle()
	described, err := w.client.DescribeChangeSet(w.Context(), &cfn.DescribeChangeSetInput{ChangeSetName: out.Id, IncludePropertyValues: aws.Bool(true)})
	if err != nil {
		w.Fatalf("DescribeChangeSet: %v", err)
	}
	return described
}

func forCreate(in *cfn.CreateChangeSetInput) { in.ChangeSetType = types.ChangeSetTypeCreate }

func (w *world) execute(stack, name string) {
	w.Helper()
	if _, err := w.client.ExecuteChangeSet(w.Context(), &cfn.ExecuteChangeSetInput{StackName: &stack, ChangeSetName: &name}); err != nil {
		w.Fatalf("ExecuteChangeSet: %v", err)
	}
	w.settle()
}

func TestChangeSetThatCreatesAStack(t *testing.T) {
	w := newWorld(t)
	set := w.changeSet("s", "first", oneThing, forCreate)
	if set.Status != types.ChangeSetStatusCreateComplete || set.ExecutionStatus != types.ExecutionStatusAvailable {
		t.Fatalf("change set is %s, %s (%s)", set.Status, set.ExecutionStatus, aws.ToString(set.StatusReason))
	}
	if c := set.Changes[0].ResourceChange; c.Action != types.ChangeActionAdd || *c.LogicalResourceId != "A" || *c.ResourceType != "Test::Thing" {
		t.Errorf("change %v %s", c.Action, *c.LogicalResourceId)
	}
	w.wantStatus("s", types.StackStatusReviewInProgress)
	if len(w.shelf.items) != 0 {
		t.Errorf("made before execution: %v", w.shelf.items)
	}
	w.execute("s", "first")
	w.wantStatus("s", types.StackStatusCreateComplete)
	if executed, err := w.client.DescribeChangeSet(t.Context(), &cfn.DescribeChangeSetInput{ChangeSetName: set.ChangeSetId}); err != nil || executed.ExecutionStatus != types.ExecutionStatusExecuteComplete {
		t.Errorf("executed change set: %v, %v", executed, err)
	}
	_, err := w.client.ExecuteChangeSet(t.Context(), &cfn.ExecuteChangeSetInput{ChangeSetName: set.ChangeSetId})
	wantAPIError(t, err, "InvalidChangeSetStatus", "cannot be executed")
	_, err = w.client.CreateChangeSet(t.Context(), &cfn.CreateChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("again"), TemplateBody: aws.String(oneThing), ChangeSetType: types.ChangeSetTypeCreate})
	wantAPIError(t, err, "ValidationError", "Stack [s] already exists and cannot be created again with the changeSet [again].")
}

func TestChangeSetWithATokenIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	withToken := func(in *cfn.CreateChangeSetInput) { forCreate(in); in.ClientToken = aws.String("t") }
	first := w.changeSet("s", "c", oneThing, withToken)
	second := w.changeSet("s", "c", oneThing, withToken)
	if *first.ChangeSetId != *second.ChangeSetId {
		t.Errorf("two change sets: %s and %s", *first.ChangeSetId, *second.ChangeSetId)
	}
	_, err := w.client.CreateChangeSet(t.Context(), &cfn.CreateChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("c"), TemplateBody: aws.String(oneThing), ChangeSetType: types.ChangeSetTypeCreate})
	wantAPIError(t, err, "AlreadyExistsException", "c")
}

func TestChangeSetWithOnStackFailureDelete(t *testing.T) {
	w := newWorld(t)
	w.setFail("CREATE A", "not today")
	set := w.changeSet("s", "c", oneThing, forCreate, func(in *cfn.CreateChangeSetInput) { in.OnStackFailure = types.OnStackFailureDelete })
	w.execute("s", "c")
	w.wantStatus(*set.StackId, types.StackStatusDeleteComplete)
	_, err := w.client.DescribeStacks(t.Context(), &cfn.DescribeStacksInput{StackName: aws.String("s")})
	wantAPIError(t, err, "ValidationError", "does not exist")
	if !slices.Contains(w.events(*set.StackId), "A CREATE_FAILED not today") {
		t.Error("the events of the deleted stack do not tell the cause")
	}
}

func TestFailedChangeSets(t *testing.T) {
	w := newWorld(t)
	if set := w.changeSet("new", "c", "Resources: {A: {Type: 'Test::Thing', Properties: {P: !ImportValue no}}}", forCreate); set.Status != types.ChangeSetStatusFailed || *set.StatusReason != "No export named no found" {
		t.Errorf("missing import: %s, %s", set.Status, aws.ToString(set.StatusReason))
	}
	w.wantStatus("new", types.StackStatusReviewInProgress)
	if _, err := w.client.DeleteChangeSet(t.Context(), &cfn.DeleteChangeSetInput{StackName: aws.String("new"), ChangeSetName: aws.String("c")}); err != nil {
		t.Errorf("DeleteChangeSet: %v", err)
	}
	w.remove("new") // the empty shell

	w.create("s", oneThing)
	set := w.changeSet("s", "same", oneThing)
	if set.Status != types.ChangeSetStatusFailed || *set.StatusReason != noChanges || set.ExecutionStatus != types.ExecutionStatusUnavailable {
		t.Errorf("nothing to change: %s, %s, %s", set.Status, set.ExecutionStatus, aws.ToString(set.StatusReason))
	}
	_, err := w.client.ExecuteChangeSet(t.Context(), &cfn.ExecuteChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("same")})
	wantAPIError(t, err, "InvalidChangeSetStatus", "cannot be executed")
	_, err = w.client.UpdateStack(t.Context(), &cfn.UpdateStackInput{StackName: aws.String("s"), UsePreviousTemplate: aws.Bool(true)})
	wantAPIError(t, err, "ValidationError", "No updates are to be performed.")

	w.service.options.Exists = func(_ context.Context, _, _, kind, value string) bool {
		return kind == "AWS::EC2::VPC::Id" && value == "vpc-1"
	}
	withVPC := "Parameters: {V: {Type: 'AWS::EC2::VPC::Id', Default: %s}}\nResources: {A: {Type: 'Test::Thing', Properties: {V: !Ref V}}}"
	set = w.changeSet("vpc", "bad", fmt.Sprintf(withVPC, "vpc-2"), forCreate)
	if want := "Parameter validation failed: parameter value vpc-2 for parameter name V does not exist"; aws.ToString(set.StatusReason) != want {
		t.Errorf("reason %q, want %q", aws.ToString(set.StatusReason), want)
	}
	if set = w.changeSet("vpc", "good", fmt.Sprintf(withVPC, "vpc-1"), forCreate); set.Status != types.ChangeSetStatusCreateComplete {
		t.Errorf("with an existing VPC: %s", aws.ToString(set.StatusReason))
	}
}

// TestChanges has what a change set says about each change of a stack of three resources: B refers to A,
// and C to an attribute of A.
func TestChanges(t *testing.T) {
	const before = `
Parameters: {Word: {Type: String, Default: one}}
Resources:
  A: {Type: 'Test::Thing', Properties: {Word: !Ref Word, Fixed: one}}
  B: {Type: 'Test::Thing', Properties: {Of: !Ref A}}
  C: {Type: 'Test::Thing', Properties: {Fixed: !GetAtt A.Arn}}
Outputs: {O: {Value: one}}
`
	tests := []struct {
		name     string
		old, new string
		want     []string // id action replacement scope: details
	}{
		{"outputs only", "Value: one", "Value: two", nil},
		{"parameter", "Default: one", "Default: two", []string{
			"A Modify False Properties: Word Never Static ParameterReference Word",
			"C Modify Conditional Properties: Fixed Always Dynamic ResourceAttribute A.Arn",
		}},
		{"property with a replacement", "Fixed: one", "Fixed: two", []string{
			"A Modify True Properties: Fixed Always Static DirectModification ",
			"B Modify False Properties: Of Never Dynamic ResourceReference A",
			"C Modify Conditional Properties: Fixed Always Dynamic ResourceAttribute A.Arn",
		}},
		{"property that may replace", "Of: !Ref A", "Of: !Ref A, Perhaps: x", []string{
			"B Modify Conditional Properties: Perhaps Conditionally Static DirectModification ",
		}},
		{"new and removed", "  B:", "  X:", []string{"B Remove  :", "X Add  :"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.create("s", before)
			set := w.changeSet("s", "c", strings.Replace(before, tt.old, tt.new, 1))
			if set.Status != types.ChangeSetStatusCreateComplete {
				t.Fatalf("%s: %s", set.Status, aws.ToString(set.StatusReason))
			}
			var got []string
			for _, change := range set.Changes {
				got = append(got, describe(change.ResourceChange))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			w.execute("s", "c")
			w.wantStatus("s", types.StackStatusUpdateComplete)
		})
	}
}

func describe(c *types.ResourceChange) string {
	scope := ""
	for _, s := range c.Scope {
		scope += string(s)
	}
	text := fmt.Sprintf("%s %s %s %s:", *c.LogicalResourceId, c.Action, c.Replacement, scope)
	for _, d := range c.Details {
		text += fmt.Sprintf(" %s %s %s %s %s", aws.ToString(d.Target.Name), d.Target.RequiresRecreation, d.Evaluation, d.ChangeSource, aws.ToString(d.CausingEntity))
	}
	return text
}

func TestChangeOfTags(t *testing.T) {
	w := newWorld(t)
	w.create("s", oneThing)
	set := w.changeSet("s", "c", oneThing, func(in *cfn.CreateChangeSetInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("red")}}
	})
	if got, want := describe(set.Changes[0].ResourceChange), "A Modify False Tags:  Never Static DirectModification "; got != want {
		t.Errorf("change %q, want %q", got, want)
	}
	w.execute("s", "c")
	if got := w.shelf.tags["A-1"]["team"]; got != "red" {
		t.Errorf("the resource has team=%q, want red", got)
	}
	if set := w.changeSet("s", "d", oneThing); aws.ToString(set.StatusReason) != noChanges {
		t.Errorf("without tags in the request they do not stay: %v", set.Changes)
	}
}

func TestRefusedRequests(t *testing.T) {
	w := newWorld(t)
	w.create("s", oneThing)
	ctx := t.Context()
	name, body := aws.String("s"), aws.String(oneThing)
	role := aws.String("Resources: {R: {Type: 'AWS::IAM::Role', Properties: {RoleName: r}}}")
	tests := []struct {
		name          string
		call          func() error
		code, message string
	}{
		{"change set of a missing stack", func() error {
			_, err := w.client.CreateChangeSet(ctx, &cfn.CreateChangeSetInput{StackName: aws.String("no"), ChangeSetName: name, TemplateBody: body})
			return err
		}, "ValidationError", "Stack [no] does not exist"},
		{"missing change set", func() error {
			_, err := w.client.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{StackName: name, ChangeSetName: aws.String("no")})
			return err
		}, "ChangeSetNotFound", "ChangeSet [no] does not exist"},
		{"events of a missing stack", func() error {
			_, err := w.client.DescribeStackEvents(ctx, &cfn.DescribeStackEventsInput{StackName: aws.String("no")})
			return err
		}, "ValidationError", "Stack [no] does not exist"},
		{"resource of a missing stack", func() error {
			_, err := w.client.DescribeStackResource(ctx, &cfn.DescribeStackResourceInput{StackName: aws.String("no"), LogicalResourceId: name})
			return err
		}, "ValidationError", "Stack 'no' does not exist"},
		{"missing resource", func() error {
			_, err := w.client.DescribeStackResource(ctx, &cfn.DescribeStackResourceInput{StackName: name, LogicalResourceId: aws.String("Z")})
			return err
		}, "ValidationError", "Resource Z does not exist for stack s"},
		{"stack name", func() error {
			_, err := w.client.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("a_b"), TemplateBody: body})
			return err
		}, "ValidationError", "Value 'a_b' at 'stackName' failed to satisfy constraint"},
		{"capability", func() error {
			_, err := w.client.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("r"), TemplateBody: role, Capabilities: []types.Capability{types.CapabilityCapabilityIam}})
			return err
		}, "InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]"},
		{"unknown type", func() error {
			_, err := w.client.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("r"), TemplateBody: aws.String("Resources: {A: {Type: 'Test::Other'}}")})
			return err
		}, "ValidationError", "Template format error: Unrecognized resource types: [Test::Other]"},
		{"size", func() error {
			_, err := w.client.ValidateTemplate(ctx, &cfn.ValidateTemplateInput{TemplateBody: aws.String(oneThing + strings.Repeat("#", maxBody))})
			return err
		}, "ValidationError", "Member must have length less than or equal to 51200"},
		{"no template", func() error {
			_, err := w.client.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("r")})
			return err
		}, "ValidationError", "Either Template URL or Template Body must be specified."},
		{"template in a bucket", func() error {
			_, err := w.client.ValidateTemplate(ctx, &cfn.ValidateTemplateInput{TemplateURL: aws.String("https://bucket/key")})
			return err
		}, "ValidationError", "TemplateURL must be a supported URL."},
		{"parameter", func() error {
			_, err := w.client.UpdateStack(ctx, &cfn.UpdateStackInput{StackName: name, TemplateBody: body, Parameters: []types.Parameter{{ParameterKey: aws.String("Z"), ParameterValue: name}}})
			return err
		}, "ValidationError", "Parameters: [Z] do not exist in the template"},
		{"tag", func() error {
			_, err := w.client.UpdateStack(ctx, &cfn.UpdateStackInput{StackName: name, TemplateBody: body, Tags: []types.Tag{{Key: aws.String("aws:x"), Value: name}}})
			return err
		}, "ValidationError", "aws: prefixed tag key names are not allowed for external use."},
		{"other type for a resource", func() error {
			_, err := w.client.UpdateStack(ctx, &cfn.UpdateStackInput{
				StackName: name, TemplateBody: aws.String(strings.Replace(oneThing, "Test::Thing", "AWS::IAM::Role", 1)),
				Capabilities: []types.Capability{types.CapabilityCapabilityNamedIam},
			})
			return err
		}, "ValidationError", "Update of resource type is not permitted. The new template modifies resource type of the following resources: [A]"},
		{"circle", func() error {
			_, err := w.client.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("r"), TemplateBody: aws.String("Resources: {A: {Type: 'Test::Thing', DependsOn: A}}")})
			return err
		}, "ValidationError", "Circular dependency between resources: [A]"},
		{"continued without need", func() error {
			_, err := w.client.ContinueUpdateRollback(ctx, &cfn.ContinueUpdateRollbackInput{StackName: name})
			return err
		}, "ValidationError", "CREATE_COMPLETE"},
		{"page that is not there", func() error {
			_, err := w.client.ListStacks(ctx, &cfn.ListStacksInput{NextToken: aws.String("x")})
			return err
		}, "ValidationError", "NextToken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantAPIError(t, tt.call(), tt.code, tt.message) })
	}
}

func TestListsComeInPages(t *testing.T) {
	w := newWorld(t) // five items a page
	for i := range 12 {
		w.create(fmt.Sprintf("s%d", i), "Resources: {A: {Type: 'Test::Thing'}}")
	}
	w.remove("s3")
	var described, listed []string
	pages := cfn.NewDescribeStacksPaginator(w.client, &cfn.DescribeStacksInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range page.Stacks {
			described = append(described, *st.StackName)
		}
	}
	all := cfn.NewListStacksPaginator(w.client, &cfn.ListStacksInput{StackStatusFilter: []types.StackStatus{types.StackStatusDeleteComplete, types.StackStatusCreateComplete}})
	for all.HasMorePages() {
		page, err := all.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range page.StackSummaries {
			listed = append(listed, *st.StackName)
		}
	}
	if len(described) != 11 || slices.Contains(described, "s3") || described[0] != "s11" {
		t.Errorf("described %v", described)
	}
	if len(listed) != 12 {
		t.Errorf("listed %v", listed)
	}
}

func TestTemplateSummary(t *testing.T) {
	w := newWorld(t)
	body := "Description: d\nParameters: {P: {Type: Number, Default: 3, NoEcho: true, AllowedValues: [3, 4]}}\nResources: {R: {Type: 'AWS::IAM::Role'}}"
	out, err := w.client.GetTemplateSummary(t.Context(), &cfn.GetTemplateSummaryInput{TemplateBody: &body})
	if err != nil {
		t.Fatal(err)
	}
	p := out.Parameters[0]
	if *out.Description != "d" || *p.DefaultValue != "3" || *p.ParameterType != "Number" || !slices.Equal(p.ParameterConstraints.AllowedValues, []string{"3", "4"}) ||
		!slices.Equal(out.Capabilities, []types.Capability{types.CapabilityCapabilityIam}) || !slices.Equal(out.ResourceTypes, []string{"AWS::IAM::Role"}) {
		t.Errorf("summary %+v", out)
	}
	valid, err := w.client.ValidateTemplate(t.Context(), &cfn.ValidateTemplateInput{TemplateBody: &body})
	if err != nil || *valid.CapabilitiesReason != "The following resource(s) require capabilities: [AWS::IAM::Role]" {
		t.Errorf("ValidateTemplate: %+v, %v", valid, err)
	}
	w.create("s", body, func(in *cfn.CreateStackInput) {
		in.Capabilities = []types.Capability{types.CapabilityCapabilityIam}
	})
	if got := *w.stack("s").Parameters[0].ParameterValue; got != "****" {
		t.Errorf("a parameter with NoEcho is shown as %q", got)
	}
}

// guard allows what is in it, as "action resource".
type guard []string

func (g guard) Allow(action, resource string, _ map[string]string) error {
	if slices.Contains(g, action+" "+resource) {
		return nil
	}
	return &protocol.Error{Status: 403, Code: "AccessDenied", Message: "not authorized to perform: " + action + " on resource: " + resource}
}

func TestPermissionsAreAskedForTheStack(t *testing.T) {
	w := newWorld(t)
	id := w.create("s", oneThing)
	g := guard{"cloudformation:DescribeStacks " + id, "cloudformation:DeleteStack arn:aws:cloudformation:us-east-1:123456789012:stack/other/*"}
	call := &protocol.Call{Account: protocoltest.Account, Region: protocoltest.Region, Guard: g}
	if _, err := w.service.describeStacks(t.Context(), call, &cfn.DescribeStacksInput{StackName: aws.String("s")}); err != nil {
		t.Errorf("allowed DescribeStacks: %v", err)
	}
	if _, err := w.service.describeStacks(t.Context(), call, &cfn.DescribeStacksInput{}); err == nil {
		t.Error("DescribeStacks of all stacks is allowed by a permission for one")
	}
	if _, err := w.service.deleteStack(t.Context(), call, &cfn.DeleteStackInput{StackName: aws.String("other")}); err != nil {
		t.Errorf("allowed DeleteStack of a stack that is not there: %v", err)
	}
	for name := range w.service.Protocol().Operations {
		operation := w.service.Protocol().Operations[name]
		none := &protocol.Call{Account: protocoltest.Account, Region: protocoltest.Region, Guard: guard{}}
		_, err := operation.Serve(t.Context(), none, fill)
		if e, ok := err.(*protocol.Error); !ok || e.Code != "AccessDenied" || !strings.Contains(e.Message, "cloudformation:"+name+" ") {
			t.Errorf("%s without permission: %v", name, err)
		}
	}
}

func TestResourcesNeedTheCallersPermission(t *testing.T) {
	w := newWorld(t)
	w.service.options.Permit = func(g protocol.Guard, r *resource.Resource, phase Phase) error {
		return g.Allow("test:"+string(phase), r.LogicalID, nil)
	}
	call := &protocol.Call{Account: protocoltest.Account, Region: protocoltest.Region, Guard: guard{
		"cloudformation:CreateStack arn:aws:cloudformation:us-east-1:123456789012:stack/s/*", "test:CREATE A", "test:ROLLBACK A",
	}}
	body := "Resources: {A: {Type: 'Test::Thing'}, B: {Type: 'Test::Thing', DependsOn: A}}"
	if _, err := w.service.createStack(t.Context(), call, &cfn.CreateStackInput{StackName: aws.String("s"), TemplateBody: &body}); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wantStatus("s", types.StackStatusRollbackComplete)
	if !slices.Contains(w.events("s"), "B CREATE_FAILED not authorized to perform: test:CREATE on resource: B") {
		t.Errorf("events:\n%s", strings.Join(w.events("s"), "\n"))
	}
}

// fill gives an input the members that its operation needs.
func fill(into any) error {
	name := aws.String("s")
	switch in := into.(type) {
	case *cfn.ContinueUpdateRollbackInput:
		in.StackName = name
	case *cfn.CreateChangeSetInput:
		in.StackName, in.ChangeSetName, in.TemplateBody = name, name, aws.String(oneThing)
	case *cfn.CreateStackInput:
		in.StackName, in.TemplateBody = name, aws.String(oneThing)
	case *cfn.DeleteChangeSetInput:
		in.StackName, in.ChangeSetName = name, name
	case *cfn.DeleteStackInput:
		in.StackName = name
	case *cfn.DescribeChangeSetInput:
		in.StackName, in.ChangeSetName = name, name
	case *cfn.DescribeStackEventsInput:
		in.StackName = name
	case *cfn.DescribeStackResourceInput:
		in.StackName, in.LogicalResourceId = name, name
	case *cfn.DescribeStackResourcesInput:
		in.StackName = name
	case *cfn.DescribeStacksInput:
		in.StackName = name
	case *cfn.ExecuteChangeSetInput:
		in.StackName, in.ChangeSetName = name, name
	case *cfn.GetTemplateInput:
		in.StackName = name
	case *cfn.GetTemplateSummaryInput:
		in.StackName = name
	case *cfn.ListChangeSetsInput:
		in.StackName = name
	case *cfn.ListImportsInput:
		in.ExportName = name
	case *cfn.ListStackResourcesInput:
		in.StackName = name
	case *cfn.UpdateStackInput:
		in.StackName = name
	case *cfn.UpdateTerminationProtectionInput:
		in.StackName = name
	}
	return nil
}

func TestStateIsKept(t *testing.T) {
	w := newWorld(t)
	w.create("one", oneThing)
	w.create("two", "Resources: {U: {Type: 'Test::Thing', Properties: {Of: !ImportValue one-Arn}}}")
	w.changeSet("one", "later", strings.Replace(oneThing, "hello", "bye", 1))
	data, err := w.service.MarshalState()
	if err != nil {
		t.Fatal(err)
	}
	events := w.events("one")
	again := New(w.service.options)
	if err := again.UnmarshalState(data); err != nil {
		t.Fatal(err)
	}
	w.use(again)
	w.wantEvents("one", events...)
	if set := w.changeSet("one", "same", oneThing); aws.ToString(set.StatusReason) != noChanges {
		t.Errorf("after loading there are changes: %v", set.Changes)
	}
	w.execute("one", "later")
	w.wantStatus("one", types.StackStatusUpdateComplete)
	if got := w.shelf.items["A-1"]["Word"]; got != "bye" {
		t.Errorf("A has %v, want bye", got)
	}
	w.remove("one")
	if got := aws.ToString(w.stack("one").StackStatusReason); !strings.Contains(got, "in use by two") {
		t.Errorf("the import of two is forgotten: reason %q", got)
	}
	w.remove("two")
	w.remove("one")
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}

func TestStateInTheMiddleOfAnOperation(t *testing.T) {
	w := newWorld(t)
	begun, end := make(chan struct{}), make(chan struct{})
	w.shelf.enter = func(context.Context, string) error {
		close(begun)
		<-end
		return nil
	}
	if _, err := w.client.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(oneThing)}); err != nil {
		t.Fatal(err)
	}
	<-begun
	data, err := w.service.MarshalState()
	close(end)
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	again := New(w.service.options)
	if err := again.UnmarshalState(data); err != nil {
		t.Fatal(err)
	}
	w.use(again)
	w.wantStatus("s", types.StackStatusRollbackFailed)
	w.remove("s")
}

// TestUpdateAndBack changes a stack of random resources into another one and back: then nothing is left
// to change, and the resources are as they were made the first time.
func TestUpdateAndBack(t *testing.T) {
	w := newWorld(t)
	stacks := 0
	rapid.Check(t, func(t *rapid.T) {
		first, second := drawTemplate(t, "first"), drawTemplate(t, "second")
		stacks++
		name := fmt.Sprintf("s%d", stacks)
		w.create(name, first)
		if first != second {
			if set := w.changeSet(name, "go", second); set.Status == types.ChangeSetStatusCreateComplete {
				w.execute(name, "go")
				w.wantStatus(name, types.StackStatusUpdateComplete)
				w.update(name, first)
				w.wantStatus(name, types.StackStatusUpdateComplete)
			}
		}
		if set := w.changeSet(name, "none", first); aws.ToString(set.StatusReason) != noChanges {
			t.Fatalf("back at the first template there are changes: %v", set.Changes)
		}
		count := strings.Count(first, "Test::Thing")
		if len(w.shelf.items) != count {
			t.Fatalf("there are %d resources, want %d", len(w.shelf.items), count)
		}
		w.remove(name)
		if len(w.shelf.items) != 0 {
			t.Fatalf("left behind: %v", w.shelf.items)
		}
	})
}

// TestFailedUpdateLeavesNoTrace fails an update at a random resource: afterwards the resources are as
// before, also when the roll-back failed at first.
func TestFailedUpdateLeavesNoTrace(t *testing.T) {
	w := newWorld(t)
	stacks := 0
	rapid.Check(t, func(t *rapid.T) {
		first, second := drawTemplate(t, "first"), drawTemplate(t, "second")
		failing := rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(t, "failing")
		stuck := rapid.SampledFrom([]string{"", "A", "B", "C", "D"}).Draw(t, "stuck")
		stacks++
		name := fmt.Sprintf("s%d", stacks)
		w.create(name, first)
		before := w.snapshot()
		if set := w.changeSet(name, "go", second); set.Status != types.ChangeSetStatusCreateComplete {
			w.remove(name)
			return
		}
		w.setFail("CREATE "+failing, "no")
		w.setFail("UPDATE "+failing, "no")
		w.setFail("ROLLBACK "+stuck, "stuck")
		w.execute(name, "go")
		w.setFail("CREATE "+failing, "")
		w.setFail("UPDATE "+failing, "")
		w.setFail("ROLLBACK "+stuck, "")
		if w.stack(name).StackStatus == types.StackStatusUpdateRollbackFailed {
			if rapid.Bool().Draw(t, "give up") {
				w.remove(name) // it goes; what the roll-back could not delete stays
				clear(w.shelf.items)
				return
			}
			if _, err := w.client.ContinueUpdateRollback(context.Background(), &cfn.ContinueUpdateRollbackInput{StackName: &name}); err != nil {
				t.Fatal(err)
			}
			w.settle()
		}
		switch status := w.stack(name).StackStatus; status {
		case types.StackStatusUpdateComplete: // the failing resource did not change
		case types.StackStatusUpdateRollbackComplete:
			// What could not be deleted stays, as in AWS.
			if after := w.snapshot(); after != before && stuck == "" {
				t.Fatalf("after the roll-back there is %s, want %s", after, before)
			}
			if set := w.changeSet(name, "none", first); aws.ToString(set.StatusReason) != noChanges {
				t.Fatalf("after the roll-back there are changes: %v", set.Changes)
			}
		default:
			t.Fatalf("status %s", status)
		}
		w.remove(name)
		clear(w.shelf.items)
	})
}

// drawTemplate draws a template of up to four resources, each of which may refer to earlier ones.
func drawTemplate(t *rapid.T, label string) string {
	text := "Resources:\n"
	var earlier []string
	for i, id := range []string{"A", "B", "C", "D"} {
		if i > 0 && !rapid.Bool().Draw(t, label+" has "+id) {
			continue
		}
		text += fmt.Sprintf("  %s:\n    Type: Test::Thing\n    Properties:\n", id)
		for _, property := range []string{"Word", "Fixed", "Perhaps"} {
			value := rapid.SampledFrom([]string{"1", "two", "[a, b]"}).Draw(t, label+" "+property)
			if len(earlier) > 0 && rapid.Bool().Draw(t, label+" refers") {
				other := rapid.SampledFrom(earlier).Draw(t, label+" other")
				value = rapid.SampledFrom([]string{"!Ref " + other, "!GetAtt " + other + ".Arn", "!Sub '${" + other + "}!'"}).Draw(t, label+" reference")
			}
			text += fmt.Sprintf("      %s: %s\n", property, value)
		}
		earlier = append(earlier, id)
	}
	return text
}
