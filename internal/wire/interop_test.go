//go:build interop

package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// python is a process with libzmq's sockets and Locust's code.
type python struct {
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T) *python {
	t.Helper()
	interpreter := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if interpreter == "" {
		t.Fatal("ZAE_INTEROP_LOCUST_PYTHON is not set; make interop installs Locust and sets it")
	}
	command := exec.Command(interpreter, "testdata/peer.py")
	command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		_ = command.Wait()
	})
	return &python{in, bufio.NewReader(out)}
}

type arguments map[string]any

// call runs a command of peer.py and decodes its answer into result, unless that is nil.
func (p *python) call(t *testing.T, command string, arguments arguments, result any) {
	t.Helper()
	p.start(t, command, arguments)
	p.finish(t, result)
}

func (p *python) start(t *testing.T, command string, arguments arguments) {
	t.Helper()
	line, err := json.Marshal([]any{command, arguments})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func (p *python) finish(t *testing.T, result any) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("peer.py ended: %v", err)
	}
	answer := struct {
		OK    any
		Error string
	}{OK: result}
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
}

func (p *python) dealer(t *testing.T, name, identity, address string, options arguments) {
	t.Helper()
	p.call(t, "open_socket", arguments{"name": name, "type": "DEALER", "identity": identity, "options": options}, nil)
	p.call(t, "connect", arguments{"name": name, "address": address}, nil)
}

