package dynamolocal_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

type object = map[string]any

// ask sends a request to an engine and returns the reply.
func ask(t *rapid.T, e *dynamolocal.Engine, operation string, body object) object {
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader(string(text)))
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	var reply object
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatalf("%s %s: %v", operation, text, err)
	}
	return reply
}

// grow fills a table by random writes of every kind; refused ones are part of it.
func grow(t *rapid.T, e *dynamolocal.Engine) {
	one := func(values ...string) string { return rapid.SampledFrom(values).Draw(t, "choice") }
	key := func() object {
		return object{"PK": object{"S": one("a", "b")}, "SK": object{"N": strconv.Itoa(rapid.IntRange(-3, 3).Draw(t, "SK"))}}
	}
	fill := func(to object) object {
		for name, values := range map[string][]string{"G": {"x", "y", ""}, "L": {"k", "l", "m", ""}, "v": {"1", "2", ""}} {
			if value := one(values...); value != "" {
				to[name] = object{"S": value}
			}
		}
		if n := rapid.IntRange(0, 4).Draw(t, "N"); n > 0 {
			to["N"] = object{"N": strconv.Itoa(n * n * n)}
		}
		return to
	}
	update := func() object {
		return object{"TableName": "tab", "Key": key(), "UpdateExpression": one("SET G = :g, v = :g", "SET G = L REMOVE v", "REMOVE G, L ADD N :n", "SET L = :g REMOVE N", "SET N = :g"),
			"ExpressionAttributeValues": object{":g": object{"S": one("x", "z")}, ":n": object{"N": one("1", "7")}}}
	}
	for range rapid.IntRange(1, 40).Draw(t, "writes") {
		u := update()
		for name := range u["ExpressionAttributeValues"].(object) {
			if !strings.Contains(u["UpdateExpression"].(string), name) {
				delete(u["ExpressionAttributeValues"].(object), name)
			}
		}
		if len(u["ExpressionAttributeValues"].(object)) == 0 {
			delete(u, "ExpressionAttributeValues")
		}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			ask(t, e, "PutItem", object{"TableName": "tab", "Item": fill(key())})
		case 2:
			ask(t, e, "UpdateItem", u)
		case 3:
			ask(t, e, "DeleteItem", object{"TableName": "tab", "Key": key()})
		case 4:
			ask(t, e, "TransactWriteItems", object{"TransactItems": []object{{"Update": u},
				{"Put": object{"TableName": "tab", "Item": fill(key()), "ConditionExpression": one("attribute_not_exists(PK)", "attribute_not_exists(G)")}}}})
		default:
			ask(t, e, "BatchWriteItem", object{"RequestItems": object{"tab": []object{{"PutRequest": object{"Item": fill(key())}}, {"DeleteRequest": object{"Key": key()}}}}})
		}
	}
}

// shown describes an index of the table that grow fills.
type shown struct {
	name, hash, rng string
	more            []string // projected beside the keys; nil: everything
}

var grown = []shown{
	{name: "", hash: "PK", rng: "SK"},
	{name: "all", hash: "G", rng: "N"},
	{name: "keys", hash: "G", rng: "", more: []string{}},
	{name: "some", hash: "N", rng: "L", more: []string{"v"}},
	{name: "local", hash: "PK", rng: "L", more: []string{}},
}

func newGrown(t *rapid.T) *dynamolocal.Engine {
	e, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	attribute := func(name, kind string) object { return object{"AttributeName": name, "AttributeType": kind} }
	index := func(x shown) object {
		keys := []object{{"AttributeName": x.hash, "KeyType": "HASH"}}
		if x.rng != "" {
			keys = append(keys, object{"AttributeName": x.rng, "KeyType": "RANGE"})
		}
		projection := object{"ProjectionType": "ALL"}
		if x.more != nil {
			projection = object{"ProjectionType": "KEYS_ONLY"}
		}
		if len(x.more) > 0 {
			projection = object{"ProjectionType": "INCLUDE", "NonKeyAttributes": x.more}
		}
		return object{"IndexName": x.name, "KeySchema": keys, "Projection": projection}
	}
	reply := ask(t, e, "CreateTable", object{"TableName": "tab", "BillingMode": "PAY_PER_REQUEST",
		"KeySchema":              index(grown[0])["KeySchema"],
		"AttributeDefinitions":   []object{attribute("PK", "S"), attribute("SK", "N"), attribute("G", "S"), attribute("N", "N"), attribute("L", "S")},
		"GlobalSecondaryIndexes": []object{index(grown[1]), index(grown[2]), index(grown[3])},
		"LocalSecondaryIndexes":  []object{index(grown[4])}})
	if reply["TableDescription"] == nil {
		t.Fatalf("CreateTable: %v", reply)
	}
	return e
}

