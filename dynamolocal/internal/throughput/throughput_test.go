package throughput

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const arn = "arn:aws:dynamodb:us-east-1:000000000000:table/t"

// drive offers requests of one unit at a steady rate and returns how many
// were admitted, and the last refusal.
func drive(t *Table, kind Kind, from time.Duration, length time.Duration, rate int, arms func(i int) []Arm) (admitted int, last *Refusal) {
	n := int(length.Seconds() * float64(rate))
	for i := range n {
		now := int64(from) + int64(length)*int64(i)/int64(n)
		if refusal := t.Admit(now, kind, arms(i)...); refusal != nil {
			last = refusal
		} else {
			admitted++
		}
	}
	return admitted, last
}

func one(at Position) func(int) []Arm {
	return func(int) []Arm { return []Arm{{At: at, Units: 1}} }
}

// spreadOut gives every request another HASH value.
func spreadOut(i int) []Arm {
	return []Arm{{At: AtString(fmt.Sprint("user", i), ""), Units: 1}}
}

func within(t *testing.T, what string, got int, want, tolerance float64) {
	t.Helper()
	if d := float64(got) - want; max(d, -d) > tolerance*want {
		t.Errorf("%s: %d, want %v ± %v %%", what, got, want, tolerance*100)
	}
}

func TestOneHashValueIsAdmittedAtThePartitionLimit(t *testing.T) {
	hot := AtString("hot", "item")
	for _, length := range []time.Duration{2 * time.Second, 10500 * time.Millisecond, 30 * time.Second} {
		for _, mode := range []string{"on-demand", "provisioned=3000,40000"} {
			c, err := Parse(mode)
			if err != nil {
				t.Fatal(err)
			}
			table := c.NewTable(Spec{ARN: arn}, 0)
			got, refusal := drive(table, Write, 0, length, 1_200, one(hot))
			within(t, fmt.Sprintf("writes in %v, %s", length, mode), got, 1_000*length.Seconds(), 0.02)
			if refusal == nil || refusal.Reason != "TableWriteKeyRangeThroughputExceeded" || refusal.Resource != arn {
				t.Errorf("refusal = %+v", refusal)
			}
		}
		table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn}, 0)
		got, refusal := drive(table, Read, 0, length, 3_600, one(hot))
		within(t, fmt.Sprintf("reads in %v", length), got, 3_000*length.Seconds(), 0.02)
		if refusal == nil || refusal.Reason != "TableReadKeyRangeThroughputExceeded" {
			t.Errorf("refusal = %+v", refusal)
		}
	}
}

func TestAPartitionAtItsLimitIsNotThrottled(t *testing.T) {
	table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn}, 0)
	hot := AtString("hot", "item")
	if got, refusal := drive(table, Write, 0, 30*time.Second, 1_000, one(hot)); refusal != nil {
		t.Errorf("%d of 30,000 admitted; %v", got, refusal)
	}
}

func TestReadsAndWritesAreApart(t *testing.T) {
	table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn}, 0)
	hot := AtString("hot", "item")
	if refusal := table.Admit(0, Write, Arm{At: hot, Units: 1_000}); refusal != nil {
		t.Fatal(refusal)
	}
	if table.Admit(0, Write, Arm{At: hot, Units: 1}) == nil {
		t.Error("a partition without write units admitted a write")
	}
	if refusal := table.Admit(0, Read, Arm{At: hot, Units: 0.5}); refusal != nil {
		t.Errorf("reads were throttled by writes: %v", refusal)
	}
}

func TestANewOnDemandTableSustains4000Writes(t *testing.T) {
	table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn}, 0)
	got, refusal := drive(table, Write, 0, 20*time.Second, 6_000, spreadOut)
	within(t, "writes", got, 80_000, 0.02)
	if refusal.Code != "ThrottlingException" || refusal.Message != onDemandTable || refusal.CancellationCode() != "ThrottlingError" {
		t.Errorf("refusal = %+v", refusal)
	}
	got, _ = drive(table, Read, 0, 10*time.Second, 15_000, spreadOut)
	within(t, "reads", got, 120_000, 0.02)
}

