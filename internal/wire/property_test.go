package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// drawer draws what messages are made of.
type drawer struct{ *rapid.T }

func (d drawer) text() string { return rapid.String().Draw(d.T, "text") }

func (d drawer) count() int64 { return rapid.Int64Min(0).Draw(d.T, "count") }

func (d drawer) small() int { return rapid.IntRange(0, 1000).Draw(d.T, "number") }

func (d drawer) float() float64 { return rapid.Float64().Draw(d.T, "float") }

func (d drawer) users() map[string]int {
	return rapid.MapOf(rapid.String(), rapid.IntRange(0, 1<<40)).Draw(d.T, "users by class")
}

func (d drawer) value(depth int) any {
	kinds := 8
	if depth < 3 {
		kinds = 11
	}
	switch rapid.IntRange(0, kinds-1).Draw(d.T, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(d.T, "bool")
	case 2:
		return rapid.Int64().Draw(d.T, "int")
	case 3:
		return uint64(1<<63) + rapid.Uint64Range(0, 1<<62).Draw(d.T, "uint")
	case 4:
		return d.float()
	case 5:
		return d.text()
	case 6:
		return rapid.SliceOf(rapid.Byte()).Draw(d.T, "bytes")
	case 7:
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(d.T, "time")).UTC()
	case 8:
		list := []any{}
		for range rapid.IntRange(0, 20).Draw(d.T, "length") {
			list = append(list, d.value(depth+1))
		}
		return list
	case 9:
		return d.named(depth)
	default:
		mixed := map[any]any{rapid.Int64().Draw(d.T, "key"): nil}
		for _, key := range []any{true, nil, 1.5, uint64(1 << 63), "text"}[:rapid.IntRange(0, 5).Draw(d.T, "length")] {
			mixed[key] = d.value(depth + 1)
		}
		return mixed
	}
}

func (d drawer) named(depth int) map[string]any {
	named := map[string]any{}
	for range rapid.IntRange(0, 20).Draw(d.T, "length") {
		named["k"+d.text()] = d.value(depth + 1)
	}
	return named
}

func (d drawer) counts() []Count {
	var counts []Count
	for range rapid.IntRange(0, 20).Draw(d.T, "length") {
		counts = append(counts, Count{rapid.Int64().Draw(d.T, "key"), d.count()})
	}
	return counts
}

func (d drawer) row() Row {
	row := Row{
		Name: "n" + d.text(), Method: d.text(), Requests: d.count(), Untimed: d.count(), Failures: d.count(),
		SumTime: d.float(), MinTime: d.float(), MaxTime: d.float(), ContentLength: rapid.Int64().Draw(d.T, "length"),
		Times: d.counts(), RequestsPerSecond: d.counts(), FailuresPerSecond: d.counts(), Start: d.float(), LastRequest: d.float(),
	}
	row.tidy()
	return row
}

func (d drawer) histogram() *stats.Histogram {
	h := new(stats.Histogram)
	for range rapid.IntRange(0, 20).Draw(d.T, "durations") {
		h.Record(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(d.T, "duration")))
	}
	return h
}

func (d drawer) time() time.Time {
	if rapid.Bool().Draw(d.T, "no time") {
		return time.Time{}
	}
	return time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(d.T, "time"))
}

func (d drawer) entries() []stats.Entry {
	var entries []stats.Entry
	for range rapid.IntRange(0, 3).Draw(d.T, "rows") {
		entries = append(entries, stats.Entry{
			Key: stats.Key{Type: d.text(), Name: d.text()}, Requests: d.count(), Failures: d.count(), RateLimited: d.count(),
			Untimed: d.count(), Depth: d.count(), DepthCount: d.count(), Hist: d.histogram(), FirstStart: d.time(), LastEnd: d.time(),
		})
	}
	return entries
}

func (d drawer) errors() []stats.Error {
	var errors []stats.Error
	for range rapid.IntRange(0, 3).Draw(d.T, "errors") {
		errors = append(errors, stats.Error{
			ErrorKey: stats.ErrorKey{Type: d.text(), Name: d.text(), Text: d.text()}, Occurrences: d.count(),
			First: d.time(), Last: d.time(), Traceback: d.text(),
		})
	}
	return errors
}

