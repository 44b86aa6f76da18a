//go:build interop

package limiter_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

type (
	args    = peer.Args
	amounts = limiter.Amounts
	item    = peer.Item
)

// side is a process of Go or of Python on the table of a test. What fails unexpectedly ends the test.
type side interface {
	name() string
	// must makes a whole acquire that is admitted.
	must(entity, resource string, consume amounts)
	// try makes a whole acquire; nil says that it was admitted.
	try(entity, resource string, consume amounts) *refusal
	// enter makes the first half of an acquire that is admitted.
	enter(entity, resource string, consume amounts) lease
	available(entity, resource string) amounts
	proxy() *peer.Proxy

	defaults(resource string, limits ...limiter.Limit)
	systemDefaults(limits ...limiter.Limit)
	setLimits(entity, resource string, limits ...limiter.Limit)
	deleteLimits(entity, resource string)
	create(entity, parent string, cascade bool)
	// entity reads an entity; nil when there is none.
	entity(id string) *entityFacts
	// forget drops what the process has cached of the configuration.
	forget()
}

// entityFacts are what both sides say of an entity.
type entityFacts struct {
	ID       string
	Name     string
	ParentID string `json:"parent_id"`
	Cascade  bool
	Metadata map[string]any
}

// lease is an acquire that was entered.
type lease interface {
	adjust(amounts)
	release(amounts)
	exit()
	// fail ends it with an error in its body.
	fail()
}

// refusal is why an acquire was not admitted.
type refusal struct {
	Error             string // the class of the exception
	Message           string
	Contended         bool
	RetryAfterSeconds float64 `json:"retry_after_seconds"`
	Limits            []status
}

// status is one limit of a refusal.
type status struct {
	EntityID          string `json:"entity_id"`
	Resource          string
	LimitName         string `json:"limit_name"`
	Kind              string
	Capacity          int64
	RefillAmount      int64 `json:"refill_amount"`
	Available         int64
	Requested         int64
	Exceeded          bool
	RetryAfterSeconds float64 `json:"retry_after_seconds"`
}

// parse reads the JSON that both sides answer with, and puts its limits in one order.
func parse(t *testing.T, text []byte) *refusal {
	t.Helper()
	r := &refusal{}
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r.Error = "RateLimitExceeded"
	slices.SortStableFunc(r.Limits, func(a, b status) int {
		return cmp.Or(cmp.Compare(a.EntityID, b.EntityID), cmp.Compare(a.LimitName, b.LimitName))
	})
	return r
}

// short names the limits that were exceeded, as entity/limit.
func (r *refusal) short() []string {
	var names []string
	for _, l := range r.Limits {
		if l.Exceeded {
			names = append(names, l.EntityID+"/"+l.LimitName)
		}
	}
	return names
}

type goSide struct {
	*limiter.Limiter
	t *testing.T
	e *peer.Env
}

// openGo opens the namespace as a Go process; leases of the test end with its context.
func openGo(t *testing.T, e *peer.Env, opts limiter.Options) *goSide {
	t.Helper()
	return &goSide{e.Limiter(t, opts), t, e}
}

func (g *goSide) name() string       { return "Go" }
func (g *goSide) proxy() *peer.Proxy { return g.e.Go }

func (g *goSide) ok(what string, err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatalf("Go's %s: %v", what, err)
	}
}

func (g *goSide) must(entity, resource string, consume amounts) {
	g.t.Helper()
	g.enter(entity, resource, consume).exit()
}

func (g *goSide) try(entity, resource string, consume amounts) *refusal {
	g.t.Helper()
	lease, err := g.Acquire(g.t.Context(), limiter.Request{EntityID: entity, Resource: resource, Consume: consume})
	if err == nil {
		g.ok("close", lease.Close(g.t.Context()))
		return nil
	}
	return g.refusal(err)
}

func (g *goSide) refusal(err error) *refusal {
	g.t.Helper()
	if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
		text, err := json.Marshal(exceeded)
		g.ok("refusal", err)
		return parse(g.t, text)
	}
	if disabled, ok := errors.AsType[*limiter.DisabledError](err); ok {
		return &refusal{Error: "ResourceDisabled", Message: disabled.Level}
	}
	if _, ok := errors.AsType[*limiter.ValidationError](err); ok {
		return &refusal{Error: "ValidationError", Message: err.Error()}
	}
	if _, ok := errors.AsType[*limiter.UnavailableError](err); ok {
		return &refusal{Error: "RateLimiterUnavailable", Message: err.Error()}
	}
	g.t.Fatalf("Go's acquire: %v", err)
	return nil
}

type goLease struct {
	*limiter.Lease
	g *goSide
}

