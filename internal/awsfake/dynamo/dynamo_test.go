package dynamo_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/dynamo"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

const tableARN = "arn:aws:dynamodb:us-east-1:123456789012:table/limiter"

// world is the service behind a front that knows who asks.
type world struct {
	service *dynamo.Service
	iam     *iam.IAM
	config  aws.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	service, err := dynamo.New(protocoltest.Account, protocoltest.Region, dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	w := &world{service: service, iam: iam.New(iam.Options{Account: protocoltest.Account})}
	w.config = protocoltest.Client(t, &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: []protocol.Service{service.API()}, Keys: w.iam})
	return w
}

func (w *world) as(key, secret string) *dynamodb.Client {
	return dynamodb.NewFromConfig(w.config, func(o *dynamodb.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "") })
}

func (w *world) admin() *dynamodb.Client { return w.as(w.iam.Admin()) }

func (w *world) user(t *testing.T, name, policy string) *dynamodb.Client {
	t.Helper()
	key, secret, err := w.iam.AddUser(name, policy)
	if err != nil {
		t.Fatal(err)
	}
	return w.as(key, secret)
}

// template is the limiter's table, as far as it matters here.
func template(change map[string]any) *resource.Resource {
	keys := func(hash, sort string) []any {
		return []any{map[string]any{"AttributeName": hash, "KeyType": "HASH"}, map[string]any{"AttributeName": sort, "KeyType": "RANGE"}}
	}
	attribute := func(name string) map[string]any { return map[string]any{"AttributeName": name, "AttributeType": "S"} }
	properties := map[string]any{
		"TableName": "limiter", "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": []any{attribute("PK"), attribute("SK"), attribute("GSI4PK"), attribute("GSI4SK"), attribute("L1")},
		"KeySchema":            keys("PK", "SK"),
		"GlobalSecondaryIndexes": []any{map[string]any{
			"IndexName": "GSI4", "KeySchema": keys("GSI4PK", "GSI4SK"), "Projection": map[string]any{"ProjectionType": "KEYS_ONLY"},
		}},
		"LocalSecondaryIndexes": []any{map[string]any{
			"IndexName": "LSI1", "KeySchema": keys("PK", "L1"), "Projection": map[string]any{"ProjectionType": "ALL"},
		}},
		"StreamSpecification":              map[string]any{"StreamViewType": "NEW_AND_OLD_IMAGES"},
		"TimeToLiveSpecification":          map[string]any{"AttributeName": "ttl", "Enabled": "true"},
		"PointInTimeRecoverySpecification": map[string]any{"PointInTimeRecoveryEnabled": true},
		"SSESpecification":                 map[string]any{"SSEEnabled": true},
		"Tags":                             []any{map[string]any{"Key": "own", "Value": "1"}},
	}
	maps.Copy(properties, change)
	return &resource.Resource{Type: "AWS::DynamoDB::Table", Stack: "limiter", LogicalID: "Table", Properties: properties, Tags: map[string]string{"ManagedBy": "zae-limiter"}}
}

