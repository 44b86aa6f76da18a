package dynamolocal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// definition is CreateTable's body: keys and attributes as "name:type" lists, and more members.
func definition(keys, attributes, more string) string {
	element := func(text, first, second string) string {
		var parts []string
		for part := range strings.FieldsSeq(text) {
			name, kind, _ := strings.Cut(part, ":")
			parts = append(parts, fmt.Sprintf(`{%q: %q, %q: %q}`, first, name, second, kind))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return `{"TableName": "made", "BillingMode": "PAY_PER_REQUEST", "KeySchema": ` + element(keys, "AttributeName", "KeyType") +
		`, "AttributeDefinitions": ` + element(attributes, "AttributeName", "AttributeType") + more + `}`
}

func TestRefusedDefinitions(t *testing.T) {
	const bad = "One or more parameter values were invalid: "
	index := func(kind, name, keys string) string {
		var elements []string
		for part := range strings.FieldsSeq(keys) {
			attribute, key, _ := strings.Cut(part, ":")
			elements = append(elements, fmt.Sprintf(`{"AttributeName": %q, "KeyType": %q}`, attribute, key))
		}
		return `, "` + kind + `SecondaryIndexes": [{"IndexName": "` + name + `", "KeySchema": [` + strings.Join(elements, ",") + `], "Projection": {"ProjectionType": "ALL"}}]`
	}
	long := strings.Repeat("x", 256)
	tests := []struct{ name, body, want string }{
		{"no name of an attribute", definition("a:HASH", ":S", ""), "1 validation error detected: Value null at 'attributeDefinitions.1.member.attributeName' failed to satisfy constraint: Member must not be null"},
		{"long names", definition(long+":HASH", long+":S", ""), "2 validation errors detected: Value '" + long + "' at 'attributeDefinitions.1.member.attributeName' failed to satisfy constraint: Member must have length less than or equal to 255; " +
			"Value '" + long + "' at 'keySchema.1.member.attributeName' failed to satisfy constraint: Member must have length less than or equal to 255"},
		{"unknown types", definition("a:KEY", "a:X", ""), "2 validation errors detected: Value 'X' at 'attributeDefinitions.1.member.attributeType' failed to satisfy constraint: Member must satisfy enum value set: [B, N, S]; " +
			"Value 'KEY' at 'keySchema.1.member.keyType' failed to satisfy constraint: Member must satisfy enum value set: [HASH, RANGE]"},
		{"an attribute defined twice", definition("a:HASH", "a:S a:N", ""), bad + "Duplicate AttributeName in AttributeDefinitions: a"},
		{"a key given twice", definition("a:HASH a:RANGE", "a:S", ""), "Invalid KeySchema: Some index key attribute have no definition"},
		{"RANGE first", definition("a:RANGE b:HASH", "a:S b:S", ""), "Invalid KeySchema: The first KeySchemaElement is not a HASH key type"},
		{"two HASH keys", definition("a:HASH b:HASH", "a:S b:S", ""), "Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"},
		{"key without definition", definition("a:HASH", "b:S", ""), bad + "Some index key attributes are not defined in AttributeDefinitions. Keys: [a], AttributeDefinitions: [b]"},
		{"too many definitions", definition("a:HASH", "a:S b:S", ""), bad + "Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions"},
		{"local index without RANGE of the table", definition("a:HASH", "a:S b:S", index("Local", "one", "a:HASH b:RANGE")), bad + "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"},
		{"local index with another HASH", definition("a:HASH b:RANGE", "a:S b:S", index("Local", "one", "b:HASH a:RANGE")), bad + "Index KeySchema does not have the same leading hash key as table KeySchema for index: one. index hash key: b, table hash key: a"},
		{"local index without RANGE", definition("a:HASH b:RANGE", "a:S b:S", index("Local", "one", "a:HASH")), bad + "Index KeySchema does not have a range key for index: one"},
		{"local index with one name", definition("a:HASH b:RANGE", "a:S b:S", index("Local", "one", "a:HASH a:RANGE")), "Both the Hash Key and the Range Key element in the KeySchema have the same name"},
		{"index with three keys", definition("a:HASH", "a:S b:S c:S", index("Global", "one", "a:HASH b:RANGE c:RANGE")),
			"1 validation error detected: Value '[KeySchemaElement(attributeName=a, keyType=HASH), KeySchemaElement(attributeName=b, keyType=RANGE), KeySchemaElement(attributeName=c, keyType=RANGE)]' at 'globalSecondaryIndexes.1.member.keySchema' failed to satisfy constraint: Member must have length less than or equal to 2"},
		{"short name of an index", definition("a:HASH", "a:S", index("Global", "x", "a:HASH")), "1 validation error detected: Value 'x' at 'globalSecondaryIndexes.1.member.indexName' failed to satisfy constraint: Member must have length greater than or equal to 3"},
		{"units of an index on demand", definition("a:HASH", "a:S", `, "GlobalSecondaryIndexes": [{"IndexName": "one", "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}, "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}]`),
			bad + "ProvisionedThroughput should not be specified for index: one when BillingMode is PAY_PER_REQUEST"},
		{"units out of bounds", strings.Replace(definition("a:HASH", "a:S", `, "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1000000000001}`), "PAY_PER_REQUEST", "PROVISIONED", 1), "Given value 1000000000001 for WriteCapacityUnits is out of bounds"},
		{"tag without value", definition("a:HASH", "a:S", `, "Tags": [{"Key": "k"}]`), "1 validation error detected: Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null"},
		{"51 tags", definition("a:HASH", "a:S", `, "Tags": [`+strings.Repeat(`{"Key": "k", "Value": ""},`, 50)+`{"Key": "k", "Value": ""}]`), "1 validation error detected: Value '[51 tags]' at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50"},
		{"a number for a name", `{"TableName": 3}`, "NUMBER_VALUE cannot be converted to String"},
		{"a fraction for a name", `{"TableName": 3.5}`, "DECIMAL_VALUE cannot be converted to String"},
		{"true for a name", `{"TableName": true}`, "TRUE_VALUE cannot be converted to String"},
		{"a list for a name", `{"TableName": []}`, "Unrecognized collection type class java.lang.String"},
		{"an object for a list", `{"KeySchema": {}}`, "Start of structure or map found where not expected"},
		{"a list for a key", `{"KeySchema": [[]]}`, "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.KeySchemaElement"},
		{"a text for a local index", `{"LocalSecondaryIndexes": ["x"]}`, "Unexpected value type in payload"},
		{"a list for a local index", `{"LocalSecondaryIndexes": [[]]}`, "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.LocalSecondaryIndex"},
		{"a text for units", `{"ProvisionedThroughput": "x"}`, "Unexpected field type"},
	}
	e := newEngine(t, dynamolocal.Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := message(t, e, "CreateTable", tt.body); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			if names := post(t, e, "ListTables", `{}`)["TableNames"]; len(names.([]any)) != 0 {
				t.Errorf("a refused table exists: %v", names)
			}
		})
	}
}

