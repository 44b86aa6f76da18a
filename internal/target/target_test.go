package target

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func open(t *testing.T, c Config) *Target {
	t.Helper()
	target, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func closeTarget(t *testing.T, target *Target) {
	t.Helper()
	if err := target.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// withEachClient runs a test over both clients, which must not differ.
func withEachClient(t *testing.T, run func(t *testing.T, client string)) {
	for _, client := range []string{ClientLean, ClientSDK} {
		t.Run(client, func(t *testing.T) { run(t, client) })
	}
}

// engineAt serves an engine that outlives targets.
func engineAt(t *testing.T) (endpoint string, engine *dynamolocal.Engine) {
	t.Helper()
	e, err := startEmbedded(t.Context(), dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.stop)
	return e.endpoint, e.engine
}

func items(engine *dynamolocal.Engine) int64 {
	s := engine.Stats()
	return s.Tables[0].Items
}

func acquireOnce(t *testing.T, target *Target, entity string) {
	t.Helper()
	lease, err := target.Limiter().Acquire(t.Context(), limiter.Request{
		EntityID: entity, Resource: "api", Consume: limiter.Amounts{"rpm": 1}, Limits: []limiter.Limit{limiter.PerMinute("rpm", 100)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAnEmbeddedTargetMetersWhatItIsAsked(t *testing.T) {
	withEachClient(t, checkAnEmbeddedTargetMetersWhatItIsAsked)
}

func checkAnEmbeddedTargetMetersWhatItIsAsked(t *testing.T, client string) {
	target := open(t, Config{Client: client, Table: "zae-limiter", RunID: "r1"})
	defer closeTarget(t, target)
	for range 5 {
		acquireOnce(t, target, "user-1")
	}
	r := target.Readings()
	updates := int64(0)
	for _, o := range r.Operations {
		if o.Operation == "UpdateItem" {
			updates = o.Requests
		}
		if o.Requests > 0 && (o.P50MS == nil || *o.P50MS <= 0) {
			t.Errorf("%s has no latency", o.Operation)
		}
	}
	if updates != 5 || *r.SDKRetries != 0 || *r.WriteUnits < 5 {
		t.Errorf("%d updates, %d retries, %v write units", updates, *r.SDKRetries, *r.WriteUnits)
	}
	if info := target.Info(); info.Namespace != "load-r1" || !strings.HasPrefix(info.Endpoint, "http://127.0.0.1:") {
		t.Errorf("info %+v", info)
	}
}

func TestTheNamespaceOfARunIsPurgedUnlessItIsKept(t *testing.T) {
	endpoint, engine := engineAt(t)
	config := Config{Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: "r1", KeepData: true}
	kept := open(t, config)
	acquireOnce(t, kept, "user-1")
	closeTarget(t, kept)
	before := items(engine)

	config.RunID, config.KeepData = "r2", false
	purged := open(t, config)
	acquireOnce(t, purged, "user-1")
	if items(engine) <= before {
		t.Fatal("the run left nothing to purge")
	}
	closeTarget(t, purged)
	if after := items(engine); after != before {
		t.Errorf("%d items after the purge, %d before the run", after, before)
	}

	if err := Purge(t.Context(), config, "r1"); err != nil {
		t.Fatal(err)
	}
	if after := items(engine); after >= before {
		t.Errorf("%d items after the purge of the kept run, %d before", after, before)
	}
	if err := Purge(t.Context(), config, "r1"); err == nil || !strings.Contains(err.Error(), "purged already") {
		t.Errorf("a second purge: %v", err)
	}
}

func TestAnExistingNamespaceIsLeftAsItWas(t *testing.T) {
	endpoint, _ := engineAt(t)
	config := Config{Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: "owner", KeepData: true}
	owner := open(t, config)
	defer closeTarget(t, owner)
	ctx := t.Context()
	if err := owner.Limiter().Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 7)}, ""); err != nil {
		t.Fatal(err)
	}

	if _, err := owner.Limiter().Admin().Disable(ctx, "", "closed"); err != nil {
		t.Fatal(err)
	}

	config.RunID, config.Namespace, config.KeepData = "guest", "load-owner", false
	guest := open(t, config)
	l := guest.Limiter()
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 1000)}, ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetResourceDefaults(ctx, "api", []limiter.Limit{limiter.PerMinute("rpm", 5)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetResourceDefaults(ctx, "closed", []limiter.Limit{limiter.PerMinute("rpm", 5)}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Admin().CreateEntity(ctx, limiter.Entity{ID: "org-1"}); err != nil {
		t.Fatal(err)
	}
	closeTarget(t, guest)
	closed, err := owner.Limiter().Admin().Config(ctx, limiter.ConfigKey{Resource: "closed"})
	if err != nil || closed.Disabled != limiter.On || len(closed.Limits) != 0 {
		t.Errorf("a level with a flag alone: %+v, %v", closed, err)
	}

	defaults, _, err := owner.Limiter().Admin().SystemDefaults(ctx)
	if err != nil || len(defaults) != 1 || defaults[0].Capacity != 7 {
		t.Errorf("system defaults %v, %v; want the 7 of before", defaults, err)
	}
	if limits, err := owner.Limiter().Admin().ResourceDefaults(ctx, "api"); err != nil || len(limits) != 0 {
		t.Errorf("resource defaults %v, %v; there were none", limits, err)
	}
	if e, err := owner.Limiter().Admin().Entity(ctx, "org-1"); err != nil || e != nil {
		t.Errorf("entity %v, %v; the guest's entity is still there", e, err)
	}
}

func TestANamespaceThatIsNotThereIsMadeForTheRun(t *testing.T) {
	endpoint, engine := engineAt(t)
	config := Config{Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: "r1", Namespace: "team-a"}
	target := open(t, config)
	before := items(engine)
	if info := target.Info(); info.Namespace != "team-a" || !info.NamespaceMade {
		t.Errorf("info %+v, want the namespace team-a, made", info)
	}
	acquireOnce(t, target, "user-1")
	closeTarget(t, target)
	if after := items(engine); after >= before {
		t.Errorf("%d items after the run, %d before: the namespace is still there", after, before)
	}
}

func TestCleaningUpWaitsForAThrottledTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{{Code: aws.String("ThrottlingError")}}}
		attempts := 0
		err := patiently(t.Context(), func() error {
			if attempts++; attempts < 4 {
				return refusal
			}
			return nil
		})
		if err != nil || attempts != 4 {
			t.Errorf("%v after %d attempts, want success with the fourth", err, attempts)
		}
		started := time.Now()
		if err := patiently(t.Context(), func() error { return refusal }); !errors.Is(err, refusal) || time.Since(started) > time.Minute {
			t.Errorf("%v after %v, want the refusal within a minute", err, time.Since(started))
		}
		attempts = 0
		other := errors.New("no")
		if err := patiently(t.Context(), func() error { attempts++; return other }); !errors.Is(err, other) || attempts != 1 {
			t.Errorf("%v after %d attempts, want any other error at once", err, attempts)
		}
	})
}

