package wire

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// What the decoder accepts it must be able to write, and read again as the same item.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"TableName":"t","Item":{"PK":{"S":"a\u00e9\ud83d\ude00\n"},"n":{"N":"1.50"},"m":{"M":{"l":{"L":[{"BOOL":true},{"NULL":true}]}}}}}`))
	f.Add([]byte(`{"Item":{"s":{"SS":["a","b"]},"n":{"NS":["1","2"]},"b":{"BS":["AQ==","Ag=="]},"x":{"B":""}}}`))
	f.Add([]byte(`{"TransactItems":[{"Put":{"TableName":"t","Item":{}}},{"Update":null}],"Limit":1e3}`))
	f.Add([]byte(`{"RequestItems":{"t":[{"DeleteRequest":{"Key":{"PK":{"S":"a"}}}}],"u":{"Keys":[{"PK":{"N":"1"}}]}}}`))
	f.Add([]byte(`{"TableName":3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Request
		if Decode(bytes.Clone(body), &r) != nil || r.ItemErr != nil || r.Item == nil {
			return
		}
		item := attr.NewMap(r.Item)
		text := AppendItem([]byte(`{"Item":`), item)
		var again Request
		if fault := Decode(append(text, '}'), &again); fault != nil || again.ItemErr != nil {
			t.Fatalf("%s is not read again: %v, %v", text, fault, again.ItemErr)
		}
		if !attr.NewMap(again.Item).Equal(item) && utf8.Valid(body) {
			t.Fatalf("%s is read again as another item", text)
		}
	})
}

func TestDecodeFaults(t *testing.T) {
	for body, want := range map[string]string{
		``: "", `[]`: "", `{"TableName":"t"`: "", `{"TableName":"t"}x`: "",
		`{"TableName":3}`:          "NUMBER_VALUE cannot be converted to String",
		`{"TableName":true}`:       "TRUE_VALUE cannot be converted to String",
		`{"ConsistentRead":"x"}`:   "Unexpected token received from parser",
		`{"Limit":"3"}`:            "STRING_VALUE cannot be converted to Integer",
		`{"Key":"x"}`:              "Unexpected field type",
		`{"Key":{"a":{"N":1}}}`:    "NUMBER_VALUE cannot be converted to String",
		`{"Key":{"a":{"B":true}}}`: "only base-64-encoded strings are convertible to bytes",
	} {
		var r Request
		if fault := Decode([]byte(body), &r); fault == nil || fault.Message != want {
			t.Errorf("Decode(%s) = %v, want %q", body, fault, want)
		}
	}
}