func (d drawer) report() *Report {
	s := &stats.Snapshot{
		At: d.time(), Started: d.time(), Users: d.small(), UsersByClass: d.users(), PeakUsers: d.small(), PeakByClass: d.users(),
		Entries: d.entries(), Setup: d.entries(), Errors: d.errors(), TaskErrors: d.errors(),
		Coverage: stats.Coverage{
			PlannedUserSeconds: d.float(), DeliveredUserSeconds: d.float(), LostWorkers: d.count(), UnaccountedSamples: d.count(), MissingReports: d.count(),
			Gaps: []stats.Gap{{Index: d.count(), Ratio: d.float()}},
		},
		Generator: stats.Generator{
			CPURatio: d.float(), CPUTime: time.Duration(rapid.Int64().Draw(d.T, "time")), GCPauseMax: time.Duration(d.count()),
			Late: d.histogram(), Seconds: d.count(), SaturatedSeconds: d.count(),
		},
		Warnings: rapid.SliceOf(rapid.String()).Draw(d.T, "warnings"),
	}
	for range rapid.IntRange(0, 3).Draw(d.T, "seconds") {
		second := stats.Second{
			Index: d.count(), Users: d.small(), Requests: d.count(), Failures: d.count(), Unreachable: d.count(),
			P50: time.Duration(d.count()), P95: time.Duration(d.count()), P99: time.Duration(d.count()), LateP99: time.Duration(d.count()),
			Saturated: rapid.Bool().Draw(d.T, "saturated"),
		}
		if rapid.Bool().Draw(d.T, "with histograms") {
			second.Hist, second.Late = d.histogram(), d.histogram()
		}
		s.Series = append(s.Series, second)
	}
	return &Report{Run: d.text(), Sequence: uint64(d.count()), Final: rapid.Bool().Draw(d.T, "final"), Samples: d.count(), Delta: s}
}

func (d drawer) stats() *Stats {
	s := &Stats{UsersByClass: d.users(), Users: d.small()}
	if rapid.Bool().Draw(d.T, "exact") {
		s.Report = d.report()
		return s
	}
	s.Total = d.row()
	for range rapid.IntRange(0, 4).Draw(d.T, "rows") {
		s.Rows = append(s.Rows, d.row())
	}
	for range rapid.IntRange(0, 4).Draw(d.T, "errors") {
		s.Errors = append(s.Errors, RowError{d.text(), d.text(), d.text(), d.text(), d.count(), d.float(), d.float()})
	}
	return s
}

func (d drawer) message() Message {
	type choice struct {
		typ  string
		data func() any
	}
	choices := []choice{
		{TypeClientReady, func() any { return ClientReady{d.text()} }},
		{TypeHeartbeat, func() any { return Heartbeat{State: "s" + d.text(), CPU: d.float(), Memory: d.count()} }},
		{TypeHeartbeat, func() any { return Heartbeat{Acknowledged: uint64(d.count())} }},
		{TypeHeartbeat, func() any { return nil }},
		{TypeStats, func() any { return d.stats() }},
		{TypeSpawningComplete, func() any { return SpawningComplete{d.users(), d.small()} }},
		{TypeSpawningComplete, func() any { return SpawningComplete{nil, d.small()} }},
		{TypeException, func() any { return Exception{d.text(), d.text()} }},
		{TypeLogs, func() any { return Logs{d.text(), rapid.SliceOf(rapid.String()).Draw(d.T, "lines")} }},
		{TypeLocustfile, func() any { return LocustfileRequest{d.text()} }},
		{TypeLocustfile, func() any { return LocustfileReply{Error: "e" + d.text()} }},
		{TypeLocustfile, func() any {
			return LocustfileReply{Files: []LocustfileSource{{Filename: d.text(), Contents: d.text()}, {URL: "u" + d.text()}}}
		}},
		{TypeAck, func() any { return Ack{d.small(), d.named(2)} }},
		{TypeSpawn, func() any { return Spawn{d.float(), d.users(), d.text(), d.float(), d.named(1), d.named(2)} }},
		{TypeUpdateUserClass, func() any { return UpdateUserClass{d.text(), d.named(1)} }},
		{TypeStop, func() any { return nil }},
		{"custom", func() any { return d.value(0) }},
	}
	c := rapid.SampledFrom(choices).Draw(d.T, "message")
	return Message{c.typ, c.data(), d.text()}
}

