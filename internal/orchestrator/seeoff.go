package orchestrator

import (
	"context"
	"errors"
)

// seeOff ends every worker started here, inside of the stop timeout: those in the master's table are
// told to quit through the master and get most of the time to say goodbye; the rest is ended by the
// launcher.
func (o *Orchestrator) seeOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.config.StopTimeout)
	defer cancel()
	if watcher, ok := o.launcher.(Watcher); ok {
		for _, id := range watcher.Ended() {
			o.pool.Ended(id, o.now())
		}
	}
	left := o.goodbyes(ctx)
	o.summary.Stopped = len(left)
	err := o.stopAll(ctx, o.pool.Own())
	if errors.Is(err, errors.ErrUnsupported) {
		if len(left) > 0 {
			o.log.Warn("workers run until their time is over: they cannot be ended from here", "workers", left)
		}
		return nil
	}
	return err
}

// goodbyes tells workers to quit until the master shows none of them any more, or three quarters of
// the time that ctx has are over. It returns those that are still there.
func (o *Orchestrator) goodbyes(ctx context.Context) (left []string) {
	ctx, cancel := context.WithTimeout(ctx, o.config.StopTimeout*3/4)
	defer cancel()
	told := map[string]bool{}
	misses := 0
	for ctx.Err() == nil {
		status, err := o.master.Status(ctx)
		if err != nil {
			if misses++; misses == goodbyeMisses {
				o.log.Warn("the master does not answer; no goodbyes are waited for", "error", err)
				break
			}
			pause(ctx, goodbyePoll)
			continue
		}
		misses = 0
		var untold []string
		left, untold = o.present(status, told)
		o.summary.Goodbyes = len(told) - countOf(left, told)
		if len(left) == 0 {
			break
		}
		if len(untold) > 0 {
			if err := o.master.Quit(ctx, untold); err != nil {
				o.log.Warn("the master did not tell workers to quit", "workers", untold, "error", err)
				break
			}
			o.log.Info("workers told to quit", "workers", untold)
			for _, id := range untold {
				told[id] = true
			}
		}
		pause(ctx, goodbyePoll)
	}
	return left
}

// present returns the workers started here that the master shows, and those of them that were not
// told to quit yet.
func (o *Orchestrator) present(status Status, told map[string]bool) (all, untold []string) {
	for _, w := range status.Workers {
		if !w.Connected() || !o.pool.Knows(w.ID) {
			continue
		}
		all = append(all, w.ID)
		if !told[w.ID] {
			untold = append(untold, w.ID)
		}
	}
	return all, untold
}

func countOf(ids []string, in map[string]bool) (n int) {
	for _, id := range ids {
		if in[id] {
			n++
		}
	}
	return n
}
