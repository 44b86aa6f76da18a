package dynamostore

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore/internal/lean"
)

func testLeanClient(t testing.TB) *LeanClient {
	t.Helper()
	c, err := NewLeanClient(LeanConfig{Region: "us-east-1", Endpoint: "http://127.0.0.1:1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func jsonOf(t interface{ Fatal(...any) }, text []byte) (v any) {
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err, string(text))
	}
	return v
}

// The speculative write has two ways to the service, which must not drift apart.
func TestTheSpeculativeWriteIsOneRequestInBothWays(t *testing.T) {
	c := testLeanClient(t)
	text := rapid.StringOfN(rapid.Rune(), 1, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		in := &limiter.ConsumeInput{
			Key: limiter.BucketKey{EntityID: text.Draw(t, "entity"), Resource: text.Draw(t, "resource"), Shard: rapid.IntRange(0, 31).Draw(t, "shard")},
			Now: rapid.Int64().Draw(t, "now"), Bypassed: rapid.Bool().Draw(t, "bypassed"),
		}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z_.-]{1,9}`), 0, 4, rapid.ID).Draw(t, "limits") {
			in.Charges = append(in.Charges, limiter.Charge{Limit: name, Amount: rapid.Int64Range(0, 1e18).Draw(t, "amount")})
		}
		store := OpenTable(c, text.Draw(t, "table"), TableOptions{}).Store(text.Draw(t, "namespace"))
		asks := rapid.Bool().Draw(t, "asks for capacity")
		input := store.consumeInput(in)
		if asks {
			input.ReturnConsumedCapacity = types.ReturnConsumedCapacityIndexes
		}
		want, err := c.appendInput(t.Context(), nil, opUpdateItem, input)
		if err != nil {
			t.Fatal(err)
		}
		got := appendConsume(nil, &Consumption{store: store, in: in, AskCapacity: asks})
		if !reflect.DeepEqual(jsonOf(t, got), jsonOf(t, want)) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestTextsAreQuotedAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		var got string
		if err := json.Unmarshal(append(appendText([]byte{'"'}, text), '"'), &got); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(text)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// FuzzConsumed gives a speculative write any reply. It may be admitted only by one that carries the new
// item, and what is read from it quickly is what the SDK reads.
func FuzzConsumed(f *testing.F) {
	const refused = `"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"`
	for _, seed := range []struct {
		status int
		body   string
	}{
		{200, `{"Attributes":{"PK":{"S":"k"},"rf":{"N":"7"},"b_n_tk":{"N":"5"},"b_n_cp":{"N":"9"},"cascade":{"BOOL":true},"parent_id":{"NULL":true}}}`},
		{200, `{ "Attributes": {"rf": {"N": "7"}, "m": {"M": {"a": {"L": [{"S": "x"}]}}}} }`},
		{200, `{"Attributes":{"rf":{"N":"7"}},"ConsumedCapacity":{"TableName":"t","CapacityUnits":1}}`},
		{200, `{}`}, {200, `{"Attributes":{}}`}, {200, ``}, {200, `<html>`}, {200, `{"Attributes":{"rf":{"N":"1.5"}}}`}, {200, `{"Attributes":{"rf":{"S":"7"}}}`},
		{200, `{"Attributes":{"rf":{"N":"7"}}`}, {200, `{"Attributes":null}`}, {200, `{"Attributes":{"rf":{"N":"7"}}}}`},
		{400, `{` + refused + `,"message":"The conditional request failed","Item":{"rf":{"N":"7"},"b_n_tk":{"N":"5"}}}`},
		{400, `{` + refused + `,"Message":"x"}`}, {400, `{"Item":{"rf":{"N":"7"}},` + refused + `}`}, {400, `{` + refused + `,"Item":{}}`},
		{400, `{"__type":"x#TransactionConflictException","message":"m"}`}, {400, `{"__type":"x#ValidationException"}`},
		{500, `{"Attributes":{"rf":{"N":"7"}}}`}, {204, ``}, {302, `{"Attributes":{"rf":{"N":"7"}}}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	c := testLeanClient(f)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		key := limiter.BucketKey{EntityID: "u", Resource: "r"}
		out := limiter.ConsumeOutput{Outcome: limiter.Conflict}
		reader := consumption{client: c, what: &Consumption{in: &limiter.ConsumeInput{Key: key}, out: &out}}
		reply := &lean.Reply{Status: status, Body: body}
		err := reader.read(reply)

		var decoded dynamodb.UpdateItemOutput
		wantErr := c.decode(reply, opUpdateItem, &decoded)
		var want limiter.Bucket
		switch old, wasRefused := failedImage(wantErr); {
		case reader.err != nil: // no admission
		case err == nil:
			if status < 200 || status > 299 || wantErr != nil || len(decoded.Attributes) == 0 {
				t.Fatalf("admitted by %d %q, which the SDK reads as %v", status, body, wantErr)
			}
			if out.Outcome != limiter.Done || decodeBucket(decoded.Attributes, key, &want) != nil || !sameImage(&out.Image, &want) {
				t.Fatalf("got %+v, want %+v", out, want)
			}
		case errors.Is(err, errRefused):
			if !wasRefused || out.Outcome != limiter.Refused || decodeBucket(old, key, &want) != nil || !sameImage(&out.Image, &want) {
				t.Fatalf("got %+v, want %+v; the SDK: %v", out, want, wantErr)
			}
		}
	})
}

func sameImage(a, b *limiter.Bucket) bool {
	left, right := *a, *b
	if len(left.Limits) == 0 && len(right.Limits) == 0 {
		left.Limits, right.Limits = nil, nil
	}
	return reflect.DeepEqual(left, right)
}
