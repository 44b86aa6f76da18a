package dynamolocal_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// post sends a request body as it is and returns the decoded reply.
func post(t *testing.T, h http.Handler, operation, body string) map[string]any {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var reply map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatalf("%s: reply %q: %v", operation, w.Body, err)
	}
	return reply
}

const indexedTable = `{"TableName": "tab", "BillingMode": "PAY_PER_REQUEST",
	"KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
	"AttributeDefinitions": [{"AttributeName": "PK", "AttributeType": "S"}, {"AttributeName": "SK", "AttributeType": "S"},
		{"AttributeName": "G", "AttributeType": "S"}, {"AttributeName": "L", "AttributeType": "S"}],
	"GlobalSecondaryIndexes": [{"IndexName": "keys", "KeySchema": [{"AttributeName": "G", "KeyType": "HASH"}],
		"Projection": {"ProjectionType": "KEYS_ONLY"}}],
	"LocalSecondaryIndexes": [{"IndexName": "local", "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"},
		{"AttributeName": "L", "KeyType": "RANGE"}], "Projection": {"ProjectionType": "KEYS_ONLY"}}]}`

func TestRefusals(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	deep := func(lists int) string {
		return strings.Repeat(`{"L": [`, lists) + `{"S": "x"}` + strings.Repeat(`]}`, lists)
	}
	const emptyKey = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: "
	query := func(condition, values, more string) string {
		return `{"TableName": "tab", "KeyConditionExpression": "` + condition + `", "ExpressionAttributeValues": ` + values + more + `}`
	}
	tests := []struct{ name, operation, body, want string }{
		{"empty HASH in a query", "Query", query("PK = :p", `{":p": {"S": ""}}`, ""), emptyKey + "PK"},
		{"empty RANGE in a query", "Query", query("PK = :p AND begins_with(SK, :s)", `{":p": {"S": "p"}, ":s": {"S": ""}}`, ""), emptyKey + "SK"},
		{"projection that a global index lacks", "Query", query("G = :g", `{":g": {"S": "g"}}`, `, "IndexName": "keys", "ProjectionExpression": "PK, a"`),
			"One or more parameter values were invalid: Global secondary index keys does not project [a]"},
		{"filter that a global index lacks", "Scan", `{"TableName": "tab", "IndexName": "keys", "FilterExpression": "attribute_exists(a)"}`,
			"One or more parameter values were invalid: Secondary index keys does not project one or more filter attributes: [a]"},
		{"32 levels", "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "a": ` + deep(31) + `}}`, ""},
		{"33 levels", "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "a": ` + deep(32) + `}}`,
			"Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"},
		{"empty attribute name", "GetItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "ProjectionExpression": "#a", "ExpressionAttributeNames": {"#a": ""}}`,
			"ExpressionAttributeNames contains invalid value: Empty attribute name for key #a"},
		{"too many segments", "Scan", `{"TableName": "tab", "Segment": 0, "TotalSegments": 1000001}`,
			"1 validation error detected: Value '1000001' at 'totalSegments' failed to satisfy constraint: Member must have value less than or equal to 1000000"},
		{"start of a list of tables", "ListTables", `{"ExclusiveStartTableName": "a b c"}`,
			"1 validation error detected: Value 'a b c' at 'exclusiveStartTableName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
		{"empty key in a transaction", "TransactGetItems", `{"TransactItems": [{"Get": {"TableName": "tab", "Key": {"PK": {"S": ""}, "SK": {"S": "s"}}}}]}`, emptyKey + "PK"},
		{"no key in a transaction", "TransactGetItems", `{"TransactItems": [{"Get": {"TableName": "tab"}}]}`,
			"1 validation error detected: Value null at 'transactItems.1.member.get.key' failed to satisfy constraint: Member must not be null"},
		{"provisioned index without units", "CreateTable", strings.NewReplacer(`"PAY_PER_REQUEST"`, `"PROVISIONED", "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}`, `"tab"`, `"other"`).Replace(indexedTable),
			"One or more parameter values were invalid: ProvisionedThroughput must be specified for index: keys"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply := post(t, e, tt.operation, tt.body)
			got, _ := reply["message"].(string)
			if got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestFetchingBesideALocalIndexCostsTheTable(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, sk := range []string{"1", "2", "3"} {
		post(t, e, "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "`+sk+`"}, "L": {"S": "l"}, "a": {"S": "x"}}}`)
	}
	reply := post(t, e, "Query", `{"TableName": "tab", "IndexName": "local", "KeyConditionExpression": "PK = :p", "ExpressionAttributeValues": {":p": {"S": "p"}},
		"Select": "ALL_ATTRIBUTES", "ReturnConsumedCapacity": "TOTAL"}`)
	capacity, _ := reply["ConsumedCapacity"].(map[string]any)
	if got := capacity["CapacityUnits"]; got != 2.0 {
		t.Errorf("a page of the index and three items of the table cost %v, want 2", got)
	}
}

func TestALatencyBesideAnotherFault(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{Faults: []byte(`{"rules": [{"action": "error", "code": "InternalServerError", "latency": "3ms"}]}`)})
	begin := time.Now()
	reply := post(t, e, "GetItem", `{"TableName": "tab", "Key": {}}`)
	if kind, _ := reply["__type"].(string); !strings.HasSuffix(kind, "#InternalServerError") {
		t.Errorf("reply = %v", reply)
	}
	if took := time.Since(begin); took < 3*time.Millisecond {
		t.Errorf("the error came after %v", took)
	}
}

func TestALatencyOfATransaction(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{Faults: []byte(`{"rules": [{"operations": ["TransactWriteItems"], "action": "latency", "latency": "3ms"}]}`)})
	post(t, e, "CreateTable", indexedTable)
	begin := time.Now()
	reply := post(t, e, "TransactWriteItems", `{"TransactItems": [{"Put": {"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}}}}]}`)
	if len(reply) != 0 {
		t.Errorf("reply = %v", reply)
	}
	if took := time.Since(begin); took < 3*time.Millisecond {
		t.Errorf("the reply came after %v", took)
	}
}
