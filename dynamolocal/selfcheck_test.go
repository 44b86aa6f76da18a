package dynamolocal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// The self-checks that the semantics of the engine ask for, by number. The sixth and the seventh are
// properties (see TestSelfCheck06 and TestSelfCheck07 in property_test.go); the tenth stands beside
// the profiles, in internal/latency.

func TestSelfCheck01NoIncrementIsLost(t *testing.T) {
	const writers, writes = 10, 10_000
	c := newEngine(t, dynamolocal.Config{}).Client()
	createTable(t, c)
	key := item{"PK": s("p"), "SK": s("s")}
	var wait sync.WaitGroup
	for range writers {
		wait.Go(func() {
			for range writes {
				if _, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String("tab"), Key: key,
					UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: item{":one": n("1")}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if got := number(t, c, key, "n"); got != strconv.Itoa(writers*writes) {
		t.Errorf("n is %s after %d increments", got, writers*writes)
	}
}

// number returns an N attribute of an item.
func number(t *testing.T, c api, key item, name string) string {
	t.Helper()
	out, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("tab"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := out.Item[name].(*types.AttributeValueMemberN)
	if !ok {
		t.Fatalf("%s is %v, want a number", name, out.Item[name])
	}
	return v.Value
}

func TestSelfCheck02TokensAreNeverOverspent(t *testing.T) {
	both(t, dynamolocal.Config{}, func(t *testing.T, c api) {
		const tokens, workers, attempts = 100, 8, 40
		createTable(t, c)
		key := item{"PK": s("p"), "SK": s("s")}
		if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{"PK": s("p"), "SK": s("s"), "tk": n(strconv.Itoa(tokens))}}); err != nil {
			t.Fatal(err)
		}
		var spent atomic.Int64
		var wait sync.WaitGroup
		for range workers {
			wait.Go(func() {
				for range attempts {
					_, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String("tab"), Key: key,
						UpdateExpression: aws.String("ADD tk :neg"), ConditionExpression: aws.String("tk >= :c"),
						ExpressionAttributeValues: item{":neg": n("-1"), ":c": n("1")}})
					if err == nil {
						spent.Add(1)
					} else if _, refused := errors.AsType[*types.ConditionalCheckFailedException](err); !refused {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		if left := number(t, c, key, "tk"); spent.Load() != tokens || left != "0" {
			t.Errorf("%d of %d tokens were spent, %s are left", spent.Load(), tokens, left)
		}
	})
}

func TestSelfCheck03SetSwaps(t *testing.T) {
	both(t, dynamolocal.Config{}, func(t *testing.T, c api) {
		createTable(t, c)
		key := item{"PK": s("p"), "SK": s("s")}
		if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{"PK": s("p"), "SK": s("s"), "a": n("1"), "b": n("2")}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String("tab"), Key: key, UpdateExpression: aws.String("SET a = b, b = a")}); err != nil {
			t.Fatal(err)
		}
		if a, b := number(t, c, key, "a"), number(t, c, key, "b"); a != "2" || b != "1" {
			t.Errorf("a = %s, b = %s, want 2 and 1", a, b)
		}
	})
}

func TestSelfCheck04ArithmeticIsExact(t *testing.T) {
	const digits38 = "99999999999999999999999999999999999999"
	const tooLong = "Attempting to store more than 38 significant digits in a Number"
	tests := []struct{ name, start, add, want, problem string }{
		{"tenths", "0.1", "0.2", "0.3", ""},
		{"38 digits", "12345678901234567890123456789012345678", "11111111111111111111111111111111111111", "23456790012345679001234567900123456789", ""},
		{"38 digits and a fraction of them", "1.2345678901234567890123456789012345678", "0.0000000000000000000000000000000000002", "1.234567890123456789012345678901234568", ""},
		{"a carry that ends in zeros", digits38, "1", "100000000000000000000000000000000000000", ""},
		{"the 39th digit", digits38, "2", digits38, tooLong},
		{"far apart", "1e40", "1", "10000000000000000000000000000000000000000", tooLong},
		{"too large", "9e125", "9e125", "9" + strings.Repeat("0", 125), "Number overflow. Attempting to store a number with magnitude larger than supported range"},
	}
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			post(t, e, "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "x": {"N": "`+tt.start+`"}}}`)
			reply := post(t, e, "UpdateItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "UpdateExpression": "SET x = x + :d",
				"ExpressionAttributeValues": {":d": {"N": "`+tt.add+`"}}}`)
			if got, _ := reply["message"].(string); got != tt.problem {
				t.Errorf("the error is %q, want %q", got, tt.problem)
			}
			if got := number(t, e.Client(), item{"PK": s("p"), "SK": s("s")}, "x"); got != tt.want {
				t.Errorf("x = %s, want %s", got, tt.want)
			}
		})
	}
}

// state is everything that reads show of the table tab, as one text.
func state(t *testing.T, e *dynamolocal.Engine, indexes ...string) string {
	t.Helper()
	var text strings.Builder
	for _, index := range append([]string{""}, indexes...) {
		body := `{"TableName": "tab"}`
		if index != "" {
			body = `{"TableName": "tab", "IndexName": "` + index + `"}`
		}
		fmt.Fprintln(&text, index, raw(t, e, "Scan", body))
	}
	description := post(t, e, "DescribeTable", `{"TableName": "tab"}`)
	out, err := json.Marshal(description)
	if err != nil {
		t.Fatal(err)
	}
	text.Write(out)
	return text.String()
}

// raw returns the body of a reply.
func raw(t *testing.T, h http.Handler, operation, body string) string {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Body.String()
}

func TestSelfCheck05WhatIsRefusedChangesNothing(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, sk := range []string{"1", "2", "3"} {
		post(t, e, "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "`+sk+`"}, "G": {"S": "g"}, "L": {"S": "l`+sk+`"}, "x": {"N": "1"}, "m": {"M": {}}, "ss": {"SS": ["a"]}}}`)
	}
	const key = `"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "1"}}`
	update := func(expression, values string) string {
		return `{` + key + `, "UpdateExpression": "` + expression + `", "ExpressionAttributeValues": ` + values + `}`
	}
	put := func(pk, more string) string {
		return `{"Put": {"TableName": "tab", "Item": {"PK": {"S": "` + pk + `"}, "SK": {"S": "1"}, "G": {"S": "g2"}}` + more + `}}`
	}
	tests := []struct{ name, operation, body string }{
		{"condition", "UpdateItem", `{` + key + `, "UpdateExpression": "SET G = :v REMOVE L", "ConditionExpression": "x > :v2", "ExpressionAttributeValues": {":v": {"S": "other"}, ":v2": {"N": "5"}}}`},
		{"index key of another type", "UpdateItem", update("SET x = :n, G = :n", `{":n": {"N": "2"}}`)},
		{"number beyond 38 digits", "UpdateItem", update("SET L = :s ADD x :n", `{":n": {"N": "1e39"}, ":s": {"S": "z"}}`)},
		{"missing operand", "UpdateItem", update("SET L = :s, y = nothing", `{":s": {"S": "z"}}`)},
		{"missing parent", "UpdateItem", update("SET L = :s, no.y = :s", `{":s": {"S": "z"}}`)},
		{"item too large", "UpdateItem", update("SET L = :s, big = :b", `{":s": {"S": "z"}, ":b": {"S": "`+strings.Repeat("x", 409_600)+`"}}`)},
		{"set and number", "UpdateItem", update("REMOVE G ADD ss :n", `{":n": {"N": "1"}}`)},
		{"put condition", "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "1"}}, "ConditionExpression": "attribute_not_exists(PK)"}`},
		{"delete condition", "DeleteItem", `{` + key + `, "ConditionExpression": "attribute_not_exists(PK)"}`},
		{"transaction with a condition", "TransactWriteItems", `{"TransactItems": [` + put("new", "") + `, ` + put("p", `, "ConditionExpression": "attribute_not_exists(PK)"`) + `]}`},
		{"transaction with a bad update", "TransactWriteItems", `{"TransactItems": [` + put("new", "") + `, {"Update": ` + update("SET m.a.b = :v", `{":v": {"S": "x"}}`) + `}]}`},
		{"batch with a bad item", "BatchWriteItem", `{"RequestItems": {"tab": [{"PutRequest": {"Item": {"PK": {"S": "new"}, "SK": {"S": "1"}}}}, {"PutRequest": {"Item": {"PK": {"S": "new"}}}}]}}`},
	}
	before := state(t, e, "keys", "local")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if reply := post(t, e, tt.operation, tt.body); reply["__type"] == nil {
				t.Fatalf("the request was not refused: %v", reply)
			}
			if after := state(t, e, "keys", "local"); after != before {
				t.Errorf("state\n%s\nbefore\n%s", after, before)
			}
		})
	}
}

func TestSelfCheck08ATokenWritesOnce(t *testing.T) {
	both(t, dynamolocal.Config{}, func(t *testing.T, c api) {
		createTable(t, c)
		key := item{"PK": s("p"), "SK": s("s")}
		input := func(token string) *dynamodb.TransactWriteItemsInput {
			return &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String(token), TransactItems: []types.TransactWriteItem{{
				Update: &types.Update{TableName: aws.String("tab"), Key: key, UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: item{":one": n("1")}},
			}}}
		}
		for _, token := range []string{"a", "a", "b", "a"} {
			if _, err := c.TransactWriteItems(t.Context(), input(token)); err != nil {
				t.Fatal(err)
			}
		}
		if got := number(t, c, key, "n"); got != "2" {
			t.Errorf("n is %s after two tokens, want 2", got)
		}
		other := input("a")
		other.TransactItems[0].Update.ExpressionAttributeValues = item{":one": n("2")}
		_, err := c.TransactWriteItems(t.Context(), other)
		if _, ok := errors.AsType[*types.IdempotentParameterMismatchException](err); !ok {
			t.Errorf("other content under a used token: %v", err)
		}
	})
}

