package stats

import (
	"sync"
	"time"
	"unsafe"
)

// Recorder takes the samples of one core. It is safe for concurrent use, but callers that share one
// wait for each other: a [Collector] has one for each core.
type Recorder struct {
	started time.Time
	warmup  int64

	mu      sync.Mutex
	entries map[Key]*entryCounts
	errors  errorTable
	tasks   errorTable
	late    Histogram
	seconds secondWindow
	// recent are some entries; last is the one of the latest sample, next the one to give up.
	recent     [cachedEntries]cachedEntry
	last, next uint
	// A recorder has a cache line of its own at each end.
	_ [64]byte
}

const cachedEntries = 4

// cachedEntry finds the entry of a sample whose names are the same memory as those of an earlier
// one, which saves hashing them: callers mostly pass constants.
type cachedEntry struct {
	typ, name        *byte
	typeLen, nameLen int
	entry            *entryCounts
}

func (c *cachedEntry) is(s *Sample) bool {
	return c.name == unsafe.StringData(s.Name) && c.nameLen == len(s.Name) &&
		c.typ == unsafe.StringData(s.Type) && c.typeLen == len(s.Type)
}

func newRecorder(started time.Time, warmup time.Duration) *Recorder {
	return &Recorder{
		started: started,
		warmup:  int64(warmup),
		entries: map[Key]*entryCounts{},
		errors:  errorTable{},
		tasks:   errorTable{},
		seconds: secondWindow{current: newSecondCounts(0), end: int64(time.Second)},
	}
}

// Record counts one sample, which it reads and does not keep.
func (r *Recorder) Record(s *Sample) {
	t := timing{start: int64(s.Start.Sub(r.started)), took: max(int64(s.Duration), 0)}
	t.end = t.start + int64(s.Duration)
	t.bucket = bucketOf(t.took)
	r.mu.Lock()
	second := r.seconds.current
	if t.end >= r.seconds.end {
		second = r.seconds.advance(t.end)
	}
	second.requests++
	if !s.Untimed {
		second.hist.record(t.took, t.bucket)
	}
	if t.end >= r.warmup {
		cached := &r.recent[r.last%cachedEntries]
		if !cached.is(s) {
			cached = r.find(s)
		}
		cached.entry.add(s, &t)
	}
	if s.Err != "" {
		r.failed(s, second, t.end)
	}
	r.mu.Unlock()
}

// failed counts the failure of a sample that is counted already.
func (r *Recorder) failed(s *Sample, second *secondCounts, end int64) {
	second.failures++
	if s.Unreachable {
		second.unreachable++
	}
	if end >= r.warmup {
		r.errors.add(ErrorKey{s.Type, s.Name, s.Err}, r.started.Add(time.Duration(end)), "")
	}
}

// timing is when a sample was, in nanoseconds on the run's clock, and the bucket of its duration.
type timing struct {
	start, end, took int64
	bucket           uint
}

// TaskError counts an error of a task that is no failed call; it is not a request.
func (r *Recorder) TaskError(name, text, traceback string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks.add(ErrorKey{"TASK", name, text}, now, traceback)
}

// Late counts how long after its time a waiting user was woken.
func (r *Recorder) Late(by time.Duration) {
	elapsed := int64(time.Since(r.started))
	r.mu.Lock()
	r.late.Record(by)
	r.seconds.at(elapsed).late.Record(by)
	r.mu.Unlock()
}

// find returns the place of an entry among the cached ones, which it takes when it is not there.
func (r *Recorder) find(s *Sample) *cachedEntry {
	for i := range r.recent {
		if c := &r.recent[i]; c.is(s) {
			r.last = uint(i)
			return c
		}
	}
	entry := findOrAdd(r.entries, Key{s.Type, s.Name}, newEntryCounts)
	c := &r.recent[r.next]
	*c = cachedEntry{unsafe.StringData(s.Type), unsafe.StringData(s.Name), len(s.Type), len(s.Name), entry}
	r.last, r.next = r.next, (r.next+1)%cachedEntries
	return c
}

// secondCounts is what happened in one second of the run.
type secondCounts struct {
	index       int64
	requests    int64
	failures    int64
	unreachable int64
	hist        Histogram
	late        Histogram
}

func newSecondCounts(index int64) *secondCounts { return &secondCounts{index: index} }

func (c *secondCounts) merge(other *secondCounts) {
	c.requests += other.requests
	c.failures += other.failures
	c.unreachable += other.unreachable
	c.hist.Merge(&other.hist)
	c.late.Merge(&other.late)
}

// secondWindow keeps the second that is being filled and those that were filled since they were
// taken last. A sample of an earlier second counts in the current one: it ended just now, and was
// overtaken by another.
type secondWindow struct {
	current *secondCounts
	end     int64 // of the current second, in nanoseconds on the run's clock
	done    []*secondCounts
	spare   []*secondCounts
}

func (w *secondWindow) at(elapsed int64) *secondCounts {
	if elapsed >= w.end {
		return w.advance(elapsed)
	}
	return w.current
}

// advance begins the second of a time after the current one.
func (w *secondWindow) advance(elapsed int64) *secondCounts {
	index := elapsed / int64(time.Second)
	w.done = append(w.done, w.current)
	w.current = w.fresh(index)
	w.end = (index + 1) * int64(time.Second)
	return w.current
}

// fresh returns an empty second; used ones come back through recycle with their memory.
func (w *secondWindow) fresh(index int64) *secondCounts {
	if len(w.spare) == 0 {
		return newSecondCounts(index)
	}
	second := w.spare[len(w.spare)-1]
	w.spare = w.spare[:len(w.spare)-1]
	second.hist.Reset()
	second.late.Reset()
	second.index, second.requests, second.failures, second.unreachable = index, 0, 0, 0
	return second
}

// drain merges the filled seconds into the given table, and the one being filled when all is set.
func (w *secondWindow) drain(into map[int64]*secondCounts, all bool) {
	take := w.done
	if all && (w.current.requests > 0 || w.current.late.Count() > 0) {
		take = append(take, w.current)
		w.current = newSecondCounts(w.current.index)
	}
	for _, second := range take {
		found, ok := into[second.index]
		if !ok {
			found = newSecondCounts(second.index)
			into[second.index] = found
		}
		found.merge(second)
	}
	if len(w.spare) < 2 {
		w.spare = append(w.spare, take[:min(len(take), 2)]...)
	}
	w.done = nil
}
