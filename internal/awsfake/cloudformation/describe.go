package cloudformation

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func (s *Service) describeStacks(_ context.Context, call *protocol.Call, in *cloudformation.DescribeStacksInput) (*cloudformation.DescribeStacksOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if aws.ToString(in.StackName) != "" {
		st, err := s.existing(call, "DescribeStacks", in.StackName, noStackWithID)
		if err != nil {
			return nil, err
		}
		return &cloudformation.DescribeStacksOutput{Stacks: []types.Stack{st.shown()}}, nil
	}
	if err := call.Allow("cloudformation:DescribeStacks"); err != nil {
		return nil, err
	}
	stacks, next, err := page(s, s.newestFirst(call, func(st *stack) bool { return !st.deleted() }), in.NextToken, stackID)
	if err != nil {
		return nil, err
	}
	out := &cloudformation.DescribeStacksOutput{NextToken: next}
	for _, st := range stacks {
		out.Stacks = append(out.Stacks, st.shown())
	}
	return out, nil
}

func stackID(st *stack) string { return st.ID }

// newestFirst are the stacks of the call's region that wanted says yes to.
func (s *Service) newestFirst(call *protocol.Call, wanted func(*stack) bool) []*stack {
	var out []*stack
	for _, st := range slices.Backward(s.stacks) {
		if st.Account == call.Account && st.Region == call.Region && wanted(st) {
			out = append(out, st)
		}
	}
	return out
}

// shown is the stack as DescribeStacks gives it.
func (st *stack) shown() types.Stack {
	out := types.Stack{
		StackId: &st.ID, StackName: &st.Name, StackStatus: st.Status, StackStatusReason: optional(st.Reason),
		CreationTime: &st.Created, LastUpdatedTime: moment(st.Updated), DeletionTime: moment(st.Deleted),
		ChangeSetId: optional(st.ChangeSetID), EnableTerminationProtection: &st.TerminationProtection,
		DisableRollback:  aws.Bool(st.OnFailure == types.OnFailureDoNothing),
		DriftInformation: &types.StackDriftInformation{StackDriftStatus: types.StackDriftStatusNotChecked},
	}
	for _, o := range st.Outputs {
		out.Outputs = append(out.Outputs, types.Output{
			OutputKey: &o.Key, OutputValue: &o.Value, Description: optional(o.Description), ExportName: optional(o.Export),
		})
	}
	if d := st.Definition; d != nil {
		out.Description = optional(d.template.Description)
		out.Parameters, out.Tags = d.shownParameters(), shownTags(d.Tags)
		out.Capabilities, out.NotificationARNs, out.RoleARN = d.Capabilities, d.NotificationARNs, optional(d.RoleARN)
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// shownParameters are the parameters with their values, those with NoEcho hidden.
func (d *definition) shownParameters() []types.Parameter {
	var out []types.Parameter
	for _, key := range slices.Sorted(maps.Keys(d.Parameters)) {
		value := d.Parameters[key]
		if d.template.Parameters[key].NoEcho {
			value = "****"
		}
		out = append(out, types.Parameter{ParameterKey: &key, ParameterValue: &value})
	}
	return out
}

func shownTags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: &key, Value: aws.String(tags[key])})
	}
	return out
}

func (s *Service) listStacks(_ context.Context, call *protocol.Call, in *cloudformation.ListStacksInput) (*cloudformation.ListStacksOutput, error) {
	if err := call.Allow("cloudformation:ListStacks"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := func(st *stack) bool {
		return len(in.StackStatusFilter) == 0 || slices.Contains(in.StackStatusFilter, st.Status)
	}
	stacks, next, err := page(s, s.newestFirst(call, wanted), in.NextToken, stackID)
	if err != nil {
		return nil, err
	}
	out := &cloudformation.ListStacksOutput{NextToken: next}
	for _, st := range stacks {
		full := st.shown()
		out.StackSummaries = append(out.StackSummaries, types.StackSummary{
			StackId: full.StackId, StackName: full.StackName, StackStatus: full.StackStatus, StackStatusReason: full.StackStatusReason,
			CreationTime: full.CreationTime, LastUpdatedTime: full.LastUpdatedTime, DeletionTime: full.DeletionTime,
			TemplateDescription: full.Description,
		})
	}
	return out, nil
}

func (s *Service) describeStackEvents(_ context.Context, call *protocol.Call, in *cloudformation.DescribeStackEventsInput) (*cloudformation.DescribeStackEventsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "DescribeStackEvents", in.StackName, noStack)
	if err != nil {
		return nil, err
	}
	newest := slices.Clone(st.Events)
	slices.Reverse(newest)
	events, next, err := page(s, newest, in.NextToken, func(e types.StackEvent) string { return *e.EventId })
	if err != nil {
		return nil, err
	}
	return &cloudformation.DescribeStackEventsOutput{StackEvents: events, NextToken: next}, nil
}

