package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// shelf is a provider that keeps what it makes. Changing the property Fixed replaces a resource, and
// Perhaps might; all other properties change in place.
type shelf struct {
	mu    sync.Mutex
	made  int
	items map[string]map[string]any // by physical id
	log   []string                  // "create A", "delete A" with logical ids
	tags  map[string]map[string]string
	// enter is called at the start of each creation, without the lock; nil does nothing.
	enter func(ctx context.Context, logicalID string) error
}

func (s *shelf) Create(ctx context.Context, r *resource.Resource) (*resource.Physical, error) {
	if s.enter != nil {
		if err := s.enter(ctx, r.LogicalID); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	id := fmt.Sprintf("%s-%d", r.LogicalID, s.made)
	return s.put("create", id, r), nil
}

func (s *shelf) put(what, id string, r *resource.Resource) *resource.Physical {
	s.items[id], s.tags[id] = r.Properties, r.Tags
	s.log = append(s.log, what+" "+r.LogicalID)
	return &resource.Physical{ID: id, Attributes: map[string]string{
		"Arn": "arn:" + id, "Name": id, "RepositoryUri": "registry/" + id, "StreamArn": "arn:" + id + "/stream",
	}}
}

func (s *shelf) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put("update", old.ID, to), nil
}

func (s *shelf) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.items, old.ID)
	s.log = append(s.log, "delete "+r.LogicalID)
	return nil
}

func (*shelf) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "Fixed":
		return resource.Always
	case "Perhaps":
		return resource.Conditionally
	}
	return resource.Never
}

// takeLog gives what happened since the last call.
func (s *shelf) takeLog() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// world is a service with a client that reaches it through the front.
type world struct {
	*testing.T
	service *Service
	client  *cfn.Client
	shelf   *shelf
	fail    map[string]string // reasons by "PHASE LogicalID"
	mu      sync.Mutex        // guards fail
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, shelf: &shelf{items: map[string]map[string]any{}, tags: map[string]map[string]string{}}, fail: map[string]string{}}
	providers := resource.Providers{}
	for _, name := range []string{"Test::Thing", "AWS::IAM::Role"} {
		providers[name] = w.shelf
	}
	w.use(New(Options{Providers: providers, PageSize: 5, Fail: w.failing}))
	return w
}

func (w *world) use(service *Service) {
	w.service = service
	w.client = cfn.NewFromConfig(protocoltest.Serve(w.T, service.Protocol()))
	w.Cleanup(func() {
		if err := service.Close(context.WithoutCancel(w.Context())); err != nil {
			w.Errorf("close: %v", err)
		}
	})
}

func (w *world) failing(_, logicalID, _ string, phase Phase) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text, ok := w.fail[string(phase)+" "+logicalID]; ok {
		return errors.New(text)
	}
	return nil
}

func (w *world) setFail(where, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text == "" {
		delete(w.fail, where)
	} else {
		w.fail[where] = text
	}
}

// settle waits until nothing is at work any more.
func (w *world) settle() { w.service.work.Wait() }

func (w *world) create(name, body string, options ...func(*cfn.CreateStackInput)) string {
	w.Helper()
	in := &cfn.CreateStackInput{StackName: &name, TemplateBody: &body}
	for _, option := range options {
		option(in)
	}
	out, err := w.client.CreateStack(w.Context(), in)
	if err != nil {
		w.Fatalf("CreateStack: %v", err)
	}
	w.settle()
	return *out.StackId
}

func (w *world) update(name, body string) {
	w.Helper()
	if _, err := w.client.UpdateStack(w.Context(), &cfn.UpdateStackInput{StackName: &name, TemplateBody: &body}); err != nil {
		w.Fatalf("UpdateStack: %v", err)
	}
	w.settle()
}

func (w *world) remove(name string, retain ...string) {
	w.Helper()
	if _, err := w.client.DeleteStack(w.Context(), &cfn.DeleteStackInput{StackName: &name, RetainResources: retain}); err != nil {
		w.Fatalf("DeleteStack: %v", err)
	}
	w.settle()
}

func (w *world) stack(name string) types.Stack {
	w.Helper()
	out, err := w.client.DescribeStacks(w.Context(), &cfn.DescribeStacksInput{StackName: &name})
	if err != nil {
		w.Fatalf("DescribeStacks: %v", err)
	}
	return out.Stacks[0]
}

