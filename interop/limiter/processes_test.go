//go:build interop

package limiter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// process is a process of one of the two, for tests whose steps either may take.
type process interface {
	name() string
	// ops are the operations that the side has sent since the last call.
	ops() []string
	acquire(r demand) outcome
	defaults(resource string, limits ...limiter.Limit) error
	limits(entity, resource string, limits ...limiter.Limit) error
	create(entity, parent string, cascade bool) error
	remove(entity string) error
	setParent(entity, parent string) (int, error)
	// flag is disable, enable, bypass, clear_disabled, set_cascade, unset_cascade or clear_cascade. An empty
	// entity is a resource, an empty resource all of an entity.
	flag(action, entity, resource string) (int, error)
	reset(entity, resource, key string, limits ...string) (operation, error)
	topUp(entity, resource, key string, amounts limiter.Amounts) (operation, error)
	availability(entity, resource string, needed limiter.Amounts) (map[string]readable, error)
}

// demand is one acquire.
type demand struct {
	entity, resource string
	consume          limiter.Amounts
	also             map[string]limiter.Amounts
	limits           []limiter.Limit
	mode             limiter.OnUnavailable
	hold             bool // leave the lease open
}

func ask(entity, resource string, consume limiter.Amounts) demand {
	return demand{entity: entity, resource: resource, consume: consume}
}

// outcome is how an acquire ended: admitted, degraded, exceeded, contended, disabled, unavailable, denied,
// invalid or version.
type outcome struct {
	kind               string
	body               map[string]any // of exceeded and contended, as JSON
	header             string
	message            string
	bypassed           bool
	overdrawn          []string
	lease              held
	stack, entity, res string // of unavailable and denied
	level              string // of disabled
}

func (o outcome) String() string { return fmt.Sprintf("%s %s %v", o.kind, o.message, o.body) }

// wait is retry_after_ms of a rejection.
func (o outcome) wait() float64 { n, _ := o.body["retry_after_ms"].(float64); return n }

// held is a lease that is open.
type held interface {
	step(method, on string, amounts limiter.Amounts) error
	end(fail bool) error
}

// operation is the result of a reset or top-up.
type operation struct {
	Shards  int
	Amounts map[string]int64
}

// readable is one limit of an availability.
type readable struct {
	Available int64
	Exceeded  bool
	Wait      float64 // seconds
}

// both returns a process of each, Go first. They remember no rejections, so that each asks.
func both(t *testing.T, e *peer.Env) (g *goCalls, p *pyCalls) {
	t.Helper()
	return goProcess(t, e, limiter.Options{RejectionCacheTTL: -1}), pyProcess(t, e, peer.Options{})
}

// eachOrder runs a test with Go as the first process and with Python, on a table each.
func eachOrder(t *testing.T, test func(t *testing.T, e *peer.Env, first, second process)) {
	t.Helper()
	t.Parallel()
	for _, engine := range []string{peer.Embedded, peer.Local} {
		for _, goFirst := range []bool{true, false} {
			order := map[bool]string{true: "Go first", false: "Python first"}[goFirst]
			t.Run(engine+", "+order, func(t *testing.T) {
				t.Parallel()
				e := machine.Env(t, engine)
				e.DeclareReaders(t)
				g, p := both(t, e)
				if goFirst {
					test(t, e, g, p)
				} else {
					test(t, e, p, g)
				}
			})
		}
	}
}

// goCalls is Go as a process.
type goCalls struct {
	t *testing.T
	e *peer.Env
	l *limiter.Limiter
}

func goProcess(t *testing.T, e *peer.Env, opts limiter.Options) *goCalls {
	t.Helper()
	return &goCalls{t, e, e.Limiter(t, opts)}
}

func (g *goCalls) name() string { return "Go" }

func (g *goCalls) ops() []string { defer g.e.Go.Forget(); return g.e.Go.Operations() }

func (g *goCalls) acquire(r demand) outcome {
	lease, err := g.l.Acquire(g.t.Context(), limiter.Request{EntityID: r.entity, Resource: r.resource, Consume: r.consume, Also: r.also, Limits: r.limits, OnUnavailable: r.mode})
	o := outcome{kind: limiter.Decision(lease, err)}
	if err == nil {
		o.bypassed, o.overdrawn, o.lease = lease.Bypassed(), lease.Overdrawn(), goHeld{g.t, lease}
		if !r.hold {
			if err := lease.Close(g.t.Context()); err != nil {
				g.t.Errorf("Go's close: %v", err)
			}
		}
		return o
	}
	o.message = err.Error()
	switch e := err.(type) {
	case *limiter.ExceededError:
		o.header = e.RetryAfterHeader()
		o.body = decoded(g.t, e)
	case *limiter.DisabledError:
		o.level = e.Level
	case *limiter.UnavailableError:
		o.stack, o.entity, o.res = e.Stack, e.EntityID, e.Resource
	case *limiter.PermissionError:
		o.stack, o.entity, o.res = e.Stack, e.EntityID, e.Resource
	}
	if errors.Is(err, limiter.ErrVersion) {
		o.kind = "version"
	}
	return o
}

