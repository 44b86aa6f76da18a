package limiter

import "context"

// Store makes the calls of the hot path against one namespace of one table. It translates shapes
// to requests and images to structs and decides nothing: which shard, which shape, what a refusal
// means and what to do next are the Limiter's. Every method is one request (plus the retries of
// unprocessed keys in Read) and is safe for concurrent use.
//
// Units are those of the table: balances in millitokens (tokens x 1000), times in Unix
// milliseconds, ttl in Unix seconds.
//
// A store must not retry a Consume, Write or Adjust whose outcome it does not know (time-out, lost
// connection): the charge would be taken twice. Errors are returned wrapped; one that says the
// caller lacks a permission wraps ErrAccessDenied. A failed condition and a transaction conflict
// are outcomes, not errors.
//
// The store keeps nothing that is passed to it after the call returned, and fills the output
// structs of the caller, whose slices it may reuse (append to x[:0]).
type Store interface {
	// Consume is the speculative write (W5): one conditional update, no read.
	Consume(ctx context.Context, in *ConsumeInput, out *ConsumeOutput) error
	// Read fetches META items, buckets and config levels in one batch read.
	Read(ctx context.Context, in *ReadInput, out *ReadOutput) error
	// Write commits the planned writes of an acquire (W1, W2, W3), all or none: one write that
	// is no create is a single conditional update, everything else is one transaction.
	Write(ctx context.Context, in []Write, out *WriteOutput) error
	// Adjust changes balances after the fact (W4): adjustment, compensation, rollback.
	Adjust(ctx context.Context, in *AdjustInput) (AdjustOutput, error)
	// Double raises the shard count on shard 0 from `from` to 2 x from (W6) if it still is `from`
	// (absent reads as 1). It returns the count that is now stored, whoever wrote it, and whether
	// this call did. A missing item returns 0, false.
	Double(ctx context.Context, entityID, resource string, from int) (count int, won bool, err error)
	// StampShardCount raises shard_count of one shard to count if the item exists and has a lower
	// one; anything else is silently left alone.
	// grants names the quotas of the item: the count that their allowance was sized at stays what it was
	// (gc = the old count, unless gc is there).
	StampShardCount(ctx context.Context, key BucketKey, count int, grants []string) error
	// OpenWindow is W11 on one shard: the windows opened elsewhere become known there. A shard whose
	// windows are as new, or that does not exist, is left alone.
	OpenWindow(ctx context.Context, in *OpenWindowInput) error
	// Restamp brings the bypass and soft stamps of an item in line with config (W12 on one bucket).
	Restamp(ctx context.Context, in *RestampInput) error
}

// WCU is the name of the reserved limit that every bucket carries: 1,000 writes a second and shard.
const WCU = "wcu"

// DefaultResource is the config slot of an entity that holds for all its resources.
const DefaultResource = "_default_"

// MaxShards is the highest shard count that is ever written.
const MaxShards = 32

// BucketKey names a bucket item.
type BucketKey struct {
	EntityID, Resource string
	Shard              int
}

// Outcome is how a conditional request ended.
type Outcome uint8

const (
	// Done: the write was applied.
	Done Outcome = iota
	// Refused: a condition failed. Nothing was written.
	Refused
	// Conflict: another transaction held the item (TransactionConflict, and no failed
	// condition beside it). Nothing was written; the Limiter retries.
	Conflict
)

// Charge is an amount of one limit, in millitokens.
type Charge struct {
	Limit  string
	Amount int64
}

// ConsumeInput is W5. The update is ADD b_{L}_tk -Amount, b_{L}_tc +Amount for each charge
// (amount 0 included), and ADD b_wcu_tk -1000, b_wcu_tc +1000. A stamp (bypass, b_{L}_soft) is live
// while it is > Now. The condition is all of:
//   - attribute_exists(PK)
//   - for each charge: b_{L}_tk >= Amount, or bypass live, or b_{L}_soft live and b_{L}_cp and
//     b_{L}_tk there; and b_{L}_soft absent or live
//   - bypass absent or live
//   - b_wcu_tk >= 1000
//   - ttl absent or > floor(Now/1000)
//   - disabled absent
//   - vu absent or > Now, or bypass live
//
// With Bypassed (W5b) the balances are not touched, only b_{L}_tc and the pair of wcu, on the
// condition that bypass is live, and wcu, ttl and disabled as above.
type ConsumeInput struct {
	Key      BucketKey
	Charges  []Charge
	Now      int64
	Bypassed bool
}

