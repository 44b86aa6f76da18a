package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func TestRequestsOfTablesAreRecorded(t *testing.T) {
	s, _, client := newService(t)
	status, body := http.StatusOK, `{}`
	observed := s.ObserveTables(func(w http.ResponseWriter, r *http.Request, _ *protocol.Call) {
		if text, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(text), "limiter") {
			t.Errorf("the engine got %q, %v", text, err)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observed(w, r, &protocol.Call{Action: strings.TrimPrefix(r.URL.Path, "/")})
	}))
	t.Cleanup(server.Close)
	call := func(operation, request string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/"+operation, strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != body || answer.StatusCode != status {
			t.Errorf("the client got %d %q, %v", answer.StatusCode, got, err)
		}
		answer.Body.Close()
	}
	call("UpdateItem", `{"TableName":"limiter"}`)
	call("GetItem", `{"TableName": "arn:aws:dynamodb:us-east-1:123456789012:table/limiter"}`)
	call("BatchGetItem", `{"RequestItems": {"limiter": {}}}`)
	status, body = http.StatusBadRequest, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","ThrottlingReasons":[{"reason":"IndexWriteKeyRangeThroughputExceeded","resource":"arn:aws:dynamodb:us-east-1:123456789012:table/limiter/index/GSI2"}]}`
	call("UpdateItem", `{"TableName":"limiter"}`)
	body = `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}`
	call("UpdateItem", `{"TableName":"limiter"}`)

	in := &cloudwatch.GetMetricDataInput{StartTime: &begin, EndTime: aws.Time(begin.Add(time.Minute)), MetricDataQueries: []types.MetricDataQuery{
		stat("latency", "SuccessfulRequestLatency", "SampleCount", 60, table("Operation", "UpdateItem")),
		stat("spaced", "SuccessfulRequestLatency", "SampleCount", 60, table("Operation", "GetItem")),
		stat("batch", "SuccessfulRequestLatency", "SampleCount", 60, table("Operation", "BatchGetItem")),
		stat("throttled", "ThrottledRequests", "Sum", 60, table("Operation", "UpdateItem")),
		stat("index", "WriteThrottleEvents", "Sum", 60, table("GlobalSecondaryIndexName", "GSI2")),
		stat("cause", "WriteKeyRangeThroughputThrottleEvents", "Sum", 60, table("GlobalSecondaryIndexName", "GSI2")),
		stat("condition", "ConditionalCheckFailedRequests", "Sum", 60, table()),
	}}
	out, err := client.GetMetricData(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"latency": 1, "spaced": 1, "batch": 1, "throttled": 1, "index": 1, "cause": 1, "condition": 1}
	for _, result := range out.MetricDataResults {
		if len(result.Values) != 1 || result.Values[0] != want[*result.Id] {
			t.Errorf("%s: %v, want %g", *result.Id, result.Values, want[*result.Id])
		}
	}
}
