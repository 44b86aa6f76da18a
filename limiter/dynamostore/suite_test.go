package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// fixture is a namespace of its own on a table of the backend under test.
type fixture struct {
	api   *counted
	table *dynamostore.Table
	store *dynamostore.Store
	ns    string
	now   int64 // ms
}

// runSuite runs the tests that need a server that evaluates expressions, against any of them.
func runSuite(t *testing.T, api dynamostore.API) {
	counting := &counted{API: api}
	table := dynamostore.OpenTable(counting, "zae-"+strings.ToLower(fmt.Sprintf("%x", time.Now().UnixNano())), dynamostore.TableOptions{
		WithoutStream: true, Clock: func() time.Time { return time.UnixMilli(1800000000000) },
	})
	if err := table.Check(t.Context()); !errors.Is(err, dynamostore.ErrTableNotFound) {
		t.Fatalf("before there is a table: %v", err)
	}
	for range 2 { // the second time it is there already
		if err := table.Create(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"namespaces come and go", testNamespaces},
		{"namespaces are recovered", testRecovery},
		{"opening and connecting", testOpening},
		{"audit events and usage snapshots of other clients are read", testRecords},
		{"a flag is not lost to limits set at the same time", testFlagsOfConfigs},
		{"a purge takes all of a namespace and nothing of another", testPurge},
		{"the worked example gives the same items", testWorkedExample},
		{"a cascading pair is created together and charged side by side", testCascade},
		{"an entity deleted and made again is not charged by what was planned before", testOwnerPin},
		{"concurrent acquires never exceed the capacity", testConcurrentAcquires},
		{"round trips are those of the table", testRoundTrips},
		{"doubling has one winner", testDoubling},
		{"a partial item is repaired", testRebuild},
		{"configs and their registries", testConfigs},
		{"entities", testEntities},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns, err := table.RegisterNamespace(t.Context(), fmt.Sprintf("ns-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			tt.run(t, &fixture{api: counting, table: table, store: table.Store(ns), ns: ns, now: 1800000000000})
		})
	}
}

func (f *fixture) limiter(t *testing.T, opts limiter.Options) *limiter.Limiter {
	t.Helper()
	opts.Clock = func() time.Time { return time.UnixMilli(f.now) }
	l, err := limiter.New(f.store, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// bucket reads the raw item, without its keys.
func (f *fixture) bucket(t *testing.T, entity, resource string, shard int) map[string]string {
	t.Helper()
	return f.item(t, fmt.Sprintf("%s/BUCKET#%s#%s#%d", f.ns, entity, resource, shard), "#STATE")
}

func (f *fixture) item(t *testing.T, pk, sk string) map[string]string {
	t.Helper()
	out, err := f.api.API.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: aws.String(f.table.Name()), Key: item{"PK": s(pk), "SK": s(sk)}, ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := showItem(out.Item)
	for name := range shown {
		if strings.HasPrefix(name, "GSI") || name == "PK" || name == "SK" {
			delete(shown, name)
		}
	}
	return shown
}

func (f *fixture) put(t *testing.T, it item) {
	t.Helper()
	if _, err := f.api.API.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(f.table.Name()), Item: it}); err != nil {
		t.Fatal(err)
	}
}

