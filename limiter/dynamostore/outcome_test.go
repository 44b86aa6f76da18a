package dynamostore_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func cancelled(codes ...string) *types.TransactionCanceledException {
	e := &types.TransactionCanceledException{}
	for _, code := range codes {
		e.CancellationReasons = append(e.CancellationReasons, types.CancellationReason{Code: aws.String(code)})
	}
	return e
}

var twoCreates = []limiter.Write{
	{Kind: limiter.WriteCreate, Key: example, Limits: []limiter.LimitWrite{rpm(1, 1)}},
	{Kind: limiter.WriteRefill, Key: limiter.BucketKey{EntityID: "org", Resource: "r4"}, Limits: []limiter.LimitWrite{rpm(1, 1)}},
	{Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "org", Resource: "r5"}, Limits: []limiter.LimitWrite{rpm(1, 1)}},
}

func TestReasonsOfACancelledTransactionReachTheirWrites(t *testing.T) {
	reasons := cancelled("None", "ConditionalCheckFailed", "ConditionalCheckFailed", "TransactionConflict", "None")
	reasons.CancellationReasons[2].Item = exampleItem()
	out := write(t, &recorder{transactErr: fmt.Errorf("operation error: %w", reasons)}, twoCreates...)
	if out.Outcome != limiter.Refused || len(out.Results) != 3 {
		t.Fatalf("got %+v", out)
	}
	if r := out.Results[0]; r.Failed || !r.OwnerFailed {
		t.Errorf("create whose owner changed: %+v", r)
	}
	if r := out.Results[1]; !r.Failed || r.OwnerFailed || !r.Image.Exists || r.Image.Limit("rpm").Tokens != -56 {
		t.Errorf("refill that lost its lock: %+v", r)
	}
	if r := out.Results[2]; r.Failed || r.OwnerFailed {
		t.Errorf("create that was only held up: %+v", r)
	}
}

func TestOutcomesOfWrites(t *testing.T) {
	refill := limiter.Write{Kind: limiter.WriteRefill, Key: example, Limits: []limiter.LimitWrite{rpm(1, 1)}}
	gone := write(t, &recorder{updateErr: &types.ConditionalCheckFailedException{}}, refill)
	if gone.Outcome != limiter.Refused || !gone.Results[0].Failed || gone.Results[0].Image.Exists {
		t.Errorf("missing item: %+v", gone)
	}
	if out := write(t, &recorder{updateErr: &types.TransactionConflictException{}}, refill); out.Outcome != limiter.Conflict {
		t.Errorf("conflict of one write: %+v", out)
	}
	if out := write(t, &recorder{transactErr: cancelled("None", "None", "TransactionConflict", "None", "None")}, twoCreates...); out.Outcome != limiter.Conflict {
		t.Errorf("conflict of a transaction: %+v", out)
	}
}

func TestErrorsOfTheServiceKeepTheirMeaning(t *testing.T) {
	var out limiter.WriteOutput
	throttled := cancelled("None", "ThrottlingError", "None", "None", "None")
	err := newStore(&recorder{transactErr: throttled}).Write(testContext(t), twoCreates, &out)
	if !dynamostore.IsThrottle(err) {
		t.Errorf("throttled transaction: %v", err)
	}
	consume := func(cause error) error {
		var out limiter.ConsumeOutput
		return newStore(&recorder{updateErr: cause}).Consume(testContext(t), &limiter.ConsumeInput{Key: example}, &out)
	}
	if err := consume(&types.ProvisionedThroughputExceededException{}); !dynamostore.IsThrottle(err) {
		t.Errorf("throttled write: %v", err)
	}
	denied := &smithy.OperationError{Err: &smithy.GenericAPIError{Code: "AccessDeniedException"}}
	if err := consume(denied); !errors.Is(err, limiter.ErrAccessDenied) {
		t.Errorf("no permission: %v", err)
	}
	if err := consume(errLost); !errors.Is(err, errLost) || errors.Is(err, limiter.ErrAccessDenied) || dynamostore.IsThrottle(err) {
		t.Errorf("lost reply: %v", err)
	}
}

func TestRefusedConsumeReturnsTheImage(t *testing.T) {
	api := &recorder{updateErr: fmt.Errorf("wrapped: %w", &types.ConditionalCheckFailedException{Item: exampleItem()})}
	var out limiter.ConsumeOutput
	if err := newStore(api).Consume(testContext(t), &limiter.ConsumeInput{Key: example}, &out); err != nil {
		t.Fatal(err)
	}
	if out.Outcome != limiter.Refused || out.Image.Limit("wcu").Capacity != 1000000 || out.Image.TTL != 1800000420 {
		t.Errorf("got %+v", out)
	}
	api.updateErr = &types.ConditionalCheckFailedException{}
	if err := newStore(api).Consume(testContext(t), &limiter.ConsumeInput{Key: example}, &out); err != nil || out.Outcome != limiter.Refused || out.Image.Exists {
		t.Errorf("no item: %+v, %v", out, err)
	}
	api.updateErr = &types.TransactionConflictException{}
	if err := newStore(api).Consume(testContext(t), &limiter.ConsumeInput{Key: example}, &out); err != nil || out.Outcome != limiter.Conflict || out.Image.Exists {
		t.Errorf("conflict: %+v, %v", out, err)
	}
	out = limiter.ConsumeOutput{}
	api.updateErr = &types.ConditionalCheckFailedException{Item: item{"rf": n("1.5")}}
	if err := newStore(api).Consume(testContext(t), &limiter.ConsumeInput{Key: example}, &out); err == nil {
		t.Error("a fraction passed as a time")
	}
}

