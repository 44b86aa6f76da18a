//go:build interop

package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// The deviations from the Python library that are wanted, by name. Everything else must be equal.
const (
	clampedTTL = "a ttl of no seconds is one of one (B16)"
	blindReset = "resets without edges are refused (B26, B27)"
	saturated  = "what exceeds 63 bits is the largest number that does not"
	looseDigit = "the decoder takes plain digits only"
)

type entryCase struct {
	Cron         string   `json:"cron"`
	TZ           string   `json:"tz"`
	Scale        *float64 `json:"scale,omitempty"`
	Capacity     int64    `json:"capacity,omitempty"`
	RefillAmount int64    `json:"refill_amount,omitempty"`
	RefillPeriod int64    `json:"refill_period,omitempty"`
}

func (e entryCase) entry() schedule.Entry {
	out := schedule.Entry{Cron: e.Cron, TZ: e.TZ, Capacity: e.Capacity, RefillAmount: e.RefillAmount, RefillPeriod: e.RefillPeriod}
	if e.Scale != nil {
		out.Scale = *e.Scale
	}
	return out
}

func entriesOf(cases []entryCase) []schedule.Entry {
	var out []schedule.Entry
	for _, e := range cases {
		out = append(out, e.entry())
	}
	return out
}

type stateCase struct {
	Kind       string      `json:"kind"`
	Tokens     int64       `json:"tokens"`
	RF         int64       `json:"rf"`
	Capacity   int64       `json:"capacity"`
	Refill     int64       `json:"refill"`
	Period     int64       `json:"period"`
	Shards     int64       `json:"shards"`
	Schedule   []entryCase `json:"schedule,omitempty"`
	Resets     []entryCase `json:"resets,omitempty"`
	ResetAfter int64       `json:"reset_after,omitempty"`
	Consumed   *int64      `json:"consumed,omitempty"`
	WS         *int64      `json:"ws,omitempty"`
	WA         *int64      `json:"wa,omitempty"`
	WTC        *int64      `json:"wtc,omitempty"`
	GC         *int64      `json:"gc,omitempty"`
	TU         *int64      `json:"tu,omitempty"`
	Soft       bool        `json:"soft"`
	Bypass     bool        `json:"bypass"`
	N          int64       `json:"n"`
	Now        int64       `json:"now"`
	Multiplier int64       `json:"multiplier"`
}

type generator struct{ *rand.Rand }

