package dynamostore

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// FuzzFlatReply holds the quick reader to encoding/json: what it accepts, both read alike.
func FuzzFlatReply(f *testing.F) {
	for _, seed := range []string{
		`{"Attributes":{"PK":{"S":"ns/BUCKET#u#r#0"},"rf":{"N":"1800000000000"},"cascade":{"BOOL":false},"x":{"NULL":true}}}`,
		`{"Attributes":{"a":{"BOOL":true}}}`,
		`{"Attributes":{}}`, `{"Attributes":{"a":{"S":"}"}}}`, `{"Attributes":{"a":{"S":"\""}}}`, `{"Attributes":{"a":{"S":"ä"}}}`,
		`{"Attributes":{"a":{"M":{"b":{"S":"c"}}}}}`, `{"Attributes":{"a":{"S":"x"},"a":{"S":"y"}}}`,
		`{"Attributes":{"a":{"S":"x"}},"ConsumedCapacity":{"CapacityUnits":1}}`, `{"Attributes":{"a":{"S":"\":{\""}}}`,
		`{"Attributes":{"a":{"S":"x"}}} `, `{"Attributes":{"a":{"S":"x","N":"1"}}}`, `{}`, ``,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseFlatReply(text)
		if !ok {
			return
		}
		var want struct {
			Attributes map[string]map[string]any
		}
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("accepted %q, which is no JSON: %v", text, err)
		}
		if len(got) != len(want.Attributes) {
			t.Fatalf("%d attributes of %d", len(got), len(want.Attributes))
		}
		for name, v := range got {
			var same bool
			switch v := v.(type) {
			case *types.AttributeValueMemberS:
				same = want.Attributes[name]["S"] == v.Value
			case *types.AttributeValueMemberN:
				same = want.Attributes[name]["N"] == v.Value
			case *types.AttributeValueMemberBOOL:
				same = want.Attributes[name]["BOOL"] == v.Value
			case *types.AttributeValueMemberNULL:
				same = want.Attributes[name]["NULL"] == v.Value
			}
			if !same || len(want.Attributes[name]) != 1 {
				t.Errorf("%s: got %v, want %v", name, v, want.Attributes[name])
			}
		}
	})
}

func TestTheReplyOfABucketIsReadTheQuickWay(t *testing.T) {
	store := OpenTable(nil, "t", TableOptions{}).Store("ns")
	if store.t.writeOnce == nil {
		t.Fatal("no options of writes")
	}
	it, ok := parseFlatReply(`{"Attributes":{"rf":{"N":"5"},"b_n_tk":{"N":"-7"},"cascade":{"BOOL":true},"parent_id":{"S":"org"}}}`)
	if !ok || len(it) != 4 || stringOf(it, "parent_id") != "org" || !boolOf(it, "cascade") {
		t.Fatalf("got %v, %v", it, ok)
	}
	if n, _, err := intOf(it, "b_n_tk"); err != nil || n != -7 {
		t.Errorf("got %d, %v", n, err)
	}
}
