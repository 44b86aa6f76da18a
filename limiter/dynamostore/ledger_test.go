package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// span is what the clients know of a bucket's consumption, in tokens: at least and at most. What they were told
// is the same for both; an error leaves room between them.
type span struct{ least, most int64 }

func (s span) plus(least, most int64) span {
	return span{s.least + min(least, most), s.most + max(least, most)}
}

// ledger keeps what the clients were told. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	buckets map[string]span // by entity/resource
	errors  int             // that left room, or were told
}

func (l *ledger) add(entity, resource string, least, most int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[entity+"/"+resource] = l.buckets[entity+"/"+resource].plus(least, most)
}

func (l *ledger) failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors++
}

// Enabled, WithAttrs, WithGroup and Handle make the ledger hear what is only logged: refunds that failed, and
// adjustments under Allow.
func (l *ledger) Enabled(context.Context, slog.Level) bool { return true }
func (l *ledger) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *ledger) WithGroup(string) slog.Handler            { return l }
func (l *ledger) Handle(_ context.Context, r slog.Record) error {
	var entity, resource string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "entity":
			entity = a.Value.String()
		case "resource":
			resource = a.Value.String()
		}
		return true
	})
	switch r.Message {
	case "compensation failed":
		l.add(entity, resource, 0, mostTaken)
		l.failed()
	case "adjustment lost: store unavailable":
		l.add(entity, resource, -adjusted, 0)
		if entity == "kid" {
			l.add("org", resource, -adjusted, 0)
		}
		l.failed()
	}
	return nil
}

// adjusted is what a lease adds that is adjusted.
const adjusted = 2

// mostTaken is the most that one acquire of the test takes of a bucket.
const mostTaken = 3

// client is one caller, with entities of its own for the buckets that it makes.
type client struct {
	*ledger
	l    *limiter.Limiter
	rng  *rand.Rand
	mode limiter.OnUnavailable
	made int
	name string
}

// buckets are those that an acquire charges.
func buckets(req limiter.Request) map[[2]string]int64 {
	out := map[[2]string]int64{{req.EntityID, req.Resource}: req.Consume["n"]}
	for resource, a := range req.Also {
		out[[2]string{req.EntityID, resource}] = a["n"]
	}
	if req.EntityID == "kid" {
		for b, n := range out {
			out[[2]string{"org", b[1]}] = n
		}
	}
	return out
}

// work makes one acquire, with a random end, and enters what it is told. It returns what must not happen.
func (c *client) work(ctx context.Context) error {
	n := 1 + c.rng.Int64N(mostTaken)
	req := limiter.Request{EntityID: "solo", Resource: "r", Consume: limiter.Amounts{"n": n}}
	switch c.rng.IntN(5) {
	case 0:
		req.EntityID = "kid"
	case 1:
		c.made++
		req.EntityID = c.name + strconv.Itoa(c.made)
	case 2:
		req.Also = map[string]limiter.Amounts{"s": {"n": 1}}
	case 3:
		req.EntityID, req.Consume["n"] = "small", 1 // whose limit is used up
	}
	charged := buckets(req)
	enter := func(least, most int64) {
		for b, n := range charged {
			c.add(b[0], b[1], least*n, most*n)
		}
	}
	lease, err := c.l.Acquire(ctx, req)
	switch limiter.Decision(lease, err) {
	case "admitted":
		enter(1, 1)
	case "degraded", "unavailable":
		enter(0, 1) // it may be charged, once
		c.failed()
		if (err == nil) != (c.mode == limiter.Allow) {
			return fmt.Errorf("%s: %v", c.mode, err)
		}
		return nil
	case "exceeded", "contended":
		return nil
	default:
		return err
	}
	switch c.rng.IntN(4) {
	case 0: // what fails in the body is given back
		if err := lease.Rollback(ctx); err != nil {
			c.failed()
			enter(-1, 0)
		} else {
			enter(-1, -1)
		}
		return nil
	case 1:
		if err := lease.Adjust(limiter.Amounts{"n": adjusted}); err != nil {
			return err
		}
		least := int64(adjusted)
		if err := lease.Close(ctx); err != nil {
			least = 0
			c.failed()
		}
		for _, entity := range []string{req.EntityID, "org"} {
			if _, ok := charged[[2]string{entity, "r"}]; ok {
				c.add(entity, "r", least, adjusted)
			}
		}
		return nil
	}
	return lease.Close(ctx)
}

