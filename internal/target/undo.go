package target

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// undoStore remembers what a run changes in a namespace that is not its own: entities that it
// created, limits that it set or deleted, and cascade policies that it set.
type undoStore struct {
	store

	mu       sync.Mutex
	entities []string
	configs  map[limiter.ConfigKey]limiter.Config // before the first change
	cascades map[limiter.ConfigKey]bool           // whose cascade policy was changed
	order    []limiter.ConfigKey
}

// store is both halves of one.
type store interface {
	limiter.Store
	limiter.AdminStore
}

func newUndoStore(s store) *undoStore {
	return &undoStore{store: s, configs: map[limiter.ConfigKey]limiter.Config{}, cascades: map[limiter.ConfigKey]bool{}}
}

// PutEntity implements limiter.AdminStore.
func (u *undoStore) PutEntity(ctx context.Context, m limiter.Meta) error {
	err := u.store.PutEntity(ctx, m)
	if err == nil {
		u.mu.Lock()
		u.entities = append(u.entities, m.EntityID)
		u.mu.Unlock()
	}
	return err
}

// PutConfig implements limiter.AdminStore.
func (u *undoStore) PutConfig(ctx context.Context, key limiter.ConfigKey, change limiter.ConfigChange) (limiter.Config, error) {
	if err := u.remember(ctx, key); err != nil {
		return limiter.Config{}, err
	}
	if change.Cascade != limiter.Unset {
		u.mu.Lock()
		u.cascades[key] = true
		u.mu.Unlock()
	}
	return u.store.PutConfig(ctx, key, change)
}

// DeleteConfig implements limiter.AdminStore.
func (u *undoStore) DeleteConfig(ctx context.Context, key limiter.ConfigKey) (limiter.Config, error) {
	if err := u.remember(ctx, key); err != nil {
		return limiter.Config{}, err
	}
	return u.store.DeleteConfig(ctx, key)
}

func (u *undoStore) remember(ctx context.Context, key limiter.ConfigKey) error {
	u.mu.Lock()
	_, known := u.configs[key]
	u.mu.Unlock()
	if known {
		return nil
	}
	before, err := u.store.Config(ctx, key, false)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.configs[key]; !known {
		u.configs[key] = before
		u.order = append(u.order, key)
	}
	return nil
}

// restore deletes the entities and puts the limits back, through the limiter, so that buckets
// follow. It goes on after an error and returns all of them.
func (u *undoStore) restore(ctx context.Context, l *limiter.Limiter) error {
	u.mu.Lock()
	entities, order := slices.Clone(u.entities), slices.Clone(u.order)
	u.mu.Unlock()
	var errs []error
	for _, id := range entities {
		errs = append(errs, l.Admin().DeleteEntity(ctx, id))
	}
	for _, key := range slices.Backward(order) {
		if slices.Contains(entities, key.EntityID) {
			continue
		}
		errs = append(errs, restoreConfig(ctx, l, key, u.configs[key]))
		if u.cascades[key] && u.configs[key].Exists {
			errs = append(errs, restoreCascade(ctx, l, key, u.configs[key].Cascade))
		}
	}
	return errors.Join(errs...)
}

func restoreCascade(ctx context.Context, l *limiter.Limiter, key limiter.ConfigKey, before limiter.Flag) error {
	var err error
	if before == limiter.Unset {
		_, err = l.Admin().ClearCascade(ctx, key.EntityID, key.Resource)
	} else {
		_, err = l.Admin().SetCascade(ctx, key.EntityID, key.Resource, before == limiter.On)
	}
	return err
}

// restoreConfig gives a level back what it held, flags included.
func restoreConfig(ctx context.Context, l *limiter.Limiter, key limiter.ConfigKey, before limiter.Config) error {
	admin := l.Admin()
	if !before.Exists {
		_, _, err := admin.Unconfigure(ctx, key)
		return err
	}
	_, err := admin.Configure(ctx, key, limiter.ConfigChange{
		Limits: before.Limits, Disabled: before.Disabled, Cascade: before.Cascade, OnUnavailable: before.OnUnavailable,
	})
	return err
}
