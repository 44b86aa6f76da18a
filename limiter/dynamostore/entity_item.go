package dynamostore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// decodeMeta reads a META item, without its metadata.
func decodeMeta(it item, out *limiter.Meta) error {
	*out = limiter.Meta{}
	if len(it) == 0 {
		return nil
	}
	pgen, _, err := intOf(it, "pgen")
	if err != nil {
		return err
	}
	id := stringOf(it, "entity_id")
	*out = limiter.Meta{
		Owner: limiter.Owner{
			Found: true, Generation: pgen, PInc: stringOf(it, "pinc"), CreatedAt: stringOf(it, "created_at"),
		},
		EntityID: id,
		Name:     cmp.Or(stringOf(it, "name"), id),
		ParentID: stringOf(it, "parent_id"),
		Cascade:  boolOf(it, "cascade"),
	}
	return nil
}

// metaItem is the item of a new entity.
func (s *Store) metaItem(m limiter.Meta) (item, error) {
	metadata, err := encodeMap(m.Metadata)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	pk := entityPK(s.ns, m.EntityID)
	it := item{
		attrPK: str(pk), attrSK: s.metaSK,
		"entity_id":  str(m.EntityID),
		"name":       str(cmp.Or(m.Name, m.EntityID)),
		"parent_id":  null(),
		"cascade":    boolean(m.Cascade),
		"pgen":       number(m.Generation),
		"pinc":       str(m.PInc),
		"metadata":   metadata,
		"created_at": str(m.CreatedAt),
		"GSI4PK":     str(s.ns), "GSI4SK": str(pk),
	}
	if m.ParentID != "" {
		it["parent_id"] = str(m.ParentID)
		it["GSI1PK"], it["GSI1SK"] = str(parentPK(s.ns, m.ParentID)), str("CHILD#"+m.EntityID)
	}
	return it, nil
}

// maxMetadataDepth is what DynamoDB nests.
const maxMetadataDepth = 31

func encodeMap(m map[string]any) (types.AttributeValue, error) {
	if m == nil {
		m = map[string]any{}
	}
	return encodeAny(m, 0)
}

func encodeAny(v any, depth int) (types.AttributeValue, error) {
	if depth > maxMetadataDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxMetadataDepth)
	}
	switch v := v.(type) {
	case nil:
		return null(), nil
	case string:
		return str(v), nil
	case bool:
		return boolean(v), nil
	case int:
		return number(int64(v)), nil
	case int64:
		return number(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a number that can be stored", v)
		}
		return &types.AttributeValueMemberN{Value: strconv.FormatFloat(v, 'g', -1, 64)}, nil
	case json.Number:
		return &types.AttributeValueMemberN{Value: v.String()}, nil
	case map[string]any:
		m := make(item, len(v))
		for k, element := range v {
			encoded, err := encodeAny(element, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			m[k] = encoded
		}
		return &types.AttributeValueMemberM{Value: m}, nil
	case []any:
		l := make([]types.AttributeValue, len(v))
		for i, element := range v {
			encoded, err := encodeAny(element, depth+1)
			if err != nil {
				return nil, fmt.Errorf("%d: %w", i, err)
			}
			l[i] = encoded
		}
		return &types.AttributeValueMemberL{Value: l}, nil
	}
	return nil, fmt.Errorf("a value of type %T cannot be stored", v)
}

// decodeMap reads a metadata attribute; what is not a map, or of a type that metadata does not
// have, is left out.
func decodeMap(v types.AttributeValue) map[string]any {
	m, _ := decodeAny(v).(map[string]any)
	return m
}

func decodeAny(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberN:
		if n, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
			return n
		}
		f, err := strconv.ParseFloat(v.Value, 64)
		if err != nil {
			return nil
		}
		return f
	case *types.AttributeValueMemberM:
		m := make(map[string]any, len(v.Value))
		for k, element := range v.Value {
			m[k] = decodeAny(element)
		}
		return m
	case *types.AttributeValueMemberL:
		l := make([]any, len(v.Value))
		for i, element := range v.Value {
			l[i] = decodeAny(element)
		}
		return l
	}
	return nil
}
