package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// slots is into how many moments of a second the workers' messages are spread.
	slots    = 100
	slotTime = time.Second / slots
	dialers  = 16
	// sources is from how many addresses workers come. From one address to one port Linux takes only
	// every other of 28,000 ports at once; from 14,000 connections on it would search the core full.
	sources = 16
	// requestsPerTime is how often each response time of a row occurs in a report.
	requestsPerTime = 10
)

// simulator has the workers.
type simulator struct {
	options *options
	classes []string
	workers []*worker
	group   sync.WaitGroup
	closing atomic.Bool
	failed  chan error

	joined, running   atomic.Int64
	requests, reports atomic.Int64

	mu        sync.Mutex
	latencies stats.Histogram
	beats     int64

	reportBytes int
}

func newSimulator(o *options) (*simulator, error) {
	s := &simulator{options: o, classes: []string{"SimulatedUser"}, failed: make(chan error, 1)}
	for i := range o.workers {
		s.workers = append(s.workers, &worker{
			simulator: s, source: source(o.master, i), id: fmt.Sprintf("h_%016x%016x", rand.Uint64(), rand.Uint64()),
			process: fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()),
		})
	}
	beat, err := frame(&wire.Message{
		Type: wire.TypeHeartbeat, NodeID: idPlaceholder, Data: simulatedBeat,
	})
	if err != nil {
		return nil, err
	}
	s.group.Go(func() { s.drive(beat) })
	return s, nil
}

// source is the address that a worker comes from: those of loopback in turn, for a master there.
func source(master string, worker int) net.Addr {
	host, _, err := net.SplitHostPort(master)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || ip.To4() == nil || runtime.GOOS != "linux" {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+worker%sources))}
}

func (s *simulator) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *simulator) close() {
	s.closing.Store(true)
	for _, w := range s.workers {
		if w.conn != nil {
			_ = w.conn.Close()
		}
	}
	s.group.Wait()
}

// join connects all workers and waits until the master has acknowledged them.
func (s *simulator) join(ctx context.Context) error {
	var next atomic.Int64
	var group sync.WaitGroup
	for range dialers {
		group.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(s.workers); i = next.Add(1) - 1 {
				if err := s.workers[i].connect(s.options.master); err != nil {
					s.fail(fmt.Errorf("worker %d: %w", i, err))
					return
				}
			}
		})
	}
	group.Wait()
	return s.await(ctx, s.options.joinWithin, "workers that are acknowledged", &s.joined)
}