func (w *world) table(t *testing.T, change map[string]any) *resource.Physical {
	t.Helper()
	made, err := w.service.Providers()["AWS::DynamoDB::Table"].Create(t.Context(), template(change))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func text(value string) types.AttributeValue { return &types.AttributeValueMemberS{Value: value} }

func key(pk string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{"PK": text(pk), "SK": text("#STATE")}
}

func denied(t *testing.T, err error, action, on string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	want := fmt.Sprintf("is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", action, on, action)
	if !ok || api.ErrorCode() != "AccessDeniedException" || !strings.Contains(api.ErrorMessage(), want) {
		t.Errorf("got %v, want a denial of %s on %s", err, action, on)
	}
}

func TestEachOperationNeedsItsPermission(t *testing.T) {
	w := newWorld(t)
	w.table(t, nil)
	nobody := w.user(t, "nobody", `{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	table := aws.String("limiter")
	ctx := t.Context()
	for _, test := range []struct {
		action, on string
		call       func() error
	}{
		{"dynamodb:GetItem", tableARN, func() error {
			_, err := nobody.GetItem(ctx, &dynamodb.GetItemInput{TableName: table, Key: key("a")})
			return err
		}},
		{"dynamodb:Query", tableARN + "/index/GSI4", func() error {
			_, err := nobody.Query(ctx, &dynamodb.QueryInput{
				TableName: table, IndexName: aws.String("GSI4"), KeyConditionExpression: aws.String("GSI4PK = :p"), ExpressionAttributeValues: map[string]types.AttributeValue{":p": text("a")},
			})
			return err
		}},
		{"dynamodb:Scan", tableARN, func() error {
			_, err := nobody.Scan(ctx, &dynamodb.ScanInput{TableName: aws.String(tableARN)})
			return err
		}},
		{"dynamodb:BatchWriteItem", tableARN, func() error {
			_, err := nobody.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"limiter": {{PutRequest: &types.PutRequest{Item: key("a")}}}}})
			return err
		}},
		{"dynamodb:DescribeTable", tableARN, func() error {
			_, err := nobody.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: table})
			return err
		}},
		{"dynamodb:ListTagsOfResource", tableARN, func() error {
			_, err := nobody.ListTagsOfResource(ctx, &dynamodb.ListTagsOfResourceInput{ResourceArn: aws.String(tableARN)})
			return err
		}},
		{"dynamodb:ListTables", "*", func() error {
			_, err := nobody.ListTables(ctx, &dynamodb.ListTablesInput{})
			return err
		}},
	} {
		denied(t, test.call(), test.action, test.on)
	}
}

// Streams are resources of their own, below their table.
func TestStreamsNeedPermissions(t *testing.T) {
	w := newWorld(t)
	arn := w.table(t, nil).Attributes["StreamArn"]
	reader := func(name, policy string) *dynamodbstreams.Client {
		id, secret, err := w.iam.AddUser(name, policy)
		if err != nil {
			t.Fatal(err)
		}
		return dynamodbstreams.NewFromConfig(w.config, func(o *dynamodbstreams.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, "")
		})
	}
	allowed := reader("allowed", `{"Statement":[{"Effect":"Allow","Action":["dynamodb:DescribeStream","dynamodb:GetShardIterator","dynamodb:GetRecords"],"Resource":"`+tableARN+`/stream/*"},{"Effect":"Allow","Action":"dynamodb:ListStreams","Resource":"*"}]}`)
	nobody := reader("nobody", `{"Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"`+tableARN+`"}}`)
	ctx := t.Context()
	if _, err := allowed.ListStreams(ctx, &dynamodbstreams.ListStreamsInput{TableName: aws.String("limiter")}); err != nil {
		t.Error(err)
	}
	described, err := allowed.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{StreamArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	at := &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: described.StreamDescription.Shards[0].ShardId, ShardIteratorType: "TRIM_HORIZON"}
	iterator, err := allowed.GetShardIterator(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin().PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("limiter"), Item: key("a")}); err != nil {
		t.Fatal(err)
	}
	records := &dynamodbstreams.GetRecordsInput{ShardIterator: iterator.ShardIterator}
	if page, err := allowed.GetRecords(ctx, records); err != nil || len(page.Records) != 1 {
		t.Errorf("records %+v, %v", page, err)
	}
	_, err = nobody.ListStreams(ctx, &dynamodbstreams.ListStreamsInput{})
	denied(t, err, "dynamodb:ListStreams", "*")
	_, err = nobody.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{StreamArn: &arn})
	denied(t, err, "dynamodb:DescribeStream", arn)
	_, err = nobody.GetShardIterator(ctx, at)
	denied(t, err, "dynamodb:GetShardIterator", arn)
	_, err = nobody.GetRecords(ctx, records)
	denied(t, err, "dynamodb:GetRecords", arn)
}

// TestAPartOfATransactionIsDenied is the case of aws.md 6.4: policies from before 0.17.
func TestAPartOfATransactionIsDenied(t *testing.T) {
	w := newWorld(t)
	w.table(t, nil)
	old := w.user(t, "old", `{"Statement":{"Effect":"Allow","Action":["dynamodb:PutItem","dynamodb:GetItem","dynamodb:TransactWriteItems"],"Resource":["`+tableARN+`"]}}`)
	transaction := &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: aws.String("limiter"), Item: key("a")}},
		{ConditionCheck: &types.ConditionCheck{TableName: aws.String("limiter"), Key: key("b"), ConditionExpression: aws.String("attribute_not_exists(PK)")}},
	}}
	_, err := old.TransactWriteItems(t.Context(), transaction)
	denied(t, err, "dynamodb:ConditionCheckItem", tableARN)
	if out, err := old.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("limiter"), Key: key("a")}); err != nil || len(out.Item) != 0 {
		t.Errorf("after the denial there is %v, %v; want nothing", out, err)
	}
	if _, err := w.admin().TransactWriteItems(t.Context(), transaction); err != nil {
		t.Errorf("the admin: %v", err)
	}
}

