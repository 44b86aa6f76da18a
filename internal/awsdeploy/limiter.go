package awsdeploy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// Lengths of formats and tags of a limiter's stack (aws.md 2.1, 2.7).
const (
	maxRoleFormat   = 55
	maxPolicyFormat = 120
	maxUserTags     = 45
	maxTagKey       = 128
	maxTagValue     = 256
)

// LimiterOptions are what a limiter's stack is made of. Nil and empty values stay as they are in a stack
// that exists, and are the template's defaults, without roles, in a new one.
type LimiterOptions struct {
	Name               string
	Alarms             *bool
	AlarmTopic         string
	PITRDays           int // 1 to 35; 0 = not given
	PermissionBoundary string
	// RoleFormat and PolicyFormat have exactly one {}, for the name that role or policy would have.
	RoleFormat, PolicyFormat string
	IAM, Roles               *bool
	DeletionProtection       *bool
	UserTags                 map[string]string
}

// roles and policies of the template: the suffix of the name by the parameter that replaces it.
var (
	roleNames   = map[string]string{"AppRoleName": "-app", "AdminRoleName": "-admin", "ReadOnlyRoleName": "-read"}
	policyNames = map[string]string{
		"AcquireOnlyPolicyName": "-acq", "FullAccessPolicyName": "-full", "ReadOnlyPolicyName": "-read",
		"NamespaceAcquirePolicyName": "-ns-acq", "NamespaceFullAccessPolicyName": "-ns-full", "NamespaceReadOnlyPolicyName": "-ns-read",
	}
)

// Validate reports everything that is wrong at once.
func (o *LimiterOptions) Validate() error {
	errs := []error{CheckName(o.Name)}
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(o.PITRDays != 0 && (o.PITRDays < 1 || o.PITRDays > 35), "--pitr-recovery-days must be from 1 to 35, got %d", o.PITRDays)
	refuse(o.IAM != nil && !*o.IAM && o.Roles != nil && *o.Roles, "--no-iam does not go with --create-iam-roles")
	formats := func(option, format string, most, longest int, names map[string]string) {
		if format == "" {
			return
		}
		refuse(len(format) > most, "%s %q has %d characters, at most %d are allowed", option, format, len(format), most)
		for _, suffix := range names {
			name, err := FormatName(format, o.Name+suffix)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s %w", option, err))
				return
			}
			refuse(len(name) > longest, "%s gives the name %s of %d characters, at most %d are allowed", option, name, len(name), longest)
		}
	}
	formats("--role-name-format", o.RoleFormat, maxRoleFormat, maxRoleName, roleNames)
	formats("--policy-name-format", o.PolicyFormat, maxPolicyFormat, maxPolicyName, policyNames)
	refuse(len(o.UserTags) > maxUserTags, "%d tags, at most %d are allowed", len(o.UserTags), maxUserTags)
	for _, key := range slices.Sorted(maps.Keys(o.UserTags)) {
		refuse(key == "" || len(key) > maxTagKey || strings.HasPrefix(key, "aws:"), "--tag %q: a key has 1 to %d characters and does not begin with aws:", key, maxTagKey)
		refuse(len(o.UserTags[key]) > maxTagValue, "--tag %q: the value has %d characters, at most %d are allowed", key, len(o.UserTags[key]), maxTagValue)
	}
	return errors.Join(errs...)
}

// Parameters are the values that the options set; before is the stack as it is, nil for a new one. The
// second result are the parameters that keep their value.
func (o *LimiterOptions) Parameters(before *stack.Stack) (set map[string]string, keep []string) {
	set = map[string]string{"EnableAggregator": "false", "EnableProvisioner": "false"}
	text := func(name, value string) {
		if value != "" {
			set[name] = value
		}
	}
	if before == nil {
		// As the Python tool does: policies are made, roles only when asked for.
		set["EnableIAMRoles"] = "false"
	}
	for name, value := range map[string]*bool{"EnableAlarms": o.Alarms, "EnableIAM": o.IAM, "EnableIAMRoles": o.Roles, "EnableDeletionProtection": o.DeletionProtection} {
		if value != nil {
			set[name] = strconv.FormatBool(*value)
		}
	}
	text("AlarmSNSTopicArn", o.AlarmTopic)
	text("PermissionBoundary", o.PermissionBoundary)
	text("RoleNameFormat", o.RoleFormat)
	if o.PITRDays != 0 {
		set["PITRRecoveryPeriodDays"] = strconv.Itoa(o.PITRDays)
	}
	rename := func(format string, names map[string]string) {
		if format == "" {
			return
		}
		for parameter, suffix := range names {
			set[parameter], _ = FormatName(format, o.Name+suffix) // Validate has seen the format
		}
	}
	rename(o.RoleFormat, roleNames)
	rename(o.PolicyFormat, policyNames)
	if before != nil {
		keep = KeptParameters(before, limiterTemplate)
	}
	return set, keep
}

