//go:build !race

// The race detector makes pools forget what they hold.

package dynamostore_test

import "testing"

func TestAnAcquireThroughTheLeanClientAllocatesAlmostNothing(t *testing.T) {
	l := newLimiter(t, newLeanClient(t, fixedReply(t, bucketReply)))
	got := testing.AllocsPerRun(200, func() {
		if err := acquireOnce(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	})
	if got > 6 {
		t.Errorf("%v allocations, want at most 6", got)
	}
}