func TestRefusedChanges(t *testing.T) {
	const bad = "One or more parameter values were invalid: "
	const arn = "arn:aws:dynamodb:us-east-1:000000000000:table/tab"
	create := func(name, attribute, kind string) string {
		return `{"TableName": "tab", "AttributeDefinitions": [{"AttributeName": "` + attribute + `", "AttributeType": "` + kind + `"}], "GlobalSecondaryIndexUpdates": [{"Create":
			{"IndexName": "` + name + `", "KeySchema": [{"AttributeName": "` + attribute + `", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}]}`
	}
	updates := func(list string) string {
		return `{"TableName": "tab", "GlobalSecondaryIndexUpdates": ` + list + `}`
	}
	tests := []struct{ operation, body, want string }{
		{"UpdateTable", updates(`[]`), "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required"},
		{"UpdateTable", updates(`[{}]`), bad + "One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null"},
		{"UpdateTable", updates(`[{"Delete": {"IndexName": "keys"}}, {"Delete": {"IndexName": "keys"}}]`), bad + "Only one global secondary index update per index is allowed simultaneously. Index: keys"},
		{"UpdateTable", updates(`[{"Delete": {"IndexName": "keys"}}, {"Delete": {"IndexName": "more"}}]`), "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"},
		{"UpdateTable", updates(`[{"Delete": {"IndexName": "none"}}]`), "Requested resource not found: Index: none not found for table: tab"},
		{"UpdateTable", updates(`[{"Delete": {"IndexName": "keys"}}, {"Update": {"IndexName": "none", "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}}]`), "Requested resource not found: Index: none not found for table: tab"},
		{"UpdateTable", create("local", "G", "S"), "Attempting to create an index which already exists"},
		{"UpdateTable", create("other", "G", "N"), bad + "Attributes cannot be redefined. Please check that your attribute has the same type as previously defined. Existing schema: Schema:[SchemaElement: key{G:S}] New schema: Schema:[SchemaElement: key{G:N}]"},
		{"UpdateTable", `{"TableName": "tab", "BillingMode": "PROVISIONED"}`, bad + "ProvisionedThroughput must be specified when BillingMode is PROVISIONED"},
		{"UpdateTimeToLive", `{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "other", "Enabled": false}}`, "TimeToLive is active on a different AttributeName: current AttributeName is ttl"},
		{"UpdateTimeToLive", `{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}}`, "TimeToLive is already enabled"},
		{"TagResource", `{"ResourceArn": "` + arn + `"}`, "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null"},
		{"TagResource", `{"ResourceArn": "` + arn + `", "Tags": []}`, "Atleast one Tag needs to be provided as Input."},
		{"TagResource", `{"ResourceArn": "` + arn + `", "Tags": [{"Key": "50%", "Value": "x"}]}`, `1 validation error detected: Value '50%' at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`},
		{"TagResource", `{"ResourceArn": "` + arn + `/index/keys", "Tags": [{"Key": "k", "Value": "x"}]}`, "Invalid TableArn: Invalid ResourceArn provided as input " + arn + "/index/keys"},
		{"UntagResource", `{"ResourceArn": "` + arn + `", "TagKeys": []}`, "Atleast one Tag Key needs to be provided as Input."},
		{"UntagResource", `{"ResourceArn": "` + arn + `2", "TagKeys": ["k"]}`, "Requested resource not found: ResourcArn: " + arn + "2 not found"},
		{"ListTables", `null`, ""},
	}
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	post(t, e, "UpdateTimeToLive", `{"TableName": "tab", "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}}`)
	before := raw(t, e, "DescribeTable", `{"TableName": "tab"}`)
	for _, tt := range tests {
		if got := message(t, e, tt.operation, tt.body); got != tt.want {
			t.Errorf("%s %s\n got %s\nwant %s", tt.operation, tt.body, got, tt.want)
		}
	}
	long := `{"ResourceArn": "` + arn + `", "Tags": [{"Key": "` + strings.Repeat("é", 128) + `", "Value": "` + strings.Repeat("é", 256) + `"}]}`
	if got := raw(t, e, "TagResource", long); got != "" {
		t.Errorf("a tag of 128 and 256 characters: %s", got)
	}
	if after := raw(t, e, "DescribeTable", `{"TableName": "tab"}`); after != before {
		t.Errorf("the table is\n%s\nand was\n%s", after, before)
	}
	post(t, e, "PutItem", `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"S": "g"}}}`)
	if got := post(t, e, "Scan", `{"TableName": "tab", "IndexName": "keys"}`)["Count"]; got != 1.0 {
		t.Errorf("the index that was not deleted shows %v items", got)
	}
}