// KeptParameters are the parameters of a stack that a template still declares, sorted.
func KeptParameters(before *stack.Stack, template string) []string {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(template), &document); err != nil || len(document.Content) == 0 {
		return nil
	}
	declared := lookup(document.Content[0], "Parameters")
	var keep []string
	for name := range before.Parameters {
		if declared != nil && position(declared, name) >= 0 {
			keep = append(keep, name)
		}
	}
	slices.Sort(keep)
	return keep
}

// Tags are those of the stack: what it has, then the user's, then those by which it is known.
func (o *LimiterOptions) Tags(before *stack.Stack, version, schema string) map[string]string {
	tags := map[string]string{}
	if before != nil {
		maps.Copy(tags, before.Tags)
	}
	maps.Copy(tags, o.UserTags)
	maps.Copy(tags, map[string]string{
		stack.ManagedByTag: stack.Manager, stack.NameTag: o.Name, stack.TypeTag: stack.TypeLimiter,
		VersionTag: version, "zae-limiter:schema-version": schema,
	})
	return tags
}

// HasFunctions reports whether a limiter's stack has the functions of the Python tool, which this
// program's template does not.
func HasFunctions(s *stack.Stack) bool {
	return s.Outputs["AggregatorFunctionName"] != "" || s.Outputs["ProvisionerFunctionName"] != "" || s.Outputs["AggregatorDLQUrl"] != ""
}

// ErrWouldReplace says that an update would take resources away.
var ErrWouldReplace = errors.New("the update would replace or remove resources")

// GuardLimiter refuses changes that take a resource of a limiter away: its table is its data, and policies
// with names cannot be replaced.
func GuardLimiter(changes []stack.Change) error {
	var lost []string
	for i := range changes {
		if c := &changes[i]; c.Replaces() {
			what := "removed"
			if c.Replacement != "" {
				what = "replaced: " + c.Replacement
			}
			lost = append(lost, fmt.Sprintf("%s (%s, %s)", c.LogicalID, c.Type, what))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s; nothing was changed", ErrWouldReplace, strings.Join(lost, ", "))
}

// WithCurrentPolicies is a deployed template of a limiter, of any release, with the policies of the
// present one in place and nothing else changed: table, functions and parameters stay.
func WithCurrentPolicies(deployed string) (string, error) {
	var theirs, ours yaml.Node
	if err := yaml.Unmarshal([]byte(deployed), &theirs); err != nil {
		return "", fmt.Errorf("deployed template: %w", err)
	}
	if err := yaml.Unmarshal([]byte(limiterTemplate), &ours); err != nil {
		return "", fmt.Errorf("limiter template: %w", err)
	}
	if len(theirs.Content) == 0 || lookup(theirs.Content[0], "Resources", "RateLimitsTable") == nil {
		return "", errors.New("deployed template: has no RateLimitsTable, so it is none of a limiter")
	}
	for parameter := range policyNames {
		id := strings.TrimSuffix(parameter, "Name")
		properties := lookup(theirs.Content[0], "Resources", id, "Properties")
		if properties == nil {
			continue // a release may lack one; adding it is a change of another kind
		}
		i := position(properties, "PolicyDocument")
		if i < 0 {
			return "", fmt.Errorf("deployed template: policy %s has no PolicyDocument", id)
		}
		properties.Content[i+1] = lookup(ours.Content[0], "Resources", id, "Properties", "PolicyDocument")
	}
	withoutLayout(&theirs)
	return encodeTemplate(&theirs)
}

// withoutLayout removes comments, which count towards the size of a request, and writes texts of several
// lines as one quoted string: the encoder may break folded ones elsewhere, and CloudFormation would see
// another text.
func withoutLayout(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	if n.Style&(yaml.FoldedStyle|yaml.LiteralStyle) != 0 {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		withoutLayout(c)
	}
}