func (g *goSide) enter(entity, resource string, consume amounts) lease {
	g.t.Helper()
	l, err := g.Acquire(g.t.Context(), limiter.Request{EntityID: entity, Resource: resource, Consume: consume})
	if err != nil {
		g.t.Fatalf("Go's acquire of %v by %s: %v", consume, entity, err)
	}
	return goLease{l, g}
}

func (l goLease) adjust(a amounts)  { l.g.t.Helper(); l.g.ok("adjust", l.Adjust(a)) }
func (l goLease) release(a amounts) { l.g.t.Helper(); l.g.ok("release", l.Release(a)) }
func (l goLease) exit()             { l.g.t.Helper(); l.g.ok("close", l.Close(l.g.t.Context())) }
func (l goLease) fail()             { l.g.t.Helper(); l.g.ok("rollback", l.Rollback(l.g.t.Context())) }

func (g *goSide) available(entity, resource string) amounts {
	g.t.Helper()
	a, err := g.Available(g.t.Context(), entity, resource, nil)
	g.ok("available", err)
	return a
}

func (g *goSide) defaults(resource string, limits ...limiter.Limit) {
	g.t.Helper()
	g.ok("resource defaults", g.Admin().SetResourceDefaults(g.t.Context(), resource, limits))
}

func (g *goSide) systemDefaults(limits ...limiter.Limit) {
	g.t.Helper()
	g.ok("system defaults", g.Admin().SetSystemDefaults(g.t.Context(), limits, ""))
}

func (g *goSide) setLimits(entity, resource string, limits ...limiter.Limit) {
	g.t.Helper()
	g.ok("limits", g.Admin().SetLimits(g.t.Context(), entity, resource, limits))
}

func (g *goSide) deleteLimits(entity, resource string) {
	g.t.Helper()
	g.ok("limits", g.Admin().DeleteLimits(g.t.Context(), entity, resource))
}

func (g *goSide) create(entity, parent string, cascade bool) {
	g.t.Helper()
	_, err := g.Admin().CreateEntity(g.t.Context(), limiter.Entity{ID: entity, ParentID: parent, Cascade: cascade})
	g.ok("entity", err)
}

func (g *goSide) entity(id string) *entityFacts {
	g.t.Helper()
	e, err := g.Admin().Entity(g.t.Context(), id)
	g.ok("entity", err)
	if e == nil {
		return nil
	}
	facts := &entityFacts{e.ID, e.Name, e.ParentID, e.Cascade, nil}
	text, err := json.Marshal(e.Metadata) // with one type for numbers
	g.ok("metadata", err)
	g.ok("metadata", json.Unmarshal(text, &facts.Metadata))
	return facts
}

func (g *goSide) forget() { g.InvalidateCaches() }

type pySide struct {
	*peer.Python
	t    *testing.T
	e    *peer.Env
	last *atomic.Int64
}

func openPython(t *testing.T, e *peer.Env, o peer.Options) *pySide {
	t.Helper()
	return newPySide(e.Open(t, o), t, e)
}

func newPySide(p *peer.Python, t *testing.T, e *peer.Env) *pySide {
	return &pySide{p, t, e, new(atomic.Int64)}
}

func (p *pySide) name() string       { return "Python" }
func (p *pySide) proxy() *peer.Proxy { return p.e.Python }

func (p *pySide) must(entity, resource string, consume amounts) {
	p.t.Helper()
	p.Must(p.t, entity, resource, numbers(consume))
}

func (p *pySide) try(entity, resource string, consume amounts) *refusal {
	p.t.Helper()
	_, err := p.Acquire(entity, resource, numbers(consume))
	return p.refusal(err)
}

func (p *pySide) refusal(err error) *refusal {
	p.t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*peer.Error](err)
	switch {
	case !ok:
		p.t.Fatal(err)
	case e.AsDict != nil:
		return parse(p.t, e.AsDict)
	case e.Type == "ResourceDisabled":
		level, _ := e.Fields["level"].(string)
		return &refusal{Error: e.Type, Message: level}
	case e.IsA("RateLimiterUnavailable"):
		return &refusal{Error: "RateLimiterUnavailable", Message: e.Message}
	case e.IsA("ValidationError"):
		return &refusal{Error: "ValidationError", Message: e.Message}
	}
	p.t.Fatalf("Python's acquire: %v", e)
	return nil
}

type pyLease struct {
	p  *pySide
	id string
}

func (p *pySide) enter(entity, resource string, consume amounts) lease {
	p.t.Helper()
	id := strconv.FormatInt(p.last.Add(1), 10)
	p.Enter(p.t, id, entity, resource, numbers(consume))
	return pyLease{p, id}
}

