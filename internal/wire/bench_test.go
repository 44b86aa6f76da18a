package wire

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// locustReport is what a worker of Locust sends: rows of 60 different response times each.
func locustReport(rows int) *Stats {
	s := &Stats{UsersByClass: map[string]int{"A": 5, "B": 5}, Users: 10}
	for i := range rows {
		row := Row{Name: fmt.Sprint("/path/", i), Method: "GET", Requests: 600, SumTime: 1234.5, MinTime: 1.5, MaxTime: 99.5, Start: 1700000000.5, LastRequest: 1700000001.5}
		for ms := range int64(60) {
			row.Times = append(row.Times, Count{10 * ms, 10})
		}
		row.RequestsPerSecond = []Count{{1700000000, 300}, {1700000001, 300}}
		s.Rows = append(s.Rows, row)
	}
	s.Total = s.Rows[0]
	s.Total.Name, s.Total.Method = aggregatedName, ""
	return s
}

// exactReport is what a worker of this program sends for the same calls.
func exactReport(rows int) *Stats {
	d := &stats.Snapshot{At: time.Unix(1700000001, 0), Started: time.Unix(1700000000, 0), Users: 10, UsersByClass: map[string]int{"A": 5, "B": 5}}
	for i := range rows {
		e := stats.Entry{Key: stats.Key{Type: "GET", Name: fmt.Sprint("/path/", i)}, Requests: 600, Hist: new(stats.Histogram)}
		for ms := range 60 {
			e.Hist.RecordN(time.Duration(10*ms)*time.Millisecond, 10)
		}
		d.Entries = append(d.Entries, e)
	}
	d.Series = []stats.Second{{Requests: 6000, Hist: d.Entries[0].Hist}}
	return &Stats{UsersByClass: map[string]int{"A": 5, "B": 5}, Users: 10, Report: &Report{Run: "r", Sequence: 1, Delta: d}}
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range benchmarkMessages() {
		b.Run(c.name, func(b *testing.B) {
			var buffer []byte
			for b.Loop() {
				var err error
				if buffer, err = c.message.AppendBinary(buffer[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range benchmarkMessages() {
		b.Run(c.name, func(b *testing.B) {
			data, err := c.message.AppendBinary(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type namedMessage struct {
	name    string
	message Message
}

func benchmarkMessages() []namedMessage {
	return []namedMessage{
		{"heartbeat", Message{TypeHeartbeat, Heartbeat{State: "running", CPU: 12.5, Memory: 50 << 20}, "host_0123456789abcdef0123456789abcdef"}},
		{"stats of Locust", Message{TypeStats, locustReport(10), "host_0123456789abcdef0123456789abcdef"}},
		{"stats of ours", Message{TypeStats, exactReport(10), "host_0123456789abcdef0123456789abcdef"}},
	}
}

// Reports that come through a router over loopback, with what the senders cost on the same cores.
func BenchmarkRouter(b *testing.B) {
	for _, c := range benchmarkMessages() {
		for _, secure := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s secure=%v", c.name, secure), func(b *testing.B) {
				benchmarkRouter(b, c.message, testSecret(b, secure))
			})
		}
	}
}

func benchmarkRouter(b *testing.B, message Message, secret *Secret) {
	const peers = 8
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var received, connected atomic.Int64
	all, ready := make(chan struct{}), make(chan struct{})
	r := NewRouter(RouterOptions{Secret: secret, Handle: func(e Event) {
		switch e.Kind {
		case Connected:
			if connected.Add(1) == peers {
				close(ready)
			}
		case Received:
			if received.Add(1) == int64(b.N) {
				close(all)
			}
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	defer r.Close(ctx)
	defer cancel()
	go func() { _ = r.Serve(ctx, listener) }()
	frame, err := messageFrame(&message)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(frame)))
	var links []net.Conn
	for i := range peers {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		if secret != nil {
			if conn, err = dialSecure(conn, secret); err != nil {
				b.Fatal(err)
			}
		}
		if err := greetOnly(conn, fmt.Sprint("w", i)); err != nil {
			b.Fatal(err)
		}
		links = append(links, conn)
	}
	<-ready
	b.ResetTimer()
	for i, conn := range links {
		n := b.N / peers
		if i == 0 {
			n += b.N % peers
		}
		go func() {
			for range n {
				if _, err := conn.Write(frame); err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// What an idle connection keeps, its other end included, which is a pipe here, encrypted or not.
func BenchmarkConnectionMemory(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprint("secure=", secure), func(b *testing.B) { benchmarkMemory(b, testSecret(b, secure)) })
	}
}

func benchmarkMemory(b *testing.B, secret *Secret) {
	const n = 1000
	for b.Loop() {
		listener := wiretest.NewListener()
		var connected atomic.Int64
		ready := make(chan struct{})
		r := NewRouter(RouterOptions{Secret: secret, Handle: func(e Event) {
			if e.Kind == Connected && connected.Add(1) == n {
				close(ready)
			}
		}})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _ = r.Serve(ctx, listener) }()
		before := memoryInUse()
		for i := range n {
			conn, err := listener.Dial(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if secret != nil {
				if conn, err = dialSecure(conn, secret); err != nil {
					b.Fatal(err)
				}
			}
			if err := greetOnly(conn, fmt.Sprint("w", i)); err != nil {
				b.Fatal(err)
			}
		}
		<-ready
		b.ReportMetric((memoryInUse()-before)/n, "B/connection")
		cancel()
		r.Close(ctx)
	}
}

func greetOnly(conn net.Conn, identity string) error {
	_, _, err := newLink(conn, DefaultMaxMessage, 0).handshake(socketDealer, identity)
	return err
}

// memoryInUse is what heap and stacks take after a collection.
func memoryInUse() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
