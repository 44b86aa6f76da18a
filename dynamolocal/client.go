package dynamolocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// Client calls an engine in process, with the methods of the SDK's client. Errors are the SDK's
// types; options are ignored, and nothing is retried. Outputs share nothing with the store that a
// caller could change. It is safe for concurrent use.
type Client struct {
	engine *Engine
}

// Client returns a client of the engine.
func (e *Engine) Client() *Client { return &Client{e} }

type option = func(*dynamodb.Options)

// do performs a data request and turns its error into the SDK's.
func (c *Client) do(ctx context.Context, op string, r *wire.Request) (*result, error) {
	res, err := c.engine.call(ctx, op, r, nil, 0)
	if err != nil {
		return nil, c.operationError(op, err)
	}
	return res, nil
}

// operationError wraps an error as the SDK's client does.
func (c *Client) operationError(op string, err error) error {
	return &smithy.OperationError{ServiceID: dynamodb.ServiceID, OperationName: op, Err: sdkError(err)}
}

// sdkError returns the SDK's error of a service error.
func sdkError(err error) error {
	var fault *transportFault
	if errors.As(err, &fault) {
		return fmt.Errorf("%w: %w", fault, io.ErrUnexpectedEOF)
	}
	if isContextError(err) {
		return &aws.RequestCanceledError{Err: err}
	}
	api := asAPIError(err)
	message := aws.String(api.message)
	switch api.code {
	case codeCondition:
		return &types.ConditionalCheckFailedException{Message: message, Item: itemToSDK(api.item)}
	case codeCanceled:
		canceled := &types.TransactionCanceledException{Message: message}
		for _, reason := range api.reasons {
			out := types.CancellationReason{Code: aws.String(reason.code), Item: itemToSDK(reason.item)}
			if reason.message != "" {
				out.Message = aws.String(reason.message)
			}
			canceled.CancellationReasons = append(canceled.CancellationReasons, out)
		}
		return canceled
	case codeConflict:
		return &types.TransactionConflictException{Message: message}
	case codeInProgress:
		return &types.TransactionInProgressException{Message: message}
	case codeMismatch:
		return &types.IdempotentParameterMismatchException{Message: message}
	case codeNotFound:
		return &types.ResourceNotFoundException{Message: message}
	case codeInUse:
		return &types.ResourceInUseException{Message: message}
	case codeInternal:
		return &types.InternalServerError{Message: message}
	case codeThrottling:
		return &types.ThrottlingException{Message: message, ThrottlingReasons: reasonsToSDK(api)}
	case "ProvisionedThroughputExceededException":
		return &types.ProvisionedThroughputExceededException{Message: message, ThrottlingReasons: reasonsToSDK(api)}
	case "RequestLimitExceeded":
		return &types.RequestLimitExceeded{Message: message, ThrottlingReasons: reasonsToSDK(api)}
	}
	return &smithy.GenericAPIError{Code: api.code, Message: api.message}
}

func reasonsToSDK(api *apiError) []types.ThrottlingReason {
	if api.refusal == nil {
		return nil
	}
	return []types.ThrottlingReason{{Reason: aws.String(api.refusal.Reason), Resource: aws.String(api.refusal.Resource)}}
}

// GetItem implements the operation.
func (c *Client) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...option) (*dynamodb.GetItemOutput, error) {
	r := &wire.Request{Table: text(in.TableName), Projection: text(in.ProjectionExpression), ReturnCapacity: enumText(in.ReturnConsumedCapacity), Consistent: aws.ToBool(in.ConsistentRead)}
	r.Key, r.KeyErr = attrsFromSDK(in.Key)
	setNames(r, in.ExpressionAttributeNames)
	res, err := c.do(ctx, "GetItem", r)
	if err != nil {
		return nil, err
	}
	return &dynamodb.GetItemOutput{Item: itemToSDK(res.item), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}, nil
}

// PutItem implements the operation.
func (c *Client) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...option) (*dynamodb.PutItemOutput, error) {
	r := &wire.Request{
		Table: text(in.TableName), Condition: text(in.ConditionExpression), ReturnValues: enumText(in.ReturnValues),
		ReturnCapacity: enumText(in.ReturnConsumedCapacity), ReturnMetrics: enumText(in.ReturnItemCollectionMetrics),
		ReturnOnFailure: enumText(in.ReturnValuesOnConditionCheckFailure),
	}
	r.Item, r.ItemErr = attrsFromSDK(in.Item)
	setNames(r, in.ExpressionAttributeNames)
	setValues(r, in.ExpressionAttributeValues)
	res, err := c.do(ctx, "PutItem", r)
	if err != nil {
		return nil, err
	}
	return &dynamodb.PutItemOutput{Attributes: itemToSDK(res.item), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}, nil
}

