package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func (f *fixture) create(entities ...limiter.Entity) {
	f.Helper()
	for _, e := range entities {
		_, err := f.lim.Admin().CreateEntity(f.Context(), e)
		f.must(err)
	}
}

// stamped checks how many buckets a change reached.
func (f *fixture) stamped(want int) func(int, error) {
	return func(got int, err error) {
		f.Helper()
		f.must(err)
		if got != want {
			f.Errorf("%d buckets stamped, want %d", got, want)
		}
	}
}

func testSetParent(f *fixture) {
	admin := f.lim.Admin()
	f.defaults(limiter.PerMinute("rpm", 100))
	f.create(limiter.Entity{ID: "org-a"}, limiter.Entity{ID: "org-b", ParentID: "org-a"}, limiter.Entity{ID: "u", ParentID: "org-a", Cascade: true})
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 10})
	f.holds("org-a", 0, "rpm", 90_000, 10_000)
	before := f.bucket("u", 0)

	f.stamped(1)(admin.SetParent(f.Context(), "u", "org-b"))
	moved := f.bucket("u", 0)
	if moved.ParentID != "org-b" || !moved.Cascade || moved.PGen != before.PGen+1 || moved.PInc != before.PInc {
		f.Errorf("the bucket after the move: %+v, before %+v", moved, before)
	}
	f.admit(f.limiter(limiter.Options{RejectionCacheTTL: -1}), "u", limiter.Amounts{"rpm": 5})
	f.holds("org-a", 0, "rpm", 90_000, 10_000)
	f.holds("org-b", 0, "rpm", 95_000, 5000)
	for parent, want := range map[string]int{"org-a": 1, "org-b": 1} { // org-a keeps org-b
		children, err := admin.Children(f.Context(), parent)
		f.must(err)
		if len(children) != want {
			f.Errorf("children of %s: %+v", parent, children)
		}
	}

	f.stamped(1)(admin.SetParent(f.Context(), "u", ""))
	if b := f.bucket("u", 0); b.ParentID != "" || b.Cascade || b.PGen != before.PGen+2 {
		f.Errorf("without a parent: %+v", b)
	}
	if e, err := admin.Entity(f.Context(), "u"); err != nil || e.ParentID != "" || !e.Cascade {
		f.Errorf("the entity: %+v, %v", e, err)
	}

	// A stamp of the same incarnation that was planned before the moves comes too late, and a bucket that is
	// gone stays so.
	late := limiter.StampInput{Key: limiter.BucketKey{EntityID: "u", Resource: resource}, Owner: &limiter.Owner{Found: true, Generation: before.PGen, PInc: before.PInc}, Cascade: true, ParentID: "org-a"}
	gone := limiter.StampInput{Key: limiter.BucketKey{EntityID: "nobody", Resource: resource}, Access: limiter.On}
	for _, in := range []limiter.StampInput{late, gone} {
		if written, err := f.store.Stamp(f.Context(), in); err != nil || written {
			f.Errorf("stamped %+v: %v, %v", in, written, err)
		}
	}
	if b := f.bucket("u", 0); b.ParentID != "" || f.bucket("nobody", 0).Exists {
		f.Errorf("after late stamps: %+v", b)
	}

	for _, refused := range []struct {
		entity, parent string
		missing        bool
	}{{"nobody", "org-a", true}, {"u", "nobody", true}, {"u", "u", false}, {"org-a", "org-b", false}} {
		_, err := admin.SetParent(f.Context(), refused.entity, refused.parent)
		_, invalid := errors.AsType[*limiter.ValidationError](err)
		if errors.Is(err, limiter.ErrEntityNotFound) != refused.missing || invalid == refused.missing {
			f.Errorf("%s under %s: %v", refused.entity, refused.parent, err)
		}
	}
}