// A token counts from the end of its transaction, ten minutes of the engine's clock.
func TestATokenIsForgotten(t *testing.T) {
	var clock atomic.Int64
	start := time.Now()
	c := newEngine(t, dynamolocal.Config{Clock: func() time.Time { return start.Add(time.Duration(clock.Load())) }}).Client()
	createTable(t, c)
	key := item{"PK": s("p"), "SK": s("s")}
	for i, step := range []time.Duration{0, 10 * time.Minute, time.Nanosecond} {
		clock.Add(int64(step))
		_, err := c.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String("a"), TransactItems: []types.TransactWriteItem{{
			Update: &types.Update{TableName: aws.String("tab"), Key: key, UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: item{":one": n("1")}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := number(t, c, key, "n"), []string{"1", "1", "2"}[i]; got != want {
			t.Errorf("%v later n is %s, want %s", time.Duration(clock.Load()), got, want)
		}
	}
}

func TestSelfCheck09OneHashValueGets1000WritesASecond(t *testing.T) {
	const rate = 1200
	var clock atomic.Int64
	start := time.Now()
	c := newEngine(t, dynamolocal.Config{Throughput: "on-demand", Clock: func() time.Time { return start.Add(time.Duration(clock.Load())) }}).Client()
	createTable(t, c)
	// load sends rate writes a second and returns how many a second were admitted.
	load := func(seconds int) float64 {
		admitted := 0
		for i := range seconds * rate {
			clock.Add(int64(time.Second / rate))
			_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{"PK": s("hot"), "SK": s(strconv.Itoa(i % 100))}})
			if err == nil {
				admitted++
				continue
			}
			if throttled, ok := errors.AsType[*types.ThrottlingException](err); !ok || *throttled.ThrottlingReasons[0].Reason != "TableWriteKeyRangeThroughputExceeded" {
				t.Fatal(err)
			}
		}
		return float64(admitted) / float64(seconds)
	}
	load(6) // spends what one partition may save
	if got := load(20); math.Abs(got-1000) > 20 {
		t.Errorf("%.1f writes a second were admitted, want 1000 ± 2 %%", got)
	}
}

// Both servers, and every kind of reply.
func TestSelfCheck11SumsAndLengths(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	requests := []struct {
		target, body string
		status       int
	}{
		{"CreateTable", indexedTable, 200},
		{"CreateTable", indexedTable, 400},
		{"DescribeTable", `{"TableName": "tab"}`, 200},
		{"DescribeTable", `{"TableName": "none"}`, 400},
		{"PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "é\u0001"}, "SK": {"S": "s"}}}`, 200},
		{"PutItem", `{"TableName": "tab", "Item": {"PK": {"S": ""}, "SK": {"S": "s"}}}`, 400},
		{"PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "é\u0001"}, "SK": {"S": "s"}}, "ConditionExpression": "attribute_not_exists(PK)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}`, 400},
		{"GetItem", `{"TableName": "tab", "Key": {"PK": {"S": "é\u0001"}, "SK": {"S": "s"}}}`, 200},
		{"GetItem", `{"TableName": "tab", "Key": {"PK": {"S": "missing"}, "SK": {"S": "s"}}}`, 200},
		{"Scan", `{"TableName": "tab"}`, 200},
		{"TransactWriteItems", `{"TransactItems": [{"ConditionCheck": {"TableName": "tab", "Key": {"PK": {"S": "x"}, "SK": {"S": "s"}}, "ConditionExpression": "attribute_exists(PK)"}}]}`, 400},
		{"DeleteItem", `{"TableName": "tab", "Key": {"PK": {"S": "é\u0001"}, "SK": {"S": "s"}}, "ReturnValues": "ALL_OLD"}`, 200},
		{"GetItem", `{"TableName": 3}`, 400},
		{"GetItem", `{"TableName"`, 400},
		{"NoSuchOperation", `{}`, 400},
		{"TagResource", `{"ResourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/tab", "Tags": [{"Key": "k", "Value": "v"}]}`, 200},
		{"DeleteTable", `{"TableName": "tab"}`, 200},
	}
	for name, url := range map[string]string{"net/http": plainServer(t, e), "own server": listen(t, e)} {
		ids := map[string]bool{}
		for _, tt := range requests {
			t.Run(name+" "+tt.target+" "+strconv.Itoa(tt.status), func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+tt.target)
				reply, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer reply.Body.Close()
				body, err := io.ReadAll(reply.Body)
				if err != nil || reply.StatusCode != tt.status {
					t.Errorf("status %d, want %d; %v: %s", reply.StatusCode, tt.status, err, body)
				}
				if got, want := reply.Header.Get("X-Amz-Crc32"), strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10); got != want {
					t.Errorf("the sum says %s, the body has %s", got, want)
				}
				if got := reply.Header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
					t.Errorf("the length says %s, the body has %d", got, len(body))
				}
				if got := reply.Header.Get("Content-Type"); got != "application/x-amz-json-1.0" {
					t.Errorf("content type %q", got)
				}
				id := reply.Header.Get("X-Amzn-Requestid")
				if len(id) != 52 || strings.Trim(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || ids[id] {
					t.Errorf("request id %q", id)
				}
				ids[id] = true
			})
		}
	}
}