// ConsumeOutput has the image after the write (Done: ALL_NEW) or the one that failed the condition
// (Refused: ALL_OLD; Image.Exists is false when there was no item). On Conflict it is empty.
type ConsumeOutput struct {
	Outcome Outcome
	Image   Bucket
}

// Bucket is the image of a bucket item.
type Bucket struct {
	// The flags stand together: an image is part of every lease, and padding would take it into the next
	// size of memory.
	Exists               bool
	HasRF, HasVU, HasTTL bool
	HasBypass, HasPGen   bool
	Disabled, Cascade    bool

	Shard    int // from the key
	Resource string

	RF  int64
	VU  int64
	TTL int64 // seconds
	// ShardCount is as stored, 0 when absent. Use Shards to read it.
	ShardCount int
	Bypass     int64 // deadline of the bypass stamp, ms

	ParentID string // "" when absent
	PGen     int64
	PInc     string // "" when absent

	// Schedule and ResetSchedule hold for the limits that have none of their own; "" when absent.
	// Zone is the time zone of all schedules of the item; "" when absent, which is UTC.
	Schedule, ResetSchedule, Zone string

	// Limits has every limit of which any b_{L}_* attribute of tk, cp, ra, rp, tc exists, wcu
	// included, sorted by name.
	Limits []LimitState
}

// Shards is the shard count to work with: absent reads as 1, and what an old peer wrote above
// MaxShards counts for shares but not for draws.
func (b *Bucket) Shards() int { return max(1, b.ShardCount) }

// Limit returns the state of the named limit, nil if the item has none of its attributes.
func (b *Bucket) Limit(name string) *LimitState {
	for i := range b.Limits {
		if b.Limits[i].Name == name {
			return &b.Limits[i]
		}
	}
	return nil
}

// Fields says which attributes of a limit exist.
type Fields uint16

// The attributes of a limit.
const (
	FieldTokens        Fields = 1 << iota // b_{L}_tk
	FieldCapacity                         // b_{L}_cp
	FieldRefill                           // b_{L}_ra
	FieldPeriod                           // b_{L}_rp
	FieldCounter                          // b_{L}_tc
	FieldSchedule                         // b_{L}_sched
	FieldResetSchedule                    // b_{L}_rsched
	FieldGrants                           // b_{L}_gc
	FieldWindow                           // b_{L}_rsa
	FieldWindowStart                      // b_{L}_ws
	FieldWindowApplied                    // b_{L}_wa
	FieldWindowCounter                    // b_{L}_wtc
	FieldSoft                             // b_{L}_soft
	FieldTopUp                            // b_{L}_tu
	FieldResets                           // b_{L}_rn

	// FieldsComplete is what a limit needs to be evaluated.
	FieldsComplete = FieldTokens | FieldCapacity | FieldRefill | FieldPeriod
	// FieldsPlain is all that a dripping limit without schedule has.
	FieldsPlain = FieldsComplete | FieldCounter
)

// LimitState is one limit of a bucket item. Capacity and Refill are undivided by shards.
// Attributes that are absent are 0 and missing from Has.
type LimitState struct {
	Name     string
	Tokens   int64 // b_{L}_tk, millitokens
	Capacity int64 // b_{L}_cp, millitokens
	Refill   int64 // b_{L}_ra, millitokens per Period; 0 for a quota
	Period   int64 // b_{L}_rp, milliseconds
	Counter  int64 // b_{L}_tc, millitokens
	Has      Fields
	// Extra has what only limits with a schedule, quotas and soft limits have; nil for others. It
	// is shared by copies of the image and never changed; Edit replaces it.
	Extra *Extra
}

// Extra are the attributes of a limit beyond those of a dripping one. What is absent is 0 or "" and
// missing from LimitState.Has.
type Extra struct {
	// Schedule, ResetSchedule: the limit's own, "-" for explicitly none. Absent: the item's.
	Schedule, ResetSchedule string
	Grants                  int64 // gc: the shard count that the allowance was sized at
	Window                  int64 // rsa, seconds
	WindowStart             int64 // ws, ms
	WindowApplied           int64 // wa, ms: the ws that the balance reflects
	WindowCounter           int64 // wtc, millitokens: tc when a window was opened elsewhere
	Soft                    int64 // deadline of the soft stamp, ms
	TopUp                   int64 // tu, millitokens added to this period's allowance
	Resets                  int64 // rn
}

// NoSchedule is an own schedule that says explicitly none.
const NoSchedule = "-"

var noExtra Extra

// Rare returns Extra, the zero value when there is none. It must not be changed.
func (s *LimitState) Rare() *Extra {
	if s.Extra == nil {
		return &noExtra
	}
	return s.Extra
}