// Items that cannot be in a new index stay out of it, and come in when they can.
func TestANewIndexLeavesOutWhatDoesNotFit(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for i, x := range []string{`{"S": "good"}`, `{"N": "1"}`, `{"S": ""}`, `{"S": "` + strings.Repeat("x", 2049) + `"}`, `{"M": {}}`} {
		post(t, e, "PutItem", fmt.Sprintf(`{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "%d"}, "x": %s}}`, i, x))
	}
	reply := post(t, e, "UpdateTable", `{"TableName": "tab", "AttributeDefinitions": [{"AttributeName": "x", "AttributeType": "S"}], "GlobalSecondaryIndexUpdates": [{"Create":
		{"IndexName": "new", "KeySchema": [{"AttributeName": "x", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}]}`)
	if reply["TableDescription"] == nil {
		t.Fatal(reply)
	}
	count := func() any { return post(t, e, "Scan", `{"TableName": "tab", "IndexName": "new"}`)["Count"] }
	if got := count(); got != 1.0 {
		t.Errorf("the new index shows %v items, want 1", got)
	}
	post(t, e, "UpdateItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "1"}}, "UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":x": {"S": "now"}}}`)
	post(t, e, "DeleteItem", `{"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "2"}}}`)
	if got := count(); got != 2.0 {
		t.Errorf("the new index shows %v items after the writes, want 2", got)
	}
}