// UpdateItem implements the operation.
func (c *Client) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...option) (*dynamodb.UpdateItemOutput, error) {
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	x.reset()
	r := &x.request
	*r = wire.Request{
		Names: r.Names, Values: r.Values, Table: text(in.TableName), Condition: text(in.ConditionExpression), Update: text(in.UpdateExpression),
		ReturnValues: enumText(in.ReturnValues), ReturnCapacity: enumText(in.ReturnConsumedCapacity),
		ReturnMetrics: enumText(in.ReturnItemCollectionMetrics), ReturnOnFailure: enumText(in.ReturnValuesOnConditionCheckFailure),
	}
	r.Key, r.KeyErr = attrsFromSDK(in.Key)
	setNames(r, in.ExpressionAttributeNames)
	setValues(r, in.ExpressionAttributeValues)
	res, err := c.do(ctx, "UpdateItem", r)
	if err != nil {
		return nil, err
	}
	return &dynamodb.UpdateItemOutput{Attributes: itemToSDK(res.item), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}, nil
}

// DeleteItem implements the operation.
func (c *Client) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, _ ...option) (*dynamodb.DeleteItemOutput, error) {
	r := &wire.Request{
		Table: text(in.TableName), Condition: text(in.ConditionExpression), ReturnValues: enumText(in.ReturnValues),
		ReturnCapacity: enumText(in.ReturnConsumedCapacity), ReturnMetrics: enumText(in.ReturnItemCollectionMetrics),
		ReturnOnFailure: enumText(in.ReturnValuesOnConditionCheckFailure),
	}
	r.Key, r.KeyErr = attrsFromSDK(in.Key)
	setNames(r, in.ExpressionAttributeNames)
	setValues(r, in.ExpressionAttributeValues)
	res, err := c.do(ctx, "DeleteItem", r)
	if err != nil {
		return nil, err
	}
	return &dynamodb.DeleteItemOutput{Attributes: itemToSDK(res.item), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}, nil
}

func setInt(in *int32, value *int64, has *bool) {
	if in != nil {
		*value, *has = int64(*in), true
	}
}

// Query implements the operation.
func (c *Client) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...option) (*dynamodb.QueryOutput, error) {
	r := &wire.Request{
		Table: text(in.TableName), Index: text(in.IndexName), KeyCondition: text(in.KeyConditionExpression),
		Filter: text(in.FilterExpression), Projection: text(in.ProjectionExpression), Select: enumText(in.Select),
		ReturnCapacity: enumText(in.ReturnConsumedCapacity), Consistent: aws.ToBool(in.ConsistentRead),
		Backward: in.ScanIndexForward != nil && !*in.ScanIndexForward,
	}
	r.Start, r.StartErr = attrsFromSDK(in.ExclusiveStartKey)
	setInt(in.Limit, &r.Limit, &r.HasLimit)
	setNames(r, in.ExpressionAttributeNames)
	setValues(r, in.ExpressionAttributeValues)
	res, err := c.do(ctx, "Query", r)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.QueryOutput{Count: int32(res.count), ScannedCount: int32(res.scanned), LastEvaluatedKey: itemToSDK(res.last), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}
	if !res.noItems {
		out.Items = itemsToSDK(res.items)
	}
	return out, nil
}