func (w *world) wantStatus(name string, want types.StackStatus) {
	w.Helper()
	if got := w.stack(name); got.StackStatus != want {
		w.Fatalf("stack %s is %s (%s), want %s; events:\n%s", name, got.StackStatus, aws.ToString(got.StackStatusReason), want, strings.Join(w.events(name), "\n"))
	}
}

// events are all events in order of time, as "LogicalID STATUS reason".
func (w *world) events(name string) []string {
	w.Helper()
	var out []string
	pages := cfn.NewDescribeStackEventsPaginator(w.client, &cfn.DescribeStackEventsInput{StackName: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(w.Context())
		if err != nil {
			w.Fatalf("DescribeStackEvents: %v", err)
		}
		for _, e := range page.StackEvents {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", *e.LogicalResourceId, e.ResourceStatus, aws.ToString(e.ResourceStatusReason))))
		}
	}
	slices.Reverse(out)
	return out
}

func (w *world) wantEvents(name string, want ...string) {
	w.Helper()
	if got := w.events(name); !slices.Equal(got, want) {
		w.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantAPIError checks code and part of the message of an API's error.
func wantAPIError(t *testing.T, err error, code, message string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("error %v, want %s with %q", err, code, message)
	}
}

const oneThing = `
Parameters: {Word: {Type: String, Default: hello}}
Resources:
  A: {Type: 'Test::Thing', Properties: {Word: !Ref Word}}
Outputs:
  Arn: {Value: !GetAtt A.Arn, Description: Where it is, Export: {Name: !Sub '${AWS::StackName}-Arn'}}
`

func TestCreateStack(t *testing.T) {
	w := newWorld(t)
	id := w.create("one", oneThing, func(in *cfn.CreateStackInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
		in.Parameters = []types.Parameter{{ParameterKey: aws.String("Word"), ParameterValue: aws.String("hi")}}
	})
	w.wantEvents("one",
		"one CREATE_IN_PROGRESS User Initiated", "A CREATE_IN_PROGRESS", "A CREATE_IN_PROGRESS Resource creation Initiated",
		"A CREATE_COMPLETE", "one CREATE_COMPLETE")
	st := w.stack(id)
	if st.StackStatus != types.StackStatusCreateComplete || *st.Parameters[0].ParameterValue != "hi" || *st.Tags[0].Value != "blue" {
		t.Errorf("stack %s with parameters %v and tags %v", st.StackStatus, st.Parameters, st.Tags)
	}
	if o := st.Outputs[0]; *o.OutputValue != "arn:A-1" || *o.ExportName != "one-Arn" || *o.Description != "Where it is" {
		t.Errorf("output %s = %s as %s", *o.OutputKey, *o.OutputValue, *o.ExportName)
	}
	tags := w.shelf.tags["A-1"]
	for key, want := range map[string]string{
		"team": "blue", "aws:cloudformation:stack-name": "one", "aws:cloudformation:stack-id": id, "aws:cloudformation:logical-id": "A",
	} {
		if tags[key] != want {
			t.Errorf("tag %s of the resource is %q, want %q", key, tags[key], want)
		}
	}
	if got := w.service.StackTags()[id]["team"]; got != "blue" {
		t.Errorf("StackTags has team=%q, want blue", got)
	}
	resource, err := w.client.DescribeStackResource(t.Context(), &cfn.DescribeStackResourceInput{StackName: aws.String("one"), LogicalResourceId: aws.String("A")})
	if err != nil || *resource.StackResourceDetail.PhysicalResourceId != "A-1" {
		t.Errorf("DescribeStackResource: %v, %v", resource, err)
	}
	listed, err := w.client.ListStackResources(t.Context(), &cfn.ListStackResourcesInput{StackName: aws.String("one")})
	if err != nil || len(listed.StackResourceSummaries) != 1 {
		t.Errorf("ListStackResources: %v, %v", listed, err)
	}
	body, err := w.client.GetTemplate(t.Context(), &cfn.GetTemplateInput{StackName: aws.String("one")})
	if err != nil || *body.TemplateBody != oneThing {
		t.Errorf("GetTemplate does not give the template: %v", err)
	}
}

// A, B and C are made at the same time; D waits for A and, by DependsOn, for B.
const diamond = `
Resources:
  A: {Type: 'Test::Thing'}
  B: {Type: 'Test::Thing'}
  C: {Type: 'Test::Thing'}
  D: {Type: 'Test::Thing', DependsOn: B, Properties: {Of: !Ref A}}
`

func TestResourcesAreMadeInParallelAndAfterTheirDependencies(t *testing.T) {
	w := newWorld(t)
	var together sync.WaitGroup
	together.Add(3)
	w.shelf.enter = func(_ context.Context, id string) error {
		if id != "D" { // ends only when all three have begun
			together.Done()
			together.Wait()
		}
		return nil
	}
	w.create("par", diamond)
	log := w.shelf.takeLog()
	if at := slices.Index(log, "create D"); at < slices.Index(log, "create A") || at < slices.Index(log, "create B") {
		t.Errorf("order %v: D is before A or B", log)
	}
	w.remove("par")
	log = w.shelf.takeLog()
	if at := slices.Index(log, "delete D"); at > slices.Index(log, "delete A") || at > slices.Index(log, "delete B") {
		t.Errorf("order %v: D is deleted after A or B", log)
	}
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}

func TestFailedCreationIsRolledBack(t *testing.T) {
	w := newWorld(t)
	begun := make(chan struct{})
	w.shelf.enter = func(ctx context.Context, id string) error {
		switch id {
		case "B": // fails once C is at work and A is done
			<-begun
			return errors.New("no more room")
		case "C":
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	body := `
Resources:
  A: {Type: 'Test::Thing'}
  B: {Type: 'Test::Thing', DependsOn: A}
  C: {Type: 'Test::Thing', DependsOn: A}
  D: {Type: 'Test::Thing', DependsOn: B}
`
	w.create("bad", body)
	w.wantStatus("bad", types.StackStatusRollbackComplete)
	events := w.events("bad")
	for _, want := range []string{
		"B CREATE_FAILED no more room", "C CREATE_FAILED Resource creation cancelled",
		"bad ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [B, C]. Rollback requested by user.",
		"A DELETE_COMPLETE", "B DELETE_COMPLETE", "bad ROLLBACK_COMPLETE",
	} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q in\n%s", want, strings.Join(events, "\n"))
		}
	}
	if slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "D ") }) {
		t.Error("D was begun although B failed")
	}
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
	_, err := w.client.UpdateStack(t.Context(), &cfn.UpdateStackInput{StackName: aws.String("bad"), TemplateBody: aws.String(body)})
	wantAPIError(t, err, "ValidationError", "is in ROLLBACK_COMPLETE state and can not be updated.")
	_, err = w.client.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: aws.String("bad"), TemplateBody: aws.String(body)})
	wantAPIError(t, err, "AlreadyExistsException", "Stack [bad] already exists")
	w.remove("bad")
	_, err = w.client.DescribeStacks(t.Context(), &cfn.DescribeStacksInput{StackName: aws.String("bad")})
	wantAPIError(t, err, "ValidationError", "Stack with id bad does not exist")
}