// Edit makes Extra the state's own and returns it.
func (s *LimitState) Edit() *Extra {
	own := *s.Rare()
	s.Extra = &own
	return &own
}

// Complete says whether the limit can be evaluated.
func (s *LimitState) Complete() bool { return s.Has&FieldsComplete == FieldsComplete }

// Schedules returns the parameter and the reset schedule that hold for a limit of the item, in their
// stored form, "" for none. wcu has none.
func (b *Bucket) Schedules(s *LimitState) (parameters, resets string) {
	if s.Name == WCU {
		return "", ""
	}
	return effective(s, FieldSchedule, s.Rare().Schedule, b.Schedule), effective(s, FieldResetSchedule, s.Rare().ResetSchedule, b.ResetSchedule)
}

func effective(s *LimitState, field Fields, own, item string) string {
	switch {
	case s.Has&field == 0:
		return item
	case own == NoSchedule:
		return ""
	}
	return own
}

// Owner identifies the META item that a bucket belongs to, as it was read.
type Owner struct {
	Found bool
	// Generation is pgen; absent reads as 0.
	Generation int64
	PInc       string // "" when absent
	CreatedAt  string // as stored, "" when absent
}

// Incarnation is what pinc stamps carry: pinc, else created_at, else "-".
func (o Owner) Incarnation() string {
	switch {
	case o.PInc != "":
		return o.PInc
	case o.CreatedAt != "":
		return o.CreatedAt
	}
	return "-"
}

// Meta is the META item of an entity.
type Meta struct {
	Owner
	EntityID string
	Name     string
	ParentID string // "" when NULL or absent
	Cascade  bool
	// Metadata holds string, int64 or float64, bool, nil, map[string]any, []any. Read leaves it nil.
	Metadata map[string]any
}

// Flag is a flag of a config level that may be unset.
type Flag uint8

// The states of a flag.
const (
	Unset Flag = iota
	Off
	On
	// Bypassed is the third value of the flag disabled: limits are not tested, consumption is counted.
	Bypassed
)

// Config is one config item. A missing item is the zero value. An item with Exists and no
// limits counts as "no limits at this level" while its flags apply.
type Config struct {
	Exists        bool
	Limits        []Limit       // sorted by name
	Disabled      Flag          // On: true; Off: explicitly enforced; Bypassed
	Cascade       Flag          // entity and resource level
	OnUnavailable OnUnavailable // system level; "" when absent
	// AuditRetentionDays is how long audit events are kept; system level, 0 when absent.
	AuditRetentionDays int64
}

// ReadInput asks for items of up to two entities (child, parent) under one resource, in one
// BatchGetItem. Unprocessed keys are retried 3 times after 50, 100, 200 ms; what is still left
// over is an error. A malformed item is an error too.
type ReadInput struct {
	Consistent bool
	Resource   string
	Entities   []EntityRead
	// ResourceConfig, SystemConfig ask for the two levels that no entity owns.
	ResourceConfig, SystemConfig bool
}

// EntityRead says what to read of one entity.
type EntityRead struct {
	EntityID string
	Meta     bool
	Bucket   bool // the item of Shard
	Shard    int
	Config   bool // both levels of the entity: its own for Resource, and DefaultResource
}

// ReadOutput is parallel to ReadInput.
type ReadOutput struct {
	Entities []EntityState
	Resource Config
	System   Config
}

// EntityState is what was read of one entity; what was not asked for is zero.
type EntityState struct {
	Meta    Meta // Metadata is not decoded
	Bucket  Bucket
	Own     Config // entity + resource
	Default Config // entity + DefaultResource
}

// WriteKind is the shape of one planned write.
type WriteKind uint8