func TestNamesAndPathsHaveLimits(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	const key = `"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}`
	put := func(name string) string {
		return `{"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "` + name + `": {"S": "x"}}}`
	}
	project := func(expression string) string { return `{` + key + `, "ProjectionExpression": "` + expression + `"}` }
	tests := []struct{ operation, body, want string }{
		{"PutItem", put(strings.Repeat("n", 65535)), ""},
		{"PutItem", put(strings.Repeat("n", 65536)), "Attribute name is too large, must be less than 65536 bytes"},
		{"PutItem", put(""), "Empty attribute name"},
		{"GetItem", `{` + key + `, "AttributesToGet": [""]}`, "Empty attribute name"},
		{"UpdateItem", `{` + key + `, "AttributeUpdates": {"": {"Value": {"S": "x"}}}}`, "Empty attribute name"},
		{"GetItem", `{` + key + `, "ProjectionExpression": "#n", "ExpressionAttributeNames": {"#n": ""}}`, "ExpressionAttributeNames contains invalid value: Empty attribute name for key #n"},
		{"GetItem", project("a" + strings.Repeat(".b", 31)), ""},
		{"GetItem", project("a" + strings.Repeat(".b", 32)), "Invalid ProjectionExpression: The document path has too many nesting levels; nesting levels: 33"},
		{"GetItem", project("a[2147483647]"), ""},
		{"GetItem", project("a[99999999999999]"), "Invalid ProjectionExpression: List index is not within the allowable range; index: [99999999999999]"},
	}
	for _, tt := range tests {
		if got := message(t, e, tt.operation, tt.body); got != tt.want {
			t.Errorf("%s %.120s\n got %s\nwant %s", tt.operation, tt.body, got, tt.want)
		}
	}
}

func TestTransactionsAndDeepValues(t *testing.T) {
	deep := func(maps int) string {
		return strings.Repeat(`{"M": {"n": `, maps) + `{"S": "x"}` + strings.Repeat(`}}`, maps)
	}
	const (
		nested = "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
		key    = `"TableName": "tab", "Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}`
	)
	tests := []struct{ action, code, reason string }{
		{`{"Put": {"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "a": ` + deep(32) + `}}}`, "ValidationException", nested},
		{`{"Update": {` + key + `, "UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": ` + deep(32) + `}}}`, "ValidationError", nested},
		{`{"ConditionCheck": {` + key + `, "ConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": ` + deep(32) + `}}}`, "ConditionalCheckFailed", "The conditional request failed"},
		{`{"Put": {"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"N": "1"}}}}`, "ValidationError",
			"One or more parameter values were invalid: Type mismatch for Index Key G Expected: S Actual: N IndexName: keys"},
		{`{"Put": {"TableName": "tab", "Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "G": {"S": ""}}}}`, "ValidationException",
			"One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: keys, IndexKey: G"},
		{`{"Update": {` + key + `, "UpdateExpression": "SET G = :g", "ExpressionAttributeValues": {":g": {"S": ""}}}}`, "ValidationException",
			"One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an empty string value."},
	}
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, tt := range tests {
		reply := post(t, e, "TransactWriteItems", `{"TransactItems": [`+tt.action+`]}`)
		kind, _ := reply["__type"].(string)
		code := kind[strings.Index(kind, "#")+1:]
		text, _ := reply["message"].(string)
		if reasons, ok := reply["CancellationReasons"].([]any); ok {
			code, _ = reasons[0].(object)["Code"].(string)
			text, _ = reasons[0].(object)["Message"].(string)
		}
		if code != tt.code || text != tt.reason {
			t.Errorf("%.100s\n got %s: %s\nwant %s: %s", tt.action, code, text, tt.code, tt.reason)
		}
	}
}

