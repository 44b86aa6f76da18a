//go:build interop

package limiter_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

const cacheTime = 61 * sec // longer than limits are cached

func Test27LevelsResolveOnTheOtherSide(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		resolves := func(what string, entity string, want int64) {
			t.Helper()
			e.Pass(cacheTime)
			if got := second.available(entity, "r")["rpm"]; got != want {
				t.Errorf("%s: %s resolves %d, want %d", what, second.name(), got, want)
			}
		}
		first.systemDefaults(perMinute("rpm", 10))
		resolves("system", "u", 10)
		first.defaults("r", perMinute("rpm", 20))
		resolves("resource", "u", 20)
		first.setLimits("u", "", perMinute("rpm", 30))
		resolves("entity default", "u", 30)
		first.setLimits("u", "r", perMinute("rpm", 40))
		resolves("entity", "u", 40)
		resolves("another entity", "other", 20)
		// Only the level that wins counts, whole.
		first.setLimits("u", "r", perMinute("tpm", 5))
		e.Pass(cacheTime)
		if got := second.available("u", "r"); !maps.Equal(got, amounts{"tpm": 5}) {
			t.Errorf("%s merges levels: %v", second.name(), got)
		}
		// An acquire follows it as well: its bucket has that level's limits.
		second.must("u", "r", amounts{"tpm": 1})
		if b := e.Bucket(t, "u", "r", 0); b.Has("b_rpm_tk") {
			t.Errorf("%s creates a bucket with limits of another level:\n%v", second.name(), b)
		}
		e.Delete(t, e.BucketPK("u", "r", 0), peer.BucketSK)
		first.deleteLimits("u", "r")
		resolves("entity deleted", "u", 30)
		first.deleteLimits("u", "")
		resolves("entity default deleted", "u", 20)
		deleteDefaults(t, first, "r")
		resolves("resource deleted", "u", 10)
		deleteDefaults(t, first, "")
		e.Pass(cacheTime)
		if r := second.try("u", "r", amounts{"rpm": 1}); r == nil || r.Error != "ValidationError" {
			t.Errorf("without any limits %s is refused with %+v, want a validation error", second.name(), r)
		}
	})
}

// deleteDefaults deletes those of a resource, or of the system.
func deleteDefaults(t *testing.T, s side, resource string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		if resource == "" {
			ok(t, s.Admin().DeleteSystemDefaults(t.Context()))
		} else {
			ok(t, s.Admin().DeleteResourceDefaults(t.Context(), resource))
		}
	case *pySide:
		if resource == "" {
			s.Repository(t, "delete_system_defaults", nil, nil)
		} else {
			s.Repository(t, "delete_resource_defaults", args{"resource": resource}, nil)
		}
	}
}

// Limits of the request beat every level for the bucket that they create.
func Test27Override(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g, p := openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})
		g.setLimits("Go", "r", perMinute("rpm", 10))
		p.setLimits("Python", "r", perMinute("rpm", 10))
		limits := []limiter.Limit{perMinute("rpm", 77), perMinute("own", 7)}
		l, err := g.Acquire(t.Context(), limiter.Request{EntityID: "Python", Resource: "r", Consume: amounts{"rpm": 50, "own": 1}, Limits: limits})
		ok(t, err)
		ok(t, l.Close(t.Context()))
		_, err = p.AcquireWith(args{"entity_id": "Go", "resource": "r", "consume": args{"rpm": 50, "own": 1}, "limits": dictionaries(limits)})
		ok(t, err)
		ours, theirs := e.Bucket(t, "Python", "r", 0), e.Bucket(t, "Go", "r", 0)
		for _, b := range []item{ours, theirs} {
			wantNumbers(t, b, map[string]int64{"b_rpm_cp": 77_000, "b_rpm_tk": 27_000, "b_own_tk": 6000, "ttl": e.Now()/1000 + 420})
			for _, name := range []string{"PK", "entity_id", "GSI2SK", "GSI3PK", "GSI4SK"} {
				delete(b, name)
			}
		}
		if ours.String() != theirs.String() {
			t.Errorf("Go creates\n%v\nand Python\n%v", ours, theirs)
		}
		// The fast path of the other side goes by what is there.
		g.must("Go", "r", amounts{"rpm": 27})
		p.must("Python", "r", amounts{"rpm": 27})
	})
}

