package target

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// meteredAPI asks for the consumed capacity of some calls.
type meteredAPI struct {
	dynamostore.API
	meter *Meter
}

type option = func(*dynamodb.Options)

// Options returns the options of the client behind, which the store's retry rules start from.
func (a meteredAPI) Options() dynamodb.Options {
	if client, ok := a.API.(interface{ Options() dynamodb.Options }); ok {
		return client.Options()
	}
	return dynamodb.Options{}
}

// meteredLean is a meteredAPI of the lean client, whose speculative writes have a way of their own.
type meteredLean struct {
	meteredAPI
	consumer dynamostore.Consumer
}

// Consume implements dynamostore.Consumer.
func (a meteredLean) Consume(ctx context.Context, what *dynamostore.Consumption) error {
	if a.meter.sampleEvery == 0 {
		return a.consumer.Consume(ctx, what)
	}
	c := a.meter.current.Load()
	units := found(c, c.units, "UpdateItem")
	what.AskCapacity = units.asks(a.meter.sampleEvery)
	err := a.consumer.Consume(ctx, what)
	applied := err == nil && what.Applied()
	if what.AskCapacity {
		units.silent.Store(!applied)
	}
	if applied {
		units.answered.Add(1)
		if what.AskCapacity {
			units.consumed(writing, what.Capacity)
		}
	}
	return err
}

// metered makes one call of an operation; when it is one of the sample, it asks for the consumed
// capacity on a copy of the input and reads it from the output.
func metered[In, Out any](
	ctx context.Context, meter *Meter, operation string, in *In, opts []option,
	invoke func(context.Context, *In, ...option) (*Out, error),
	ask func(*In), read func(*unitMeter, *Out),
) (*Out, error) {
	if meter.sampleEvery == 0 {
		return invoke(ctx, in, opts...)
	}
	c := meter.current.Load()
	units := found(c, c.units, operation)
	asked := units.asks(meter.sampleEvery)
	if asked {
		asking := *in
		ask(&asking)
		in = &asking
	}
	out, err := invoke(ctx, in, opts...)
	if asked {
		units.silent.Store(err != nil)
	}
	if err == nil {
		units.answered.Add(1)
		if asked {
			read(units, out)
		}
	}
	return out, err
}

// each returns pointers to the elements of a list.
func each(list []types.ConsumedCapacity) []*types.ConsumedCapacity {
	pointers := make([]*types.ConsumedCapacity, len(list))
	for i := range list {
		pointers[i] = &list[i]
	}
	return pointers
}

const indexes = types.ReturnConsumedCapacityIndexes

func (a meteredAPI) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...option) (*dynamodb.GetItemOutput, error) {
	return metered(ctx, a.meter, "GetItem", in, opts, a.API.GetItem,
		func(in *dynamodb.GetItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.GetItemOutput) { u.consumed(reading, out.ConsumedCapacity) })
}

func (a meteredAPI) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...option) (*dynamodb.QueryOutput, error) {
	return metered(ctx, a.meter, "Query", in, opts, a.API.Query,
		func(in *dynamodb.QueryInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.QueryOutput) { u.consumed(reading, out.ConsumedCapacity) })
}

func (a meteredAPI) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, opts ...option) (*dynamodb.BatchGetItemOutput, error) {
	return metered(ctx, a.meter, "BatchGetItem", in, opts, a.API.BatchGetItem,
		func(in *dynamodb.BatchGetItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.BatchGetItemOutput) {
			u.consumed(reading, each(out.ConsumedCapacity)...)
		})
}

func (a meteredAPI) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...option) (*dynamodb.PutItemOutput, error) {
	return metered(ctx, a.meter, "PutItem", in, opts, a.API.PutItem,
		func(in *dynamodb.PutItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.PutItemOutput) { u.consumed(writing, out.ConsumedCapacity) })
}

func (a meteredAPI) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...option) (*dynamodb.UpdateItemOutput, error) {
	return metered(ctx, a.meter, "UpdateItem", in, opts, a.API.UpdateItem,
		func(in *dynamodb.UpdateItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.UpdateItemOutput) { u.consumed(writing, out.ConsumedCapacity) })
}

func (a meteredAPI) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, opts ...option) (*dynamodb.DeleteItemOutput, error) {
	return metered(ctx, a.meter, "DeleteItem", in, opts, a.API.DeleteItem,
		func(in *dynamodb.DeleteItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.DeleteItemOutput) { u.consumed(writing, out.ConsumedCapacity) })
}

func (a meteredAPI) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, opts ...option) (*dynamodb.BatchWriteItemOutput, error) {
	return metered(ctx, a.meter, "BatchWriteItem", in, opts, a.API.BatchWriteItem,
		func(in *dynamodb.BatchWriteItemInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.BatchWriteItemOutput) {
			u.consumed(writing, each(out.ConsumedCapacity)...)
		})
}

func (a meteredAPI) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, opts ...option) (*dynamodb.TransactWriteItemsOutput, error) {
	return metered(ctx, a.meter, "TransactWriteItems", in, opts, a.API.TransactWriteItems,
		func(in *dynamodb.TransactWriteItemsInput) { in.ReturnConsumedCapacity = indexes },
		func(u *unitMeter, out *dynamodb.TransactWriteItemsOutput) {
			u.consumed(writing, each(out.ConsumedCapacity)...)
		})
}