func TestOnDemandCapacityIsTwiceThePeak(t *testing.T) {
	table := Config{Mode: OnDemand, SplitAfter: -1}.NewTable(Spec{ARN: arn}, 0)
	at := spreadOut
	if _, refusal := drive(table, Write, 0, 2*time.Minute, 3_500, at); refusal != nil {
		t.Fatal(refusal)
	}
	// Within half an hour the old capacity holds, afterwards twice the peak.
	got, _ := drive(table, Write, 10*time.Minute, 10*time.Second, 8_000, at)
	within(t, "early writes", got, 40_000, 0.03)
	drive(table, Write, 31*time.Minute, 2*time.Minute, 100, at)
	got, _ = drive(table, Write, 40*time.Minute, 10*time.Second, 8_000, at)
	within(t, "late writes", got, 70_000, 0.03)
	if n := len(table.Usage()[0].Partitions); n < 7 {
		t.Errorf("%d partitions carry 7,000 writes a second", n)
	}
}

func TestAccountQuota(t *testing.T) {
	table := Config{Mode: Provisioned, Reads: 100_000, Writes: 100_000, PartitionBurst: time.Second}.NewTable(Spec{ARN: arn}, 0)
	got, refusal := drive(table, Write, 0, 5*time.Second, 50_000, spreadOut)
	within(t, "writes", got, 200_000, 0.02)
	if refusal.Code != "RequestLimitExceeded" || refusal.Message != accountLimit || refusal.Reason != "TableWriteAccountLimitExceeded" {
		t.Errorf("refusal = %+v", refusal)
	}
}

func TestOnDemandMaximum(t *testing.T) {
	spec := Spec{ARN: arn, Capacity: Capacity{MaxReads: 10, MaxWrites: 5}}
	table := Config{Mode: OnDemand}.NewTable(spec, 0)
	got, refusal := drive(table, Write, 0, 100*time.Second, 50, spreadOut)
	within(t, "writes", got, 500, 0.02)
	if refusal.Code != "ThrottlingException" || refusal.Reason != "TableWriteMaxOnDemandThroughputExceeded" {
		t.Errorf("refusal = %+v", refusal)
	}
}

func TestProvisionedTableSavesUpToFiveMinutes(t *testing.T) {
	c, err := Parse("provisioned=5,10")
	if err != nil {
		t.Fatal(err)
	}
	table := c.NewTable(Spec{ARN: arn}, 0)
	got, refusal := drive(table, Write, 0, time.Second, 500, spreadOut)
	if got < 10 || got > 20 {
		t.Errorf("a new table admitted %d writes in its first second, want one second's units", got)
	}
	if refusal.Code != "ProvisionedThroughputExceededException" || refusal.Message != provisionedTable ||
		refusal.Reason != "TableWriteProvisionedThroughputExceeded" || refusal.CancellationCode() != "ProvisionedThroughputExceeded" {
		t.Errorf("refusal = %+v", refusal)
	}
	hour := int64(time.Hour)
	admitted := 0
	for i := range 5_000 {
		if table.Admit(hour, Write, spreadOut(i)...) == nil {
			admitted++
		}
		if i%900 == 0 {
			hour += int64(time.Second)
		}
	}
	if admitted < 3_000 || admitted > 3_060 {
		t.Errorf("after an hour of rest %d writes were admitted at once, want 300 s of 10", admitted)
	}
}

func TestModesChooseTheCapacity(t *testing.T) {
	spec := Spec{ARN: arn, Capacity: Capacity{Provisioned: true, Reads: 1, Writes: 1}, Indexes: map[string]Capacity{"g": {Provisioned: true, Reads: 1, Writes: 1}}}
	if (Config{}).NewTable(spec, 0) != nil {
		t.Error("a model that is off has a table")
	}
	own := Config{Mode: OnDemand}.NewTable(spec, 0)
	if own.Admit(0, Write, Arm{Units: 1}) != nil || own.Admit(0, Write, Arm{Units: 1}) == nil {
		t.Error("a provisioned table does not have its own units")
	}
	given := Config{Mode: Provisioned, Reads: 2, Writes: 2}.NewTable(Spec{ARN: arn}, 0)
	if given.Admit(0, Write, Arm{Units: 2}) != nil || given.Admit(0, Write, Arm{Units: 1}) == nil {
		t.Error("the configured units do not hold")
	}
}

func TestIndexShortageThrottlesTheWriteAndConsumesNothing(t *testing.T) {
	tests := []struct {
		name          string
		index         Capacity
		code, message string
		reason        string
	}{
		{"provisioned", Capacity{Provisioned: true, Reads: 1, Writes: 1}, "ProvisionedThroughputExceededException", provisionedIndex, "IndexWriteProvisionedThroughputExceeded"},
		{"on demand", Capacity{MaxWrites: 1}, "ThrottlingException", onDemandIndex, "IndexWriteMaxOnDemandThroughputExceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn, Indexes: map[string]Capacity{"g": tt.index}}, 0)
			arms := []Arm{{At: AtString("a", ""), Units: 1}, {Index: "g", At: AtString("b", ""), Units: 1}}
			if refusal := table.Admit(0, Write, arms...); refusal != nil {
				t.Fatal(refusal)
			}
			refusal := table.Admit(0, Write, arms...)
			if refusal == nil || refusal.Code != tt.code || refusal.Message != tt.message || refusal.Reason != tt.reason || refusal.Resource != arn+"/index/g" {
				t.Errorf("refusal = %+v", refusal)
			}
			usage := table.Usage()
			if usage[0].Writes != 1 || usage[1].Writes != 1 || usage[1].Refused[tt.reason] != 1 {
				t.Errorf("usage = %+v", usage)
			}
		})
	}
}