// Flags are decided level by level on their own, wherever the limits come from.
func Test27FlagsWalk(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.systemDefaults(perMinute("rpm", 10))
		closed := func(entity, level string) {
			t.Helper()
			r := second.try(entity, "r", amounts{"rpm": 1})
			if r == nil || r.Error != "ResourceDisabled" || r.Message != level {
				t.Errorf("%s of %s: %+v, want it disabled at level %s", second.name(), entity, r, level)
			}
		}
		setFlag(t, first, "", "r", "disable")
		closed("u", "resource")
		setFlag(t, first, "exempt", "", "enable")
		second.must("exempt", "r", amounts{"rpm": 1})
		setFlag(t, first, "exempt", "r", "disable")
		closed("exempt", "bucket") // where it was stamped
		e.Delete(t, e.BucketPK("exempt", "r", 0), peer.BucketSK)
		closed("exempt", "entity")
		setFlag(t, first, "exempt", "r", "clear")
		second.must("exempt", "r", amounts{"rpm": 1})
		setFlag(t, first, "exempt", "", "clear")
		closed("exempt", "bucket")
		setFlag(t, first, "all", "", "disable")
		setFlag(t, first, "", "r", "clear")
		closed("all", "entity_default")
		second.must("u", "r", amounts{"rpm": 1})
		second.must("exempt", "r", amounts{"rpm": 1})
	})
}

// setFlag sets the flag disabled of a level.
func setFlag(t *testing.T, s side, entity, resource, verb string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		set := map[string]func() (int, error){
			"disable": func() (int, error) { return s.Admin().Disable(t.Context(), entity, resource) },
			"enable":  func() (int, error) { return s.Admin().Enable(t.Context(), entity, resource) },
			"bypass":  func() (int, error) { return s.Admin().Bypass(t.Context(), entity, resource) },
			"clear":   func() (int, error) { return s.Admin().ClearDisabled(t.Context(), entity, resource) },
		}
		_, err := set[verb]()
		ok(t, err)
	case *pySide:
		a, what := args{"resource": resource}, "resource"
		if entity != "" {
			a["entity_id"], what = entity, "entity"
			if resource == "" {
				delete(a, "resource")
			}
		}
		method := verb + "_" + what
		if verb == "clear" {
			method = "clear_" + what + "_disabled"
		}
		s.Repository(t, method, a, nil)
	}
}

// provisioned is a level as the provisioner writes it: no version, no index of entities, no registry.
func provisioned(e *peer.Env, pk, sk string, more item) item {
	i := item{
		"PK": peer.Text(pk), "SK": peer.Text(sk), "GSI4PK": peer.Text(e.NS), "GSI4SK": peer.Text(pk),
		"l_rpm_cp": peer.Number(50), "l_rpm_ra": peer.Number(50), "l_rpm_rp": peer.Number(60),
	}
	maps.Copy(i, more)
	return i
}

func Test28ProvisionedLevels(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		e.Put(t, provisioned(e, e.NS+"/SYSTEM#", "#CONFIG", nil))
		e.Put(t, provisioned(e, e.NS+"/RESOURCE#r", "#CONFIG", item{"resource": peer.Text("r"), "l_rpm_cp": peer.Number(60)}))
		e.Put(t, provisioned(e, e.NS+"/ENTITY#made", "#CONFIG#r", item{"resource": peer.Text("r"), "entity_id": peer.Text("made"), "l_rpm_cp": peer.Number(70)}))
		first.setLimits("set", "r", perMinute("rpm", 80))
		for _, s := range []side{first, second} {
			for entity, want := range map[string]int64{"made": 70, "set": 80, "other": 60} {
				if got := s.available(entity, "r")["rpm"]; got != want {
					t.Errorf("%s resolves %d for %s, want %d", s.name(), got, entity, want)
				}
			}
			if got := s.available("other", "else")["rpm"]; got != 50 {
				t.Errorf("%s resolves %d of the system, want 50", s.name(), got)
			}
			if got := entitiesWithLimits(t, s, "r"); !slices.Equal(got, []string{"set"}) {
				t.Errorf("%s lists the entities %v, want the one that is in the index", s.name(), got)
			}
		}
	})
}

