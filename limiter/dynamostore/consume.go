package dynamostore

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// consumeShape is all of a speculative write that depends on the names of the charged limits only.
// It is shared by concurrent requests and never modified.
type consumeShape struct {
	update, condition *string
	names             map[string]string
	minus, plus       []string // value placeholders of each charge: -amount, amount
	json              []byte   // all of that, and what else is the same in all such requests
}

// Value placeholders that every speculative write has.
const (
	valueMinusWrite = ":wm"
	valueWrite      = ":w"
	valueSeconds    = ":s"
	valueMillis     = ":m"
)

func newConsumeShape(charges []limiter.Charge, bypassed bool) *consumeShape {
	shape := &consumeShape{names: map[string]string{
		"#wtk": bucketAttr(limiter.WCU, "tk"), "#wtc": bucketAttr(limiter.WCU, "tc"), "#ttl": ttlAttribute,
	}}
	if bypassed {
		shape.bypassed(charges)
		return shape
	}
	var update, condition strings.Builder
	update.WriteString("ADD ")
	condition.WriteString("attribute_exists(PK)")
	for i, c := range charges {
		n := strconv.Itoa(i)
		tk, tc, cp, soft, minus, plus := "#k"+n, "#c"+n, "#p"+n, "#s"+n, ":m"+n, ":v"+n
		shape.names[tk] = bucketAttr(c.Limit, "tk")
		shape.names[tc] = bucketAttr(c.Limit, "tc")
		shape.names[cp] = bucketAttr(c.Limit, "cp")
		shape.names[soft] = bucketAttr(c.Limit, "soft")
		shape.minus = append(shape.minus, minus)
		shape.plus = append(shape.plus, plus)
		update.WriteString(tk + " " + minus + ", " + tc + " " + plus + ", ")
		condition.WriteString(" AND (" + tk + " >= " + plus +
			" OR (" + soft + " > " + valueMillis + " AND attribute_exists(" + cp + ") AND attribute_exists(" + tk + "))" +
			" OR bypass > " + valueMillis + ")" +
			" AND (attribute_not_exists(" + soft + ") OR " + soft + " > " + valueMillis + ")")
	}
	update.WriteString("#wtk " + valueMinusWrite + ", #wtc " + valueWrite)
	condition.WriteString(" AND #wtk >= " + valueWrite +
		" AND (attribute_not_exists(bypass) OR bypass > " + valueMillis + ")" +
		" AND (attribute_not_exists(#ttl) OR #ttl > " + valueSeconds + ")" +
		" AND attribute_not_exists(disabled)" +
		" AND (attribute_not_exists(vu) OR vu > " + valueMillis + " OR bypass > " + valueMillis + ")")
	shape.update, shape.condition = aws.String(update.String()), aws.String(condition.String())
	return shape
}

// bypassed shapes the write that counts what an operator waived, and takes nothing.
func (shape *consumeShape) bypassed(charges []limiter.Charge) {
	var update strings.Builder
	update.WriteString("ADD ")
	for i, c := range charges {
		n := strconv.Itoa(i)
		tc, plus := "#c"+n, ":v"+n
		shape.names[tc] = bucketAttr(c.Limit, "tc")
		shape.plus = append(shape.plus, plus)
		update.WriteString(tc + " " + plus + ", ")
	}
	update.WriteString("#wtk " + valueMinusWrite + ", #wtc " + valueWrite)
	shape.update = aws.String(update.String())
	shape.condition = aws.String("attribute_exists(PK) AND bypass > " + valueMillis + " AND #wtk >= " + valueWrite +
		" AND (attribute_not_exists(#ttl) OR #ttl > " + valueSeconds + ") AND attribute_not_exists(disabled)")
}

// maxShapes bounds the cache. An application uses a handful of combinations of limits; one that
// makes names up at run time pays for building its shapes.
const maxShapes = 1024

// shapeCache maps the names of charged limits, in order, to their shape. Reads take no lock.
type shapeCache struct {
	shapes atomic.Pointer[map[string]*consumeShape]
	mu     sync.Mutex // serialises writers, which replace the map
}

