package dynamolocal_test

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// api is what tests call; the SDK's client and the engine's own implement it.
type api interface {
	CreateTable(context.Context, *dynamodb.CreateTableInput, ...func(*dynamodb.Options)) (*dynamodb.CreateTableOutput, error)
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	TransactGetItems(context.Context, *dynamodb.TransactGetItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactGetItemsOutput, error)
}

func newEngine(t testing.TB, config dynamolocal.Config) *dynamolocal.Engine {
	t.Helper()
	e, err := dynamolocal.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// listen runs the engine's server on loopback and returns its URL.
func listen(t testing.TB, e *dynamolocal.Engine) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// plainServer runs the engine as a handler of net/http and returns its URL.
func plainServer(t testing.TB, e *dynamolocal.Engine) string {
	t.Helper()
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	return s.URL
}

// serve runs the engine's server and returns the SDK's client for it.
func serve(t testing.TB, e *dynamolocal.Engine) *dynamodb.Client {
	t.Helper()
	return dynamodb.New(dynamodb.Options{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(listen(t, e)),
		Credentials:      credentials.NewStaticCredentialsProvider("key", "secret", ""),
		RetryMaxAttempts: 1,
	})
}

// both runs a test through the SDK over HTTP and in process.
func both(t *testing.T, config dynamolocal.Config, test func(*testing.T, api)) {
	t.Run("http", func(t *testing.T) { test(t, serve(t, newEngine(t, config))) })
	t.Run("in process", func(t *testing.T) { test(t, newEngine(t, config).Client()) })
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

type item = map[string]types.AttributeValue

// createTable makes table t: PK and SK strings, gsi1 (ALL) on G1/G2, gsi2 (KEYS_ONLY) on G3.
func createTable(t testing.TB, c api) {
	t.Helper()
	def := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	key := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kind}
	}
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:            aws.String("tab"),
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{def("PK"), def("SK"), def("G1"), def("G2"), def("G3")},
		KeySchema:            []types.KeySchemaElement{key("PK", types.KeyTypeHash), key("SK", types.KeyTypeRange)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{
			{IndexName: aws.String("gsi1"), KeySchema: []types.KeySchemaElement{key("G1", types.KeyTypeHash), key("G2", types.KeyTypeRange)},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll}},
			{IndexName: aws.String("gsi2"), KeySchema: []types.KeySchemaElement{key("G3", types.KeyTypeHash)},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnItemLives(t *testing.T) {
	both(t, dynamolocal.Config{}, func(t *testing.T, c api) {
		createTable(t, c)
		described, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("tab")})
		if err != nil || described.Table.TableStatus != types.TableStatusActive || described.Table.CreationDateTime == nil {
			t.Fatalf("describe: %v %+v", err, described)
		}
		key := item{"PK": s("a"), "SK": s("1")}
		if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{"PK": s("a"), "SK": s("1"), "n": n("10"), "G1": s("g"), "G2": s("x")}}); err != nil {
			t.Fatal(err)
		}
		updated, err := c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: aws.String("tab"), Key: key, ReturnValues: types.ReturnValueAllNew,
			UpdateExpression:          aws.String("SET m = :m ADD n :d"),
			ConditionExpression:       aws.String("attribute_exists(PK) AND n >= :least"),
			ExpressionAttributeValues: item{":m": s("hello"), ":d": n("-3"), ":least": n("3")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := updated.Attributes["n"].(*types.AttributeValueMemberN).Value; got != "7" {
			t.Errorf("n is %s after the update, want 7", got)
		}
		_, err = c.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: aws.String("tab"), Key: key,
			UpdateExpression:                    aws.String("ADD n :d"),
			ConditionExpression:                 aws.String("n >= :least"),
			ExpressionAttributeValues:           item{":d": n("-3"), ":least": n("30")},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		var failed *types.ConditionalCheckFailedException
		if !errors.As(err, &failed) || failed.Item["m"].(*types.AttributeValueMemberS).Value != "hello" {
			t.Errorf("error %v, item %v", err, failed)
		}
		found, err := c.Query(t.Context(), &dynamodb.QueryInput{
			TableName: aws.String("tab"), IndexName: aws.String("gsi1"),
			KeyConditionExpression:    aws.String("G1 = :g AND begins_with(G2, :x)"),
			ExpressionAttributeValues: item{":g": s("g"), ":x": s("x")},
		})
		if err != nil || found.Count != 1 || found.Items[0]["n"].(*types.AttributeValueMemberN).Value != "7" {
			t.Errorf("query: %v %+v", err, found)
		}
		if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("tab"), Key: key}); err != nil {
			t.Fatal(err)
		}
		got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("tab"), Key: key})
		if err != nil || got.Item != nil {
			t.Errorf("after the delete: %v %v", got, err)
		}
	})
}