// read returns the items of a query or scan, page by page when limit is positive.
func read(t *rapid.T, e *dynamolocal.Engine, x shown, hash any, backward bool, limit int) (items []any) {
	body := object{"TableName": "tab"}
	operation := "Scan"
	if x.name != "" {
		body["IndexName"] = x.name
	}
	if hash != nil {
		operation = "Query"
		body["KeyConditionExpression"], body["ExpressionAttributeValues"] = x.hash+" = :h", object{":h": hash}
		body["ScanIndexForward"] = !backward
	}
	if limit > 0 {
		body["Limit"] = limit
	}
	for {
		reply := ask(t, e, operation, body)
		page, ok := reply["Items"].([]any)
		if !ok {
			t.Fatalf("%s %v: %v", operation, body, reply)
		}
		if limit > 0 && len(page) > limit {
			t.Fatalf("a page of %d items with a limit of %d", len(page), limit)
		}
		items = append(items, page...)
		if body["ExclusiveStartKey"] = reply["LastEvaluatedKey"]; reply["LastEvaluatedKey"] == nil {
			return items
		}
	}
}

// rebuild is what an index must show of the items of the table.
func (x shown) rebuild(table []any) (entries []any) {
	for _, it := range table {
		all := it.(object)
		if all[x.hash] == nil || x.rng != "" && all[x.rng] == nil {
			continue
		}
		if x.more == nil {
			entries = append(entries, all)
			continue
		}
		entry := object{}
		for _, name := range append([]string{"PK", "SK", x.hash, x.rng}, x.more...) {
			if all[name] != nil {
				entry[name] = all[name]
			}
		}
		entries = append(entries, entry)
	}
	return entries
}

// sorted returns items as texts in a fixed order.
func sorted(items []any) []string {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = fmt.Sprint(it)
	}
	slices.Sort(texts)
	return texts
}

// ordinal makes keys comparable: numbers by value, strings by their bytes.
func ordinal(v any) string {
	if number, ok := v.(object)["N"]; ok {
		i, err := strconv.Atoi(number.(string))
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("%09d", i+1_000_000)
	}
	return v.(object)["S"].(string)
}

func TestSelfCheck06IndexesEqualTheRebuiltOnes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newGrown(t)
		defer e.Close()
		grow(t, e)
		table := read(t, e, grown[0], nil, false, 0)
		for _, x := range grown[1:] {
			want := x.rebuild(table)
			if got := read(t, e, x, nil, false, 0); !slices.Equal(sorted(got), sorted(want)) {
				t.Fatalf("index %s shows\n%v\nand the table makes it\n%v", x.name, sorted(got), sorted(want))
			}
			description := ask(t, e, "DescribeTable", object{"TableName": "tab"})["Table"].(object)
			for _, kind := range []string{"GlobalSecondaryIndexes", "LocalSecondaryIndexes"} {
				for _, d := range description[kind].([]any) {
					if d.(object)["IndexName"] == x.name && d.(object)["ItemCount"] != float64(len(want)) {
						t.Fatalf("index %s counts %v entries, has %d", x.name, d.(object)["ItemCount"], len(want))
					}
				}
			}
		}
	})
}

func TestSelfCheck07PagesMakeTheWholeSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newGrown(t)
		defer e.Close()
		grow(t, e)
		table := read(t, e, grown[0], nil, false, 0)
		for _, x := range grown {
			whole := read(t, e, x, nil, false, 0)
			for limit := range len(whole) + 1 {
				if got := read(t, e, x, nil, false, limit+1); fmt.Sprint(got) != fmt.Sprint(whole) {
					t.Fatalf("scan of %q with limit %d:\n%v\nwhole:\n%v", x.name, limit+1, got, whole)
				}
			}
			hashes := map[string]any{}
			for _, it := range x.rebuild(table) {
				hashes[fmt.Sprint(it.(object)[x.hash])] = it.(object)[x.hash]
			}
			for _, name := range slices.Sorted(maps.Keys(hashes)) {
				checkQuery(t, e, x, hashes[name], x.rebuild(table))
			}
		}
	})
}

// checkQuery compares the items of one HASH value with the table, looks at their order, and reads
// them with every limit, forwards and backwards.
func checkQuery(t *rapid.T, e *dynamolocal.Engine, x shown, hash any, entries []any) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(it any) bool { return fmt.Sprint(it.(object)[x.hash]) != fmt.Sprint(hash) })
	whole := read(t, e, x, hash, false, 0)
	if !slices.Equal(sorted(whole), sorted(entries)) {
		t.Fatalf("query of %q for %v:\n%v\nwant\n%v", x.name, hash, whole, entries)
	}
	if x.rng != "" && !slices.IsSortedFunc(whole, func(a, b any) int {
		return strings.Compare(ordinal(a.(object)[x.rng]), ordinal(b.(object)[x.rng]))
	}) {
		t.Fatalf("query of %q for %v is out of order: %v", x.name, hash, whole)
	}
	for _, backward := range []bool{false, true} {
		for limit := range len(whole) + 2 {
			if got := read(t, e, x, hash, backward, limit); fmt.Sprint(got) != fmt.Sprint(whole) {
				t.Fatalf("query of %q for %v, backward %v, limit %d:\n%v\nwhole:\n%v", x.name, hash, backward, limit, got, whole)
			}
		}
		slices.Reverse(whole)
	}
}
