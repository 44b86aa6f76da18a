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
	rest, ok := strings.CutPrefix(text, `{"Attributes":{`)
	if !ok {
		return nil, false
	}
	attributes = make(item, strings.Count(text, `":{"`))
	// A string cannot hold these without escapes, so the counts are exact for what is accepted.
	slab := flatSlab{
		strings: make([]types.AttributeValueMemberS, 0, strings.Count(text, `":{"S"`)),
		numbers: make([]types.AttributeValueMemberN, 0, strings.Count(text, `":{"N"`)),
	}
	for {
		name, after, ok := cutString(rest)
		if !ok || !strings.HasPrefix(after, ":{") {
			return nil, false
		}
		value, after, ok := slab.value(after[2:])
		if !ok || len(after) < 2 {
			return nil, false
		}
		if _, twice := attributes[name]; twice {
			return nil, false
		}
		attributes[name] = value
		switch {
		case after[0] == ',':
			rest = after[1:]
		case after == "}}":
			return attributes, true
		default:
			return nil, false
		}
	}
}

// flatSlab holds the values of one reply in two allocations.
type flatSlab struct {
	strings []types.AttributeValueMemberS
	numbers []types.AttributeValueMemberN
}

// value reads "S":"text"} and the like.
func (s *flatSlab) value(rest string) (v types.AttributeValue, after string, ok bool) {
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
		if kind == "S" && len(s.strings) < cap(s.strings) {
			s.strings = append(s.strings, types.AttributeValueMemberS{Value: text})
			v = &s.strings[len(s.strings)-1]
		} else if kind == "N" && len(s.numbers) < cap(s.numbers) {
			s.numbers = append(s.numbers, types.AttributeValueMemberN{Value: text})
			v = &s.numbers[len(s.numbers)-1]
		}
	case "BOOL":
		if after, ok = strings.CutPrefix(after, "true"); ok {
			v = boolean(true)
		} else if after, ok = strings.CutPrefix(after, "false"); ok {
			v = boolean(false)
		}
	case "NULL":
		if after, ok = strings.CutPrefix(after, "true"); ok {
			v = null()
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
