// Package quotas plays Service Quotas for the limits that bind a load test.
package quotas

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Values are an account's limits. Each is asked for when a request wants it, so that it may be another
// service's setting.
type Values struct {
	// FargateVCPU and FargateSpotVCPU are the vCPU of all running tasks, LambdaConcurrency the
	// executions at the same time.
	FargateVCPU, FargateSpotVCPU, LambdaConcurrency func() int
}

// API returns the service.
func API(v Values) protocol.Service {
	s := service{
		{"fargate", "L-3032A538"}: {"Fargate On-Demand vCPU resource count", v.FargateVCPU},
		{"fargate", "L-36FBB829"}: {"Fargate Spot vCPU resource count", v.FargateSpotVCPU},
		{"lambda", "L-B99A9384"}:  {"Concurrent executions", v.LambdaConcurrency},
	}
	return protocol.Service{Name: "servicequotas", Operations: map[string]protocol.Operation{"GetServiceQuota": protocol.Op(s.get)}}
}

type code struct{ service, quota string }

type quota struct {
	name  string
	value func() int
}

type service map[code]quota

func (s service) get(_ context.Context, call *protocol.Call, in *servicequotas.GetServiceQuotaInput) (*servicequotas.GetServiceQuotaOutput, error) {
	wanted := code{aws.ToString(in.ServiceCode), aws.ToString(in.QuotaCode)}
	arn := call.ARN("servicequotas", wanted.service+"/"+wanted.quota)
	if err := call.Allow("servicequotas:GetServiceQuota", arn); err != nil {
		return nil, err
	}
	q, ok := s[wanted]
	if !ok {
		return nil, protocol.Errorf("NoSuchResourceException", "The request failed because the specified service or quota %s/%s does not exist.", wanted.service, wanted.quota)
	}
	return &servicequotas.GetServiceQuotaOutput{Quota: &types.ServiceQuota{
		ServiceCode: in.ServiceCode, QuotaCode: in.QuotaCode, QuotaArn: &arn, QuotaName: &q.name, Value: aws.Float64(float64(q.value())), Unit: aws.String("None"), Adjustable: true,
	}}, nil
}
