// Package faults decides which requests go wrong, and how.
//
// A [Set] holds rules in order; the first one that matches a request and is
// due decides its fault. Rules are Go values or a JSON file:
//
//	{
//	  "rules": [
//	    {"name": "lost replies", "operations": ["UpdateItem"], "probability": 0.01,
//	     "action": "drop", "when": "after"},
//	    {"operations": ["BatchWriteItem"], "table": "orders", "every": 3, "count": 10,
//	     "action": "unprocessed", "fraction": 0.5},
//	    {"key_prefix": "tenant-7/", "after": "10s", "until": "20s",
//	     "action": "error", "code": "ThrottlingException"},
//	    {"index": "by-date", "action": "latency", "latency": "50ms"}
//	  ]
//	}
//
// What a rule matches; every member is optional and all given ones must hold:
//
//	operations       list of operation names
//	table            name of a table
//	index            name of an index read by Query or Scan
//	key_prefix       start of an item's HASH value (strings and binary values as
//	                 they are, numbers in canonical decimal)
//	sort_key_prefix  start of its RANGE value
//	after, until     window since the start of the engine, [after, until)
//	every            every n-th request that the members above match
//	probability      of those, the share that is hit, from 0 to 1
//	count            the rule ends after so many hits
//
// In a batch or transaction one entry that matches is enough; table and
// prefixes must hold for the same entry.
//
// What it does, "action" being one of:
//
//	error                 the error "code", with "message" or the usual text
//	latency               nothing but "latency" more of it
//	hang                  no reply until the client goes away
//	drop                  the connection is closed without a reply
//	http                  a reply with "status" (500 or 503) and no JSON body
//	truncate              the reply ends in the middle of the body
//	wrong_crc             the checksum header does not fit the body
//	unprocessed           of a batch, "fraction" (default 1) of the entries is left undone
//	transaction_conflict  the matching action of a transaction, or a plain write,
//	                      meets a transaction on its item
//
// "latency" may stand beside every action. "when" is "before" (default) or
// "after" the request is applied, for error, hang, drop and http; truncate and
// wrong_crc spoil the reply of a request that was applied. An action that an
// operation cannot suffer (unprocessed outside a batch, a conflict of a plain
// read) does not match it.
package faults

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Action is what a fault does to a request.
type Action string

// The actions; see the package comment.
const (
	Error       Action = "error"
	Latency     Action = "latency"
	Hang        Action = "hang"
	Drop        Action = "drop"
	HTTP        Action = "http"
	Truncate    Action = "truncate"
	WrongCRC    Action = "wrong_crc"
	Unprocessed Action = "unprocessed"
	Conflict    Action = "transaction_conflict"
)

// Rule says which requests are hit and what happens to them. Its members are
// those of the file format. Zero values match everything.
type Rule struct {
	Name          string
	Operations    []string
	Table         string
	Index         string
	KeyPrefix     string
	SortKeyPrefix string
	After, Until  time.Duration // since the start of the engine; Until 0 is no end
	Every         int           // 0 and 1: each
	Probability   float64       // 0 and 1: each
	Count         int           // 0: no end

	Action     Action
	AfterApply bool // when "after"
	Code       string
	Message    string
	Status     int
	Latency    time.Duration
	Fraction   float64 // 0 is 1
}

// Target is one item or index that a request names.
type Target struct {
	Table, Index string
	// Hash and Range are the key as the prefixes see it; "" when the request has
	// no key there.
	Hash, Range string
}

// Call is a request as rules see it.
type Call struct {
	Operation string
	Elapsed   time.Duration // since the start of the engine
	Targets   []Target      // not kept
}

// Fault is what happens to one request.
type Fault struct {
	Rule    string // name of the rule, or "rules[i]"
	Action  Action
	After   bool   // apply the request first
	Code    string // of Error
	Message string // of Error; "" is the usual text of the code
	Status  int    // of HTTP
	Latency time.Duration
	// Target is the entry of the call that matched: the one in Conflict.
	Target int

	fraction float64
}

// Left returns how many of n batch entries an Unprocessed fault leaves
// undone, at least one of them.
func (f *Fault) Left(n int) int {
	return min(n, int(math.Ceil(f.fraction*float64(n))))
}

// Set is a list of rules with their counters. Its methods may be called
// concurrently.
type Set struct {
	rules  []*rule
	paused atomic.Pointer[chan struct{}]
	mu     sync.Mutex // guards changes of paused
}

