package locustfile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// builtins are the functions that every file has, by name.
var builtins = map[string]func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error){
	"user_class": userClass,
	"task":       makeTask,
	"sequential": sequential,
	"load_shape": loadShape,
	"stages":     makeStages,
	"constant": waitBuiltin([]string{"seconds"}, func(v []float64) (loadtest.WaitTime, error) {
		return loadtest.Constant(seconds(v[0])), nil
	}),
	"between": waitBuiltin([]string{"low", "high"}, func(v []float64) (loadtest.WaitTime, error) {
		if v[0] > v[1] {
			return nil, fmt.Errorf("the range from %v to %v is empty", v[0], v[1])
		}
		return loadtest.Between(seconds(v[0]), seconds(v[1])), nil
	}),
	"constant_pacing": waitBuiltin([]string{"seconds"}, func(v []float64) (loadtest.WaitTime, error) {
		return loadtest.ConstantPacing(seconds(v[0])), nil
	}),
	"constant_throughput": waitBuiltin([]string{"per_second"}, func(v []float64) (loadtest.WaitTime, error) {
		if v[0] == 0 {
			return nil, errRate
		}
		return loadtest.ConstantThroughput(v[0]), nil
	}),
	"poisson": waitBuiltin([]string{"per_second"}, func(v []float64) (loadtest.WaitTime, error) {
		if v[0] == 0 {
			return nil, errRate
		}
		return loadtest.Poisson(v[0]), nil
	}),
	"sleep":      sleep,
	"sprintf":    sprintf,
	"record":     record,
	"with_timer": withTimer,
	"attempt":    attempt,
}

func sleep(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := floats(b, args, kwargs, "seconds")
	if err != nil {
		return nil, err
	}
	if v[0] < 0 {
		return nil, fmt.Errorf("sleep: the time is negative: %v", v[0])
	}
	d, err := toDuration(v[0])
	if err != nil {
		return nil, fmt.Errorf("sleep: %w", err)
	}
	s, err := running(thread)
	if err != nil {
		return nil, err
	}
	if s.file.watch.Load() != nil {
		return starlark.None, nil
	}
	return starlark.None, wait(s.ctx, d)
}

// wait returns after a time, or with the context's error when it ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func record(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var sample stats.Sample
	var took, failure starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "request_type", &sample.Type, "name", &sample.Name, "seconds?", &took, "error?", &failure); err != nil {
		return nil, err
	}
	s, err := running(thread)
	if err != nil {
		return nil, err
	}
	sample.Start = time.Now()
	if took == nil || took == starlark.None {
		sample.Untimed = true
	} else {
		f, ok := starlark.AsFloat(took)
		if !ok || f < 0 {
			return nil, fmt.Errorf("record: seconds must be a number of at least 0, got %s", took)
		}
		if sample.Duration, err = toDuration(f); err != nil {
			return nil, fmt.Errorf("record: %w", err)
		}
		// The call ended now.
		sample.Start = sample.Start.Add(-sample.Duration)
	}
	if failure != nil && failure != starlark.None {
		text, ok := starlark.AsString(failure)
		if !ok {
			text = failure.String()
		}
		sample.Err = text
		if text == "" {
			sample.Err = "error"
		}
	}
	s.record(sample)
	return starlark.None, nil
}

func withTimer(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) < 3 {
		return nil, fmt.Errorf("with_timer: want a request type, a name and a function, got %d arguments", len(args))
	}
	typ, ok1 := starlark.AsString(args[0])
	name, ok2 := starlark.AsString(args[1])
	fn, ok3 := args[2].(starlark.Callable)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("with_timer: want (string, string, function, …), got (%s, %s, %s)", args[0].Type(), args[1].Type(), args[2].Type())
	}
	s, err := running(thread)
	if err != nil {
		return nil, err
	}
	sample := stats.Sample{Type: typ, Name: name, Start: time.Now()}
	value, err := starlark.Call(thread, fn, args[3:], kwargs)
	sample.Duration = time.Since(sample.Start)
	if err != nil && !isControl(err) {
		sample.Err = errorText(err)
		if s.ctx.Err() != nil {
			sample.Err = loadclient.Interrupted
		}
	}
	s.record(sample)
	return value, err
}

// errorText is the message of an error without positions and stacks.
func errorText(err error) string {
	var failure *loadclient.Failure
	var eval *starlark.EvalError
	switch {
	case errors.As(err, &failure):
		return failure.Text
	case errors.As(err, &eval):
		return eval.Msg
	}
	return err.Error()
}

func attempt(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) == 0 {
		return nil, errors.New("attempt: want a function and its arguments")
	}
	fn, ok := args[0].(starlark.Callable)
	if !ok {
		return nil, fmt.Errorf("attempt: want a function, got %s", args[0].Type())
	}
	s := sessionOf(thread)
	opened := 0
	if s != nil {
		opened = s.opened
	}
	value, err := starlark.Call(thread, fn, args[1:], kwargs)
	if err == nil {
		return structOf(starlark.StringDict{"ok": starlark.True, "value": value, "error": starlark.None, "error_type": starlark.None}), nil
	}
	if isControl(err) || s != nil && s.ctx.Err() != nil {
		return nil, err
	}
	if s != nil {
		for _, lease := range s.leases {
			if lease.number > opened {
				_ = lease.lease.Rollback(s.ctx)
			}
		}
	}
	kind := "Error"
	var failure *loadclient.Failure
	if errors.As(err, &failure) {
		kind = failure.Type
	}
	return structOf(starlark.StringDict{
		"ok": starlark.False, "value": starlark.None, "error": starlark.String(errorText(err)), "error_type": starlark.String(kind),
	}), nil
}
