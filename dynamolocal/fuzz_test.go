package dynamolocal_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// Whatever a request holds, the answer is one of the service: a result, or an error with its type. An
// InternalServerError would be a fault of the engine's own.
func FuzzRequests(f *testing.F) {
	for _, seed := range [][2]string{
		{"PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"S": "g"}, "n": {"N": "1.50"}, "m": {"M": {"l": {"L": [{"BOOL": true}]}}}}, "ReturnValues": "ALL_OLD"}`},
		{"UpdateItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "UpdateExpression": "SET a = if_not_exists(a, :v) + :v, l = list_append(l, :l) REMOVE m.l[0] ADD n :v DELETE s :s", "ExpressionAttributeValues": {":v": {"N": "1"}, ":l": {"L": []}, ":s": {"SS": ["x"]}}, "ReturnValues": "UPDATED_NEW"}`},
		{"UpdateItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "AttributeUpdates": {"a": {"Action": "ADD", "Value": {"L": [{"NULL": true}]}}}, "Expected": {"a": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"B": "AA=="}, {"B": "AQ=="}]}}}`},
		{"Query", `{"TableName": "tab", "IndexName": "local", "KeyConditionExpression": "PK = :p AND begins_with(L, :l)", "FilterExpression": "size(a) > :n AND NOT contains(m.x[1], :p)", "ExpressionAttributeValues": {":p": {"S": "p"}, ":l": {"S": "l"}, ":n": {"N": "0"}}, "ProjectionExpression": "a, m.l[0]", "ScanIndexForward": false, "Limit": 1}`},
		{"Query", `{"TableName": "tab", "KeyConditions": {"PK": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}}, "QueryFilter": {"a": {"ComparisonOperator": "IN", "AttributeValueList": [{"N": "1"}]}, "b": {"ComparisonOperator": "NULL"}}, "ConditionalOperator": "OR"}`},
		{"Scan", `{"TableName": "tab", "IndexName": "keys", "Segment": 0, "TotalSegments": 3, "ExclusiveStartKey": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"S": "g"}}, "Select": "COUNT"}`},
		{"BatchGetItem", `{"RequestItems": {"tab": {"Keys": [{"PK": {"S": "p"}, "SK": {"S": "s"}}], "AttributesToGet": ["a"]}}, "ReturnConsumedCapacity": "INDEXES"}`},
		{"BatchWriteItem", `{"RequestItems": {"tab": [{"DeleteRequest": {"Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}}}, {"PutRequest": {"Item": {"PK": {"S": "q"}, "SK": {"S": "s"}}}}]}}`},
		{"TransactWriteItems", `{"TransactItems": [{"ConditionCheck": {"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "ConditionExpression": "attribute_type(a, :t)", "ExpressionAttributeValues": {":t": {"S": "N"}}}}], "ClientRequestToken": "t"}`},
		{"TransactGetItems", `{"TransactItems": [{"Get": {"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}}}]}`},
		{"CreateTable", indexedTable},
		{"UpdateTable", `{"TableName": "tab", "AttributeDefinitions": [{"AttributeName": "G", "AttributeType": "S"}], "GlobalSecondaryIndexUpdates": [{"Create": {"IndexName": "new", "KeySchema": [{"AttributeName": "G", "KeyType": "HASH"}], "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]}}}]}`},
		{"UpdateTimeToLive", `{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}}`},
		{"TagResource", `{"ResourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/tab", "Tags": [{"Key": "k", "Value": "v"}]}`},
		{"ListTables", `{"Limit": 1, "ExclusiveStartTableName": "aaa"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, operation, body string) {
		if strings.ContainsAny(operation, "\r\n") {
			return
		}
		e := newEngine(t, dynamolocal.Config{})
		post(t, e, "CreateTable", indexedTable)
		post(t, e, "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"S": "g"}, "L": {"S": "l"}, "a": {"N": "1"}, "l": {"L": [{"N": "1"}]}, "m": {"M": {"l": {"L": []}}}, "s": {"SS": ["x", "y"]}}}`)
		for range 2 {
			r := httptest.NewRequest("POST", "/", strings.NewReader(body))
			r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if w.Code != 200 && w.Code != 400 {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("no JSON: %q", w.Body)
			}
		}
	})
}