// Scan implements the operation.
func (c *Client) Scan(ctx context.Context, in *dynamodb.ScanInput, _ ...option) (*dynamodb.ScanOutput, error) {
	r := &wire.Request{
		Table: text(in.TableName), Index: text(in.IndexName), Filter: text(in.FilterExpression),
		Projection: text(in.ProjectionExpression), Select: enumText(in.Select),
		ReturnCapacity: enumText(in.ReturnConsumedCapacity), Consistent: aws.ToBool(in.ConsistentRead),
	}
	r.Start, r.StartErr = attrsFromSDK(in.ExclusiveStartKey)
	setInt(in.Limit, &r.Limit, &r.HasLimit)
	setInt(in.Segment, &r.Segment, &r.HasSegment)
	setInt(in.TotalSegments, &r.Segments, &r.HasSegments)
	setNames(r, in.ExpressionAttributeNames)
	setValues(r, in.ExpressionAttributeValues)
	res, err := c.do(ctx, "Scan", r)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.ScanOutput{Count: int32(res.count), ScannedCount: int32(res.scanned), LastEvaluatedKey: itemToSDK(res.last), ConsumedCapacity: capacityToSDK(r, &res.consumed[0])}
	if !res.noItems {
		out.Items = itemsToSDK(res.items)
	}
	return out, nil
}

// BatchGetItem implements the operation.
func (c *Client) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...option) (*dynamodb.BatchGetItemOutput, error) {
	r := &wire.Request{ReturnCapacity: enumText(in.ReturnConsumedCapacity), HasTables: in.RequestItems != nil}
	for name, keys := range in.RequestItems {
		part := wire.TablePart{Table: name}
		part.Read.Projection = text(keys.ProjectionExpression)
		part.Read.Consistent, part.Read.HasConsistent = aws.ToBool(keys.ConsistentRead), keys.ConsistentRead != nil
		setNames(&part.Read, keys.ExpressionAttributeNames)
		for _, key := range keys.Keys {
			var k wire.KeyPart
			k.Key, k.Err = attrsFromSDK(key)
			part.Keys = append(part.Keys, k)
		}
		r.Tables = append(r.Tables, part)
	}
	res, err := c.do(ctx, "BatchGetItem", r)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.BatchGetItemOutput{
		Responses:        map[string][]map[string]types.AttributeValue{},
		UnprocessedKeys:  map[string]types.KeysAndAttributes{},
		ConsumedCapacity: capacitiesToSDK(r, res.consumed),
	}
	for _, t := range res.tables {
		out.Responses[t.table] = itemsToSDK(t.items)
	}
	for _, part := range res.unprocessed {
		left := in.RequestItems[part.Table]
		left.Keys = nil
		for _, key := range part.Keys {
			left.Keys = append(left.Keys, attrsToSDK(key.Key))
		}
		out.UnprocessedKeys[part.Table] = left
	}
	return out, nil
}

// BatchWriteItem implements the operation.
func (c *Client) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...option) (*dynamodb.BatchWriteItemOutput, error) {
	r := &wire.Request{ReturnCapacity: enumText(in.ReturnConsumedCapacity), ReturnMetrics: enumText(in.ReturnItemCollectionMetrics), HasTables: in.RequestItems != nil}
	for name, writes := range in.RequestItems {
		part := wire.TablePart{Table: name}
		for _, w := range writes {
			var a wire.Action
			switch {
			case w.PutRequest != nil && w.DeleteRequest != nil:
				a.Kind = wire.Several
			case w.PutRequest != nil:
				a.Kind = wire.Put
				a.Item, a.ItemErr = attrsFromSDK(w.PutRequest.Item)
			case w.DeleteRequest != nil:
				a.Kind = wire.Delete
				a.Key, a.KeyErr = attrsFromSDK(w.DeleteRequest.Key)
			}
			part.Writes = append(part.Writes, a)
		}
		r.Tables = append(r.Tables, part)
	}
	res, err := c.do(ctx, "BatchWriteItem", r)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.BatchWriteItemOutput{UnprocessedItems: map[string][]types.WriteRequest{}, ConsumedCapacity: capacitiesToSDK(r, res.consumed)}
	for _, part := range res.unprocessed {
		for _, a := range part.Writes {
			var w types.WriteRequest
			if a.Kind == wire.Put {
				w.PutRequest = &types.PutRequest{Item: attrsToSDK(a.Item)}
			} else {
				w.DeleteRequest = &types.DeleteRequest{Key: attrsToSDK(a.Key)}
			}
			out.UnprocessedItems[part.Table] = append(out.UnprocessedItems[part.Table], w)
		}
	}
	return out, nil
}

