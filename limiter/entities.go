package limiter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"time"
)

// Entity is what limits belong to: a user, a key, a project. It need not be created to be limited; an
// entity that is created may have a parent, which with Cascade is charged along.
type Entity struct {
	ID       string
	Name     string // ID when empty
	ParentID string // "" = none; its existence is not checked
	Cascade  bool
	// Metadata holds strings, numbers, bools, nil, maps with string keys and slices of these.
	Metadata  map[string]any
	CreatedAt time.Time // set by CreateEntity, to the second
}

// CreateEntity stores a new entity and returns it as stored. ErrEntityExists is wrapped when the id is
// taken.
func (a *Admin) CreateEntity(ctx context.Context, e Entity) (Entity, error) {
	if err := a.check(validateEntityID("entity_id", e.ID), validateParent(e.ParentID)); err != nil {
		return Entity{}, err
	}
	if e.Name == "" {
		e.Name = e.ID
	}
	var incarnation [8]byte
	rand.Read(incarnation[:]) // never fails
	now := a.l.now().UTC()
	m := Meta{EntityID: e.ID, Name: e.Name, ParentID: e.ParentID, Cascade: e.Cascade, Metadata: e.Metadata,
		Owner: Owner{Found: true, Generation: now.UnixMilli(), PInc: hex.EncodeToString(incarnation[:]), CreatedAt: now.Format(time.RFC3339)}}
	if err := a.store.PutEntity(ctx, m); err != nil {
		return Entity{}, fmt.Errorf("create entity %s: %w", e.ID, err)
	}
	a.l.owners.forgetStamps(e.ID)
	metadata := maps.Clone(e.Metadata)
	if metadata == nil {
		metadata = map[string]any{}
	}
	return entityOf(m), a.record(ctx, AuditEvent{Action: AuditEntityCreated, Subject: e.ID, Details: map[string]any{
		"name": e.Name, "parent_id": orNil(e.ParentID), "cascade": e.Cascade, "metadata": metadata,
	}})
}

func validateParent(id string) error {
	if id == "" {
		return nil
	}
	return validateEntityID("parent_id", id)
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func entityOf(m Meta) Entity {
	created, _ := time.Parse(time.RFC3339, m.CreatedAt) // zero when absent or foreign
	return Entity{ID: m.EntityID, Name: m.Name, ParentID: m.ParentID, Cascade: m.Cascade, Metadata: m.Metadata, CreatedAt: created}
}

// Entity returns the entity, nil when there is none.
func (a *Admin) Entity(ctx context.Context, id string) (*Entity, error) {
	if err := a.check(validateEntityID("entity_id", id)); err != nil {
		return nil, err
	}
	m, err := a.store.Entity(ctx, id, false)
	if err != nil {
		return nil, fmt.Errorf("entity %s: %w", id, err)
	}
	if !m.Found {
		return nil, nil
	}
	e := entityOf(m)
	return &e, nil
}

// maxAncestors is how many levels above a new parent are looked at for the entity itself.
const maxAncestors = 32

// SetParent moves an entity under another parent, or under none (""), and returns how many of its buckets
// follow at once. What was charged to the old parent stays there. A repetition of the call finishes one
// that ended with *FanoutIncompleteError.
//
// ErrEntityNotFound is wrapped when the entity or the parent does not exist. The parent must not descend
// from the entity; two moves at the same time can pass that test and still form a circle, which does no
// harm, because a charge goes up one level only.
func (a *Admin) SetParent(ctx context.Context, id, parentID string) (stamped int, err error) {
	if err := a.check(validateEntityID("entity_id", id), validateParent(parentID)); err != nil {
		return 0, err
	}
	if parentID == id {
		return 0, invalid("parent_id", parentID, "is the entity itself")
	}
	if err := a.require(ctx, readersOfSoft, "moving an entity"); err != nil {
		return 0, err
	}
	if parentID != "" {
		if err := a.checkParent(ctx, id, parentID); err != nil {
			return 0, err
		}
	}
	before, err := a.store.SetParent(ctx, id, parentID)
	if err != nil {
		return 0, fmt.Errorf("set parent of %s: %w", id, err)
	}
	a.l.owners.forgetStamps(id)
	return a.fanOutThenAudit(ctx, AuditEvent{Action: AuditEntityParentChanged, Subject: id, Details: map[string]any{
		"old_parent_id": orNil(before.ParentID), "parent_id": orNil(parentID), "pgen": before.Generation + 1,
	}}, func() (int, error) { return a.fanOut(ctx, fanout{key: ConfigKey{id, DefaultResource}, cascade: true}) })
}

func (a *Admin) checkParent(ctx context.Context, id, parentID string) error {
	ancestor := parentID
	for hop := 0; ancestor != ""; hop++ {
		if hop > maxAncestors {
			return invalid("parent_id", parentID, fmt.Sprintf("has more than %d levels above it", maxAncestors))
		}
		if ancestor == id {
			return invalid("parent_id", parentID, "descends from "+id)
		}
		m, err := a.store.Entity(ctx, ancestor, true)
		if err != nil {
			return fmt.Errorf("entity %s: %w", ancestor, err)
		}
		if hop == 0 && !m.Found {
			return fmt.Errorf("parent %s: %w", parentID, ErrEntityNotFound)
		}
		ancestor = m.ParentID
	}
	return nil
}

// DeleteEntity deletes the entity with its limits and buckets. Deleting what is not there is no
// error. Children keep naming it as their parent, and audit events about it stay.
func (a *Admin) DeleteEntity(ctx context.Context, id string) error {
	if err := a.check(validateEntityID("entity_id", id)); err != nil {
		return err
	}
	deleted, err := a.store.DeleteEntity(ctx, id)
	a.l.owners.forgetEntity(id)
	a.l.configs.clear()
	if deleted > 0 {
		// Interrupted or not: the events of all calls add up to the whole.
		audit := a.record(ctx, AuditEvent{Action: AuditEntityDeleted, Subject: id, Details: map[string]any{
			"records_deleted": int64(deleted), "complete": err == nil,
		}})
		if err == nil {
			return audit
		}
		if audit != nil {
			a.l.logger.Warn("audit event of an incomplete change not written", "action", AuditEntityDeleted, "error", audit)
		}
	}
	if err != nil {
		return fmt.Errorf("delete entity %s: %w", id, err)
	}
	return nil
}

// Children lists the entities whose parent is parentID, sorted by id.
func (a *Admin) Children(ctx context.Context, parentID string) ([]Entity, error) {
	if err := a.check(validateEntityID("parent_id", parentID)); err != nil {
		return nil, err
	}
	metas, err := a.store.Children(ctx, parentID)
	if err != nil {
		return nil, fmt.Errorf("children of %s: %w", parentID, err)
	}
	entities := make([]Entity, len(metas))
	for i, m := range metas {
		entities[i] = entityOf(m)
	}
	return entities, nil
}
