package dynamolocal

import (
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// oldestExpiry is how far in the past a time to live may lie to be believed.
const oldestExpiry = 5 * 365 * 24 * time.Hour

// sweeper deletes expired items from time to time.
type sweeper struct {
	quit chan struct{}
	done sync.WaitGroup
}

func (s *sweeper) start(e *Engine) {
	s.quit = make(chan struct{})
	if e.config.TTLSweep <= 0 {
		return
	}
	s.done.Go(func() {
		ticker := time.NewTicker(e.config.TTLSweep)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				e.ExpireNow()
			case <-s.quit:
				return
			}
		}
	})
}

func (s *sweeper) stop() {
	close(s.quit)
	s.done.Wait()
}

// ExpireNow deletes every item whose time to live is over, in all tables that have one, and returns
// how many it deleted.
func (e *Engine) ExpireNow() (deleted int) {
	e.mu.RLock()
	tables := make([]*table, 0, len(e.tables))
	for _, t := range e.tables {
		tables = append(tables, t)
	}
	e.mu.RUnlock()
	now := e.now()
	for _, t := range tables {
		if name := t.ttlName.Load(); name != nil && *name != "" {
			deleted += t.expire(*name, now)
		}
	}
	return deleted
}

func expired(item *attr.Map, name string, now time.Time) bool {
	v := item.Get(name)
	at, ok := v.Integer()
	if !ok {
		return false
	}
	age := now.Unix() - at
	return at > 0 && age > 0 && age <= int64(oldestExpiry/time.Second)
}

func (t *table) expire(name string, now time.Time) (deleted int) {
	var keys []*attr.Map
	t.store.Scan(nil, 0, 1, nil, func(item *attr.Map) bool {
		if expired(item, name, now) {
			keys = append(keys, item)
		}
		return true
	})
	for _, item := range keys {
		hash, rng := item.Get(t.hash.name), attr.Value{}
		if t.rng.name != "" {
			rng = item.Get(t.rng.name)
		}
		cell := t.store.Open(hash, rng)
		if old := cell.Item(); old != nil && expired(old, name, now) && !cell.Held() {
			cell.Delete()
			t.changed(hash, old, nil, true)
			deleted++
		}
		cell.Close()
	}
	return deleted
}
