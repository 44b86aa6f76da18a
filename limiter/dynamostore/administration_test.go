package dynamostore_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func testRecovery(t *testing.T, f *fixture) {
	ctx := t.Context()
	id, err := f.table.RegisterNamespace(ctx, "lost")
	must(t, err)
	if ns, err := f.table.Namespace(ctx, "lost"); err != nil || ns.ID != id || ns.State != "active" || !ns.CreatedAt.Equal(time.UnixMilli(1800000000000)) {
		t.Errorf("registered: %+v, %v", ns, err)
	}
	state := func(err error, want string) {
		t.Helper()
		if e, ok := errors.AsType[*dynamostore.NamespaceStateError](err); !ok || e.State != want {
			t.Errorf("%v, want state %s", err, want)
		}
	}
	_, err = f.table.RecoverNamespace(ctx, id)
	state(err, "active")
	must(t, f.table.DeleteNamespace(ctx, "lost"))
	if _, err := f.table.Namespace(ctx, "lost"); !isNotFound(err) {
		t.Errorf("after its deletion: %v", err)
	}
	orphan := func(want bool) {
		t.Helper()
		orphans, err := f.table.OrphanedNamespaces(ctx)
		must(t, err)
		at := slices.IndexFunc(orphans, func(ns dynamostore.Namespace) bool { return ns.ID == id })
		if at >= 0 != want || want && (orphans[at].Name != "lost" || orphans[at].DeletedAt.IsZero()) {
			t.Errorf("orphans: %+v", orphans)
		}
	}
	orphan(true)
	second, err := f.table.RegisterNamespace(ctx, "lost")
	must(t, err)
	_, err = f.table.RecoverNamespace(ctx, id)
	state(err, "re-registered")
	must(t, f.table.DeleteNamespace(ctx, "lost"))
	if name, err := f.table.RecoverNamespace(ctx, id); err != nil || name != "lost" {
		t.Errorf("recovered %q, %v", name, err)
	}
	if got, ok, err := f.table.ResolveNamespace(ctx, "lost"); err != nil || !ok || got != id {
		t.Errorf("resolved %q, %t, %v", got, ok, err)
	}
	if it := f.item(t, "_/SYSTEM#", "#NSID#"+id); it["status"] != "'active'" || it["deleted_at"] != "" {
		t.Errorf("the record: %v", it)
	}
	orphan(false)
	_, err = f.table.RecoverNamespace(ctx, second)
	state(err, "re-registered")
	must(t, f.table.PurgeNamespace(ctx, second))
	if _, err := f.table.RecoverNamespace(ctx, second); !isNotFound(err) {
		t.Errorf("after a purge: %v", err)
	}
	f.put(t, item{"PK": s("_/SYSTEM#"), "SK": s("#NSID#half"), "namespace_id": s("half"), "namespace_name": s("h"), "status": s("purging")})
	_, err = f.table.RecoverNamespace(ctx, "half")
	state(err, "purging")
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*dynamostore.NamespaceNotFoundError](err)
	return ok
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The version record is one for the whole table; this test leaves it as it found it.
func testOpening(t *testing.T, f *fixture) {
	ctx := t.Context()
	record := func(lambda, lowest string) {
		it := item{"PK": s("_/SYSTEM#"), "SK": s("#VERSION"), "schema_version": s("0.10.0"), "client_min_version": s(lowest)}
		if lambda != "" {
			it["lambda_version"] = s(lambda)
		}
		f.put(t, it)
	}
	defer record("", "0.0.0")
	version := func(err error, want bool) {
		t.Helper()
		if _, ok := errors.AsType[*dynamostore.VersionError](err); ok != want || err != nil && !ok {
			t.Errorf("%v, want a *VersionError %t", err, want)
		}
	}
	if _, err := f.table.Connect(ctx, "opened"); !isNotFound(err) {
		t.Errorf("connected to a name that nobody registered: %v", err)
	}
	store, err := f.table.Open(ctx, "opened")
	must(t, err)
	if again, err := f.table.Connect(ctx, "opened"); err != nil || again.Namespace() != store.Namespace() {
		t.Errorf("connected: %v", err)
	}
	for _, reserved := range []string{"_", "", "a#b"} {
		if _, err := f.table.Open(ctx, reserved); err == nil {
			t.Errorf("opened %q", reserved)
		}
	}
	record("0.16.0", "0.0.0")
	_, err = f.table.Connect(ctx, "opened")
	version(err, true)
	_, err = f.table.Open(ctx, "opened")
	version(err, false)
	record("0.17.3", "0.18.0")
	_, err = f.table.Open(ctx, "opened")
	version(err, true)

	// The gate, and how it keeps older clients out.
	record("", "0.0.0")
	version(f.table.RequireReaders(ctx, "0.15.0", true), true)
	version(store.RequireReaders(ctx, "0.15.0", true), true)
	l, err := limiter.New(store, limiter.Options{})
	must(t, err)
	_, err = l.Admin().Bypass(ctx, "u", "r")
	version(err, true)
	if it := f.item(t, store.Namespace()+"/ENTITY#u", "#CONFIG#r"); len(it) != 0 {
		t.Errorf("a refused flag was stored: %v", it)
	}
	must(t, f.table.DeclareReaders(ctx, false))
	version(f.table.RequireReaders(ctx, "0.15.0", false), false)
	minimum := func(want string) {
		t.Helper()
		if it := f.item(t, "_/SYSTEM#", "#VERSION"); it["client_min_version"] != "'"+want+"'" || it["lambda_version"] != "'0.17.0'" {
			t.Errorf("the record: %v, want minimum %s", it, want)
		}
	}
	minimum("0.0.0")
	_, err = l.Admin().SetCascade(ctx, "u", "r", true)
	version(err, false)
	minimum("0.16.0")
	_, err = l.Admin().Bypass(ctx, "u", "r")
	version(err, false)
	minimum("0.17.0")
	version(f.table.RequireReaders(ctx, "0.15.0", true), false)
	minimum("0.17.0")
	record("0.12.0", "0.0.0")
	version(f.table.DeclareReaders(ctx, false), true)
	must(t, f.table.DeclareReaders(ctx, true))
	minimum("0.0.0")
}

