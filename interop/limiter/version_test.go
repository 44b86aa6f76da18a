//go:build interop

package limiter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// versionRecord reads the version record; nil when there is none.
func versionRecord(t *testing.T, e *peer.Env) item { return e.Get(t, "_/SYSTEM#", "#VERSION") }

// setVersion writes one with these attributes, "" leaving one out and "NULL" setting NULL.
func setVersion(t *testing.T, e *peer.Env, schema, lowest, functions string) {
	t.Helper()
	i := item{"PK": peer.Text("_/SYSTEM#"), "SK": peer.Text("#VERSION"), "GSI4PK": peer.Text("_"), "GSI4SK": peer.Text("_/SYSTEM#"), "updated_at": peer.Text("2055-01-15T08:00:00Z")}
	for name, value := range map[string]string{"schema_version": schema, "client_min_version": lowest, "lambda_version": functions} {
		switch value {
		case "":
		case "NULL":
			i[name] = &types.AttributeValueMemberNULL{Value: true}
		default:
			i[name] = peer.Text(value)
		}
	}
	e.Put(t, i)
}

func Test33PythonOpensATableOfGo(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		record := versionRecord(t, e)
		if record.Text("schema_version") != "0.10.0" || record.Text("client_min_version") != "0.0.0" || record["lambda_version"] == nil || record.Text("lambda_version") != "" {
			t.Fatalf("Go writes the record\n%v", record)
		}
		p := e.Process(t, false)
		for _, how := range []string{"open", "connect", "builder"} {
			if err := p.Reopen(t, peer.Options{How: how}); err != nil {
				t.Errorf("record of Go, %s: %v", how, err)
			}
		}
		if after := versionRecord(t, e); after.String() != record.String() {
			t.Errorf("Python changed the record to\n%v", after)
		}
		e.Delete(t, "_/SYSTEM#", "#VERSION")
		err := p.Reopen(t, peer.Options{How: "connect"})
		if absent, is := errors.AsType[*peer.Error](err); !is || absent.Type != "InfrastructureNotFoundError" {
			t.Errorf("no record, connect: %v", err)
		}
		if versionRecord(t, e) != nil {
			t.Error("connect wrote a record")
		}
		if err := p.Reopen(t, peer.Options{}); err != nil || versionRecord(t, e) == nil {
			t.Errorf("no record, open: %v, and then %v", err, versionRecord(t, e))
		}
		// Go goes on with what Python wrote.
		ok(t, e.OpenTable(t).Check(t.Context()))
		_, err = e.OpenTable(t).Connect(t.Context(), peer.Namespace)
		ok(t, err)
		// Names that are not there.
		err = p.Reopen(t, peer.Options{How: "connect", Namespace: "nobody"})
		if absent, is := errors.AsType[*peer.Error](err); !is || absent.Type != "NamespaceNotFoundError" {
			t.Errorf("unknown namespace, connect: %v", err)
		}
		if _, err := e.OpenTable(t).Connect(t.Context(), "nobody"); err == nil {
			t.Error("Go connects to an unknown namespace")
		}
		if err := p.Reopen(t, peer.Options{Namespace: "new"}); err != nil {
			t.Errorf("unknown namespace, open: %v", err)
		}
		if _, err := e.OpenTable(t).Connect(t.Context(), "new"); err != nil {
			t.Errorf("Go does not know the namespace that Python registered: %v", err)
		}
	})
}