// router opens a ROUTER and returns its address.
func (p *python) router(t *testing.T, name string, port int, options arguments) (address string) {
	t.Helper()
	p.call(t, "open_socket", arguments{"name": name, "type": "ROUTER", "options": options}, nil)
	p.call(t, "bind", arguments{"name": name, "port": port}, &port)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func (p *python) send(t *testing.T, name string, frames ...[]byte) {
	t.Helper()
	p.call(t, "send", arguments{"name": name, "frames": frames}, nil)
}

func (p *python) receive(t *testing.T, name string) (frames [][]byte) {
	t.Helper()
	p.call(t, "receive", arguments{"name": name}, &frames)
	return frames
}

func encoded(t *testing.T, m Message) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(m Message) string {
	data, _ := m.Data.([]byte)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func bigMessage(size int) Message {
	return Message{"big", bytes.Repeat([]byte("go"), size/2), "w"}
}

func TestLibzmqDealerOnOurRouter(t *testing.T) {
	p := startPython(t)
	r := startRouter(t, RouterOptions{})
	p.dealer(t, "d", "host_ab", r.address, nil)
	p.send(t, "d", encoded(t, Message{TypeClientReady, ClientReady{"2.47.0"}, "host_ab"}))
	if e := r.next(t, Connected); e.Identity != "host_ab" {
		t.Errorf("connected %+v", e)
	}
	if e := r.next(t, Received); e.Message.Data != (ClientReady{"2.47.0"}) {
		t.Errorf("received %+v", e)
	}
	ack := Message{TypeAck, Ack{Index: 3}, "host_ab"}
	send(t, sendTo{r.Router, "host_ab"}, ack)
	if frames := p.receive(t, "d"); len(frames) != 1 || !bytes.Equal(frames[0], encoded(t, ack)) {
		t.Errorf("it received %q", frames)
	}
	for range 3 {
		var sent, got string
		p.call(t, "send_big", arguments{"name": "d", "size": 12_000_000}, &sent)
		if e := r.next(t, Received); digest(e.Message) != sent {
			t.Error("12 MB came changed")
		}
		big := bigMessage(12_000_000)
		send(t, sendTo{r.Router, "host_ab"}, big)
		if p.call(t, "receive_big", arguments{"name": "d"}, &got); got != digest(big) {
			t.Error("12 MB arrived changed")
		}
	}
	p.call(t, "close", arguments{"name": "d"}, nil)
	if e := r.next(t, Gone); !errors.Is(e.Err, io.EOF) {
		t.Errorf("gone: %v", e.Err)
	}
}

func TestOurDealerOnLibzmqRouter(t *testing.T) {
	p := startPython(t)
	d := startDealer(t, DealerOptions{Identity: "host_ab", Address: p.router(t, "r", 0, nil)})
	ready := Message{TypeClientReady, ClientReady{"2.47.0"}, "host_ab"}
	send(t, d, ready)
	if frames := p.receive(t, "r"); len(frames) != 2 || string(frames[0]) != "host_ab" || !bytes.Equal(frames[1], encoded(t, ready)) {
		t.Errorf("it received %q", frames)
	}
	p.send(t, "r", []byte("host_ab"), encoded(t, Message{TypeAck, Ack{Index: 3}, "host_ab"}))
	if m := receive(t, d); m.Type != TypeAck || m.Data.(Ack).Index != 3 {
		t.Errorf("received %+v", m)
	}
	for range 3 {
		var sent, got string
		big := bigMessage(12_000_000)
		send(t, d, big)
		if p.call(t, "receive_big", arguments{"name": "r"}, &got); got != digest(big) {
			t.Error("12 MB arrived changed")
		}
		p.call(t, "send_big", arguments{"name": "r", "size": 12_000_000, "to": "host_ab"}, &sent)
		if digest(receive(t, d)) != sent {
			t.Error("12 MB came changed")
		}
	}
}

func TestLibzmqDealerComesBackToARestartedRouter(t *testing.T) {
	p := startPython(t)
	r := startRouter(t, RouterOptions{})
	p.dealer(t, "d", "w", r.address, nil)
	r.next(t, Connected)
	closing, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	r.Close(closing)
	r.next(t, Gone)
	p.send(t, "d", encoded(t, Message{"while away", nil, "w"}))
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	again := serveRouter(t, listener, RouterOptions{})
	again.next(t, Connected)
	if e := again.next(t, Received); e.Message.Type != "while away" {
		t.Errorf("received %+v", e)
	}
	send(t, sendTo{again.Router, "w"}, Message{TypeStop, nil, "w"})
	p.receive(t, "d")
}

func TestOurDealerComesBackToARestartedLibzmqRouter(t *testing.T) {
	p := startPython(t)
	address := p.router(t, "r", 0, nil)
	lost := make(chan LinkState, 10_000)
	d := startDealer(t, DealerOptions{Identity: "w", Address: address, Changed: func(s LinkState) { lost <- s }})
	send(t, d, Message{"first", nil, "w"})
	p.receive(t, "r")
	p.call(t, "close", arguments{"name": "r"}, nil)
	for s := <-lost; s.Connected; s = <-lost {
	}
	send(t, d, Message{"while away", nil, "w"})
	_, port, _ := net.SplitHostPort(address)
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	p.router(t, "r", number, nil)
	if frames := p.receive(t, "r"); !bytes.Contains(frames[1], []byte("while away")) {
		t.Errorf("it received %q", frames)
	}
	// As Locust's master asks for it: a new connection of the same identity, at once.
	d.Reconnect()
	send(t, d, Message{"reconnected", nil, "w"})
	if frames := p.receive(t, "r"); string(frames[0]) != "w" || !bytes.Contains(frames[1], []byte("reconnected")) {
		t.Errorf("it received %q", frames)
	}
}

func TestTheNewestLibzmqDealerOfAnIdentityWins(t *testing.T) {
	p := startPython(t)
	r := startRouter(t, RouterOptions{})
	// The old one would come back for ever, and win in its turn.
	p.dealer(t, "old", "w", r.address, arguments{"RECONNECT_IVL": -1})
	r.next(t, Connected)
	p.dealer(t, "new", "w", r.address, arguments{"RECONNECT_IVL": -1})
	if e := r.next(t, Gone); !errors.Is(e.Err, ErrReplaced) {
		t.Errorf("gone: %v", e.Err)
	}
	r.next(t, Connected)
	send(t, sendTo{r.Router, "w"}, Message{TypeStop, nil, "w"})
	p.receive(t, "new")
	p.send(t, "new", encoded(t, Message{TypeClientStopped, nil, "w"}))
	r.next(t, Received)
}

func TestOurDealerTakesOverAtALibzmqRouterWithHandover(t *testing.T) {
	p := startPython(t)
	address := p.router(t, "r", 0, arguments{"ROUTER_HANDOVER": 1})
	old := startDealer(t, DealerOptions{Identity: "w", Address: address, RetryMin: time.Hour, RetryMax: time.Hour})
	send(t, old, Message{"old", nil, "w"})
	p.receive(t, "r")
	d := startDealer(t, DealerOptions{Identity: "w", Address: address})
	send(t, d, Message{"new", nil, "w"})
	if frames := p.receive(t, "r"); !bytes.Contains(frames[1], []byte("new")) {
		t.Errorf("it received %q", frames)
	}
	p.send(t, "r", []byte("w"), encoded(t, Message{TypeStop, nil, "w"}))
	if m := receive(t, d); m.Type != TypeStop {
		t.Errorf("received %+v", m)
	}
}

// libzmq closes a connection whose PINGs are not answered.
func TestLibzmqsHeartbeatsAreAnswered(t *testing.T) {
	p := startPython(t)
	heartbeats := arguments{"HEARTBEAT_IVL": 20, "HEARTBEAT_TIMEOUT": 400}
	r := startRouter(t, RouterOptions{})
	p.dealer(t, "d", "w", r.address, heartbeats)
	r.next(t, Connected)
	states := make(chan LinkState, 100)
	startDealer(t, DealerOptions{Identity: "w", Address: p.router(t, "r", 0, heartbeats), Changed: func(s LinkState) { states <- s }})
	<-states
	p.call(t, "wait", arguments{"seconds": 1.5}, nil)
	if len(r.events) > 0 || len(states) > 0 {
		t.Errorf("%d events of the router, %d of the dealer", len(r.events), len(states))
	}
}

func TestManyLibzmqPeers(t *testing.T) {
	const n = 300
	p := startPython(t)
	events := make(chan Event, 10*n)
	r := startRouter(t, RouterOptions{Handle: func(e Event) { events <- e }})
	r.events = events
	p.start(t, "register_many", arguments{"address": r.address, "count": n})
	for answered := 0; answered < n; {
		e := <-events
		if e.Kind == Received {
			send(t, sendTo{r.Router, e.Identity}, Message{TypeAck, Ack{Index: answered}, e.Identity})
			answered++
		}
	}
	var indexes []int
	p.finish(t, &indexes)
	if len(indexes) != n || indexes[0] != 0 || indexes[n-1] != n-1 {
		t.Errorf("indexes %v", indexes)
	}
}

func TestManyOfOurDealersOnALibzmqRouter(t *testing.T) {
	const n = 300
	p := startPython(t)
	address := p.router(t, "r", 0, nil)
	p.start(t, "serve_many", arguments{"name": "r", "count": n})
	var dealers []*Dealer
	for i := range n {
		id := fmt.Sprint("many_", i)
		d := startDealer(t, DealerOptions{Identity: id, Address: address})
		send(t, d, Message{TypeClientReady, ClientReady{"2.47.0"}, id})
		dealers = append(dealers, d)
	}
	p.finish(t, nil)
	var indexes []int
	for _, d := range dealers {
		indexes = append(indexes, receive(t, d).Data.(Ack).Index)
	}
	slices.Sort(indexes)
	if indexes[0] != 0 || indexes[n-1] != n-1 {
		t.Errorf("indexes %v", indexes)
	}
}

func TestALibzmqPeerThatReceivesNothingIsDisconnected(t *testing.T) {
	p := startPython(t)
	r := startRouter(t, RouterOptions{})
	p.dealer(t, "slow", "slow", r.address, arguments{"RECONNECT_IVL": -1, "RCVHWM": 1})
	r.next(t, Connected)
	big := bigMessage(1_000_000)
	var err error
	for i := 0; err == nil && i < 200; i++ {
		err = r.Send("slow", &big)
	}
	if !errors.Is(err, ErrSlowPeer) {
		t.Errorf("sending: %v", err)
	}
	if e := r.next(t, Gone); !errors.Is(e.Err, ErrSlowPeer) {
		t.Errorf("gone: %v", e.Err)
	}
}

// Every message as Locust packs it, byte for byte where its order is ours to give.
func TestOurBytesAreLocusts(t *testing.T) {
	p := startPython(t)
	for _, test := range []struct {
		message Message
		data    string
	}{
		{Message{TypeClientReady, ClientReady{"2.47.0"}, "w"}, `"2.47.0"`},
		{Message{TypeClientReady, ClientReady{}, "w"}, `-1`},
		{Message{TypeClientStopped, nil, "w"}, `null`},
		{Message{TypeSpawning, nil, "w"}, `null`},
		{Message{TypeQuit, nil, "w"}, `null`},
		{Message{TypeHeartbeat, Heartbeat{State: "running", CPU: 99.5, Memory: 1 << 40}, "w"}, `{"state": "running", "current_cpu_usage": 99.5, "current_memory_usage": 1099511627776}`},
		{Message{TypeSpawningComplete, SpawningComplete{map[string]int{"A": 70000, "B": 0}, 70000}, "w"}, `{"user_classes_count": {"A": 70000, "B": 0}, "user_count": 70000}`},
		{Message{TypeSpawningComplete, SpawningComplete{nil, 300}, "w"}, `{"user_count": 300}`},
		{Message{TypeException, Exception{"boom", "Traceback\n"}, "w"}, `{"msg": "boom", "traceback": "Traceback\n"}`},
		{Message{TypeLogs, Logs{"w", []string{"a", strings.Repeat("é", 40)}}, "w"}, `{"worker_id": "w", "logs": ["a", "` + strings.Repeat("é", 40) + `"]}`},
		{Message{TypeLocustfile, LocustfileRequest{"2.47.0"}, "w"}, `{"version": "2.47.0"}`},
		{Message{TypeLocustfile, LocustfileReply{Files: []LocustfileSource{{Filename: "a.py", Contents: strings.Repeat("x", 70_000)}, {URL: "http://x"}}}, "w"},
			`{"locustfiles": [{"filename": "a.py", "contents": "` + strings.Repeat("x", 70_000) + `"}, "http://x"]}`},
		{Message{TypeLocustfile, LocustfileReply{Error: "none"}, "w"}, `{"error": "none"}`},
		{Message{TypeAck, Ack{Index: 200}, "w"}, `{"index": 200}`},
		{Message{TypeSpawn, Spawn{Timestamp: 1700000000.25, UsersByClass: map[string]int{"A": 1}, Host: "http://h", StopTimeout: 4, Options: map[string]any{"a": -7, "b": nil, "c": []any{1.5, true}}}, "w"},
			`{"timestamp": 1700000000.25, "user_classes_count": {"A": 1}, "host": "http://h", "stop_timeout": 4.0, "parsed_options": {"a": -7, "b": null, "c": [1.5, true]}}`},
		{Message{TypeStop, nil, "w"}, `null`},
		{Message{TypeReconnect, nil, "w"}, `null`},
		{Message{TypeUpdateUserClass, UpdateUserClass{"A", map[string]any{"tasks": []any{"x"}, "weight": 3}}, "w"}, `{"user_class_name": "A", "tasks": ["x"], "weight": 3}`},
		{Message{"custom", map[string]any{"n": []any{-1, -33, -129, -40000, 1 << 31, 1 << 62}, "text": "\U0001F600"}, "w"}, `{"n": [-1, -33, -129, -40000, 2147483648, 4611686018427387904], "text": "😀"}`},
		{Message{"custom", map[any]any{5: "x", 300: nil}, "w"}, `{"int:5": "x", "int:300": null}`},
	} {
		t.Run(test.message.Type, func(t *testing.T) {
			var locusts []byte
			p.call(t, "encode", arguments{"type": test.message.Type, "data": json.RawMessage(test.data), "node_id": "w"}, &locusts)
			if ours := encoded(t, test.message); !bytes.Equal(ours, locusts) {
				t.Errorf("ours:\n%q\nLocust's:\n%q", ours, locusts)
			}
			if _, err := Decode(locusts); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLocustReadsTimesInCustomMessages(t *testing.T) {
	p := startPython(t)
	var decoded []string
	m := Message{"custom", map[string]any{"at": time.Date(2026, 8, 22, 1, 2, 3, 456000, time.UTC)}, "w"}
	p.call(t, "decode", arguments{"payload": encoded(t, m)}, &decoded)
	if want := "{'at': datetime.datetime(2026, 8, 22, 1, 2, 3, 456)}"; decoded[1] != want {
		t.Errorf("Locust reads %s, want %s", decoded[1], want)
	}
}

// What the same samples become in a worker of Locust and in one of ours, midpoints of its rounding
// included.
func TestReportsOfTheSameSamplesAreEqual(t *testing.T) {
	p := startPython(t)
	random := rand.New(rand.NewPCG(1, 2))
	base := time.Unix(1_700_000_000, 0)
	tally := NewTally(base)
	samples := [][]any{}
	midpoints := []float64{0.5, 1.5, 2.5, 99.5, 105, 115, 125, 145, 995, 1050, 1150, 9950, 10500, 11500}
	for i := range 2000 {
		ms := float64(random.Int64N(40_000_000)) / 1000
		if i < len(midpoints) {
			ms = midpoints[i]
		} else if i%2 == 0 {
			ms /= 100
		}
		end := base.Add(time.Duration(i) * 5_000_000)
		s := stats.Sample{Type: "GET", Name: fmt.Sprint("/", i%5), Duration: time.Duration(ms * 1e6), Untimed: i%97 == 50}
		s.Start = end.Add(-s.Duration)
		sample := []any{s.Type, s.Name, float64(end.UnixMilli()) / 1000, float64(s.Duration) / 1e6, nil}
		if s.Untimed {
			s.Start, s.Duration, sample[3] = end, 0, nil
		}
		if i%11 == 3 {
			s.Err, sample[4] = fmt.Sprintf("it's bad: %d", i%3), fmt.Sprintf("it's bad: %d", i%3)
		}
		tally.Record(&s)
		samples = append(samples, sample)
	}
	var payload []byte
	p.call(t, "report", arguments{"samples": samples}, &payload)
	locusts, err := Decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	ours := tally.Take(base)
	ours.UsersByClass, ours.Users = map[string]int{"A": 1}, 1
	options := cmp.Options{
		cmpopts.EquateApprox(0, 1e-5),
		cmpopts.SortSlices(func(a, b Count) bool { return a.Key < b.Key }),
		cmpopts.SortSlices(func(a, b Row) bool { return a.Name < b.Name }),
		cmpopts.SortSlices(func(a, b RowError) bool { return a.Key < b.Key }),
	}
	if diff := cmp.Diff(locusts.Data, ours, options); diff != "" {
		t.Errorf("(-Locust +ours):\n%s", diff)
	}
	var merged [2]map[string][]float64
	p.call(t, "merge", arguments{"reports": [][]byte{payload}}, &merged[0])
	p.call(t, "merge", arguments{"reports": [][]byte{encoded(t, Message{TypeStats, ours, "w"})}}, &merged[1])
	if diff := cmp.Diff(merged[0], merged[1], cmpopts.EquateApprox(1e-12, 0)); diff != "" || len(merged[0]) != 6 {
		t.Errorf("a master's numbers (-Locust +ours):\n%s", diff)
	}
	for i := range ours.Rows {
		row := &ours.Rows[i]
		want := merged[0][row.Name]
		if got := []float64{row.Median(), float64(Percentile(row.Times, row.Timed(), 0.95))}; got[0] != want[2] || got[1] != want[4] {
			t.Errorf("%s: median and 95 %% %v, Locust's %v", row.Name, got, want)
		}
	}
}

func TestAReportOfOursIsAcceptedByLocust(t *testing.T) {
	p := startPython(t)
	hist := new(stats.Histogram)
	hist.Record(time.Second)
	s := NewTally(time.Unix(1_700_000_000, 0)).Take(time.Unix(1_700_000_003, 0))
	s.Report = &Report{Run: "r", Sequence: 1, Delta: &stats.Snapshot{Entries: []stats.Entry{{Key: stats.Key{Type: "GET", Name: "/"}, Requests: 1, Hist: hist}}}}
	var merged map[string][]any
	p.call(t, "merge", arguments{"reports": [][]byte{encoded(t, Message{TypeStats, s, "w"})}}, &merged)
	// An idle worker must not drag the minimum to 0.
	if total := merged["Aggregated"]; total[0] != 0.0 || total[6] != nil {
		t.Errorf("total %v", total)
	}
}

func TestPercentilesEqualLocusts(t *testing.T) {
	p := startPython(t)
	random := rand.New(rand.NewPCG(3, 4))
	shares := []float64{0, 0.29, 0.5, 0.57, 0.66, 0.75, 0.9, 0.95, 0.99, 0.999, 1}
	var histograms [][][2]int64
	var want [][]int64
	for range 200 {
		seen := map[int64]bool{}
		histogram, n, times := [][2]int64{}, int64(0), []Count{}
		for range random.IntN(30) {
			c := Count{RoundTime(random.Float64() * 20_000), random.Int64N(50) + 1}
			if !seen[c.Key] {
				seen[c.Key] = true
				histogram, n, times = append(histogram, [2]int64{c.Key, c.N}), n+c.N, append(times, c)
			}
		}
		var row []int64
		for _, share := range shares {
			row = append(row, Percentile(times, n, share))
		}
		histograms, want = append(histograms, histogram), append(want, row)
	}
	var got [][]int64
	p.call(t, "percentiles", arguments{"histograms": histograms, "shares": shares}, &got)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-Locust +ours):\n%s", diff)
	}
}

func TestErrorKeysEqualLocusts(t *testing.T) {
	p := startPython(t)
	texts := []string{"", "x", "it's", `"both" it's`, "back\\slash", "\n\r\t\x00\x1f\x7f", "é日本😀", "\u00a0\u200b\u2028\ufeff\ue000\U000e0001", "a b"}
	var want []string
	for _, text := range texts {
		want = append(want, (stats.ErrorKey{Type: "GET", Name: "/x", Text: text}).Locust())
	}
	var got []string
	p.call(t, "error_keys", arguments{"texts": texts}, &got)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-Locust +ours):\n%s", diff)
	}
}
