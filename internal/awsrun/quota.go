package awsrun

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
)

// Codes of the quotas on vCPUs of Fargate, by capacity.
const (
	fargateService = "fargate"
	onDemandVCPU   = "L-3032A538"
	spotVCPU       = "L-36FBB829"
	spotProvider   = "FARGATE_SPOT"
)

// FargateVCPUs is how many vCPUs all tasks of a region may have on a capacity provider.
func FargateVCPUs(ctx context.Context, cfg aws.Config, capacity string) (float64, error) {
	code := onDemandVCPU
	if capacity == spotProvider {
		code = spotVCPU
	}
	out, err := servicequotas.NewFromConfig(cfg).GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String(fargateService), QuotaCode: aws.String(code)})
	if err != nil {
		return 0, fmt.Errorf("quota of Fargate: %w", err)
	}
	return aws.ToFloat64(out.Quota.Value), nil
}