// TransactWriteItems implements the operation.
func (c *Client) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...option) (*dynamodb.TransactWriteItemsOutput, error) {
	r := &wire.Request{ReturnCapacity: enumText(in.ReturnConsumedCapacity), ReturnMetrics: enumText(in.ReturnItemCollectionMetrics), Token: text(in.ClientRequestToken), HasActions: in.TransactItems != nil}
	for i := range in.TransactItems {
		r.Actions = append(r.Actions, actionFromSDK(&in.TransactItems[i]))
	}
	res, err := c.do(ctx, "TransactWriteItems", r)
	if err != nil {
		return nil, err
	}
	return &dynamodb.TransactWriteItemsOutput{ConsumedCapacity: capacitiesToSDK(r, res.consumed)}, nil
}

func actionFromSDK(in *types.TransactWriteItem) (a wire.Action) {
	kinds := 0
	if p := in.Put; p != nil {
		kinds++
		a.Kind, a.Table, a.Condition, a.ReturnOnFailure = wire.Put, text(p.TableName), text(p.ConditionExpression), enumText(p.ReturnValuesOnConditionCheckFailure)
		a.Item, a.ItemErr = attrsFromSDK(p.Item)
		setNames(&a.Request, p.ExpressionAttributeNames)
		setValues(&a.Request, p.ExpressionAttributeValues)
	}
	if u := in.Update; u != nil {
		kinds++
		a.Kind, a.Table, a.Condition, a.ReturnOnFailure = wire.Update, text(u.TableName), text(u.ConditionExpression), enumText(u.ReturnValuesOnConditionCheckFailure)
		a.Update = text(u.UpdateExpression)
		a.Key, a.KeyErr = attrsFromSDK(u.Key)
		setNames(&a.Request, u.ExpressionAttributeNames)
		setValues(&a.Request, u.ExpressionAttributeValues)
	}
	if d := in.Delete; d != nil {
		kinds++
		a.Kind, a.Table, a.Condition, a.ReturnOnFailure = wire.Delete, text(d.TableName), text(d.ConditionExpression), enumText(d.ReturnValuesOnConditionCheckFailure)
		a.Key, a.KeyErr = attrsFromSDK(d.Key)
		setNames(&a.Request, d.ExpressionAttributeNames)
		setValues(&a.Request, d.ExpressionAttributeValues)
	}
	if k := in.ConditionCheck; k != nil {
		kinds++
		a.Kind, a.Table, a.Condition, a.ReturnOnFailure = wire.Check, text(k.TableName), text(k.ConditionExpression), enumText(k.ReturnValuesOnConditionCheckFailure)
		a.Key, a.KeyErr = attrsFromSDK(k.Key)
		setNames(&a.Request, k.ExpressionAttributeNames)
		setValues(&a.Request, k.ExpressionAttributeValues)
	}
	if kinds > 1 {
		a.Kind = wire.Several
	}
	return a
}

// TransactGetItems implements the operation.
func (c *Client) TransactGetItems(ctx context.Context, in *dynamodb.TransactGetItemsInput, _ ...option) (*dynamodb.TransactGetItemsOutput, error) {
	r := &wire.Request{ReturnCapacity: enumText(in.ReturnConsumedCapacity), HasActions: in.TransactItems != nil}
	for _, item := range in.TransactItems {
		var a wire.Action
		if g := item.Get; g != nil {
			a.Kind, a.Table, a.Projection = wire.Get, text(g.TableName), text(g.ProjectionExpression)
			a.Key, a.KeyErr = attrsFromSDK(g.Key)
			setNames(&a.Request, g.ExpressionAttributeNames)
		}
		r.Actions = append(r.Actions, a)
	}
	res, err := c.do(ctx, "TransactGetItems", r)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.TransactGetItemsOutput{ConsumedCapacity: capacitiesToSDK(r, res.consumed)}
	for _, item := range res.responses {
		out.Responses = append(out.Responses, types.ItemResponse{Item: itemToSDK(item)})
	}
	return out, nil
}

// manage performs a request about tables: the members of the SDK's types have the names of the JSON.
func manage[In, Out any](ctx context.Context, c *Client, op string, in *In) (*Out, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, c.operationError(op, err)
	}
	answer, err := c.engine.control(ctx, op, controlOperations[op], body, &control{instant: func(t time.Time) any { return t }})
	if err != nil {
		return nil, c.operationError(op, err)
	}
	out := new(Out)
	if answer == nil {
		return out, nil
	}
	body, err = json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(body, out)
	}
	if err != nil {
		return nil, c.operationError(op, err)
	}
	return out, nil
}

