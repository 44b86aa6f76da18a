package locustfile

import (
	"context"
	"errors"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// The names of functions that are listeners.
const (
	eventTestStart        = "on_test_start"
	eventTestStop         = "on_test_stop"
	eventWorkerStart      = "on_worker_start"
	eventWorkerStop       = "on_worker_stop"
	eventSpawningComplete = "on_spawning_complete"
)

func isEvent(name string) bool {
	switch name {
	case eventTestStart, eventTestStop, eventWorkerStart, eventWorkerStop, eventSpawningComplete:
		return true
	}
	return false
}

// Events returns the listeners; those of several files run in the files' order.
func (f *File) Events() loadtest.Events {
	return loadtest.Events{
		TestStart:   f.listener(eventTestStart, true),
		TestStop:    f.listener(eventTestStop, false),
		WorkerStart: f.listener(eventWorkerStart, true),
		WorkerStop:  f.listener(eventWorkerStop, false),
		SpawningComplete: func(ctx context.Context, env *loadtest.Env, users int) error {
			return f.emit(ctx, env, eventSpawningComplete, false, starlark.MakeInt(users))
		},
	}
}

func (f *File) listener(name string, untilError bool) func(context.Context, *loadtest.Env) error {
	if len(f.listeners[name]) == 0 {
		return nil
	}
	return func(ctx context.Context, env *loadtest.Env) error { return f.emit(ctx, env, name, untilError) }
}

// emit runs the listeners of an event. With untilError the first failure ends it; otherwise all run
// and all failures are returned.
func (f *File) emit(ctx context.Context, env *loadtest.Env, name string, untilError bool, more ...starlark.Value) error {
	var errs []error
	for _, fn := range f.listeners[name] {
		args := append([]starlark.Value{&envValue{env: env, writable: name == eventTestStart}}, more...)
		_, err := f.event(ctx, env, fn, args...)
		if err != nil && untilError {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