func Test33GoOpensATableOfPython(t *testing.T) {
	machine.EachEmpty(t, func(t *testing.T, e *peer.Env) {
		p := e.Process(t, false)
		table := e.OpenTable(t)
		if err := table.Check(t.Context()); !errors.Is(err, dynamostore.ErrTableNotFound) {
			t.Errorf("no table: %v", err)
		}
		ok(t, p.Do("create_table", args{"table": e.Table, "endpoint": e.Python.URL}, nil))
		ok(t, table.Check(t.Context()))
		if _, err := table.Connect(t.Context(), peer.Namespace); err == nil {
			t.Error("Go connects to a namespace that was never registered")
		}
		if versionRecord(t, e) != nil {
			t.Error("Go's Check or Connect wrote a record")
		}
		ok(t, p.Reopen(t, peer.Options{})) // registers the namespace and writes the record
		theirs := versionRecord(t, e)
		store, err := table.Open(t.Context(), peer.Namespace)
		ok(t, err)
		if _, err := table.Connect(t.Context(), peer.Namespace); err != nil {
			t.Errorf("connect: %v", err)
		}
		if got := versionRecord(t, e); got.String() != theirs.String() {
			t.Errorf("Go changed the record to\n%v", got)
		}
		l, err := limiter.New(store, limiter.Options{Clock: e.Clock})
		ok(t, err)
		ok(t, l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{perMinute("rpm", 10)}))
		lease, err := l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: amounts{"rpm": 4}})
		ok(t, err)
		ok(t, lease.Close(t.Context()))
		var left amounts
		p.Limiter(t, "available", args{"entity_id": "u", "resource": "r"}, &left)
		if left["rpm"] != 6 {
			t.Errorf("Python has %v available", left)
		}
		// Without a record Go writes the one that Python would.
		e.Delete(t, "_/SYSTEM#", "#VERSION")
		if _, err := table.Connect(t.Context(), peer.Namespace); !errors.Is(err, dynamostore.ErrNoVersionRecord) {
			t.Errorf("no record, connect: %v", err)
		}
		_, err = table.Open(t.Context(), peer.Namespace)
		ok(t, err)
		ours := versionRecord(t, e)
		for _, differ := range []string{"lambda_version", "updated_by", "updated_at"} { // Python may have verified that there are no functions (B32)
			delete(ours, differ)
			delete(theirs, differ)
		}
		if ours.String() != theirs.String() {
			t.Errorf("Go writes the record\n%v\nand Python\n%v", ours, theirs)
		}
	})
}

func Test33VersionsThatAreRefused(t *testing.T) {
	cases := []struct {
		name                        string
		schema, lowest, functions   string
		opens, connects, connectsGo bool
	}{
		{"NULL functions", "0.10.0", "0.0.0", "NULL", true, true, true},
		{"no functions", "0.10.0", "0.0.0", "", true, true, true},
		{"older schema", "0.9.0", "0.0.0", "0.17.0", true, true, true},
		{"later functions", "0.10.0", "0.0.0", "0.18.2", true, true, true},
		{"schema major 1", "1.0.0", "0.0.0", "0.17.0", false, false, false},
		{"no schema", "", "0.0.0", "0.17.0", false, false, false},
		{"minimum above", "0.10.0", "0.18.0", "0.18.0", false, false, false},
		{"minimum at", "0.10.0", "0.17.0", "0.17.0", true, true, true},
		{"minimum far above", "0.10.0", "1.0.0", "NULL", false, false, false},
		{"earlier functions", "0.10.0", "0.0.0", "0.10.3", false, false, false},
	}
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		p, table := e.Process(t, false), e.OpenTable(t)
		for _, c := range cases {
			setVersion(t, e, c.schema, c.lowest, c.functions)
			before := versionRecord(t, e)
			opens := p.Reopen(t, peer.Options{}) == nil
			connects := p.Reopen(t, peer.Options{How: "connect"}) == nil
			if opens != c.opens || connects != c.connects {
				t.Errorf("%s: Python opens %v and connects %v, want %v and %v", c.name, opens, connects, c.opens, c.connects)
			}
			_, err := table.Connect(t.Context(), peer.Namespace)
			if (err == nil) != c.connectsGo {
				t.Errorf("%s: Go connects: %v", c.name, err)
			}
			if _, is := errors.AsType[*dynamostore.VersionError](err); err != nil && !is {
				t.Errorf("%s: Go connects: %T %v", c.name, err, err)
			}
			_, err = table.Open(t.Context(), peer.Namespace)
			// Functions of an earlier release are no reason not to read and write: it has none to push.
			if want := c.opens || c.functions == "0.10.3"; (err == nil) != want {
				t.Errorf("%s: Go opens: %v", c.name, err)
			}
			if after := versionRecord(t, e); after.String() != before.String() {
				t.Errorf("%s: the record became\n%v", c.name, after)
			}
		}
	})
}