// CreateTable implements the operation.
func (c *Client) CreateTable(ctx context.Context, in *dynamodb.CreateTableInput, _ ...option) (*dynamodb.CreateTableOutput, error) {
	return manage[dynamodb.CreateTableInput, dynamodb.CreateTableOutput](ctx, c, "CreateTable", in)
}

// DescribeTable implements the operation.
func (c *Client) DescribeTable(ctx context.Context, in *dynamodb.DescribeTableInput, _ ...option) (*dynamodb.DescribeTableOutput, error) {
	return manage[dynamodb.DescribeTableInput, dynamodb.DescribeTableOutput](ctx, c, "DescribeTable", in)
}

// DeleteTable implements the operation.
func (c *Client) DeleteTable(ctx context.Context, in *dynamodb.DeleteTableInput, _ ...option) (*dynamodb.DeleteTableOutput, error) {
	return manage[dynamodb.DeleteTableInput, dynamodb.DeleteTableOutput](ctx, c, "DeleteTable", in)
}

// UpdateTable implements the operation.
func (c *Client) UpdateTable(ctx context.Context, in *dynamodb.UpdateTableInput, _ ...option) (*dynamodb.UpdateTableOutput, error) {
	return manage[dynamodb.UpdateTableInput, dynamodb.UpdateTableOutput](ctx, c, "UpdateTable", in)
}

// ListTables implements the operation.
func (c *Client) ListTables(ctx context.Context, in *dynamodb.ListTablesInput, _ ...option) (*dynamodb.ListTablesOutput, error) {
	return manage[dynamodb.ListTablesInput, dynamodb.ListTablesOutput](ctx, c, "ListTables", in)
}

// UpdateTimeToLive implements the operation.
func (c *Client) UpdateTimeToLive(ctx context.Context, in *dynamodb.UpdateTimeToLiveInput, _ ...option) (*dynamodb.UpdateTimeToLiveOutput, error) {
	return manage[dynamodb.UpdateTimeToLiveInput, dynamodb.UpdateTimeToLiveOutput](ctx, c, "UpdateTimeToLive", in)
}

// DescribeTimeToLive implements the operation.
func (c *Client) DescribeTimeToLive(ctx context.Context, in *dynamodb.DescribeTimeToLiveInput, _ ...option) (*dynamodb.DescribeTimeToLiveOutput, error) {
	return manage[dynamodb.DescribeTimeToLiveInput, dynamodb.DescribeTimeToLiveOutput](ctx, c, "DescribeTimeToLive", in)
}

// TagResource implements the operation.
func (c *Client) TagResource(ctx context.Context, in *dynamodb.TagResourceInput, _ ...option) (*dynamodb.TagResourceOutput, error) {
	return manage[dynamodb.TagResourceInput, dynamodb.TagResourceOutput](ctx, c, "TagResource", in)
}

// UntagResource implements the operation.
func (c *Client) UntagResource(ctx context.Context, in *dynamodb.UntagResourceInput, _ ...option) (*dynamodb.UntagResourceOutput, error) {
	return manage[dynamodb.UntagResourceInput, dynamodb.UntagResourceOutput](ctx, c, "UntagResource", in)
}

// ListTagsOfResource implements the operation.
func (c *Client) ListTagsOfResource(ctx context.Context, in *dynamodb.ListTagsOfResourceInput, _ ...option) (*dynamodb.ListTagsOfResourceOutput, error) {
	return manage[dynamodb.ListTagsOfResourceInput, dynamodb.ListTagsOfResourceOutput](ctx, c, "ListTagsOfResource", in)
}

// DescribeLimits implements the operation.
func (c *Client) DescribeLimits(ctx context.Context, in *dynamodb.DescribeLimitsInput, _ ...option) (*dynamodb.DescribeLimitsOutput, error) {
	return manage[dynamodb.DescribeLimitsInput, dynamodb.DescribeLimitsOutput](ctx, c, "DescribeLimits", in)
}

// DescribeEndpoints implements the operation.
func (c *Client) DescribeEndpoints(ctx context.Context, in *dynamodb.DescribeEndpointsInput, _ ...option) (*dynamodb.DescribeEndpointsOutput, error) {
	return manage[dynamodb.DescribeEndpointsInput, dynamodb.DescribeEndpointsOutput](ctx, c, "DescribeEndpoints", in)
}
