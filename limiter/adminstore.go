package limiter

import (
	"context"
	"time"
)

// AdminStore makes the calls of administration: entities, limits, flags, their fan-out over buckets,
// and what is recorded about them. It decides nothing; the Admin does. Reads are paginated to the end
// unless they return a cursor. Every method is safe for concurrent use, and writes that another
// transaction holds up are repeated.
type AdminStore interface {
	// PutEntity creates META with pgen = now in ms and a new pinc as given in m.Owner (the
	// Limiter fills Generation, PInc, CreatedAt). ErrEntityExists when there is one.
	PutEntity(ctx context.Context, m Meta) error
	// Entity reads META with its metadata; Found is false when absent.
	Entity(ctx context.Context, id string, consistent bool) (Meta, error)
	// SetParent sets parent_id and the keys of the parents' index ("" removes both), raises pgen by one,
	// and returns META as it was before. ErrEntityNotFound when there is none.
	SetParent(ctx context.Context, id, parentID string) (before Meta, err error)
	// DeleteEntity deletes everything under the entity: operation records, buckets, configs, META
	// last; and takes its configs out of the registry. It returns how many items it deleted, also with
	// an error; nothing found is none.
	DeleteEntity(ctx context.Context, id string) (deleted int, err error)
	// Children lists the entities whose parent is id, sorted by id.
	Children(ctx context.Context, id string) ([]Meta, error)

	// Config reads one level.
	Config(ctx context.Context, key ConfigKey, consistent bool) (Config, error)
	// PutConfig replaces the limits of a level, creating the item and its registry entry when
	// absent, and returns what the level was before. What change does not mention stays, unknown
	// attributes too, whoever writes at the same time.
	PutConfig(ctx context.Context, key ConfigKey, change ConfigChange) (before Config, err error)
	// SetFlag sets one flag of an entity's or a resource's level, creating the item and its registry
	// entry when absent. Unset removes the flag, and creates nothing.
	SetFlag(ctx context.Context, key ConfigKey, name FlagName, value Flag) error
	// DeleteConfig deletes a level with its registry entry and returns what it held; Exists is
	// false when there was none.
	DeleteConfig(ctx context.Context, key ConfigKey) (Config, error)
	// ResourcesWithDefaults and EntityConfigResources read the registries, sorted.
	ResourcesWithDefaults(ctx context.Context) ([]string, error)
	EntityConfigResources(ctx context.Context) ([]string, error)
	// EntitiesWithConfig lists at most limit entities (0: one page of the store's) that have a config for the
	// resource, from a cursor of the call before on. next is "" at the end.
	EntitiesWithConfig(ctx context.Context, resource string, limit int, cursor string) (ids []string, next string, err error)

	// BucketKeys discovers buckets: of an entity, on one resource or on all (""); of all entities on
	// one resource (entityID ""); of the whole namespace (both ""). The listings lag behind creations.
	BucketKeys(ctx context.Context, entityID, resource string) ([]BucketKey, error)
	// Buckets reads all shards of one entity and resource: discovery and one batch read.
	Buckets(ctx context.Context, entityID, resource string) ([]Bucket, error)
	// ResourceBuckets reads all buckets of a resource from the resources' index.
	ResourceBuckets(ctx context.Context, resource string) ([]OwnedBucket, error)
	// SyncParameters is W7 on one bucket, Stamp is W12 on one bucket. They say whether the bucket was
	// written: a missing one is left missing, and so is one with a newer owner stamp.
	SyncParameters(ctx context.Context, in SyncInput) (written bool, err error)
	Stamp(ctx context.Context, in StampInput) (written bool, err error)

	// RequireReaders fails, with an error that says why, unless the version record shows that all
	// readers of the table which are deployed with it are at the release or later. With raise it then
	// raises the minimum for clients to the release, which is never lowered.
	RequireReaders(ctx context.Context, release string, raise bool) error

	// OperationRecord reads, consistently, the record of a reset or top-up; Found is false when there is none.
	OperationRecord(ctx context.Context, entityID, resource, id string) (OperationRecord, error)
	// WriteOperation commits a reset or top-up, all or none: its writes (WriteOperation, or one WriteCreate with
	// the check of its owner), its record, on the condition that there is none, or one of another
	// incarnation where neither is "-", and its audit event, nil for none. token makes the request one that
	// can be repeated.
	WriteOperation(ctx context.Context, in []Write, record OperationRecord, audit *AuditEvent, token string) (Outcome, error)

	// PutAudit stores an event.
	PutAudit(ctx context.Context, e AuditEvent) error
	// AuditEvents lists at most limit events about a subject, newest first, from the one after the
	// event id on ("": from the newest).
	AuditEvents(ctx context.Context, subject string, limit int, after string) ([]AuditEvent, error)
	// UsageSnapshots reads at most q.Limit snapshots and then filters them; next is "" at the end.
	UsageSnapshots(ctx context.Context, q UsageQuery) (snapshots []UsageSnapshot, next string, err error)

	// Managed reads the record of the levels that a manifest declares, empty when there is none; PutManaged
	// replaces it.
	Managed(ctx context.Context) (Managed, error)
	PutManaged(ctx context.Context, m Managed) error

	// Ping is one read that shows that the table answers.
	Ping(ctx context.Context) error
}

