package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxFlatReply bounds the replies that flatProtocol reads at once; buckets are about a kilobyte.
const maxFlatReply = 64 << 10

// flatProtocol reads the reply to an UpdateItem without the SDK's hundred small allocations, when it is
// what a bucket looks like: attributes that are plain strings, numbers, booleans and nulls, without
// escapes. Everything else, errors included, goes to the SDK's protocol.
type flatProtocol struct {
	smithyhttp.ClientProtocol
}

// DeserializeResponse implements smithyhttp.ClientProtocol.
func (p flatProtocol) DeserializeResponse(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry,
	resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	update, ok := out.(*dynamodb.UpdateItemOutput)
	if !ok || resp.StatusCode != 200 || resp.ContentLength <= 0 || resp.ContentLength > maxFlatReply {
		return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, resp, out)
	}
	// One byte more than announced, to meet the end of the body and notice when it came early.
	body := make([]byte, resp.ContentLength+1)
	n, err := io.ReadFull(resp.Body, body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || int64(n) != resp.ContentLength {
		return &smithy.DeserializationError{Err: fmt.Errorf("read %d of %d bytes: %w", n, resp.ContentLength, err)}
	}
	if attributes, ok := parseFlatReply(string(body[:n])); ok {
		update.Attributes = attributes
		return nil
	}
	rest := *resp.Response
	rest.Body = io.NopCloser(bytes.NewReader(body[:n]))
	return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, &smithyhttp.Response{Response: &rest}, out)
}

// parseFlatReply reads {"Attributes":{"name":{"S":"text"},…}} without white space. ok is false for
// anything else, however valid.
func parseFlatReply(text string) (attributes item, ok bool) {
	var r flatReply
	if !r.parse(text) {
		return nil, false
	}
	return r.attributes, true
}

// flatReply is an item that a reply carries. It can be used again, which is the end of what it held.
type flatReply struct {
	attributes item
	// The values, in two allocations.
	strings []types.AttributeValueMemberS
	numbers []types.AttributeValueMemberN
}

// Values that items share; nobody writes to them.
var (
	flatTrue, flatFalse, flatNull = boolean(true), boolean(false), null()
)

// parse reads the reply of a write that was applied.
func (r *flatReply) parse(text string) bool {
	rest, ok := strings.CutPrefix(text, `{"Attributes":{`)
	if !ok {
		return false
	}
	r.begin(text)
	rest, ok = r.item(rest)
	return ok && rest == "}"
}

// parseRefusal reads the reply of a write whose condition failed, with the item that failed it, if any.
func (r *flatReply) parseRefusal(text string) bool {
	rest, ok := strings.CutPrefix(text, "{")
	if !ok {
		return false
	}
	r.begin(text)
	refused := false
	for {
		var name, value string
		if name, rest, ok = cutString(rest); !ok {
			return false
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			return false
		}
		switch name {
		case "__type":
			value, rest, ok = cutString(rest)
			refused = strings.HasSuffix(value, "#ConditionalCheckFailedException")
		case "message", "Message":
			_, rest, ok = cutString(rest)
		case "Item":
			if rest, ok = strings.CutPrefix(rest, "{"); ok {
				rest, ok = r.item(rest)
			}
		default:
			ok = false
		}
		switch {
		case !ok:
			return false
		case rest == "}":
			return refused
		}
		if rest, ok = strings.CutPrefix(rest, ","); !ok {
			return false
		}
	}
}

// begin makes room for the values of a text: they are pointed to, so that they must not move.
func (r *flatReply) begin(text string) {
	most := strings.Count(text, "{") // each value has its own
	if r.attributes == nil {
		r.attributes = make(item, most)
	}
	if len(r.attributes) > 0 {
		clear(r.attributes)
	}
	if cap(r.strings) < most {
		r.strings = make([]types.AttributeValueMemberS, 0, most)
		r.numbers = make([]types.AttributeValueMemberN, 0, most)
	}
	r.strings, r.numbers = r.strings[:0], r.numbers[:0]
}

// item reads the attributes of an item up to its closing brace.
func (r *flatReply) item(rest string) (after string, ok bool) {
	for {
		name, after, ok := cutString(rest)
		if !ok || !strings.HasPrefix(after, ":{") {
			return "", false
		}
		value, after, ok := r.value(after[2:])
		if !ok || len(after) < 1 {
			return "", false
		}
		if _, twice := r.attributes[name]; twice {
			return "", false
		}
		r.attributes[name] = value
		switch after[0] {
		case ',':
			rest = after[1:]
		case '}':
			return after[1:], true
		default:
			return "", false
		}
	}
}

// value reads "S":"text"} and the like.
func (r *flatReply) value(rest string) (v types.AttributeValue, after string, ok bool) {
	kind, after, ok := cutString(rest)
	if !ok || !strings.HasPrefix(after, ":") {
		return nil, "", false
	}
	after = after[1:]
	var text string
	switch kind {
	case "S", "N":
		if text, after, ok = cutString(after); !ok {
			return nil, "", false
		}
		if kind == "S" && len(r.strings) < cap(r.strings) {
			r.strings = append(r.strings, types.AttributeValueMemberS{Value: text})
			v = &r.strings[len(r.strings)-1]
		} else if kind == "N" && len(r.numbers) < cap(r.numbers) {
			r.numbers = append(r.numbers, types.AttributeValueMemberN{Value: text})
			v = &r.numbers[len(r.numbers)-1]
		}
	case "BOOL":
		if after, ok = strings.CutPrefix(after, "true"); ok {
			v = flatTrue
		} else if after, ok = strings.CutPrefix(after, "false"); ok {
			v = flatFalse
		}
	case "NULL":
		if after, ok = strings.CutPrefix(after, "true"); ok {
			v = flatNull
		}
	}
	if after, ok = strings.CutPrefix(after, "}"); !ok || v == nil {
		return nil, "", false
	}
	return v, after, true
}

// cutString reads a JSON string of plain ASCII without escapes.
func cutString(text string) (value, after string, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return text[1:i], text[i+1:], true
		case c == '\\' || c < 0x20 || c >= 0x80:
			return "", "", false
		}
	}
	return "", "", false
}
