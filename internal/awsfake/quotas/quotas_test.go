package quotas_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/quotas"
)

func TestQuotasAreTold(t *testing.T) {
	of := func(n int) func() int { return func() int { return n } }
	client := servicequotas.NewFromConfig(protocoltest.Serve(t, quotas.API(quotas.Values{FargateVCPU: of(6), FargateSpotVCPU: of(60), LambdaConcurrency: of(10)})))
	for _, test := range []struct {
		service, quota string
		want           float64
	}{
		{"fargate", "L-3032A538", 6}, {"fargate", "L-36FBB829", 60}, {"lambda", "L-B99A9384", 10},
	} {
		out, err := client.GetServiceQuota(t.Context(), &servicequotas.GetServiceQuotaInput{ServiceCode: &test.service, QuotaCode: &test.quota})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToFloat64(out.Quota.Value) != test.want {
			t.Errorf("%s/%s is %v, want %v", test.service, test.quota, *out.Quota.Value, test.want)
		}
	}
	_, err := client.GetServiceQuota(t.Context(), &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: aws.String("L-1")})
	if _, ok := errors.AsType[*types.NoSuchResourceException](err); !ok {
		t.Errorf("an unknown quota: %v, want NoSuchResourceException", err)
	}
}
