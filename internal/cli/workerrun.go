package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// workerRun is a worker in this process with what its runs have here.
type workerRun struct {
	app     *app
	file    *locustfile.File
	classes []*loadtest.UserClass
	flags   *targetFlags
	// ownTarget keeps the target of the command line whatever the master says.
	ownTarget bool
	worker    *worker.Worker
}

// open opens the target of a run: that of the master, unless the command line names one.
func (w *workerRun) open(ctx context.Context, run worker.Run) (*worker.Scenario, error) {
	config, err := w.targetConfig(run)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errors.New("no answer that a DynamoDB endpoint would give within 9 s"))
	defer cancel()
	t, err := target.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	w.file.Bind(loadclient.New(t.Limiter()))
	telling, enough := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	if !run.Foreign {
		group.Go(func() { w.keepTelling(telling, t) })
	}
	return &worker.Scenario{
		Classes: w.classes,
		Events:  w.file.Events(),
		OnWarm:  t.StartReadings,
		Close: func(ctx context.Context) error {
			enough()
			group.Wait()
			var err error
			if !run.Foreign {
				err = w.tell(t)
			}
			return errors.Join(err, w.app.closeTarget(ctx, t, run.ID))
		},
	}, nil
}

func (w *workerRun) targetConfig(run worker.Run) (target.Config, error) {
	flags := w.flags
	if run.Foreign && !w.ownTarget && w.app.home != nil {
		flags = w.app.home
	}
	config, err := w.app.targetConfig(flags)
	if err != nil {
		return config, err
	}
	config.RunID, config.EngineSeed = run.ID, run.Seed
	if run.Foreign || w.ownTarget {
		return config, nil
	}
	shared, ok, err := sharedTargetOf(run.Settings)
	if err != nil || !ok {
		return config, err
	}
	config.AWS, config.Endpoint, config.Region, config.Table = shared.AWS, shared.Endpoint, shared.Region, shared.Table
	if shared.Redis == "" || target.WithoutLogin(config.Redis) != shared.Redis { // else the worker's own has the login
		config.Redis = shared.Redis
	}
	config.RedisPassword = w.app.getenv(redisPasswordVariable)
	config.Namespace, config.KeepData, config.CreateTable = shared.Namespace, shared.KeepData, false
	config.NoSpeculation = !shared.Speculative
	config.RejectionCache = time.Duration(shared.RejectionCacheSeconds * float64(time.Second))
	config.Client = cmp.Or(shared.Client, config.Client)
	config.PoolConnections = min(shared.PoolConnections, w.flags.poolConnections)
	config.ConsumedAll = shared.ConsumedAll
	return config, nil
}

// tellEvery is the time between messages about the table: the master's bound on cost is late by as much.
const tellEvery = 5 * time.Second

// keepTelling tells the master what the table was asked so far, until the context ends.
func (w *workerRun) keepTelling(ctx context.Context, t *target.Target) {
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = w.tell(t) // the next one has it all
		}
	}
}

// tell sends the master what the table was asked.
func (w *workerRun) tell(t *target.Target) error {
	data, err := json.Marshal(t.Tally())
	if err != nil {
		return fmt.Errorf("tally: %w", err)
	}
	return w.worker.Send(tallyMessage, data)
}