func testFlags(f *fixture) {
	admin := f.lim.Admin()
	f.defaults(limiter.PerMinute("rpm", 100))
	for _, entity := range []string{"plain", "vip"} {
		f.admit(f.lim, entity, limiter.Amounts{"rpm": 1})
	}
	peer := f.limiter(limiter.Options{RejectionCacheTTL: -1})
	closed := func(l *limiter.Limiter, entity string, want bool) {
		f.Helper()
		_, err := f.acquire(l, entity, limiter.Amounts{"rpm": 1})
		if _, disabled := errors.AsType[*limiter.DisabledError](err); disabled != want || err != nil && !disabled {
			f.Errorf("%s: %v, want disabled %t", entity, err, want)
		}
	}
	f.stamped(1)(admin.Enable(f.Context(), "vip", resource))
	f.stamped(1)(admin.Disable(f.Context(), "", resource)) // vip's bucket is an exception
	for _, l := range []*limiter.Limiter{f.lim, peer, f.limiter(limiter.Options{DisableSpeculation: true})} {
		closed(l, "plain", true)
		closed(l, "vip", false)
		closed(l, "new", true)
	}
	if b := f.bucket("plain", 0); !b.Disabled {
		f.Errorf("the bucket is not stamped: %+v", b)
	}
	f.stamped(1)(admin.Disable(f.Context(), "vip", "")) // its flag on the resource still holds
	closed(peer, "vip", false)
	f.stamped(1)(admin.ClearDisabled(f.Context(), "vip", resource))
	closed(peer, "vip", true)
	f.stamped(1)(admin.ClearDisabled(f.Context(), "", resource))
	closed(peer, "plain", false)
	closed(peer, "vip", true)
	// Deleting the limits deletes the flag with them.
	f.must(admin.DeleteLimits(f.Context(), "vip", ""))
	closed(peer, "vip", false)

	names, err := admin.ResourcesWithDefaults(f.Context())
	f.must(err)
	if !slices.Equal(names, []string{resource}) {
		f.Errorf("resources: %v", names)
	}
	f.stamped(0)(admin.Disable(f.Context(), "", "other"))
	if names, err = admin.ResourcesWithDefaults(f.Context()); err != nil || !slices.Equal(names, []string{resource, "other"}) {
		f.Errorf("a resource with a flag alone is not listed: %v, %v", names, err)
	}
	f.stamped(0)(admin.ClearDisabled(f.Context(), "nobody", "nothing")) // creates nothing
	if names, err = admin.ResourcesWithEntityLimits(f.Context()); err != nil || slices.Contains(names, "nothing") {
		f.Errorf("clearing created a config: %v, %v", names, err)
	}
}

func testCascadePolicy(f *fixture) {
	admin := f.lim.Admin()
	f.defaults(limiter.PerMinute("rpm", 100))
	f.create(limiter.Entity{ID: "org"}, limiter.Entity{ID: "u", ParentID: "org"})
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	peer := f.limiter(limiter.Options{RejectionCacheTTL: -1})
	charged := int64(0)
	charge := func(cascades bool) {
		f.Helper()
		f.admit(peer, "u", limiter.Amounts{"rpm": 1})
		if cascades {
			charged += 1000
		}
		if b := f.bucket("org", 0); b.Exists != (charged > 0) || b.Exists && b.Limit("rpm").Counter != charged {
			f.Errorf("the parent was charged %+v, want %d", b, charged)
		}
	}
	charge(false)
	f.stamped(1)(admin.SetCascade(f.Context(), "", resource, true))
	charge(true)
	f.stamped(1)(admin.SetCascade(f.Context(), "u", "", false)) // the entity decides before the resource
	charge(false)
	f.stamped(1)(admin.SetCascade(f.Context(), "u", resource, true))
	charge(true)
	f.stamped(1)(admin.ClearCascade(f.Context(), "u", resource))
	charge(false)
	f.stamped(1)(admin.ClearCascade(f.Context(), "u", ""))
	charge(true)
	f.stamped(2)(admin.ClearCascade(f.Context(), "", resource)) // the parent has a bucket by now
	charge(false)
	if b := f.bucket("org", 0); b.Cascade {
		f.Errorf("the parent's bucket cascades: %+v", b)
	}
}