// Features that readers must know: each side refuses them without a release on record, and raises the
// minimum with one, never lowering it.
func Test33GatesAndRatchet(t *testing.T) {
	features := []struct {
		name, minimum string
		store         func(t *testing.T, s side) error
	}{
		{"session quota", "0.15.0", func(t *testing.T, s side) error {
			return tryDefaults(t, s, limiter.SessionQuota("ses", 10, time.Hour))
		}},
		{"cascade policy", "0.16.0", func(t *testing.T, s side) error {
			if p, is := s.(*pySide); is {
				return p.Try("set_resource_cascade", args{"resource": "r", "cascade": true}, nil)
			}
			_, err := s.(*goSide).Admin().SetCascade(t.Context(), "", "r", true)
			return err
		}},
		{"soft limit", "0.17.0", func(t *testing.T, s side) error { return tryDefaults(t, s, perMinute("rpm", 10).WithSoft()) }},
		{"bypass", "0.17.0", func(t *testing.T, s side) error {
			if p, is := s.(*pySide); is {
				return p.Try("bypass_resource", args{"resource": "r"}, nil)
			}
			_, err := s.(*goSide).Admin().Bypass(t.Context(), "", "r")
			return err
		}},
		{"move", "0.17.0", func(t *testing.T, s side) error {
			if p, is := s.(*pySide); is {
				return p.Try("set_parent", args{"entity_id": "c", "parent_id": nil}, nil)
			}
			_, err := s.(*goSide).Admin().SetParent(t.Context(), "c", "")
			return err
		}},
	}
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		family(first, "c")
		first.defaults("plain", perMinute("rpm", 10))
		for _, f := range features {
			for _, s := range []side{first, second} {
				setVersion(t, e, "0.10.0", "0.0.0", "NULL")
				before := len(e.Items(t, e.NS+"/"))
				err := f.store(t, s)
				theirs, isPython := errors.AsType[*peer.Error](err)
				if !errors.Is(err, limiter.ErrVersion) && (!isPython || theirs.Type != "VersionMismatchError") {
					t.Errorf("%s of %s with NULL: %v, want a version error", f.name, s.name(), err)
				}
				if n := len(e.Items(t, e.NS+"/")); n != before || versionRecord(t, e).Text("client_min_version") != "0.0.0" {
					t.Errorf("%s of %s with NULL: it wrote something", f.name, s.name())
				}
				setVersion(t, e, "0.10.0", "0.0.0", "0.17.0")
				if err := f.store(t, s); err != nil {
					t.Errorf("%s of %s with 0.17.0: %v", f.name, s.name(), err)
				}
				if got := versionRecord(t, e).Text("client_min_version"); got != f.minimum {
					t.Errorf("%s of %s raises the minimum to %q, want %s", f.name, s.name(), got, f.minimum)
				}
				setVersion(t, e, "0.10.0", "0.17.0", "0.17.0")
				if err := f.store(t, s); err != nil {
					t.Errorf("%s of %s at the minimum: %v", f.name, s.name(), err)
				}
				if got := versionRecord(t, e).Text("client_min_version"); got != "0.17.0" {
					t.Errorf("%s of %s lowers the minimum to %q", f.name, s.name(), got)
				}
			}
		}
	})
}

func tryDefaults(t *testing.T, s side, limits ...limiter.Limit) error {
	if p, is := s.(*pySide); is {
		return p.Try("set_resource_defaults", args{"resource": "gated", "limits": dictionaries(limits)}, nil)
	}
	return s.(*goSide).Admin().SetResourceDefaults(t.Context(), "gated", limits)
}

