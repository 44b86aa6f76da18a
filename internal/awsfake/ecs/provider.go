package ecs

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers are the resource types of the service.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{
		"AWS::ECS::Cluster":                             clusters{s},
		"AWS::ECS::ClusterCapacityProviderAssociations": associations{s},
		"AWS::ECS::TaskDefinition":                      definitions{s},
		"AWS::ECS::Service":                             services{s},
	}
}

// nameOf is a name that a template gave, or one made of stack and resource.
func nameOf(given *string, r *resource.Resource) *string {
	return new(cmp.Or(aws.ToString(given), fmt.Sprintf("%s-%s-%s", r.Stack, r.LogicalID, rand.Text()[:12])))
}

func tagsOf(r *resource.Resource) ([]types.Tag, error) {
	tags, err := r.AllTags()
	return listOf(tags), err
}

type clusters struct{ service *Service }

func readCluster(r *resource.Resource) (in ecs.CreateClusterInput, err error) {
	if err := resource.Decode(r.Properties, &in); err != nil {
		return in, err
	}
	if err := resource.Decode(r.Properties["ClusterSettings"], &in.Settings); err != nil {
		return in, err
	}
	in.Tags, err = tagsOf(r)
	return in, err
}

func (p clusters) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	in, err := readCluster(r)
	if err != nil {
		return nil, err
	}
	in.ClusterName = nameOf(in.ClusterName, r)
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if p.service.clusters[*in.ClusterName] != nil {
		return nil, fmt.Errorf("the cluster %s already exists", *in.ClusterName)
	}
	c, err := p.service.makeCluster(&in)
	if err != nil {
		return nil, err
	}
	return &resource.Physical{ID: *c.Cluster.ClusterName, Attributes: map[string]string{"Arn": *c.Cluster.ClusterArn}}, nil
}

func (p clusters) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	in, err := readCluster(to)
	if err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	c, err := p.service.cluster(&old.ID)
	if err != nil {
		return nil, err
	}
	if in.CapacityProviders != nil {
		if err := c.associate(in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
			return nil, err
		}
	}
	if in.Settings != nil {
		c.Cluster.Settings = in.Settings
	}
	c.Cluster.Configuration, c.Cluster.Tags = in.Configuration, in.Tags
	return old, nil
}

func (p clusters) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if c := p.service.clusters[old.ID]; c != nil {
		return p.service.removeCluster(c)
	}
	return nil
}

func (clusters) Replaces(property string, _, _ any) resource.Replacement {
	if property == "ClusterName" {
		return resource.Always
	}
	return resource.Never
}

type associations struct{ service *Service }

func (p associations) associate(r *resource.Resource) (*resource.Physical, error) {
	var in ecs.PutClusterCapacityProvidersInput
	if err := resource.Decode(r.Properties, &in); err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	c, err := p.service.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	return &resource.Physical{ID: *c.Cluster.ClusterName}, c.associate(in.CapacityProviders, in.DefaultCapacityProviderStrategy)
}

func (p associations) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	return p.associate(r)
}

func (p associations) Update(_ context.Context, _ *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	return p.associate(to)
}

func (p associations) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if c := p.service.clusters[old.ID]; c != nil {
		return c.associate(nil, nil)
	}
	return nil
}

func (associations) Replaces(property string, _, _ any) resource.Replacement {
	if property == "Cluster" {
		return resource.Always
	}
	return resource.Never
}

// definitions makes a revision for each change; only tags change in place.
type definitions struct{ service *Service }

func (p definitions) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var in ecs.RegisterTaskDefinitionInput
	if err := resource.Decode(r.Properties, &in); err != nil {
		return nil, err
	}
	in.Family = nameOf(in.Family, r)
	var err error
	if in.Tags, err = tagsOf(r); err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	d, err := p.service.register(&in, "arn:aws:iam::"+r.Account+":root")
	if err != nil {
		return nil, err
	}
	arn := *d.Definition.TaskDefinitionArn
	return &resource.Physical{ID: arn, Attributes: map[string]string{"TaskDefinitionArn": arn}}, nil
}

func (p definitions) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	tags, err := tagsOf(to)
	if err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if d := p.service.definition(old.ID); d != nil {
		d.Tags = tags
	}
	return old, nil
}

func (p definitions) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if d := p.service.definition(old.ID); d != nil {
		p.service.deregister(d)
	}
	return nil
}

func (definitions) Replaces(property string, _, _ any) resource.Replacement {
	if property == "Tags" {
		return resource.Never
	}
	return resource.Always
}

type services struct{ service *Service }

func readService(r *resource.Resource) (in ecs.CreateServiceInput, err error) {
	if err := resource.Decode(r.Properties, &in); err != nil {
		return in, err
	}
	if in.DesiredCount == nil {
		in.DesiredCount = aws.Int32(1)
	}
	in.Tags, err = tagsOf(r)
	return in, err
}

func (p services) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	in, err := readService(r)
	if err != nil {
		return nil, err
	}
	in.ServiceName = nameOf(in.ServiceName, r)
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	svc, err := p.service.makeService(&in)
	if err != nil {
		return nil, err
	}
	arn := *svc.Service.ServiceArn
	return &resource.Physical{ID: arn, Attributes: map[string]string{"ServiceArn": arn, "Name": *svc.Service.ServiceName}}, nil
}

func (p services) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	in, err := readService(to)
	if err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	svc, err := p.service.findService(clusterOf(old.ID), &old.ID)
	if err != nil {
		return nil, err
	}
	svc.Service.Tags = in.Tags
	return old, p.service.update(svc, &ecs.UpdateServiceInput{
		TaskDefinition: in.TaskDefinition, NetworkConfiguration: in.NetworkConfiguration, CapacityProviderStrategy: in.CapacityProviderStrategy,
		EnableExecuteCommand: &in.EnableExecuteCommand, DeploymentConfiguration: in.DeploymentConfiguration, PropagateTags: in.PropagateTags,
		DesiredCount: in.DesiredCount,
	})
}

// clusterOf is the cluster's name in the ARN of a service.
func clusterOf(arn string) *string {
	parts := strings.Split(arn, "/")
	return &parts[len(parts)-2]
}

// Delete returns when the tasks of the service are gone, or with ctx.
func (p services) Delete(ctx context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	svc, err := p.service.findService(clusterOf(old.ID), &old.ID)
	if err != nil {
		p.service.mu.Unlock()
		return nil // it is gone already
	}
	tasks := p.service.tasksOf(svc)
	p.service.removeService(svc)
	p.service.mu.Unlock()
	for _, t := range tasks {
		select {
		case <-t.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (services) Replaces(property string, _, _ any) resource.Replacement {
	if slices.Contains([]string{"Cluster", "ServiceName", "LaunchType", "SchedulingStrategy", "Role"}, property) {
		return resource.Always
	}
	return resource.Never
}