func testConfigure(f *fixture) {
	admin := f.lim.Admin()
	f.defaults(limiter.PerMinute("rpm", 100))
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	key := limiter.ConfigKey{EntityID: "u", Resource: resource}
	limits := []limiter.Limit{limiter.PerMinute("rpm", 7), limiter.PerHour("z", 9)}
	_, err := admin.Configure(f.Context(), key, limiter.ConfigChange{Limits: limits, Disabled: limiter.On, Cascade: limiter.Off})
	f.must(err)
	if b := f.bucket("u", 0); !b.Disabled || b.Limit("rpm").Capacity != 7000 {
		f.Errorf("the bucket: %+v", b)
	}
	f.must(admin.SetLimits(f.Context(), "u", resource, limits[:1])) // flags stay
	config, err := admin.Config(f.Context(), key)
	f.must(err)
	if config.Disabled != limiter.On || config.Cascade != limiter.Off || !slices.Equal(config.Limits, limits[:1]) {
		f.Errorf("stored: %+v", config)
	}
	if b := f.bucket("u", 0); !b.Disabled {
		f.Errorf("setting limits opened the bucket: %+v", b)
	}
	for _, bad := range []struct {
		key    limiter.ConfigKey
		change limiter.ConfigChange
	}{
		{limiter.ConfigKey{}, limiter.ConfigChange{Disabled: limiter.On}},
		{key, limiter.ConfigChange{OnUnavailable: limiter.Allow}},
		{key, limiter.ConfigChange{Cascade: limiter.Bypassed}},
		{limiter.ConfigKey{EntityID: "u"}, limiter.ConfigChange{}},
		{limiter.ConfigKey{Resource: limiter.DefaultResource}, limiter.ConfigChange{}},
	} {
		_, err := admin.Configure(f.Context(), bad.key, bad.change)
		if _, ok := errors.AsType[*limiter.ValidationError](err); !ok {
			f.Errorf("%+v: %v, want a *ValidationError", bad, err)
		}
	}
}