func TestOnFailure(t *testing.T) {
	tests := []struct {
		on   types.OnFailure
		want types.StackStatus
		left int
	}{
		{types.OnFailureDoNothing, types.StackStatusCreateFailed, 1},
		{types.OnFailureRollback, types.StackStatusRollbackComplete, 0},
		{types.OnFailureDelete, types.StackStatusDeleteComplete, 0},
	}
	for _, tt := range tests {
		t.Run(string(tt.on), func(t *testing.T) {
			w := newWorld(t)
			w.setFail("CREATE D", "not today")
			id := w.create("s", diamond[:strings.Index(diamond, "  B:")]+"  D: {Type: 'Test::Thing', DependsOn: A}\n", func(in *cfn.CreateStackInput) { in.OnFailure = tt.on })
			w.wantStatus(id, tt.want)
			if len(w.shelf.items) != tt.left {
				t.Errorf("left: %v, want %d", w.shelf.items, tt.left)
			}
		})
	}
}

func TestRollbackThatFails(t *testing.T) {
	w := newWorld(t)
	w.setFail("CREATE D", "not today")
	w.setFail("ROLLBACK A", "it is stuck")
	w.create("s", diamond)
	w.wantStatus("s", types.StackStatusRollbackFailed)
	if got := *w.stack("s").StackStatusReason; got != "The following resource(s) failed to delete: [A]. " {
		t.Errorf("reason %q", got)
	}
	w.remove("s")
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}

