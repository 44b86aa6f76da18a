package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// fetchEvery is how often a master that does not answer is asked again.
const fetchEvery = 2 * time.Second

// ErrNoAnswer is returned by FetchLocustfile when no master answered in time.
var ErrNoAnswer = errors.New("the master did not answer")

// FetchLocustfile asks the master for its locustfile: the first file is the one to run. Of the
// configuration it uses how to reach the master, Version, JoinTimeout and Logger.
func FetchLocustfile(ctx context.Context, config Config) ([]wire.LocustfileSource, error) {
	timeout := config.JoinTimeout
	if timeout <= 0 {
		timeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w within %v", ErrNoAnswer, timeout))
	defer cancel()
	identity := newID("locustfile_")
	log := config.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dealer := wire.NewDealer(wire.DealerOptions{
		Identity: identity, Address: config.Master, Dial: config.Dial, Secret: config.Secret,
		Changed: func(link wire.LinkState) {
			if link.Retry > 0 { // otherwise it is connected, or refused for good
				logUnconnected(log, config.Master, link)
			}
		},
	})
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	refused := make(chan error, 1)
	group.Go(func() {
		if err := dealer.Run(ctx); err != nil {
			refused <- err
			cancel()
		}
	})
	group.Go(func() {
		request := wire.Message{Type: wire.TypeLocustfile, Data: wire.LocustfileRequest{Version: config.Version}, NodeID: identity}
		ticker := time.NewTicker(fetchEvery)
		defer ticker.Stop()
		for {
			_ = dealer.Send(&request) // asked again when it was lost
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		m, err := dealer.Receive(ctx)
		if errors.Is(err, wire.ErrBadMessage) {
			continue
		}
		if err != nil {
			select {
			case refusal := <-refused:
				return nil, refusal
			default:
				return nil, context.Cause(ctx)
			}
		}
		reply, ok := m.Data.(wire.LocustfileReply)
		if !ok {
			continue
		}
		if reply.Error != "" {
			return nil, errors.New(reply.Error)
		}
		return reply.Files, nil
	}
}
