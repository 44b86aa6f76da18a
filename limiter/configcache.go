package limiter

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// maxCachedConfigs bounds the level cache; beyond it everything is forgotten at once, which costs one
// read each to learn again.
const maxCachedConfigs = 10_000

// configCache remembers config levels, absent ones included. Slow passes read the levels of
// entity and resource afresh, because the flags among them must be; the cache serves the system level
// of every acquire and all levels of capacity queries.
type configCache struct {
	ttl time.Duration

	systemLevel atomic.Pointer[cachedConfig]
	// refreshing has room for one: a refresh that everybody waits for, each with his own context.
	refreshing chan struct{}

	mu     sync.Mutex
	levels map[ConfigKey]cachedConfig
}

type cachedConfig struct {
	config  Config
	expires int64 // ms
}

func (c *configCache) init(ttl time.Duration) {
	c.ttl = ttl
	c.refreshing = make(chan struct{}, 1)
	c.levels = map[ConfigKey]cachedConfig{}
}

// fresh says whether a level may still be used; after a clock was set back, one from the future may not.
func (c *configCache) fresh(level *cachedConfig, now int64) bool {
	left := level.expires - now
	return left > 0 && left <= 2*c.ttl.Milliseconds()
}

// cachedSystem returns the system level if it is remembered.
func (c *configCache) cachedSystem(now int64) (Config, bool) {
	if level := c.systemLevel.Load(); level != nil && c.fresh(level, now) {
		return level.config, true
	}
	return Config{}, false
}

func (c *configCache) putSystem(config Config, now int64) {
	if c.ttl > 0 {
		c.systemLevel.Store(&cachedConfig{config, now + c.ttl.Milliseconds()})
	}
}

// system returns the system level, reading it when it is not remembered, and the requests made.
func (c *configCache) system(ctx context.Context, l *Limiter, now int64) (Config, int, error) {
	if config, ok := c.cachedSystem(now); ok {
		return config, 0, nil
	}
	if c.ttl > 0 {
		select {
		case c.refreshing <- struct{}{}:
			defer func() { <-c.refreshing }()
		case <-ctx.Done():
			return Config{}, 0, ctx.Err()
		}
		if config, ok := c.cachedSystem(l.nowMillis()); ok {
			return config, 0, nil
		}
	}
	var out ReadOutput
	if err := l.store.Read(ctx, &ReadInput{SystemConfig: true}, &out); err != nil {
		return Config{}, 1, err
	}
	c.putSystem(out.System, l.nowMillis())
	return out.System, 1, nil
}

func (c *configCache) get(key ConfigKey, now int64) (Config, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	level, ok := c.levels[key]
	if !ok || !c.fresh(&level, now) {
		return Config{}, false
	}
	return level.config, true
}

func (c *configCache) put(key ConfigKey, config Config, now int64) {
	if c.ttl <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.levels) >= maxCachedConfigs {
		clear(c.levels)
	}
	c.levels[key] = cachedConfig{config, now + c.ttl.Milliseconds()}
}

func (c *configCache) evict(key ConfigKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.levels, key)
}

func (c *configCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.levels)
	c.systemLevel.Store(nil)
}

// InvalidateCaches forgets every remembered limit, default, bucket image and entity.
func (l *Limiter) InvalidateCaches() {
	l.configs.clear()
	l.owners.clear()
	l.mode.Store(Block)
}