func testNamespaces(t *testing.T, f *fixture) {
	ctx := t.Context()
	first, err := f.table.RegisterNamespace(ctx, "blue")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := f.table.RegisterNamespace(ctx, "blue"); err != nil || again != first {
		t.Errorf("registered again: %q, %v, want %q", again, err, first)
	}
	if id, ok, err := f.table.ResolveNamespace(ctx, "blue"); err != nil || !ok || id != first {
		t.Errorf("resolved: %q, %v, %v", id, ok, err)
	}
	if _, ok, err := f.table.ResolveNamespace(ctx, "green"); err != nil || ok {
		t.Errorf("a name that nobody registered: %v, %v", ok, err)
	}
	if state, ok := errors.AsType[*dynamostore.NamespaceStateError](f.table.PurgeNamespace(ctx, first)); !ok || state.State != "active" {
		t.Errorf("purge of an active namespace: %v", state)
	}
	diff(t, f.item(t, "_/SYSTEM#", "#NSID#"+first), map[string]string{
		"namespace_id": "'" + first + "'", "namespace_name": "'blue'", "status": "'active'", "created_at": "'2027-01-15T08:00:00Z'",
	})
	for range 2 { // the second time there is nothing to delete
		if err := f.table.DeleteNamespace(ctx, "blue"); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := f.table.ResolveNamespace(ctx, "blue"); err != nil || ok {
		t.Errorf("deleted, but resolved: %v, %v", ok, err)
	}
	diff(t, f.item(t, "_/SYSTEM#", "#NSID#"+first), map[string]string{
		"namespace_id": "'" + first + "'", "namespace_name": "'blue'", "status": "'deleted'",
		"created_at": "'2027-01-15T08:00:00Z'", "deleted_at": "'2027-01-15T08:00:00Z'",
	})
	if second, err := f.table.RegisterNamespace(ctx, "blue"); err != nil || second == first {
		t.Errorf("registered after a delete: %q, %v, want a new id", second, err)
	}
	diff(t, f.item(t, "_/SYSTEM#", "#VERSION"), map[string]string{
		"schema_version": "'0.10.0'", "client_min_version": "'0.0.0'", "lambda_version": "null",
		"updated_at": "'2027-01-15T08:00:00Z'", "updated_by": "null",
	})
}

func testPurge(t *testing.T, f *fixture) {
	ctx := t.Context()
	id, err := f.table.RegisterNamespace(ctx, "doomed")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // more than two batches
		f.put(t, item{"PK": s(fmt.Sprintf("%s/ENTITY#e%d", id, i)), "SK": s("#META"), "GSI4PK": s(id), "GSI4SK": s("x")})
	}
	f.put(t, item{"PK": s(f.ns + "/ENTITY#keep"), "SK": s("#META"), "GSI4PK": s(f.ns), "GSI4SK": s("x")})
	if err := f.table.DeleteNamespace(ctx, "doomed"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to purge
		if err := f.table.PurgeNamespace(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	out, err := f.api.API.Query(ctx, &dynamodb.QueryInput{
		TableName: aws.String(f.table.Name()), IndexName: aws.String("GSI4"),
		KeyConditionExpression: aws.String("GSI4PK = :n"), ExpressionAttributeValues: item{":n": s(id)},
	})
	if err != nil || len(out.Items) != 0 {
		t.Errorf("%d items left, %v", len(out.Items), err)
	}
	if len(f.item(t, "_/SYSTEM#", "#NSID#"+id)) != 0 {
		t.Error("the record is left")
	}
	keep, err := f.store.Entity(ctx, "keep", false)
	if err != nil || !keep.Found {
		t.Errorf("an entity of another namespace: %+v, %v", keep, err)
	}
}

// Two limits, a fixed clock, an entity without META.
func testWorkedExample(t *testing.T, f *fixture) {
	ctx := t.Context()
	slow, fast := f.limiter(t, limiter.Options{DisableSpeculation: true, ConfigCacheTTL: -1}), f.limiter(t, limiter.Options{})
	if err := slow.Admin().SetResourceDefaults(ctx, "r4", []limiter.Limit{limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 10000)}); err != nil {
		t.Fatal(err)
	}
	acquire := func(l *limiter.Limiter, amounts limiter.Amounts) (*limiter.Lease, error) {
		return l.Acquire(ctx, limiter.Request{EntityID: "u", Resource: "r4", Consume: amounts})
	}
	must := func(lease *limiter.Lease, err error) *limiter.Lease {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	want := map[string]string{
		"entity_id": "'u'", "resource": "'r4'", "rf": "1800000000000", "shard_count": "1", "cascade": "false", "ttl": "1800000420",
		"b_rpm_tk": "0", "b_rpm_cp": "100000", "b_rpm_ra": "100000", "b_rpm_rp": "60000", "b_rpm_tc": "100000",
		"b_tpm_tk": "9500000", "b_tpm_cp": "10000000", "b_tpm_ra": "10000000", "b_tpm_rp": "60000", "b_tpm_tc": "500000",
		"b_wcu_tk": "1000000", "b_wcu_cp": "1000000", "b_wcu_ra": "1000000", "b_wcu_rp": "1000", "b_wcu_tc": "0",
	}
	expect := func(step string, changes ...string) {
		t.Helper()
		for i := 0; i < len(changes); i += 2 {
			want[changes[i]] = changes[i+1]
		}
		got := f.bucket(t, "u", "r4", 0)
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s: %s is %s, want %s", step, name, got[name], want[name])
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("%s: unexpected %s = %s", step, name, got[name])
			}
		}
	}

	if err := must(acquire(slow, limiter.Amounts{"rpm": 100, "tpm": 500})).Close(ctx); err != nil {
		t.Fatal(err)
	}
	expect("create")
	f.now = 1800000001234
	lease := must(acquire(slow, limiter.Amounts{"rpm": 2, "tpm": 0}))
	expect("refill", "rf", "1800000001234", "ttl", "1800000421", "b_rpm_tk", "56", "b_rpm_tc", "102000", "b_tpm_tk", "9705666")
	if err := lease.Adjust(limiter.Amounts{"tpm": 20000}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(ctx); err != nil {
		t.Fatal(err)
	}
	expect("adjust", "b_tpm_tk", "-10294334", "b_tpm_tc", "20500000")

	f.now = 1800000002000
	for _, l := range []*limiter.Limiter{slow, fast} {
		_, err := acquire(l, limiter.Amounts{"rpm": 2})
		exceeded, ok := errors.AsType[*limiter.ExceededError](err)
		if !ok || len(exceeded.Statuses) != 1 || exceeded.Statuses[0].Available != 1 || exceeded.RetryAfter() != 401*time.Millisecond {
			t.Errorf("rejection: %v", err)
		}
	}
	f.api.reset()
	if _, err := acquire(fast, limiter.Amounts{"rpm": 2}); err == nil || len(f.api.calls()) != 0 {
		t.Errorf("rejected again: %v with requests %v", err, f.api.calls())
	}
	expect("rejections")

	f.now = 1800000062000
	if err := must(acquire(fast, limiter.Amounts{"rpm": 2})).Close(ctx); err != nil {
		t.Fatal(err)
	}
	expect("speculation that needs a refill", "rf", "1800000062000", "ttl", "1800000482", "b_rpm_tk", "98000", "b_rpm_tc", "104000", "b_tpm_tk", "-166668")
	lease = must(acquire(fast, limiter.Amounts{"rpm": 2}))
	expect("speculation", "b_rpm_tk", "96000", "b_rpm_tc", "106000", "b_wcu_tk", "999000", "b_wcu_tc", "1000")
	if err := lease.Release(limiter.Amounts{"rpm": 1}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(ctx); err != nil {
		t.Fatal(err)
	}
	expect("release", "b_rpm_tk", "97000", "b_rpm_tc", "105000")
}

func testCascade(t *testing.T, f *fixture) {
	ctx := t.Context()
	l := f.limiter(t, limiter.Options{})
	for _, e := range []limiter.Entity{{ID: "org"}, {ID: "c", ParentID: "org", Cascade: true}} {
		if _, err := l.Admin().CreateEntity(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Admin().SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.PerMinute("rpm", 100)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetLimits(ctx, "c", "r", []limiter.Limit{limiter.PerMinute("rpm", 1000)}); err != nil {
		t.Fatal(err)
	}
	f.api.reset()
	for i := range 2 {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "c", Resource: "r", Consume: limiter.Amounts{"rpm": 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if calls := f.api.calls(); i == 0 && !slices.Contains(calls, "TransactWriteItems/4") {
			t.Errorf("creation: %v, want a transaction of four", calls)
		}
	}
	child, parent := f.bucket(t, "c", "r", 0), f.bucket(t, "org", "r", 0)
	meta := f.item(t, f.ns+"/ENTITY#c", "#META")
	if child["cascade"] != "true" || child["parent_id"] != "'org'" || child["pinc"] != meta["pinc"] || child["pgen"] != meta["pgen"] || child["ttl"] != "" {
		t.Errorf("child: %v", child)
	}
	if parent["cascade"] != "false" || parent["parent_id"] != "" || parent["pinc"] == child["pinc"] || parent["ttl"] != "1800000420" {
		t.Errorf("parent: %v", parent)
	}
	if child["b_rpm_tk"] != "998000" || parent["b_rpm_tk"] != "98000" {
		t.Errorf("balances: %s and %s", child["b_rpm_tk"], parent["b_rpm_tk"])
	}
}

func testOwnerPin(t *testing.T, f *fixture) {
	ctx := t.Context()
	meta := limiter.Meta{EntityID: "e", Owner: limiter.Owner{Generation: 10, PInc: "aa", CreatedAt: "2026-01-31T23:59:59Z"}}
	if err := f.store.PutEntity(ctx, meta); err != nil {
		t.Fatal(err)
	}
	if err := f.store.PutEntity(ctx, limiter.Meta{EntityID: "e", Owner: limiter.Owner{PInc: "bb"}}); !errors.Is(err, limiter.ErrEntityExists) {
		t.Errorf("second creation: %v", err)
	}
	create := limiter.Write{
		Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "e", Resource: "r"}, ShardCount: 1, RF: 1,
		Limits: []limiter.LimitWrite{rpm(1000, 0), wcuWrite()},
	}
	for name, owner := range map[string]limiter.Owner{
		"planned without an owner":   {},
		"another incarnation":        {Found: true, Generation: 10, PInc: "bb"},
		"another generation":         {Found: true, Generation: 9, PInc: "aa"},
		"before it had stamps":       {Found: true, CreatedAt: "2026-01-31T23:59:59Z"},
		"without anything to pin to": {Found: true},
	} {
		create.Owner = owner
		var out limiter.WriteOutput
		if err := f.store.Write(ctx, []limiter.Write{create}, &out); err != nil || out.Outcome != limiter.Refused || !out.Results[0].OwnerFailed || out.Results[0].Failed {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
	create.Owner = limiter.Owner{Found: true, Generation: 10, PInc: "aa"}
	var out limiter.WriteOutput
	if err := f.store.Write(ctx, []limiter.Write{create}, &out); err != nil || out.Outcome != limiter.Done {
		t.Fatalf("%+v, %v", out, err)
	}
	if err := f.store.Write(ctx, []limiter.Write{create}, &out); err != nil || out.Outcome != limiter.Refused || !out.Results[0].Failed || out.Results[0].OwnerFailed || out.Results[0].Image.PInc != "aa" {
		t.Errorf("bucket made twice: %+v, %v", out, err)
	}
	refill := limiter.Write{Kind: limiter.WriteRefill, Key: create.Key, RF: 2, ReadRF: 1, Owner: limiter.Owner{Found: true, Generation: 9, PInc: "aa"},
		Limits: []limiter.LimitWrite{{Name: "rpm", Consumed: 1000, ReadTokens: 1000}}}
	if err := f.store.Write(ctx, []limiter.Write{refill}, &out); err != nil || out.Outcome != limiter.Refused || !out.Results[0].Failed {
		t.Errorf("refill of an older generation: %+v, %v", out, err)
	}
	refill.Kind, refill.ReadPInc, refill.Owner = limiter.WriteClaim, "aa", limiter.Owner{Found: true, Generation: 1, PInc: "cc"}
	if err := f.store.Write(ctx, []limiter.Write{refill}, &out); err != nil || out.Outcome != limiter.Done {
		t.Errorf("claim: %+v, %v", out, err)
	}
	if got := f.bucket(t, "e", "r", 0); got["pinc"] != "'cc'" || got["pgen"] != "1" || got["b_rpm_tk"] != "0" || got["b_rpm_tc"] != "1000" {
		t.Errorf("claimed: %v", got)
	}
}

func testConcurrentAcquires(t *testing.T, f *fixture) {
	ctx := t.Context()
	l := f.limiter(t, limiter.Options{RejectionCacheTTL: -1})
	if err := l.Admin().SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.PerHour("n", 50)}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	admitted := 0
	for range 8 {
		wg.Go(func() {
			for range 10 {
				lease, err := l.Acquire(ctx, limiter.Request{EntityID: "e", Resource: "r", Consume: limiter.Amounts{"n": 1}})
				if _, exceeded := errors.AsType[*limiter.ExceededError](err); exceeded {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				admitted++
				mu.Unlock()
				if err := lease.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := f.bucket(t, "e", "r", 0)
	if want := fmt.Sprint(admitted * 1000); admitted > 50 || admitted < 40 || got["b_n_tc"] != want {
		t.Errorf("admitted %d of 50, counted %s", admitted, got["b_n_tc"])
	}
}

func testRoundTrips(t *testing.T, f *fixture) {
	ctx := t.Context()
	setup := f.limiter(t, limiter.Options{})
	if err := setup.Admin().SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.PerMinute("n", 100)}); err != nil {
		t.Fatal(err)
	}
	acquire := func(l *limiter.Limiter, entity string, amount int64) {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: entity, Resource: "r", Consume: limiter.Amounts{"n": amount}})
		if err == nil {
			err = lease.Close(ctx)
		}
		if _, exceeded := errors.AsType[*limiter.ExceededError](err); err != nil && !exceeded {
			t.Fatal(err)
		}
	}
	count := func(name string, most int, l *limiter.Limiter, entity string, amount int64) []string {
		t.Helper()
		f.api.reset()
		acquire(l, entity, amount)
		calls := f.api.calls()
		if len(calls) > most {
			t.Errorf("%s: %d requests %v, want at most %d", name, len(calls), calls, most)
		}
		return calls
	}
	cold := f.limiter(t, limiter.Options{})
	count("first acquire, config cold", 5, cold, "a", 1)
	if calls := count("speculative success", 1, cold, "a", 1); len(calls) != 1 || calls[0] != "UpdateItem" {
		t.Errorf("speculative success: %v", calls)
	}
	count("fast rejection", 1, f.limiter(t, limiter.Options{OnUnavailable: limiter.Block}), "a", 1000)
	count("drain", 1, cold, "a", 98)
	f.now += 1
	count("rejection", 1, cold, "a", 50)
	if calls := count("local rejection", 0, cold, "a", 50); len(calls) != 0 {
		t.Errorf("local rejection: %v", calls)
	}
	f.now += 30_000
	count("speculative miss that a refill satisfies", 4, cold, "a", 10)
	slow := f.limiter(t, limiter.Options{DisableSpeculation: true, OnUnavailable: limiter.Block})
	acquire(slow, "a", 1)
	if calls := count("speculation off, warm", 2, slow, "a", 1); !slices.Equal(calls, []string{"BatchGetItem", "UpdateItem"}) {
		t.Errorf("speculation off: %v, want one read and one write", calls)
	}
}

func testDoubling(t *testing.T, f *fixture) {
	ctx := t.Context()
	create := limiter.Write{Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "e", Resource: "r"}, ShardCount: 1, RF: 1, Limits: []limiter.LimitWrite{rpm(1, 0)}}
	var out limiter.WriteOutput
	if count, won, err := f.store.Double(ctx, "e", "r", 1); count != 0 || won || err != nil {
		t.Errorf("no item: %d, %v, %v", count, won, err)
	}
	if err := f.store.Write(ctx, []limiter.Write{create}, &out); err != nil || out.Outcome != limiter.Done {
		t.Fatalf("%+v, %v", out, err)
	}
	if count, won, err := f.store.Double(ctx, "e", "r", 1); count != 2 || !won || err != nil {
		t.Errorf("first: %d, %v, %v", count, won, err)
	}
	if count, won, err := f.store.Double(ctx, "e", "r", 1); count != 2 || won || err != nil {
		t.Errorf("second: %d, %v, %v", count, won, err)
	}
	for _, count := range []int{4, 2} { // a count never falls
		if err := f.store.StampShardCount(ctx, create.Key, count, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.store.StampShardCount(ctx, limiter.BucketKey{EntityID: "e", Resource: "r", Shard: 1}, 4, nil); err != nil {
		t.Errorf("a shard that is not there: %v", err)
	}
	if got := f.bucket(t, "e", "r", 0)["shard_count"]; got != "4" {
		t.Errorf("count %s, want 4", got)
	}
	if got := f.bucket(t, "e", "r", 1); len(got) != 0 {
		t.Errorf("stamping made %v", got)
	}
}

func testRebuild(t *testing.T, f *fixture) {
	ctx := t.Context()
	// What an old client leaves behind when it adjusts a bucket that had expired.
	f.put(t, item{"PK": s(f.ns + "/BUCKET#e#r#0"), "SK": s("#STATE"), "b_n_tk": n("-5000"), "b_n_tc": n("5000"), "vu": n("0")})
	l := f.limiter(t, limiter.Options{})
	if err := l.Admin().SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.PerMinute("n", 100)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "e", Resource: "r", Consume: limiter.Amounts{"n": 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	got := f.bucket(t, "e", "r", 0)
	for _, name := range []string{"rf", "b_n_cp", "b_n_ra", "b_n_rp", "b_wcu_tk", "entity_id", "shard_count", "ttl"} {
		if got[name] == "" {
			t.Errorf("%s is missing in %v", name, got)
		}
	}
	if keys, err := f.store.BucketKeys(ctx, "e", "r"); err != nil || len(keys) != 1 {
		t.Errorf("the repaired bucket is not in the index: %v, %v", keys, err)
	}

	// One with a time and a wcu passes the fast path: what it lacks is completed all the same.
	f.put(t, item{"PK": s(f.ns + "/BUCKET#half#r#0"), "SK": s("#STATE"), "rf": n("1800000000000"), "b_wcu_tk": n("5000"), "b_n_tk": n("3000")})
	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "half", Resource: "r", Consume: limiter.Amounts{"n": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(ctx); err != nil {
		t.Fatal(err)
	}
	want := f.bucket(t, "e", "r", 0)
	for name := range want {
		if f.bucket(t, "half", "r", 0)[name] == "" {
			t.Errorf("%s is still missing", name)
		}
	}
	if keys, err := f.store.BucketKeys(ctx, "half", "r"); err != nil || len(keys) != 1 {
		t.Errorf("the completed bucket is not in the index: %v, %v", keys, err)
	}
}

func testConfigs(t *testing.T, f *fixture) {
	ctx := t.Context()
	own := limiter.ConfigKey{EntityID: "e", Resource: "r/a:b"}
	limits := []limiter.Limit{limiter.PerMinute("a_b", 5).WithBurst(10), limiter.PerHour("z", 7)}
	for range 2 { // counted once
		if _, err := f.store.PutConfig(ctx, own, limiter.ConfigChange{Limits: limits}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.store.PutConfig(ctx, limiter.ConfigKey{EntityID: "e", Resource: limiter.DefaultResource}, limiter.ConfigChange{Limits: limits}); err != nil {
		t.Fatal(err)
	}
	got, err := f.store.Config(ctx, own, false)
	if err != nil || !got.Exists || !slices.Equal(got.Limits, limits) {
		t.Errorf("read back: %+v, %v", got, err)
	}
	if names, err := f.store.EntityConfigResources(ctx); err != nil || !slices.Equal(names, []string{"_default_", "r/a:b"}) {
		t.Errorf("registry: %v, %v", names, err)
	}
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]string{"_default_": "1", "r/a:b": "1"})

	// Items of another writer, which lists nothing and knows attributes that this client does not.
	foreign := item{"PK": s(f.ns + "/ENTITY#p"), "SK": s("#CONFIG#r/a:b"), "entity_id": s("p"), "resource": s("r/a:b"),
		"l_q_cp": n("1"), "l_q_ra": n("1"), "l_q_rp": n("1"), "disabled": b(true), "of_a_later_release": s("x")}
	f.put(t, foreign)
	p := limiter.ConfigKey{EntityID: "p", Resource: "r/a:b"}
	if held, err := f.store.DeleteConfig(ctx, p); err != nil || !held.Exists || held.Disabled != limiter.On {
		t.Errorf("deleted: %+v, %v", held, err)
	}
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]string{"_default_": "1", "r/a:b": "1"})
	f.put(t, foreign)
	if _, err := f.store.PutConfig(ctx, p, limiter.ConfigChange{Limits: limits[1:]}); err != nil {
		t.Fatal(err)
	}
	stored := f.item(t, f.ns+"/ENTITY#p", "#CONFIG#r/a:b")
	if stored["of_a_later_release"] != "'x'" || stored["disabled"] != "true" || stored["l_q_cp"] != "" || stored["l_z_cp"] != "7" {
		t.Errorf("stored: %v", stored)
	}
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]string{"_default_": "1", "r/a:b": "2"})

	for _, k := range []limiter.ConfigKey{own, p, own} { // the last is gone already
		if _, err := f.store.DeleteConfig(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]string{"_default_": "1"})
	testDefaults(t, f, limits)
}

func testDefaults(t *testing.T, f *fixture, limits []limiter.Limit) {
	ctx := t.Context()
	for _, r := range []string{"b", "a"} {
		if _, err := f.store.PutConfig(ctx, limiter.ConfigKey{Resource: r}, limiter.ConfigChange{Limits: limits}); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := f.store.ResourcesWithDefaults(ctx); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("resources: %v, %v", names, err)
	}
	for _, r := range []string{"b", "a"} {
		if held, err := f.store.DeleteConfig(ctx, limiter.ConfigKey{Resource: r}); err != nil || !held.Exists {
			t.Errorf("deleted: %+v, %v", held, err)
		}
	}
	if names, err := f.store.ResourcesWithDefaults(ctx); err != nil || len(names) != 0 {
		t.Errorf("resources left: %v, %v", names, err)
	}
	f.put(t, item{"PK": s(f.ns + "/SYSTEM#"), "SK": s("#CONFIG"), "audit_retention_days": n("30")})
	for _, mode := range []limiter.OnUnavailable{limiter.Allow, ""} { // kept when not given
		if _, err := f.store.PutConfig(ctx, limiter.ConfigKey{}, limiter.ConfigChange{Limits: limits, OnUnavailable: mode}); err != nil {
			t.Fatal(err)
		}
	}
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#CONFIG"), map[string]string{
		"audit_retention_days": "30", "on_unavailable": "'allow'", "config_version": "1",
		"l_a_b_cp": "10", "l_a_b_ra": "5", "l_a_b_rp": "60", "l_z_cp": "7", "l_z_ra": "7", "l_z_rp": "3600",
	})
	if held, err := f.store.DeleteConfig(ctx, limiter.ConfigKey{}); err != nil || held.OnUnavailable != limiter.Allow {
		t.Errorf("deleted: %+v, %v", held, err)
	}
}

func testEntities(t *testing.T, f *fixture) {
	ctx := t.Context()
	l := f.limiter(t, limiter.Options{})
	for _, e := range []limiter.Entity{
		{ID: "org"}, {ID: "b", ParentID: "org", Name: "Bee", Metadata: map[string]any{"plan": "gold", "seats": int64(5)}}, {ID: "a", ParentID: "org", Cascade: true},
	} {
		if _, err := l.Admin().CreateEntity(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	children, err := f.store.Children(ctx, "org")
	if err != nil || len(children) != 2 || children[0].EntityID != "a" || !children[0].Cascade || children[1].Name != "Bee" || children[1].Metadata["seats"] != int64(5) {
		t.Errorf("children: %+v, %v", children, err)
	}
	if err := l.Admin().SetLimits(ctx, "b", "r", []limiter.Limit{limiter.PerMinute("n", 5)}); err != nil {
		t.Fatal(err)
	}
	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "b", Resource: "r", Consume: limiter.Amounts{"n": 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(ctx); err != nil {
		t.Fatal(err)
	}
	f.put(t, item{"PK": s(f.ns + "/BUCKET#b#r#0"), "SK": s("#OP#k1"), "GSI4PK": s(f.ns), "GSI4SK": s("OP#b#r#k1")})
	buckets, err := f.store.Buckets(ctx, "b", "r")
	if err != nil || len(buckets) != 1 || buckets[0].Limit("n").Tokens != 4000 {
		t.Errorf("buckets: %+v, %v", buckets, err)
	}
	for range 2 { // the second time there is nothing
		if _, err := f.store.DeleteEntity(ctx, "b"); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range [][2]string{{"/ENTITY#b", "#META"}, {"/ENTITY#b", "#CONFIG#r"}, {"/BUCKET#b#r#0", "#STATE"}, {"/BUCKET#b#r#0", "#OP#k1"}} {
		if it := f.item(t, f.ns+k[0], k[1]); len(it) != 0 {
			t.Errorf("%v is left: %v", k, it)
		}
	}
	if names, err := f.store.EntityConfigResources(ctx); err != nil || len(names) != 0 {
		t.Errorf("registry: %v, %v", names, err)
	}
	if children, err = f.store.Children(ctx, "org"); err != nil || len(children) != 1 {
		t.Errorf("children: %+v, %v", children, err)
	}
	if err := f.store.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// counted keeps the operations of the calls made through it, in order; a transaction with the
// number of its actions.
type counted struct {
	dynamostore.API
	mu  sync.Mutex
	ops []string
}

func (c *counted) note(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = append(c.ops, op)
}

func (c *counted) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = nil
}

func (c *counted) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ops)
}

type option = func(*dynamodb.Options)

// Options passes on what the client behind was made with.
func (c *counted) Options() dynamodb.Options {
	if client, ok := c.API.(interface{ Options() dynamodb.Options }); ok {
		return client.Options()
	}
	return dynamodb.Options{}
}

func (c *counted) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...option) (*dynamodb.GetItemOutput, error) {
	c.note("GetItem")
	return c.API.GetItem(ctx, in, opts...)
}

func (c *counted) PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...option) (*dynamodb.PutItemOutput, error) {
	c.note("PutItem")
	return c.API.PutItem(ctx, in, opts...)
}

func (c *counted) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...option) (*dynamodb.UpdateItemOutput, error) {
	c.note("UpdateItem")
	return c.API.UpdateItem(ctx, in, opts...)
}

func (c *counted) Query(ctx context.Context, in *dynamodb.QueryInput, opts ...option) (*dynamodb.QueryOutput, error) {
	c.note("Query")
	return c.API.Query(ctx, in, opts...)
}

func (c *counted) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, opts ...option) (*dynamodb.BatchGetItemOutput, error) {
	c.note("BatchGetItem")
	return c.API.BatchGetItem(ctx, in, opts...)
}

func (c *counted) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, opts ...option) (*dynamodb.TransactWriteItemsOutput, error) {
	c.note(fmt.Sprintf("TransactWriteItems/%d", len(in.TransactItems)))
	return c.API.TransactWriteItems(ctx, in, opts...)
}
