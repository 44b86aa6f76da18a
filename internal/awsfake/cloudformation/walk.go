package cloudformation

import (
	"context"
	"errors"
)

// errSibling is the cause with which work ends because other work failed.
var errSibling = errors.New("another resource failed")

// walk calls work for every node of a graph once it is done for the nodes that this one depends on, for
// several nodes at the same time. Names that are no nodes are no dependencies. The first failure ends
// the contexts of the others and starts nothing more, unless keepGoing: then only the nodes that depend
// on a failed one are left out. It returns when all work has ended, with the first error.
func walk(ctx context.Context, depends map[string][]string, keepGoing bool, work func(ctx context.Context, node string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waits := make(map[string]int, len(depends)) // how many dependencies are not done
	next := map[string][]string{}               // who depends on a node
	for node, on := range depends {
		waits[node] = 0
		for _, other := range on {
			if _, ok := depends[other]; ok {
				waits[node]++
				next[other] = append(next[other], node)
			}
		}
	}
	type result struct {
		node string
		err  error
	}
	results := make(chan result)
	running := 0
	start := func(node string) {
		running++
		go func() { results <- result{node, work(ctx, node)} }()
	}
	for node, count := range waits {
		if count == 0 {
			start(node)
		}
	}
	var first error
	for running > 0 {
		done := <-results
		running--
		if done.err != nil {
			if first == nil {
				first = done.err
			}
			if !keepGoing {
				cancel(errSibling)
			}
			continue
		}
		for _, node := range next[done.node] {
			waits[node]--
			if waits[node] == 0 && ctx.Err() == nil {
				start(node)
			}
		}
	}
	if first == nil {
		first = context.Cause(ctx)
	}
	return first
}