// inventory are the stack's resources, by name.
func (st *stack) inventory() []*stackResource {
	var out []*stackResource
	for _, id := range slices.Sorted(maps.Keys(st.Resources)) {
		out = append(out, st.Resources[id])
	}
	return out
}

func (r *stackResource) physicalID() *string {
	if r.Current == nil {
		return nil
	}
	return optional(r.Current.ID)
}

func (s *Service) describeStackResources(_ context.Context, call *protocol.Call, in *cloudformation.DescribeStackResourcesInput) (*cloudformation.DescribeStackResourcesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := in.StackName
	if name == nil && in.PhysicalResourceId != nil {
		for _, st := range s.newestFirst(call, func(st *stack) bool { return !st.deleted() }) {
			for _, r := range st.Resources {
				if aws.ToString(r.physicalID()) == *in.PhysicalResourceId {
					name = &st.ID
				}
			}
		}
		if name == nil {
			return nil, invalid("Stack for %s does not exist", *in.PhysicalResourceId)
		}
	}
	st, err := s.existing(call, "DescribeStackResources", name, noStackWithID)
	if err != nil {
		return nil, err
	}
	out := &cloudformation.DescribeStackResourcesOutput{}
	for _, r := range st.inventory() {
		if in.LogicalResourceId == nil || *in.LogicalResourceId == r.LogicalID {
			out.StackResources = append(out.StackResources, types.StackResource{
				StackId: &st.ID, StackName: &st.Name, LogicalResourceId: &r.LogicalID, PhysicalResourceId: r.physicalID(),
				ResourceType: &r.Type, ResourceStatus: r.Status, ResourceStatusReason: optional(r.Reason), Timestamp: aws.Time(r.Updated),
				DriftInformation: &types.StackResourceDriftInformation{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
			})
		}
	}
	if in.LogicalResourceId != nil && len(out.StackResources) == 0 {
		return nil, invalid("Resource %s does not exist for stack %s", *in.LogicalResourceId, st.Name)
	}
	return out, nil
}

func (s *Service) describeStackResource(_ context.Context, call *protocol.Call, in *cloudformation.DescribeStackResourceInput) (*cloudformation.DescribeStackResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "DescribeStackResource", in.StackName, noStackQuoted)
	if err != nil {
		return nil, err
	}
	if in.LogicalResourceId == nil {
		return nil, missing("logicalResourceId")
	}
	r := st.Resources[*in.LogicalResourceId]
	if r == nil {
		return nil, invalid("Resource %s does not exist for stack %s", *in.LogicalResourceId, st.Name)
	}
	detail := &types.StackResourceDetail{
		StackId: &st.ID, StackName: &st.Name, LogicalResourceId: &r.LogicalID, PhysicalResourceId: r.physicalID(),
		ResourceType: &r.Type, ResourceStatus: r.Status, ResourceStatusReason: optional(r.Reason), LastUpdatedTimestamp: aws.Time(r.Updated),
		DriftInformation: &types.StackResourceDriftInformation{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
	}
	if st.Definition != nil {
		if declared := st.Definition.template.Resources[r.LogicalID]; declared != nil {
			detail.Metadata = jsonText(declared.Metadata)
		}
	}
	return &cloudformation.DescribeStackResourceOutput{StackResourceDetail: detail}, nil
}

func (s *Service) listStackResources(_ context.Context, call *protocol.Call, in *cloudformation.ListStackResourcesInput) (*cloudformation.ListStackResourcesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "ListStackResources", in.StackName, noStackWithID)
	if err != nil {
		return nil, err
	}
	resources, next, err := page(s, st.inventory(), in.NextToken, func(r *stackResource) string { return r.LogicalID })
	if err != nil {
		return nil, err
	}
	out := &cloudformation.ListStackResourcesOutput{NextToken: next}
	for _, r := range resources {
		out.StackResourceSummaries = append(out.StackResourceSummaries, types.StackResourceSummary{
			LogicalResourceId: &r.LogicalID, PhysicalResourceId: r.physicalID(), ResourceType: &r.Type, ResourceStatus: r.Status,
			ResourceStatusReason: optional(r.Reason), LastUpdatedTimestamp: aws.Time(r.Updated),
			DriftInformation: &types.StackResourceDriftInformationSummary{StackResourceDriftStatus: types.StackResourceDriftStatusNotChecked},
		})
	}
	return out, nil
}

func (s *Service) getTemplate(_ context.Context, call *protocol.Call, in *cloudformation.GetTemplateInput) (*cloudformation.GetTemplateOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var d *definition
	if in.ChangeSetName != nil {
		_, set, err := s.findChangeSet(call, "GetTemplate", in.StackName, in.ChangeSetName)
		if err != nil {
			return nil, err
		}
		d = set.Definition
	} else {
		st, err := s.existing(call, "GetTemplate", in.StackName, noStackWithID)
		if err != nil {
			return nil, err
		}
		if d = st.Definition; d == nil {
			return nil, invalid("Stack [%s] has no template", st.Name)
		}
	}
	return &cloudformation.GetTemplateOutput{
		TemplateBody: &d.Body, StagesAvailable: []types.TemplateStage{types.TemplateStageOriginal, types.TemplateStageProcessed},
	}, nil
}