// await waits until a number has reached that of the workers.
func (s *simulator) await(ctx context.Context, within time.Duration, what string, n *atomic.Int64) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(within)
	for n.Load() < int64(len(s.workers)) {
		select {
		case err := <-s.failed:
			return err
		case <-late:
			return fmt.Errorf("%s: %d of %d after %v", what, n.Load(), len(s.workers), within)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

func (s *simulator) awaitUsers(within time.Duration) error {
	return s.await(context.Background(), within, "workers with users", &s.running)
}

func (s *simulator) awaitStopped(within time.Duration) {
	for end := time.Now().Add(within); s.running.Load() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// drive sends everything that is due, slot by slot; what is late is sent at once.
func (s *simulator) drive(beat []byte) {
	reports := &templates{simulator: s}
	beatID := bytes.LastIndex(beat, []byte(idPlaceholder))
	start := time.Now()
	for slot := int64(0); !s.closing.Load(); slot++ {
		time.Sleep(time.Until(start.Add(time.Duration(slot) * slotTime)))
		for i := int(slot % slots); i < len(s.workers); i += slots {
			w := s.workers[i]
			if !w.joined.Load() || s.options.kind == "own" && w.running.Load() {
				continue // those of this program have it in their reports
			}
			copy(beat[beatID:], w.id)
			w.mu.Lock()
			w.beats = append(w.beats, time.Now())
			w.mu.Unlock()
			s.write(w, beat)
			s.mu.Lock()
			s.beats++
			s.mu.Unlock()
		}
		for i := int((slot + slots/2) % slots); i < len(s.workers); i += slots {
			if w := s.workers[i]; w.running.Load() {
				s.report(w, reports)
			}
		}
	}
}

func (s *simulator) report(w *worker, t *templates) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running.Load() {
		return // the last report is out
	}
	w.sequence++
	w.samples += t.requests()
	message, err := t.of(w)
	if err != nil {
		s.fail(err)
		return
	}
	if s.options.kind == "own" && beats(w.sequence) {
		w.beats = append(w.beats, time.Now())
		s.mu.Lock()
		s.beats++
		s.mu.Unlock()
	}
	s.write(w, message)
	s.requests.Add(t.requests())
	s.reports.Add(1)
}

func (s *simulator) write(w *worker, frame []byte) {
	if _, err := w.conn.Write(frame); err != nil && !s.closing.Load() {
		s.fail(fmt.Errorf("%s: %w", w.id, err))
	}
}

func (s *simulator) latency(d time.Duration) {
	s.mu.Lock()
	s.latencies.Record(d)
	s.mu.Unlock()
}

// measure loads the master for a while and looks at what it uses.
func (s *simulator) measure(web *api, r *result) error {
	o := s.options
	s.mu.Lock()
	s.latencies.Reset()
	s.beats = 0
	s.mu.Unlock()
	reports, start := s.reports.Load(), time.Now()
	master, own, queued := processTime(o.masterPID), processTime(0), queuedTime(o.masterPID)
	var times []time.Duration
	for time.Since(start) < o.duration {
		took, err := web.requests()
		if err != nil {
			return err
		}
		times = append(times, took)
		select {
		case err := <-s.failed:
			return err
		case <-time.After(min(time.Second, o.duration)):
		}
	}
	seconds := time.Since(start).Seconds()
	r.MasterCPU = 100 * (processTime(o.masterPID) - master).Seconds() / seconds
	r.MasterQueued = 100 * (queuedTime(o.masterPID) - queued).Seconds() / seconds
	r.OwnCPU = 100 * (processTime(0) - own).Seconds() / seconds
	r.ReportRatio = float64(s.reports.Load()-reports) / seconds / float64(o.workers)
	r.ReportBytes = s.reportBytes
	s.mu.Lock()
	r.HeartbeatP50, r.HeartbeatP99 = milliseconds(s.latencies.Quantile(0.5)), milliseconds(s.latencies.Quantile(0.99))
	r.AnsweredRatio = float64(s.latencies.Count()) / float64(max(s.beats, 1))
	s.mu.Unlock()
	slices.Sort(times)
	r.RequestsP50, r.RequestsMax = milliseconds(times[len(times)/2]), milliseconds(times[len(times)-1])
	return nil
}

// beats says that a worker of ours has a heartbeat in its report: every other one has.
func beats(sequence uint64) bool { return sequence%2 == 1 }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// simulatedBeat is how every worker is.
var simulatedBeat = wire.Heartbeat{State: "running", CPU: 12.5, Memory: 50 << 20}

// templates are the encoded reports of one second, by sequence number: workers that started a second apart are
// neighbours and take turns. Locust's reports have none.
type templates struct {
	simulator *simulator
	second    int64
	run       string
	encoded   map[uint64]*template
}

// template is the encoded report of all workers that are at the same point of their run.
type template struct {
	message []byte
	id      int
	process int
}

func (t *templates) requests() int64 {
	return int64(t.simulator.options.rows * t.simulator.options.buckets * requestsPerTime)
}

// of returns the report of a worker, valid until the next call.
func (t *templates) of(w *worker) ([]byte, error) {
	now := time.Now()
	own := t.simulator.options.kind == "own"
	if t.second != now.Unix() || own && t.run != w.run {
		t.second, t.run, t.encoded = now.Unix(), w.run, map[uint64]*template{}
	}
	var sequence uint64
	if own {
		sequence = w.sequence
	}
	e := t.encoded[sequence]
	if e == nil {
		var err error
		if e, err = t.encode(w, now, own); err != nil {
			return nil, err
		}
		t.encoded[sequence] = e
	}
	copy(e.message[e.id:], w.id)
	if own {
		copy(e.message[e.process:], w.process)
	}
	return e.message, nil
}

func (t *templates) encode(w *worker, now time.Time, own bool) (*template, error) {
	var report *wire.Stats
	if own {
		report = exactStats(t.simulator.options, t.simulator.options.rows, now, w.started)
		report.Report.Run, report.Report.Sequence = w.run+"/"+processPlaceholder, w.sequence
		report.Report.Samples = w.samples
		if beats(w.sequence) {
			report.Report.Heartbeat = simulatedBeat
		}
	} else {
		report = locustStats(t.simulator.options, now)
	}
	report.UsersByClass, report.Users = w.users, 1
	message, err := frame(&wire.Message{Type: wire.TypeStats, Data: report, NodeID: idPlaceholder})
	if err != nil {
		return nil, err
	}
	e := &template{message: message, id: bytes.LastIndex(message, []byte(idPlaceholder)), process: bytes.Index(message, []byte(processPlaceholder))}
	if own && e.process < 0 {
		return nil, errors.New("the report does not name its process")
	}
	t.simulator.reportBytes = len(message)
	return e, nil
}

// locustStats is a report of a worker of Locust.
func locustStats(o *options, now time.Time) *wire.Stats {
	s := &wire.Stats{}
	second, perRow := now.Unix(), int64(o.buckets*requestsPerTime)
	for i := range o.rows {
		row := wire.Row{
			Name: fmt.Sprint("/path/", i), Method: "GET", Requests: perRow, SumTime: float64(perRow) * 12.5, MinTime: 1.5, MaxTime: 590.25,
			Start: wire.Timestamp(now.Add(-time.Second)), LastRequest: wire.Timestamp(now), ContentLength: 100 * perRow,
			RequestsPerSecond: []wire.Count{{Key: second - 1, N: perRow / 2}, {Key: second, N: perRow - perRow/2}},
		}
		for b := range int64(o.buckets) {
			row.Times = append(row.Times, wire.Count{Key: 10 * b, N: requestsPerTime})
		}
		s.Rows = append(s.Rows, row)
	}
	s.Total = s.Rows[0]
	s.Total.Name, s.Total.Method = "Aggregated", ""
	s.Total.Requests *= int64(o.rows)
	s.Total.RequestsPerSecond = []wire.Count{{Key: second - 1, N: s.Total.Requests / 2}, {Key: second, N: s.Total.Requests - s.Total.Requests/2}}
	s.Total.Times = nil
	for _, c := range s.Rows[0].Times {
		s.Total.Times = append(s.Total.Times, wire.Count{Key: c.Key, N: c.N * int64(o.rows)})
	}
	return s
}

// exactStats is a report of a worker of ours with the same calls.
func exactStats(o *options, rows int, now, started time.Time) *wire.Stats {
	d := &stats.Snapshot{
		At: now, Started: started, Users: 1, UsersByClass: map[string]int{"SimulatedUser": 1}, PeakUsers: 1,
		Generator: stats.Generator{CPURatio: 0.5, CPUTime: now.Sub(started) / 2, Late: new(stats.Histogram), Seconds: 1},
	}
	second, all := stats.Second{Index: int64(now.Sub(started) / time.Second), Users: 1, Hist: new(stats.Histogram), Late: new(stats.Histogram)}, new(stats.Histogram)
	for i := range rows {
		e := stats.Entry{
			Key: stats.Key{Type: "GET", Name: fmt.Sprint("/path/", i)}, Requests: int64(o.buckets * requestsPerTime), Hist: new(stats.Histogram),
			FirstStart: now.Add(-time.Second), LastEnd: now,
		}
		for b := range o.buckets {
			e.Hist.RecordN(time.Duration(10*b)*time.Millisecond, requestsPerTime)
		}
		all.Merge(e.Hist)
		d.Entries = append(d.Entries, e)
	}
	if rows > 0 {
		second.Hist, second.Requests = all, all.Count()
		for i := range 20 {
			d.Generator.Late.RecordN(time.Duration(i)*10*time.Microsecond, 50)
			second.Late.RecordN(time.Duration(i)*10*time.Microsecond, 50)
		}
		d.Series = []stats.Second{second}
	}
	return &wire.Stats{UsersByClass: map[string]int{"SimulatedUser": 1}, Users: 1, Report: &wire.Report{Delta: d}}
}
