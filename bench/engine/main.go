// Command engine measures UpdateItem on a DynamoDB endpoint with prepared bytes over raw connections,
// so that the server, not the client, is what is measured. The write is the limiter's speculative
// one, on the limiter's table with all its indexes. It prints one JSON object.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

type options struct {
	endpoint, table    string
	items, connections int
	warmup, duration   time.Duration
	serverPID          int
}

func main() {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "", "server to measure")
	flag.StringVar(&o.table, "table", "bench-engine", "table to create and fill")
	flag.IntVar(&o.items, "items", 1000, "buckets in the table; the writes go to all of them")
	flag.IntVar(&o.connections, "connections", 8, "connections, each with one request at a time")
	flag.DurationVar(&o.warmup, "warmup", time.Second, "how long to write before measuring")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure")
	flag.IntVar(&o.serverPID, "server-pid", 0, "process of the server, to report its CPU time (Linux)")
	flag.Parse()
	debug.SetGCPercent(400)
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options) error {
	if err := fill(ctx, o); err != nil {
		return err
	}
	requests := make([][]byte, min(o.items, 16384))
	for i := range requests {
		// A stride over all items, in an order that no cache foresees.
		requests[i] = request(o, "UpdateItem", updateBody(o.table, i*7919%o.items))
	}
	if _, err := drive(o, requests, o.warmup); err != nil {
		return err
	}
	before := cpuTime(o.serverPID)
	start := time.Now()
	done, err := drive(o, requests, o.duration)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	result := map[string]any{"items": o.items, "requests": done, "seconds": seconds, "per_second": float64(done) / seconds}
	if o.serverPID != 0 {
		result["server_cpu_us"] = float64((cpuTime(o.serverPID) - before).Microseconds()) / float64(done)
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// drive sends the requests over and over on all connections and counts the answers.
func drive(o *options, requests [][]byte, d time.Duration) (int64, error) {
	u, err := url.Parse(o.endpoint)
	if err != nil {
		return 0, err
	}
	var done atomic.Int64
	var wg sync.WaitGroup
	failures := make(chan error, o.connections)
	deadline := time.Now().Add(d)
	for c := range o.connections {
		wg.Go(func() {
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				failures <- err
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(deadline.Add(30 * time.Second))
			reader := bufio.NewReaderSize(conn, 16<<10)
			for i := c * len(requests) / o.connections; time.Now().Before(deadline); i++ {
				if err := exchange(conn, reader, requests[i%len(requests)]); err != nil {
					failures <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	close(failures)
	return done.Load(), <-failures
}

func exchange(conn net.Conn, reader *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := reader.ReadString('\n')
	if err != nil {
		return err
	}
	length := -1
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("a reply without a length")
	}
	if !strings.Contains(status, " 200 ") {
		body, _ := io.ReadAll(io.LimitReader(reader, int64(length)))
		return fmt.Errorf("%s %s", strings.TrimSpace(status), body)
	}
	_, err = reader.Discard(length)
	return err
}

func request(o *options, op, body string) []byte {
	u, _ := url.Parse(o.endpoint)
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Target: DynamoDB_20120810.%s\r\nContent-Type: application/x-amz-json-1.0\r\n"+
		"X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature=%064d\r\nContent-Length: %d\r\n\r\n%s",
		u.Host, op, 0, len(body), body)
}

func entity(i int) string { return fmt.Sprintf("entity-%07d", i) }

func updateBody(table string, i int) string {
	return fmt.Sprintf(`{"TableName":%q,"Key":{"PK":{"S":"ns/BUCKET#%s#api#0"},"SK":{"S":"#STATE"}},"UpdateExpression":"ADD #k0 :m0, #c0 :v0, #wtk :wm, #wtc :w",`+
		`"ConditionExpression":"attribute_exists(PK) AND #k0 >= :v0 AND attribute_not_exists(#s0) AND #wtk >= :w AND attribute_not_exists(bypass) AND (attribute_not_exists(#ttl) OR #ttl > :s) AND attribute_not_exists(disabled) AND (attribute_not_exists(vu) OR vu > :m)",`+
		`"ExpressionAttributeNames":{"#k0":"b_rpm_tk","#c0":"b_rpm_tc","#s0":"b_rpm_soft","#wtk":"b_wcu_tk","#wtc":"b_wcu_tc","#ttl":"ttl"},`+
		`"ExpressionAttributeValues":{":m0":{"N":"-1000"},":v0":{"N":"1000"},":wm":{"N":"-1000"},":w":{"N":"1000"},":s":{"N":"1800000000"},":m":{"N":"1800000000000"}},`+
		`"ReturnValues":"ALL_NEW","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`, table, entity(i))
}

// fill makes the limiter's table, without a stream, and puts the buckets.
func fill(ctx context.Context, o *options) error {
	client, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: "us-east-1", Endpoint: o.endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err != nil {
		return err
	}
	if err := dynamostore.OpenTable(client, o.table, dynamostore.TableOptions{WithoutStream: true}).Create(ctx); err != nil {
		return err
	}
	const batch = 25
	for first := 0; first < o.items; first += batch {
		var puts []types.WriteRequest
		for i := first; i < min(first+batch, o.items); i++ {
			puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: bucket(i)}})
		}
		out, err := client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{o.table: puts}})
		if err != nil {
			return err
		}
		if len(out.UnprocessedItems) > 0 {
			return errors.New("the server left items unprocessed")
		}
	}
	return nil
}

func bucket(i int) map[string]types.AttributeValue {
	s := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	n := func(v int64) types.AttributeValue {
		return &types.AttributeValueMemberN{Value: strconv.FormatInt(v, 10)}
	}
	const never = 1_000_000_000_000_000 // tokens that no run uses up
	return map[string]types.AttributeValue{
		"PK": s("ns/BUCKET#" + entity(i) + "#api#0"), "SK": s("#STATE"), "entity_id": s(entity(i)), "resource": s("api"),
		"rf": n(1800000000000), "shard_count": n(1), "cascade": &types.AttributeValueMemberBOOL{}, "ttl": n(9800000420),
		"b_rpm_tk": n(never), "b_rpm_cp": n(1_000_000_000_000), "b_rpm_ra": n(1_000_000_000_000), "b_rpm_rp": n(60000), "b_rpm_tc": n(0),
		"b_wcu_tk": n(never), "b_wcu_cp": n(1_000_000), "b_wcu_ra": n(1_000_000), "b_wcu_rp": n(1000), "b_wcu_tc": n(0),
		"GSI2PK": s("ns/RESOURCE#api"), "GSI2SK": s("BUCKET#" + entity(i) + "#0"),
		"GSI3PK": s("ns/ENTITY#" + entity(i)), "GSI3SK": s("BUCKET#api#0"),
		"GSI4PK": s("ns"), "GSI4SK": s("BUCKET#" + entity(i) + "#api#0"),
	}
}

// cpuTime returns the processor time of a process so far, 0 where /proc does not tell.
func cpuTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The fields after the name in brackets: utime and stime are the 12th and 13th, in hundredths of
	// a second on every Linux that Go runs on.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
