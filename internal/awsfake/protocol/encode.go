package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"math"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/aws/smithy-go/traits"
)

// jsonOf turns a tree's value into one for encoding/json. With rest, members that REST carries in
// headers or as the whole body are left out and names follow the model's jsonName.
func jsonOf(value any, rest bool) any {
	switch v := value.(type) {
	case *object:
		members := make(map[string]any, len(v.members))
		for _, m := range v.members {
			name := m.name
			if rest {
				if outsideBody(m.schema) {
					continue
				}
				if named, ok := smithy.SchemaTrait[*traits.JSONName](m.schema); ok {
					name = named.Name
				}
			}
			members[name] = jsonOf(m.value, rest)
		}
		return members
	case *dict:
		entries := make(map[string]any, len(v.entries))
		for _, e := range v.entries {
			entries[e.name] = jsonOf(e.value, rest)
		}
		return entries
	case *list:
		items := make([]any, len(v.items))
		for i, item := range v.items {
			items[i] = jsonOf(item, rest)
		}
		return items
	case moment:
		if v.format == "date-time" {
			return dateTime(v.Time)
		}
		return json.Number(strconv.FormatFloat(epochSeconds(v.Time), 'f', -1, 64))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return specialFloat(v)
		}
		return v
	default:
		return v
	}
}

func outsideBody(schema *smithy.Schema) bool {
	_, header := smithy.SchemaTrait[*traits.HTTPHeader](schema)
	_, payload := smithy.SchemaTrait[*traits.HTTPPayload](schema)
	_, status := smithy.SchemaTrait[*traits.HTTPResponseCode](schema)
	return header || payload || status
}

// cborOf turns a tree's value into CBOR's.
func cborOf(value any) cbor.Value {
	switch v := value.(type) {
	case *object:
		return cborMap(v.members)
	case *dict:
		return cborMap(v.entries)
	case *list:
		items := make(cbor.List, len(v.items))
		for i, item := range v.items {
			items[i] = cborOf(item)
		}
		return items
	case moment: // always tag 1, whatever the model's format
		return &cbor.Tag{ID: 1, Value: cbor.Float64(epochSeconds(v.Time))}
	case string:
		return cbor.String(v)
	case bool:
		return cbor.Bool(v)
	case int64:
		if v < 0 {
			return cbor.NegInt(uint64(-v))
		}
		return cbor.Uint(v)
	case float64:
		return cbor.Float64(v)
	case []byte:
		return cbor.Slice(v)
	default:
		return &cbor.Nil{}
	}
}

func cborMap(members []member) cbor.Map {
	out := make(cbor.Map, len(members))
	for _, m := range members {
		out[m.name] = cborOf(m.value)
	}
	return out
}

// writeXML writes an object's members as elements, for Query and EC2.
func writeXML(b *bytes.Buffer, o *object) {
	for _, m := range o.members {
		writeElement(b, m.element, m.value)
	}
}

func writeElement(b *bytes.Buffer, name string, value any) {
	switch v := value.(type) {
	case nil:
	case *list:
		if v.flat {
			for _, item := range v.items {
				writeElement(b, name, item)
			}
			return
		}
		inElement(b, name, func() {
			for _, item := range v.items {
				writeElement(b, v.item, item)
			}
		})
	case *dict:
		entry := func(element string) {
			for _, e := range v.entries {
				inElement(b, element, func() {
					writeElement(b, v.key, e.name)
					writeElement(b, v.value, e.value)
				})
			}
		}
		if v.flat {
			entry(name)
			return
		}
		inElement(b, name, func() { entry("entry") })
	case *object:
		inElement(b, name, func() { writeXML(b, v) })
	default:
		inElement(b, name, func() { _ = xml.EscapeText(b, []byte(textOf(v))) }) // a Buffer takes everything
	}
}

func inElement(b *bytes.Buffer, name string, content func()) {
	b.WriteString("<" + name + ">")
	content()
	b.WriteString("</" + name + ">")
}

// textOf is a scalar in XML.
func textOf(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return specialFloat(v)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case moment:
		if v.format == "epoch-seconds" {
			return strconv.FormatFloat(epochSeconds(v.Time), 'f', -1, 64)
		}
		return dateTime(v.Time)
	default:
		return ""
	}
}

func specialFloat(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	default:
		return "NaN"
	}
}

func dateTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// epochSeconds keeps milliseconds, the precision of AWS's timestamps.
func epochSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
