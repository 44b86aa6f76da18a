package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// worker is one simulated worker. Its goroutine reads; its shard sends heartbeats and reports.
type worker struct {
	simulator *simulator
	id        string   // 34 characters, so that one encoded message serves all
	process   string   // 32
	source    net.Addr // nil = any
	conn      net.Conn

	joined, running atomic.Bool
	mu              sync.Mutex // guards what follows
	run             string
	users           map[string]int
	sequence        uint64
	samples         int64
	started         time.Time
	unread          []byte      // of a message that is not whole; only its goroutine uses it
	beats           []time.Time // those that are not answered
}

const (
	// placeholders stand for the ids in messages that are encoded for all workers.
	idPlaceholder      = "h_################################"
	processPlaceholder = "$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$$"
)

// connect greets the master and registers.
func (w *worker) connect(address string) error {
	dialer := net.Dialer{Timeout: 30 * time.Second, LocalAddr: w.source}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	w.conn = conn
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	greeting := make([]byte, 64)
	greeting[0], greeting[8], greeting[9], greeting[10], greeting[11] = 0xff, 1, 0x7f, 3, 1
	copy(greeting[12:], "NULL")
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00" + string(byte(len(w.id))) + w.id
	if _, err := conn.Write(append(append(greeting, 0x04, byte(len(ready))), ready...)); err != nil {
		return err
	}
	head := make([]byte, 64+2) // its greeting, and the head of READY, which is short
	if _, err := io.ReadFull(conn, head); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if head[64] != 0x04 {
		return fmt.Errorf("no READY but flags 0x%02x", head[64])
	}
	if _, err := io.ReadFull(conn, make([]byte, head[65])); err != nil {
		return fmt.Errorf("READY: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	w.simulator.group.Go(w.read)
	return w.send(wire.TypeClientReady, wire.ClientReady{})
}

func frame(m *wire.Message) ([]byte, error) {
	body, err := m.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if len(body) < 256 {
		return append([]byte{0, byte(len(body))}, body...), nil
	}
	return append(binary.BigEndian.AppendUint64([]byte{0x02}, uint64(len(body))), body...), nil
}

func (w *worker) send(kind string, data any) error {
	f, err := frame(&wire.Message{Type: kind, Data: data, NodeID: w.id})
	if err != nil {
		return err
	}
	_, err = w.conn.Write(f)
	return err
}

var heartbeatAnswer = []byte("\xa9heartbeat")

// read does what the master says until the connection ends.
func (w *worker) read() {
	if err := readAll(w.conn, w.take); !w.simulator.closing.Load() {
		w.simulator.fail(fmt.Errorf("%s: %w", w.id, err))
	}
}

// take does what the messages say that are whole now, and keeps the rest.
func (w *worker) take(data []byte) error {
	w.unread = append(w.unread, data...)
	rest := w.unread
	for {
		body, after, err := cutFrame(rest)
		if err != nil {
			return err
		}
		if after == nil {
			break
		}
		rest = after
		if len(body) > 1 && bytes.HasPrefix(body[1:], heartbeatAnswer) {
			w.answered(time.Now())
			continue
		}
		m, err := wire.Decode(body)
		if err == nil {
			err = w.handle(&m)
		}
		if err != nil {
			return err
		}
	}
	w.unread = w.unread[:copy(w.unread, rest)]
	return nil
}

// cutFrame returns the first frame and what follows it, nil while it is not whole.
func cutFrame(data []byte) (body, after []byte, err error) {
	if len(data) < 2 {
		return nil, nil, nil
	}
	head, size := 2, uint64(data[1])
	if data[0]&0x02 != 0 {
		if head = 9; len(data) < head {
			return nil, nil, nil
		}
		size = binary.BigEndian.Uint64(data[1:])
	}
	switch {
	case size > 1<<20:
		return nil, nil, errors.New("a message of more than 1 MB")
	case uint64(len(data)-head) < size:
		return nil, nil, nil
	}
	end := head + int(size)
	return data[head:end], data[end:], nil
}

// answered measures the oldest heartbeat that has no answer yet.
func (w *worker) answered(now time.Time) {
	w.mu.Lock()
	var sent time.Time
	if len(w.beats) > 0 {
		sent = w.beats[0]
		w.beats = append(w.beats[:0], w.beats[1:]...)
	}
	w.mu.Unlock()
	if !sent.IsZero() {
		w.simulator.latency(now.Sub(sent))
	}
}

func (w *worker) handle(m *wire.Message) error {
	switch m.Type {
	case wire.TypeAck:
		return w.acknowledged()
	case wire.TypeSpawn:
		spawn, _ := m.Data.(wire.Spawn)
		return w.spawn(&spawn)
	case wire.TypeStop:
		return w.stop()
	case wire.TypeQuit:
		return errors.New("the master says quit")
	}
	return nil
}

func (w *worker) acknowledged() error {
	if !w.joined.CompareAndSwap(false, true) {
		return nil
	}
	w.simulator.joined.Add(1)
	if w.simulator.options.kind != "own" {
		return nil
	}
	return w.send(wire.TypeHello, wire.Hello{
		Protocol: wire.Protocol, Version: "simulated", Process: w.process, Classes: w.simulator.classes, Cores: 1,
	}.Data())
}

func (w *worker) spawn(spawn *wire.Spawn) error {
	if err := w.send(wire.TypeSpawning, nil); err != nil {
		return err
	}
	users, total := spawn.UsersByClass, 0
	for _, n := range users {
		total += n
	}
	w.mu.Lock()
	w.users = users
	if info, ok := wire.RunInfoOf(spawn.Extra); ok && info.ID != w.run {
		w.run, w.sequence, w.samples = info.ID, 0, 0
		w.started = time.Now().Add(-info.Elapsed)
	}
	w.mu.Unlock()
	if err := w.send(wire.TypeSpawningComplete, wire.SpawningComplete{UsersByClass: users, Users: total}); err != nil {
		return err
	}
	if total > 0 && w.running.CompareAndSwap(false, true) {
		w.simulator.running.Add(1)
	}
	return nil
}

func (w *worker) stop() error {
	ran := w.running.CompareAndSwap(true, false)
	own := w.simulator.options.kind == "own"
	if ran && own {
		if err := w.report(true); err != nil {
			return err
		}
	}
	if err := w.send(wire.TypeClientStopped, nil); err != nil {
		return err
	}
	if ran && !own {
		// What a worker of Locust did last is in the report after it stopped.
		if err := w.report(true); err != nil {
			return err
		}
	}
	if ran {
		w.simulator.running.Add(-1)
	}
	return w.send(wire.TypeClientReady, wire.ClientReady{})
}

// report sends what users did; the last report has nothing new.
func (w *worker) report(final bool) error {
	stats := &wire.Stats{}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.simulator.options.kind == "own" {
		w.sequence++
		stats = exactStats(w.simulator.options, 0, time.Now(), w.started)
		stats.Report.Run, stats.Report.Sequence, stats.Report.Samples, stats.Report.Final = w.run+"/"+w.process, w.sequence, w.samples, final
	} else {
		stats.Total.Name = "Aggregated"
		stats.UsersByClass = map[string]int{}
	}
	return w.send(wire.TypeStats, stats)
}
