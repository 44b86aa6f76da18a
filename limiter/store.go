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
	StampShardCount(ctx context.Context, key BucketKey, count int) error
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
// (amount 0 included), and ADD b_wcu_tk -1000, b_wcu_tc +1000. The condition is all of:
//   - attribute_exists(PK)
//   - b_{L}_tk >= Amount for each charge
//   - b_{L}_soft absent for each charge, bypass absent
//   - b_wcu_tk >= 1000
//   - ttl absent or > floor(Now/1000)
//   - disabled absent
//   - vu absent or > Now
type ConsumeInput struct {
	Key     BucketKey
	Charges []Charge
	Now     int64
}

// ConsumeOutput has the image after the write (Done: ALL_NEW) or the one that failed the condition
// (Refused: ALL_OLD; Image.Exists is false when there was no item). On Conflict it is empty.
type ConsumeOutput struct {
	Outcome Outcome
	Image   Bucket
}

// Bucket is the image of a bucket item.
type Bucket struct {
	Exists   bool
	Shard    int // from the key
	Resource string

	HasRF bool
	RF    int64
	HasVU bool
	VU    int64
	// HasTTL, TTL: seconds.
	HasTTL bool
	TTL    int64
	// ShardCount is as stored, 0 when absent. Use Shards to read it.
	ShardCount int

	Disabled bool
	Cascade  bool
	ParentID string // "" when absent
	HasPGen  bool
	PGen     int64
	PInc     string // "" when absent

	// Features of the item as a whole and of all its limits that this library does not support.
	Features Features
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
type Fields uint8

// The attributes of a limit.
const (
	FieldTokens   Fields = 1 << iota // b_{L}_tk
	FieldCapacity                    // b_{L}_cp
	FieldRefill                      // b_{L}_ra
	FieldPeriod                      // b_{L}_rp
	FieldCounter                     // b_{L}_tc

	// FieldsComplete is what a limit needs to be evaluated.
	FieldsComplete = FieldTokens | FieldCapacity | FieldRefill | FieldPeriod
)

// LimitState is one limit of a bucket item. Capacity and Refill are undivided by shards.
// Attributes that are absent are 0 and missing from Has.
type LimitState struct {
	Name     string
	Tokens   int64 // b_{L}_tk, millitokens
	Capacity int64 // b_{L}_cp, millitokens
	Refill   int64 // b_{L}_ra, millitokens per Period
	Period   int64 // b_{L}_rp, milliseconds
	Counter  int64 // b_{L}_tc, millitokens
	Has      Fields
	Features Features // of this limit alone
}

// Complete says whether the limit can be evaluated.
func (s *LimitState) Complete() bool { return s.Has&FieldsComplete == FieldsComplete }

// Features is a set of features of the wire format that this library does not support.
type Features uint8

// The features, each with what shows it.
const (
	// FeatureSchedule: sched on the item, or b_{L}_sched other than "-"; l_{L}_sched in a config.
	FeatureSchedule Features = 1 << iota
	// FeatureQuota: a limit with ra = 0; rsched, b_{L}_rsched other than "-", gc, tu, rn;
	// l_{L}_rsched in a config.
	FeatureQuota
	// FeatureSessionQuota: b_{L}_rsa, ws, wa, wtc; any w_{L}_* in a config.
	FeatureSessionQuota
	// FeatureSoft: b_{L}_soft (any type); l_{L}_soft true in a config.
	FeatureSoft
	// FeatureBypass: bypass on the item; disabled = "bypass" in a config.
	FeatureBypass
)

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

// Flag is a tri-state flag of a config level.
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
	Disabled      Flag          // On: true; Off: explicitly enforced. "bypass" is a feature
	Cascade       Flag          // entity and resource level
	OnUnavailable OnUnavailable // system level; "" when absent
	// AuditRetentionDays is how long audit events are kept; system level, 0 when absent.
	AuditRetentionDays int64
	Features           Features
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
	// Uses Owner, Cascade, ParentID, ShardCount, RF, TTL (TTLSet or none), Limits.
	WriteCreate WriteKind = iota
	// WriteRebuild repairs a partial item (one without rf): UpdateItem that SETs every attribute
	// that WriteCreate puts (indexes, entity_id and resource included), condition
	// attribute_exists(PK) AND attribute_not_exists(rf), beside the same ConditionCheck.
	WriteRebuild
	// WriteRefill (W2): an UpdateItem of
	//   SET    rf = RF; ttl by TTL; with Owner.Found cascade, pgen, pinc, and parent_id when not "";
	//          of a seed: tk = Tokens, tc = Consumed, cp, ra, rp
	//   REMOVE ttl by TTL; vu; with Owner.Found and ParentID "" parent_id
	//   ADD    of the others: tk by Change - Consumed, tc by Consumed
	// on the condition, all of: rf = ReadRF; vu as read (ReadHasVU, ReadVU); for each limit with
	// Consumed > Change tk >= Consumed - Change; for each with Change > 0 tk <= ReadTokens; for
	// each seed one of tk, cp, ra, rp absent; with Owner.Found: pinc absent OR (pinc =
	// Incarnation AND (pgen absent OR pgen <= Generation)); bypass absent.
	WriteRefill
	// WriteRetry (W3): ADD tk by -Consumed, tc by +Consumed for each limit with Consumed > 0,
	// condition tk >= Consumed for each, bypass and their soft stamps absent. rf, ttl, vu and stamps stay.
	WriteRetry
	// WriteClaim is WriteRefill without the pgen/pinc condition, for an item that carries the
	// stamp of an earlier incarnation: condition pinc = ReadPInc instead.
	WriteClaim
)

