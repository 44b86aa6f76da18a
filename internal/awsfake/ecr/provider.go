package ecr

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers are the resource types of the service.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{"AWS::ECR::Repository": repositories{s}}
}

type repositories struct{ service *Service }

type repositoryProperties struct {
	RepositoryName             string
	EmptyOnDelete              bool
	ImageTagMutability         types.ImageTagMutability
	ImageScanningConfiguration types.ImageScanningConfiguration
	LifecyclePolicy            struct{ LifecyclePolicyText string }
}

func read(r *resource.Resource) (repositoryProperties, map[string]string, error) {
	var p repositoryProperties
	if err := resource.Decode(r.Properties, &p); err != nil {
		return p, nil, err
	}
	if text := p.LifecyclePolicy.LifecyclePolicyText; text != "" {
		if _, err := parseLifecycle(text); err != nil {
			return p, nil, err
		}
	}
	tags, err := r.AllTags()
	return p, tags, err
}

func (p repositories) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	properties, tags, err := read(r)
	if err != nil {
		return nil, err
	}
	name := properties.RepositoryName
	if name == "" {
		name = strings.ToLower(fmt.Sprintf("%s-%s-%s", r.Stack, r.LogicalID, rand.Text()[:12]))
	}
	err = p.service.create(&repository{
		Name: name, Mutability: properties.ImageTagMutability, Tags: tags,
		ScanOnPush: properties.ImageScanningConfiguration.ScanOnPush, Lifecycle: properties.LifecyclePolicy.LifecyclePolicyText,
	})
	if err != nil {
		return nil, err
	}
	return &resource.Physical{ID: name, Attributes: map[string]string{
		"Arn": p.service.arn(name), "RepositoryUri": p.service.config.Host + "/" + name,
	}}, nil
}

func (p repositories) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	properties, tags, err := read(to)
	if err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	r, err := p.service.repository(old.ID)
	if err != nil {
		return nil, err
	}
	if properties.ImageTagMutability != "" {
		r.Mutability = properties.ImageTagMutability
	}
	r.ScanOnPush, r.Lifecycle, r.Tags = properties.ImageScanningConfiguration.ScanOnPush, properties.LifecyclePolicy.LifecyclePolicyText, tags
	r.expire(p.service.config.Now())
	return old, nil
}

func (p repositories) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	properties, _, err := read(r)
	if err != nil {
		return err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	if r := p.service.repositories[old.ID]; r != nil {
		return p.service.remove(r, properties.EmptyOnDelete)
	}
	return nil
}

func (repositories) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "RepositoryName", "EncryptionConfiguration":
		return resource.Always
	}
	return resource.Never
}
