package metrics

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	tablesNamespace = "AWS/DynamoDB"
	maxRequest      = 16 << 20 // of DynamoDB
	maxErrorBody    = 64 << 10 // of an answer that is looked into
)

// TableUsage is what a table has consumed since its engine was made, in capacity units.
type TableUsage struct {
	Name        string
	Read, Write float64
}

// Tables records the metrics of AWS/DynamoDB for an engine that it stands in front of: latency,
// throttles and errors by table and operation from the requests, consumed capacity from what the
// engine says (aws.md 5.8). It is safe for concurrent use.
type Tables struct {
	metrics *Service
	engine  http.Handler
	usage   func() []TableUsage

	mu   sync.Mutex
	last map[string]TableUsage
}

// NewTables returns what serves the requests of an engine; usage tells what its tables have consumed.
func NewTables(metrics *Service, engine http.Handler, usage func() []TableUsage) *Tables {
	return &Tables{metrics: metrics, engine: engine, usage: usage, last: map[string]TableUsage{}}
}

// Sample records what the tables have consumed since the last call.
func (t *Tables) Sample() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, now := range t.usage() {
		last := t.last[now.Name]
		t.last[now.Name] = now
		dimensions := map[string]string{"TableName": now.Name}
		t.consumed("ConsumedReadCapacityUnits", dimensions, now.Read-last.Read)
		t.consumed("ConsumedWriteCapacityUnits", dimensions, now.Write-last.Write)
	}
}

// consumed leaves out what is not more than before: a table that was made anew begins at zero.
func (t *Tables) consumed(name string, dimensions map[string]string, units float64) {
	if units > 0 {
		t.metrics.Record(tablesNamespace, name, "Count", dimensions, units)
	}
}

// ServeHTTP has the engine answer and records how it did.
func (t *Tables) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, operation, ok := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !ok {
		t.engine.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "request entity too large", http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &answer{ResponseWriter: w, status: http.StatusOK}
	began := time.Now()
	t.engine.ServeHTTP(answer, r)
	if table := tableOf(body); table != "" {
		t.record(table, operation, time.Since(began), answer)
	}
}

// tableOf is the first table that a request names. An attribute of this name does not look so: its
// value is an object.
func tableOf(body []byte) string {
	if _, after, ok := bytes.Cut(body, []byte(`"TableName":"`)); ok {
		name, _, _ := bytes.Cut(after, []byte{'"'})
		return string(name)
	}
	var request struct {
		TableName     string
		RequestItems  map[string]json.RawMessage
		TransactItems []map[string]struct{ TableName string }
	}
	if json.Unmarshal(body, &request) != nil {
		return "" // the engine says what is wrong with it
	}
	for name := range request.RequestItems {
		return name
	}
	for _, item := range request.TransactItems {
		for _, action := range item {
			return action.TableName
		}
	}
	return request.TableName
}

// record adds one request to the metrics.
func (t *Tables) record(table, operation string, took time.Duration, answer *answer) {
	byOperation := map[string]string{"TableName": table, "Operation": operation}
	count := func(name string, dimensions map[string]string) {
		t.metrics.Record(tablesNamespace, name, "Count", dimensions, 1)
	}
	switch {
	case answer.status < 300:
		t.metrics.Record(tablesNamespace, "SuccessfulRequestLatency", "Milliseconds", byOperation, float64(took)/float64(time.Millisecond))
		return
	case answer.status >= 500:
		count("SystemErrors", byOperation)
		return
	}
	var failure struct {
		Type    string `json:"__type"`
		Reasons []struct {
			Reason   string `json:"reason"`
			Resource string `json:"resource"`
		} `json:"ThrottlingReasons"`
		CancellationReasons []struct{ Code string }
	}
	if json.Unmarshal(answer.body.Bytes(), &failure) != nil {
		return // no error of DynamoDB
	}
	switch code := failure.Type[strings.LastIndexByte(failure.Type, '#')+1:]; code {
	case "ConditionalCheckFailedException":
		count("ConditionalCheckFailedRequests", map[string]string{"TableName": table})
	case "TransactionConflictException":
		count("TransactionConflict", map[string]string{"TableName": table})
	case "TransactionCanceledException":
		for _, reason := range failure.CancellationReasons {
			if reason.Code == "TransactionConflict" {
				count("TransactionConflict", map[string]string{"TableName": table})
			}
		}
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
		count("ThrottledRequests", byOperation)
		for _, reason := range failure.Reasons {
			t.throttle(table, reason.Reason, reason.Resource)
		}
	}
}

// throttle counts one reason of a throttled request, such as TableWriteKeyRangeThroughputExceeded: the
// event, and the event by its cause, for the table or for the index that the resource is.
func (t *Tables) throttle(table, reason, resource string) {
	dimensions := map[string]string{"TableName": table}
	if _, index, ok := strings.Cut(resource, "/index/"); ok {
		dimensions["GlobalSecondaryIndexName"] = index
	}
	reason = strings.TrimPrefix(strings.TrimPrefix(reason, "Table"), "Index")
	for _, direction := range []string{"Read", "Write"} {
		cause, ok := strings.CutPrefix(reason, direction)
		if !ok {
			continue
		}
		for _, name := range []string{direction + "ThrottleEvents", direction + strings.TrimSuffix(cause, "Exceeded") + "ThrottleEvents"} {
			t.metrics.Record(tablesNamespace, name, "Count", dimensions, 1)
		}
	}
}

// answer passes an answer on and keeps what tells how it was.
type answer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer // the beginning of an error's
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status >= 400 {
		a.body.Write(p[:min(len(p), maxErrorBody-a.body.Len())])
	}
	return a.ResponseWriter.Write(p)
}
