package dynamostore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

type item = map[string]types.AttributeValue

// recorder is an API that keeps what it was sent and answers from fields.
type recorder struct {
	dynamostore.API // nil: a call that no test expects panics

	updates   []*dynamodb.UpdateItemInput
	transacts []*dynamodb.TransactWriteItemsInput
	puts      []*dynamodb.PutItemInput
	batchGets []*dynamodb.BatchGetItemInput

	updateReply *dynamodb.UpdateItemOutput
	updateErr   error
	transactErr error
	items       []item // what BatchGetItem finds
	unprocessed int    // how many BatchGetItem calls leave every key undone
	getItem     item
}

func (r *recorder) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	r.updates = append(r.updates, in)
	if r.updateErr != nil {
		return nil, r.updateErr
	}
	if r.updateReply == nil {
		return &dynamodb.UpdateItemOutput{}, nil
	}
	return r.updateReply, nil
}

func (r *recorder) TransactWriteItems(_ context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	r.transacts = append(r.transacts, in)
	return &dynamodb.TransactWriteItemsOutput{}, r.transactErr
}

func (r *recorder) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	r.puts = append(r.puts, in)
	return &dynamodb.PutItemOutput{}, nil
}

func (r *recorder) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return &dynamodb.GetItemOutput{Item: r.getItem}, nil
}

func (r *recorder) BatchGetItem(_ context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	r.batchGets = append(r.batchGets, in)
	if r.unprocessed > 0 {
		r.unprocessed--
		return &dynamodb.BatchGetItemOutput{UnprocessedKeys: in.RequestItems}, nil
	}
	return &dynamodb.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{"t": r.items}}, nil
}

func newStore(api dynamostore.API) *dynamostore.Store {
	clock := func() time.Time { return time.UnixMilli(1800000000000) }
	return dynamostore.OpenTable(api, "t", dynamostore.TableOptions{Clock: clock}).Store("ns")
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }
func b(v bool) types.AttributeValue   { return &types.AttributeValueMemberBOOL{Value: v} }

var errLost = errors.New("the reply was lost")

var example = limiter.BucketKey{EntityID: "u", Resource: "r4"}

func testContext(t *testing.T) context.Context { return t.Context() }

// entityRace refuses every put: the entity is there, with that incarnation.
type entityRace struct {
	dynamostore.API
	stored string
}

func (r *entityRace) PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return nil, &types.ConditionalCheckFailedException{Item: item{"pinc": s(r.stored)}}
}