func (c *shapeCache) get(charges []limiter.Charge, bypassed bool) *consumeShape {
	var buffer [256]byte
	names := buffer[:0]
	if bypassed {
		names = append(names, '!') // no limit's name holds it
	}
	for _, charge := range charges {
		names = append(append(names, charge.Limit...), '#')
	}
	if shapes := c.shapes.Load(); shapes != nil {
		if shape, ok := (*shapes)[string(names)]; ok {
			return shape
		}
	}
	shape := newConsumeShape(charges, bypassed)
	shape.json = shapeJSON(shape)
	return c.insert(string(names), shape)
}

func (c *shapeCache) insert(names string, shape *consumeShape) *consumeShape {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[string]*consumeShape)
	if shapes := c.shapes.Load(); shapes != nil {
		if len(*shapes) >= maxShapes {
			return shape
		}
		for k, v := range *shapes {
			next[k] = v
		}
	}
	next[names] = shape
	c.shapes.Store(&next)
	return shape
}

// Consume implements limiter.Store.
func (s *Store) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	err := s.sendConsume(ctx, in, out)
	if err == nil {
		return nil
	}
	if old, refused := failedImage(err); refused {
		out.Outcome = limiter.Refused
		return wrapAcquire("consume from", in.Key.EntityID+"/"+in.Key.Resource, decodeBucket(old, in.Key, &out.Image))
	}
	if isConflict(err) {
		out.Outcome = limiter.Conflict
		out.Image = limiter.Bucket{Limits: out.Image.Limits[:0]}
		return nil
	}
	return wrapAcquire("consume from", in.Key.EntityID+"/"+in.Key.Resource, err)
}

// sendConsume fills out when the write was applied, and may when it was refused.
func (s *Store) sendConsume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	if s.t.consumer != nil {
		return s.t.consumer.Consume(ctx, &Consumption{store: s, in: in, out: out})
	}
	reply, err := s.t.api.UpdateItem(ctx, s.consumeInput(in), s.t.writeOnce...)
	if err != nil {
		return err
	}
	out.Outcome = limiter.Done
	return decodeBucket(reply.Attributes, in.Key, &out.Image)
}

func (s *Store) consumeInput(in *limiter.ConsumeInput) *dynamodb.UpdateItemInput {
	shape := s.shapes.get(in.Charges, in.Bypassed)
	values := make(item, 2*len(in.Charges)+4)
	// One allocation for the text of all numbers and one for their values.
	var buffer [320]byte
	text := buffer[:0]
	members := make([]types.AttributeValueMemberN, 2*len(in.Charges)+2)
	var ends [32]int
	offsets := ends[:0]
	for _, c := range in.Charges {
		text = strconv.AppendInt(text, -c.Amount, 10)
		offsets = append(offsets, len(text))
		text = strconv.AppendInt(text, c.Amount, 10)
		offsets = append(offsets, len(text))
	}
	text = strconv.AppendInt(text, floorSeconds(in.Now), 10)
	offsets = append(offsets, len(text))
	text = strconv.AppendInt(text, in.Now, 10)
	offsets = append(offsets, len(text))
	numbers, from := string(text), 0
	for i, to := range offsets {
		members[i].Value = numbers[from:to]
		from = to
	}
	for i := range in.Charges {
		if !in.Bypassed {
			values[shape.minus[i]] = &members[2*i]
		}
		values[shape.plus[i]] = &members[2*i+1]
	}
	values[valueSeconds] = &members[len(members)-2]
	values[valueMillis] = &members[len(members)-1]
	values[valueMinusWrite], values[valueWrite] = s.minusOneWrite, s.oneWrite
	return &dynamodb.UpdateItemInput{
		TableName:                           s.t.tableN,
		Key:                                 s.bucketKey(in.Key),
		UpdateExpression:                    shape.update,
		ConditionExpression:                 shape.condition,
		ExpressionAttributeNames:            shape.names,
		ExpressionAttributeValues:           values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

func floorSeconds(ms int64) int64 {
	if ms < 0 {
		return (ms - 999) / 1000
	}
	return ms / 1000
}