func TestDebtIsWaitedFor(t *testing.T) {
	table := Config{Mode: OnDemand}.NewTable(Spec{ARN: arn, Indexes: map[string]Capacity{"g": {}}}, 0)
	arm := Arm{Index: "g", At: AtString("a", ""), Units: 1}
	if refusal := table.Admit(0, Write, arm); refusal != nil {
		t.Fatal(refusal)
	}
	more := arm
	more.Units = 1_999
	table.Settle(0, Write, more)
	free := arm
	free.Units = 0
	if table.Admit(int64(1500*time.Millisecond), Write, free) == nil {
		t.Error("an index in debt admitted a write")
	}
	if refusal := table.Admit(int64(2100*time.Millisecond), Write, arm); refusal != nil {
		t.Errorf("the debt was not paid off: %v", refusal)
	}
}

func TestHotPartitionSplits(t *testing.T) {
	tests := []struct {
		name         string
		localIndexes bool
		position     func(i int) Position
		splits       bool
	}{
		{"many HASH values", true, func(i int) Position { return Position{Hash: uint64(i%50) + 1} }, true},
		{"one HASH value", false, func(i int) Position { return AtString("hot", fmt.Sprint(i%50)) }, true},
		{"one HASH value with local indexes", true, func(i int) Position { return AtString("hot", fmt.Sprint(i%50)) }, false},
		{"one item", false, func(int) Position { return AtString("hot", "item") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := Config{Mode: OnDemand, SplitAfter: time.Minute}.NewTable(Spec{ARN: arn, LocalIndexes: tt.localIndexes}, 0)
			arms := func(i int) []Arm { return []Arm{{At: tt.position(i), Units: 1}} }
			before, _ := drive(table, Write, 0, 10*time.Second, 1_700, arms)
			within(t, "before the split", before, 10_000, 0.02)
			drive(table, Write, 10*time.Second, time.Minute, 1_700, arms)
			after, _ := drive(table, Write, 2*time.Minute, 10*time.Second, 1_700, arms)
			if want := 10_000.; tt.splits {
				within(t, "after the split", after, 17_000, 0.03)
			} else {
				within(t, "without a split", after, want, 0.02)
			}
		})
	}
}

func TestConcurrentRequestsNeverPassTheLimit(t *testing.T) {
	table := Config{Mode: OnDemand, SplitAfter: -1}.NewTable(Spec{ARN: arn}, 0)
	var admitted atomic.Int64
	var callers sync.WaitGroup
	hot := AtString("hot", "item")
	for range 8 {
		callers.Go(func() {
			for range 500 {
				if table.Admit(0, Write, Arm{At: hot, Units: 1}) == nil {
					admitted.Add(1)
				}
			}
		})
	}
	callers.Wait()
	if n := admitted.Load(); n != 1_000 {
		t.Errorf("%d units admitted at one instant, want 1,000", n)
	}
	usage := table.Usage()[0]
	if usage.Writes != 1_000 || usage.Refused["TableWriteKeyRangeThroughputExceeded"] != 3_000 {
		t.Errorf("usage = %+v", usage)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"on", "provisioned", "provisioned=", "provisioned=5", "provisioned=0,5", "provisioned=5,-1", "provisioned=5,5,5", "provisioned=1.5,2"} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Parse(%q) = %v, want an error that names it", text, err)
		}
	}
	for text, want := range map[string]Config{"": {}, "off": {}, "on-demand": {Mode: OnDemand}, "provisioned=30,20": {Mode: Provisioned, Reads: 30, Writes: 20}} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v", text, got, err)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	table := Config{Mode: Provisioned, Reads: 30_000, Writes: 10_000, AccountQuota: 1 << 30}.NewTable(Spec{ARN: arn}, 0)
	at, now := AtString("user", "item"), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += int64(time.Millisecond)
		table.Admit(now, Write, Arm{At: at, Units: 1})
	}
}
