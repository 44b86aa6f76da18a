package limiter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
	if err := a.check(validateEntityID("entity_id", e.ID)); err != nil {
		return Entity{}, err
	}
	if e.ParentID != "" {
		if err := a.check(validateEntityID("parent_id", e.ParentID)); err != nil {
			return Entity{}, err
		}
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
	a.l.owners.forgetEntity(e.ID)
	return entityOf(m), nil
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
	m, err := a.store.Entity(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("entity %s: %w", id, err)
	}
	if !m.Found {
		return nil, nil
	}
	e := entityOf(m)
	return &e, nil
}

// DeleteEntity deletes the entity with its limits and buckets. Deleting what is not there is no
// error. Children keep naming it as their parent.
func (a *Admin) DeleteEntity(ctx context.Context, id string) error {
	if err := a.check(validateEntityID("entity_id", id)); err != nil {
		return err
	}
	err := a.store.DeleteEntity(ctx, id)
	a.l.owners.forgetEntity(id)
	a.l.configs.clear()
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