func testRecords(t *testing.T, f *fixture) {
	ctx := t.Context()
	usage := func(entity, resource, window, start string, counters item) {
		it := item{"PK": s(f.ns + "/ENTITY#" + entity), "SK": s("#USAGE#" + resource + "#" + start), "entity_id": s(entity), "resource": s(resource),
			"window": s(window), "window_start": s(start), "total_events": n("3"), "ttl": n("1900000000"), "GSI4PK": s(f.ns), "GSI4SK": s(f.ns + "/ENTITY#" + entity),
			"GSI2PK": s(f.ns + "/RESOURCE#" + resource), "GSI2SK": s("USAGE#" + start + "#" + entity)}
		for name, v := range counters {
			it[name] = v
		}
		f.put(t, it)
	}
	usage("u", "r", "hourly", "2027-01-15T08:00:00Z", item{"tpm": n("10"), "rpm": n("2"), "tpm#od": n("1")})
	usage("u", "r", "hourly", "2027-01-15T09:00:00Z", item{"tpm": n("30")})
	usage("u", "r", "daily", "2027-01-15T00:00:00Z", item{"tpm": n("40")})
	usage("u", "other", "hourly", "2027-01-15T09:00:00Z", item{"tpm": n("1")})
	usage("v", "r", "hourly", "2027-01-15T09:00:00Z", item{"tpm": n("5")})
	f.put(t, item{"PK": s(f.ns + "/ENTITY#u"), "SK": s("#USAGE#r#broken"), "entity_id": s("u")})
	l, err := limiter.New(f.store, limiter.Options{})
	must(t, err)
	all := func(q limiter.UsageQuery) (found []limiter.UsageSnapshot) {
		for {
			page, next, err := l.Admin().UsageSnapshots(ctx, q)
			must(t, err)
			found = append(found, page...)
			if q.Cursor = next; next == "" {
				return found
			}
		}
	}
	hour := func(h int) time.Time { return time.Date(2027, 1, 15, h, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		q    limiter.UsageQuery
		want int
	}{
		{limiter.UsageQuery{EntityID: "u"}, 4}, {limiter.UsageQuery{EntityID: "u", Resource: "r", Limit: 1}, 3}, {limiter.UsageQuery{Resource: "r", Limit: 2}, 4},
		{limiter.UsageQuery{EntityID: "u", Resource: "r", Window: "hourly"}, 2}, {limiter.UsageQuery{Resource: "r", Start: hour(9)}, 2},
		{limiter.UsageQuery{Resource: "r", End: hour(8)}, 2},
	} {
		if got := all(tt.q); len(got) != tt.want {
			t.Errorf("%+v: %d snapshots, want %d: %+v", tt.q, len(got), tt.want, got)
		}
	}
	newest := all(limiter.UsageQuery{EntityID: "u", Resource: "r"})[1]
	want := limiter.UsageSnapshot{EntityID: "u", Resource: "r", Window: "hourly", WindowStart: hour(8), WindowEnd: hour(9).Add(-time.Second),
		Counters: limiter.Amounts{"tpm": 10, "rpm": 2}, Overdrawn: limiter.Amounts{"tpm": 1}, TotalEvents: 3}
	if !reflect.DeepEqual(newest, want) {
		t.Errorf("got %+v, want %+v", newest, want)
	}
	sum, err := l.Admin().UsageSummary(ctx, limiter.UsageQuery{Resource: "r", Window: "hourly"})
	must(t, err)
	if sum.Snapshots != 3 || sum.Total["tpm"] != 45 || sum.Average["tpm"] != 15 || sum.Average["rpm"] != 2 || sum.Overdrawn["tpm"] != 1 || !sum.First.Equal(hour(8)) || !sum.Last.Equal(hour(9)) {
		t.Errorf("summary: %+v", sum)
	}
	if _, _, err := l.Admin().UsageSnapshots(ctx, limiter.UsageQuery{}); err == nil {
		t.Error("a query for nothing passed")
	}

	f.put(t, item{"PK": s(f.ns + "/AUDIT#u"), "SK": s("#AUDIT#01HZZZZZZZZZZZZZZZZZZZZZZZ"), "entity_id": s("u"), "event_id": s("01HZZZZZZZZZZZZZZZZZZZZZZZ"),
		"timestamp": s("2027-01-15T08:00:00Z"), "action": s("of_a_later_release"), "principal": &types.AttributeValueMemberNULL{Value: true}})
	events, err := l.Admin().AuditEvents(ctx, "u", 0, "")
	if err != nil || len(events) != 1 || events[0].Action != "of_a_later_release" || events[0].Principal != "" {
		t.Errorf("audit events: %+v, %v", events, err)
	}
	_, err = l.Admin().CreateEntity(ctx, limiter.Entity{ID: "w"})
	must(t, err)
	events, err = l.Admin().AuditEvents(ctx, "w", 0, "")
	must(t, err)
	it := f.item(t, f.ns+"/AUDIT#w", "#AUDIT#"+events[0].ID)
	if it["principal"] != "null" || it["entity_id"] != "'w'" || it["action"] != "'entity_created'" || it["ttl"] == "" {
		t.Errorf("the event's item: %v", it)
	}
}

// between lets another client act after an item was read and before it is written.
type between struct {
	dynamostore.API
	act func()
}

func (b *between) GetItem(ctx context.Context, in *dynamodb.GetItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	out, err := b.API.GetItem(ctx, in, opts...)
	if act := b.act; act != nil {
		b.act = nil
		act()
	}
	return out, err
}

func testFlagsOfConfigs(t *testing.T, f *fixture) {
	ctx := t.Context()
	for _, k := range []limiter.ConfigKey{{EntityID: "e", Resource: "r"}, {Resource: "r"}} {
		limits := limiter.ConfigChange{Limits: []limiter.Limit{limiter.PerMinute("rpm", 5)}}
		_, err := f.store.PutConfig(ctx, k, limits)
		must(t, err)
		api := &between{API: f.api.API}
		other := dynamostore.OpenTable(api, f.table.Name(), dynamostore.TableOptions{}).Store(f.ns)
		api.act = func() { must(t, f.store.SetFlag(ctx, k, limiter.FlagDisabled, limiter.On)) }
		_, err = other.PutConfig(ctx, k, limits)
		must(t, err)
		if c, err := f.store.Config(ctx, k, true); err != nil || c.Disabled != limiter.On {
			t.Errorf("%s: the flag is lost: %+v, %v", k, c, err)
		}
		api.act = func() { must(t, f.store.SetFlag(ctx, k, limiter.FlagDisabled, limiter.Unset)) }
		_, err = other.PutConfig(ctx, k, limits)
		must(t, err)
		if c, err := f.store.Config(ctx, k, true); err != nil || c.Disabled != limiter.Unset {
			t.Errorf("%s: the flag is back: %+v, %v", k, c, err)
		}
		// A level that only has a flag is registered like any other.
		k.Resource = "flag-only"
		must(t, f.store.SetFlag(ctx, k, limiter.FlagCascade, limiter.Off))
		must(t, f.store.SetFlag(ctx, k, limiter.FlagDisabled, limiter.Bypassed))
	}
	diff(t, f.item(t, f.ns+"/ENTITY#e", "#CONFIG#flag-only"), map[string]string{"cascade": "false", "disabled": "'bypass'", "entity_id": "'e'", "resource": "'flag-only'"})
	diff(t, f.item(t, f.ns+"/RESOURCE#flag-only", "#CONFIG"), map[string]string{"cascade": "false", "disabled": "'bypass'", "resource": "'flag-only'"})
	diff(t, f.item(t, f.ns+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]string{"r": "1", "flag-only": "1"})
	if names, err := f.store.ResourcesWithDefaults(ctx); err != nil || !slices.Equal(names, []string{"flag-only", "r"}) {
		t.Errorf("resources: %v, %v", names, err)
	}
	must(t, f.store.SetFlag(ctx, limiter.ConfigKey{Resource: "nothing"}, limiter.FlagDisabled, limiter.Unset))
	if it := f.item(t, f.ns+"/RESOURCE#nothing", "#CONFIG"); len(it) != 0 {
		t.Errorf("clearing a flag created %v", it)
	}
}
