package limiter

import "context"

// AdminStore makes the calls of administration: entities, limits, defaults, and the discovery of
// an entity's buckets. Reads are paginated to the end.
type AdminStore interface {
	// PutEntity creates META with pgen = now in ms and a new pinc as given in m.Owner (the
	// Limiter fills Generation, PInc, CreatedAt). ErrEntityExists when there is one.
	PutEntity(ctx context.Context, m Meta) error
	// Entity reads META with its metadata; Found is false when absent.
	Entity(ctx context.Context, id string) (Meta, error)
	// DeleteEntity deletes everything under the entity: operation records, buckets, configs, META
	// last; and takes its configs out of the registry. Nothing found is no error.
	DeleteEntity(ctx context.Context, id string) error
	// Children lists the entities whose parent is id, sorted by id.
	Children(ctx context.Context, id string) ([]Meta, error)

	// Config reads one level.
	Config(ctx context.Context, key ConfigKey) (Config, error)
	// PutConfig replaces the limits of a level, creating the item and its registry entry when
	// absent. Everything else on the item (flags, unknown attributes) stays; on the system level
	// onUnavailable is set when not "" and kept otherwise.
	PutConfig(ctx context.Context, key ConfigKey, limits []Limit, onUnavailable OnUnavailable) error
	// DeleteConfig deletes a level with its registry entry and returns what it held; Exists is
	// false when there was none.
	DeleteConfig(ctx context.Context, key ConfigKey) (Config, error)
	// ResourcesWithDefaults and EntityConfigResources read the registries, sorted.
	ResourcesWithDefaults(ctx context.Context) ([]string, error)
	EntityConfigResources(ctx context.Context) ([]string, error)

	// BucketKeys discovers the buckets of an entity (GSI3), of one resource or of all ("").
	BucketKeys(ctx context.Context, entityID, resource string) ([]BucketKey, error)
	// Buckets reads all shards of one entity and resource: discovery and one batch read.
	Buckets(ctx context.Context, entityID, resource string) ([]Bucket, error)
	// SyncParameters is W7 on one bucket; a missing item is ignored.
	SyncParameters(ctx context.Context, in SyncInput) error

	// Ping is one read that shows that the table answers.
	Ping(ctx context.Context) error
}

// ConfigKey names a config level. System: both empty. Resource defaults: EntityID empty. Entity:
// both set; Resource may be DefaultResource.
type ConfigKey struct {
	EntityID, Resource string
}

// SyncInput is W7: SET cp, ra, rp of each limit (millitokens, ms), rsa of session quotas, soft =
// SoftUntil of soft limits, the item's and own schedules with sched_tz, vu = 0, ttl by TTL; REMOVE rsa, soft
// and schedules that the limits do not have; REMOVE tk, cp, ra, rp, tc, sched, rsched and soft of Stale. tk, tc,
// rf, gc and window marks of the others stay.
type SyncInput struct {
	Key       BucketKey
	Limits    []Limit
	Stale     []string
	SoftUntil int64 // ms
	TTL       TTLAction
	TTLValue  int64
}