const (
	// WriteCreate (W1) is PutItem if attribute_not_exists(PK) of the whole item, and in the same
	// transaction a ConditionCheck on the owner's META: Owner.Found: exists AND pgen as read
	// (absent accepted when Generation is 0) AND incarnation as read (pinc = PInc; PInc "":
	// pinc absent or "", and created_at as read); else attribute_not_exists(PK).
	// Uses Owner, Cascade, ParentID, ShardCount, RF, VU, TTL and Bypass (to set, or none), Zone, Limits.
	WriteCreate WriteKind = iota
	// WriteRebuild repairs a partial item (one without rf): UpdateItem that SETs every attribute
	// that WriteCreate puts (indexes, entity_id and resource included), condition
	// attribute_exists(PK) AND attribute_not_exists(rf), beside the same ConditionCheck.
	WriteRebuild
	// WriteRefill (W2): an UpdateItem of
	//   SET    rf = RF; ttl by TTL; vu = VU if HasVU; bypass = BypassUntil by Bypass; with Owner.Found
	//          cascade, pgen, pinc, and parent_id when not ""; of a seed: tk = Tokens, tc = Consumed, cp, ra,
	//          rp, both own schedules (their text or "-"), and the fields of Set; of the others the fields of Set
	//   REMOVE ttl by TTL; vu unless HasVU; bypass by Bypass; with Owner.Found and ParentID ""
	//          parent_id; the fields of Remove
	//   ADD    of the others: tk by Change - Debit(), tc by Consumed
	// on the condition, all of: rf = ReadRF; vu as read (ReadHasVU, ReadVU); bypass as read
	// (ReadHasBypass, ReadBypass); for each limit with Debit() > Change that is not Free
	// tk >= Debit() - Change; for each with Change > 0 tk <= ReadTokens; for each seed one of tk, cp, ra, rp
	// absent; of each soft stamp that is set or removed: as read (ReadSoft); with Owner.Found: pinc
	// absent OR (pinc = Incarnation AND (pgen absent OR pgen <= Generation)); if a limit has
	// FieldGrants in Set: shard_count absent OR <= ShardCount.
	WriteRefill
	// WriteRetry (W3): ADD tk by -Consumed, tc by +Consumed for each limit with Consumed > 0, condition for each
	// tk >= Consumed, or Free and cp and tk there; and for each with Edge > 0 rf >= Edge, with
	// FieldWindowApplied in Set wa = Extra.WindowApplied. rf, ttl, vu and stamps stay.
	WriteRetry
	// WriteClaim is WriteRefill without the pgen/pinc condition, for an item that carries the
	// stamp of an earlier incarnation: condition pinc = ReadPInc instead.
	WriteClaim
	// WriteBypass charges the counters of a bypassed bucket: ADD tc by Consumed, SET bypass =
	// BypassUntil, condition attribute_exists(bypass).
	WriteBypass
	// WriteMove takes from a donor shard what a quota of another shard starts with (W10): ADD tk by Change,
	// condition all of, for each limit: attribute_exists(PK); tk >= -Change; gc as read (absent:
	// absent and shard_count as read); rf >= Edge when Edge > 0; wa as read for a session quota.
	WriteMove
	// WriteOperation is a reset or top-up of one shard (W13), in the transaction of AdminStore.WriteOperation:
	//   SET    rf = RF; vu = 0; ttl by TTL; the fields of Set
	//   REMOVE ttl by TTL; the fields of Remove
	//   ADD    tk by Change; rn 1 with FieldResets in Set
	// on the condition rf = ReadRF AND shard_count = ShardCount (0: absent).
	WriteOperation
)

// TTLAction says what a write does to ttl.
type TTLAction uint8

// The actions.
const (
	TTLKeep   TTLAction = iota // untouched; absent on a create
	TTLSet                     // = Write.TTLValue
	TTLRemove                  // absent on a create
)

// StampAction says what a write does to a stamp.
type StampAction uint8

// The actions.
const (
	StampKeep StampAction = iota
	StampSet
	StampRemove
)

// Write is one planned write of an acquire.
type Write struct {
	Kind       WriteKind
	Key        BucketKey
	Owner      Owner
	Cascade    bool   // resolved cascade policy
	ParentID   string // "" = none; parents carry none
	ShardCount int    // WriteMove: as read, 0 when absent
	RF         int64
	TTL        TTLAction
	TTLValue   int64 // seconds
	HasVU      bool  // VU is written; else vu is removed, or absent on a create
	VU         int64
	// Bypass is what happens to the bypass stamp; BypassUntil is its new deadline, ms.
	Bypass      StampAction
	BypassUntil int64
	Now         int64  // ms
	Zone        string // of the schedules of new limits; "" without any

	ReadRF        int64
	ReadHasVU     bool
	ReadVU        int64
	ReadHasBypass bool
	ReadBypass    int64 // 0: expired, or not a deadline
	ReadPInc      string
	// Repair (WriteRefill): the item has limits without parameters, so what else a create writes may be
	// missing too. SET, each if absent: entity_id, resource, shard_count, cascade, the index keys.
	Repair bool
	Limits []LimitWrite // wcu is listed like any other
}

