package throughput

import (
	"maps"
	"slices"
)

// Usage is what a table or global index has consumed and refused since it was
// created.
type Usage struct {
	Index         string // "" is the table
	Reads, Writes float64
	// Refused counts throttled requests by reason, as ThrottlingReasons spells
	// it. Reasons that did not occur are absent.
	Refused    map[string]int64
	Partitions []PartitionUsage
}

// PartitionUsage is the part of one partition. ID is the order of creation.
type PartitionUsage struct {
	ID                          int
	Start                       Position
	Reads, Writes               float64
	RefusedReads, RefusedWrites int64
}

// Usage returns the counters of the table and then of its indexes by name.
func (t *Table) Usage() []Usage {
	if t == nil {
		return nil
	}
	usage := []Usage{t.table.usage()}
	for _, name := range slices.Sorted(maps.Keys(t.indexes)) {
		usage = append(usage, t.indexes[name].usage())
	}
	return usage
}

func (s *scope) usage() Usage {
	u := Usage{Index: s.index, Refused: map[string]int64{}}
	s.mu.Lock()
	u.Reads, u.Writes = units(s.limits[Read].consumed), units(s.limits[Write].consumed)
	for kind, l := range s.limits {
		for why, count := range l.refused {
			if count > 0 {
				u.Refused[s.reasonName(Kind(kind), reason(why))] += count
			}
		}
	}
	s.mu.Unlock()
	for _, p := range *s.partitions.Load() {
		p.mu.Lock()
		u.Partitions = append(u.Partitions, PartitionUsage{
			ID: p.id, Start: p.start,
			Reads: units(p.used[Read]), Writes: units(p.used[Write]),
			RefusedReads: p.refused[Read], RefusedWrites: p.refused[Write],
		})
		p.mu.Unlock()
	}
	return u
}

func units(nanos int64) float64 { return float64(nanos) / float64(nano) }