func TestLeadingKeysAreTested(t *testing.T) {
	w := newWorld(t)
	w.table(t, nil)
	tenant := w.user(t, "tenant", `{"Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":["`+tableARN+`","`+tableARN+`/index/*"],
		"Condition":{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["a/*","a"]},"Null":{"dynamodb:LeadingKeys":"false"}}}}`)
	table := aws.String("limiter")
	ctx := t.Context()
	query := func(index, expression, value string) func() error {
		return func() error {
			in := &dynamodb.QueryInput{TableName: table, KeyConditionExpression: &expression, ExpressionAttributeValues: map[string]types.AttributeValue{":p": text(value), ":s": text("x")}}
			if strings.Contains(expression, "#") {
				in.ExpressionAttributeNames = map[string]string{"#p": "PK"}
			}
			if index != "" {
				in.IndexName = &index
			}
			_, err := tenant.Query(ctx, in)
			return err
		}
	}
	write := func(keys ...string) func() error {
		return func() error {
			var requests []types.WriteRequest
			for _, k := range keys {
				requests = append(requests, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: key(k)}})
			}
			_, err := tenant.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"limiter": requests}})
			return err
		}
	}
	read := func(keys ...string) func() error {
		return func() error {
			var all []map[string]types.AttributeValue
			for _, k := range keys {
				all = append(all, key(k))
			}
			_, err := tenant.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"limiter": {Keys: all}}})
			return err
		}
	}
	for _, test := range []struct {
		name    string
		call    func() error
		allowed bool
	}{
		{"a put below", func() error {
			_, err := tenant.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: key("a/1")})
			return err
		}, true},
		{"a put elsewhere", func() error {
			_, err := tenant.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: key("b/1")})
			return err
		}, false},
		{"a query below", query("", "#p = :p AND begins_with(SK, :s)", "a/1"), true},
		{"a query elsewhere", query("", "SK = :s AND PK = :p", "b/1"), false},
		{"a query of an index", query("GSI4", "GSI4PK = :p AND GSI4SK = :s", "a"), true},
		{"a query of an index elsewhere", query("GSI4", "GSI4PK = :p AND GSI4SK = :s", "b"), false},
		{"a scan", func() error { _, err := tenant.Scan(ctx, &dynamodb.ScanInput{TableName: table}); return err }, false},
		{"writes below", write("a/1", "a/2"), true},
		{"writes with one elsewhere", write("a/1", "b/2"), false},
		{"reads below", read("a/1", "a/2"), true},
		{"reads with one elsewhere", read("a/1", "b/2"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.call()
			api, _ := errors.AsType[smithy.APIError](err)
			if refused := err != nil && api != nil && api.ErrorCode() == "AccessDeniedException"; refused == test.allowed || err != nil && !refused {
				t.Errorf("got %v, want allowed = %v", err, test.allowed)
			}
		})
	}
}

func TestStacksMakeAndChangeTables(t *testing.T) {
	w := newWorld(t)
	provider := w.service.Providers()["AWS::DynamoDB::Table"]
	ctx := t.Context()
	made := w.table(t, map[string]any{"DeletionProtectionEnabled": "true"})
	if made.ID != "limiter" || made.Attributes["Arn"] != tableARN || !strings.HasPrefix(made.Attributes["StreamArn"], tableARN+"/stream/") {
		t.Errorf("the table is %+v", made)
	}
	client := w.admin()
	table, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &made.ID})
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Table.GlobalSecondaryIndexes) != 1 || len(table.Table.LocalSecondaryIndexes) != 1 || table.Table.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("the description is %+v", table.Table)
	}
	ttl := func() types.TimeToLiveStatus {
		out, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &made.ID})
		if err != nil {
			t.Fatal(err)
		}
		return out.TimeToLiveDescription.TimeToLiveStatus
	}
	if got := ttl(); got != types.TimeToLiveStatusEnabled {
		t.Errorf("TTL is %s", got)
	}
	if got := w.service.Tagged()[tableARN]; !maps.Equal(got, map[string]string{"own": "1", "ManagedBy": "zae-limiter"}) {
		t.Errorf("the tags are %v", got)
	}
	protected := template(map[string]any{"DeletionProtectionEnabled": true})
	if err := provider.Delete(ctx, made, protected); err == nil || !strings.Contains(err.Error(), "protected against deletion") {
		t.Errorf("a protected table is deleted: %v", err)
	}
	if _, err := provider.Create(ctx, template(nil)); err == nil {
		t.Error("a second table of the name is made")
	}

	changed := template(map[string]any{"GlobalSecondaryIndexes": []any{}, "Tags": []any{}, "AttributeDefinitions": template(nil).Properties["AttributeDefinitions"].([]any)[:2]})
	changed.Properties["AttributeDefinitions"] = append(changed.Properties["AttributeDefinitions"].([]any), map[string]any{"AttributeName": "L1", "AttributeType": "S"})
	if _, err := provider.Update(ctx, made, protected, changed); err != nil {
		t.Fatal(err)
	}
	if table, err = client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &made.ID}); err != nil || len(table.Table.GlobalSecondaryIndexes) != 0 || aws.ToBool(table.Table.DeletionProtectionEnabled) {
		t.Errorf("after the update: %+v, %v", table.Table, err)
	}
	if got := w.service.Tagged()[tableARN]; !maps.Equal(got, map[string]string{"ManagedBy": "zae-limiter"}) {
		t.Errorf("after the update the tags are %v", got)
	}
	if got := provider.Replaces("LocalSecondaryIndexes", nil, nil); got != resource.Always {
		t.Errorf("local indexes replace: %s", got)
	}
	for range 2 { // the second time it is gone already
		if err := provider.Delete(ctx, made, changed); err != nil {
			t.Error(err)
		}
	}
}

