//go:build interop

package limiter_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

func Test53PlainTableSharedWithAnOlderPeer(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g := openGo(t, e, limiter.Options{})
		g.defaults("r", perMinute("rpm", 100))
		p := openPython(t, e, peer.Options{Old: true})
		if p.Version != "0.10.3" {
			t.Fatalf("the older peer is %s", p.Version)
		}
		p.must("u", "r", amounts{"rpm": 3})
		g.must("u", "r", amounts{"rpm": 2})
		if item := e.Bucket(t, "u", "r", 0); item.Number(t, "b_rpm_tk") != 95_000 || item.Number(t, "b_rpm_tc") != 5_000 {
			t.Errorf("5 of 100 consumed leave\n%v", item)
		}
	})
}
