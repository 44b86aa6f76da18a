package dynamostore

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// expression collects the parts of an update and its condition. Attribute names that are reserved
// words, or hold characters that expressions do not allow, stand behind numbered placeholders, and
// so do all values: nothing of a caller's text gets into an expression. The zero value is empty.
type expression struct {
	aliases []string // attribute i is #n{i}
	values  item
	sets    []string
	adds    []string
	removes []string
	conds   []string
}

// name returns the placeholder of an attribute.
func (e *expression) name(attr string) string {
	for i, have := range e.aliases {
		if have == attr {
			return "#n" + strconv.Itoa(i)
		}
	}
	e.aliases = append(e.aliases, attr)
	return "#n" + strconv.Itoa(len(e.aliases)-1)
}

// value returns the placeholder of a new value.
func (e *expression) value(v types.AttributeValue) string {
	if e.values == nil {
		e.values = make(item, 8)
	}
	p := ":v" + strconv.Itoa(len(e.values))
	e.values[p] = v
	return p
}

// set, add and remove take an attribute as it stands in the expression: bare or a placeholder.
func (e *expression) set(attr string, v types.AttributeValue) {
	e.sets = append(e.sets, attr+" = "+e.value(v))
}

func (e *expression) setIfAbsent(attr string, v types.AttributeValue) {
	e.sets = append(e.sets, attr+" = if_not_exists("+attr+", "+e.value(v)+")")
}

func (e *expression) add(attr string, v types.AttributeValue) {
	e.adds = append(e.adds, attr+" "+e.value(v))
}

func (e *expression) remove(attrs ...string) { e.removes = append(e.removes, attrs...) }

// require adds conditions, all of which must hold.
func (e *expression) require(conditions ...string) { e.conds = append(e.conds, conditions...) }

func (e *expression) update() *string {
	var b strings.Builder
	for _, clause := range []struct {
		word  string
		parts []string
	}{{"SET ", e.sets}, {"REMOVE ", e.removes}, {"ADD ", e.adds}} {
		if len(clause.parts) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(clause.word)
		for i, part := range clause.parts {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(part)
		}
	}
	return aws.String(b.String())
}

func (e *expression) condition() *string {
	if len(e.conds) == 0 {
		return nil
	}
	return aws.String(strings.Join(e.conds, " AND "))
}

func (e *expression) namesOrNil() map[string]string {
	if len(e.aliases) == 0 {
		return nil
	}
	names := make(map[string]string, len(e.aliases))
	for i, attr := range e.aliases {
		names["#n"+strconv.Itoa(i)] = attr
	}
	return names
}

func (e *expression) valuesOrNil() item { return e.values }

// bucketAttr is the attribute of a limit on a bucket item.
func bucketAttr(limit, field string) string { return "b_" + limit + "_" + field }
