package dynamolocal_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// The limiter's table and its speculative write, as limiter/dynamostore sends it for one limit.
const (
	limiterUpdate    = "ADD #k0 :m0, #c0 :v0, #wtk :wm, #wtc :w"
	limiterCondition = "attribute_exists(PK) AND #k0 >= :v0 AND attribute_not_exists(#s0) AND #wtk >= :w AND attribute_not_exists(bypass)" +
		" AND (attribute_not_exists(#ttl) OR #ttl > :s) AND attribute_not_exists(disabled) AND (attribute_not_exists(vu) OR vu > :m)"
)

var (
	limiterNames  = map[string]string{"#k0": "b_rpm_tk", "#c0": "b_rpm_tc", "#s0": "b_rpm_soft", "#wtk": "b_wcu_tk", "#wtc": "b_wcu_tc", "#ttl": "ttl"}
	limiterValues = item{":m0": n("-1000"), ":v0": n("1000"), ":wm": n("-1000"), ":w": n("1000"), ":s": n("1800000000"), ":m": n("1800000000000")}
)

// limiterTable makes the limiter's table with a number of buckets. Garbage is collected as often as in
// the program, and not for the filling of the table in the time that is measured.
func limiterTable(tb testing.TB, e *dynamolocal.Engine, items int) {
	tb.Helper()
	old := debug.SetGCPercent(400)
	tb.Cleanup(func() { debug.SetGCPercent(old) })
	defer runtime.GC()
	var definitions, global, local []string
	for _, name := range []string{"PK", "SK", "GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK", "GSI3PK", "GSI3SK", "GSI4PK", "GSI4SK", "LSI1SK", "LSI2SK", "LSI3SK", "LSI4SK", "LSI5SK"} {
		definitions = append(definitions, `{"AttributeName":"`+name+`","AttributeType":"S"}`)
	}
	index := func(name, hash, sort, projection string) string {
		return fmt.Sprintf(`{"IndexName":%q,"KeySchema":[{"AttributeName":%q,"KeyType":"HASH"},{"AttributeName":%q,"KeyType":"RANGE"}],"Projection":{"ProjectionType":%q}}`, name, hash, sort, projection)
	}
	for i, projection := range []string{"ALL", "ALL", "KEYS_ONLY", "KEYS_ONLY"} {
		name := fmt.Sprintf("GSI%d", i+1)
		global = append(global, index(name, name+"PK", name+"SK", projection))
	}
	for i, projection := range []string{"ALL", "KEYS_ONLY", "ALL", "KEYS_ONLY", "ALL"} {
		name := fmt.Sprintf("LSI%d", i+1)
		local = append(local, index(name, "PK", name+"SK", projection))
	}
	call(tb, e, "CreateTable", `{"TableName":"zae-limiter","BillingMode":"PAY_PER_REQUEST","KeySchema":[{"AttributeName":"PK","KeyType":"HASH"},{"AttributeName":"SK","KeyType":"RANGE"}],"AttributeDefinitions":[`+
		strings.Join(definitions, ",")+`],"GlobalSecondaryIndexes":[`+strings.Join(global, ",")+`],"LocalSecondaryIndexes":[`+strings.Join(local, ",")+`]}`)
	for i := range items {
		call(tb, e, "PutItem", bucketPut(i))
	}
}

func bucketKey(i int) string { return fmt.Sprintf("ns/BUCKET#entity-%07d#api#0", i) }

func bucketPut(i int) string {
	id := fmt.Sprintf("entity-%07d", i)
	return `{"TableName":"zae-limiter","Item":{"PK":{"S":"` + bucketKey(i) + `"},"SK":{"S":"#STATE"},"entity_id":{"S":"` + id + `"},"resource":{"S":"api"},` +
		`"rf":{"N":"1800000000000"},"shard_count":{"N":"1"},"cascade":{"BOOL":false},"ttl":{"N":"9800000420"},` +
		`"b_rpm_tk":{"N":"1000000000000000"},"b_rpm_cp":{"N":"1000000000000"},"b_rpm_ra":{"N":"1000000000000"},"b_rpm_rp":{"N":"60000"},"b_rpm_tc":{"N":"1000"},` +
		`"b_wcu_tk":{"N":"1000000000000000"},"b_wcu_cp":{"N":"1000000"},"b_wcu_ra":{"N":"1000000"},"b_wcu_rp":{"N":"1000"},"b_wcu_tc":{"N":"1000"},` +
		`"GSI2PK":{"S":"ns/RESOURCE#api"},"GSI2SK":{"S":"BUCKET#` + id + `#0"},"GSI3PK":{"S":"ns/ENTITY#` + id + `"},"GSI3SK":{"S":"BUCKET#api#0"},` +
		`"GSI4PK":{"S":"ns"},"GSI4SK":{"S":"BUCKET#` + id + `#api#0"}}}`
}

// call sends a request to the engine's handler.
func call(tb testing.TB, e *dynamolocal.Engine, op, body string) {
	tb.Helper()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+op)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		tb.Fatalf("%s: %d %s", op, w.Code, w.Body)
	}
}

