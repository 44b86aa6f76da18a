package workerproc_test

import "testing"

// Elsewhere a parent that was killed cannot take its workers along.
func TestWorkersOfAKilledParentEnd(t *testing.T) {
	m := newMeeting(t)
	l := m.launcher("launcher", nil)
	if err := l.Start(t.Context(), "parent"); err != nil {
		t.Fatal(err)
	}
	both := m.arrived(2)
	l.Kill() // reaches the parent's group only: its worker has one of its own
	m.gone(both["parent"])
	m.gone(both["parent-worker"])
}
