package dynamolocal_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// Requests of every kind at once; the race detector watches, and no reply may be a fault of the engine.
func TestEverythingAtOnce(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{Throughput: "on-demand"})
	post(t, e, "CreateTable", indexedTable)
	const rounds = 60
	index := `"AttributeDefinitions": [{"AttributeName": "x", "AttributeType": "S"}], "GlobalSecondaryIndexUpdates": [{"Create": {"IndexName": "new",
		"KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}]`
	requests := map[string][]string{
		"PutItem":            {`{"TableName": "tab", "Item": {"PK": {"S": "p%d"}, "SK": {"S": "s"}, "x": {"S": "x"}, "G": {"S": "g"}, "L": {"S": "l"}, "ttl": {"N": "1"}}}`},
		"UpdateItem":         {`{"TableName": "tab", "Key": {"PK": {"S": "p%d"}, "SK": {"S": "s"}}, "UpdateExpression": "SET x = :x ADD n :n", "ExpressionAttributeValues": {":x": {"S": "y"}, ":n": {"N": "1"}}}`},
		"DeleteItem":         {`{"TableName": "tab", "Key": {"PK": {"S": "p%d"}, "SK": {"S": "s"}}}`},
		"GetItem":            {`{"TableName": "tab", "Key": {"PK": {"S": "p%d"}, "SK": {"S": "s"}}}`},
		"Query":              {`{"TableName": "tab", "IndexName": "keys", "KeyConditionExpression": "G = :g", "ExpressionAttributeValues": {":g": {"S": "g"}}, "Limit": %d}`},
		"Scan":               {`{"TableName": "tab", "IndexName": "new", "Limit": %d}`},
		"TransactWriteItems": {`{"TransactItems": [{"Put": {"TableName": "tab", "Item": {"PK": {"S": "p%d"}, "SK": {"S": "s"}, "x": {"S": "z"}}}}, {"Delete": {"TableName": "tab", "Key": {"PK": {"S": "q"}, "SK": {"S": "s"}}}}]}`},
		"UpdateTable":        {`{"TableName": "tab", ` + index + `, "X": %d}`, `{"TableName": "tab", "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "new"}}], "X": %d}`, `{"TableName": "tab", "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"}, "X": %d}`},
		"UpdateTimeToLive":   {`{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}, "X": %d}`, `{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": false}, "X": %d}`},
		"DescribeTable":      {`{"TableName": "tab", "X": %d}`},
		"ListTables":         {`{"X": %d}`},
	}
	var wait sync.WaitGroup
	for operation, bodies := range requests {
		wait.Go(func() {
			for i := range rounds {
				reply := post(t, e, operation, fmt.Sprintf(bodies[i%len(bodies)], i%7+1))
				if kind, _ := reply["__type"].(string); kind == "com.amazonaws.dynamodb.v20120810#InternalServerError" {
					t.Errorf("%s: %v", operation, reply)
				}
			}
		})
	}
	wait.Go(func() {
		for range rounds {
			e.ExpireNow()
			_ = e.Stats()
		}
	})
	wait.Wait()
}