func Test28GoDeletesAProvisionedLevel(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g, p := openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})
		e.Put(t, provisioned(e, e.NS+"/ENTITY#made", "#CONFIG#r", item{"resource": peer.Text("r"), "entity_id": peer.Text("made")}))
		p.setLimits("set", "r", perMinute("rpm", 80))
		g.deleteLimits("made", "r")
		g.deleteLimits("never", "r")
		wantNumbers(t, e.Get(t, e.NS+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]int64{"r": 1})
		for _, s := range []side{g, p} {
			if got := resourcesWithEntityLimits(t, s); !slices.Equal(got, []string{"r"}) {
				t.Errorf("%s lists %v", s.name(), got)
			}
		}
		// One that Go overwrites is counted from then on.
		e.Put(t, provisioned(e, e.NS+"/ENTITY#made", "#CONFIG#r", item{"resource": peer.Text("r"), "entity_id": peer.Text("made")}))
		g.setLimits("made", "r", perMinute("rpm", 5))
		if got := entitiesWithLimits(t, p, "r"); !slices.Equal(got, []string{"made", "set"}) {
			t.Errorf("Python lists the entities %v", got)
		}
		wantNumbers(t, e.Get(t, e.NS+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), map[string]int64{"r": 2})
		p.deleteLimits("set", "r")
		p.deleteLimits("made", "r")
		if got := resourcesWithEntityLimits(t, g); len(got) != 0 {
			t.Errorf("Go lists %v after all were deleted", got)
		}
	})
}

func entitiesWithLimits(t *testing.T, s side, resource string) []string {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		ids, _, err := s.Admin().EntitiesWithLimits(t.Context(), resource, 0, "")
		ok(t, err)
		return ids
	case *pySide:
		var answer []any
		s.Repository(t, "list_entities_with_custom_limits", args{"resource": resource}, &answer)
		var ids []string
		for _, id := range answer[0].([]any) {
			ids = append(ids, id.(string))
		}
		return ids
	}
	return nil
}

func resourcesWithEntityLimits(t *testing.T, s side) (names []string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		var err error
		names, err = s.Admin().ResourcesWithEntityLimits(t.Context())
		ok(t, err)
	case *pySide:
		s.Repository(t, "list_resources_with_entity_configs", nil, &names)
	}
	return names
}

func resourcesWithDefaults(t *testing.T, s side) (names []string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		var err error
		names, err = s.Admin().ResourcesWithDefaults(t.Context())
		ok(t, err)
	case *pySide:
		s.Repository(t, "list_resources_with_defaults", nil, &names)
	}
	return names
}

func Test29Registries(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		lists := func(what string, defaults, entities []string) {
			t.Helper()
			for _, s := range []side{first, second} {
				if got := resourcesWithDefaults(t, s); !slices.Equal(got, defaults) {
					t.Errorf("%s: %s lists the resources %v, want %v", what, s.name(), got, defaults)
				}
				if got := resourcesWithEntityLimits(t, s); !slices.Equal(got, entities) {
					t.Errorf("%s: %s lists the entities' resources %v, want %v", what, s.name(), got, entities)
				}
			}
		}
		counts := func(want map[string]int64) {
			t.Helper()
			wantNumbers(t, e.Get(t, e.NS+"/SYSTEM#", "#ENTITY_CONFIG_RESOURCES"), want)
		}
		limit := perMinute("rpm", 5)
		for i, resource := range []string{"b", "a/x", "Z", "a:y"} {
			[]side{first, second}[i%2].defaults(resource, limit)
		}
		for i := range 5 {
			entity := fmt.Sprintf("e%d", i)
			first.setLimits(entity, "r1", limit)
			second.setLimits(entity, "r2", limit)
			second.setLimits(entity, "r1", limit) // overwrites
			first.setLimits(entity, "", limit)
		}
		lists("all set", []string{"Z", "a/x", "a:y", "b"}, []string{"_default_", "r1", "r2"})
		counts(map[string]int64{"r1": 5, "r2": 5, "_default_": 5})
		for i := range 5 {
			entity := fmt.Sprintf("e%d", i)
			[]side{second, first}[i%2].deleteLimits(entity, "r1")
			first.deleteLimits(entity, "r1") // again
			if i < 4 {
				first.deleteLimits(entity, "r2")
			}
		}
		second.deleteLimits("e0", "")
		deleteDefaults(t, first, "a/x")
		deleteDefaults(t, second, "Z")
		lists("some deleted", []string{"a:y", "b"}, []string{"_default_", "r2"})
		counts(map[string]int64{"r2": 1, "_default_": 4})
		// Flags count like limits.
		setFlag(t, first, "f", "flagged", "disable")
		setFlag(t, second, "", "flagged", "disable")
		lists("flags", []string{"a:y", "b", "flagged"}, []string{"_default_", "flagged", "r2"})
	})
}

