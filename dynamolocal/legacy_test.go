package dynamolocal_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// message sends a request and returns the text of its error, "" when there is none.
func message(t *testing.T, e *dynamolocal.Engine, operation, body string) string {
	t.Helper()
	reply := post(t, e, operation, body)
	if text, ok := reply["message"].(string); ok {
		return text
	}
	text, _ := reply["Message"].(string)
	return text
}

// What the members that expressions replaced may hold.
func TestRefusalsOfOlderMembers(t *testing.T) {
	const (
		bad     = "One or more parameter values were invalid: "
		both    = "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "
		opValue = "Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]"
	)
	expecting := func(member string) string {
		return `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "Expected": {"a": ` + member + `}}`
	}
	querying := func(more string) string {
		return `{"TableName": "tab", "KeyConditions": {"PK": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}}` + more + `}`
	}
	conditions := func(sk string) string {
		return `{"TableName": "tab", "KeyConditions": {"PK": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}, "SK": ` + sk + `}}`
	}
	tests := []struct{ operation, body, want string }{
		{"DeleteItem", expecting(`{"ComparisonOperator": "EQ", "Value": {"S": "x"}, "AttributeValueList": [{"S": "x"}]}`), bad + "Value and AttributeValueList cannot be used together for Attribute: a"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "EQ", "Exists": true, "AttributeValueList": [{"S": "x"}]}`), bad + "Exists and ComparisonOperator cannot be used together for Attribute: a"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "LT"}`), bad + "Value or AttributeValueList must be used with ComparisonOperator: LT for Attribute: a"},
		{"DeleteItem", expecting(`{"AttributeValueList": [{"S": "x"}]}`), bad + "AttributeValueList can only be used with a ComparisonOperator for Attribute: a"},
		{"DeleteItem", expecting(`{"Exists": false, "Value": {"S": "x"}}`), bad + "Value cannot be used when Exists is false for Attribute: a"},
		{"DeleteItem", expecting(`{"Exists": true}`), bad + "Value must be provided when Exists is true for Attribute: a"},
		{"DeleteItem", expecting(`{}`), bad + "Value must be provided when Exists is null for Attribute: a"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "lt", "AttributeValueList": [{"S": "x"}]}`), "1 validation error detected: Value 'lt' at 'expected.a.member.comparisonOperator' failed to satisfy constraint: " + opValue},
		{"DeleteItem", expecting(`{"ComparisonOperator": "LT", "AttributeValueList": [{"S": "x"}, {"S": "y"}]}`), bad + "Invalid number of argument(s) for the LT ComparisonOperator"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "LT", "AttributeValueList": [{"L": []}]}`), bad + "ComparisonOperator LT is not valid for L AttributeValue type"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "IN", "AttributeValueList": [{"S": "x"}, {"N": "1"}]}`), bad + "AttributeValues inside AttributeValueList must be of same type"},
		{"DeleteItem", expecting(`{"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "2"}, {"N": "1"}]}`), "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"},
		{"Query", querying(`, "QueryFilter": {"SK": {"ComparisonOperator": "NOT_NULL"}}`), "QueryFilter can only contain non-primary key attributes: Primary key attribute: SK"},
		{"Query", querying(`, "QueryFilter": {"a": {}}`), "1 validation error detected: Value null at 'queryFilter.a.member.comparisonOperator' failed to satisfy constraint: Member must not be null"},
		{"Query", querying(`, "QueryFilter": {"a": {"ComparisonOperator": "NULL"}, "b": {"ComparisonOperator": "NULL"}}, "ConditionalOperator": "and"`), "1 validation error detected: Value 'and' at 'conditionalOperator' failed to satisfy constraint: Member must satisfy enum value set: [OR, AND]"},
		{"Query", querying(`, "ConditionalOperator": "OR"`), bad + "ConditionalOperator cannot be used without Filter or Expected"},
		{"Query", querying(`, "AttributesToGet": ["a", "b", "a"]`), bad + "Duplicate value in attribute name: a"},
		{"Query", querying(`, "AttributesToGet": []`), "1 validation error detected: Value '[]' at 'attributesToGet' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"Query", querying(`, "AttributesToGet": ["a"], "Select": "COUNT"`), "Cannot specify the AttributesToGet when choosing to get only the Count"},
		{"Query", querying(`, "FilterExpression": "attribute_exists(a)", "ProjectionExpression": "a"`), ""},
		{"Query", querying(`, "ConditionalOperator": "OR", "AttributesToGet": ["a"], "KeyConditionExpression": "PK = :p", "ProjectionExpression": "a", "ExpressionAttributeValues": {":p": {"S": "p"}}`),
			both + "{AttributesToGet, ConditionalOperator, KeyConditions} Expression parameters: {ProjectionExpression, KeyConditionExpression}"},
		{"Query", conditions(`{"ComparisonOperator": "BEGINS_WITH", "AttributeValueList": [{"N": "1"}]}`), bad + "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type"},
		{"Query", conditions(`{"ComparisonOperator": "NE", "AttributeValueList": [{"S": "s"}]}`), "Attempted conditional constraint is not an indexable operation"},
		{"Query", conditions(`{"ComparisonOperator": "GE", "AttributeValueList": [{"N": "1"}]}`), bad + "Condition parameter type does not match schema type"},
		{"Query", conditions(`{"ComparisonOperator": "GE", "AttributeValueList": [{"S": "s"}]}`), ""},
		{"Query", `{"TableName": "tab", "KeyConditions": {}}`, "Conditions can be of length 1 or 2 only"},
		{"Query", querying(`, "ExclusiveStartKey": {"PK": {"S": "p"}, "SK": {"N": "1"}}`), "The provided key element does not match the schema"},
		{"Query", querying(`, "ExclusiveStartKey": {"PK": {"S": "p"}}`), "The provided starting key is invalid"},
		{"Query", querying(`, "ExclusiveStartKey": {"PK": {"S": "p"}, "SK": {}}`), "The provided starting key is invalid: Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"},
		{"Query", querying(`, "ExclusiveStartKey": {"PK": {"S": "p"}, "SK": {"N": "x"}}`), "The parameter cannot be converted to a numeric value: x"},
		{"Query", querying(`, "IndexName": "a;"`), "2 validation errors detected: Value 'a;' at 'indexName' failed to satisfy constraint: Member must have length greater than or equal to 3; Value 'a;' at 'indexName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"},
		{"Scan", `{"TableName": "none", "ScanFilter": {"a": {"ComparisonOperator": "EQ"}}, "ExclusiveStartKey": {"a": {}}}`, bad + "Invalid number of argument(s) for the EQ ComparisonOperator"},
		{"Scan", `{"TableName": "tab", "ScanFilter": {"PK": {"ComparisonOperator": "CONTAINS", "AttributeValueList": [{"SS": ["a"]}]}}}`, bad + "ComparisonOperator CONTAINS is not valid for SS AttributeValue type"},
		{"UpdateItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "AttributeUpdates": {"a": {"Action": "SET", "Value": {"S": "x"}}}}`,
			"1 validation error detected: Value 'SET' at 'attributeUpdates.a.member.action' failed to satisfy constraint: Member must satisfy enum value set: [ADD, DELETE, PUT]"},
	}
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, tt := range tests {
		if got := message(t, e, tt.operation, tt.body); got != tt.want {
			t.Errorf("%s %s\n got %s\nwant %s", tt.operation, tt.body, got, tt.want)
		}
	}
}