func TestDeletionOfAStackThatIsBeingCreated(t *testing.T) {
	w := newWorld(t)
	begun := make(chan struct{})
	w.shelf.enter = func(ctx context.Context, id string) error {
		if id == "D" {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	out, err := w.client.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(diamond)})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	w.wantStatus("s", types.StackStatusCreateInProgress)
	w.remove("s")
	w.wantStatus(*out.StackId, types.StackStatusDeleteComplete)
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}

func TestCloseBreaksOffWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t)
	begun := make(chan struct{})
	w.shelf.enter = func(ctx context.Context, _ string) error {
		close(begun)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if _, err := w.client.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(oneThing)}); err != nil {
		t.Fatal(err)
	}
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.service.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v", err)
	}
	if st := w.stack("s"); strings.HasSuffix(string(st.StackStatus), "IN_PROGRESS") {
		t.Errorf("the stack is %s after Close", st.StackStatus)
	}
	_, err := w.client.CreateStack(t.Context(), &cfn.CreateStackInput{StackName: aws.String("t"), TemplateBody: aws.String(oneThing)})
	wantAPIError(t, err, "ServiceUnavailable", "closed")
}

func TestUpdateInPlaceReplaceAndRemove(t *testing.T) {
	w := newWorld(t)
	w.create("s", `
Resources:
  A: {Type: 'Test::Thing', Properties: {Fixed: 1}}
  B: {Type: 'Test::Thing', Properties: {Of: !Ref A}}
  C: {Type: 'Test::Thing'}
  K: {Type: 'Test::Thing', DeletionPolicy: Retain}
  E: {Type: 'Test::Thing', Properties: {Same: 1}}
`)
	w.shelf.takeLog()
	before := len(w.events("s"))
	w.update("s", `
Resources:
  A: {Type: 'Test::Thing', Properties: {Fixed: 2}}
  B: {Type: 'Test::Thing', Properties: {Of: !Ref A}}
  D: {Type: 'Test::Thing', DependsOn: B}
  E: {Type: 'Test::Thing', Properties: {Same: '1'}}
`)
	w.wantStatus("s", types.StackStatusUpdateComplete)
	if got, want := w.shelf.takeLog()[:3], []string{"create A", "update B", "create D"}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	if got, want := slices.Sorted(maps.Keys(w.shelf.items)), []string{"A-6", "B-2", "D-7", "E-5", "K-4"}; len(got) != len(want) {
		t.Errorf("there is %v, want something like %v", got, want)
	}
	events := w.events("s")[before:]
	for _, want := range []string{
		"A UPDATE_IN_PROGRESS Requested update requires the creation of a new physical resource; hence creating one.",
		"A UPDATE_COMPLETE", "B UPDATE_COMPLETE", "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "A DELETE_COMPLETE", "C DELETE_COMPLETE", "K DELETE_SKIPPED",
	} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q in\n%s", want, strings.Join(events, "\n"))
		}
	}
	if slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "E ") }) {
		t.Error("E was touched although 1 and '1' are the same")
	}
	resources, err := w.client.DescribeStackResources(t.Context(), &cfn.DescribeStackResourcesInput{StackName: aws.String("s")})
	if err != nil || len(resources.StackResources) != 4 {
		t.Errorf("%d resources, %v, want 4", len(resources.StackResources), err)
	}
}

