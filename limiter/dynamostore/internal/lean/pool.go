package lean

import (
	"context"
	"sync"
	"time"
)

// pool bounds the connections and keeps those that rest, the one used last on top, so that as few as
// possible are in use and the others grow old and are closed.
type pool struct {
	slots chan struct{}

	mu    sync.Mutex
	idle  []*conn     // by the time of their last use, the oldest first
	sweep *time.Timer // closes old ones; nil while none rests
}

// take waits for the right to use a connection.
func (p *pool) take(ctx context.Context) (waited time.Duration, err error) {
	select {
	case p.slots <- struct{}{}:
		return 0, nil
	default:
	}
	start := time.Now()
	select {
	case p.slots <- struct{}{}:
		return time.Since(start), nil
	case <-ctx.Done():
		return time.Since(start), ctx.Err()
	}
}

func (p *pool) free() { <-p.slots }

// rested returns a connection that rests; nil when there is none.
func (p *pool) rested() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

func (p *pool) keep(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(maxIdle, p.closeOld)
	}
}

// closeOld closes the connections that rested for too long, again and again until none rests.
func (p *pool) closeOld() {
	p.closeIdle(time.Now().Add(-maxIdle))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		p.sweep = nil
		return
	}
	p.sweep.Reset(maxIdle)
}

// closeIdle closes the connections that were used last before a moment; the zero moment means all.
func (p *pool) closeIdle(before time.Time) {
	p.mu.Lock()
	n := len(p.idle)
	if !before.IsZero() {
		for n = 0; n < len(p.idle) && p.idle[n].usedAt.Before(before); n++ {
		}
	}
	old := append([]*conn(nil), p.idle[:n]...)
	rest := copy(p.idle, p.idle[n:])
	clear(p.idle[rest:])
	p.idle = p.idle[:rest]
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}