func Test30SystemDefaults(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g, p := openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})
		config := func() item { return e.Get(t, e.NS+"/SYSTEM#", "#CONFIG") }
		// What the creation of a stack writes.
		e.Put(t, item{"PK": peer.Text(e.NS + "/SYSTEM#"), "SK": peer.Text("#CONFIG"), "audit_retention_days": peer.Number(7)})
		ok(t, g.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{perMinute("rpm", 10)}, limiter.Allow))
		wantNumbers(t, config(), map[string]int64{"audit_retention_days": 7, "l_rpm_cp": 10})
		python := func() (limits []any, mode any) {
			t.Helper()
			var answer []any
			p.Repository(t, "get_system_defaults", nil, &answer)
			return answer[0].([]any), answer[1]
		}
		if limits, mode := python(); mode != "allow" || len(limits) != 1 {
			t.Errorf("Python reads %v, %v, want allow", limits, mode)
		}
		ok(t, g.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{perMinute("rpm", 11)}, ""))
		if _, mode := python(); mode != "allow" {
			t.Errorf("Go's write drops the mode: Python reads %v", mode)
		}
		ok(t, g.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{perMinute("rpm", 11)}, limiter.Block))
		if _, mode := python(); mode != "block" {
			t.Errorf("Python reads %v, want block", mode)
		}
		p.Repository(t, "set_system_defaults", args{"limits": dictionaries([]limiter.Limit{perMinute("rpm", 12)}), "on_unavailable": "allow"}, nil)
		limits, mode, err := g.Admin().SystemDefaults(t.Context())
		ok(t, err)
		if mode != limiter.Allow || len(limits) != 1 || limits[0] != perMinute("rpm", 12) {
			t.Errorf("Go reads %v, %s, want 12 a minute and allow", limits, mode)
		}
		// Python replaces the whole item.
		p.systemDefaults(perMinute("rpm", 13))
		if c := config(); c.Has("on_unavailable") || c.Has("audit_retention_days") {
			t.Errorf("Python keeps more by now:\n%v", c)
		}
		limits, mode, err = g.Admin().SystemDefaults(t.Context())
		if err != nil || mode != "" || len(limits) != 1 {
			t.Errorf("Go reads %v, %q, %v after that", limits, mode, err)
		}
		g.must("u", "r", amounts{"rpm": 13})
	})
}

func Test30LimitsKeepFlags(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		e.DeclareReaders(t)
		setCascade(t, first, "u", "r", true)
		setFlag(t, first, "u", "r", "disable")
		setCascade(t, second, "", "r", false)
		setFlag(t, second, "", "r", "bypass")
		for i, s := range []side{second, first, second} {
			s.setLimits("u", "r", perMinute("rpm", int64(5+i)))
			s.defaults("r", perMinute("rpm", int64(50+i)))
			entity, resource := e.Get(t, e.NS+"/ENTITY#u", "#CONFIG#r"), e.Get(t, e.NS+"/RESOURCE#r", "#CONFIG")
			wantNumbers(t, entity, map[string]int64{"l_rpm_cp": int64(5 + i)})
			wantNumbers(t, resource, map[string]int64{"l_rpm_cp": int64(50 + i)})
			for name, want := range map[string]item{"disabled": {"e": peer.Bool(true), "r": peer.Text("bypass")}, "cascade": {"e": peer.Bool(true), "r": peer.Bool(false)}} {
				if got := (item{"e": entity[name], "r": resource[name]}); got.String() != want.String() {
					t.Errorf("%s leaves %s as\n%vwant\n%v", s.name(), name, got, want)
				}
			}
		}
	})
}

func setCascade(t *testing.T, s side, entity, resource string, cascade bool) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		_, err := s.Admin().SetCascade(t.Context(), entity, resource, cascade)
		ok(t, err)
	case *pySide:
		method, a := "set_resource_cascade", args{"resource": resource, "cascade": cascade}
		if entity != "" {
			method, a["entity_id"] = "set_entity_cascade", entity
		}
		s.Repository(t, method, a, nil)
	}
}