type rule struct {
	Rule
	name string

	mu      sync.Mutex
	random  *rand.Rand
	matched int64
	hit     int64
}

// New returns a set of rules. Each rule draws from a generator of its own, so
// that the same seed and order of calls give the same faults, and another rule
// does not disturb them. It fails on the first rule that makes no sense.
func New(seed uint64, rules ...Rule) (*Set, error) {
	s := &Set{}
	for i, r := range rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		name := r.Name
		if name == "" {
			name = fmt.Sprintf("rules[%d]", i)
		}
		if r.Fraction == 0 {
			r.Fraction = 1
		}
		s.rules = append(s.rules, &rule{Rule: r, name: name, random: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	return s, nil
}

// Active reports whether there are rules, so that a caller can leave out the
// Call when there are none.
func (s *Set) Active() bool { return s != nil && len(s.rules) > 0 }

// Match returns the fault of a call, or nil. The first rule that is due takes
// it; the counters of later rules do not see the call.
func (s *Set) Match(c Call) *Fault {
	if !s.Active() {
		return nil
	}
	for _, r := range s.rules {
		target, ok := r.matches(c)
		if ok && r.due() {
			return &Fault{
				Rule: r.name, Action: r.Action, After: r.AfterApply, Code: r.Code, Message: r.Message,
				Status: r.Status, Latency: r.Latency, Target: target, fraction: r.Fraction,
			}
		}
	}
	return nil
}

// matches reports whether the members that do not count hold, and for which
// target.
func (r *rule) matches(c Call) (target int, ok bool) {
	if len(r.Operations) > 0 && !slices.Contains(r.Operations, c.Operation) || !r.Action.befalls(c.Operation) {
		return 0, false
	}
	if c.Elapsed < r.After || r.Until > 0 && c.Elapsed >= r.Until {
		return 0, false
	}
	if r.Table == "" && r.Index == "" && r.KeyPrefix == "" && r.SortKeyPrefix == "" {
		return 0, true
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		if (r.Table == "" || r.Table == t.Table) && (r.Index == "" || r.Index == t.Index) &&
			strings.HasPrefix(t.Hash, r.KeyPrefix) && strings.HasPrefix(t.Range, r.SortKeyPrefix) {
			return i, true
		}
	}
	return 0, false
}

// befalls reports whether an operation can suffer the action.
func (a Action) befalls(operation string) bool {
	switch a {
	case Unprocessed:
		return operation == "BatchGetItem" || operation == "BatchWriteItem"
	case Conflict:
		return slices.Contains(conflicting, operation)
	}
	return true
}

var conflicting = []string{"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "TransactGetItems"}

// due counts a matching call and decides whether it is hit.
func (r *rule) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Count > 0 && r.hit >= int64(r.Count) {
		return false
	}
	r.matched++
	if r.Every > 1 && r.matched%int64(r.Every) != 0 {
		return false
	}
	if r.Probability > 0 && r.Probability < 1 && r.random.Float64() >= r.Probability {
		return false
	}
	r.hit++
	return true
}

// Counter says how often a rule applied.
type Counter struct {
	Rule    string `json:"rule"`
	Matched int64  `json:"matched"` // calls that its matching members fitted, until Count ended it
	Hit     int64  `json:"hit"`
}

// Counters returns the counters of the rules in order.
func (s *Set) Counters() []Counter {
	if s == nil {
		return nil
	}
	counters := make([]Counter, len(s.rules))
	for i, r := range s.rules {
		r.mu.Lock()
		counters[i] = Counter{Rule: r.name, Matched: r.matched, Hit: r.hit}
		r.mu.Unlock()
	}
	return counters
}

// Pause begins an outage: every [Set.Wait] blocks until Resume.
func (s *Set) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused.Load() == nil {
		resumed := make(chan struct{})
		s.paused.Store(&resumed)
	}
}

// Resume ends an outage.
func (s *Set) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if resumed := s.paused.Swap(nil); resumed != nil {
		close(*resumed)
	}
}

// Wait returns nil when there is no outage, or once it is over, and the cause
// of the end of ctx when that comes first.
func (s *Set) Wait(ctx context.Context) error {
	if s == nil {
		return nil
	}
	for resumed := s.paused.Load(); resumed != nil; resumed = s.paused.Load() {
		select {
		case <-*resumed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