func updateBody(key string) string {
	var names, values []string
	for alias, name := range limiterNames {
		names = append(names, fmt.Sprintf("%q:%q", alias, name))
	}
	for alias, value := range limiterValues {
		values = append(values, fmt.Sprintf(`%q:{"N":%q}`, alias, value.(*types.AttributeValueMemberN).Value))
	}
	return fmt.Sprintf(`{"TableName":"zae-limiter","Key":{"PK":{"S":%q},"SK":{"S":"#STATE"}},"UpdateExpression":%q,"ConditionExpression":%q,"ExpressionAttributeNames":{%s},"ExpressionAttributeValues":{%s},"ReturnValues":"ALL_NEW","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`,
		key, limiterUpdate, limiterCondition, strings.Join(names, ","), strings.Join(values, ","))
}

// stride visits the items in an order that no cache foresees, and comes to each of them.
const stride = 7919

var tableSizes = []int{1_000, 1_000_000}

// BenchmarkUpdateItemInProcess is the limiter's speculative write through the engine's own client,
// with the SDK's types.
func BenchmarkUpdateItemInProcess(b *testing.B) {
	for _, items := range tableSizes {
		b.Run(fmt.Sprintf("items=%d", items), func(b *testing.B) {
			e := newEngine(b, dynamolocal.Config{})
			limiterTable(b, e, items)
			updateInProcess(b, e, items)
		})
	}
}

// BenchmarkUpdateItemStream is the same write into a table whose stream is full: each record that comes
// drops one.
func BenchmarkUpdateItemStream(b *testing.B) {
	const items = 1000
	e := newEngine(b, dynamolocal.Config{StreamBytes: 1 << 20})
	limiterTable(b, e, items)
	call(b, e, "UpdateTable", `{"TableName":"zae-limiter","StreamSpecification":{"StreamEnabled":true,"StreamViewType":"NEW_AND_OLD_IMAGES"}}`)
	updateInProcess(b, e, items)
}

func updateInProcess(b *testing.B, e *dynamolocal.Engine, items int) {
	client := e.Client()
	keys := make([]types.AttributeValue, items)
	for i := range keys {
		keys[i] = s(bucketKey(i))
	}
	state := s("#STATE")
	b.ReportAllocs()
	for i := 0; b.Loop(); i = (i + stride) % items {
		_, err := client.UpdateItem(b.Context(), &dynamodb.UpdateItemInput{
			TableName: aws.String("zae-limiter"), Key: item{"PK": keys[i], "SK": state},
			UpdateExpression: aws.String(limiterUpdate), ConditionExpression: aws.String(limiterCondition),
			ExpressionAttributeNames: limiterNames, ExpressionAttributeValues: limiterValues,
			ReturnValues:                        types.ReturnValueAllNew,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUpdateItemHTTP is the same write as prepared bytes over one loopback connection: server
// and client share the time. bench/engine measures the server alone, on a core of its own.
func BenchmarkUpdateItemHTTP(b *testing.B) {
	for _, items := range tableSizes {
		b.Run(fmt.Sprintf("items=%d", items), func(b *testing.B) {
			e := newEngine(b, dynamolocal.Config{})
			limiterTable(b, e, items)
			conn := rawConnection(b, e)
			reader := bufio.NewReader(conn)
			requests := make([][]byte, 4096)
			for i := range requests {
				body := updateBody(bucketKey(i * stride % items))
				requests[i] = fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: DynamoDB_20120810.UpdateItem\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 1) % len(requests) {
				if _, err := conn.Write(requests[i]); err != nil {
					b.Fatal(err)
				}
				skipReply(b, reader)
			}
		})
	}
}

func rawConnection(b *testing.B, e *dynamolocal.Engine) net.Conn {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		cancel()
		<-done
	})
	return conn
}

func skipReply(b *testing.B, reader *bufio.Reader) {
	status, err := reader.ReadSlice('\n')
	if err != nil || !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		b.Fatalf("%v %q", err, status)
	}
	length := 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, c := range bytes.TrimSpace(value) {
				length = 10*length + int(c-'0')
			}
		}
	}
	if _, err := io.CopyN(io.Discard, reader, int64(length)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkUpdateItemCores is the write in process from as many goroutines as there are cores, each
// on items of its own: what one engine gives several cores.
func BenchmarkUpdateItemCores(b *testing.B) {
	const items = 4096
	e := newEngine(b, dynamolocal.Config{})
	limiterTable(b, e, items)
	client := e.Client()
	state := s("#STATE")
	var next atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := int(next.Add(items / 2)); pb.Next(); i++ {
			_, err := client.UpdateItem(b.Context(), &dynamodb.UpdateItemInput{
				TableName: aws.String("zae-limiter"), Key: item{"PK": s(bucketKey(i % items)), "SK": state},
				UpdateExpression: aws.String(limiterUpdate), ConditionExpression: aws.String(limiterCondition),
				ExpressionAttributeNames: limiterNames, ExpressionAttributeValues: limiterValues,
				ReturnValues: types.ReturnValueAllNew,
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
