package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

const (
	askEvery   = time.Second
	askAtMost  = 5 * time.Minute
	filesLimit = 32 << 20
)

// FetchLocustfile asks the master for its locustfile and the modules that it loads. It asks until the
// master answers, or for JoinTimeout. Of the configuration, only what concerns the connection is used.
func FetchLocustfile(ctx context.Context, config Config) ([]wire.LocustfileSource, error) {
	atMost := askAtMost
	if config.JoinTimeout > 0 {
		atMost = config.JoinTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	// An id of its own: a worker comes only when it has something to run.
	id := newID("download_locustfile_")
	dealer := wire.NewDealer(wire.DealerOptions{
		Identity: id, Address: config.Master, Dial: config.Dial, Secret: config.Secret, MaxMessage: filesLimit,
	})
	var group sync.WaitGroup
	defer group.Wait()
	linked, unlink := context.WithCancelCause(ctx)
	defer unlink(nil)
	group.Go(func() {
		if err := dealer.Run(linked); err != nil {
			unlink(err)
		}
	})
	for {
		err := dealer.Send(&wire.Message{Type: wire.TypeLocustfile, Data: wire.LocustfileRequest{Version: config.Version}, NodeID: id})
		if err != nil {
			return nil, err
		}
		files, err := awaitFiles(linked, dealer)
		switch {
		case err == nil:
			return files, nil
		case linked.Err() != nil:
			return nil, fmt.Errorf("no locustfile from the master %s: %w", config.Master, context.Cause(linked))
		case !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
}

// awaitFiles waits for an answer until it is time to ask again.
func awaitFiles(ctx context.Context, dealer *wire.Dealer) ([]wire.LocustfileSource, error) {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	for {
		m, err := dealer.Receive(ctx)
		if err != nil {
			return nil, err
		}
		reply, ok := m.Data.(wire.LocustfileReply)
		switch {
		case !ok:
			continue
		case reply.Error != "":
			return nil, fmt.Errorf("the master gives no locustfile: %s", reply.Error)
		}
		return reply.Files, nil
	}
}
