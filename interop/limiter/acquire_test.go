//go:build interop

package limiter_test

import (
	"slices"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

type args = peer.Args

func Test01GoCreatesPythonTakesTheFastPath(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g := openGo(t, e, limiter.Options{})
		g.defaults("gpt-4", limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 10_000))
		p := e.Open(t, peer.Options{})
		p.Must(t, "warm", "gpt-4", args{"rpm": 1}) // reads the system defaults
		g.must("u", "gpt-4", limiter.Amounts{"rpm": 10, "tpm": 500})
		e.Python.Forget()
		lease := p.Must(t, "u", "gpt-4", args{"rpm": 2, "tpm": 100})
		if got := e.Python.Operations(); !slices.Equal(got, []string{"UpdateItem"}) {
			t.Errorf("Python sent %v, want one UpdateItem", got)
		}
		if len(lease.Entries) != 2 {
			t.Fatalf("%d entries in the lease, want 2", len(lease.Entries))
		}
		for i, want := range []struct {
			name                   string
			capacity, left, amount float64
		}{{"rpm", 100, 88_000, 2}, {"tpm", 10_000, 9_400_000, 100}} {
			got := lease.Entries[i]
			if got.Limit["name"] != want.name || got.Limit["capacity"] != want.capacity || got.Limit["refill_amount"] != want.capacity ||
				got.Limit["refill_period_seconds"] != 60.0 || float64(got.TokensMilli) != want.left || float64(got.Consumed) != want.amount {
				t.Errorf("entry %d is %+v, want %+v", i, got, want)
			}
		}
	})
}