// ConfigKey names a config level. System: both empty. Resource defaults: EntityID empty. Entity:
// both set; Resource may be DefaultResource.
type ConfigKey struct {
	EntityID, Resource string
}

// ConfigChange is what a PutConfig changes of a level. Flags that are Unset stay as they are, and so
// does OnUnavailable when it is "".
type ConfigChange struct {
	Limits            []Limit
	Disabled, Cascade Flag
	OnUnavailable     OnUnavailable // system level
}

// FlagName names a flag of a config level.
type FlagName string

// The flags.
const (
	FlagDisabled FlagName = "disabled"
	FlagCascade  FlagName = "cascade"
)

// OwnedBucket is a bucket and whose it is.
type OwnedBucket struct {
	EntityID string
	Bucket
}

// SyncInput is W7: SET cp, ra, rp of each limit (millitokens, ms), vu = 0, ttl by TTL, and by each limit rsa,
// its soft deadline SoftUntil and the schedules of the item and of the limit; REMOVE those that a limit does
// not have; REMOVE tk, cp, ra, rp, tc, schedules and stamps of Stale. tk, tc and rf of the others stay.
type SyncInput struct {
	Key       BucketKey
	Limits    []Limit
	Stale     []string
	SoftUntil int64 // ms
	TTL       TTLAction
	TTLValue  int64 // seconds
}

// StampInput is W12: what a bucket's fast path decides from. The condition is that the item exists, and for
// Owner also that pinc is absent or another one, or pgen is absent or not higher.
type StampInput struct {
	Key BucketKey
	// Access, when not Unset: On sets disabled and removes bypass; Bypassed sets bypass = Until and
	// removes disabled; Off removes both.
	Access Flag
	// Owner, when not nil: SET cascade, pgen, pinc, and parent_id or REMOVE it.
	Owner    *Owner
	Cascade  bool
	ParentID string // "" = none
	// Soft: true sets b_{L}_soft = Until, false removes it.
	Soft  map[string]bool
	Until int64 // ms
}

// AuditEvent records one action of administration.
type AuditEvent struct {
	ID        string    // ULID
	Timestamp time.Time // whole seconds
	Action    string    // one of the Audit constants, or what another client wrote
	Subject   string    // an entity id, AuditSystem, or AuditResource(name)
	Principal string    // "" = unknown
	Resource  string    // "" = none
	// Details holds strings, numbers, bools, nil, maps with string keys and slices of these.
	Details map[string]any
	TTL     int64 // seconds; read events leave it 0
}

// UsageQuery asks for usage snapshots of an entity, of a resource, or of both together.
type UsageQuery struct {
	EntityID, Resource string
	Window             string    // hourly, daily, monthly; "" = all
	Start, End         time.Time // bounds of the window's start, both inclusive; zero = open
	Limit              int       // snapshots read at a time; 0 means 100
	Cursor             string    // of the page before
}

// UsageSnapshot is what an aggregator counted for one entity and resource in one window.
type UsageSnapshot struct {
	EntityID, Resource string
	Window             string // hourly, daily, monthly
	WindowStart        time.Time
	WindowEnd          time.Time // the last second of the window
	Counters           Amounts   // tokens consumed, by limit
	// Overdrawn counts the records in which a soft limit was debited and ended below zero.
	Overdrawn   Amounts
	TotalEvents int64
}

// OperationRecord is what a reset or top-up leaves behind, so that its repetition has no effect.
type OperationRecord struct {
	Found              bool
	ID                 string // the idempotency key, or an id of its own
	EntityID, Resource string
	Operation          string  // reset or top_up
	Writer             string  // names the call that wrote it
	Incarnation        string  // of the entity
	Shards             int     // written
	Amounts            Amounts // whole tokens, by limit
	TTL                int64   // seconds
}
