package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

// ErrRedisLogin is returned when a Redis server does not take the user or the password.
var ErrRedisLogin = errors.New("the Redis server refuses the login")

// IsRedis reports whether a text names a Redis or Valkey server.
func IsRedis(text string) bool {
	return strings.HasPrefix(text, "redis://") || strings.HasPrefix(text, "rediss://")
}

// ParseRedis refuses what is no address of a Redis server.
func ParseRedis(text string) error {
	_, err := redisstore.ParseURL(text)
	return err
}

// WithoutLogin is the address of a Redis server without user and password.
func WithoutLogin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// redisOptions are those of the store, with the password that the address does not have.
func (c *Config) redisOptions() (redisstore.Options, error) {
	o, err := redisstore.ParseURL(c.Redis)
	o.Password = cmp.Or(o.Password, c.RedisPassword)
	return o, err
}

// openRedis opens a namespace of a Redis server. One without data is made for the run, and purged after it.
func openRedis(ctx context.Context, c Config) (_ *Target, err error) {
	t := &Target{config: c, meter: newMeter(0)}
	options, err := c.redisOptions()
	if err != nil {
		return nil, err
	}
	options.Observe = t.meter.request
	name := cmp.Or(c.Namespace, NamespaceOf(c.RunID))
	if t.redis, err = redisstore.Open(options, name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.shutDown()
		}
	}()
	if err := t.redis.Ping(ctx); err != nil {
		if errors.Is(err, limiter.ErrAccessDenied) {
			err = fmt.Errorf("%w: %w", ErrRedisLogin, err)
		}
		return nil, err
	}
	t.info = Info{Endpoint: WithoutLogin(c.Redis), Namespace: name, NamespaceMade: true}
	var driven limiter.Store = t.redis
	if c.Namespace != "" {
		used, err := t.redis.InUse(ctx)
		if err != nil {
			return nil, err
		}
		if used {
			t.info.NamespaceMade = false
			t.undo = newUndoStore(t.redis)
			driven = t.undo
		}
	}
	if t.limiter, err = limiter.New(driven, c.limiterOptions()); err != nil {
		return nil, err
	}
	t.StartReadings()
	return t, nil
}

// request counts one request to a Redis server.
func (m *Meter) request(r redisstore.Request) {
	result := succeeded
	if r.Err != nil {
		result = failed
	}
	m.attempt(r.Operation, noPool, r.Took, result)
}

// purgeRedis removes the namespace that a run left.
func purgeRedis(ctx context.Context, c Config, runID string) error {
	options, err := c.redisOptions()
	if err != nil {
		return err
	}
	store, err := redisstore.Open(options, NamespaceOf(runID))
	if err != nil {
		return err
	}
	defer store.Close()
	deleted, err := store.Purge(ctx)
	if err == nil && deleted == 0 {
		err = fmt.Errorf("%s has no namespace %s: the run left nothing, or was purged already", WithoutLogin(c.Redis), NamespaceOf(runID))
	}
	return err
}