func testEntitiesWithLimits(f *fixture) {
	admin := f.lim.Admin()
	var want []string
	for i := range 5 {
		id := fmt.Sprintf("e%d", i)
		want = append(want, id)
		f.must(admin.SetLimits(f.Context(), id, resource, []limiter.Limit{limiter.PerMinute("rpm", 1)}))
	}
	f.must(admin.SetLimits(f.Context(), "else", "other", []limiter.Limit{limiter.PerMinute("rpm", 1)}))
	var got []string
	for cursor, pages := "", 0; pages < 4; pages++ {
		ids, next, err := admin.EntitiesWithLimits(f.Context(), resource, 2, cursor)
		f.must(err)
		got = append(got, ids...)
		if cursor = next; next == "" {
			break
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		f.Errorf("listed %v, want %v", got, want)
	}
	f.must(admin.DeleteEntity(f.Context(), "e3"))
	if ids, _, err := admin.EntitiesWithLimits(f.Context(), resource, 0, ""); err != nil || slices.Contains(ids, "e3") || len(ids) != 4 {
		f.Errorf("after a deletion: %v, %v", ids, err)
	}
}

func testAudit(f *fixture) {
	admin := f.lim.Admin().As("arn:aws:iam::1:user/ops")
	ctx := f.Context()
	_, err := admin.CreateEntity(ctx, limiter.Entity{ID: "u", Cascade: true})
	f.must(err)
	f.must(admin.SetLimits(ctx, "u", "", []limiter.Limit{limiter.PerMinute("rpm", 5)}))
	f.clock.Add(1000)
	_, err = f.lim.Admin().Disable(ctx, "u", resource)
	f.must(err)
	f.must(admin.DeleteLimits(ctx, "u", ""))
	f.must(admin.DeleteLimits(ctx, "u", "")) // nothing happened
	f.must(admin.DeleteEntity(ctx, "u"))
	f.must(admin.SetResourceDefaults(ctx, resource, []limiter.Limit{limiter.PerMinute("rpm", 5)}))
	f.must(admin.SetSystemDefaults(ctx, nil, limiter.Allow))

	events, err := admin.AuditEvents(ctx, "u", 0, "")
	f.must(err)
	var actions []string
	for _, e := range events {
		actions = append(actions, e.Action)
	}
	want := []string{"entity_deleted", "limits_deleted", "limits_set", "limits_set", "entity_created"}
	if !slices.Equal(actions, want) {
		f.Fatalf("actions %v, want %v", actions, want)
	}
	first, flag := events[4], events[2]
	if first.Principal != "arn:aws:iam::1:user/ops" || !first.Timestamp.Equal(time.UnixMilli(start)) || len(first.ID) != 26 ||
		first.Details["cascade"] != true || first.Details["parent_id"] != nil || first.Details["name"] != "u" {
		f.Errorf("the first event: %+v", first)
	}
	if flag.Principal != "" || flag.Resource != resource || flag.Details["disabled"] != true || flag.Details["buckets_stamped"] != int64(0) || flag.Details["limits"] != nil {
		f.Errorf("the event of a flag: %+v", flag)
	}
	if set := events[3]; fmt.Sprint(set.Details["limits"]) != "[map[capacity:5 name:rpm refill_amount:5 refill_period_seconds:60]]" || set.Resource != limiter.DefaultResource {
		f.Errorf("the event of set limits: %+v", set)
	}
	if d := events[0].Details; d["complete"] != true || d["records_deleted"] != int64(2) {
		f.Errorf("the event of the deletion: %+v", events[0])
	}
	if !slices.IsSortedFunc(events, func(a, b limiter.AuditEvent) int { return strings.Compare(b.ID, a.ID) }) {
		f.Errorf("ids do not sort by time: %+v", events)
	}
	page, err := admin.AuditEvents(ctx, "u", 2, events[1].ID)
	f.must(err)
	if len(page) != 2 || page[0].ID != events[2].ID {
		f.Errorf("the page after the second: %+v", page)
	}
	for _, subject := range []string{limiter.AuditResource(resource), limiter.AuditSystem} {
		if events, err := admin.AuditEvents(ctx, subject, 0, ""); err != nil || len(events) != 1 {
			f.Errorf("events of %s: %+v, %v", subject, events, err)
		}
	}
	silent := f.limiter(limiter.Options{WithoutAudit: true})
	_, err = silent.Admin().CreateEntity(ctx, limiter.Entity{ID: "quiet"})
	f.must(err)
	if events, err := admin.AuditEvents(ctx, "quiet", 0, ""); err != nil || len(events) != 0 {
		f.Errorf("events of a limiter without audit: %+v, %v", events, err)
	}
	if _, err := admin.As("no spaces").CreateEntity(ctx, limiter.Entity{ID: "x"}); err == nil {
		f.Error("a principal that is no identifier passed")
	}
}

func testResourceCapacity(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 1000))
	f.create(limiter.Entity{ID: "org"}, limiter.Entity{ID: "u", ParentID: "org", Cascade: true})
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 30, "tpm": 1})
	f.admit(f.lim, "stranger", limiter.Amounts{"rpm": 10, "tpm": 1})
	got, err := f.lim.Admin().ResourceCapacity(f.Context(), resource, "rpm", false)
	f.must(err)
	if got.Total != 300 || got.Available != 230 || len(got.Entities) != 3 || got.Entities[1].EntityID != "stranger" || got.Entities[1].Available != 90 || got.Entities[1].Utilization != 10 {
		f.Errorf("capacity: %+v", got)
	}
	got, err = f.lim.Admin().ResourceCapacity(f.Context(), resource, "rpm", true)
	f.must(err)
	if len(got.Entities) != 1 || got.Entities[0].EntityID != "org" || got.Available != 70 || got.Utilization != 30 {
		f.Errorf("capacity of parents: %+v", got)
	}
}