// zones lack Pacific/Chatham, whose clocks change at a quarter to an hour: on the day on which they go
// forward Python's search for the previous edge of the day never returns.
var zones = []string{"UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe",
	"America/Sao_Paulo", "Asia/Tehran", "Asia/Kathmandu", "Africa/Casablanca", "Europe/Dublin", "America/Havana", "America/Asuncion",
	"America/St_Johns", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia", "Antarctica/Troll", "America/Santiago", "Pacific/Kiritimati"}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) between(low, high int64) int64 { return low + g.Int64N(high-low+1) }

// time is some time between 2024 and 2032, often close to a change of clocks or a boundary of days.
func (g generator) time(zone string) int64 {
	at := g.between(1_704_067_200_000, 1_956_528_000_000)
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	switch g.IntN(4) {
	case 0:
		if _, end := time.UnixMilli(at).In(loc).ZoneBounds(); !end.IsZero() && end.Year() < 2035 {
			at = end.UnixMilli() + g.between(-90_000_000, 90_000_000)
		}
	case 1:
		d := time.UnixMilli(at).In(loc)
		at = time.Date(d.Year(), d.Month(), 1, 0, 0, 0, 0, loc).UnixMilli() + g.between(-4_000_000, 4_000_000)
	}
	if g.IntN(3) == 0 {
		at -= at % 60_000
	}
	return at
}

func (g generator) field(low, high int, names []string) string {
	value := func() int { return low + g.IntN(high-low+1) }
	text := func(v int) string {
		if names != nil && v-low < len(names) && g.IntN(2) == 0 {
			return pick(g, names[v-low], strings.ToLower(names[v-low]))
		}
		return fmt.Sprint(v)
	}
	item := func() string {
		a, b := value(), value()
		switch g.IntN(6) {
		case 0:
			return fmt.Sprintf("%s-%s", text(min(a, b)), text(max(a, b)))
		case 1:
			return fmt.Sprintf("%s-%s/%d", text(min(a, b)), text(max(a, b)), 1+g.IntN(9))
		case 2:
			return fmt.Sprintf("*/%d", 1+g.IntN(high+2))
		case 3:
			return fmt.Sprintf("%s/%d", text(a), 1+g.IntN(9))
		}
		return text(a)
	}
	items := []string{item()}
	for g.IntN(4) == 0 {
		items = append(items, item())
	}
	return strings.Join(items, ",")
}

var (
	weekdays = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	months   = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
)

func (g generator) cron() string {
	parts := []string{"*", "*", "*", "*", "*"}
	set := func(i int, likely float64, low, high int, names []string) {
		if g.Float64() < likely {
			parts[i] = g.field(low, high, names)
		}
	}
	set(0, 0.6, 0, 59, nil)
	set(1, 0.5, 0, 23, nil)
	set(2, 0.25, 1, 31, nil)
	set(3, 0.15, 1, 12, months)
	set(4, 0.25, 0, 7, weekdays)
	if g.IntN(12) == 0 { // mistakes
		i := g.IntN(5)
		parts[i] = pick(g, "60", "", "1-", "-1", "5-2", "L", "LW", "15W", "MON#2", "5L", "*/0", "1/2/3", "a", "1,,2", "FRI-SUN", "99", "5-5/2", "00-07", "1 2", "?", "31")
	}
	return strings.Join(parts, " ")
}

func (g generator) entries(zone string, most int) []entryCase {
	var out []entryCase
	for range 1 + g.IntN(most) {
		e := entryCase{Cron: g.cron(), TZ: zone}
		if g.IntN(2) == 0 {
			scale := pick(g, 0.5, 0.001, 1.2345, 2.3, 0.0001, 10, 1, g.Float64()*3, math.Trunc(g.Float64()*1e6)/1000+0.0005)
			e.Scale = &scale
		} else {
			e.Capacity = g.between(0, 1) * g.between(1, 100_000)
			e.RefillAmount = g.between(0, 1) * g.between(1, 10_000)
			e.RefillPeriod = g.between(0, 1) * g.between(1, 100_000)
		}
		out = append(out, e)
	}
	return out
}

func (g generator) resets(zone string) []entryCase {
	var out []entryCase
	for range 1 + g.IntN(2) {
		out = append(out, entryCase{Cron: pick(g, g.cron(), g.cron(), "0 0 * * *", "0 0 1 * *", "0 0 * * MON", "0 */5 * * *", "30 1 * * *", "30 2 * * *", "0 0 1 1 *", "0 0 29 2 *", "0 0 31 * *"), TZ: zone})
	}
	return out
}

func optional(g generator, low, high int64) *int64 {
	if g.IntN(4) == 0 {
		return nil
	}
	v := g.between(low, high)
	return &v
}

func (g generator) state() stateCase {
	zone := pick(g, zones...)
	c := stateCase{Kind: "state", Shards: pick[int64](g, 1, 1, 2, 3, 4, 8, 32), Period: pick[int64](g, 1, 60, 3600, 86400, g.between(1, 1_000_000)),
		Capacity: pick(g, g.between(1, 10), g.between(1, 100_000), g.between(1, 1_000_000_000_000)), Now: g.time(zone), Multiplier: pick[int64](g, 1, 7, 30)}
	c.Refill = pick(g, c.Capacity, g.between(1, c.Capacity), g.between(1, 100))
	c.RF = c.Now - pick(g, 0, g.between(0, 1000), g.between(0, 100_000), g.between(0, 100_000_000), -g.between(0, 5000))
	if g.IntN(8) == 0 {
		// Python walks to the next change minute by minute where minutes are constrained.
		c.Schedule = g.entries(zone, 2)
		for i := range c.Schedule {
			if _, rest, ok := strings.Cut(c.Schedule[i].Cron, " "); ok {
				c.Schedule[i].Cron = "* " + rest
			}
		}
	}
	switch g.IntN(4) {
	case 0:
		c.Refill, c.Period, c.Resets = 0, 1, g.resets(zone)
		c.RF = c.Now - g.between(0, 10*86_400_000)
	case 1:
		c.Refill, c.Period, c.ResetAfter = 0, 1, g.between(1, 100_000)
		c.WS, c.Consumed = optional(g, c.Now-c.ResetAfter*2000, c.Now), optional(g, 0, c.Capacity*1000)
		if c.WS != nil {
			if g.IntN(3) > 0 {
				c.WA = pick(g, c.WS, optional(g, *c.WS-1000, *c.WS))
			}
			c.WTC = optional(g, 0, c.Capacity*1000)
		}
	}
	if c.Refill == 0 {
		if g.IntN(3) > 0 {
			grants := c.Shards
			for grants > 1 && g.IntN(2) == 0 {
				grants = max(1, grants/2)
			}
			c.GC = &grants
		}
		if g.IntN(4) == 0 {
			c.TU = optional(g, 0, c.Capacity*100)
		}
	}
	share := c.Capacity * 1000 / c.Shards
	c.Tokens = pick(g, 0, share, g.between(0, share), -g.between(0, share), share-g.between(0, 5000))
	c.N = pick(g, 0, 1, g.between(0, c.Capacity), g.between(0, 2*c.Capacity), c.Tokens/1000+g.between(-2, 2))
	c.N = max(0, c.N)
	c.Soft, c.Bypass = g.IntN(12) == 0, g.IntN(12) == 0
	return c
}

// ask has the cases answered by the Python library.
func ask(t *testing.T, cases []any) []map[string]any {
	t.Helper()
	interpreter := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if interpreter == "" {
		t.Fatal("ZAE_INTEROP_LOCUST_PYTHON is not set; make interop installs the Python library and sets it")
	}
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, interpreter, "-B", "testdata/peer.py")
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []map[string]any
	decoder := json.NewDecoder(bytes.NewReader(output))
	decoder.UseNumber()
	if err := decoder.Decode(&results); err != nil {
		t.Fatal(err)
	}
	return results
}