func TestAttemptsThatAreRefusedForTheirRateAreThrottled(t *testing.T) {
	const prefix = `{"__type":"com.amazonaws.dynamodb.v20120810#`
	for _, test := range []struct {
		body string
		want outcome
	}{
		{prefix + `ProvisionedThroughputExceededException"}`, throttled},
		{prefix + `ConditionalCheckFailedException"}`, refused},
		{prefix + `ValidationException"}`, failed},
		{prefix + `TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed"}]}`, refused},
		{prefix + `TransactionCanceledException","CancellationReasons":[{"Code":"None"},{"Code":"ThrottlingError"}]}`, throttled},
	} {
		response := &http.Response{StatusCode: http.StatusBadRequest, Body: &replyBody{data: []byte(test.body)}}
		if got := outcomeOf(response, nil); got != test.want {
			t.Errorf("%s: %v, want %v", test.body, got, test.want)
		}
	}
}

func TestATargetThatIsNoneIsAnErrorWithinSeconds(t *testing.T) {
	withEachClient(t, checkATargetThatIsNoneIsAnErrorWithinSeconds)
}

func checkATargetThatIsNoneIsAnErrorWithinSeconds(t *testing.T, client string) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	endpoint, _ := engineAt(t)
	for _, test := range []struct{ name, endpoint, table, want string }{
		{"refused", "http://127.0.0.1:1", "zae-limiter", "127.0.0.1:1"},
		{"no table", endpoint, "nowhere", "nowhere"},
		{"no URL", "127.0.0.1:8000", "zae-limiter", "endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			defer cancel()
			_, err := Open(ctx, Config{Client: client, Endpoint: test.endpoint, Table: test.table, RunID: "r"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want it to name %q", err, test.want)
			}
		})
	}
}

