package ecs

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// fargateProviders are the capacity providers that every account has.
var fargateProviders = []string{"FARGATE", spotProvider}

// spotProvider is the capacity that AWS may take back.
const spotProvider = "FARGATE_SPOT"

// clusterName is what a request means by a cluster: a name, an ARN, or nothing for the default one.
func clusterName(reference *string) string {
	return lastSegment(cmp.Or(aws.ToString(reference), "default"))
}

// cluster finds a cluster; the lock is held.
func (s *Service) cluster(reference *string) (*cluster, error) {
	if c := s.clusters[clusterName(reference)]; c != nil {
		return c, nil
	}
	return nil, protocol.Errorf("ClusterNotFoundException", "Cluster not found.")
}

func (s *Service) clusterARN(reference *string) string {
	return s.arn("cluster/" + clusterName(reference))
}

// allowIn checks an action on resources of a cluster.
func (s *Service) allowIn(call *protocol.Call, action string, cluster *string, resources ...string) error {
	return call.AllowIf("ecs:"+action, map[string]string{"ecs:cluster": s.clusterARN(cluster)}, resources...)
}

// makeCluster makes a cluster; the lock is held.
func (s *Service) makeCluster(in *ecs.CreateClusterInput) (*cluster, error) {
	name := clusterName(in.ClusterName)
	if err := checkStrategy(in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
		return nil, err
	}
	c := &cluster{Services: map[string]*service{}, Cluster: types.Cluster{
		ClusterName: &name, ClusterArn: aws.String(s.arn("cluster/" + name)), Status: aws.String("ACTIVE"),
		CapacityProviders: in.CapacityProviders, DefaultCapacityProviderStrategy: in.DefaultCapacityProviderStrategy,
		Configuration: in.Configuration, Tags: in.Tags,
		Settings: []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("disabled")}},
	}}
	if len(in.Settings) > 0 {
		c.Cluster.Settings = in.Settings
	}
	s.clusters[name] = c
	return c, nil
}

// checkStrategy refuses providers that do not exist or that the strategy names without need.
func checkStrategy(providers []string, strategy []types.CapacityProviderStrategyItem) error {
	for _, provider := range providers {
		if !slices.Contains(fargateProviders, provider) {
			return protocol.Errorf("InvalidParameterException", "The specified capacity provider '%s' was not found. Specify a valid name or ARN and try again.", provider)
		}
	}
	for _, item := range strategy {
		if !slices.Contains(providers, aws.ToString(item.CapacityProvider)) {
			return protocol.Errorf("InvalidParameterException", "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster or is not in an active state. Associate the capacity provider with the cluster and try again.")
		}
	}
	return nil
}

func (s *Service) createCluster(_ context.Context, call *protocol.Call, in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	if err := call.Allow("ecs:CreateCluster"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clusters[clusterName(in.ClusterName)]
	if c == nil {
		var err error
		if c, err = s.makeCluster(in); err != nil {
			return nil, err
		}
	}
	return &ecs.CreateClusterOutput{Cluster: new(s.describeCluster(c))}, nil
}

// describeCluster returns a cluster with its counts; the lock is held.
func (s *Service) describeCluster(c *cluster) types.Cluster {
	described := c.Cluster
	described.ActiveServicesCount = int32(len(c.Services))
	for _, t := range s.tasks {
		if t.cluster != *c.Cluster.ClusterName || t.stopped() {
			continue
		}
		if aws.ToString(t.shown.LastStatus) == statusRunning {
			described.RunningTasksCount++
		} else if aws.ToString(t.shown.DesiredStatus) == statusRunning {
			described.PendingTasksCount++
		}
	}
	return described
}

func (s *Service) describeClusters(_ context.Context, call *protocol.Call, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	references := in.Clusters
	if len(references) == 0 {
		references = []string{"default"}
	}
	out := &ecs.DescribeClustersOutput{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reference := range references {
		if err := call.Allow("ecs:DescribeClusters", s.clusterARN(&reference)); err != nil {
			return nil, err
		}
		c, err := s.cluster(&reference)
		if err != nil {
			out.Failures = append(out.Failures, missing(s.clusterARN(&reference)))
			continue
		}
		described := s.describeCluster(c)
		if !slices.Contains(in.Include, types.ClusterFieldTags) {
			described.Tags = nil
		}
		if !slices.Contains(in.Include, types.ClusterFieldSettings) {
			described.Settings = nil
		}
		if !slices.Contains(in.Include, types.ClusterFieldConfigurations) {
			described.Configuration = nil
		}
		out.Clusters = append(out.Clusters, described)
	}
	return out, nil
}

func missing(arn string) types.Failure {
	return types.Failure{Arn: &arn, Reason: aws.String("MISSING")}
}

func (s *Service) listClusters(_ context.Context, call *protocol.Call, in *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	if err := call.Allow("ecs:ListClusters"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var arns []string
	for _, name := range sortedKeys(s.clusters) {
		arns = append(arns, s.arn("cluster/"+name))
	}
	page, next, err := protocol.Page(arns, in.NextToken, in.MaxResults, 100)
	return &ecs.ListClustersOutput{ClusterArns: page, NextToken: next}, err
}

func (s *Service) deleteCluster(_ context.Context, call *protocol.Call, in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	if err := call.Allow("ecs:DeleteCluster", s.clusterARN(in.Cluster)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := s.removeCluster(c); err != nil {
		return nil, err
	}
	described := c.Cluster
	described.Status = aws.String("INACTIVE")
	return &ecs.DeleteClusterOutput{Cluster: &described}, nil
}

// removeCluster deletes a cluster that is empty; the lock is held.
func (s *Service) removeCluster(c *cluster) error {
	for _, t := range s.tasks {
		if t.cluster == *c.Cluster.ClusterName && !t.stopped() {
			return protocol.Errorf("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
		}
	}
	if len(c.Services) > 0 {
		return protocol.Errorf("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
	}
	delete(s.clusters, *c.Cluster.ClusterName)
	return nil
}

func (s *Service) putClusterCapacityProviders(_ context.Context, call *protocol.Call, in *ecs.PutClusterCapacityProvidersInput) (*ecs.PutClusterCapacityProvidersOutput, error) {
	if err := call.Allow("ecs:PutClusterCapacityProviders", s.clusterARN(in.Cluster)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := c.associate(in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
		return nil, err
	}
	return &ecs.PutClusterCapacityProvidersOutput{Cluster: new(s.describeCluster(c))}, nil
}

// associate replaces the capacity providers of a cluster; the lock is held.
func (c *cluster) associate(providers []string, strategy []types.CapacityProviderStrategyItem) error {
	if err := checkStrategy(providers, strategy); err != nil {
		return err
	}
	c.Cluster.CapacityProviders, c.Cluster.DefaultCapacityProviderStrategy = providers, strategy
	return nil
}

// insights says whether Container Insights are on; the lock is held.
func (c *cluster) insights() bool {
	return slices.ContainsFunc(c.Cluster.Settings, func(setting types.ClusterSetting) bool {
		value := aws.ToString(setting.Value)
		return setting.Name == types.ClusterSettingNameContainerInsights && (value == "enabled" || value == "enhanced")
	})
}
