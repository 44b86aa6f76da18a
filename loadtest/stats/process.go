package stats

import (
	"math"
	"runtime/metrics"
	"time"
)

// ProcessMeter reads what the process itself used since it was made. It is safe for concurrent use.
type ProcessMeter struct {
	cores   int
	started time.Time
	cpu     time.Duration
	known   bool
	pauses  []uint64
}

// pausesMetric counts the stops of the program by the garbage collector, by length.
const pausesMetric = "/sched/pauses/total/gc:seconds"

// NewProcessMeter starts measuring a process that may use that many cores.
func NewProcessMeter(cores int) *ProcessMeter {
	m := &ProcessMeter{cores: max(cores, 1), started: time.Now()}
	m.cpu, m.known = processCPUTime()
	if pauses := readPauses(); pauses != nil {
		m.pauses = append([]uint64(nil), pauses.Counts...)
	}
	return m
}

// Fill writes processor use and pauses into g.
func (m *ProcessMeter) Fill(g *Generator) {
	g.CPURatio, g.CPUTime = -1, -1
	if cpu, ok := processCPUTime(); ok && m.known {
		g.CPUTime = cpu - m.cpu
		if elapsed := time.Since(m.started); elapsed > 0 {
			g.CPURatio = g.CPUTime.Seconds() / (elapsed.Seconds() * float64(m.cores))
		}
	}
	g.GCPauseMax = m.longestPause()
}

func (m *ProcessMeter) longestPause() time.Duration {
	pauses := readPauses()
	if pauses == nil || len(pauses.Counts) != len(m.pauses) {
		return 0
	}
	for i := len(pauses.Counts) - 1; i >= 0; i-- {
		if pauses.Counts[i] == m.pauses[i] {
			continue
		}
		// The upper bound of the bucket, or the lower one where there is no upper.
		seconds := pauses.Buckets[i+1]
		if math.IsInf(seconds, 1) {
			seconds = pauses.Buckets[i]
		}
		return time.Duration(seconds * float64(time.Second))
	}
	return 0
}

func readPauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: pausesMetric}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil
	}
	return sample[0].Value.Float64Histogram()
}