var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.EquateNaNs(),
	cmp.Comparer(func(a, b *stats.Histogram) bool { return bytes.Equal(hist(a), hist(b)) }),
}

// hist returns what is in a histogram, in whatever form it is kept.
func hist(h *stats.Histogram) []byte {
	if h == nil {
		return nil
	}
	b, _ := h.MarshalBinary()
	return b
}

func TestWhatIsSentIsReceived(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := drawer{t}.message()
		encoded, err := sent.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		received, err := Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sent, received, equal); diff != "" {
			t.Errorf("(-sent +received):\n%s", diff)
		}
		for n := range min(len(encoded), 50) { // cut off anywhere, it is no message
			if _, err := Decode(encoded[:n]); !errors.Is(err, ErrBadMessage) {
				t.Errorf("the first %d bytes: %v", n, err)
			}
		}
	})
}

// What can be decoded has one form, which decodes to the same.
func FuzzDecode(f *testing.F) {
	hist := new(stats.Histogram)
	hist.Record(time.Second)
	for _, m := range []Message{
		{TypeClientReady, ClientReady{"2.47.0"}, "w"},
		{TypeHeartbeat, Heartbeat{State: "running", CPU: 1.5, Memory: 1 << 40}, "w"},
		{TypeStats, &Stats{
			Rows:   []Row{{Name: "/", Method: "GET", Requests: 2, Times: []Count{{10, 2}}, RequestsPerSecond: []Count{{1700000000, 2}}}},
			Errors: []RowError{{Key: "k", Name: "/", Text: "boom", Occurrences: 1}},
		}, "w"},
		{TypeStats, &Stats{Report: &Report{Run: "r", Sequence: 1, Delta: &stats.Snapshot{
			Entries: []stats.Entry{{Requests: 1, Hist: hist}},
			Errors:  []stats.Error{{Occurrences: 1}},
			Series:  []stats.Second{{Hist: hist, Late: hist}},
		}}}, "w"},
		{TypeSpawn, Spawn{UsersByClass: map[string]int{"A": 1}, Options: map[string]any{"a": []any{1}}}, "w"},
		{TypeLogs, Logs{"w", []string{"a"}}, "w"},
		{TypeLocustfile, LocustfileReply{Files: []LocustfileSource{{Filename: "a", Contents: "b"}, {URL: "c"}}}, "w"},
		{"custom", map[any]any{5: time.Unix(0, 0), "x": []byte{1}, nil: 1.5, true: uint64(1 << 63)}, "w"},
	} {
		b, err := m.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrBadMessage) {
				t.Errorf("error %v", err)
			}
			return
		}
		encoded, err := first.AppendBinary(nil)
		if err != nil {
			t.Fatalf("%+v: %v", first, err)
		}
		second, err := Decode(encoded)
		if err != nil {
			t.Fatalf("%+v became % x: %v", first, encoded, err)
		}
		again, err := second.AppendBinary(nil)
		if err != nil || !bytes.Equal(encoded, again) {
			t.Errorf("%+v\nbecame % x\nthen   % x (%v)", first, encoded, again, err)
		}
		if s, ok := first.Data.(*Stats); ok {
			s.Delta(time.Time{})
		}
	})
}

// bytesConn is a connection on which certain bytes come, and then its end.
type bytesConn struct {
	net.Conn
	in bytes.Reader
}

func (c *bytesConn) Read(b []byte) (int, error)      { return c.in.Read(b) }
func (c *bytesConn) SetReadDeadline(time.Time) error { return nil }

