package cloudformation

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Limits of a template, in bytes (aws.md 5.9).
const (
	maxBody   = 51_200
	maxObject = 1 << 20
)

// maxTags is how many tags a stack can have.
const maxTags = 50

// request is what the operations have in common that make or change a stack.
type request struct {
	body, url        *string
	usePrevious      bool
	parameters       []types.Parameter
	tags             []types.Tag // nil keeps the tags
	capabilities     []types.Capability
	notificationARNs []string
	roleARN          *string
}

// define reads a request; previous is the stack's definition, nil for a new stack. It is called without
// the lock, because the template may have to be fetched.
func (s *Service) define(ctx context.Context, previous *definition, r request) (*definition, error) {
	d := &definition{Capabilities: r.capabilities, NotificationARNs: r.notificationARNs, RoleARN: aws.ToString(r.roleARN)}
	var before map[string]string
	if previous != nil {
		before, d.Tags = previous.Parameters, previous.Tags
	}
	var err error
	if r.usePrevious && previous != nil {
		d.Body, d.template = previous.Body, previous.template
	} else if d.Body, d.template, err = s.readTemplate(ctx, r.body, r.url); err != nil {
		return nil, err
	}
	if err := s.checkTypes(d.template); err != nil {
		return nil, err
	}
	given := map[string]template.Given{}
	for _, p := range r.parameters {
		key := aws.ToString(p.ParameterKey)
		if p.ParameterValue != nil && aws.ToBool(p.UsePreviousValue) {
			return nil, invalid("Invalid input for parameter key %s. Cannot specify usePreviousValue as true and non empty value for a parameter", key)
		}
		given[key] = template.Given{Value: aws.ToString(p.ParameterValue), UsePrevious: aws.ToBool(p.UsePreviousValue)}
	}
	if d.Parameters, err = d.template.Values(given, before); err != nil {
		return nil, refusal(err)
	}
	if err := checkCapabilities(d.template, r.capabilities); err != nil {
		return nil, err
	}
	if r.tags != nil || d.Tags == nil {
		d.Tags, err = tagsOf(r.tags)
	}
	return d, err
}

// readTemplate reads a template that comes with a request.
func (s *Service) readTemplate(ctx context.Context, body, url *string) (string, *template.Template, error) {
	var text string
	switch {
	case body != nil && url != nil, body == nil && url == nil:
		return "", nil, invalid("Either Template URL or Template Body must be specified.")
	case body != nil:
		text = *body
		if len(text) > maxBody {
			return "", nil, invalid("1 validation error detected: Value '%s' at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to %d", text, maxBody)
		}
	case s.options.FetchTemplate == nil:
		return "", nil, invalid("TemplateURL must be a supported URL.")
	default:
		object, err := s.options.FetchTemplate(ctx, *url)
		if err != nil {
			return "", nil, invalid("S3 error: %s", err)
		}
		if len(object) > maxObject {
			return "", nil, invalid("Template may not exceed %d bytes in size.", maxObject)
		}
		text = string(object)
	}
	t, err := template.Parse(text)
	if err != nil {
		return "", nil, refusal(err)
	}
	return text, t, nil
}

func (s *Service) checkTypes(t *template.Template) error {
	var unknown []string
	for _, name := range t.ResourceTypes() {
		if _, ok := s.options.Providers[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return invalid("Template format error: Unrecognized resource types: [%s]", strings.Join(unknown, ", "))
	}
	return nil
}

func checkCapabilities(t *template.Template, given []types.Capability) error {
	needed, _ := t.Capability()
	if needed == "" || slices.Contains(given, types.CapabilityCapabilityNamedIam) || slices.Contains(given, types.Capability(needed)) {
		return nil
	}
	return protocol.Errorf("InsufficientCapabilitiesException", "Requires capabilities : [%s]", needed)
}

func tagsOf(from []types.Tag) (map[string]string, error) {
	tags := make(map[string]string, len(from))
	for _, tag := range from {
		key := aws.ToString(tag.Key)
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, invalid("aws: prefixed tag key names are not allowed for external use.")
		}
		if _, twice := tags[key]; twice {
			return nil, invalid("Duplicate tag key: %s", key)
		}
		tags[key] = aws.ToString(tag.Value)
	}
	if len(tags) > maxTags {
		return nil, invalid("Number of tags cannot exceed %d.", maxTags)
	}
	return tags, nil
}

// preflight checks what the request cannot know: that the things exist which the parameters name, and
// that the imported exports do. It gives the imports. It is called without the lock.
func (s *Service) preflight(ctx context.Context, st *stack, d *definition) (imports []string, err error) {
	if s.options.Exists != nil {
		for name, p := range d.template.Parameters {
			kind := p.Account()
			if kind == "" {
				continue
			}
			for _, value := range p.Items(d.Parameters[name]) {
				if !s.options.Exists(ctx, st.Account, st.Region, kind, value) {
					return nil, template.Errorf("Parameter validation failed: parameter value %s for parameter name %s does not exist", value, name)
				}
			}
		}
	}
	instance, err := d.instance(st)
	if err != nil {
		return nil, err
	}
	if imports, err = instance.Imports(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, export := range imports {
		if _, err := s.exported(st, export); err != nil {
			return nil, err
		}
	}
	return imports, nil
}

// exported is the value of an export of the region of st. The lock is held.
func (s *Service) exported(st *stack, name string) (string, error) {
	for _, other := range s.stacks {
		if other.Account != st.Account || other.Region != st.Region || other.deleted() {
			continue
		}
		if o := other.export(name); o != nil {
			return o.Value, nil
		}
	}
	return "", template.Errorf("No export named %s found", name)
}

// importers are the names of the stacks that import an export of st. The lock is held.
func (s *Service) importers(st *stack, export string) []string {
	var names []string
	for _, other := range s.stacks {
		if other.Account == st.Account && other.Region == st.Region && !other.deleted() && slices.Contains(other.Imports, export) {
			names = append(names, other.Name)
		}
	}
	return names
}

// checkExports says why the outputs of st cannot become next. The lock is held.
func (s *Service) checkExports(st *stack, next []output) error {
	after := stack{Outputs: next}
	for _, o := range st.Outputs {
		users := s.importers(st, o.Export)
		if o.Export == "" || len(users) == 0 {
			continue
		}
		if now := after.export(o.Export); now == nil {
			return inUse(o.Export, "deleted", users)
		} else if now.Value != o.Value {
			return inUse(o.Export, "updated", users)
		}
	}
	for _, o := range next {
		for _, other := range s.stacks {
			if o.Export != "" && other != st && other.Account == st.Account && other.Region == st.Region && !other.deleted() && other.export(o.Export) != nil {
				return template.Errorf("Export with name %s is already exported by stack %s.", o.Export, other.Name)
			}
		}
	}
	return nil
}

func inUse(export, what string, by []string) error {
	return template.Errorf("Export %s cannot be %s as it is in use by %s", export, what, strings.Join(by, " and "))
}

// reason is the text of an error as it stands in an event.
func reason(err error) string {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