func Test31Entities(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		metadata := map[string]any{"tier": "gold", "seats": 12.0, "on": true, "none": nil, "tags": []any{"a", 1.0}, "more": map[string]any{"x": "y"}}
		createFull(t, first, "org", "The Org", "", false, metadata)
		createFull(t, first, "c1", "", "org", true, nil)
		first.create("c2", "org", false)
		second.create("c3", "org", true)
		for _, s := range []side{first, second} {
			if got, want := s.entity("org"), (&entityFacts{"org", "The Org", "", false, metadata}); !cmp.Equal(got, want) {
				t.Errorf("%s reads %s", s.name(), cmp.Diff(want, got))
			}
			if got := s.entity("c1"); got == nil || got.Name != "c1" || got.ParentID != "org" || !got.Cascade || len(got.Metadata) != 0 {
				t.Errorf("%s reads c1 as %+v", s.name(), got)
			}
			if s.entity("nobody") != nil {
				t.Errorf("%s reads an entity that is not there", s.name())
			}
			if got := children(t, s, "org"); !slices.Equal(got, []string{"c1", "c2", "c3"}) {
				t.Errorf("%s lists the children %v", s.name(), got)
			}
			for _, entity := range []string{"org", "c1", "c3"} {
				if got := createAgain(t, s, entity); got != "EntityExistsError" {
					t.Errorf("%s creates %s again: %s", s.name(), entity, got)
				}
			}
		}
	})
}

func Test31DeletionLeavesNothing(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.create("org", "", false)
		first.create("gone", "org", true)
		first.create("stays", "org", false)
		for _, resource := range []string{"r1", "r2"} {
			first.defaults(resource, perMinute("rpm", 100))
			for _, entity := range []string{"gone", "stays"} {
				first.must(entity, resource, amounts{"rpm": 1})
			}
			split(t, e, "gone", resource, 3)
		}
		first.setLimits("gone", "r2", perMinute("rpm", 10))
		first.setLimits("gone", "", perMinute("rpm", 10))
		reset(t, first, "gone", "r1", "k1")
		reset(t, second, "gone", "r2", "k2")
		remove(t, second, "gone")
		for _, i := range append(e.Items(t, e.NS+"/ENTITY#gone"), e.Items(t, e.NS+"/BUCKET#gone#")...) {
			t.Errorf("%s leaves %s %s", second.name(), i.Text("PK"), i.Text("SK"))
		}
		for _, pk := range []string{e.BucketPK("stays", "r1", 0), e.BucketPK("org", "r1", 0)} {
			if e.Get(t, pk, peer.BucketSK) == nil {
				t.Errorf("%s deletes %s", second.name(), pk)
			}
		}
		if first.entity("gone") != nil || first.entity("stays") == nil {
			t.Errorf("%s sees the wrong entity deleted", first.name())
		}
		remove(t, first, "gone") // nothing to do
		if events := e.Items(t, e.NS+"/AUDIT#gone"); len(events) == 0 {
			t.Error("the audit events are gone, too")
		}
	})
}

func createFull(t *testing.T, s side, id, name, parent string, cascade bool, metadata map[string]any) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		_, err := s.Admin().CreateEntity(t.Context(), limiter.Entity{ID: id, Name: name, ParentID: parent, Cascade: cascade, Metadata: metadata})
		ok(t, err)
	case *pySide:
		a := args{"entity_id": id, "cascade": cascade}
		for key, value := range map[string]string{"name": name, "parent_id": parent} {
			if value != "" {
				a[key] = value
			}
		}
		if metadata != nil {
			a["metadata"] = metadata
		}
		s.Repository(t, "create_entity", a, nil)
	}
}

// createAgain returns the class of the error.
func createAgain(t *testing.T, s side, id string) string {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		if _, err := s.Admin().CreateEntity(t.Context(), limiter.Entity{ID: id}); errors.Is(err, limiter.ErrEntityExists) {
			return "EntityExistsError"
		}
	case *pySide:
		if e, is := errors.AsType[*peer.Error](s.Try("create_entity", args{"entity_id": id}, nil)); is {
			return e.Type
		}
	}
	return ""
}

