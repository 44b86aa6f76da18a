package sqs_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/sqs"
)

// bench is a service with a clock of its own.
type bench struct {
	*testing.T
	service *sqs.Service
	url     string
	now     time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.service = sqs.New(sqs.Config{Account: "123456789012", Region: "us-east-1", Host: "127.0.0.1:1", Now: func() time.Time { return b.now }})
	b.url = aws.ToString(protocoltest.Serve(t, b.service.API()).BaseEndpoint)
	return b
}

// call calls an operation as clients do, and returns its answer and the code of its error.
func (b *bench) call(action, request string) (answer map[string]any, code string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.url, strings.NewReader(request))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		b.Fatal(err)
	}
	code, _ = answer["__type"].(string)
	if (code == "") != (response.StatusCode == http.StatusOK) {
		b.Fatalf("%s: %s %v", action, response.Status, answer)
	}
	return answer, code
}

func (b *bench) attribute(name string) string {
	b.Helper()
	answer, _ := b.call("GetQueueAttributes", `{"QueueUrl": "http://127.0.0.1:1/123456789012/q", "AttributeNames": ["All"]}`)
	value, _ := answer["Attributes"].(map[string]any)[name].(string)
	return value
}

// messages receives all that is visible.
func (b *bench) messages() []map[string]any {
	b.Helper()
	answer, _ := b.call("ReceiveMessage", `{"QueueUrl": "http://127.0.0.1:1/123456789012/q", "MaxNumberOfMessages": 10}`)
	var list []map[string]any
	for _, m := range answer["Messages"].([]any) {
		list = append(list, m.(map[string]any))
	}
	return list
}

func TestAQueueOfAStack(t *testing.T) {
	b := newBench(t)
	provider := b.service.Providers()["AWS::SQS::Queue"]
	wanted := &resource.Resource{Stack: "s", LogicalID: "Q", Properties: map[string]any{"QueueName": "q", "VisibilityTimeout": "300", "MessageRetentionPeriod": 1209600}, Tags: map[string]string{"team": "x"}}
	made, err := provider.Create(t.Context(), wanted)
	if err != nil || made.ID != "http://127.0.0.1:1/123456789012/q" || made.Attributes["Arn"] != "arn:aws:sqs:us-east-1:123456789012:q" || made.Attributes["QueueName"] != "q" {
		t.Fatalf("%+v, %v", made, err)
	}
	if tags := b.service.Tagged()["arn:aws:sqs:us-east-1:123456789012:q"]; tags["team"] != "x" {
		t.Errorf("tags %v", tags)
	}
	if err := b.service.Send("arn:aws:sqs:us-east-1:123456789012:q", "first"); err != nil {
		t.Fatal(err)
	}
	if err := b.service.Send("arn:aws:sqs:us-east-1:123456789012:other", "lost"); err == nil {
		t.Error("a queue that is not there took a message")
	}
	b.call("SendMessage", `{"QueueUrl": "http://127.0.0.1:1/123456789012/q", "MessageBody": "second"}`)
	if got := b.attribute("ApproximateNumberOfMessages"); got != "2" {
		t.Errorf("%s messages, want 2", got)
	}
	got := b.messages()
	if len(got) != 2 || got[0]["Body"] != "first" || got[1]["Body"] != "second" || got[0]["MD5OfBody"] != "8b04d5e3775d298e78455efc5ca404d5" {
		t.Fatalf("received %v", got)
	}
	// What was received is nobody else's for a while.
	if again := b.messages(); len(again) != 0 || b.attribute("ApproximateNumberOfMessagesNotVisible") != "2" {
		t.Errorf("received at once again: %v", again)
	}
	handle, _ := json.Marshal(got[0]["ReceiptHandle"])
	b.call("DeleteMessage", `{"QueueUrl": "http://127.0.0.1:1/123456789012/q", "ReceiptHandle": `+string(handle)+`}`)
	b.now = b.now.Add(301 * time.Second)
	state, err := b.service.MarshalJSON()
	if err == nil {
		err = b.service.UnmarshalJSON(state)
	}
	if err != nil {
		t.Fatal(err)
	}
	if later := b.messages(); len(later) != 1 || later[0]["Body"] != "second" || later[0]["Attributes"].(map[string]any)["ApproximateReceiveCount"] != "2" {
		t.Errorf("received later: %v", later)
	}
	b.now = b.now.Add(15 * 24 * time.Hour)
	if old := b.messages(); len(old) != 0 {
		t.Errorf("received after all days: %v", old)
	}
	if err := provider.Delete(t.Context(), made, wanted); err != nil {
		t.Fatal(err)
	}
	if _, code := b.call("ReceiveMessage", `{"QueueUrl": "http://127.0.0.1:1/123456789012/q"}`); code != "QueueDoesNotExist" {
		t.Errorf("a queue that is gone: %s", code)
	}
}

func TestQueuesOfClients(t *testing.T) {
	b := newBench(t)
	if made, _ := b.call("CreateQueue", `{"QueueName": "q"}`); made["QueueUrl"] != "http://127.0.0.1:1/123456789012/q" {
		t.Errorf("made %v", made)
	}
	b.call("SendMessage", `{"QueueUrl": "q", "MessageBody": "x"}`)
	b.call("PurgeQueue", `{"QueueUrl": "q"}`)
	if got := b.attribute("ApproximateNumberOfMessages"); got != "0" {
		t.Errorf("%s messages after the purge", got)
	}
	if list, _ := b.call("ListQueues", `{"QueueNamePrefix": "q"}`); len(list["QueueUrls"].([]any)) != 1 {
		t.Errorf("listed %v", list)
	}
	if found, _ := b.call("GetQueueUrl", `{"QueueName": "q"}`); found["QueueUrl"] == nil {
		t.Errorf("found %v", found)
	}
	b.call("DeleteQueue", `{"QueueUrl": "q"}`)
	if _, code := b.call("GetQueueUrl", `{"QueueName": "q"}`); code != "QueueDoesNotExist" {
		t.Errorf("a queue that is gone: %s", code)
	}
	if _, code := b.call("TagQueue", `{}`); code != "UnknownOperationException" {
		t.Errorf("an operation that is not played: %s", code)
	}
}
