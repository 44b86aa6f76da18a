package limiter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Managed is the record of a namespace about the levels that a manifest declares, so that the next manifest
// can delete what it no longer declares.
type Managed struct {
	System      bool
	Resources   []string
	Entities    map[string][]string // entity to resources
	LastApplied time.Time           // zero when no manifest was applied
	Hash        string              // of the manifest
}

// NewManaged is the record about those levels.
func NewManaged(keys []ConfigKey, hash string) Managed {
	m := Managed{Entities: map[string][]string{}, Hash: hash}
	for _, k := range keys {
		switch {
		case k.EntityID != "":
			m.Entities[k.EntityID] = append(m.Entities[k.EntityID], k.Resource)
		case k.Resource != "":
			m.Resources = append(m.Resources, k.Resource)
		default:
			m.System = true
		}
	}
	return m
}

// Keys are the levels of the record.
func (m *Managed) Keys() []ConfigKey {
	var keys []ConfigKey
	if m.System {
		keys = append(keys, ConfigKey{})
	}
	for _, r := range m.Resources {
		keys = append(keys, ConfigKey{Resource: r})
	}
	for _, id := range slices.Sorted(maps.Keys(m.Entities)) {
		for _, r := range m.Entities[id] {
			keys = append(keys, ConfigKey{id, r})
		}
	}
	return keys
}

// Managed reads the record of the namespace; it is empty when there is none.
func (a *Admin) Managed(ctx context.Context) (Managed, error) {
	if err := a.check(); err != nil {
		return Managed{}, err
	}
	m, err := a.store.Managed(ctx)
	if err != nil {
		return Managed{}, fmt.Errorf("managed levels: %w", err)
	}
	return m, nil
}

// SetManaged replaces the record of the namespace; it is dated by the limiter's clock.
func (a *Admin) SetManaged(ctx context.Context, m Managed) error {
	if err := a.check(); err != nil {
		return err
	}
	m.LastApplied = a.l.now().UTC().Truncate(time.Second)
	if err := a.store.PutManaged(ctx, m); err != nil {
		return fmt.Errorf("managed levels: %w", err)
	}
	return nil
}