func Test34UnknownAttributesSurvive(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})
		ctx, a := t.Context(), g.Admin()
		more := item{":s": peer.Text("future"), ":m": &types.AttributeValueMemberM{Value: item{"x": peer.Number(1)}}}
		extend := func(pk, sk string) { e.Change(t, pk, sk, "SET later_feature = :s, zz_map = :m", more) }
		kept := func(what, pk, sk string) {
			t.Helper()
			i := e.Get(t, pk, sk)
			if i.Text("later_feature") != "future" || !strings.Contains(i.String(), "zz_map={x=1,}") {
				t.Errorf("%s drops what it does not know:\n%v", what, i)
			}
		}
		p.systemDefaults(perMinute("rpm", 10))
		p.defaults("r", perMinute("rpm", 100))
		p.setLimits("own", "r", perMinute("rpm", 100))
		family(p, "own")
		p.setLimits("org", "r", perMinute("rpm", 1_000_000))
		p.must("own", "r", amounts{"rpm": 1})
		levels := [][2]string{{e.NS + "/SYSTEM#", "#CONFIG"}, {e.NS + "/RESOURCE#r", "#CONFIG"}, {e.NS + "/ENTITY#own", "#CONFIG#r"}}
		for _, level := range levels {
			extend(level[0], level[1])
		}
		bucket := [2]string{e.BucketPK("own", "r", 0), peer.BucketSK}
		extend(bucket[0], bucket[1])
		extend(e.NS+"/ENTITY#own", "#META")

		ok(t, a.SetSystemDefaults(ctx, []limiter.Limit{perMinute("rpm", 11)}, limiter.Allow))
		g.defaults("r", perMinute("rpm", 101))
		g.setLimits("own", "r", perMinute("rpm", 102))
		setFlag(t, g, "", "r", "disable")
		setFlag(t, g, "", "r", "clear")
		setCascade(t, g, "own", "r", true)
		for _, level := range levels {
			kept("a change of limits or flags", level[0], level[1])
		}
		kept("a fan-out", bucket[0], bucket[1])
		for _, step := range []struct {
			name string
			do   func()
		}{
			{"the fast path", func() { g.must("own", "r", amounts{"rpm": 1}) }},
			{"a slow pass", func() { e.Pass(10 * sec); g.must("own", "r", amounts{"rpm": 101}) }},
			{"an adjustment", func() { l := g.enter("own", "r", amounts{"rpm": 0}); l.adjust(amounts{"rpm": 3}); l.exit() }},
			{"a rollback", func() { e.Pass(10 * sec); g.enter("own", "r", amounts{"rpm": 1}).fail() }},
			{"a reset", func() { reset(t, g, "own", "r", "") }},
			{"a top-up", func() { _, err := a.TopUp(ctx, "own", "r", amounts{"rpm": 1}, ""); ok(t, err) }},
			{"a move", func() { _, err := a.SetParent(ctx, "own", ""); ok(t, err) }},
			{"deleting limits", func() { g.deleteLimits("own", "r") }},
		} {
			step.do()
			kept(step.name, bucket[0], bucket[1])
		}
		kept("a move", e.NS+"/ENTITY#own", "#META")
		// They are not copied into what is new.
		e.Change(t, bucket[0], bucket[1], "SET shard_count = :n", item{":n": peer.Number(2)})
		second := openGo(t, e, limiter.Options{Rand: func(n int) int { return n - 1 }})
		second.must("own", "r", amounts{"rpm": 0})
		second.must("own", "r", amounts{"rpm": 0})
		if b := e.Bucket(t, "own", "r", 1); b.Has("later_feature") {
			t.Errorf("a new shard copies what is unknown:\n%v", b)
		}
		p.must("own", "r", amounts{"rpm": 1})
	})
}
