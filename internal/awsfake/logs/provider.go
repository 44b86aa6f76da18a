package logs

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers are the resource types of the service.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{"AWS::Logs::LogGroup": groups{s}}
}

type groups struct{ service *Service }

type groupProperties struct {
	LogGroupName    string
	RetentionInDays int32
}

// read returns the properties with the tags of stack and resource.
func read(r *resource.Resource) (groupProperties, map[string]string, error) {
	var properties groupProperties
	if err := resource.Decode(r.Properties, &properties); err != nil {
		return properties, nil, err
	}
	if properties.RetentionInDays != 0 {
		if err := checkRetention(properties.RetentionInDays); err != nil {
			return properties, nil, err
		}
	}
	if properties.LogGroupName == "" {
		properties.LogGroupName = r.Stack + "-" + r.LogicalID
	}
	tags, err := r.AllTags()
	return properties, tags, err
}

func (p groups) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	properties, tags, err := read(r)
	if err != nil {
		return nil, err
	}
	name := properties.LogGroupName
	err = p.service.create(name, properties.RetentionInDays, tags)
	if refused, ok := errors.AsType[*protocol.Error](err); ok && refused.Code == "ResourceAlreadyExistsException" {
		reason := fmt.Sprintf(`Resource of type 'AWS::Logs::LogGroup' with identifier '{"/properties/LogGroupName":"%s"}' already exists.`, name)
		return nil, errors.New(reason)
	}
	if err != nil {
		return nil, err
	}
	return p.physical(name), nil
}

func (p groups) physical(name string) *resource.Physical {
	return &resource.Physical{ID: name, Attributes: map[string]string{"Arn": p.service.arn(name) + ":*"}}
}

func (p groups) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	properties, tags, err := read(to)
	if err != nil {
		return nil, err
	}
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	g, err := p.service.group(&old.ID, nil)
	if err != nil {
		return nil, err
	}
	g.Retention, g.Tags = properties.RetentionInDays, tags
	return old, nil
}

func (p groups) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	delete(p.service.groups, old.ID)
	return nil
}

func (groups) Replaces(property string, _, _ any) resource.Replacement {
	if property == "LogGroupName" {
		return resource.Always
	}
	return resource.Never
}
