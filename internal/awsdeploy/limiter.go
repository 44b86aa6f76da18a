package awsdeploy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
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
	Aggregator               AggregatorOptions
	UserTags                 map[string]string
}

// AggregatorOptions are those of the function that follows the table's stream.
type AggregatorOptions struct {
	// Enabled is nil when it was not said.
	Enabled *bool
	// Architecture is amd64 or arm64, Go's words for it.
	Architecture string
	// RoleARN is a role that is there already.
	RoleARN          string
	Windows          string // as hourly,daily
	RetentionDays    int    // of usage snapshots; 0 = not given, as below
	LogRetentionDays int
	TimeoutSeconds   int
	MemoryMB         int
	// DurationPercent is the part of the timeout above which an average duration rings the alarm.
	DurationPercent int
	Tracing         *bool
}

// AggregatorFunction is the name of a limiter's aggregator.
func AggregatorFunction(name string) string { return name + "-aggregator" }

// Defaults of the template that others are computed from.
const (
	defaultAggregatorTimeout = 60 // seconds
	defaultDurationPercent   = 80
)

// logRetentionDays are those that CloudWatch Logs has (aws.md 2.1).
var logRetentionDays = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

var roleARN = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):iam::[0-9]{12}:role/.+$`)

func (o *AggregatorOptions) validate(refuse func(bool, string, ...any)) {
	between := func(option string, value, least, most int) {
		refuse(value != 0 && (value < least || value > most), "%s must be from %d to %d, got %d", option, least, most, value)
	}
	between("--usage-retention-days", o.RetentionDays, 1, 3650)
	between("--lambda-timeout", o.TimeoutSeconds, 1, 900)
	between("--lambda-memory", o.MemoryMB, 128, 3008)
	between("--lambda-duration-threshold-pct", o.DurationPercent, 1, 100)
	refuse(o.LogRetentionDays != 0 && !slices.Contains(logRetentionDays, o.LogRetentionDays), "--log-retention-days %d: CloudWatch has %v", o.LogRetentionDays, logRetentionDays)
	refuse(o.RoleARN != "" && !roleARN.MatchString(o.RoleARN), "--aggregator-role-arn %q is no ARN of a role", o.RoleARN)
}

// parameters sets those that were given; before are the stack's, nil for a new one.
func (o *AggregatorOptions) parameters(set, before map[string]string) {
	text := func(name, value string) {
		if value != "" {
			set[name] = value
		}
	}
	number := func(name string, value int) {
		if value != 0 {
			set[name] = strconv.Itoa(value)
		}
	}
	flag := func(name string, value *bool) {
		if value != nil {
			set[name] = strconv.FormatBool(*value)
		}
	}
	flag("EnableAggregator", o.Enabled)
	flag("EnableTracing", o.Tracing)
	text("AggregatorArchitecture", o.Architecture)
	text("AggregatorRoleArn", o.RoleARN)
	text("SnapshotWindows", o.Windows)
	number("SnapshotRetentionDays", o.RetentionDays)
	number("LogRetentionDays", o.LogRetentionDays)
	number("LambdaTimeout", o.TimeoutSeconds)
	number("LambdaMemorySize", o.MemoryMB)
	if o.TimeoutSeconds == 0 && o.DurationPercent == 0 {
		return
	}
	timeout := o.TimeoutSeconds
	if timeout == 0 {
		timeout, _ = strconv.Atoi(before["LambdaTimeout"])
	}
	milliseconds := cmp.Or(timeout, defaultAggregatorTimeout) * 1000
	number("LambdaDurationThreshold", milliseconds*cmp.Or(o.DurationPercent, defaultDurationPercent)/100)
}

// roles and policies of the template: the suffix of the name by the parameter that replaces it.
var (
	roleNames   = map[string]string{"AggregatorRoleName": "-aggr", "AppRoleName": "-app", "AdminRoleName": "-admin", "ReadOnlyRoleName": "-read"}
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
	o.Aggregator.validate(refuse)
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
	set = map[string]string{"EnableProvisioner": "false"}
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
	var had map[string]string
	if before != nil {
		had = before.Parameters
	}
	o.Aggregator.parameters(set, had)
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

// WantsAggregator reports whether there is an aggregator in the stack that the options make; before is the
// stack as it is, nil for a new one. Without a role there is none.
func (o *LimiterOptions) WantsAggregator(before *stack.Stack) bool {
	set, _ := o.Parameters(before)
	value := func(name, standard string) string {
		if given, ok := set[name]; ok {
			return given
		}
		if before == nil {
			return standard
		}
		if had, ok := before.Parameters[name]; ok {
			return had
		}
		return standard
	}
	return value("EnableAggregator", "true") == "true" && (value("EnableIAM", "true") == "true" || value("AggregatorRoleArn", "") != "")
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

// HasPythonFunctions reports whether a limiter's stack has functions of the Python tool, which are none of
// this program's template.
func HasPythonFunctions(s *stack.Stack) bool {
	has := s.Outputs["AggregatorFunctionName"] != "" || s.Outputs["ProvisionerFunctionName"] != "" || s.Outputs["AggregatorDLQUrl"] != ""
	return has && s.Parameters[architectureParameter] == ""
}

// HasAggregator reports whether a limiter's stack has an aggregator, of either tool.
func HasAggregator(s *stack.Stack) bool { return s.Outputs["AggregatorFunctionName"] != "" }

// architectureParameter is one that only stacks of a template with this program's aggregator have;
// schemaParameter is one that only the Python template has.
const (
	architectureParameter = "AggregatorArchitecture"
	schemaParameter       = "SchemaVersion"
)

// BeforeAggregator reports whether a stack was made by a release of this program that had no aggregator, so
// that nobody has said that there should be none.
func BeforeAggregator(s *stack.Stack) bool {
	_, python := s.Parameters[schemaParameter]
	return s.Parameters[architectureParameter] == "" && !python
}

// ErrWouldReplace says that an update would take resources away.
var ErrWouldReplace = errors.New("the update would replace or remove resources")

// aggregatorResources are those of the template that there are for the aggregator alone.
var aggregatorResources = []string{
	"AggregatorDLQ", "AggregatorLogGroup", "AggregatorRole", "AggregatorFunction", "AggregatorAlias", "AggregatorEventSourceMapping",
	"AggregatorDLQAlarm", "LambdaErrorRateAlarm", "LambdaDurationAlarm", "StreamIteratorAgeAlarm",
}

// replaceable are resources that hold nothing and have no name of their own. A change of the table makes
// CloudFormation say that the mapping is perhaps replaced: it cannot know that the stream stays.
var replaceable = []string{"AggregatorEventSourceMapping", "AggregatorAlias"}

// GuardLimiter refuses changes that take a resource of a limiter away: its table is its data, and policies
// with names cannot be replaced.
func GuardLimiter(changes []stack.Change) error { return guardLimiter(changes, nil) }

// GuardWithoutAggregator is GuardLimiter for whoever wants to have the aggregator removed.
func GuardWithoutAggregator(changes []stack.Change) error {
	return guardLimiter(changes, aggregatorResources)
}

// guardLimiter lets the removal of some resources pass, by their ids.
func guardLimiter(changes []stack.Change, removable []string) error {
	var lost []string
	for i := range changes {
		c := &changes[i]
		if c.Action == "Remove" && slices.Contains(removable, c.LogicalID) || c.Action == "Modify" && slices.Contains(replaceable, c.LogicalID) {
			continue
		}
		if c.Replaces() {
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