func children(t *testing.T, s side, id string) (ids []string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		found, err := s.Admin().Children(t.Context(), id)
		ok(t, err)
		for _, c := range found {
			ids = append(ids, c.ID)
		}
	case *pySide:
		var found []entityFacts
		s.Repository(t, "get_children", args{"parent_id": id}, &found)
		for _, c := range found {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func reset(t *testing.T, s side, entity, resource, key string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		_, err := s.Admin().ResetBucket(t.Context(), entity, resource, nil, key)
		ok(t, err)
	case *pySide:
		s.Repository(t, "reset_bucket", args{"entity_id": entity, "resource": resource, "idempotency_key": key}, nil)
	}
}

func remove(t *testing.T, s side, entity string) {
	t.Helper()
	switch s := s.(type) {
	case *goSide:
		ok(t, s.Admin().DeleteEntity(t.Context(), entity))
	case *pySide:
		s.Repository(t, "delete_entity", args{"entity_id": entity}, nil)
	}
}

// namespaces are the calls about namespaces, of either side.
type namespaces struct {
	register func(name string) (id string)
	find     func(name string) (id string) // "" when there is none
	list     func() map[string]string      // ids by name
	orphans  func() map[string]string      // names by id
	remove   func(name string)
	recover  func(id string) (name, state string) // the state that forbids it
	purge    func(id string) (state string)
}

func namespacesOf(t *testing.T, s side) namespaces {
	switch s := s.(type) {
	case *goSide:
		table, ctx := s.e.OpenTable(t), t.Context()
		state := func(err error) string {
			if e, is := errors.AsType[*dynamostore.NamespaceStateError](err); is {
				return e.State
			}
			if _, is := errors.AsType[*dynamostore.NamespaceNotFoundError](err); is {
				return "absent"
			}
			ok(t, err)
			return ""
		}
		return namespaces{
			register: func(name string) string { id, err := table.RegisterNamespace(ctx, name); ok(t, err); return id },
			find: func(name string) string {
				n, err := table.Namespace(ctx, name)
				if state(err) != "" {
					return ""
				}
				return n.ID
			},
			list: func() map[string]string {
				found, err := table.Namespaces(ctx, "")
				ok(t, err)
				ids := map[string]string{}
				for _, n := range found {
					ids[n.Name] = n.ID
				}
				return ids
			},
			orphans: func() map[string]string {
				found, err := table.OrphanedNamespaces(ctx)
				ok(t, err)
				names := map[string]string{}
				for _, n := range found {
					names[n.ID] = n.Name
				}
				return names
			},
			remove: func(name string) { ok(t, table.DeleteNamespace(ctx, name)) },
			recover: func(id string) (string, string) {
				name, err := table.RecoverNamespace(ctx, id)
				return name, state(err)
			},
			purge: func(id string) string { return state(table.PurgeNamespace(ctx, id)) },
		}
	case *pySide:
		state := func(err error) string {
			if e, is := errors.AsType[*peer.Error](err); is {
				switch e.Type {
				case "NamespaceStateError":
					return e.Fields["state"].(string)
				case "EntityNotFoundError":
					return "absent"
				}
			}
			ok(t, err)
			return ""
		}
		records := func(method, key, value string) map[string]string {
			var found []map[string]string
			s.Repository(t, method, nil, &found)
			out := map[string]string{}
			for _, n := range found {
				out[n[key]] = n[value]
			}
			return out
		}
		return namespaces{
			register: func(name string) (id string) {
				s.Repository(t, "register_namespace", args{"namespace": name}, &id)
				return id
			},
			find: func(name string) string {
				var found map[string]string
				s.Repository(t, "get_namespace", args{"namespace": name}, &found)
				return found["namespace_id"]
			},
			list:    func() map[string]string { return records("list_namespaces", "name", "namespace_id") },
			orphans: func() map[string]string { return records("list_orphan_namespaces", "namespace_id", "namespace") },
			remove:  func(name string) { s.Repository(t, "delete_namespace", args{"namespace": name}, nil) },
			recover: func(id string) (name, forbidden string) {
				forbidden = state(s.Try("recover_namespace", args{"namespace_id": id}, &name))
				return name, forbidden
			},
			purge: func(id string) string { return state(s.Try("purge_namespace", args{"namespace_id": id}, nil)) },
		}
	}
	panic("no such side")
}

func Test32Namespaces(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		a, b := namespacesOf(t, first), namespacesOf(t, second)
		id := a.register("team")
		if again := b.register("team"); again != id || len(id) != 11 {
			t.Errorf("registered as %q and again as %q", id, again)
		}
		for name, n := range map[string]namespaces{first.name(): a, second.name(): b} {
			if got, want := n.list(), map[string]string{"team": id, peer.Namespace: e.NS}; !maps.Equal(got, want) {
				t.Errorf("%s lists %v, want %v", name, got, want)
			}
			if n.find("team") != id || n.find("nobody") != "" {
				t.Errorf("%s finds %q", name, n.find("team"))
			}
			if _, state := n.recover(id); state != "active" {
				t.Errorf("%s recovers an active namespace: %q", name, state)
			}
			if state := n.purge(id); state != "active" {
				t.Errorf("%s purges an active namespace: %q", name, state)
			}
			if _, state := n.recover("AAAAAAAAAAA"); state != "absent" {
				t.Errorf("%s recovers a namespace that is not there: %q", name, state)
			}
		}
		// Deleted by one, recovered by the other.
		a.remove("team")
		a.remove("team")
		for _, n := range []namespaces{a, b} {
			if got := n.orphans(); !maps.Equal(got, map[string]string{id: "team"}) || n.find("team") != "" {
				t.Errorf("the deleted namespace is listed as %v", got)
			}
		}
		if name, state := b.recover(id); name != "team" || state != "" {
			t.Errorf("recovered as %q, %q", name, state)
		}
		if a.find("team") != id || len(a.orphans()) != 0 {
			t.Errorf("the recovered namespace is %q", a.find("team"))
		}
		// The name goes to another namespace.
		b.remove("team")
		other := a.register("team")
		if other == id {
			t.Error("a new registration gets the old id")
		}
		for _, n := range []namespaces{a, b} {
			if _, state := n.recover(id); state != "re-registered" {
				t.Errorf("recovered although the name was taken: %q", state)
			}
		}
	})
}

