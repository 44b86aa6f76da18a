package wire

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What peers of this program add to Locust's messages comes back as it was sent.
func TestWhatPeersOfThisProgramAddComesBack(t *testing.T) {
	run := RunInfo{
		ID: "r1", Seed: math.MaxUint64, Elapsed: 12345 * time.Microsecond, Warmup: time.Second, WorkerIndex: 3, WorkerCount: 4,
		Indexes:  map[string][]int64{"A": {7, 9, 8, 1 << 40}, "B": {0}},
		Complete: true, Options: map[string]string{"a": "1"},
		Settings: map[string]any{"namespace": "load-r1"},
		Shared:   map[string]any{"parent": "p", "n": int64(1), "f": 1.0, "list": []any{nil, true}, "map": map[string]any{"x": "y"}},
	}
	spawn := sent(t, Message{TypeSpawn, Spawn{Timestamp: 1, UsersByClass: map[string]int{"A": 4, "B": 1}, Extra: run.Extra()}, "w"})
	if got, ok := RunInfoOf(spawn.Data.(Spawn).Extra); !ok || !cmp.Equal(got, run) {
		t.Errorf("run %v: %s", ok, cmp.Diff(run, got))
	}
	later := RunInfo{ID: "r1", Elapsed: time.Second, WorkerCount: 1}
	spawn = sent(t, Message{TypeSpawn, Spawn{Timestamp: 2, Extra: later.Extra()}, "w"})
	if got, ok := RunInfoOf(spawn.Data.(Spawn).Extra); !ok || !cmp.Equal(got, later) {
		t.Errorf("later spawn %v: %s", ok, cmp.Diff(later, got))
	}
	if _, ok := RunInfoOf(nil); ok {
		t.Error("a spawn of Locust has no run")
	}

	info := MasterInfo{Protocol: Protocol, Version: "v1", ReportEvery: 1500 * time.Millisecond}
	ack := sent(t, Message{TypeAck, Ack{Index: 2, Extra: info.Extra()}, "w"})
	if got, ok := MasterInfoOf(ack.Data.(Ack).Extra); !ok || got != info {
		t.Errorf("master %v %+v", ok, got)
	}
	if _, ok := MasterInfoOf(sent(t, Message{TypeAck, Ack{Index: 2}, "w"}).Data.(Ack).Extra); ok {
		t.Error("an ack of Locust is no master of this program")
	}

	hello := Hello{Protocol: Protocol, Version: "v1", Process: "p", Classes: []string{"A", "B"}, Locustfile: "sha", Cores: 2}
	if got, ok := HelloOf(sent(t, Message{TypeHello, hello.Data(), "w"}).Data); !ok || !cmp.Equal(got, hello) {
		t.Errorf("hello %v: %s", ok, cmp.Diff(hello, got))
	}
}

// Nothing that a peer writes there is trusted.
func TestNonsenseInWhatPeersAddIsLeftOut(t *testing.T) {
	extra := map[string]any{runKey: map[string]any{"id": int64(1), "seed": "x", "elapsed": int64(-1), "indexes": map[string]any{"A": []byte{2, 0x80}, "B": "no bytes"}}}
	got, ok := RunInfoOf(extra)
	want := RunInfo{Indexes: map[string][]int64{"A": {1}, "B": nil}}
	if !ok || !cmp.Equal(got, want) {
		t.Errorf("%v: %s", ok, cmp.Diff(want, got))
	}
	if _, ok := HelloOf("hello"); ok {
		t.Error("a string is a hello")
	}
	info, ok := MasterInfoOf(map[string]any{masterKey: map[string]any{"report_seconds": math.Inf(1)}})
	if !ok || info.ReportEvery != time.Minute {
		t.Errorf("report every %v", info.ReportEvery)
	}
}

// sent returns a message as its receiver sees it.
func sent(t *testing.T, m Message) Message {
	t.Helper()
	data, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
