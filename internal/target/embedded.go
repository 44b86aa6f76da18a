package target

import (
	"context"
	"fmt"
	"net"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// embedded is an engine that is served on a free loopback port.
type embedded struct {
	engine   *dynamolocal.Engine
	endpoint string
	cancel   context.CancelFunc
	served   chan struct{}
}

func startEmbedded(ctx context.Context, config dynamolocal.Config) (*embedded, error) {
	config.StreamBytes = -1 // nobody can read the streams of an engine that ends with the run
	engine, err := dynamolocal.New(config)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		engine.Close()
		return nil, fmt.Errorf("embedded engine: %w", err)
	}
	// The engine outlives the context of the start; stop ends it.
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &embedded{engine: engine, endpoint: "http://" + listener.Addr().String(), cancel: cancel, served: make(chan struct{})}
	go func() {
		defer close(e.served)
		_ = engine.Serve(serving, listener)
	}()
	return e, nil
}

func (e *embedded) stop() {
	e.cancel()
	<-e.served
	e.engine.Close()
}

// fill replaces the units by the engine's own counters since base.
func (e *embedded) fill(r *Readings, base *dynamolocal.Stats) {
	var reads, writes, indexes float64
	var refused int64
	add := func(s *dynamolocal.Stats, sign float64) {
		for _, t := range s.Tables {
			reads += sign * t.ReadUnits
			writes += sign * t.WriteUnits
			indexes += sign * t.IndexWriteUnits
			refused += int64(sign) * t.Throttled
		}
	}
	now := e.engine.Stats()
	add(&now, 1)
	add(base, -1)
	r.ReadUnits, r.WriteUnits, r.IndexWriteUnits = &reads, &writes, &indexes
	r.SampledRatio = new(1.0)
	if r.Throttled == nil || *r.Throttled < refused {
		r.Throttled = &refused
	}
}
