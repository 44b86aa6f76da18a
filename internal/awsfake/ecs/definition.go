package ecs

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// family is the revisions of a task definition. Numbers are never used twice.
type family struct {
	Latest    int32                 `json:"latest"`
	Revisions map[int32]*definition `json:"revisions"`
}

// definition is one revision. Only its status and its tags change.
type definition struct {
	Definition types.TaskDefinition `json:"definition"`
	Tags       []types.Tag          `json:"tags,omitempty"`
}

// sizes are the amounts of memory in MB that Fargate has for a number of CPU units (load-cli.md 6.6).
var sizes = map[int]struct{ least, most, step int }{
	256:   {512, 2048, 512},
	512:   {1024, 4096, 1024},
	1024:  {2048, 8192, 1024},
	2048:  {4096, 16384, 1024},
	4096:  {8192, 30720, 1024},
	8192:  {16384, 61440, 4096},
	16384: {32768, 122880, 8192},
}

// checkSize refuses pairs of CPU and memory that Fargate does not have, with the error code given.
func checkSize(code string, cpu, memory *string) (units, megabytes int, err error) {
	units, cpuOK := amount(aws.ToString(cpu), " vcpu")
	megabytes, memoryOK := amount(aws.ToString(memory), " gb")
	size, ok := sizes[units]
	// With a quarter of a processor there are 512, 1024 and 2048.
	if !cpuOK || !memoryOK || !ok || megabytes < size.least || megabytes > size.most || megabytes%size.step != 0 || units == 256 && megabytes == 1536 {
		return 0, 0, protocol.Errorf(code, "No Fargate configuration exists for given values: %s CPU, %s memory. See the Amazon ECS documentation for the valid values.", aws.ToString(cpu), aws.ToString(memory))
	}
	return units, megabytes, nil
}

// amount reads "1024" and, with its unit, "1 vCPU" or "0.5 GB".
func amount(text, unit string) (int, bool) {
	number, big := strings.CutSuffix(strings.ToLower(text), unit)
	if !big {
		n, err := strconv.Atoi(number)
		return n, err == nil
	}
	n, err := strconv.ParseFloat(number, 64)
	return int(n * 1024), err == nil
}

var familyName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

const maxName = 255

func isName(text string) bool { return len(text) <= maxName && familyName.MatchString(text) }

// passRoles checks that the caller may give roles to tasks.
func passRoles(call *protocol.Call, roles ...*string) error {
	for _, role := range roles {
		if aws.ToString(role) == "" {
			continue
		}
		if err := call.AllowIf("iam:PassRole", map[string]string{"iam:PassedToService": "ecs-tasks.amazonaws.com"}, *role); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) registerTaskDefinition(_ context.Context, call *protocol.Call, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	if err := call.Allow("ecs:RegisterTaskDefinition", s.arn("task-definition/"+aws.ToString(in.Family)+":*")); err != nil {
		return nil, err
	}
	if err := passRoles(call, in.TaskRoleArn, in.ExecutionRoleArn); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.register(in, call.Principal)
	if err != nil {
		return nil, err
	}
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: new(d.Definition), Tags: d.Tags}, nil
}

// register makes a revision; the lock is held.
func (s *Service) register(in *ecs.RegisterTaskDefinitionInput, by string) (*definition, error) {
	if err := checkDefinition(in); err != nil {
		return nil, err
	}
	f := s.families[*in.Family]
	if f == nil {
		f = &family{Revisions: map[int32]*definition{}}
		s.families[*in.Family] = f
	}
	f.Latest++
	now := s.config.Now()
	containers := slices.Clone(in.ContainerDefinitions)
	for i := range containers {
		if containers[i].Essential == nil {
			containers[i].Essential = aws.Bool(true)
		}
	}
	d := &definition{Tags: in.Tags, Definition: types.TaskDefinition{
		TaskDefinitionArn: aws.String(s.arn(fmt.Sprintf("task-definition/%s:%d", *in.Family, f.Latest))),
		Family:            in.Family, Revision: f.Latest, Status: types.TaskDefinitionStatusActive,
		ContainerDefinitions: containers, Volumes: in.Volumes, Cpu: in.Cpu, Memory: in.Memory,
		TaskRoleArn: in.TaskRoleArn, ExecutionRoleArn: in.ExecutionRoleArn, NetworkMode: in.NetworkMode,
		RequiresCompatibilities: in.RequiresCompatibilities, Compatibilities: []types.Compatibility{types.CompatibilityEc2, types.CompatibilityFargate},
		RuntimePlatform: in.RuntimePlatform, EphemeralStorage: in.EphemeralStorage, PidMode: in.PidMode, IpcMode: in.IpcMode,
		PlacementConstraints: in.PlacementConstraints, ProxyConfiguration: in.ProxyConfiguration,
		RegisteredAt: &now, RegisteredBy: &by,
	}}
	f.Revisions[f.Latest] = d
	return d, nil
}