// A scan goes on in the segment that its start key lies in, and in no other.
func TestAStartKeyOfAnotherSegment(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	good := 0
	for _, segment := range []string{"0", "1", "2", "3"} {
		got := message(t, e, "Scan", `{"TableName": "tab", "TotalSegments": 4, "Segment": `+segment+`, "ExclusiveStartKey": {"PK": {"S": "p"}, "SK": {"S": "s"}}}`)
		if got == "" {
			good++
			continue
		}
		want := "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: 4 Segment: " + segment
		if got != want {
			t.Errorf("segment %s: %s", segment, got)
		}
	}
	if good != 1 {
		t.Errorf("%d segments take the key, want 1", good)
	}
}

// Deletions alone create no item in the older style; an update of nothing does.
func TestOlderUpdatesOfAMissingItem(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for updates, want := range map[string]float64{`{"a": {"Action": "DELETE"}}`: 0, `{}`: 1, `{"a": {"Action": "ADD", "Value": {"N": "1"}}}`: 1} {
		const key = `"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}`
		if got := message(t, e, "UpdateItem", `{`+key+`, "AttributeUpdates": `+updates+`}`); got != "" {
			t.Errorf("%s: %s", updates, got)
		}
		if got := post(t, e, "Scan", `{"TableName": "tab"}`)["Count"]; got != want {
			t.Errorf("%s leaves %v items, want %v", updates, got, want)
		}
		post(t, e, "DeleteItem", `{`+key+`}`)
	}
}