// comparison counts what is equal and what deviates as it should.
type comparison struct {
	t        *testing.T
	equal    int
	expected map[string]int
	bad      int
}

// check compares by what Go and Python print as JSON; a name is that of an expected deviation.
func (c *comparison) check(kind string, theCase any, what string, got, want any, deviation string) {
	g, err := json.Marshal(got)
	if err != nil {
		c.t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		c.t.Fatal(err)
	}
	switch {
	case bytes.Equal(g, w):
		c.equal++
	case deviation != "":
		c.expected[deviation]++
	case bytes.Contains(g, []byte("9223372036854776")) || bytes.Contains(g, []byte("2305843009213693952")):
		c.expected[saturated]++
	default:
		if c.bad++; c.bad <= 20 {
			input, _ := json.Marshal(theCase)
			c.t.Errorf("%s: %s: got %s, Python has %s, for %s", kind, what, g, w, input)
		}
	}
}

// seconds is a wait as Python prints it.
func seconds(ms int64) json.Number {
	f := float64(ms) / 1000
	if f >= 1e16 {
		return json.Number(strconv.FormatFloat(f, 'e', -1, 64))
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return json.Number(text)
}

func orNull(v int64, ok bool) any {
	if !ok {
		return nil
	}
	return v
}

func TestArithmeticOfPython(t *testing.T) {
	seed := uint64(17)
	g := generator{rand.New(rand.NewPCG(seed, seed))}
	c := &comparison{t: t, expected: map[string]int{}}
	var cases []any
	var compare []func(result map[string]any)
	add := func(theCase any, f func(result map[string]any)) {
		cases = append(cases, theCase)
		compare = append(compare, f)
	}
	for range 150 {
		scheduleCase(c, g, add)
	}
	for range 700 {
		resetCase(c, g, add)
	}
	for range 2000 {
		balanceCase(c, g, add)
	}
	for range 700 {
		refillCase(c, g, add)
		grantCase(c, g, add)
		textCase(c, g, add)
	}
	for i, result := range ask(t, cases) {
		compare[i](result)
	}
	t.Logf("%d cases, %d numbers equal", len(cases), c.equal)
	for name, n := range c.expected {
		t.Logf("%d times: %s", n, name)
	}
	if c.bad > 0 {
		t.Errorf("%d numbers differ", c.bad)
	}
}

type adder func(theCase any, compare func(result map[string]any))

func scheduleCase(c *comparison, g generator, add adder) {
	zone := pick(g, zones...)
	given := g.entries(zone, 3)
	times := []int64{g.time(zone), g.time(zone)}
	base := schedule.Params{Capacity: g.between(1, 1_000_000_000), Refill: g.between(0, 1) * g.between(1, 1_000_000), Period: 60_000}
	theCase := map[string]any{"kind": "schedule", "entries": given, "times": times, "base": []int64{base.Capacity, base.Refill, base.Period}}
	add(theCase, func(result map[string]any) {
		s, err := schedule.Parse(entriesOf(given))
		c.check("schedule", theCase, "refused", err != nil, result["error"] != nil, "")
		if err != nil || result["error"] != nil {
			return
		}
		again, err := schedule.Decode(s.Encode(), zone)
		if err != nil {
			c.t.Fatal(err)
		}
		c.check("schedule", theCase, "text", s.Encode(), result["text"], "")
		c.check("schedule", theCase, "text of what was decoded", again.Encode(), result["again"], "")
		var at, decoded [][]int64
		var next []int64
		for _, now := range times {
			p := s.At(base, now)
			at = append(at, []int64{p.Capacity, p.Refill, p.Period})
			p = again.At(base, now)
			decoded = append(decoded, []int64{p.Capacity, p.Refill, p.Period})
			n, _ := s.Next(now)
			next = append(next, n)
		}
		c.check("schedule", theCase, "parameters", at, result["at"], "")
		c.check("schedule", theCase, "parameters of what was decoded", decoded, result["decoded_at"], "")
		c.check("schedule", theCase, "next change", next, result["next"], "")
	})
}

func resetCase(c *comparison, g generator, add adder) {
	zone := pick(g, zones...)
	given := g.resets(zone)
	times := []int64{g.time(zone), g.time(zone), g.time(zone)}
	theCase := map[string]any{"kind": "resets", "entries": given, "times": times}
	add(theCase, func(result map[string]any) {
		r, err := schedule.ParseResets(entriesOf(given))
		deviation := ""
		if err != nil && strings.Contains(err.Error(), "matches always or too rarely") {
			deviation = blindReset
		}
		c.check("resets", theCase, "refused", err != nil, result["error"] != nil, deviation)
		if result["error"] != nil {
			return
		}
		if err != nil {
			// What a peer stored is read and followed all the same.
			if r, err = schedule.DecodeResets(result["text"].(string), zone); err != nil {
				if result["text"] != "1" { // nor can Python read this (B26)
					c.check("resets", theCase, "decoded", err.Error(), nil, "")
				}
				return
			}
		}
		c.check("resets", theCase, "text", r.Encode(), result["text"], "")
		var prev, next, boundary []any
		for _, now := range times {
			prev = append(prev, orNull(r.Prev(now)))
			next = append(next, orNull(r.Next(now)))
			boundary = append(boundary, orNull(schedule.Boundary(nil, r, now)))
		}
		c.check("resets", theCase, "previous edges", prev, result["prev"], "")
		c.check("resets", theCase, "next edges", next, result["next"], "")
		c.check("resets", theCase, "boundaries", boundary, result["boundary"], "")
		c.check("resets", theCase, "cycle", r.Cycle(), result["cycle"], "")
	})
}

func deref(v *int64) (int64, bool) {
	if v == nil {
		return 0, false
	}
	return *v, true
}

func (s stateCase) state() (State, Limit, error) {
	l := Limit{Params: Params{s.Capacity, s.Refill, s.Period}, ResetAfter: s.ResetAfter}
	var err error
	if l.Schedule, err = schedule.Parse(entriesOf(s.Schedule)); err != nil {
		return State{}, l, err
	}
	if l.Resets, err = schedule.ParseResets(entriesOf(s.Resets)); err != nil {
		return State{}, l, err
	}
	state := State{Tokens: s.Tokens, RF: s.RF, Capacity: s.Capacity * 1000, Refill: s.Refill * 1000, Period: s.Period * 1000, Shards: s.Shards,
		Schedule: l.Schedule, Resets: l.Resets, Window: Window{Length: s.ResetAfter}, Soft: s.Soft, Bypass: s.Bypass}
	w := &state.Window
	w.Start, w.HasStart = deref(s.WS)
	w.Applied, w.HasApplied = deref(s.WA)
	w.Mark, w.HasMark = deref(s.WTC)
	state.Consumed, state.HasConsumed = deref(s.Consumed)
	state.Grants, _ = deref(s.GC)
	state.TopUp, _ = deref(s.TU)
	return state, l, nil
}

func balanceCase(c *comparison, g generator, add adder) {
	theCase := g.state()
	s, limit, err := theCase.state()
	if err != nil {
		return // of the patterns that the other cases compare
	}
	now, n := theCase.Now, theCase.N
	add(theCase, func(result map[string]any) {
		if result["error"] != nil {
			c.check("state", theCase, "error", nil, result["error"], "")
			return
		}
		check := func(what string, got any, deviation string) {
			c.check("state", theCase, what, got, result[what], deviation)
		}
		check("ceiling", s.Ceiling(now), "")
		check("target", s.ResetTarget(now), "")
		p := s.Params(now)
		check("params", []int64{p.Capacity, p.Refill, p.Period}, "")
		after, ok, wait := s.TryConsume(n, now)
		check("tried", []any{ok, after.Tokens, after.RF, s.Available(now), seconds(wait)}, "")
		forced := s.ForceConsume(n, now)
		check("forced", []int64{forced.Tokens, forced.RF}, "")
		check("available", s.Available(now), "")
		check("until", seconds(s.TimeUntil(n, now)), "")
		share := s.Share(now)
		check("share", []int64{share.Capacity, share.Refill, share.Period}, "")
		restored := s.Restored(now)
		_, ok, wait = restored.TryConsume(n, now)
		check("satisfied", []any{ok, restored.Available(now), seconds(wait)}, "")
		done, passed := s.Materialise(now)
		check("passed", []bool{passed.Opened, passed.Reset, passed.Rolled}, "")
		grants := theCase.GC
		topUp := theCase.TU
		if passed.Reset || passed.Rolled {
			grants, topUp = &done.Grants, nil
		}
		check("done", []any{done.Tokens, done.RF, grants, topUp, orNull(done.Window.Start, done.Window.HasStart), orNull(done.Window.Applied, done.Window.HasApplied)}, "")
		check("boundary", orNull(done.Boundary(now)), "")
		check("readable", s.Readable(now), "")
		if limit.Quota() {
			check("current", s.Current(now), "")
		}
		ttl, _ := TTLSeconds([]Limit{limit}, float64(theCase.Multiplier))
		deviation := ""
		if result["ttl"] == json.Number("0") {
			deviation = clampedTTL
		}
		check("ttl", ttl, deviation)
		fresh := limit.New(now, theCase.Shards)
		check("fresh", []any{fresh.Tokens, orNull(fresh.Grants, limit.Quota()), orNull(fresh.Window.Start, fresh.Window.HasStart)}, "")
	})
}

func refillCase(c *comparison, g generator, add adder) {
	args := []int64{g.between(-1e18, 1e18), g.between(0, 2e12), g.between(0, 4e12), g.between(1, 1e18), g.between(1, pick[int64](g, 1e3, 1e9, 1e18)), g.between(1, 1e12)}
	theCase := map[string]any{"kind": "refill", "args": args}
	add(theCase, func(result map[string]any) {
		tokens, rf := Refill(args[0], args[1], args[2], args[3], args[4], args[5])
		c.check("refill", theCase, "done", []int64{tokens, rf}, result["done"], "")
	})
}

func grantCase(c *comparison, g generator, add adder) {
	shards := pick[int64](g, 2, 4, 8, 32)
	shard, share := g.between(0, shards-1), g.between(0, 1_000_000)
	var siblings []Sibling
	given := [][]any{}
	for i := range shards {
		if g.IntN(2) == 0 {
			s := Sibling{Shard: i, Tokens: g.between(-10_000, 2_000_000), Grants: int64(1) << g.IntN(6), Current: g.IntN(4) > 0}
			siblings = append(siblings, s)
			given = append(given, []any{s.Shard, s.Tokens, s.Grants, s.Current})
		}
	}
	theCase := map[string]any{"kind": "grant", "siblings": given, "shard": shard, "shards": shards, "share": share}
	add(theCase, func(result map[string]any) {
		grant := PlanGrant(siblings, shard, share)
		c.check("grant", theCase, "grant", []any{orNull(grant.Donor, grant.Moved), grant.Tokens, orNull(grant.DonorGrants, grant.Moved)}, result["grant"], "")
	})

	tokens, capacity := g.between(-1000, 2_000_000), g.between(1, 1_000_000)
	infer := map[string]any{"kind": "infer", "shards": shards, "tokens": tokens, "capacity": capacity}
	add(infer, func(result map[string]any) {
		c.check("infer", infer, "grants", InferGrants(shards, tokens, capacity), result["grants"], "")
	})

	by := map[int64]int64{}
	for i := range g.between(1, 8) {
		by[i] = g.between(0, 1) * g.between(1, 20)
	}
	by[0]++ // not all zero, which Python divides by
	total, weighted := g.between(0, 200), g.IntN(2) == 0
	split := map[string]any{"kind": "split", "by": by, "total": total, "weighted": weighted}
	add(split, func(result map[string]any) {
		f := SplitByRoom
		if weighted {
			f = SplitByWeight
		}
		c.check("split", split, "portions", f(total, by), result["portions"], "")
	})
}

func textCase(c *comparison, g generator, add adder) {
	reset := g.IntN(2) == 0
	text := pick(g, "1", "1", "1", "1", "2", "01", "0", "")
	for i := range 1 + g.IntN(3) {
		if i > 0 {
			text += ";"
		}
		for _, tag := range "mhDMwscap" {
			if g.IntN(4) == 0 {
				text += string(tag) + pick(g, "1", "0", "7", "*/5", "1-5", "30", "12", "MON", "5/2", "", " 3", "+1", "1_0", "99", "1000000000000000001", "\u0663")
			}
		}
		if g.IntN(20) == 0 {
			text += pick(g, "x5", "h1", "Z", "0")
		}
	}
	theCase := map[string]any{"kind": "decode", "text": text, "reset": reset}
	add(theCase, func(result map[string]any) {
		var got string
		var err error
		if reset {
			var r *schedule.Resets
			r, err = schedule.DecodeResets(text, "UTC")
			got = r.Encode()
		} else {
			var s *schedule.Schedule
			s, err = schedule.Decode(text, "UTC")
			got = s.Encode()
		}
		deviation := ""
		if err != nil && strings.ContainsAny(text, " +_\u0663") {
			deviation = looseDigit
		}
		c.check("decode", theCase, "refused", err != nil, result["error"] != nil, deviation)
		if err == nil && result["error"] == nil {
			c.check("decode", theCase, "text", got, result["text"], "")
		}
	})
}