func checkDefinition(in *ecs.RegisterTaskDefinitionInput) error {
	refuse := func(format string, args ...any) error { return protocol.Errorf("ClientException", format, args...) }
	if !isName(aws.ToString(in.Family)) {
		return refuse("Family contains invalid characters: %q", aws.ToString(in.Family))
	}
	if len(in.ContainerDefinitions) == 0 {
		return refuse("Container list cannot be empty.")
	}
	if slices.Contains(in.RequiresCompatibilities, types.CompatibilityFargate) {
		if in.NetworkMode != types.NetworkModeAwsvpc {
			return refuse("Fargate only supports network mode 'awsvpc'.")
		}
		if _, _, err := checkSize("ClientException", in.Cpu, in.Memory); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	essential := false
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		if !isName(name) || names[name] {
			return refuse("Container names must be there, unique, and of letters, digits, - and _: %q", name)
		}
		names[name] = true
		essential = essential || c.Essential == nil || *c.Essential
		if aws.ToString(c.Image) == "" {
			return refuse("Container.image should not be null or empty.")
		}
		if timeout := aws.ToInt32(c.StopTimeout); timeout < 0 || timeout > 120 {
			return refuse("Container stopTimeout for Fargate tasks must be between 0 and 120 seconds: %d", timeout)
		}
		if c.LogConfiguration != nil && c.LogConfiguration.LogDriver == types.LogDriverAwslogs && aws.ToString(in.ExecutionRoleArn) == "" {
			return refuse("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
		}
	}
	if !essential {
		return refuse("At least one container must be essential.")
	}
	if _, err := startOrder(in.ContainerDefinitions); err != nil {
		return err
	}
	return checkMounts(in)
}

// checkMounts refuses mounts of volumes that the definition does not have.
func checkMounts(in *ecs.RegisterTaskDefinitionInput) error {
	for _, volume := range in.Volumes {
		if !isName(aws.ToString(volume.Name)) {
			return protocol.Errorf("ClientException", "The volume name '%s' is not valid.", aws.ToString(volume.Name))
		}
	}
	for _, c := range in.ContainerDefinitions {
		for _, mount := range c.MountPoints {
			if !slices.ContainsFunc(in.Volumes, func(v types.Volume) bool { return aws.ToString(v.Name) == aws.ToString(mount.SourceVolume) }) {
				return protocol.Errorf("ClientException", "Unknown volume '%s'.", aws.ToString(mount.SourceVolume))
			}
		}
	}
	return nil
}

// startOrder sorts containers so that each comes after those that it depends on.
func startOrder(containers []types.ContainerDefinition) ([]string, error) {
	byName := map[string]types.ContainerDefinition{}
	for _, c := range containers {
		byName[aws.ToString(c.Name)] = c
	}
	var order []string
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		c, ok := byName[name]
		if !ok {
			return protocol.Errorf("ClientException", "Container '%s' depends on container '%s', which is not in the task definition.", path[len(path)-1], name)
		}
		if slices.Contains(path, name) {
			return protocol.Errorf("ClientException", "The containers depend on each other in a circle: %s", strings.Join(append(path, name), ", "))
		}
		for _, dependency := range c.DependsOn {
			if err := visit(aws.ToString(dependency.ContainerName), append(path, name)); err != nil {
				return err
			}
		}
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		return nil
	}
	for _, c := range containers {
		if err := visit(aws.ToString(c.Name), nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// definition finds a revision by ARN, by family:revision, or the latest active one of a family; nil
// when there is none. The lock is held.
func (s *Service) definition(reference string) *definition {
	name, number, exact := strings.Cut(lastSegment(reference), ":")
	f := s.families[name]
	if f == nil {
		return nil
	}
	if exact {
		revision, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return nil
		}
		return f.Revisions[int32(revision)]
	}
	for _, revision := range slices.Backward(sortedKeys(f.Revisions)) {
		if d := f.Revisions[revision]; d.Definition.Status == types.TaskDefinitionStatusActive {
			return d
		}
	}
	return nil
}

func (s *Service) describeTaskDefinition(_ context.Context, call *protocol.Call, in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	if err := call.Allow("ecs:DescribeTaskDefinition"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.definition(aws.ToString(in.TaskDefinition))
	if d == nil {
		return nil, protocol.Errorf("ClientException", "Unable to describe task definition.")
	}
	out := &ecs.DescribeTaskDefinitionOutput{TaskDefinition: new(d.Definition)}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = d.Tags
	}
	return out, nil
}

func (s *Service) deregisterTaskDefinition(_ context.Context, call *protocol.Call, in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	if err := call.Allow("ecs:DeregisterTaskDefinition"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(lastSegment(aws.ToString(in.TaskDefinition)), ":") {
		return nil, protocol.Errorf("ClientException", "The revision must be specified.")
	}
	d := s.definition(aws.ToString(in.TaskDefinition))
	if d == nil {
		return nil, protocol.Errorf("ClientException", "Unable to describe task definition.")
	}
	s.deregister(d)
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: new(d.Definition)}, nil
}

// deregister makes a revision inactive; the lock is held.
func (s *Service) deregister(d *definition) {
	if d.Definition.Status == types.TaskDefinitionStatusActive {
		d.Definition.Status, d.Definition.DeregisteredAt = types.TaskDefinitionStatusInactive, new(s.config.Now())
	}
}

func (s *Service) listTaskDefinitions(_ context.Context, call *protocol.Call, in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	if err := call.Allow("ecs:ListTaskDefinitions"); err != nil {
		return nil, err
	}
	status := in.Status
	if status == "" {
		status = types.TaskDefinitionStatusActive
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var arns []string
	for _, name := range sortedKeys(s.families) {
		if in.FamilyPrefix != nil && name != *in.FamilyPrefix {
			continue
		}
		for _, revision := range sortedKeys(s.families[name].Revisions) {
			if d := s.families[name].Revisions[revision]; d.Definition.Status == status {
				arns = append(arns, *d.Definition.TaskDefinitionArn)
			}
		}
	}
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(arns)
	}
	page, next, err := protocol.Page(arns, in.NextToken, in.MaxResults, 100)
	return &ecs.ListTaskDefinitionsOutput{TaskDefinitionArns: page, NextToken: next}, err
}