// decoded is a value as whoever reads its JSON has it.
func decoded(t *testing.T, value any) (out map[string]any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type goHeld struct {
	t     *testing.T
	lease *limiter.Lease
}

func (l goHeld) step(method, on string, amounts limiter.Amounts) error {
	calls := map[string]func(limiter.Amounts) error{"adjust": l.lease.Adjust, "consume": l.lease.Consume, "release": l.lease.Release}
	if on != "" {
		r := l.lease.Resource(on)
		calls = map[string]func(limiter.Amounts) error{"adjust": r.Adjust, "consume": r.Consume, "release": r.Release}
	}
	return calls[method](amounts)
}

func (l goHeld) end(fail bool) error {
	if fail {
		return l.lease.Rollback(l.t.Context())
	}
	return l.lease.Close(l.t.Context())
}

func (g *goCalls) defaults(resource string, limits ...limiter.Limit) error {
	if resource == "" {
		return g.l.Admin().SetSystemDefaults(g.t.Context(), limits, "")
	}
	return g.l.Admin().SetResourceDefaults(g.t.Context(), resource, limits)
}

func (g *goCalls) limits(entity, resource string, limits ...limiter.Limit) error {
	return g.l.Admin().SetLimits(g.t.Context(), entity, resource, limits)
}

func (g *goCalls) create(entity, parent string, cascade bool) error {
	_, err := g.l.Admin().CreateEntity(g.t.Context(), limiter.Entity{ID: entity, ParentID: parent, Cascade: cascade})
	return err
}

func (g *goCalls) remove(entity string) error { return g.l.Admin().DeleteEntity(g.t.Context(), entity) }

func (g *goCalls) setParent(entity, parent string) (int, error) {
	return g.l.Admin().SetParent(g.t.Context(), entity, parent)
}

func (g *goCalls) flag(action, entity, resource string) (int, error) {
	a, ctx := g.l.Admin(), g.t.Context()
	switch action {
	case "disable":
		return a.Disable(ctx, entity, resource)
	case "enable":
		return a.Enable(ctx, entity, resource)
	case "bypass":
		return a.Bypass(ctx, entity, resource)
	case "clear_disabled":
		return a.ClearDisabled(ctx, entity, resource)
	case "clear_cascade":
		return a.ClearCascade(ctx, entity, resource)
	}
	return a.SetCascade(ctx, entity, resource, action == "set_cascade")
}

func (g *goCalls) reset(entity, resource, key string, limits ...string) (operation, error) {
	r, err := g.l.Admin().ResetBucket(g.t.Context(), entity, resource, limits, key)
	return operation{r.Shards, r.Amounts}, err
}

func (g *goCalls) topUp(entity, resource, key string, amounts limiter.Amounts) (operation, error) {
	r, err := g.l.Admin().TopUp(g.t.Context(), entity, resource, amounts, key)
	return operation{r.Shards, r.Amounts}, err
}

func (g *goCalls) availability(entity, resource string, needed limiter.Amounts) (map[string]readable, error) {
	a, err := g.l.CheckAvailability(g.t.Context(), entity, resource, needed, nil)
	out := map[string]readable{}
	for _, s := range a.Statuses {
		out[s.Limit.Name] = readable{s.Available, s.Exceeded, float64(s.RetryAfter.Milliseconds()) / 1000}
	}
	return out, err
}

// pyCalls is Python as a process.
type pyCalls struct {
	t      *testing.T
	e      *peer.Env
	p      *peer.Python
	leases int
}

func pyProcess(t *testing.T, e *peer.Env, o peer.Options) *pyCalls {
	t.Helper()
	more := args{"rejection_cache_ttl": 0.0}
	maps.Copy(more, o.More)
	o.More = more
	return &pyCalls{t: t, e: e, p: e.Open(t, o)}
}

func (p *pyCalls) name() string { return "Python" }

func (p *pyCalls) ops() []string { defer p.e.Python.Forget(); return p.e.Python.Operations() }

func (p *pyCalls) acquire(r demand) outcome {
	a := args{"entity_id": r.entity, "resource": r.resource, "consume": r.consume}
	if r.also != nil {
		a["also"] = r.also
	}
	if r.limits != nil {
		a["limits"] = limitArgs(r.limits)
	}
	if r.mode != "" {
		a["on_unavailable"] = string(r.mode)
	}
	var lease peer.Lease
	var err error
	o := outcome{kind: "admitted"}
	if r.hold {
		p.leases++
		name := fmt.Sprint("lease ", p.leases)
		a["lease"] = name
		err = p.p.Do("enter", a, &lease)
		o.lease = &pyHeld{p, name}
	} else {
		err = p.p.Do("acquire", a, &lease)
	}
	if err == nil {
		o.bypassed, o.overdrawn = lease.Bypassed, lease.Overdrawn
		if lease.Degraded {
			o.kind = "degraded"
		}
		return o
	}
	e, ok := errors.AsType[*peer.Error](err)
	if !ok {
		p.t.Fatal(err)
	}
	o.message, o.header = e.Message, e.RetryAfterHeader
	text := func(field string) string { s, _ := e.Fields[field].(string); return s }
	switch {
	case e.Type == "PermissionDenied":
		o.kind, o.stack, o.entity, o.res = "denied", text("stack_name"), text("entity_id"), text("resource")
	case e.IsA("RateLimiterUnavailable"):
		o.kind, o.stack, o.entity, o.res = "unavailable", text("stack_name"), text("entity_id"), text("resource")
	case e.IsA("RateLimitExceeded"):
		o.kind = "exceeded"
		if e.Fields["contended"] == true {
			o.kind = "contended"
		}
		if err := json.Unmarshal(e.AsDict, &o.body); err != nil {
			p.t.Fatal(err)
		}
	case e.IsA("ResourceDisabled"):
		o.kind, o.level = "disabled", text("level")
	case e.IsA("VersionError"):
		o.kind = "version"
	case e.IsA("ValidationError"):
		o.kind = "invalid"
	default:
		p.t.Fatalf("Python's acquire: %v", e)
	}
	return o
}

func limitArgs(limits []limiter.Limit) []any {
	out := []any{}
	for _, l := range limits {
		out = append(out, l.Map())
	}
	return out
}

type pyHeld struct {
	p    *pyCalls
	name string
}

func (l *pyHeld) step(method, on string, amounts limiter.Amounts) error {
	a := args{"lease": l.name, method: amounts}
	if on != "" {
		a["on"] = on
	}
	return l.p.p.Do("body", a, nil)
}

func (l *pyHeld) end(fail bool) error {
	a := args{"lease": l.name}
	if fail {
		a["error"] = "the body failed"
	}
	return l.p.p.Do("exit", a, nil)
}

func (p *pyCalls) defaults(resource string, limits ...limiter.Limit) error {
	if resource == "" {
		return p.p.Try("set_system_defaults", args{"limits": limitArgs(limits)}, nil)
	}
	return p.p.Try("set_resource_defaults", args{"resource": resource, "limits": limitArgs(limits)}, nil)
}

func (p *pyCalls) limits(entity, resource string, limits ...limiter.Limit) error {
	return p.p.Try("set_limits", args{"entity_id": entity, "resource": resource, "limits": limitArgs(limits)}, nil)
}

func (p *pyCalls) create(entity, parent string, cascade bool) error {
	a := args{"entity_id": entity, "cascade": cascade}
	if parent != "" {
		a["parent_id"] = parent
	}
	return p.p.Try("create_entity", a, nil)
}

func (p *pyCalls) remove(entity string) error {
	return p.p.Try("delete_entity", args{"entity_id": entity}, nil)
}

func (p *pyCalls) setParent(entity, parent string) (n int, err error) {
	a := args{"entity_id": entity, "parent_id": nil}
	if parent != "" {
		a["parent_id"] = parent
	}
	err = p.p.Try("set_parent", a, &n)
	return n, err
}

func (p *pyCalls) flag(action, entity, resource string) (n int, err error) {
	a, level := args{"resource": resource}, "resource"
	if entity != "" {
		a, level = args{"entity_id": entity}, "entity"
		if resource != "" {
			a["resource"] = resource
		}
	}
	method := strings.Replace(action, "_", "_"+level+"_", 1)
	if !strings.Contains(action, "_") {
		method = action + "_" + level
	}
	switch action {
	case "set_cascade", "unset_cascade":
		method = "set_" + level + "_cascade"
		a["cascade"] = action == "set_cascade"
	}
	err = p.p.Try(method, a, &n)
	return n, err
}

func (p *pyCalls) reset(entity, resource, key string, limits ...string) (r operation, err error) {
	a := args{"entity_id": entity, "resource": resource}
	if len(limits) > 0 {
		a["limits"] = limits
	}
	return p.operate("reset_bucket", key, a)
}

func (p *pyCalls) topUp(entity, resource, key string, amounts limiter.Amounts) (operation, error) {
	return p.operate("top_up", key, args{"entity_id": entity, "resource": resource, "amounts": amounts})
}

func (p *pyCalls) operate(method, key string, a args) (r operation, err error) {
	if key != "" {
		a["idempotency_key"] = key
	}
	// Limits of a reset are names, which the peer passes on as they are.
	err = p.p.Try(method, a, &r)
	return r, err
}

func (p *pyCalls) availability(entity, resource string, needed limiter.Amounts) (map[string]readable, error) {
	var a struct {
		Statuses []struct {
			LimitName string `json:"limit_name"`
			Available int64
			Exceeded  bool
			Wait      float64 `json:"retry_after_seconds"`
		}
	}
	err := p.p.Do("call", args{"on": "limiter", "method": "check_availability", "kwargs": args{"entity_id": entity, "resource": resource, "needed": needed}}, &a)
	out := map[string]readable{}
	for _, s := range a.Statuses {
		out[s.LimitName] = readable{s.Available, s.Exceeded, s.Wait}
	}
	return out, err
}

// admitted makes an acquire that must be admitted.
func admitted(t *testing.T, s process, r demand) outcome {
	t.Helper()
	return ended(t, s, r, "admitted")
}

// ended makes an acquire that must end so.
func ended(t *testing.T, s process, r demand, kind string) outcome {
	t.Helper()
	o := s.acquire(r)
	if o.kind != kind {
		t.Fatalf("%s's acquire of %v %v by %s: %v, want it %s", s.name(), r.consume, r.also, r.entity, o, kind)
	}
	return o
}

// sortedLimits is a rejection with its statuses in one order: a side has them as it read the item.
func sortedLimits(body map[string]any) map[string]any {
	body = maps.Clone(body)
	limits, _ := body["limits"].([]any)
	limits = slices.Clone(limits)
	slices.SortFunc(limits, func(a, b any) int { return strings.Compare(statusKey(a), statusKey(b)) })
	body["limits"] = limits
	// The message names them in the same order as the statuses have.
	message, _ := body["message"].(string)
	if from, to := strings.Index(message, "["), strings.Index(message, "]"); from >= 0 && to > from {
		names := strings.Split(message[from+1:to], ", ")
		slices.Sort(names)
		body["message"] = message[:from+1] + strings.Join(names, ", ") + message[to:]
	}
	return body
}

func statusKey(status any) string {
	m := status.(map[string]any)
	return fmt.Sprint(m["entity_id"], "/", m["resource"], "/", m["limit_name"])
}

// number is an attribute of a shard, 0 when it is absent.
func attribute(t *testing.T, e *peer.Env, entity, resource string, shard int, name string) int64 {
	t.Helper()
	item := e.Bucket(t, entity, resource, shard)
	if !item.Has(name) {
		return 0
	}
	return item.Number(t, name)
}

// numbers fails the test unless the attributes of a shard are those; -1 stands for an absent one.
func wantAttributes(t *testing.T, e *peer.Env, entity, resource string, shard int, wanted map[string]int64) {
	t.Helper()
	item := e.Bucket(t, entity, resource, shard)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		switch {
		case wanted[name] == absent && item.Has(name), wanted[name] != absent && !item.Has(name):
			t.Errorf("%s/%s shard %d: %s is %v, want %d", entity, resource, shard, name, item[name], wanted[name])
		case wanted[name] == absent:
		case item.Number(t, name) != wanted[name]:
			t.Errorf("%s/%s shard %d: %s is %d, want %d", entity, resource, shard, name, item.Number(t, name), wanted[name])
		}
	}
}

// shardOf is a bucket's item under the keys of another shard.
func shardOf(e *peer.Env, bucket peer.Item, entity, resource string, shard int) peer.Item {
	bucket = maps.Clone(bucket)
	bucket["PK"] = peer.Text(e.BucketPK(entity, resource, shard))
	bucket["GSI2SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%d", entity, shard))
	bucket["GSI3SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%d", resource, shard))
	bucket["GSI4SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%s#%d", entity, resource, shard))
	return bucket
}

// absent is a number that says that an attribute must not be there.
const absent = -1 << 62

func minutes(n int64) int64 { return n * time.Minute.Milliseconds() }

type boolean = types.AttributeValueMemberBOOL
