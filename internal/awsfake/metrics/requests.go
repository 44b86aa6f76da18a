package metrics

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const (
	tablesNamespace = "AWS/DynamoDB"
	maxRequest      = 16 << 20 // of DynamoDB
	maxErrorBody    = 64 << 10 // of an answer that is looked into
)

// Handler is the handler of a REST service.
type Handler = func(w http.ResponseWriter, r *http.Request, call *protocol.Call)

// ObserveTables returns a handler of DynamoDB's requests that lets another one answer and records how
// it went, by table and operation: latency, throttles by cause, refused conditions, errors (aws.md 5.8).
func (s *Service) ObserveTables(handle Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, "request entity too large", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		began := time.Now()
		handle(answer, r, call)
		if table := tableOf(body); table != "" {
			s.recordRequest(table, call.Action, time.Since(began), answer)
		}
	}
}

// tableOf is the first table that a request names, by name or ARN. An attribute called TableName does
// not look so: its value is an object.
func tableOf(body []byte) string {
	name := namedTable(body)
	return name[strings.LastIndexByte(name, '/')+1:]
}

func namedTable(body []byte) string {
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

// recordRequest adds one request to the metrics.
func (s *Service) recordRequest(table, operation string, took time.Duration, answer *answer) {
	byOperation := map[string]string{"TableName": table, "Operation": operation}
	count := func(name string, dimensions map[string]string) {
		s.Record(tablesNamespace, name, "Count", dimensions, 1)
	}
	switch {
	case answer.status < 300:
		s.Record(tablesNamespace, "SuccessfulRequestLatency", "Milliseconds", byOperation, float64(took)/float64(time.Millisecond))
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
			s.throttle(table, reason.Reason, reason.Resource)
		}
	}
}

// throttle counts one reason of a throttled request, such as TableWriteKeyRangeThroughputExceeded: the
// event, and the event by its cause, for the table or for the index that the resource is.
func (s *Service) throttle(table, reason, resource string) {
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
			s.Record(tablesNamespace, name, "Count", dimensions, 1)
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
