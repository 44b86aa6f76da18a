package cli

import (
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

func TestThrottlingAdviceFollowsTheReason(t *testing.T) {
	for reason, want := range map[string]string{
		"Throttled: ProvisionedThroughputExceededException (TableWriteKeyRangeThroughputExceeded on table/t)":    "1,000 write units a second",
		"Throttled: ThrottlingException (IndexReadKeyRangeThroughputExceeded on table/t/index/GSI2)":             "1,000 write units a second",
		"Throttled: ProvisionedThroughputExceededException (TableWriteProvisionedThroughputExceeded on table/t)": "provision more",
		"Throttled: ThrottlingException (IndexWriteMaxOnDemandThroughputExceeded on table/t/index/GSI2)":         "a maximum of its own",
		"Throttled: ThrottlingException (TableReadAccountLimitExceeded on table/t)":                              "Service Quotas",
		"Throttled: TransactionCanceledException (ProvisionedThroughputExceeded)":                                "load status tells",
		"": "load status tells",
	} {
		entries := []report.ErrorEntry{{Error: reason}, {Error: reason}}
		got := throttlingAdvice(entries)
		if strings.Count(got, want) != 1 {
			t.Errorf("%q: got %q, want %q once", reason, got, want)
		}
	}
}