// LimitWrite is the part of a Write about one limit.
type LimitWrite struct {
	Name       string
	Seed       bool  // WriteRefill: the item lacks this limit or a part of it
	Free       bool  // soft: not conditional on the balance
	Tokens     int64 // starting tokens after consumption: WriteCreate, WriteRebuild, seeds
	Consumed   int64 // added to tc, the initial tc of creates and seeds
	Waived     bool  // under a bypass: Consumed is counted, but not taken from tk
	Change     int64 // WriteRefill: materialised minus stored tokens, before consumption; WriteMove: minus what is moved
	ReadTokens int64
	ReadSoft   Stamp
	Edge       int64 // the reset edge, ms, that a retry or a move relies on; 0: none
	// Capacity, Refill, Period are written by creates and seeds.
	Capacity, Refill, Period int64
	// Schedule, ResetSchedule of creates and seeds, in their stored form; "" for none. On a create the
	// first of each kind becomes the item's.
	Schedule, ResetSchedule string
	// Extra has the values of the fields in Set (beyond the plain ones and the schedules), and of what
	// conditions compare with.
	Extra       Extra
	Has         Fields // WriteMove: what was there when Extra was read
	Set, Remove Fields
}

// Debit is what of the consumption is taken from the balance.
func (l *LimitWrite) Debit() int64 {
	if l.Waived {
		return 0
	}
	return l.Consumed
}

// Stamp is a deadline as it was read.
type Stamp struct {
	Present bool
	Until   int64 // ms; 0: expired, or not a deadline
}

// WriteOutput says how a Write ended. With Refused, Results is parallel to the writes and at least
// one of them has a failed condition.
type WriteOutput struct {
	Outcome Outcome
	Results []WriteResult
}

// WriteResult is the fate of one write of a refused request.
type WriteResult struct {
	Failed      bool   // the item's own condition failed
	OwnerFailed bool   // the ConditionCheck on META failed
	Image       Bucket // of the bucket when Failed; Exists false: no item
}

// AdjustInput is W4 on the charged shard. The update is ADD b_{L}_tk -Delta, b_{L}_tc +Delta, or one of
// the two by Only; the condition is attribute_exists(PK), the Period of each change that has one, and with
// Checked for each credit (Delta < 0): b_{L}_tk <= Ceiling + Delta, and what the ceiling was computed from as
// in State: b_{L}_cp = Capacity, and gc, tu and the limit's own schedules as they are there or absent; and
// once of the item shard_count (absent matches 1), vu and both schedules as in Item. With ForceSlow it
// also SETs vu = 0, so that the next pass trims the balance.
type AdjustInput struct {
	Key       BucketKey
	Changes   []Change
	Only      AdjustOnly
	Item      *Bucket // read when Checked
	Checked   bool
	ForceSlow bool
}

// AdjustOnly restricts an adjustment to one of the two attributes.
type AdjustOnly uint8

// The restrictions.
const (
	AdjustBoth AdjustOnly = iota
	// AdjustTokens undoes the debit of a request that a bypass waived; it stays counted.
	AdjustTokens
	// AdjustCounter is for a lease that a bypass waived.
	AdjustCounter
)

// Change is one limit of an AdjustInput.
type Change struct {
	Limit   string
	Delta   int64 // millitokens; positive is a debit
	Ceiling int64 // read when Checked and Delta < 0
	State   *LimitState
	Period  Period
}

// Period pins a credit of a quota to the period that was charged.
type Period struct {
	Kind PeriodKind
	// Before: calendar: rf < Before, and rn as in Change.State. 0: no edge is known.
	Before int64
}

// PeriodKind says how a quota's period is told.
type PeriodKind uint8

// The kinds.
const (
	NoPeriod PeriodKind = iota
	// CalendarPeriod: rf < Before and rn as read.
	CalendarPeriod
	// SessionPeriod: ws and wa as read.
	SessionPeriod
)

// AdjustOutput says how an Adjust ended. Image (with Refused) is what is there; Exists is false
// when there is no item.
type AdjustOutput struct {
	Outcome Outcome
	Image   Bucket
}

// OpenWindowInput is W11: for each window SET b_{L}_ws, b_{L}_rsa, b_{L}_wtc = if_not_exists(b_{L}_tc, 0), and once
// vu = 0; condition for each (b_{L}_wa exists OR rf < Start) AND (b_{L}_ws absent OR b_{L}_ws <= Start - Seconds x 1000).
type OpenWindowInput struct {
	Key     BucketKey
	Windows []Window
}

// Window is an open window of a session quota.
type Window struct {
	Limit   string
	Start   int64 // ms
	Seconds int64
}

// RestampInput corrects stamps that were found not to be what config says, each pinned to what was read:
// SET or REMOVE bypass and b_{L}_soft.
type RestampInput struct {
	Key         BucketKey
	Bypass      StampAction
	BypassUntil int64
	ReadBypass  Stamp
	Soft        []SoftStamp
}

// SoftStamp is one soft stamp of a RestampInput.
type SoftStamp struct {
	Limit  string
	Action StampAction
	Until  int64
	Read   Stamp
}
