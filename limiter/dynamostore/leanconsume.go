package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore/internal/lean"
)

// Consumer is an API that makes the speculative write of an acquire itself, without building the SDK's
// shapes for it: the one call that every acquire makes. A store uses it when its API has it.
type Consumer interface {
	// Consume makes the write. It returns nil when the write was applied or refused, which the
	// consumption then knows, and any other end as the SDK's error. It never repeats a write of which it is
	// unknown whether it was applied.
	Consume(context.Context, *Consumption) error
}

// Consumption is one speculative write, made by a store for its Consumer. Who wraps one may ask for the
// consumed capacity.
type Consumption struct {
	// AskCapacity asks for the consumed capacity, of the table and its indexes.
	AskCapacity bool
	// Capacity is what was consumed; nil unless it was asked for and told.
	Capacity *types.ConsumedCapacity

	store *Store
	in    *limiter.ConsumeInput
	out   *limiter.ConsumeOutput
}

// Applied reports, after a write without an error, whether it was applied, and not refused.
func (c *Consumption) Applied() bool { return c.out.Outcome == limiter.Done }

// errRefused says that a condition did not hold; it is an outcome and ends a call like one.
var errRefused = errors.New("refused")

// consumption reads the reply to a speculative write. It is kept from one to the next for what its item
// takes.
type consumption struct {
	client *LeanClient
	what   *Consumption
	flat   flatReply
	// err is why an image cannot be read: the call itself succeeded.
	err error
}

// Consume implements Consumer.
func (c *LeanClient) Consume(ctx context.Context, what *Consumption) error {
	reader := c.consumptions.Get().(*consumption)
	reader.client, reader.what, reader.err = c, what, nil
	call := c.transport.NewCall()
	call.Body = appendConsume(call.Body, what)
	err := c.do(ctx, call, "UpdateItem", &c.once, reader)
	c.transport.Release(call)
	if err == nil || err == errRefused {
		err = reader.err
	}
	reader.what = nil
	clear(reader.flat.attributes) // whose texts are parts of the reply
	c.consumptions.Put(reader)
	return err
}

func (r *consumption) read(reply *lean.Reply) error {
	key, out := r.what.in.Key, r.what.out
	switch {
	case reply.Status == 200 && bytes.HasPrefix(reply.Body, []byte(`{"Attributes":`)):
		if r.flat.parse(string(reply.Body)) {
			out.Outcome = limiter.Done
			r.err = decodeBucket(r.flat.attributes, key, &out.Image)
			return nil
		}
	case reply.Status == 400:
		if r.flat.parseRefusal(string(reply.Body)) {
			out.Outcome = limiter.Refused
			r.err = decodeBucket(r.flat.attributes, key, &out.Image)
			return errRefused
		}
	}
	var decoded dynamodb.UpdateItemOutput
	if err := r.client.decode(reply, opUpdateItem, &decoded); err != nil {
		return err
	}
	if len(decoded.Attributes) == 0 {
		// The new image was asked for: whatever this is, it grants nothing.
		return &smithy.DeserializationError{Err: errors.New("the reply has no attributes")}
	}
	r.what.Capacity = decoded.ConsumedCapacity
	out.Outcome = limiter.Done
	r.err = decodeBucket(decoded.Attributes, key, &out.Image)
	return nil
}

// appendConsume appends the same request as consumeInput describes.
func appendConsume(b []byte, what *Consumption) []byte {
	in := what.in
	shape := what.store.shapes.get(in.Charges, in.Bypassed)
	b = append(b, `{"Key":{"PK":{"S":"`...)
	b = appendText(b, what.store.ns)
	b = append(b, "/BUCKET#"...)
	b = appendText(b, in.Key.EntityID)
	b = append(b, '#')
	b = appendText(b, in.Key.Resource)
	b = append(b, '#')
	b = strconv.AppendInt(b, int64(in.Key.Shard), 10)
	b = append(b, `"},"SK":{"S":"`+skState+`"}},"ExpressionAttributeValues":{`...)
	for i, c := range in.Charges {
		if !in.Bypassed {
			b = appendNumberValue(b, shape.minus[i], -c.Amount)
		}
		b = appendNumberValue(b, shape.plus[i], c.Amount)
	}
	b = appendNumberValue(b, valueMinusWrite, -writeCost)
	b = appendNumberValue(b, valueWrite, writeCost)
	b = appendNumberValue(b, valueSeconds, floorSeconds(in.Now))
	b = appendNumberValue(b, valueMillis, in.Now)
	b[len(b)-1] = '}' // in place of the last comma
	b = append(b, `,"TableName":"`...)
	b = appendText(b, what.store.t.name)
	b = append(b, '"')
	if what.AskCapacity {
		b = append(b, `,"ReturnConsumedCapacity":"INDEXES"`...)
	}
	return append(b, shape.json...)
}

// shapeJSON is the rest of a request that has a shape.
func shapeJSON(shape *consumeShape) []byte {
	b := append([]byte(nil), `,"UpdateExpression":"`...)
	b = appendText(b, *shape.update)
	b = append(b, `","ConditionExpression":"`...)
	b = appendText(b, *shape.condition)
	b = append(b, `","ExpressionAttributeNames":{`...)
	for placeholder, name := range shape.names {
		b = append(b, '"')
		b = appendText(b, placeholder)
		b = append(b, `":"`...)
		b = appendText(b, name)
		b = append(b, `",`...)
	}
	b[len(b)-1] = '}'
	return append(b, `,"ReturnValues":"ALL_NEW","ReturnValuesOnConditionCheckFailure":"ALL_OLD"}`...)
}

// appendNumberValue appends "name":{"N":"1"}, with its comma.
func appendNumberValue(b []byte, name string, n int64) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":{"N":"`...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, `"},`...)
}

// appendText appends what stands between the quotes of a JSON string.
func appendText(b []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(text[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, text[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, `\ufffd`...)
		}
		i += size
		from = i
	}
	return append(b, text[from:]...)
}