// Whatever goes wrong on the way, no consumption is on the items that the clients were not told of, nothing they
// were told of is missing, and nothing is taken without being counted. Where the service says that it wrote
// nothing, there is no doubt at all.
func TestTheLedgerHolds(t *testing.T) {
	rule := func(rest string) string { return `{"operations": ["UpdateItem", "TransactWriteItems"], ` + rest + `}` }
	for name, tt := range map[string]struct {
		rules   string
		certain bool // nothing fails, or what fails is known not to be written
		quiet   bool // no call is meant to fail
		sdk     bool // over the SDK's client, too
	}{
		"lost before the write":       {rules: rule(`"every": 100, "action": "drop"`)},
		"lost after the write":        {rules: rule(`"every": 100, "action": "drop", "when": "after"`)},
		"lost on both ways":           {rules: rule(`"every": 100, "action": "drop"`) + "," + rule(`"every": 100, "action": "drop", "when": "after"`), sdk: true},
		"an error after the write":    {rules: rule(`"every": 100, "action": "error", "code": "InternalServerError", "when": "after"`)},
		"damaged replies":             {rules: rule(`"every": 100, "action": "wrong_crc"`) + "," + rule(`"every": 100, "action": "truncate"`)},
		"throughput of the table":     {rules: rule(`"every": 17, "action": "error", "code": "ProvisionedThroughputExceededException"`), certain: true, quiet: true},
		"throughput of a key":         {rules: rule(`"every": 17, "action": "error", "code": "ThrottlingException"`), certain: true, quiet: true, sdk: true},
		"throughput of the account":   {rules: rule(`"every": 17, "action": "error", "code": "RequestLimitExceeded"`), certain: true, quiet: true},
		"throttled for good":          {rules: rule(`"probability": 0.6, "action": "error", "code": "ThrottlingException"`)},
		"conflicts":                   {rules: rule(`"every": 17, "action": "transaction_conflict"`), certain: true, quiet: true, sdk: true},
		"lost reads and unread keys":  {rules: `{"operations": ["BatchGetItem"], "every": 23, "action": "drop"}, {"operations": ["BatchGetItem"], "every": 11, "action": "unprocessed"}`, certain: true, quiet: true},
		"conflicts and lost replies":  {rules: rule(`"every": 17, "action": "transaction_conflict"`) + "," + rule(`"every": 100, "action": "drop", "when": "after"`)},
		"throttling and lost replies": {rules: rule(`"every": 17, "action": "error", "code": "ThrottlingException"`) + "," + rule(`"every": 100, "action": "drop"`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []limiter.OnUnavailable{limiter.Block, limiter.Allow} {
				if mode == limiter.Block || !tt.quiet {
					t.Run(string(mode), func(t *testing.T) { testLedger(t, clients[1].connect, tt.rules, mode, tt.certain, tt.quiet) })
				}
			}
			if tt.sdk {
				t.Run("sdk", func(t *testing.T) { testLedger(t, clients[0].connect, tt.rules, limiter.Block, tt.certain, tt.quiet) })
			}
		})
	}
}

func testLedger(t *testing.T, connect connector, rules string, mode limiter.OnUnavailable, certain, quiet bool) {
	engine := newEngine(t, dynamolocal.Config{Seed: 1, Faults: []byte(`{"rules": [` + rules + `]}`)})
	engine.SuspendFaults()
	api := connect(t, serve(t, engine))
	table := dynamostore.OpenTable(api, "ledger", dynamostore.TableOptions{WithoutStream: true})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fixture{api: &counted{API: api}, table: table, store: table.Store("ns"), ns: "ns", now: 1800000000000}
	book := &ledger{buckets: map[string]span{}}
	l := f.limiter(t, limiter.Options{OnUnavailable: mode, Logger: slog.New(book), RejectionCacheTTL: -1})
	admin := l.Admin()
	const capacity = 1_000_000
	for _, r := range []string{"r", "s"} {
		if err := admin.SetResourceDefaults(t.Context(), r, []limiter.Limit{limiter.PerDay("n", capacity)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.SetLimits(t.Context(), "small", "r", []limiter.Limit{limiter.PerDay("n", 20)}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []limiter.Entity{{ID: "org"}, {ID: "kid", ParentID: "org", Cascade: true}} {
		if _, err := admin.CreateEntity(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	engine.ResumeFaults()
	var wg sync.WaitGroup
	for i := range 4 {
		c := &client{ledger: book, l: l, rng: rand.New(rand.NewPCG(1, uint64(i))), mode: mode, name: fmt.Sprint("made", i, "-")}
		wg.Go(func() {
			for range 40 {
				if err := c.work(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	engine.SuspendFaults()
	if quiet && book.errors > 0 || !quiet && book.errors == 0 {
		t.Errorf("%d calls failed, want some: %v", book.errors, !quiet)
	}
	for key, want := range book.buckets {
		entity, resource, _ := strings.Cut(key, "/")
		tc, tk := int64(0), int64(0)
		if b := f.bucket(t, entity, resource, 0); len(b) > 0 {
			var errs [2]error
			tc, errs[0] = strconv.ParseInt(b["b_n_tc"], 10, 64)
			tk, errs[1] = strconv.ParseInt(b["b_n_tk"], 10, 64)
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			whole := int64(capacity)
			if entity == "small" {
				whole = 20
			}
			if tk+tc != whole*1000 {
				t.Errorf("%s: %d millitokens left and %d consumed of %d", key, tk, tc, whole)
			}
		}
		if tc < want.least*1000 || tc > want.most*1000 || certain && want.least != want.most {
			t.Errorf("%s: %d millitokens consumed, the clients know of %d to %d tokens", key, tc, want.least, want.most)
		}
	}
}