// capabilities are what the caller must give for a template, and why.
func capabilities(t *template.Template) ([]types.Capability, *string) {
	capability, needy := t.Capability()
	if capability == "" {
		return nil, nil
	}
	return []types.Capability{types.Capability(capability)},
		aws.String("The following resource(s) require capabilities: [" + strings.Join(needy, ", ") + "]")
}

func (s *Service) getTemplateSummary(ctx context.Context, call *protocol.Call, in *cloudformation.GetTemplateSummaryInput) (*cloudformation.GetTemplateSummaryOutput, error) {
	var t *template.Template
	if in.StackName != nil {
		err := s.withLock(func() error {
			st, err := s.existing(call, "GetTemplateSummary", in.StackName, noStackWithID)
			if err == nil && st.Definition == nil {
				err = invalid("Stack [%s] has no template", st.Name)
			}
			if err == nil {
				t = st.Definition.template
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	} else {
		if err := call.Allow("cloudformation:GetTemplateSummary"); err != nil {
			return nil, err
		}
		var err error
		if _, t, err = s.readTemplate(ctx, in.TemplateBody, in.TemplateURL); err != nil {
			return nil, err
		}
	}
	out := &cloudformation.GetTemplateSummaryOutput{
		Description: optional(t.Description), Version: optional(t.Version), ResourceTypes: t.ResourceTypes(), Metadata: jsonText(t.Metadata),
	}
	out.Capabilities, out.CapabilitiesReason = capabilities(t)
	for _, key := range slices.Sorted(maps.Keys(t.Parameters)) {
		p := t.Parameters[key]
		declaration := types.ParameterDeclaration{
			ParameterKey: &key, ParameterType: &p.Type, DefaultValue: p.Default, Description: optional(p.Description), NoEcho: &p.NoEcho,
		}
		if len(p.AllowedValues) > 0 {
			declaration.ParameterConstraints = &types.ParameterConstraints{AllowedValues: p.AllowedValues}
		}
		out.Parameters = append(out.Parameters, declaration)
	}
	return out, nil
}

func (s *Service) validateTemplate(ctx context.Context, call *protocol.Call, in *cloudformation.ValidateTemplateInput) (*cloudformation.ValidateTemplateOutput, error) {
	if err := call.Allow("cloudformation:ValidateTemplate"); err != nil {
		return nil, err
	}
	_, t, err := s.readTemplate(ctx, in.TemplateBody, in.TemplateURL)
	if err != nil {
		return nil, err
	}
	if err := s.checkTypes(t); err != nil {
		return nil, err
	}
	out := &cloudformation.ValidateTemplateOutput{Description: optional(t.Description)}
	out.Capabilities, out.CapabilitiesReason = capabilities(t)
	for _, key := range slices.Sorted(maps.Keys(t.Parameters)) {
		p := t.Parameters[key]
		out.Parameters = append(out.Parameters, types.TemplateParameter{
			ParameterKey: &key, DefaultValue: p.Default, Description: optional(p.Description), NoEcho: &p.NoEcho,
		})
	}
	return out, nil
}

func (s *Service) listExports(_ context.Context, call *protocol.Call, in *cloudformation.ListExportsInput) (*cloudformation.ListExportsOutput, error) {
	if err := call.Allow("cloudformation:ListExports"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var exports []types.Export
	for _, st := range s.newestFirst(call, func(st *stack) bool { return !st.deleted() }) {
		for _, o := range st.Outputs {
			if o.Export != "" {
				exports = append(exports, types.Export{Name: &o.Export, Value: &o.Value, ExportingStackId: &st.ID})
			}
		}
	}
	sort.Slice(exports, func(i, j int) bool { return *exports[i].Name < *exports[j].Name })
	exports, next, err := page(s, exports, in.NextToken, func(e types.Export) string { return *e.Name })
	if err != nil {
		return nil, err
	}
	return &cloudformation.ListExportsOutput{Exports: exports, NextToken: next}, nil
}

func (s *Service) listImports(_ context.Context, call *protocol.Call, in *cloudformation.ListImportsInput) (*cloudformation.ListImportsOutput, error) {
	if err := call.Allow("cloudformation:ListImports"); err != nil {
		return nil, err
	}
	if in.ExportName == nil {
		return nil, missing("exportName")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.importers(&stack{Account: call.Account, Region: call.Region}, *in.ExportName)
	if len(names) == 0 {
		return nil, invalid("Export '%s' is not imported by any stack.", *in.ExportName)
	}
	names, next, err := page(s, names, in.NextToken, func(name string) string { return name })
	if err != nil {
		return nil, err
	}
	return &cloudformation.ListImportsOutput{Imports: names, NextToken: next}, nil
}
