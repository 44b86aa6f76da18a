//go:build interop

package limiter_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// machine has the engines and the Pythons.
var machine *peer.Machine

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
		_ = flag.Set("test.parallel", "8") // they mostly wait for engines and peers
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if machine, err = peer.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer machine.Close()
	return m.Run()
}

// goSide is a Go process on the table of a test.
type goSide struct {
	*limiter.Limiter
	t *testing.T
	e *peer.Env
}

func openGo(t *testing.T, e *peer.Env, opts limiter.Options) *goSide {
	t.Helper()
	return &goSide{e.Limiter(t, opts), t, e}
}

// enter makes an acquire that must be admitted and returns its open lease.
func (g *goSide) enter(entity, resource string, amounts limiter.Amounts) *limiter.Lease {
	g.t.Helper()
	lease, err := g.Acquire(g.t.Context(), limiter.Request{EntityID: entity, Resource: resource, Consume: amounts})
	if err != nil {
		g.t.Fatalf("Go's acquire of %v: %v", amounts, err)
	}
	return lease
}

// must makes a whole acquire that must be admitted.
func (g *goSide) must(entity, resource string, amounts limiter.Amounts) {
	g.t.Helper()
	if err := g.enter(entity, resource, amounts).Close(g.t.Context()); err != nil {
		g.t.Fatalf("close: %v", err)
	}
}

// refused makes an acquire that must be over a limit.
func (g *goSide) refused(entity, resource string, amounts limiter.Amounts) *limiter.ExceededError {
	g.t.Helper()
	lease, err := g.Acquire(g.t.Context(), limiter.Request{EntityID: entity, Resource: resource, Consume: amounts})
	exceeded, ok := errors.AsType[*limiter.ExceededError](err)
	if !ok {
		g.t.Fatalf("Go's acquire of %v: %v, %v, want it over a limit", amounts, lease, err)
	}
	return exceeded
}

// defaults sets the limits of a resource.
func (g *goSide) defaults(resource string, limits ...limiter.Limit) {
	g.t.Helper()
	if err := g.Admin().SetResourceDefaults(g.t.Context(), resource, limits); err != nil {
		g.t.Fatal(err)
	}
}

// ok fails the test for an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
