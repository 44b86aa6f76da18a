package dynamostore

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	batchGetSize    = 100
	batchDeleteSize = 25

	// deleteWorkers is how many batches of deletes are under way at a time.
	deleteWorkers = 4
	// deleteRetries is how often what a batch left unprocessed is sent again.
	deleteRetries = 5
)

// batchGetDelays are the pauses before unprocessed keys are asked for again.
var batchGetDelays = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

// UnprocessedError says that the service left part of a batch undone, however often it was asked.
type UnprocessedError struct {
	Operation string
	Left      int // keys that were not processed
}

func (e *UnprocessedError) Error() string {
	return fmt.Sprintf("%s: %d keys left unprocessed", e.Operation, e.Left)
}

// batchGet reads items by their keys. The order of the answer is the
// service's; absent items are left out. Keys must be distinct.
func (t *Table) batchGet(ctx context.Context, keys []map[string]types.AttributeValue, consistent bool) ([]item, error) {
	var items []item
	for chunk := range slices.Chunk(keys, batchGetSize) {
		got, err := t.batchGetChunk(ctx, chunk, consistent)
		if err != nil {
			return nil, err
		}
		if items == nil {
			items = got
		} else {
			items = append(items, got...)
		}
	}
	return items, nil
}

func (t *Table) batchGetChunk(ctx context.Context, keys []map[string]types.AttributeValue, consistent bool) ([]item, error) {
	request := map[string]types.KeysAndAttributes{t.name: {Keys: keys, ConsistentRead: consistency(consistent)}}
	var items []item
	for attempt := 0; ; attempt++ {
		out, err := t.api.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: request})
		if err != nil {
			return nil, err
		}
		if got := out.Responses[t.name]; items == nil {
			items = got
		} else {
			items = append(items, got...)
		}
		left := out.UnprocessedKeys[t.name]
		if len(left.Keys) == 0 {
			return items, nil
		}
		if attempt == len(batchGetDelays) {
			return nil, &UnprocessedError{Operation: "BatchGetItem", Left: len(left.Keys)}
		}
		if err := pause(ctx, batchGetDelays[attempt]); err != nil {
			return nil, err
		}
		request = map[string]types.KeysAndAttributes{t.name: left}
	}
}

// query yields the pages of a query on the table, to the last one. The input's start key is used up.
func (t *Table) query(ctx context.Context, in *dynamodb.QueryInput) iter.Seq2[[]item, error] {
	return func(yield func([]item, error) bool) {
		in.TableName = t.tableN
		for {
			out, err := t.api.Query(ctx, in)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(out.Items, nil) || len(out.LastEvaluatedKey) == 0 {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
}

// queryAll collects the items of all pages of a query.
func (t *Table) queryAll(ctx context.Context, in *dynamodb.QueryInput) ([]item, error) {
	var items []item
	for page, err := range t.query(ctx, in) {
		if err != nil {
			return nil, err
		}
		items = append(items, page...)
	}
	return items, nil
}

// deleteAll deletes items, given with at least their table keys, in batches of 25.
func (t *Table) deleteAll(ctx context.Context, items []item) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, deleteWorkers)
	)
	for chunk := range slices.Chunk(items, batchDeleteSize) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := t.deleteChunk(ctx, chunk); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	wg.Wait()
	return first
}

func (t *Table) deleteChunk(ctx context.Context, items []item) error {
	requests := make([]types.WriteRequest, len(items))
	for i, it := range items {
		requests[i].DeleteRequest = &types.DeleteRequest{Key: item{attrPK: it[attrPK], attrSK: it[attrSK]}}
	}
	for attempt := 0; ; attempt++ {
		out, err := t.api.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]types.WriteRequest{t.name: requests},
		})
		if err != nil {
			return err
		}
		if requests = out.UnprocessedItems[t.name]; len(requests) == 0 {
			return nil
		}
		if attempt == deleteRetries {
			return &UnprocessedError{Operation: "BatchWriteItem", Left: len(requests)}
		}
		if err := pause(ctx, 50*time.Millisecond<<attempt); err != nil {
			return err
		}
	}
}
