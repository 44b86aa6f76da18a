package dynamostore

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/schemas"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore/internal/lean"
)

// The operations, as the SDK's protocol knows them.
var (
	opGetItem            = smithy.NewOperationSchema(schemas.GetItem, schemas.GetItemInput, schemas.GetItemOutput)
	opPutItem            = smithy.NewOperationSchema(schemas.PutItem, schemas.PutItemInput, schemas.PutItemOutput)
	opUpdateItem         = smithy.NewOperationSchema(schemas.UpdateItem, schemas.UpdateItemInput, schemas.UpdateItemOutput)
	opDeleteItem         = smithy.NewOperationSchema(schemas.DeleteItem, schemas.DeleteItemInput, schemas.DeleteItemOutput)
	opQuery              = smithy.NewOperationSchema(schemas.Query, schemas.QueryInput, schemas.QueryOutput)
	opBatchGetItem       = smithy.NewOperationSchema(schemas.BatchGetItem, schemas.BatchGetItemInput, schemas.BatchGetItemOutput)
	opBatchWriteItem     = smithy.NewOperationSchema(schemas.BatchWriteItem, schemas.BatchWriteItemInput, schemas.BatchWriteItemOutput)
	opTransactWriteItems = smithy.NewOperationSchema(schemas.TransactWriteItems, schemas.TransactWriteItemsInput, schemas.TransactWriteItemsOutput)
	opCreateTable        = smithy.NewOperationSchema(schemas.CreateTable, schemas.CreateTableInput, schemas.CreateTableOutput)
	opDescribeTable      = smithy.NewOperationSchema(schemas.DescribeTable, schemas.DescribeTableInput, schemas.DescribeTableOutput)
	opUpdateTimeToLive   = smithy.NewOperationSchema(schemas.UpdateTimeToLive, schemas.UpdateTimeToLiveInput, schemas.UpdateTimeToLiveOutput)
)

// output reads a reply into the output of an operation.
type output struct {
	client *LeanClient
	schema *smithy.OperationSchema
	out    smithy.Deserializable
}

func (o *output) read(reply *lean.Reply) error { return o.client.decode(reply, o.schema, o.out) }

// invoke makes a call with the SDK's shapes.
func invoke[Out smithy.Deserializable](
	ctx context.Context, c *LeanClient, schema *smithy.OperationSchema, in smithy.Serializable, out Out, opts []func(*dynamodb.Options),
) (Out, error) {
	var none Out
	rules := &c.usual
	if len(opts) > 0 {
		options := c.options
		for _, opt := range opts {
			opt(&options)
		}
		own := newRetryRules(options.Retryer)
		rules = &own
	}
	call := c.transport.NewCall()
	defer c.transport.Release(call)
	operation := schema.ID().Name
	var err error
	if call.Body, err = c.appendInput(ctx, call.Body, schema, in); err != nil {
		return none, failedOperation(operation, err)
	}
	if err := c.do(ctx, call, operation, rules, &output{c, schema, out}); err != nil {
		return none, err
	}
	return out, nil
}

// appendInput appends an input in the SDK's JSON.
func (c *LeanClient) appendInput(ctx context.Context, body []byte, schema *smithy.OperationSchema, in smithy.Serializable) ([]byte, error) {
	request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	if err := c.options.Protocol.SerializeRequest(ctx, schema, in, request); err != nil {
		return body, err
	}
	encoded, err := io.ReadAll(request.GetStream())
	return append(body, encoded...), err
}

type callOption = func(*dynamodb.Options)

// GetItem implements API.
func (c *LeanClient) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...callOption) (*dynamodb.GetItemOutput, error) {
	return invoke(ctx, c, opGetItem, in, new(dynamodb.GetItemOutput), opts)
}

// PutItem implements API.
func (c *LeanClient) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...callOption) (*dynamodb.PutItemOutput, error) {
	return invoke(ctx, c, opPutItem, in, new(dynamodb.PutItemOutput), opts)
}

// UpdateItem implements API.
func (c *LeanClient) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...callOption) (*dynamodb.UpdateItemOutput, error) {
	return invoke(ctx, c, opUpdateItem, in, new(dynamodb.UpdateItemOutput), opts)
}

// DeleteItem implements API.
func (c *LeanClient) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, opts ...callOption) (*dynamodb.DeleteItemOutput, error) {
	return invoke(ctx, c, opDeleteItem, in, new(dynamodb.DeleteItemOutput), opts)
}

// Query implements API.
func (c *LeanClient) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...callOption) (*dynamodb.QueryOutput, error) {
	return invoke(ctx, c, opQuery, in, new(dynamodb.QueryOutput), opts)
}

// BatchGetItem implements API.
func (c *LeanClient) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, opts ...callOption) (*dynamodb.BatchGetItemOutput, error) {
	return invoke(ctx, c, opBatchGetItem, in, new(dynamodb.BatchGetItemOutput), opts)
}

// BatchWriteItem implements API.
func (c *LeanClient) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, opts ...callOption) (*dynamodb.BatchWriteItemOutput, error) {
	return invoke(ctx, c, opBatchWriteItem, in, new(dynamodb.BatchWriteItemOutput), opts)
}

// TransactWriteItems implements API. A transaction without a token gets one, with which the service
// knows a repeated request.
func (c *LeanClient) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, opts ...callOption) (*dynamodb.TransactWriteItemsOutput, error) {
	if in.ClientRequestToken == nil {
		token, err := c.options.IdempotencyTokenProvider.GetIdempotencyToken()
		if err != nil {
			return nil, failedOperation("TransactWriteItems", err)
		}
		known := *in
		known.ClientRequestToken = &token
		in = &known
	}
	return invoke(ctx, c, opTransactWriteItems, in, new(dynamodb.TransactWriteItemsOutput), opts)
}

// CreateTable implements API.
func (c *LeanClient) CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, opts ...callOption) (*dynamodb.CreateTableOutput, error) {
	return invoke(ctx, c, opCreateTable, in, new(dynamodb.CreateTableOutput), opts)
}

// DescribeTable implements API.
func (c *LeanClient) DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, opts ...callOption) (*dynamodb.DescribeTableOutput, error) {
	return invoke(ctx, c, opDescribeTable, in, new(dynamodb.DescribeTableOutput), opts)
}

// UpdateTimeToLive implements API.
func (c *LeanClient) UpdateTimeToLive(ctx context.Context, in *dynamodb.UpdateTimeToLiveInput, opts ...callOption) (*dynamodb.UpdateTimeToLiveOutput, error) {
	return invoke(ctx, c, opUpdateTimeToLive, in, new(dynamodb.UpdateTimeToLiveOutput), opts)
}
