// Package aggregator consumes the stream of a limiter table (limiter.md 5.9): it sums up usage, refills
// buckets that are spent fast, doubles the shards of those that are written too often, and carries a new
// shard count to all of them.
//
// A batch of records goes in and conditional writes come out; where records come from is the matter of
// Follow, which reads a stream, and of Handler, which serves the function of AWS Lambda.
package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Table is what the aggregator calls of DynamoDB. Implementations must be safe for concurrent use.
type Table interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// Event is what happened to an item.
type Event string

// The events of a stream.
const (
	Insert Event = "INSERT"
	Modify Event = "MODIFY"
	Remove Event = "REMOVE"
)

// Record is one change of an item. The aggregator does not change the images.
type Record struct {
	Event          Event
	At             time.Time
	SequenceNumber string
	Old, New       Item
}

// Config configures an Aggregator.
type Config struct {
	Table     Table
	TableName string
	// Windows are those of the snapshots; none = no usage.
	Windows []Window
	// RetentionDays is after how long a snapshot expires; 0 = 90.
	RetentionDays int
	// Clock returns the time for refills; nil = time.Now.
	Clock func() time.Time
	// Logger gets what could not be done; nil logs nothing.
	Logger *slog.Logger
}

// Aggregator processes batches. It is safe for concurrent use; batches of one shard must come one after the
// other.
type Aggregator struct {
	config  Config
	log     *slog.Logger
	decoder schedule.Decoder
}

// New returns an aggregator.
func New(config Config) *Aggregator {
	if config.RetentionDays == 0 {
		config.RetentionDays = 90
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Aggregator{config: config, log: config.Logger}
}

// Result says what became of a batch.
type Result struct {
	Records    int
	Unreadable int // records whose images make no sense
	Snapshots  int // snapshots written
	Refills    int // buckets refilled
	Doublings  int // shard counts doubled
	Shards     int // shards created or told of a new count
	// Unwritten is usage that could not be written: give it to Write again, or the batch to Process.
	Unwritten []*Usage
}

// Add sums up results.
func (r *Result) Add(o *Result) {
	r.Records += o.Records
	r.Unreadable += o.Unreadable
	r.Snapshots += o.Snapshots
	r.Refills += o.Refills
	r.Doublings += o.Doublings
	r.Shards += o.Shards
}

// FirstUnwritten is the place in the batch of the first record whose usage was not written; ok is false
// when all was.
func (r *Result) FirstUnwritten() (at int, ok bool) {
	for _, u := range r.Unwritten {
		if !ok || u.first < at {
			at, ok = u.first, true
		}
	}
	return at, ok
}

// Process does what a batch of records asks for. The records of one bucket must be in order. Only usage has
// to be written in the end, and is handed back when it could not be: refills and shards are the clients'
// matter as well, and what a lost write leaves undone a later record or a client does.
func (a *Aggregator) Process(ctx context.Context, records []Record) Result {
	usage, unreadable := a.usage(records)
	result := Result{Records: len(records), Unreadable: unreadable}
	a.Write(ctx, usage, &result)
	now := a.config.Clock().UnixMilli()
	for _, state := range a.states(records) {
		a.attempt(ctx, &result.Refills, "refill", func() (bool, error) { return a.refill(ctx, state, now) })
		a.attempt(ctx, &result.Doublings, "doubling of shards", func() (bool, error) { return a.double(ctx, state, now) })
	}
	for i := range records {
		created, err := a.propagate(ctx, &records[i], now)
		result.Shards += created
		if err != nil && ctx.Err() == nil {
			a.log.Warn("a shard count was not carried on", "error", err)
		}
	}
	return result
}

// Write writes usage, and leaves in the result what could not be written.
func (a *Aggregator) Write(ctx context.Context, usage []*Usage, result *Result) {
	for _, u := range usage {
		if err := a.writeUsage(ctx, u, a.config.Clock()); err != nil {
			result.Unwritten = append(result.Unwritten, u)
			a.log.Warn("usage was not written", "resource", u.key.resource, "window", u.key.window, "error", err)
			continue
		}
		result.Snapshots++
	}
}

// attempt counts a write that took place; one whose condition did not hold was not needed.
func (a *Aggregator) attempt(ctx context.Context, count *int, what string, write func() (bool, error)) {
	done, err := write()
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn(what+" failed", "error", err)
	case done:
		*count++
	}
}

// bucketState is the last image of a bucket in a batch, and of each limit what the batch consumed and the
// most that one write of it did.
type bucketState struct {
	*image
	consumed, largest map[string]int64
}

// states returns the buckets that a batch changes, in the order of their first records.
func (a *Aggregator) states(records []Record) (list []*bucketState) {
	byKey := map[bucketKey]*bucketState{}
	for at := range records {
		r := &records[at]
		if r.Event != Modify || textOf(r.New, "SK") != stateKey || textOf(r.New, "entity_id") == "" {
			continue
		}
		key, ok := parseKey(textOf(r.New, "PK"))
		if !ok {
			continue
		}
		last, err := a.readImage(key, r.New, "tc")
		if err != nil {
			a.log.Warn("bucket left alone", "resource", key.resource, "error", err)
			continue
		}
		state := byKey[key]
		if state == nil {
			state = &bucketState{consumed: map[string]int64{}, largest: map[string]int64{}}
			byKey[key] = state
			list = append(list, state)
		}
		state.image = last
		for i := range last.limits {
			name := last.limits[i].name
			before, err := integerOf(r.Old, attribute(name, "tc"))
			if err == nil && before.set {
				charge := last.limits[i].Consumed - before.value
				state.consumed[name] += charge
				state.largest[name] = max(state.largest[name], charge)
			}
		}
	}
	return list
}

// refused reports whether a write did not take place because its condition did not hold.
func refused(err error) bool {
	_, failed := errors.AsType[*types.ConditionalCheckFailedException](err)
	_, canceled := errors.AsType[*types.TransactionCanceledException](err)
	return failed || canceled
}

// conditional performs an update whose condition may fail.
func (a *Aggregator) conditional(ctx context.Context, in *dynamodb.UpdateItemInput) (done bool, err error) {
	in.TableName = &a.config.TableName
	_, err = a.config.Table.UpdateItem(ctx, in)
	if err != nil && !refused(err) {
		return false, fmt.Errorf("update of a bucket: %w", err)
	}
	return err == nil, nil
}

func floorTokens(milli int64) int64 { return bucket.FloorTokens(milli) }