func Test32PurgeRemovesWhatHasKeysOfTheNamespace(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		a, b := namespacesOf(t, first), namespacesOf(t, second)
		id := a.register("team")
		fill := func(ns string) {
			for _, i := range e.Items(t, e.NS+"/") { // as many kinds as there are
				for _, name := range []string{"PK", "GSI1PK", "GSI2PK", "GSI3PK", "GSI4PK", "GSI4SK"} {
					if text := i.Text(name); len(text) >= len(e.NS) && text[:len(e.NS)] == e.NS {
						i[name] = peer.Text(ns + text[len(e.NS):])
					}
				}
				e.Put(t, i)
			}
		}
		first.defaults("r", perMinute("rpm", 100))
		first.systemDefaults(perMinute("rpm", 100))
		family(first, "c")
		second.must("c", "r", amounts{"rpm": 1})
		second.setLimits("c", "r", perMinute("rpm", 10))
		setFlag(t, second, "", "other", "disable")
		reset(t, first, "c", "r", "k")
		reset(t, second, "org", "r", "k")
		before := e.Items(t, e.NS+"/")
		fill(id)
		// One without the keys stays, as one that an older provisioner wrote.
		e.Put(t, item{"PK": peer.Text(id + "/SYSTEM#"), "SK": peer.Text("#PROVISIONER"), "GSI4PK": peer.Text(id)})
		if n := len(e.Items(t, id+"/")); n != len(before)+1 || n < 15 {
			t.Fatalf("%d items in the namespace, %d in the other", n, len(before))
		}
		a.remove("team")
		if state := b.purge(id); state != "" {
			t.Fatalf("purge: %s", state)
		}
		if left := e.Items(t, id+"/"); len(left) != 1 || left[0].Text("SK") != "#PROVISIONER" {
			t.Errorf("%s leaves %v", second.name(), left)
		}
		if after := e.Items(t, e.NS+"/"); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Error("the purge changed another namespace")
		}
		if len(a.orphans()) != 0 || e.Get(t, "_/SYSTEM#", "#NSID#"+id) != nil {
			t.Errorf("%s leaves a record: %v", second.name(), a.orphans())
		}
		if state := a.purge(id); state != "" {
			t.Errorf("purged again: %s", state)
		}
	})
}
