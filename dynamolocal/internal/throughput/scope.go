package throughput

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// scope is a table or a global index: what limits it as a whole, and its
// partitions.
type scope struct {
	config      Config
	index, arn  string
	provisioned bool
	wholeHash   bool                         // local indexes: no split inside one HASH value
	partitions  atomic.Pointer[[]*partition] // ordered by start, the first from zero

	mu     sync.Mutex
	limits [2]limits // by Kind
	splits sync.Mutex
}

// limits are the buckets of a scope as a whole, for reads or for writes.
type limits struct {
	maximum  bucket // cap of OnDemandThroughput
	quota    bucket
	capacity bucket
	peak     peak
	consumed int64
	refused  [reasonCount]int64
}

func newScope(c Config, index, arn string, capacity Capacity, now int64) *scope {
	if c.Mode == Provisioned {
		capacity = Capacity{Provisioned: true, Reads: c.Reads, Writes: c.Writes}
	}
	s := &scope{config: c, index: index, arn: arn, provisioned: capacity.Provisioned}
	count := int64(newTablePartitions)
	rates, maxima, burst := [2]int64{newTableReads, newTableWrites}, [2]int64{capacity.MaxReads, capacity.MaxWrites}, time.Second
	if capacity.Provisioned {
		rates, maxima, burst = [2]int64{capacity.Reads, capacity.Writes}, [2]int64{}, c.ProvisionedBurst
		count = partitionsFor(rates)
	}
	for kind := range s.limits {
		s.limits[kind] = limits{
			maximum:  newBucket(max(maxima[kind], 0), time.Second, false, now),
			quota:    newBucket(c.AccountQuota, time.Second, false, now),
			capacity: newBucket(rates[kind], burst, capacity.Provisioned, now),
			peak:     peak{begin: now},
		}
	}
	partitions := make([]*partition, count)
	for i := range partitions {
		partitions[i] = newPartition(i, Position{Hash: uint64(i) * (^uint64(0)/uint64(count) + 1)}, c.PartitionBurst, now)
	}
	s.partitions.Store(&partitions)
	return s
}

// partitionsFor returns how many partitions carry the rates.
func partitionsFor(rates [2]int64) int64 {
	up := func(n, d int64) int64 { return (n + d - 1) / d }
	return max(1, up(rates[Read], partitionReads), up(rates[Write], partitionWrites))
}

// admit charges the arm to the scope and to its partition, or to neither.
func (s *scope) admit(now int64, kind Kind, arm Arm) *Refusal {
	units := arm.nanos()
	if reason := s.take(now, kind, units); reason != admitted {
		return s.refuse(kind, reason)
	}
	p := s.partition(arm.At)
	if p.take(now, kind, units, arm.At, s.config.SplitAfter) {
		return nil
	}
	s.mu.Lock()
	l := &s.limits[kind]
	l.charge(now, -units)
	l.refused[keyRange]++
	s.mu.Unlock()
	if p.due(now, s.config.SplitAfter) {
		s.split(p, now)
	}
	return s.refuse(kind, keyRange)
}

func (s *scope) take(now int64, kind Kind, units int64) reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.limits[kind]
	reason := l.take(now, units, s.provisioned)
	if reason != admitted {
		l.refused[reason]++
		return reason
	}
	s.grow(now, kind, units)
	return admitted
}

// take charges the three buckets, or none of them.
func (l *limits) take(now, units int64, provisioned bool) reason {
	if !l.maximum.take(now, units) {
		return maximum
	}
	if !l.quota.take(now, units) {
		l.maximum.charge(now, -units)
		return account
	}
	if !l.capacity.take(now, units) {
		l.maximum.charge(now, -units)
		l.quota.charge(now, -units)
		if provisioned {
			return provisionedUnits
		}
		return keyRange
	}
	l.consumed += units
	return admitted
}

func (l *limits) charge(now, units int64) {
	l.maximum.charge(now, units)
	l.quota.charge(now, units)
	l.capacity.charge(now, units)
	l.consumed += units
}

// charge takes the arm's units without asking.
func (s *scope) charge(now int64, kind Kind, arm Arm) {
	units := arm.nanos()
	s.mu.Lock()
	s.limits[kind].charge(now, units)
	s.grow(now, kind, units)
	s.mu.Unlock()
	s.partition(arm.At).charge(now, kind, units)
}

// grow follows the peak of an on-demand scope: twice the highest load it had
// half an hour ago is there at once. s.mu is held.
func (s *scope) grow(now int64, kind Kind, units int64) {
	if s.provisioned {
		return
	}
	l := &s.limits[kind]
	if !l.peak.add(now, units) {
		return
	}
	if rate := 2 * l.peak.kept; rate > l.capacity.rate {
		l.capacity.resize(rate, time.Second)
		s.spread(partitionsFor([2]int64{s.limits[Read].capacity.rate, s.limits[Write].capacity.rate}), now)
	}
}

// spread halves the widest ranges until there are count partitions.
func (s *scope) spread(count int64, now int64) {
	s.splits.Lock()
	defer s.splits.Unlock()
	list := slices.Clone(*s.partitions.Load())
	for int64(len(list)) < count {
		widest, width := 0, uint64(0)
		for i := range list {
			if w := end(list, i) - list[i].start.Hash; w > width {
				widest, width = i, w
			}
		}
		if width < 2 {
			break
		}
		middle := Position{Hash: list[widest].start.Hash + width/2}
		list = slices.Insert(list, widest+1, newPartition(len(list), middle, s.config.PartitionBurst, now))
	}
	s.partitions.Store(&list)
}

// end returns the last hash of a partition's range.
func end(list []*partition, i int) uint64 {
	if i+1 < len(list) {
		return list[i+1].start.Hash
	}
	return ^uint64(0)
}

// partition returns the partition that a position is on.
func (s *scope) partition(at Position) *partition {
	list := *s.partitions.Load()
	i, found := slices.BinarySearchFunc(list, at, func(p *partition, at Position) int { return p.start.compare(at) })
	if !found {
		i--
	}
	return list[i]
}

// split gives the upper half of a hot partition's load to a new one.
func (s *scope) split(p *partition, now int64) {
	s.splits.Lock()
	defer s.splits.Unlock()
	boundary, ok := p.boundary(s.wholeHash)
	if !ok {
		return
	}
	list := slices.Clone(*s.partitions.Load())
	i := slices.Index(list, p)
	list = slices.Insert(list, i+1, newPartition(len(list), boundary, s.config.PartitionBurst, now))
	s.partitions.Store(&list)
}

// peak keeps the highest minute of an on-demand scope, in units a second.
type peak struct {
	begin, units int64 // the current minute
	rising       int64 // highest minute that is not kept yet
	since        int64 // when rising passed kept
	kept         int64
}

// add counts units and reports whether kept has changed.
func (p *peak) add(now, units int64) bool {
	p.units += units
	elapsed := now - p.begin
	if elapsed < int64(time.Minute) {
		return false
	}
	if rate := p.units / elapsed; rate > max(p.rising, p.kept) {
		if p.rising <= p.kept {
			p.since = p.begin
		}
		p.rising = rate
	}
	p.begin, p.units = now, 0
	if p.rising <= p.kept || now-p.since < int64(30*time.Minute) {
		return false
	}
	p.kept = p.rising
	return true
}