// What of several faults is reported, and when the table is looked for.
func TestTheOrderOfChecks(t *testing.T) {
	const values = `"ExpressionAttributeValues": {":p": {"S": "p"}}`
	query := func(table, more string) string { return `{"TableName": "` + table + `", ` + more + `}` }
	tests := []struct{ operation, body, want string }{
		{"Query", query("none", `"KeyConditionExpression": "PK = :q", "FilterExpression": "a >"`), `Invalid FilterExpression: Syntax error; token: "<EOF>", near: ">"`},
		{"Query", query("none", `"KeyConditionExpression": "", "FilterExpression": ""`), "Invalid KeyConditionExpression: The expression can not be empty;"},
		{"Query", query("none", `"KeyConditionExpression": "a.b = :p", `+values), "KeyConditionExpressions cannot have conditions on nested attributes"},
		{"Query", query("none", `"KeyConditions": {"a": {"ComparisonOperator": "EQ", "AttributeValueList": []}}`), "One or more parameter values were invalid: Invalid number of argument(s) for the EQ ComparisonOperator"},
		{"Query", query("none", `"KeyConditionExpression": "PK = :p", `+values), "Requested resource not found"},
		{"Query", query("tab", `"KeyConditionExpression": "PK = :p", "ProjectionExpression": "SK.a", `+values), "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: SK"},
		{"Query", query("tab", `"KeyConditionExpression": "PK = :p", "FilterExpression": "G[0] = :p", `+values), "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: IndexKey: G"},
		{"Scan", query("tab", `"FilterExpression": "PK.x = :p", `+values), "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: PK"},
		{"GetItem", query("tab", `"Key": {"PK": {"S": "p"}, "SK": {"S": "s"}}, "ProjectionExpression": "PK[1]"`), "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: PK"},
		{"GetItem", query("tab", `"Key": {"PK": {"S": "", "N": "x"}}`), "The parameter cannot be converted to a numeric value: x"},
		{"BatchGetItem", `{"RequestItems": {"none": {"Keys": [{}], "AttributesToGet": ["a", "a"]}}}`, "One or more parameter values were invalid: Duplicate value in attribute name: a"},
		{"UpdateTable", query("none", `"GlobalSecondaryIndexUpdates": [{}]`), "One or more parameter values were invalid: One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null"},
		{"PutItem", query("tab", `"Item": {"PK": {"S": "p"}, "SK": {"S": "s"}, "b": {"BS": ["AA==", "AQ==", "AA=="]}}`), "One or more parameter values were invalid: Input collection [AA==, AQ==, AA==]of type BS contains duplicates."},
	}
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	for _, tt := range tests {
		if got := message(t, e, tt.operation, tt.body); got != tt.want {
			t.Errorf("%s %s\n got %s\nwant %s", tt.operation, tt.body, got, tt.want)
		}
	}
}

func TestEncryptionIsDescribed(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", definition("a:HASH", "a:S", `, "SSESpecification": {"Enabled": true}`))
	described, _ := post(t, e, "DescribeTable", `{"TableName": "made"}`)["Table"].(object)["SSEDescription"].(object)
	arn, _ := described["KMSMasterKeyArn"].(string)
	if described["Status"] != "ENABLED" || described["SSEType"] != "KMS" || !strings.HasPrefix(arn, "arn:aws:kms:us-east-1:000000000000:key/") {
		t.Errorf("SSEDescription = %v", described)
	}
	post(t, e, "UpdateTable", `{"TableName": "made", "SSESpecification": {"Enabled": false}}`)
	if got := post(t, e, "DescribeTable", `{"TableName": "made"}`)["Table"].(object)["SSEDescription"]; got != nil {
		t.Errorf("SSEDescription = %v after it was switched off", got)
	}
}
