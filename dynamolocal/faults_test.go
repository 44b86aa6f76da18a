package dynamolocal_test

import (
	"errors"
	"hash/crc32"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// What the SDK's client sees of every fault, over the engine's own server, and whether the write
// was applied.
func TestFaultsOverHTTP(t *testing.T) {
	tests := []struct {
		rule    string
		problem string // part of the error, in one of two wordings; "" is none
		applied bool
	}{
		{`"action": "error", "code": "ThrottlingException"`, "ThrottlingException", false},
		{`"action": "error", "code": "InternalServerError", "when": "after"`, "InternalServerError", true},
		{`"action": "drop"`, "EOF", false},
		{`"action": "drop", "when": "after"`, "EOF", true},
		{`"action": "http", "status": 503`, "503", false},
		{`"action": "http", "status": 500, "when": "after"`, "500", true},
		// The client's transport may close the connection before what reads the reply sees its end.
		{`"action": "truncate"`, "EOF|use of closed network connection", true},
		{`"action": "transaction_conflict"`, "TransactionConflictException", false},
		{`"action": "latency", "latency": "1ms"`, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			e := newEngine(t, dynamolocal.Config{Faults: []byte(`{"rules": [{"operations": ["PutItem"], ` + tt.rule + `}]}`)})
			c := serve(t, e)
			createTable(t, c)
			key := map[string]types.AttributeValue{"PK": s("p"), "SK": s("s")}
			_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: key, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
			wording, other, _ := strings.Cut(tt.problem, "|")
			says := func(text string) bool { return err != nil && text != "" && strings.Contains(err.Error(), text) }
			if (err != nil) != (tt.problem != "") || err != nil && !says(wording) && !says(other) {
				t.Errorf("PutItem = %v, want an error with %q", err, tt.problem)
			}
			got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("tab"), Key: key})
			if err != nil {
				t.Fatal(err)
			}
			if applied := got.Item != nil; applied != tt.applied {
				t.Errorf("applied is %v, want %v", applied, tt.applied)
			}
		})
	}
}

// The SDK of this version only logs a wrong sum, so it is looked at here.
func TestWrongSum(t *testing.T) {
	for rules, want := range map[string]bool{`[]`: true, `[{"action": "wrong_crc"}]`: false} {
		e := newEngine(t, dynamolocal.Config{Faults: []byte(`{"rules": ` + rules + `}`)})
		post(t, e, "CreateTable", indexedTable)
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"TableName": "tab"}`))
		r.Header.Set("X-Amz-Target", "DynamoDB_20120810.Scan")
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(w.Body.Bytes())), 10)
		if got := w.Header().Get("X-Amz-Crc32") == sum; w.Code != 200 || got != want {
			t.Errorf("rules %s: status %d, sum fits: %v", rules, w.Code, got)
		}
	}
}

func TestUnprocessedEntries(t *testing.T) {
	both(t, dynamolocal.Config{Faults: []byte(`{"rules": [{"action": "unprocessed", "fraction": 0.5}]}`)}, func(t *testing.T, c api) {
		createTable(t, c)
		var writes []types.WriteRequest
		for _, sk := range []string{"1", "2", "3", "4"} {
			item := map[string]types.AttributeValue{"PK": s("p"), "SK": s(sk)}
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
		}
		out, err := c.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"tab": writes}})
		if err != nil {
			t.Fatal(err)
		}
		scan, err := c.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("tab")})
		if err != nil {
			t.Fatal(err)
		}
		if left := len(out.UnprocessedItems["tab"]); left != 2 || scan.Count != 2 {
			t.Errorf("%d entries left undone, %d items written, want 2 and 2", left, scan.Count)
		}
	})
}

func TestConflictNamesTheActionThatMatches(t *testing.T) {
	both(t, dynamolocal.Config{Faults: []byte(`{"rules": [{"key_prefix": "b", "action": "transaction_conflict"}]}`)}, func(t *testing.T, c api) {
		createTable(t, c)
		put := func(pk string) types.TransactWriteItem {
			return types.TransactWriteItem{Put: &types.Put{TableName: aws.String("tab"), Item: map[string]types.AttributeValue{"PK": s(pk), "SK": s("s")}}}
		}
		_, err := c.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put("a"), put("b")}})
		canceled, ok := errors.AsType[*types.TransactionCanceledException](err)
		if !ok || len(canceled.CancellationReasons) != 2 || *canceled.CancellationReasons[0].Code != "None" || *canceled.CancellationReasons[1].Code != "TransactionConflict" {
			t.Errorf("TransactWriteItems = %v", err)
		}
	})
}