func linkOf(data []byte, maxMessage int64) *link {
	c := &bytesConn{}
	c.in.Reset(data)
	l := newLink(c, maxMessage, time.Second)
	l.pong = func([]byte) error { return nil }
	return l
}

func FuzzReceive(f *testing.F) {
	long := appendFrame(nil, 0, make([]byte, 300))
	f.Add(append(appendFrame(nil, flagMore, []byte("a")), long...))
	f.Add(append(appendFrame(nil, flagCommand, []byte("\x04PING\x00\x0a")), long...))
	f.Add(appendFrame(nil, flagCommand, []byte("\x05ERROR\x03abc")))
	f.Add(appendFrameHead(nil, 0, 1<<40))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 10_000
		l := linkOf(data, most)
		total := 0
		for {
			message, err := l.receive()
			if err != nil {
				break
			}
			if total += len(message); len(message) > most || total > len(data) {
				t.Fatalf("a message of %d bytes, in all %d of %d", len(message), total, len(data))
			}
		}
	})
}

func FuzzHandshake(f *testing.F) {
	f.Add(append(greeting(), readyCommand(socketDealer, "w")...))
	f.Add(append(greeting(), errorCommand("no")...))
	f.Add(greeting()[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		l := linkOf(data, DefaultMaxMessage)
		if l.readGreeting() != nil {
			return
		}
		socket, identity, err := l.readReady()
		if err == nil && (len(identity) > maxIdentity || len(socket)+len(identity) > len(data)) {
			t.Errorf("a %q socket called %q", socket, identity)
		}
	})
}

// sentOverTCP returns a link on which a stream comes in pieces, and then ends.
func sentOverTCP(t *rapid.T, stream []byte, piece int) *link {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for part := range slices.Chunk(stream, piece) {
			if _, err := conn.Write(part); err != nil {
				return
			}
		}
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l := newLink(conn, DefaultMaxMessage, testTimeout)
	l.pong = func([]byte) error { return nil }
	return l
}

// A message comes out as it went in, however it is cut into frames and commands stand between.
func TestFramesInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want [][]byte
		for range rapid.IntRange(1, 10).Draw(t, "messages") {
			if rapid.Bool().Draw(t, "ping before") {
				stream = append(stream, appendFrame(nil, flagCommand, []byte("\x04PING\x00\x00"))...)
			}
			if rapid.Bool().Draw(t, "empty frame before") {
				stream = appendFrame(stream, flagMore, nil)
			}
			body := bytes.Repeat([]byte{'x'}, rapid.SampledFrom([]int{1, 255, 256, readBuffer, readBuffer + 1, sharedBuffer - 9, sharedBuffer, sharedBuffer + 1, firstChunk + 1, 300_000}).Draw(t, "size"))
			want = append(want, body)
			more := rapid.IntRange(0, 2).Draw(t, "further frames")
			if more == 0 {
				stream = appendFrame(stream, 0, body)
				continue
			}
			stream = appendFrame(stream, flagMore, body)
			for i := range more {
				flags := byte(flagMore)
				if i == more-1 {
					flags = 0
				}
				stream = appendFrame(stream, flags, make([]byte, rapid.SampledFrom([]int{0, 10, 10_000}).Draw(t, "size of a further one")))
			}
		}
		l := linkOf(stream, DefaultMaxMessage)
		if rapid.Bool().Draw(t, "over TCP") {
			l = sentOverTCP(t, stream, rapid.IntRange(1, 20_000).Draw(t, "bytes at once"))
		}
		for i := range want {
			got, err := l.receive()
			if err != nil || !bytes.Equal(got, want[i]) {
				t.Fatalf("message %d: %d bytes, %v; want %d", i, len(got), err, len(want[i]))
			}
		}
		if _, err := l.receive(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last message: %v", err)
		}
	})
}

func ExampleMessage_AppendBinary() {
	m := Message{TypeSpawningComplete, SpawningComplete{Users: 5}, "h1_a"}
	b, err := m.AppendBinary(nil)
	fmt.Printf("%q %v\n", b, err)
	// Output: "\x93\xb1spawning_complete\x81\xaauser_count\x05\xa4h1_a" <nil>
}
