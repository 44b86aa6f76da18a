package metrics

import (
	"context"
	"fmt"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers are the resource types of the service. Alarms can be made, and never ring.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{"AWS::CloudWatch::Alarm": alarms{}}
}

// alarms keeps nothing: no operation of the service tells about alarms.
type alarms struct{}

func (alarms) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var properties struct{ AlarmName string }
	if err := resource.Decode(r.Properties, &properties); err != nil {
		return nil, err
	}
	if properties.AlarmName == "" {
		properties.AlarmName = r.Stack + "-" + r.LogicalID
	}
	arn := fmt.Sprintf("arn:aws:cloudwatch:%s:%s:alarm:%s", r.Region, r.Account, properties.AlarmName)
	return &resource.Physical{ID: properties.AlarmName, Attributes: map[string]string{"Arn": arn}}, nil
}

func (alarms) Update(_ context.Context, old *resource.Physical, _, _ *resource.Resource) (*resource.Physical, error) {
	return old, nil
}

func (alarms) Delete(context.Context, *resource.Physical, *resource.Resource) error { return nil }

func (alarms) Replaces(property string, _, _ any) resource.Replacement {
	if property == "AlarmName" {
		return resource.Always
	}
	return resource.Never
}