func TestAPoolThatIsTooSmallShowsAsWaiting(t *testing.T) {
	withEachClient(t, checkAPoolThatIsTooSmallShowsAsWaiting)
}

func checkAPoolThatIsTooSmallShowsAsWaiting(t *testing.T, client string) {
	target := open(t, Config{Client: client, Table: "zae-limiter", RunID: "r1", PoolConnections: 1, Engine: dynamolocal.Config{Latency: "constant=20ms"}})
	defer closeTarget(t, target)
	done := make(chan error, 4)
	for range 4 {
		go func() { done <- target.table.Check(t.Context()) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if r := target.Readings(); r.PoolWaitP99MS == nil || *r.PoolWaitP99MS < 10 {
		t.Errorf("pool wait %v ms, want at least one call's time", r.PoolWaitP99MS)
	}
}

// The units of a sample are scaled by operation and by the calls that were answered, so that few
// calls and refusals, which tell nothing, do not distort them.
func TestUnitsOfASampleAreThoseOfTheEngine(t *testing.T) {
	withEachClient(t, checkUnitsOfASampleAreThoseOfTheEngine)
}

func checkUnitsOfASampleAreThoseOfTheEngine(t *testing.T, client string) {
	endpoint, engine := engineAt(t)
	target := open(t, Config{Client: client, Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: "r1"})
	defer closeTarget(t, target)
	before := engine.Stats().Tables[0]
	const admitted, refused = 100, 200
	for i := range admitted + refused {
		lease, err := target.Limiter().Acquire(t.Context(), limiter.Request{
			EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"day": 1},
			Limits: []limiter.Limit{limiter.PerDay("day", admitted)},
		})
		if i >= admitted {
			if err == nil {
				t.Fatal("an acquire above the limit was admitted")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, after := target.Readings(), engine.Stats().Tables[0]
	if r.WriteUnits == nil || r.ReadUnits == nil {
		t.Fatalf("units are not known: %+v", r)
	}
	for _, units := range []struct {
		name      string
		got, want float64
	}{
		// The engine charges a refused write, as the service does; replies do not tell.
		{"write", *r.WriteUnits, after.WriteUnits - before.WriteUnits - refused},
		{"index write", *r.IndexWriteUnits, after.IndexWriteUnits - before.IndexWriteUnits},
	} {
		if units.got < 0.9*units.want || units.got > 1.1*units.want {
			t.Errorf("%v %s units, the engine charged %v", units.got, units.name, units.want)
		}
	}
	if *r.SampledRatio <= 0 || *r.SampledRatio > 0.5 {
		t.Errorf("sampled ratio %v, want that of a sample", *r.SampledRatio)
	}
}

// Rules that hit everything are for the run, not for the way to the table.
func TestFaultsBeginWithTheRun(t *testing.T) { withEachClient(t, checkFaultsBeginWithTheRun) }

func checkFaultsBeginWithTheRun(t *testing.T, client string) {
	rules := []byte(`{"rules": [{"action": "error", "code": "ThrottlingException"}]}`)
	target := open(t, Config{Client: client, Table: "zae-limiter", RunID: "r1", Engine: dynamolocal.Config{Faults: rules}})
	defer closeTarget(t, target)
	if err := target.table.Check(t.Context()); err == nil {
		t.Error("the rule does not apply once the target is open")
	}
}

func TestATableTooSmallToBeginWithIsNamedAsSuch(t *testing.T) {
	withEachClient(t, checkATableTooSmallToBeginWithIsNamedAsSuch)
}

func checkATableTooSmallToBeginWithIsNamedAsSuch(t *testing.T, client string) {
	_, err := Open(t.Context(), Config{Client: client, Table: "zae-limiter", RunID: "r1", Engine: dynamolocal.Config{Throughput: "provisioned=1,1"}})
	if !dynamostore.IsThrottle(err) {
		t.Errorf("err = %v, want the throttling", err)
	}
}

func TestReadingsBeginAnew(t *testing.T) {
	target := open(t, Config{Table: "zae-limiter", RunID: "r1"})
	defer closeTarget(t, target)
	if r := target.Readings(); len(r.Operations) != 0 || *r.WriteUnits != 0 {
		t.Errorf("%+v before the first call: the way to the table is in it", r)
	}
	acquireOnce(t, target, "user-1")
	if r := target.Readings(); len(r.Operations) == 0 || *r.WriteUnits == 0 {
		t.Errorf("%+v after an acquire", r)
	}
	target.StartReadings()
	if r := target.Readings(); len(r.Operations) != 0 || *r.WriteUnits != 0 || r.PoolWaitP99MS != nil {
		t.Errorf("%+v after a new start", r)
	}
}

func TestRunsThatLeftTheirNamespaceAreFound(t *testing.T) {
	endpoint, _ := engineAt(t)
	old := NewRunID(time.Now().Add(-48 * time.Hour))
	for _, id := range []string{old, NewRunID(time.Now()), "named"} {
		kept := open(t, Config{Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: id, KeepData: true})
		closeTarget(t, kept)
	}
	config := Config{Endpoint: endpoint, Table: "zae-limiter"}
	if ids, err := Leftover(t.Context(), config, time.Now().Add(-24*time.Hour)); err != nil || len(ids) != 1 || ids[0] != old {
		t.Errorf("left over are %v, error %v, want %s", ids, err, old)
	}
}

func TestARunSeesThatItsNamespaceWasRemoved(t *testing.T) {
	endpoint, _ := engineAt(t)
	config := Config{Endpoint: endpoint, Table: "zae-limiter", CreateTable: true, RunID: "r1"}
	run := open(t, config)
	defer closeTarget(t, run)
	if standing, err := run.Standing(t.Context()); err != nil || !standing {
		t.Errorf("standing %v, error %v", standing, err)
	}
	if err := Purge(t.Context(), config, "r1"); err != nil {
		t.Fatal(err)
	}
	if standing, err := run.Standing(t.Context()); err != nil || standing {
		t.Errorf("after the purge: standing %v, error %v", standing, err)
	}
}

// Retries of requests that were throttled are counted alike.
func TestRetriesAreCounted(t *testing.T) { withEachClient(t, checkRetries) }

func checkRetries(t *testing.T, client string) {
	rules := []byte(`{"rules": [{"operations": ["UpdateItem"], "every": 2, "action": "error", "code": "ThrottlingException"}]}`)
	target := open(t, Config{Client: client, Table: "zae-limiter", RunID: "r1", Engine: dynamolocal.Config{Faults: rules}})
	defer closeTarget(t, target)
	for range 3 { // the first creates the bucket, after its speculative write was refused
		acquireOnce(t, target, "user-1")
	}
	r := target.Readings()
	if *r.SDKRetries != 2 || *r.Throttled != 2 {
		t.Errorf("%d retries of %d throttled requests, want 2 of 2", *r.SDKRetries, *r.Throttled)
	}
}