func TestFailedUpdateIsRolledBack(t *testing.T) {
	w := newWorld(t)
	first := `
Resources:
  A: {Type: 'Test::Thing', Properties: {Word: one}}
  B: {Type: 'Test::Thing', Properties: {Fixed: one}, DependsOn: A}
`
	w.create("s", first)
	before := w.snapshot()
	second := `
Resources:
  A: {Type: 'Test::Thing', Properties: {Word: two}}
  B: {Type: 'Test::Thing', Properties: {Fixed: two}, DependsOn: A}
  C: {Type: 'Test::Thing', DependsOn: B}
  D: {Type: 'Test::Thing', DependsOn: C}
`
	w.setFail("CREATE D", "no more room")
	w.update("s", second)
	w.wantStatus("s", types.StackStatusUpdateRollbackComplete)
	if after := w.snapshot(); after != before {
		t.Errorf("after the roll-back there is %s, want %s", after, before)
	}
	if !slices.Contains(w.events("s"), "s UPDATE_ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [D].") {
		t.Errorf("events:\n%s", strings.Join(w.events("s"), "\n"))
	}
	body, err := w.client.GetTemplate(t.Context(), &cfn.GetTemplateInput{StackName: aws.String("s")})
	if err != nil || *body.TemplateBody != first {
		t.Errorf("the template is not the first one: %v", err)
	}
	w.setFail("CREATE D", "")
	w.update("s", second)
	w.wantStatus("s", types.StackStatusUpdateComplete)
}

// snapshot is what the shelf has, as JSON.
func (w *world) snapshot() string {
	w.shelf.mu.Lock()
	defer w.shelf.mu.Unlock()
	text, err := json.Marshal(w.shelf.items)
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}

