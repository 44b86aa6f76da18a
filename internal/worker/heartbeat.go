package worker

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// The states that a worker tells, as Locust names them.
const (
	stateReady    = "ready"
	stateSpawning = "spawning"
	stateRunning  = "running"
)

// beat sends a heartbeat a second from the first ack on.
func (w *Worker) beat(ctx context.Context) {
	select {
	case <-w.joined:
	case <-ctx.Done():
		return
	}
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	for {
		// While there is no connection, old heartbeats would only pile up.
		if w.connected.Load() && !w.covered() {
			w.send(wire.TypeHeartbeat, w.heartbeat())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// withHeartbeat returns a report to be sent now, with a heartbeat for masters that take it there if one is
// due: fewer messages are less work for a master. What is kept to be sent again has none, for it will be
// old by then.
func (w *Worker) withHeartbeat(s *wire.Stats, now time.Time) *wire.Stats {
	w.mu.Lock()
	takes := w.master != nil && w.master.Protocol >= 2 && w.connected.Load()
	due := s.Report.Final || w.state != w.told || now.Sub(w.beaten) >= beatenFor
	if takes && due {
		w.beaten, w.told = now, w.state
	}
	w.mu.Unlock()
	if !takes || !due {
		return s
	}
	sent, report := *s, *s.Report
	report.Heartbeat = w.heartbeat()
	sent.Report = &report
	return &sent
}

// covered says that a report had a heartbeat not long ago.
func (w *Worker) covered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.beaten) < coveredFor
}

func (w *Worker) heartbeat() wire.Heartbeat {
	cpu, memory := w.meter.read(time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	return wire.Heartbeat{State: w.state, CPU: cpu, Memory: memory}
}

// meterEvery is how often the use of the process is read.
const meterEvery = 2 * time.Second

// meter reads what the process uses. It is safe for concurrent use.
type meter struct {
	mu      sync.Mutex
	process *stats.ProcessMeter
	at      time.Time
	used    time.Duration
	cpu     float64
	memory  int64
}

// read returns the use of the processor in percent of one core, and the resident memory in bytes.
func (m *meter) read(now time.Time) (cpu float64, memory int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		m.process, m.at, m.memory = stats.NewProcessMeter(1), now, residentBytes()
		return 0, m.memory
	}
	elapsed := now.Sub(m.at)
	if elapsed < meterEvery {
		return m.cpu, m.memory
	}
	var g stats.Generator
	m.process.Fill(&g)
	if g.CPUTime >= 0 {
		m.cpu = 100 * (g.CPUTime - m.used).Seconds() / elapsed.Seconds()
		m.used = g.CPUTime
	}
	m.at, m.memory = now, residentBytes()
	return m.cpu, m.memory
}

// residentBytes returns the memory that the process holds, where the system does not tell what Go has
// of it.
func residentBytes() int64 {
	if runtime.GOOS == "linux" {
		if data, err := os.ReadFile("/proc/self/statm"); err == nil {
			if fields := strings.Fields(string(data)); len(fields) > 1 {
				if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
					return pages * int64(os.Getpagesize())
				}
			}
		}
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
