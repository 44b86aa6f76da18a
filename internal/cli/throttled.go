package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

// throttlingLimits are the limits that end the reasons of throttled requests, with what helps.
var throttlingLimits = []struct{ limit, advice string }{
	{"KeyRangeThroughputExceeded", "a key range takes 1,000 write units a second, and all buckets of one resource share a key of the index GSI2: use more resources, or repeat the run when DynamoDB has split the range"},
	{"ProvisionedThroughputExceeded", "the capacity of table or index is used up: provision more, or make the table on-demand"},
	{"MaxOnDemandThroughputExceeded", "the table has a maximum of its own for on-demand requests: raise it"},
	{"AccountLimitExceeded", "the account's quota for a table is reached: ask for more under Service Quotas, DynamoDB"},
}

// warnOfThrottling says of a run whose target throttled it what was short, as far as errors tell it, and what
// helps.
func (a *app) warnOfThrottling(r *report.Result) {
	if n := r.Consumed.Throttled; n != nil && *n > 0 {
		a.warn("the target throttled %s requests%s", formatCount(*n), throttlingAdvice(r.Errors))
	}
}

// throttlingAdvice follows the number of throttled requests.
func throttlingAdvice(errors []report.ErrorEntry) string {
	var advice []string
	for i := range errors {
		for _, l := range throttlingLimits {
			reason := errors[i].Error
			named := strings.Contains(reason, "Read"+l.limit) || strings.Contains(reason, "Write"+l.limit)
			if named && !slices.Contains(advice, l.advice) {
				advice = append(advice, l.advice)
			}
		}
	}
	if len(advice) == 0 {
		return "; on AWS load status tells by which limit"
	}
	return fmt.Sprintf(": %s", strings.Join(advice, "; "))
}