func TestContinueUpdateRollback(t *testing.T) {
	for _, skip := range []bool{false, true} {
		t.Run(fmt.Sprintf("skip %t", skip), func(t *testing.T) {
			w := newWorld(t)
			first := `
Resources:
  A: {Type: 'Test::Thing', Properties: {Word: one}}
  B: {Type: 'Test::Thing', Properties: {Word: one}, DependsOn: A}
`
			w.create("s", first)
			w.setFail("UPDATE B", "cannot")
			w.setFail("ROLLBACK A", "stuck")
			w.update("s", strings.ReplaceAll(first, "one", "two"))
			w.wantStatus("s", types.StackStatusUpdateRollbackFailed)
			_, err := w.client.UpdateStack(t.Context(), &cfn.UpdateStackInput{StackName: aws.String("s"), TemplateBody: &first})
			wantAPIError(t, err, "ValidationError", "is in UPDATE_ROLLBACK_FAILED state and can not be updated.")
			in := &cfn.ContinueUpdateRollbackInput{StackName: aws.String("s")}
			want := "one"
			if skip {
				in.ResourcesToSkip, want = []string{"A"}, "two"
			} else {
				w.setFail("ROLLBACK A", "")
			}
			if _, err := w.client.ContinueUpdateRollback(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			w.settle()
			w.wantStatus("s", types.StackStatusUpdateRollbackComplete)
			if got := w.shelf.items["A-1"]["Word"]; got != want {
				t.Errorf("A has %v, want %s", got, want)
			}
			if got := w.shelf.items["B-2"]["Word"]; got != "one" {
				t.Errorf("B has %v, want one", got)
			}
		})
	}
}

func TestDeletionThatFails(t *testing.T) {
	w := newWorld(t)
	id := w.create("s", diamond)
	w.setFail("DELETE A", "in use")
	w.remove("s")
	w.wantStatus("s", types.StackStatusDeleteFailed)
	if got := *w.stack("s").StackStatusReason; got != "The following resource(s) failed to delete: [A]. " {
		t.Errorf("reason %q", got)
	}
	w.remove("s", "A")
	w.wantStatus(id, types.StackStatusDeleteComplete)
	if got := slices.Collect(maps.Keys(w.shelf.items)); len(got) != 1 || !strings.HasPrefix(got[0], "A-") {
		t.Errorf("there is %v, want only A", got)
	}
	w.create("s", diamond)
	_, err := w.client.DeleteStack(t.Context(), &cfn.DeleteStackInput{StackName: aws.String("s"), RetainResources: []string{"A"}})
	wantAPIError(t, err, "ValidationError", "only when the stack is in the DELETE_FAILED state")
}

func TestTerminationProtection(t *testing.T) {
	w := newWorld(t)
	w.create("s", oneThing, func(in *cfn.CreateStackInput) { in.EnableTerminationProtection = aws.Bool(true) })
	_, err := w.client.DeleteStack(t.Context(), &cfn.DeleteStackInput{StackName: aws.String("s")})
	wantAPIError(t, err, "ValidationError", "Stack [s] cannot be deleted while TerminationProtection is enabled")
	if _, err := w.client.UpdateTerminationProtection(t.Context(), &cfn.UpdateTerminationProtectionInput{StackName: aws.String("s"), EnableTerminationProtection: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	w.remove("s")
}

func TestExportsInUse(t *testing.T) {
	w := newWorld(t)
	w.create("one", oneThing)
	_, err := w.client.ListImports(t.Context(), &cfn.ListImportsInput{ExportName: aws.String("one-Arn")})
	wantAPIError(t, err, "ValidationError", "Export 'one-Arn' is not imported by any stack.")

	user := `
Parameters: {Target: {Type: String, Default: one}}
Resources: {U: {Type: 'Test::Thing', Properties: {Of: {'Fn::ImportValue': !Sub '${Target}-Arn'}}}}
`
	w.create("two", user)
	if got := w.shelf.items["U-2"]["Of"]; got != "arn:A-1" {
		t.Errorf("imported %v, want arn:A-1", got)
	}
	imports, err := w.client.ListImports(t.Context(), &cfn.ListImportsInput{ExportName: aws.String("one-Arn")})
	if err != nil || !slices.Equal(imports.Imports, []string{"two"}) {
		t.Errorf("ListImports: %v, %v", imports, err)
	}
	exports, err := w.client.ListExports(t.Context(), &cfn.ListExportsInput{})
	if err != nil || len(exports.Exports) != 1 || *exports.Exports[0].Value != "arn:A-1" {
		t.Errorf("ListExports: %v, %v", exports, err)
	}

	w.remove("one")
	w.wantStatus("one", types.StackStatusCreateComplete)
	if got := aws.ToString(w.stack("one").StackStatusReason); got != "Export one-Arn cannot be deleted as it is in use by two" {
		t.Errorf("reason %q", got)
	}
	w.update("one", strings.ReplaceAll(oneThing, "Word: !Ref", "Fixed: !Ref")) // a new ARN
	w.wantStatus("one", types.StackStatusUpdateRollbackComplete)
	if !slices.Contains(w.events("one"), "one UPDATE_ROLLBACK_IN_PROGRESS Export one-Arn cannot be updated as it is in use by two") {
		t.Errorf("events:\n%s", strings.Join(w.events("one"), "\n"))
	}
	w.update("one", oneThing[:strings.Index(oneThing, "Outputs")])
	if !slices.Contains(w.events("one"), "one UPDATE_ROLLBACK_IN_PROGRESS Export one-Arn cannot be deleted as it is in use by two") {
		t.Errorf("events:\n%s", strings.Join(w.events("one"), "\n"))
	}
	w.remove("two")
	w.remove("one")
	if len(w.shelf.items) != 0 {
		t.Errorf("left behind: %v", w.shelf.items)
	}
}

func TestReasonsOfFailedStacks(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"empty export", "Resources: {A: {Type: 'Test::Thing'}}\nOutputs: {O: {Value: ' ', Export: {Name: x}}}",
			"Cannot export output O. Exported values must not be empty or whitespace-only. Rollback requested by user."},
		{"missing export", "Resources: {A: {Type: 'Test::Thing', Properties: {P: !ImportValue nothing}}}",
			"No export named nothing found. Rollback requested by user."},
		{"export of another stack", "Resources: {A: {Type: 'Test::Thing'}}\nOutputs: {O: {Value: v, Export: {Name: taken}}}",
			"Export with name taken is already exported by stack first. Rollback requested by user."},
		{"unknown attribute", "Resources: {A: {Type: 'Test::Thing'}, B: {Type: 'Test::Thing', Properties: {P: !GetAtt A.Size}}}",
			"The following resource(s) failed to create: [B]. Rollback requested by user."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.create("first", "Resources: {A: {Type: 'Test::Thing'}}\nOutputs: {O: {Value: v, Export: {Name: taken}}}")
			w.create("s", tt.body)
			w.wantStatus("s", types.StackStatusRollbackComplete)
			if want := "s ROLLBACK_IN_PROGRESS " + tt.want; !slices.Contains(w.events("s"), want) {
				t.Errorf("no event %q in\n%s", want, strings.Join(w.events("s"), "\n"))
			}
		})
	}
}