func TestAdjustmentOfAMissingItemIsSkipped(t *testing.T) {
	api := &recorder{updateErr: &types.ConditionalCheckFailedException{}}
	in := &limiter.AdjustInput{Key: example, Changes: []limiter.Change{{Limit: "rpm", Delta: -1}}}
	if out, err := newStore(api).Adjust(testContext(t), in); err != nil || out.Outcome != limiter.Refused || out.Image.Exists {
		t.Errorf("missing: %+v, %v", out, err)
	}
	api.updateErr = &types.ConditionalCheckFailedException{Item: exampleItem()}
	if out, err := newStore(api).Adjust(testContext(t), in); err != nil || out.Outcome != limiter.Refused || !out.Image.Exists {
		t.Errorf("over the ceiling: %+v, %v", out, err)
	}
}

func readInput() *limiter.ReadInput {
	return &limiter.ReadInput{
		Resource: "r4", ResourceConfig: true, SystemConfig: true,
		Entities: []limiter.EntityRead{
			{EntityID: "u", Meta: true, Bucket: true, Config: true},
			{EntityID: "org", Meta: true, Bucket: true, Shard: 2},
		},
	}
}

func TestReadFillsEveryPlaceFromOneRequest(t *testing.T) {
	api := &recorder{items: []item{
		{"PK": s("ns/SYSTEM#"), "SK": s("#CONFIG"), "on_unavailable": s("allow")},
		{"PK": s("ns/ENTITY#org"), "SK": s("#META"), "entity_id": s("org"), "pgen": n("4")},
		{"PK": s("ns/BUCKET#org#r4#2"), "SK": s("#STATE"), "rf": n("8")},
		{"PK": s("ns/ENTITY#u"), "SK": s("#CONFIG#_default_"), "cascade": b(true)},
		exampleItem(),
		{"PK": s("ns/ENTITY#u"), "SK": s("#META"), "entity_id": s("u"), "name": s(""), "parent_id": s("org"), "created_at": s("2026-01-31T23:59:59Z")},
	}}
	// Left-overs of an earlier use must not shine through.
	out := limiter.ReadOutput{Resource: limiter.Config{Exists: true}, Entities: make([]limiter.EntityState, 1, 4)}
	out.Entities[0].Own.Exists = true
	if err := newStore(api).Read(testContext(t), readInput(), &out); err != nil {
		t.Fatal(err)
	}
	u, org := out.Entities[0], out.Entities[1]
	if !u.Meta.Found || u.Meta.Name != "u" || u.Meta.ParentID != "org" || u.Meta.Incarnation() != "2026-01-31T23:59:59Z" || u.Meta.Generation != 0 {
		t.Errorf("META of u: %+v", u.Meta)
	}
	if u.Bucket.RF != 1800000000000 || u.Own.Exists || u.Default.Cascade != limiter.On {
		t.Errorf("state of u: %+v", u)
	}
	if org.Meta.Generation != 4 || org.Meta.Incarnation() != "-" || org.Bucket.RF != 8 || org.Bucket.Shard != 2 {
		t.Errorf("state of org: %+v", org)
	}
	if out.Resource.Exists || out.System.OnUnavailable != limiter.Allow {
		t.Errorf("levels: %+v, %+v", out.Resource, out.System)
	}
	if keys := api.batchGets[0].RequestItems["t"]; len(api.batchGets) != 1 || len(keys.Keys) != 8 || keys.ConsistentRead != nil {
		t.Errorf("asked %d times for %d keys", len(api.batchGets), len(keys.Keys))
	}
}

func TestReadAsksForNoKeyTwice(t *testing.T) {
	api := &recorder{items: []item{{"PK": s("ns/ENTITY#u"), "SK": s("#CONFIG#_default_"), "cascade": b(true)}}}
	in := &limiter.ReadInput{Resource: limiter.DefaultResource, Consistent: true, Entities: []limiter.EntityRead{{EntityID: "u", Config: true}}}
	var out limiter.ReadOutput
	if err := newStore(api).Read(testContext(t), in, &out); err != nil {
		t.Fatal(err)
	}
	keys := api.batchGets[0].RequestItems["t"]
	if len(keys.Keys) != 1 || !aws.ToBool(keys.ConsistentRead) || !out.Entities[0].Own.Exists || !out.Entities[0].Default.Exists {
		t.Errorf("asked for %d keys, got %+v", len(keys.Keys), out.Entities[0])
	}
}

func TestUnprocessedKeysAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &recorder{unprocessed: 3}
		var out limiter.ReadOutput
		start := time.Now()
		if err := newStore(api).Read(testContext(t), readInput(), &out); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 350*time.Millisecond || len(api.batchGets) != 4 {
			t.Errorf("%d requests in %v, want 4 in 350ms", len(api.batchGets), took)
		}
		api.unprocessed = 4
		err := newStore(api).Read(testContext(t), readInput(), &out)
		if left, ok := errors.AsType[*dynamostore.UnprocessedError](err); !ok || left.Left != 8 {
			t.Errorf("got %v, want an error about 8 keys", err)
		}
	})
}

func TestEntityWhoseReplyWasLostIsNotTakenForAnother(t *testing.T) {
	api := &entityRace{stored: "aa"}
	m := limiter.Meta{Owner: limiter.Owner{PInc: "aa"}, EntityID: "u"}
	if err := newStore(api).PutEntity(testContext(t), m); err != nil {
		t.Errorf("own entity: %v", err)
	}
	m.PInc = "bb"
	if err := newStore(api).PutEntity(testContext(t), m); !errors.Is(err, limiter.ErrEntityExists) {
		t.Errorf("another's entity: %v", err)
	}
}
