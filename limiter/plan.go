package limiter

import (
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// wcuState is the reserved limit as it is created: 1,000 writes a second, never divided.
var wcuState = LimitState{Name: WCU, Tokens: 1_000_000, Capacity: 1_000_000, Refill: 1_000_000, Period: 1000, Has: FieldsPlain}

// plan is what the slow path wants to write to one bucket. The part's image becomes what the bucket
// holds after it.
type plan struct {
	by    *planner
	write Write
	// moves take from sibling shards what quotas of this one start with, in the same transaction.
	moves []Write
	// lagging are siblings that must know the shard count before a quota is granted by it.
	lagging []lagging
	// opened are the windows that begin with this write; the other shards are told.
	opened []Window
	// short: a limit is, so that there is nothing to write but moves.
	short bool
	// seeds: limits are written for the first time.
	seeds bool
	// idle: nothing is consumed and nothing else needs to be written.
	idle bool
	// bypassed: the demand was waived.
	bypassed bool
}

// line is one limit of a bucket under evaluation.
type line struct {
	name   string
	stored *LimitState // as it is there; nil when it is not, or not complete
	limit  *Limit      // as it is configured; nil for what only the bucket has
	// confirmed says what the levels (and not explicit limits) say about softness: the stamp follows them.
	confirmed *Limit
	state     bucket.State // at now, before the demand
	passed    bucket.Passed
	amount    int64         // of the demand
	edge      int64         // the reset that was applied, ms
	grant     *bucket.Grant // what a new quota takes from another shard; nil for nothing
}

// seed says whether the limit is written whole.
func (n *line) seed() bool { return n.stored == nil }

// granted says whether the allowance of the quota was given anew.
func (n *line) granted() bool { return n.passed.Reset || n.passed.Rolled }

// planner evaluates one bucket as it was read.
type planner struct {
	a          *acquire
	part       *part
	state      *EntityState
	resolved   resolved
	cascade    bool
	bypass     bool  // config waives the limits
	now        int64 // ms
	read       int64 // a time not after the read of the config, ms
	consistent bool
	noMoves    bool // quotas that others hold start with nothing
	counted    bool // a waived demand is, since the bucket has limits for it
	// siblings are the other shards, as far as needs asked for them.
	siblings []EntityState

	lines  []line
	buffer [2]line // one limit and wcu
}

// plan evaluates the declared limits and shapes the write. again means that the read must be repeated
// consistently first.
func (pl *planner) plan() (p plan, again bool, err error) {
	stored := pl.state.Bucket
	owner := pl.state.Meta.Owner
	p = plan{by: pl, write: Write{Key: pl.part.in.Key, Owner: owner, Now: pl.now}, bypassed: pl.bypass}
	w := &p.write
	w.Cascade, w.ParentID = pl.cascade, pl.state.Meta.ParentID
	if w.TTL, w.TTLValue, err = pl.a.l.ttl(pl.resolved.over(&stored), pl.now); err != nil {
		return p, false, err
	}
	switch {
	case !stored.Exists:
		w.Kind = WriteCreate
	case !stored.HasRF:
		w.Kind = WriteRebuild
	default:
		w.Kind = WriteRefill
		if again := pl.pin(w, &stored); again {
			return p, true, nil
		}
	}
	pl.part.planned = pl
	if pl.bypass && stored.HasBypass && w.Kind == WriteRefill {
		pl.waive(w, &stored)
		p.idle = !pl.counted
		return p, false, nil
	}
	image := pl.image(&stored, w.Kind)
	if err := pl.materialise(&stored, image); err != nil {
		return p, false, err
	}
	w.ShardCount = image.Shards()
	p.short = !pl.consume()
	w.RF = max(pl.now, stored.RF)
	for i := range pl.lines {
		if win := &pl.lines[i].state.Window; win.Length > 0 && win.HasStart {
			w.RF = max(w.RF, win.Start)
		}
	}
	pl.boundary(w)
	pl.bypassStamp(w, &stored)
	pl.moves(&p)
	if !p.short {
		pl.shape(&p, image, &stored)
	}
	return p, false, nil
}

// unconsumed is a plan of a demand that another limit refuses: what it moves, with nothing consumed.
func (pl *planner) unconsumed(p plan) plan {
	for i := range pl.lines {
		pl.lines[i].amount = 0
	}
	image := pl.image(&pl.state.Bucket, p.write.Kind)
	p.write.Limits, p.seeds, p.opened = nil, false, nil
	pl.shape(&p, image, &pl.state.Bucket)
	return p
}

// shape gives the write the lines as they are after the demand.
func (pl *planner) shape(p *plan, image, stored *Bucket) {
	w := &p.write
	switch {
	case w.Kind == WriteCreate || w.Kind == WriteRebuild:
		pl.fill(w)
	case pl.light(stored, w):
		w.Kind = WriteRetry
		pl.charge(w, image, stored)
		p.idle = len(w.Limits) == 0
		return
	default:
		w.ReadRF, w.ReadHasVU, w.ReadVU = stored.RF, stored.HasVU, stored.VU
		w.ReadHasBypass, w.ReadBypass = stored.HasBypass, stored.Bypass
		p.seeds = pl.refill(w, stored)
	}
	for i := range pl.lines {
		if n := &pl.lines[i]; n.passed.Opened && image.Shards() > 1 {
			p.opened = append(p.opened, Window{Limit: n.name, Start: n.state.Window.Start, Seconds: n.state.Window.Length})
		}
	}
	pl.stampImage(image, w)
}

// pin checks the owner stamp of the item against META. A stamp of another incarnation is claimed, but
// only after a consistent read, because META itself may have been read stale.
func (pl *planner) pin(w *Write, stored *Bucket) (again bool) {
	if !w.Owner.Found || stored.PInc == "" {
		return false
	}
	other := stored.PInc != w.Owner.Incarnation()
	if !other && stored.PGen <= w.Owner.Generation {
		return false
	}
	if !pl.consistent {
		return true
	}
	if other {
		w.Kind, w.ReadPInc = WriteClaim, stored.PInc
	}
	return false
}

// waive shapes the write of a bypassed bucket: consumption is counted, and nothing is tested. What the bucket
// does not have, or has alone, is not counted; without anything to count the stamp is left as it is.
func (pl *planner) waive(w *Write, stored *Bucket) {
	image := pl.part.image()
	limits := image.Limits[:0]
	for i := range stored.Limits {
		if s := &stored.Limits[i]; s.Complete() && !pl.stale(s.Name) {
			limits = append(limits, *s)
		}
	}
	*image = *stored
	image.Limits = limits
	w.Kind = WriteBypass
	for _, c := range pl.a.charges {
		if limit := image.Limit(c.Limit); limit != nil {
			w.Limits = append(w.Limits, LimitWrite{Name: c.Limit, Consumed: c.Amount})
			limit.Counter += c.Amount
		}
	}
	if pl.counted = len(w.Limits) > 0; pl.counted {
		w.BypassUntil = pl.a.l.stampDeadline(pl.read)
		image.Bypass = w.BypassUntil
	}
}

// image prepares the part's image: what all limits share.
func (pl *planner) image(stored *Bucket, kind WriteKind) *Bucket {
	image := pl.part.image()
	limits := image.Limits[:0]
	*image = *stored
	image.Limits = limits
	image.Exists, image.Shard, image.Resource = true, pl.part.in.Key.Shard, pl.part.in.Key.Resource
	if kind == WriteCreate || kind == WriteRebuild {
		image.HasRF, image.RF = true, pl.now
		image.Disabled = false
		image.HasBypass, image.Bypass = false, 0
		image.Schedule, image.ResetSchedule, image.Zone = "", "", ""
		image.ShardCount = max(stored.ShardCount, pl.part.owner.shardCount(), min(image.Shard+1, MaxShards))
	}
	return image
}

// materialise brings every limit to now: stored ones refilled and reset, missing ones as new.
func (pl *planner) materialise(stored, image *Bucket) error {
	pl.lines = pl.buffer[:0]
	if most := max(len(stored.Limits), len(pl.resolved.limits)+1); most > len(pl.buffer) {
		pl.lines = make([]line, 0, most)
	}
	if stored.HasRF {
		for i := range stored.Limits {
			s := &stored.Limits[i]
			if !s.Complete() || pl.stale(s.Name) {
				continue
			}
			n := line{name: s.Name, stored: s}
			if err := pl.readLine(&n, stored); err != nil {
				return err
			}
			pl.lines = append(pl.lines, n)
		}
	}
	sorted := len(pl.lines)
	for i := range pl.resolved.limits {
		limit := &pl.resolved.limits[i]
		if pl.line(limit.Name) != nil {
			continue
		}
		n := line{name: limit.Name, limit: limit, confirmed: findLimit(pl.resolved.stored, limit.Name)}
		config, err := pl.a.l.arithmetic(limit)
		if err != nil {
			return err
		}
		n.state = config.New(pl.now, int64(image.Shards()))
		n.state.Soft = limit.Soft
		n.passed.Opened = config.ResetAfter > 0
		if pl.bypass {
			n.closeWindow()
		} else if start, ok := pl.windowOfFirst(limit.Name, config.ResetAfter); ok && n.passed.Opened {
			n.state.Window.Start, n.state.Window.Applied, n.passed.Opened = start, start, false
		}
		pl.lines = append(pl.lines, n)
	}
	if pl.line(WCU) == nil {
		n := line{name: WCU}
		n.state, _ = pl.a.l.state(image, &wcuState, pl.now)
		n.state.RF = pl.now
		pl.lines = append(pl.lines, n)
	}
	if len(pl.lines) > sorted {
		slices.SortFunc(pl.lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	}
	return pl.fund()
}

// stale says whether the bucket alone has a limit by that name. What no level names any more is left as it
// is, except that a request with limits of its own may take of it.
func (pl *planner) stale(name string) bool {
	if name == WCU || pl.resolved.find(name) != nil {
		return false
	}
	return len(pl.a.req.Limits) == 0 || !slices.ContainsFunc(pl.a.charges, func(c Charge) bool { return c.Limit == name })
}

// readLine reads a stored limit and brings it to now.
func (pl *planner) readLine(n *line, stored *Bucket) (err error) {
	l := pl.a.l
	if n.name != WCU {
		n.limit = pl.resolved.find(n.name)
		n.confirmed = findLimit(pl.resolved.stored, n.name)
	}
	var before bucket.State
	if n.limit != nil {
		before, err = l.configured(stored, n.stored, n.limit, pl.now)
	} else {
		before, err = l.state(stored, n.stored, pl.now)
		before.Bypass, before.Soft = false, false // stamps that no config confirms do not count here
	}
	if err != nil {
		return err
	}
	if end, ok := before.Window.End(); pl.bypass && before.Window.Length > 0 && (!ok || end <= pl.now) {
		n.state = before.At(pl.now) // a waived request is no first use
		return nil
	}
	pl.join(n.name, &before.Window)
	n.state, n.passed = before.Materialise(pl.now)
	if n.passed.Reset {
		n.edge, _ = before.Resets.Prev(pl.now)
	}
	return nil
}

// closeWindow takes back the window that a new session quota begins with.
func (n *line) closeWindow() {
	if n.state.Window.Length > 0 {
		n.state.Window = bucket.Window{Length: n.state.Window.Length}
		n.passed.Opened = false
	}
}

func (pl *planner) line(name string) *line {
	for i := range pl.lines {
		if pl.lines[i].name == name {
			return &pl.lines[i]
		}
	}
	return nil
}

// shardsOf is the divisor of a limit: wcu belongs to each shard whole.
func shardsOf(limit string, image *Bucket) int64 {
	if limit == WCU {
		return 1
	}
	return int64(image.Shards())
}

// consume takes the declared limits if all are there, and says whether they are. A parent that does not
// have one of them is not charged for it.
func (pl *planner) consume() bool {
	for _, c := range pl.a.charges {
		if n := pl.line(c.Limit); n != nil {
			n.state.Bypass = pl.bypass
			if s := &n.state; !s.Soft && !s.Bypass && s.Tokens < c.Amount {
				return false
			}
		}
	}
	for _, c := range pl.a.charges {
		if n := pl.line(c.Limit); n != nil {
			n.amount = c.Amount
		}
	}
	return true
}

// silent says whether the bucket has no say in a rejection: a bypass would create it.
func (pl *planner) silent() bool { return pl.bypass && !pl.state.Bucket.HasRF }

// statuses judges the declared limits that the bucket has.
func (pl *planner) statuses(into []LimitStatus) []LimitStatus {
	if pl.silent() {
		return into
	}
	for _, c := range pl.a.charges {
		if n := pl.line(c.Limit); n != nil {
			n.state.Bypass = pl.bypass
			// A second refill would earn again what the first one was short of a millisecond's worth.
			state := n.state
			state.RF = pl.now
			status := judge(&pl.part.in.Key, n.name, state, c.Amount, pl.now)
			status.Limit = pl.share(n.name, n.state, pl.now)
			into = append(into, status)
		}
	}
	return into
}

// share is the limit as a status tells it after a slow pass: the shard's part of what is configured, which the
// bucket's own parameters may lag behind.
func (pl *planner) share(name string, state bucket.State, now int64) Limit {
	if l := pl.resolved.find(name); l != nil {
		state.Capacity, state.Refill, state.Period = bucket.Millis(l.Capacity), bucket.Millis(l.RefillAmount), l.RefillPeriod.Milliseconds()
	}
	return shareOf(name, &state, now)
}

// boundary is until when the fast path may go by what is written.
func (pl *planner) boundary(w *Write) {
	for i := range pl.lines {
		n := &pl.lines[i]
		if at, ok := n.state.Boundary(pl.now); ok && (!w.HasVU || at < w.VU) {
			w.HasVU, w.VU = true, at
		}
	}
	for i := range pl.lines {
		if win := &pl.lines[i].state.Window; win.Length > 0 && !win.HasStart || pl.bypass && ended(win, pl.now) {
			w.HasVU, w.VU = true, 0 // the first use after the bypass opens the window
		}
	}
}

func ended(w *bucket.Window, now int64) bool {
	end, ok := w.End()
	return ok && end <= now
}

// bypassStamp brings the stamp of the item in line with config.
func (pl *planner) bypassStamp(w *Write, stored *Bucket) {
	switch {
	case pl.bypass:
		w.Bypass, w.BypassUntil = StampSet, pl.a.l.stampDeadline(pl.read)
	case stored.HasBypass:
		w.Bypass = StampRemove
	}
}

// softStamp is what a write does to the soft stamp of a limit. One whose limits the request brought leaves
// stamps as they are, since it enforces something else than they stand for.
func (pl *planner) softStamp(n *line) StampAction {
	switch {
	case len(pl.a.req.Limits) > 0:
		return StampKeep
	case n.confirmed != nil && n.confirmed.Soft:
		return StampSet
	case n.stored != nil && n.stored.Has&FieldSoft != 0:
		return StampRemove
	}
	return StampKeep
}

// light says whether the consumption can be written alone. Moving rf drops what each limit has earned
// below a millitoken, so that a slow limit beside a fast one would never refill; rf therefore moves
// only when a declared limit needs the refill, or the item needs a repair.
func (pl *planner) light(stored *Bucket, w *Write) bool {
	if w.Kind != WriteRefill || stored.HasVU != w.HasVU || stored.VU != w.VU || w.Bypass != StampKeep || stored.HasTTL && stored.TTL <= pl.now/1000 ||
		w.TTL == TTLRemove && stored.HasTTL || w.TTL == TTLSet && !stored.HasTTL {
		return false
	}
	if o := w.Owner; o.Found && (stored.Cascade != w.Cascade || stored.ParentID != w.ParentID || stored.PInc != o.Incarnation() || !stored.HasPGen || stored.PGen != o.Generation) {
		return false
	}
	for i := range pl.lines {
		n := &pl.lines[i]
		if n.seed() || n.granted() || n.passed.Opened || n.state.Tokens < n.stored.Tokens || n.state.Window.Length != n.stored.Rare().Window {
			return false
		}
		if n.name == WCU && n.stored.Tokens < 1000 {
			return false
		}
		switch pl.softStamp(n) {
		case StampSet:
			if !n.stored.softAt(pl.now) {
				return false
			}
		case StampRemove:
			return false
		}
		if n.stored.Tokens < n.amount && !n.state.Soft {
			return false
		}
	}
	return true
}

// charge shapes W3, and leaves the unwritten refill out of the image.
func (pl *planner) charge(w *Write, image, stored *Bucket) {
	for i := range pl.lines {
		n := &pl.lines[i]
		state := *n.stored
		state.Tokens -= n.amount
		state.Counter += n.amount
		image.Limits = append(image.Limits, state)
		if n.amount > 0 {
			w.Limits = append(w.Limits, LimitWrite{Name: n.name, Consumed: n.amount, Free: n.state.Soft})
		}
	}
	w.RF, image.RF = stored.RF, stored.RF
}

// fill shapes W1: every limit as it is after the demand.
func (pl *planner) fill(w *Write) {
	for i := range pl.lines {
		w.Limits = append(w.Limits, pl.whole(&pl.lines[i]))
	}
	w.Zone = pl.zone()
}

// zone is that of the schedules that are written.
func (pl *planner) zone() string {
	for i := range pl.lines {
		if limit := pl.lines[i].limit; limit != nil && pl.lines[i].seed() && (limit.Schedule != "" || limit.ResetSchedule != "") {
			return limit.Zone
		}
	}
	return ""
}

// whole is a limit that is written for the first time.
func (pl *planner) whole(n *line) LimitWrite {
	w := LimitWrite{Name: n.name, Consumed: n.amount, Waived: pl.bypass, Free: n.state.Soft,
		Capacity: n.state.Capacity, Refill: n.state.Refill, Period: n.state.Period}
	w.Tokens = n.state.Tokens - w.Debit()
	if n.limit != nil {
		w.Schedule, w.ResetSchedule = n.limit.Schedule, n.limit.ResetSchedule
	}
	if n.state.Quota() {
		w.Set |= FieldGrants
		w.Extra.Grants = n.state.GrantCount()
	}
	if win := &n.state.Window; win.Length > 0 {
		w.Set |= FieldWindow
		w.Extra.Window = win.Length
		if win.HasStart {
			w.Set |= FieldWindowStart | FieldWindowApplied
			w.Extra.WindowStart, w.Extra.WindowApplied = win.Start, win.Applied
		}
	}
	if pl.softStamp(n) == StampSet {
		w.Set |= FieldSoft
		w.Extra.Soft = pl.a.l.stampDeadline(pl.read)
	}
	return w
}

// refill shapes W2 and says whether it seeds limits.
func (pl *planner) refill(w *Write, stored *Bucket) (seeds bool) {
	for i := range pl.lines {
		n := &pl.lines[i]
		if n.seed() {
			seeds = true
			w.Repair = w.Repair || stored.Limit(n.name) != nil
			seed := pl.whole(n)
			seed.Seed = true
			w.Limits = append(w.Limits, seed)
			continue
		}
		w.Limits = append(w.Limits, pl.change(n))
	}
	w.Zone = pl.zone()
	return seeds
}

// change is a stored limit at now and after the demand.
func (pl *planner) change(n *line) LimitWrite {
	w := LimitWrite{Name: n.name, Consumed: n.amount, Waived: pl.bypass, Free: n.state.Soft,
		Change: n.state.Tokens - n.stored.Tokens, ReadTokens: n.stored.Tokens}
	if n.passed.Reset {
		w.Edge = n.edge
	}
	if n.granted() {
		w.Set |= FieldGrants
		w.Extra.Grants = n.state.GrantCount()
		w.Remove |= n.stored.Has & FieldTopUp
	}
	if win := &n.state.Window; win.Length > 0 && win.HasStart {
		w.Set |= FieldWindowApplied
		w.Extra.WindowApplied = win.Start
		if win.HasApplied {
			w.Extra.WindowApplied = win.Applied
		}
		if n.passed.Opened || n.stored.Rare().WindowStart != win.Start || n.stored.Rare().Window != win.Length {
			w.Set |= FieldWindow | FieldWindowStart
			w.Extra.Window, w.Extra.WindowStart = win.Length, win.Start
		}
	}
	switch pl.softStamp(n) {
	case StampSet:
		w.Set |= FieldSoft
		w.Extra.Soft = pl.a.l.stampDeadline(pl.read)
	case StampRemove:
		w.Remove |= FieldSoft
	}
	w.ReadSoft = Stamp{Present: n.stored.Has&FieldSoft != 0, Until: n.stored.Rare().Soft}
	return w
}

// stampImage lets the image say what the write leaves behind.
func (pl *planner) stampImage(image *Bucket, w *Write) {
	image.RF = w.RF
	image.HasVU, image.VU = w.HasVU, w.VU
	switch w.Bypass {
	case StampSet:
		image.HasBypass, image.Bypass = true, w.BypassUntil
	case StampRemove:
		image.HasBypass, image.Bypass = false, 0
	}
	switch w.TTL {
	case TTLSet:
		image.HasTTL, image.TTL = true, w.TTLValue
	case TTLRemove:
		image.HasTTL = false
	}
	if owner := w.Owner; owner.Found {
		image.Cascade, image.ParentID = w.Cascade, w.ParentID
		image.HasPGen, image.PGen, image.PInc = true, owner.Generation, owner.Incarnation()
	}
	created := w.Kind == WriteCreate || w.Kind == WriteRebuild
	if created {
		for i := range w.Limits {
			l := &w.Limits[i]
			if image.Schedule == "" {
				image.Schedule = l.Schedule
			}
			if image.ResetSchedule == "" {
				image.ResetSchedule = l.ResetSchedule
			}
		}
		image.Zone = w.Zone
	}
	for i := range w.Limits {
		image.Limits = append(image.Limits, after(image, &pl.lines[i], &w.Limits[i], created))
	}
}

// after is a limit as the write leaves it.
func after(image *Bucket, n *line, w *LimitWrite, created bool) LimitState {
	var s LimitState
	if n.stored != nil {
		s = *n.stored
		s.Tokens += w.Change - w.Debit()
		s.Counter += w.Consumed
	} else {
		s = LimitState{Name: n.name, Tokens: w.Tokens, Capacity: w.Capacity, Refill: w.Refill, Period: w.Period, Counter: w.Consumed, Has: FieldsPlain}
		if n.name != WCU && (!created || w.Schedule != image.Schedule) {
			s.Edit().Schedule = orNone(w.Schedule)
			s.Has |= FieldSchedule
		}
		if n.name != WCU && (!created || w.ResetSchedule != image.ResetSchedule) {
			s.Edit().ResetSchedule = orNone(w.ResetSchedule)
			s.Has |= FieldResetSchedule
		}
	}
	if w.Set|w.Remove != 0 {
		s.Apply(w)
	}
	return s
}

func orNone(schedule string) string {
	if schedule == "" {
		return NoSchedule
	}
	return schedule
}

// Apply sets and removes what a write says of a limit beyond its balance.
func (s *LimitState) Apply(w *LimitWrite) {
	extra := s.Edit()
	for _, f := range [...]struct {
		field    Fields
		to, from *int64
	}{
		{FieldGrants, &extra.Grants, &w.Extra.Grants},
		{FieldWindow, &extra.Window, &w.Extra.Window},
		{FieldWindowStart, &extra.WindowStart, &w.Extra.WindowStart},
		{FieldWindowApplied, &extra.WindowApplied, &w.Extra.WindowApplied},
		{FieldWindowCounter, &extra.WindowCounter, &w.Extra.WindowCounter},
		{FieldSoft, &extra.Soft, &w.Extra.Soft},
		{FieldTopUp, &extra.TopUp, &w.Extra.TopUp},
		{FieldResets, &extra.Resets, &w.Extra.Resets},
	} {
		switch {
		case w.Set&f.field != 0:
			*f.to = *f.from
		case w.Remove&f.field != 0:
			*f.to = 0
		}
	}
	s.Has = (s.Has | w.Set) &^ w.Remove
}

// restamp is the correction of stamps that a rejected pass found not to be what config says, or to have
// passed; nil when there are none.
func (pl *planner) restamp() *RestampInput {
	stored := &pl.state.Bucket
	if !stored.HasRF {
		return nil
	}
	in := &RestampInput{Key: pl.part.in.Key, ReadBypass: Stamp{Present: stored.HasBypass, Until: stored.Bypass}}
	switch {
	case pl.bypass && !stored.bypassed(pl.now) && (!stored.HasBypass || pl.counted):
		in.Bypass, in.BypassUntil = StampSet, pl.a.l.stampDeadline(pl.read)
	case !pl.bypass && stored.HasBypass:
		in.Bypass = StampRemove
	}
	for i := range pl.lines {
		n := &pl.lines[i]
		if n.stored == nil {
			continue
		}
		action := pl.softStamp(n)
		if action == StampRemove || action == StampSet && !n.stored.softAt(pl.now) {
			in.Soft = append(in.Soft, SoftStamp{Limit: n.name, Action: action, Until: pl.a.l.stampDeadline(pl.read),
				Read: Stamp{Present: n.stored.Has&FieldSoft != 0, Until: n.stored.Rare().Soft}})
		}
	}
	if in.Bypass == StampKeep && len(in.Soft) == 0 {
		return nil
	}
	return in
}

// softDepends says whether stamps of the bucket depend on what the levels say about softness.
func softDepends(r *resolved, b *Bucket) bool {
	for i := range r.stored {
		if r.stored[i].Soft {
			return true
		}
	}
	for i := range b.Limits {
		if b.Limits[i].Has&FieldSoft != 0 {
			return true
		}
	}
	return false
}
