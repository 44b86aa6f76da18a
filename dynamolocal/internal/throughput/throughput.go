// Package throughput decides whether a table has the capacity for a request.
//
// It models what limits a table of the real service: partitions of 1,000 write
// and 3,000 read units a second, laid out over the hash of the HASH value and
// split where they stay hot; the capacity of an on-demand table, which follows
// its peak; the provisioned units with their burst; the account's quota; and
// the same again for every global secondary index, whose shortage also
// throttles writes to the table.
//
// A request is admitted before its condition is evaluated, for the least it
// can cost ([Table.Admit]); what it turned out to cost beyond that is charged
// afterwards ([Table.Settle]) and may put a partition into debt, which the
// following requests wait for. A request that is refused consumes nothing.
//
// Time is passed in as nanoseconds of any clock that does not go backwards.
package throughput

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The limits of the service, in units a second.
const (
	partitionReads  = 3_000
	partitionWrites = 1_000

	newTableReads      = 12_000 // an on-demand table without a history
	newTableWrites     = 4_000
	newTablePartitions = 4

	accountQuota = 40_000 // reads and writes apart, a table
)

// Mode says which capacity tables have.
type Mode uint8

const (
	// Off admits everything.
	Off Mode = iota
	// OnDemand gives each table the capacity it was created with: on demand, or
	// its provisioned units.
	OnDemand
	// Provisioned gives every table and index the units of the Config.
	Provisioned
)

// Config is the model of an engine. The zero value is switched off.
type Config struct {
	Mode Mode
	// Reads and Writes are the units a second of Provisioned.
	Reads, Writes int64
	// PartitionBurst is how much of its limit a partition saves up; 0 is 1 s.
	PartitionBurst time.Duration
	// ProvisionedBurst is how much unused capacity a provisioned table or index
	// saves up; 0 is 300 s.
	ProvisionedBurst time.Duration
	// SplitAfter is how long a partition is throttled before it splits; 0 is
	// 5 minutes, less than 0 is never.
	SplitAfter time.Duration
	// AccountQuota bounds every table and index, in units a second, reads and
	// writes apart; 0 is 40,000.
	AccountQuota int64
}

// Parse reads "off" (or nothing), "on-demand" or "provisioned=READS,WRITES".
func Parse(s string) (Config, error) {
	switch s {
	case "", "off":
		return Config{}, nil
	case "on-demand":
		return Config{Mode: OnDemand}, nil
	}
	units, ok := strings.CutPrefix(s, "provisioned=")
	if !ok {
		return Config{}, fmt.Errorf("throughput %q is neither off, on-demand nor provisioned=READS,WRITES", s)
	}
	readText, writeText, _ := strings.Cut(units, ",")
	reads, err := parseUnits(readText)
	if err != nil {
		return Config{}, fmt.Errorf("throughput %q: read units: %w", s, err)
	}
	writes, err := parseUnits(writeText)
	if err != nil {
		return Config{}, fmt.Errorf("throughput %q: write units: %w", s, err)
	}
	return Config{Mode: Provisioned, Reads: reads, Writes: writes}, nil
}

// mostUnits keeps 300 s of the rate, in billionths, inside an int64.
const mostUnits = 10_000_000

func parseUnits(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > mostUnits {
		return 0, fmt.Errorf("%q is not a whole number from 1 to %d", s, mostUnits)
	}
	return n, nil
}

func (c Config) withDefaults() Config {
	if c.PartitionBurst == 0 {
		c.PartitionBurst = time.Second
	}
	if c.ProvisionedBurst == 0 {
		c.ProvisionedBurst = 300 * time.Second
	}
	if c.SplitAfter == 0 {
		c.SplitAfter = 5 * time.Minute
	}
	if c.AccountQuota == 0 {
		c.AccountQuota = accountQuota
	}
	return c
}

// Capacity is what a table or index was created with.
type Capacity struct {
	// Provisioned tells the two billing modes apart.
	Provisioned bool
	// Reads and Writes are the provisioned units a second.
	Reads, Writes int64
	// MaxReads and MaxWrites are the caps of OnDemandThroughput; 0 or less is
	// none.
	MaxReads, MaxWrites int64
}

// Spec describes a table to the model.
type Spec struct {
	ARN      string
	Capacity Capacity
	// LocalIndexes says that the table has local secondary indexes, so that one
	// HASH value stays on one partition.
	LocalIndexes bool
	// Indexes are the global secondary indexes by name.
	Indexes map[string]Capacity
}

// Kind tells reads and writes apart, which have limits of their own.
type Kind uint8

const (
	Read Kind = iota
	Write
)

// Arm is what a request costs at one place: the table itself (Index "", also
// for local indexes) or a global secondary index. Units are request units; an
// arm of zero units is refused only while its partition is in debt.
type Arm struct {
	Index string
	At    Position
	Units float64
}

// nano is one unit as buckets count it, so that units a second times
// nanoseconds need no division.
const nano = int64(1e9)

func (a Arm) nanos() int64 { return int64(a.Units * float64(nano)) }

// Table is the capacity of one table and its global indexes. All methods may
// be called concurrently, and on a nil Table, which admits everything.
type Table struct {
	table   *scope
	indexes map[string]*scope
}

// NewTable returns the capacity of a table created at now, or nil when the
// model is off.
func (c Config) NewTable(spec Spec, now int64) *Table {
	if c.Mode == Off {
		return nil
	}
	c = c.withDefaults()
	t := &Table{
		table:   newScope(c, "", spec.ARN, spec.Capacity, now),
		indexes: make(map[string]*scope, len(spec.Indexes)),
	}
	t.table.wholeHash = spec.LocalIndexes
	for name, capacity := range spec.Indexes {
		t.indexes[name] = newScope(c, name, spec.ARN+"/index/"+name, capacity, now)
	}
	return t
}

func (t *Table) scope(index string) *scope {
	if index == "" {
		return t.table
	}
	return t.indexes[index]
}

// Admit charges all arms, or none and says which capacity is missing. Arms of
// an index that the table does not have are free.
func (t *Table) Admit(now int64, kind Kind, arms ...Arm) *Refusal {
	if t == nil {
		return nil
	}
	for i := range arms {
		s := t.scope(arms[i].Index)
		if s == nil {
			continue
		}
		if refusal := s.admit(now, kind, arms[i]); refusal != nil {
			t.Refund(now, kind, arms[:i]...)
			return refusal
		}
	}
	return nil
}

// Settle charges what a request cost beyond its admission, whether or not the
// capacity is there.
func (t *Table) Settle(now int64, kind Kind, arms ...Arm) {
	if t == nil {
		return
	}
	for i := range arms {
		if s := t.scope(arms[i].Index); s != nil && arms[i].Units != 0 {
			s.charge(now, kind, arms[i])
		}
	}
}

// Refund gives back what was admitted, for a request that another table of
// its transaction refused.
func (t *Table) Refund(now int64, kind Kind, arms ...Arm) {
	if t == nil {
		return
	}
	for i := range arms {
		if s := t.scope(arms[i].Index); s != nil && arms[i].Units != 0 {
			arm := arms[i]
			arm.Units = -arm.Units
			s.charge(now, kind, arm)
		}
	}
}
