package target

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// Tally is what a meter counted, in a form that can be sent and merged: a master adds up those of its
// workers. The zero value counts nothing.
type Tally struct {
	Operations map[string]*OperationTally `json:"operations,omitempty"`
	Units      map[string]*UnitTally      `json:"units,omitempty"`
	Waits      stats.Histogram            `json:"waits"`
	Retries    int64                      `json:"retries"`
	// CPU is the processor time of the metered processes in nanoseconds; negative when one of them
	// cannot tell, or also ran the target.
	CPU time.Duration `json:"cpu_ns"`
}

// OperationTally counts the attempts of one operation.
type OperationTally struct {
	Attempts  int64           `json:"attempts"`
	Throttled int64           `json:"throttled"`
	Failures  int64           `json:"failures"`
	Durations stats.Histogram `json:"durations"`
}

// UnitTally has what the calls of one operation that told it consumed.
type UnitTally struct {
	// Answered calls succeeded, Sampled ones among them told their units.
	Answered int64   `json:"answered"`
	Sampled  int64   `json:"sampled"`
	Reads    float64 `json:"reads"`
	Writes   float64 `json:"writes"`
	Indexes  float64 `json:"indexes"`
}

// DecodeTally reads a tally from its JSON form.
func DecodeTally(data []byte) (*Tally, error) {
	t := new(Tally)
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("tally: %w", err)
	}
	maps.DeleteFunc(t.Operations, func(_ string, o *OperationTally) bool { return o == nil })
	maps.DeleteFunc(t.Units, func(_ string, u *UnitTally) bool { return u == nil })
	return t, nil
}

// Merge adds what another one counted.
func (t *Tally) Merge(other *Tally) {
	for name, o := range other.Operations {
		if t.Operations == nil {
			t.Operations = map[string]*OperationTally{}
		}
		sum := t.Operations[name]
		if sum == nil {
			sum = new(OperationTally)
			t.Operations[name] = sum
		}
		sum.Attempts += o.Attempts
		sum.Throttled += o.Throttled
		sum.Failures += o.Failures
		sum.Durations.Merge(&o.Durations)
	}
	for name, u := range other.Units {
		if t.Units == nil {
			t.Units = map[string]*UnitTally{}
		}
		sum := t.Units[name]
		if sum == nil {
			sum = new(UnitTally)
			t.Units[name] = sum
		}
		sum.Answered += u.Answered
		sum.Sampled += u.Sampled
		sum.Reads += u.Reads
		sum.Writes += u.Writes
		sum.Indexes += u.Indexes
	}
	t.Waits.Merge(&other.Waits)
	t.Retries += other.Retries
	if t.CPU < 0 || other.CPU < 0 {
		t.CPU = -1
	} else {
		t.CPU += other.CPU
	}
}

// Readings returns what is to be said about the counts.
func (t *Tally) Readings() Readings {
	var r Readings
	attempts, throttledCalls := int64(0), int64(0)
	for _, name := range slices.Sorted(maps.Keys(t.Operations)) {
		o := t.Operations[name]
		attempts += o.Attempts
		throttledCalls += o.Throttled
		r.Operations = append(r.Operations, o.reading(name))
	}
	if t.CPU >= 0 && attempts > 0 {
		for i := range r.Operations {
			r.Operations[i].ClientCPUUS = new(float64(t.CPU.Microseconds()) / float64(attempts))
		}
	}
	r.Throttled, r.SDKRetries = &throttledCalls, &t.Retries
	if t.Waits.Count() > 0 {
		r.PoolWaitP99MS = milliseconds(t.Waits.Quantile(0.99))
	}
	t.fillUnits(&r)
	return r
}

func (o *OperationTally) reading(name string) Operation {
	hist := &o.Durations
	return Operation{
		Operation: name, Requests: o.Attempts, Throttled: o.Throttled, Failures: o.Failures,
		AvgMS: milliseconds(hist.Mean()), P50MS: milliseconds(hist.Quantile(0.5)),
		P95MS: milliseconds(hist.Quantile(0.95)), P99MS: milliseconds(hist.Quantile(0.99)),
	}
}

// fillUnits scales what the sample of each operation consumed to the calls that were answered. The
// units are not known while no call has told any, or when an operation never did.
func (t *Tally) fillUnits(r *Readings) {
	var reads, writes, indexes float64
	var sampled, answered int64
	for _, u := range t.Units {
		if u.Sampled == 0 && u.Answered > 0 {
			return
		}
		scale := float64(u.Answered) / float64(max(u.Sampled, 1))
		reads += scale * u.Reads
		writes += scale * u.Writes
		indexes += scale * u.Indexes
		sampled += u.Sampled
		answered += u.Answered
	}
	if sampled == 0 {
		return
	}
	r.ReadUnits, r.WriteUnits, r.IndexWriteUnits = &reads, &writes, &indexes
	r.SampledRatio = new(min(float64(sampled)/float64(answered), 1))
}
