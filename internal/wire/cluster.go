package wire

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// Protocol is the version of what masters and workers of this program tell each other beside
// Locust's messages. Masters of version 2 take a heartbeat in a [Report].
const Protocol = 2

// Messages between a master and a worker of this program, which Locust calls custom.
const (
	// TypeHello introduces a worker to the master; see [Hello].
	TypeHello = "zae_hello"
	// TypeStopTest has the reason, a string, for which code of a user wants the run to end.
	TypeStopTest = "zae_stop_test"
	// TypeRunFailed says that a worker could not begin a run: {"run", "error", "traceback"}.
	TypeRunFailed = "zae_run_failed"
)

// MasterInfo is what a master of this program adds to [Ack], so that a worker knows it.
type MasterInfo struct {
	Protocol int
	Version  string
	// ReportEvery is how often the master wants a [Report] while users run.
	ReportEvery time.Duration
}

const masterKey = "zae_master"

// Extra returns the further keys of an [Ack].
func (m MasterInfo) Extra() map[string]any {
	return map[string]any{masterKey: map[string]any{
		"protocol": m.Protocol, "version": m.Version, "report_seconds": m.ReportEvery.Seconds(),
	}}
}

// MasterInfoOf returns what the keys of an [Ack] say; ok is false for a master of Locust.
func MasterInfoOf(extra map[string]any) (info MasterInfo, ok bool) {
	fields, ok := extra[masterKey].(map[string]any)
	if !ok {
		return info, false
	}
	info.Protocol, info.Version = int(intOf(fields["protocol"])), textOf(fields["version"])
	info.ReportEvery = min(max(secondsOf(fields["report_seconds"]), 100*time.Millisecond), time.Minute)
	return info, true
}

// Hello introduces a worker of this program after each connection that it makes.
type Hello struct {
	Protocol int
	Version  string
	// Process differs between all processes that ever have the same worker id.
	Process string
	// Classes are the user classes that the worker can run; Locustfile identifies their code.
	Classes    []string
	Locustfile string
	// Build is the deployment that the worker belongs to; "" = none.
	Build string
	Cores int
}

// Data returns the hello as the data of a message.
func (h Hello) Data() map[string]any {
	return map[string]any{
		"protocol": h.Protocol, "version": h.Version, "process": h.Process,
		"classes": h.Classes, "locustfile": h.Locustfile, "build": h.Build, "cores": h.Cores,
	}
}

// HelloOf returns what the data of a message says; ok is false when it is none.
func HelloOf(data any) (h Hello, ok bool) {
	fields, ok := data.(map[string]any)
	if !ok {
		return h, false
	}
	h = Hello{
		Protocol: int(intOf(fields["protocol"])), Version: textOf(fields["version"]), Process: textOf(fields["process"]),
		Locustfile: textOf(fields["locustfile"]), Build: textOf(fields["build"]), Cores: int(intOf(fields["cores"])),
	}
	classes, _ := fields["classes"].([]any)
	for _, class := range classes[:min(len(classes), maxClasses)] {
		h.Classes = append(h.Classes, textOf(class))
	}
	return h, true
}

// RunInfo is what a master of this program adds to [Spawn], so that a worker knows which run its
// users belong to.
type RunInfo struct {
	ID   string
	Seed uint64
	// Elapsed is the time on the clock of the run when the message was sent.
	Elapsed time.Duration
	// Warmup is the time from the start of the run whose samples are left out of the totals.
	Warmup time.Duration
	// WorkerIndex numbers the workers from 0, WorkerCount is how many there are.
	WorkerIndex, WorkerCount int
	// Indexes are those of the users to start, by class, in the order of their start.
	Indexes map[string][]int64
	// Complete is set in messages that have the following; others refer to an earlier one.
	Complete bool
	Options  map[string]string
	// Settings and Shared are JSON values: what the worker's program needs, and what the users' code
	// shares.
	Settings, Shared map[string]any
}

const runKey = "zae_run"

// Extra returns the further keys of a [Spawn].
func (r *RunInfo) Extra() map[string]any {
	fields := map[string]any{
		"id": r.ID, "seed": r.Seed, "elapsed": r.Elapsed.Nanoseconds(), "warmup": r.Warmup.Nanoseconds(),
		"worker_index": r.WorkerIndex, "worker_count": r.WorkerCount,
	}
	if len(r.Indexes) > 0 {
		indexes := make(map[string]any, len(r.Indexes))
		for class, list := range r.Indexes {
			indexes[class] = packIndexes(list)
		}
		fields["indexes"] = indexes
	}
	if r.Complete {
		options := make(map[string]any, len(r.Options))
		for name, value := range r.Options {
			options[name] = value
		}
		fields["options"], fields["settings"], fields["shared"] = options, nonNil(r.Settings), nonNil(r.Shared)
	}
	return map[string]any{runKey: fields}
}

func nonNil(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// RunInfoOf returns what the keys of a [Spawn] say; ok is false for a master of Locust.
func RunInfoOf(extra map[string]any) (r RunInfo, ok bool) {
	fields, ok := extra[runKey].(map[string]any)
	if !ok {
		return r, false
	}
	r = RunInfo{
		ID: textOf(fields["id"]), Seed: uint64(intOf(fields["seed"])),
		Elapsed: max(time.Duration(intOf(fields["elapsed"])), 0), Warmup: max(time.Duration(intOf(fields["warmup"])), 0),
		WorkerIndex: int(intOf(fields["worker_index"])), WorkerCount: int(intOf(fields["worker_count"])),
	}
	indexes, _ := fields["indexes"].(map[string]any)
	for class, packed := range indexes {
		bytes, _ := packed.([]byte)
		if r.Indexes == nil {
			r.Indexes = map[string][]int64{}
		}
		r.Indexes[class] = unpackIndexes(bytes)
	}
	options, complete := fields["options"].(map[string]any)
	if !complete {
		return r, true
	}
	r.Complete, r.Options = true, make(map[string]string, len(options))
	for _, name := range slices.Sorted(maps.Keys(options)) {
		r.Options[name] = textOf(options[name])
	}
	r.Settings, _ = fields["settings"].(map[string]any)
	r.Shared, _ = fields["shared"].(map[string]any)
	return r, true
}

// packIndexes writes the distances between numbers, which mostly are small.
func packIndexes(list []int64) []byte {
	packed, last := make([]byte, 0, 2*len(list)), int64(0)
	for _, index := range list {
		packed = binary.AppendVarint(packed, index-last)
		last = index
	}
	return packed
}

// unpackIndexes reads what is whole of the list.
func unpackIndexes(packed []byte) []int64 {
	var list []int64
	last := int64(0)
	for len(packed) > 0 {
		distance, n := binary.Varint(packed)
		if n <= 0 {
			break
		}
		packed = packed[n:]
		last += distance
		list = append(list, last)
	}
	return list
}

func textOf(value any) string {
	text, _ := value.(string)
	return text
}

func intOf(value any) int64 {
	switch n := value.(type) {
	case int64:
		return n
	case uint64:
		return int64(n)
	case float64:
		return int64(n)
	}
	return 0
}

func secondsOf(value any) time.Duration {
	seconds, ok := value.(float64)
	if !ok {
		seconds = float64(intOf(value))
	}
	return time.Duration(min(max(seconds, 0), 1e6) * float64(time.Second))
}