// TTLAction says what a write does to ttl.
type TTLAction uint8

// The actions.
const (
	TTLKeep   TTLAction = iota // untouched; absent on a create
	TTLSet                     // = Write.TTLValue
	TTLRemove                  // absent on a create
)

// Write is one planned write of an acquire.
type Write struct {
	Kind       WriteKind
	Key        BucketKey
	Owner      Owner
	Cascade    bool   // resolved cascade policy
	ParentID   string // "" = none; parents carry none
	ShardCount int
	RF         int64
	TTL        TTLAction
	TTLValue   int64 // seconds
	ReadRF     int64
	ReadHasVU  bool
	ReadVU     int64
	ReadPInc   string
	// Repair (WriteRefill): the item has limits without parameters, so what else a create writes may be
	// missing too. SET, each if absent: entity_id, resource, shard_count, cascade, the index keys.
	Repair bool
	Limits []LimitWrite // wcu is listed like any other
}

// LimitWrite is the part of a Write about one limit.
type LimitWrite struct {
	Name       string
	Seed       bool  // WriteRefill: the item lacks this limit or a part of it
	Tokens     int64 // starting tokens after consumption: WriteCreate, WriteRebuild, seeds
	Consumed   int64 // added to tc, the initial tc of creates and seeds
	Change     int64 // WriteRefill: materialised minus stored tokens, before consumption
	ReadTokens int64
	// Capacity, Refill, Period are written by creates and seeds.
	Capacity, Refill, Period int64
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

// AdjustInput is W4 on the charged shard. The update is ADD b_{L}_tk -Delta, b_{L}_tc +Delta; the
// condition is attribute_exists(PK), and with Checked for each credit (Delta < 0):
// b_{L}_tk <= Ceiling + Delta AND b_{L}_cp = Capacity, and once shard_count = ShardCount (absent
// matches 1) AND vu absent AND no schedule on the item. With ForceSlow it also SETs vu = 0,
// so that the next pass trims the balance.
type AdjustInput struct {
	Key        BucketKey
	Changes    []Change
	ShardCount int
	Checked    bool
	ForceSlow  bool
}

// Change is one limit of an AdjustInput.
type Change struct {
	Limit             string
	Delta             int64 // millitokens; positive is a debit
	Ceiling, Capacity int64 // read when Checked and Delta < 0
}

// AdjustOutput says how an Adjust ended. Missing (with Refused) means that there is no item.
type AdjustOutput struct {
	Outcome Outcome
	Missing bool
}
