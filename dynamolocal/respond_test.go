package dynamolocal

import (
	"encoding/json"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

// The SDKs' models spell the member of ThrottlingException with a small letter, that of the others
// with a capital one.
func TestReasonsOfThrottlingStandWhereTheSDKsReadThem(t *testing.T) {
	refusal := &throughput.Refusal{Reason: "IndexWriteKeyRangeThroughputExceeded", Resource: "arn:x"}
	for code, names := range map[string][]string{
		codeThrottling:                           {"throttlingReasons", "ThrottlingReasons"},
		"ProvisionedThroughputExceededException": {"ThrottlingReasons"},
	} {
		var body map[string]json.RawMessage
		if err := json.Unmarshal(appendError(nil, &apiError{code: code, refusal: refusal}), &body); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if want := `[{"reason":"IndexWriteKeyRangeThroughputExceeded","resource":"arn:x"}]`; string(body[name]) != want {
				t.Errorf("%s: %s is %s, want %s", code, name, body[name], want)
			}
		}
	}
}
