package sqs

import (
	"context"
	"crypto/rand"
	"fmt"
	"path"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers are the resource types of the service.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{"AWS::SQS::Queue": queues{s}}
}

type queues struct{ service *Service }

// read returns the name, the attributes and the tags that a template gives a queue.
func read(r *resource.Resource) (name string, attributes, tags map[string]string, err error) {
	attributes = map[string]string{}
	for property, value := range r.Properties {
		switch property {
		case "QueueName":
			name = fmt.Sprint(value)
		case "Tags":
		default:
			attributes[property] = fmt.Sprint(value)
		}
	}
	if name == "" {
		name = r.Stack + "-" + r.LogicalID + "-" + rand.Text()[:12]
	}
	tags, err = r.AllTags()
	return name, attributes, tags, err
}

// Create implements resource.Provider.
func (p queues) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	name, attributes, tags, err := read(r)
	if err != nil {
		return nil, err
	}
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.create(name, attributes, tags); err != nil {
		return nil, err
	}
	return &resource.Physical{ID: s.url(name), Attributes: map[string]string{"Arn": s.ARN(name), "QueueName": name, "QueueUrl": s.url(name)}}, nil
}

// Update implements resource.Provider.
func (p queues) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	_, attributes, tags, err := read(to)
	if err != nil {
		return nil, err
	}
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[path.Base(old.ID)]
	if q == nil {
		return nil, absent()
	}
	q.Attributes, q.Tags = attributes, tags
	return old, nil
}

// Delete implements resource.Provider.
func (p queues) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.service.mu.Lock()
	defer p.service.mu.Unlock()
	delete(p.service.queues, path.Base(old.ID))
	return nil
}

// Replaces implements resource.Provider.
func (queues) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "QueueName", "FifoQueue":
		return resource.Always
	default:
		return resource.Never
	}
}