func TestTablesAreKept(t *testing.T) {
	w := newWorld(t)
	w.table(t, nil)
	ctx := t.Context()
	for _, pk := range []string{"a", "b", "c"} {
		if _, err := w.admin().PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("limiter"), Item: map[string]types.AttributeValue{
			"PK": text(pk), "SK": text("x"), "GSI4PK": text("g"), "GSI4SK": text(pk), "n": &types.AttributeValueMemberN{Value: "1"}, "b": &types.AttributeValueMemberB{Value: []byte{0, 255}},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := w.service.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	again := newWorld(t)
	if err := again.service.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	out, err := again.admin().Query(ctx, &dynamodb.QueryInput{
		TableName: aws.String("limiter"), IndexName: aws.String("GSI4"), KeyConditionExpression: aws.String("GSI4PK = :p"), ExpressionAttributeValues: map[string]types.AttributeValue{":p": text("g")},
	})
	if err != nil || len(out.Items) != 3 {
		t.Errorf("after the load: %v, %v; want three items", out, err)
	}
	ttl, err := again.admin().DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: aws.String("limiter")})
	if err != nil || aws.ToString(ttl.TimeToLiveDescription.AttributeName) != "ttl" {
		t.Errorf("after the load TTL is %+v, %v", ttl, err)
	}
	if got := again.service.Tagged()[tableARN]["own"]; got != "1" {
		t.Errorf("after the load the tags are %v", again.service.Tagged())
	}
}

// A local index is part of its table; a global one has a metric of its own.
func TestConsumptionIsRecordedOnceByTableAndIndex(t *testing.T) {
	w := newWorld(t)
	w.table(t, nil)
	recorded := map[string]float64{}
	record := func(namespace, name, _ string, dimensions map[string]string, value float64) {
		recorded[strings.TrimSpace(namespace+" "+name+" "+dimensions["TableName"]+" "+dimensions["GlobalSecondaryIndexName"])] += value
	}
	item := key("a")
	item["GSI4PK"], item["GSI4SK"], item["L1"] = text("g"), text("1"), text("l")
	for range 2 { // the second one changes no index
		if _, err := w.admin().PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("limiter"), Item: item}); err != nil {
			t.Fatal(err)
		}
		w.service.Sample(record)
	}
	if _, err := w.admin().GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("limiter"), Key: key("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin().Query(t.Context(), &dynamodb.QueryInput{
		TableName: aws.String("limiter"), IndexName: aws.String("GSI4"), KeyConditionExpression: aws.String("GSI4PK = :p"), ExpressionAttributeValues: map[string]types.AttributeValue{":p": text("g")},
	}); err != nil {
		t.Fatal(err)
	}
	w.service.Sample(record)
	w.service.Sample(record)
	want := map[string]float64{
		"AWS/DynamoDB ConsumedWriteCapacityUnits limiter": 3, "AWS/DynamoDB ConsumedWriteCapacityUnits limiter GSI4": 1,
		"AWS/DynamoDB ConsumedReadCapacityUnits limiter": 0.5, "AWS/DynamoDB ConsumedReadCapacityUnits limiter GSI4": 0.5,
	}
	if !maps.Equal(recorded, want) {
		t.Errorf("recorded %v, want %v", recorded, want)
	}
}
