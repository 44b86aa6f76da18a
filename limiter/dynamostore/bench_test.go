package dynamostore_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// bucketReply is a speculative write's answer: a bucket of one limit that never runs out.
const bucketReply = `{"Attributes":{"PK":{"S":"ns/BUCKET#user-1#gpt-4#0"},"SK":{"S":"#STATE"},"entity_id":{"S":"user-1"},` +
	`"resource":{"S":"gpt-4"},"rf":{"N":"1800000000000"},"shard_count":{"N":"1"},"cascade":{"BOOL":false},"ttl":{"N":"9800000420"},` +
	`"b_rpm_tk":{"N":"99000"},"b_rpm_cp":{"N":"100000"},"b_rpm_ra":{"N":"100000"},"b_rpm_rp":{"N":"60000"},"b_rpm_tc":{"N":"1000"},` +
	`"b_wcu_tk":{"N":"999000"},"b_wcu_cp":{"N":"1000000"},"b_wcu_ra":{"N":"1000000"},"b_wcu_rp":{"N":"1000"},"b_wcu_tc":{"N":"1000"},` +
	`"GSI2PK":{"S":"ns/RESOURCE#gpt-4"},"GSI2SK":{"S":"BUCKET#user-1#0"},"GSI3PK":{"S":"ns/ENTITY#user-1"},` +
	`"GSI3SK":{"S":"BUCKET#gpt-4#0"},"GSI4PK":{"S":"ns"},"GSI4SK":{"S":"BUCKET#user-1#gpt-4#0"}}}`

// fixedReply listens on loopback and answers every request with the same bytes: the cost of a
// server that is not there.
func fixedReply(tb testing.TB, body string) (endpoint string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	reply := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nX-Amz-Crc32: %d\r\nx-amzn-RequestId: 0123456789ABCDEF\r\nContent-Length: %d\r\n\r\n%s",
		dynamoJSON, crc32.ChecksumIEEE([]byte(body)), len(body), body)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, reply)
		}
	}()
	return "http://" + l.Addr().String()
}

func answer(c net.Conn, reply []byte) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

func newLimiter(tb testing.TB, api dynamostore.API) *limiter.Limiter {
	tb.Helper()
	l, err := limiter.New(dynamostore.OpenTable(api, "zae-limiter", dynamostore.TableOptions{}).Store("ns"),
		limiter.Options{Clock: func() time.Time { return time.UnixMilli(1800000000000) }})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

var benchRequest = limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}

func acquireOnce(ctx context.Context, l *limiter.Limiter) error {
	lease, err := l.Acquire(ctx, benchRequest)
	if err != nil {
		return err
	}
	return lease.Close(ctx)
}

// capture keeps the last UpdateItem and answers it, so that the bare loop sends the same request.
type capture struct {
	dynamostore.API
	last  *dynamodb.UpdateItemInput
	reply *dynamodb.UpdateItemOutput
}

func (c *capture) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	c.last = in
	if c.reply != nil {
		return c.reply, nil
	}
	out, err := c.API.UpdateItem(ctx, in, opts...)
	c.reply = out
	return out, err
}

// BenchmarkAcquireSDK is a whole acquire (one speculative write) through the SDK.
func BenchmarkAcquireSDK(b *testing.B) {
	l := newLimiter(b, newClient(b, fixedReply(b, bucketReply)))
	b.ReportAllocs()
	for b.Loop() {
		if err := acquireOnce(b.Context(), l); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareUpdateItem sends the same request with the same client and does nothing else.
func BenchmarkBareUpdateItem(b *testing.B) {
	client := newClient(b, fixedReply(b, bucketReply))
	recorded := &capture{API: client}
	if err := acquireOnce(b.Context(), newLimiter(b, recorded)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.UpdateItem(b.Context(), recorded.last); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAcquireOwnCode is what limiter and store add to the SDK's call.
func BenchmarkAcquireOwnCode(b *testing.B) {
	recorded := &capture{API: newClient(b, fixedReply(b, bucketReply))}
	l := newLimiter(b, recorded)
	b.ReportAllocs()
	for b.Loop() {
		if err := acquireOnce(b.Context(), l); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAcquireAllocatesLittleOfItsOwn(t *testing.T) {
	recorded := &capture{API: newClient(t, fixedReply(t, bucketReply))}
	l := newLimiter(t, recorded)
	got := testing.AllocsPerRun(200, func() {
		if err := acquireOnce(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	})
	if got > 25 {
		t.Errorf("%v allocations, want at most 25", got)
	}
}

// BenchmarkAcquireLean is a whole acquire through the lean client.
func BenchmarkAcquireLean(b *testing.B) {
	l := newLimiter(b, newLeanClient(b, fixedReply(b, bucketReply)))
	b.ReportAllocs()
	for b.Loop() {
		if err := acquireOnce(b.Context(), l); err != nil {
			b.Fatal(err)
		}
	}
}