func (l pyLease) adjust(a amounts) { l.p.t.Helper(); l.p.Body(l.p.t, l.id, args{"adjust": numbers(a)}) }
func (l pyLease) release(a amounts) {
	l.p.t.Helper()
	l.p.Body(l.p.t, l.id, args{"release": numbers(a)})
}
func (l pyLease) exit() { l.p.t.Helper(); l.p.Exit(l.p.t, l.id, "") }
func (l pyLease) fail() { l.p.t.Helper(); l.p.Exit(l.p.t, l.id, "the body failed") }

func (p *pySide) available(entity, resource string) (a amounts) {
	p.t.Helper()
	p.Limiter(p.t, "available", args{"entity_id": entity, "resource": resource}, &a)
	return a
}

func (p *pySide) defaults(resource string, limits ...limiter.Limit) {
	p.t.Helper()
	p.Repository(p.t, "set_resource_defaults", args{"resource": resource, "limits": dictionaries(limits)}, nil)
}

func (p *pySide) systemDefaults(limits ...limiter.Limit) {
	p.t.Helper()
	p.Repository(p.t, "set_system_defaults", args{"limits": dictionaries(limits)}, nil)
}

func (p *pySide) setLimits(entity, resource string, limits ...limiter.Limit) {
	p.t.Helper()
	p.Repository(p.t, "set_limits", args{"entity_id": entity, "resource": cmp.Or(resource, limiter.DefaultResource), "limits": dictionaries(limits)}, nil)
}

func (p *pySide) deleteLimits(entity, resource string) {
	p.t.Helper()
	// The repository's call leaves the buckets alone.
	p.Limiter(p.t, "delete_limits", args{"entity_id": entity, "resource": cmp.Or(resource, limiter.DefaultResource)}, nil)
}

func (p *pySide) create(entity, parent string, cascade bool) {
	p.t.Helper()
	a := args{"entity_id": entity, "cascade": cascade}
	if parent != "" {
		a["parent_id"] = parent
	}
	p.Repository(p.t, "create_entity", a, nil)
}

func (p *pySide) entity(id string) (e *entityFacts) {
	p.t.Helper()
	p.Repository(p.t, "get_entity", args{"entity_id": id}, &e)
	return e
}

func (p *pySide) forget() {
	p.t.Helper()
	p.Repository(p.t, "invalidate_config_cache", nil, nil)
}

// numbers are amounts as arguments for Python.
func numbers(a amounts) args {
	out := args{}
	for name, n := range a {
		out[name] = n
	}
	return out
}

// dictionaries are limits as Python reads them.
func dictionaries(limits []limiter.Limit) []map[string]any {
	out := []map[string]any{}
	for _, l := range limits {
		out = append(out, l.Map())
	}
	return out
}

// bothOrders runs a test on both engines with Go first and with Python first.
func bothOrders(t *testing.T, test func(t *testing.T, e *peer.Env, first, second side)) {
	t.Helper()
	inOrders(t, limiter.Options{}, peer.Options{}, test)
}

func inOrders(t *testing.T, g limiter.Options, p peer.Options, test func(t *testing.T, e *peer.Env, first, second side)) {
	t.Helper()
	t.Parallel()
	for _, first := range []string{"Go", "Python"} {
		t.Run(first, func(t *testing.T) {
			machine.Each(t, func(t *testing.T, e *peer.Env) {
				ours, theirs := side(openGo(t, e, g)), side(openPython(t, e, p))
				if first == "Python" {
					ours, theirs = theirs, ours
				}
				test(t, e, ours, theirs)
			})
		})
	}
}

// wantOperations checks what a side sent since its proxy forgot.
func wantOperations(t *testing.T, s side, want ...string) {
	t.Helper()
	if got := s.proxy().Operations(); !slices.Equal(got, want) {
		t.Errorf("%s sent %v, want %v", s.name(), got, want)
	}
}

// wantSlowPass checks that a side tried, read and wrote, with its limits cached: Python reads the flags apart.
func wantSlowPass(t *testing.T, s side) {
	t.Helper()
	if s.name() == "Go" {
		wantOperations(t, s, "UpdateItem", "BatchGetItem", "UpdateItem")
	} else {
		wantOperations(t, s, "UpdateItem", "BatchGetItem", "BatchGetItem", "UpdateItem")
	}
}

// wantNumbers checks attributes of an item.
func wantNumbers(t *testing.T, i item, want map[string]int64) {
	t.Helper()
	for name, n := range want {
		if got := i.Number(t, name); got != n {
			t.Errorf("%s of %s is %d, want %d", name, i.Text("PK"), got, n)
		}
	}
}

// perMinute is a limit of so much a minute, in the fewest words.
func perMinute(name string, n int64) limiter.Limit { return limiter.PerMinute(name, n) }

const sec = int64(time.Second / time.Millisecond)

// ok ends the test for an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
