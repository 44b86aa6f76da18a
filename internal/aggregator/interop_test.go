//go:build interop

package aggregator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/bucket"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// peer is Python's zae-limiter 0.17.0 on the table of a world.
type peer struct {
	*world
	endpoint string
}

func newPeer(t *testing.T, limits ...limiter.Limit) *peer {
	t.Helper()
	w := newWorld(t, limits...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.engine.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.pass(time.Now().UnixMilli() - begin) // Python's clock cannot be set
	return &peer{w, "http://" + listener.Addr().String()}
}

// catchUp sets the limiter's clock to the time.
func (p *peer) catchUp() { p.pass(time.Now().UnixMilli() - p.clock().UnixMilli()) }

// do has Python do a job and reads its answer.
func (p *peer) do(job map[string]any, answer any) {
	p.t.Helper()
	python := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if python == "" {
		p.t.Fatal("ZAE_INTEROP_LOCUST_PYTHON is not set; make interop installs Python's zae-limiter and sets it")
	}
	job["table"], job["endpoint"] = "zae-limiter", p.endpoint
	in, err := json.Marshal(job)
	if err != nil {
		p.t.Fatal(err)
	}
	command := exec.Command(python, "testdata/peer.py")
	command.Stdin = bytes.NewReader(in)
	command.Env = append(os.Environ(), "AWS_ENDPOINT_URL_DYNAMODB="+p.endpoint, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		p.t.Fatalf("Python: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(out, answer); err != nil {
		p.t.Fatalf("Python said %q: %v", out, err)
	}
}

// processed is what Python's aggregator says of a batch.
type processed struct {
	Errors             []string
	Snapshots, Refills int
}

func (p *peer) process(records []Record) (result processed) {
	p.t.Helper()
	var list []any
	for _, r := range records {
		change := map[string]any{"Keys": map[string]any{"PK": wire(r.New["PK"]), "SK": wire(r.New["SK"])}, "SequenceNumber": r.SequenceNumber}
		if r.New != nil {
			change["NewImage"] = wireItem(r.New)
		}
		if r.Old != nil {
			change["OldImage"] = wireItem(r.Old)
		}
		list = append(list, map[string]any{"eventName": r.Event, "dynamodb": change})
	}
	p.do(map[string]any{"do": "process", "records": list, "windows": []string{"hourly", "monthly"}}, &result)
	if len(result.Errors) > 0 {
		p.t.Errorf("Python's aggregator: %v", result.Errors)
	}
	return result
}

func wireItem(item Item) map[string]any {
	out := map[string]any{}
	for name, v := range item {
		out[name] = wire(v)
	}
	return out
}

func wire(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *types.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *types.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *types.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *types.AttributeValueMemberM:
		return map[string]any{"M": wireItem(v.Value)}
	}
	return map[string]any{"NULL": true}
}

// 35: Python's aggregator counts what Go consumed, apart from creations, which it never counts.
func TestPythonAggregatesGoUpdates(t *testing.T) {
	p := newPeer(t, limiter.PerMinute("rpm", 1000), limiter.PerMinute("tpm", 1_000_000))
	p.acquire("u", limiter.Amounts{"rpm": 1, "tpm": 50})
	for range 5 {
		p.acquire("u", limiter.Amounts{"rpm": 2, "tpm": 70})
	}
	lease, err := p.limiter.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "api", Consume: limiter.Amounts{"rpm": 1, "tpm": 100}})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(limiter.Amounts{"tpm": 40}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	records := p.drain()
	p.process(records)
	for key, line := range p.snapshots("u") {
		if !strings.Contains(line, "rpm=11 ") || !strings.Contains(line, "tpm=410 ") || strings.Contains(line, "wcu") {
			t.Errorf("%s: %s, want rpm 11 and tpm 410", key, line)
		}
	}
	if n := len(p.snapshots("u")); n != 2 {
		t.Errorf("%d snapshots, want an hour and a month", n)
	}
	// Ours counts the creation as well, and Python's client reads it.
	ours := p.aggregator(nil)
	ours.Process(t.Context(), records)
	var read struct {
		Usage map[string]struct {
			Counters map[string]int64
			Events   int64
		}
	}
	p.do(map[string]any{"do": "acquire", "entity": "u", "times": 1, "consume": map[string]int{"rpm": 1}}, &read)
	daily := 0
	for window, usage := range read.Usage {
		if strings.HasPrefix(window, "daily ") {
			daily++
			if usage.Counters["rpm"] != 12 || usage.Counters["tpm"] != 460 || usage.Events != 8 {
				t.Errorf("Python reads our day as %+v", usage)
			}
		}
	}
	if daily != 1 {
		t.Errorf("Python reads %v", slices.Sorted(maps.Keys(read.Usage)))
	}
}

// 35: a refill by Python's aggregator takes the lock of Go's next slow pass, which goes by what it left.
func TestGoGoesOnAfterPythonsRefill(t *testing.T) {
	const capacity = 60_000
	p := newPeer(t, limiter.PerMinute("rpm", capacity))
	p.catchUp()
	p.acquire("u", limiter.Amounts{"rpm": 1})
	p.acquire("u", limiter.Amounts{"rpm": capacity - 1})
	if result := p.process(p.drain()); result.Refills != 1 {
		t.Fatalf("%+v", result)
	}
	after := p.bucket("u", 0)
	tokens, rf := p.number(after, "b_rpm_tk"), p.number(after, "rf")
	if tokens <= 0 || tokens > capacity*1000 || p.number(after, "b_rpm_tc") != capacity*1000 {
		t.Errorf("Python leaves %d millitokens", tokens)
	}
	p.catchUp()
	p.pass(1000)
	now := p.clock().UnixMilli()
	want, _ := bucket.Refill(tokens, rf, now, capacity*1000, capacity*1000, 60_000)
	n := tokens/1000 + 1 // more than the fast path finds
	p.acquire("u", limiter.Amounts{"rpm": n})
	left := p.bucket("u", 0)
	if got := p.number(left, "b_rpm_tk"); got != want-n*1000 || p.number(left, "rf") != now {
		t.Errorf("%d millitokens at %d are left, want %d at %d", got, p.number(left, "rf"), want-n*1000, now)
	}
}

// 36: clones by Python's aggregator of a shard 0 that Go made are usable by Go, quotas conserved.
func TestGoUsesPythonsClones(t *testing.T) {
	quota, err := limiter.Quota("day", 1000, schedule.Entry{Cron: "0 0 1 * *"})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, limiter.PerMinute("rpm", 10_000), quota)
	p.catchUp()
	p.acquire("u", limiter.Amounts{"rpm": 10, "day": 100})
	p.grow("u", 2)
	p.process(p.drain())
	p.checkClones("u", 2, 900_000)
	p.useShard("u", 1, limiter.Amounts{"rpm": 5, "day": 7})
	if item := p.bucket("u", 1); p.number(item, "b_day_tc") != 7000 || p.number(item, "b_rpm_tc") != 5000 {
		t.Errorf("shard 1 after an acquire: %v", item)
	}
}

// 36: clones by Go's aggregator are usable by Python, with the same moves of quotas.
func TestPythonUsesGoClones(t *testing.T) {
	quota, err := limiter.Quota("day", 1000, schedule.Entry{Cron: "0 0 1 * *"})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, limiter.PerMinute("rpm", 10_000), quota)
	p.catchUp()
	p.acquire("u", limiter.Amounts{"rpm": 10, "day": 100})
	p.grow("u", 2)
	if result := p.aggregator(nil).Process(t.Context(), p.drain()); result.Shards != 1 {
		t.Fatalf("%+v", result)
	}
	p.checkClones("u", 2, 900_000)
	var answer struct{ Consumed int }
	p.do(map[string]any{"do": "acquire", "entity": "u", "times": 20, "consume": map[string]int{"rpm": 1, "day": 1}}, &answer)
	one, two := p.bucket("u", 0), p.bucket("u", 1)
	if got := p.number(one, "b_day_tc") + p.number(two, "b_day_tc"); got != 120_000 || p.number(two, "b_day_tc") == 0 {
		t.Errorf("both shards count %d, the clone %d (%+v)", got, p.number(two, "b_day_tc"), answer)
	}
	if sum := p.number(one, "b_day_tk") + p.number(two, "b_day_tk"); sum != 880_000 {
		t.Errorf("the quota has %d left", sum)
	}
}

func (p *peer) grow(entity string, count int64) {
	p.t.Helper()
	u := newUpdate()
	u.set("shard_count", count)
	u.require("attribute_exists(PK)")
	if done, err := p.aggregator(nil).conditional(p.t.Context(), u.input(bucketKey{p.ns, entity, "api", 0}.item())); err != nil || !done {
		p.t.Fatal(done, err)
	}
}

func (p *peer) checkClones(entity string, count int, quota int64) {
	p.t.Helper()
	sum := int64(0)
	for shard := range count {
		item := p.bucket(entity, shard)
		if item == nil {
			p.t.Fatalf("shard %d is missing", shard)
		}
		sum += p.number(item, "b_day_tk")
	}
	if sum != quota {
		p.t.Errorf("the shards hold %d of the quota, want %d", sum, quota)
	}
	clone := p.bucket(entity, count-1)
	if p.number(clone, "b_day_gc") != int64(count) || p.number(clone, "b_rpm_tk") != 10_000_000/int64(count) || p.number(clone, "b_wcu_tk") != 1_000_000 {
		p.t.Errorf("clone %v", clone)
	}
}

// useShard acquires on one shard, by a limiter that draws it.
func (p *peer) useShard(entity string, shard int, consume limiter.Amounts) {
	p.t.Helper()
	l, err := limiter.New(dynamostore.OpenTable(p.client, "zae-limiter", dynamostore.TableOptions{}).Store(p.ns), limiter.Options{Clock: p.clock, Rand: func(n int) int { return min(shard, n-1) }, RejectionCacheTTL: -1})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, amounts := range []limiter.Amounts{{"rpm": 1}, consume} { // the first learns the count from shard 0
		lease, err := l.Acquire(p.t.Context(), limiter.Request{EntityID: entity, Resource: "api", Consume: amounts})
		if err != nil {
			p.t.Fatal(err)
		}
		if err := lease.Close(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Refills and doublings of any bucket are those of Python's aggregator, from the same images at the same time.
// What may differ: a limit that runs short of nothing gets what it regained (B7), shards are not doubled
// where a request of the batch would fit into none (H14), and usage.
func TestRefillsAreThoseOfPython(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 1))
	python, ours := newPeer(t), newWorld(t)
	const buckets = 400
	now := python.clock().UnixMilli()
	ours.pass(now - ours.clock().UnixMilli())
	var records []Record
	var keys []bucketKey
	for i := range buckets {
		key := bucketKey{"ns", fmt.Sprintf("e%03d", i), "api", int64(random.IntN(2))}
		before, after := randomBucket(random, key, now)
		keys = append(keys, key)
		records = append(records, Record{Event: Modify, At: time.UnixMilli(now), SequenceNumber: fmt.Sprint(i), Old: before, New: after})
		for _, w := range []*world{python.world, ours} {
			if _, err := w.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("zae-limiter"), Item: after}); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := []any{}
	for _, r := range records {
		list = append(list, map[string]any{"eventName": r.Event, "dynamodb": map[string]any{"OldImage": wireItem(r.Old), "NewImage": wireItem(r.New)}})
	}
	var theirs processed
	python.do(map[string]any{"do": "process", "records": list, "windows": []string{}, "now": now}, &theirs)
	result := ours.aggregator(nil).Process(t.Context(), records)
	t.Logf("Python %+v, Go %+v", theirs, result)
	if theirs.Refills < buckets/10 || theirs.Refills != result.Refills || result.Doublings == 0 || len(theirs.Errors) > 0 || result.Unreadable > 0 {
		t.Errorf("Python %+v, Go %+v", theirs, result)
	}
	for i, key := range keys {
		pk := textOf(key.item(), "PK")
		want, got := python.item(pk, stateKey), ours.item(pk, stateKey)
		for _, name := range []string{"a", "b", infrastructure} {
			tk := attribute(name, "tk")
			wrote, _ := integerOf(want, tk)
			has, _ := integerOf(got, tk)
			read, _ := integerOf(records[i].New, tk)
			rf, _ := integerOf(want, "rf")
			was, _ := integerOf(records[i].New, "rf")
			if rf.value != was.value && wrote.value == read.value && has.value > read.value {
				want[tk] = got[tk] // B7
			}
		}
		if tooSmall(&records[i]) {
			want["shard_count"] = records[i].New["shard_count"]
		}
		if diff := cmp.Diff(wireItem(want), wireItem(got)); diff != "" {
			t.Errorf("bucket %d, before %v (-Python +Go):\n%s", i, wireItem(records[i].New), diff)
		}
	}
}

// tooSmall reports whether a limit of a bucket, on twice as many shards, had less than the record charged.
func tooSmall(r *Record) bool {
	shards, _ := integerOf(r.New, "shard_count")
	for _, name := range []string{"a", "b"} {
		after, _ := integerOf(r.New, attribute(name, "tc"))
		before, _ := integerOf(r.Old, attribute(name, "tc"))
		capacity, _ := integerOf(r.New, attribute(name, "cp"))
		if capacity.value/(2*shards.value) < after.value-before.value {
			return true
		}
	}
	return false
}

// randomBucket makes a bucket of two limits of any kind, before and after some consumption.
func randomBucket(random *rand.Rand, key bucketKey, now int64) (before, after Item) {
	pick := func(n int) bool { return random.IntN(n) == 0 }
	item := key.item()
	item["entity_id"], item["resource"] = text(key.entity), text(key.resource)
	shards := int64(1) << random.IntN(4)
	rf := now - int64(random.IntN(200_000)>>(5*random.IntN(3)))
	if pick(8) {
		rf = now + int64(random.IntN(5000))
	}
	item["rf"], item["shard_count"] = integer(rf), integer(shards)
	switch random.IntN(4) {
	case 0:
		item["vu"] = integer(0)
	case 1:
		item["vu"] = integer(now - int64(random.IntN(100_000)))
	case 2:
		item["vu"] = integer(now + int64(random.IntN(100_000)))
	}
	set := func(name, field string, n int64) { item[attribute(name, field)] = integer(n) }
	set(infrastructure, "cp", 1_000_000)
	set(infrastructure, "ra", 1_000_000)
	set(infrastructure, "rp", 1000)
	set(infrastructure, "tk", int64(random.IntN(1_000_001)))
	set(infrastructure, "tc", 5000)
	if pick(3) {
		item["sched"] = text("1m*/2s500")
	}
	if pick(3) {
		item["rsched"] = text([]string{"1m0h0", "1m*/2", "1m*/30"}[random.IntN(3)])
	}
	if pick(2) {
		item["sched_tz"] = text("America/New_York")
	}
	for _, name := range []string{"a", "b"} {
		capacity := int64(1+random.IntN(1000)) * 1000
		set(name, "cp", capacity)
		set(name, "ra", capacity)
		set(name, "rp", int64(1+random.IntN(120))*1000)
		set(name, "tk", int64(random.IntN(int(2*capacity)))-capacity/4)
		set(name, "tc", int64(random.IntN(1_000_000)))
		if pick(3) {
			item[attribute(name, "sched")] = text([]string{"-", "1h0-23s250", "1m*/3c500a20p30"}[random.IntN(3)])
		}
		_, inherits := item["rsched"]
		switch kind := random.IntN(3); {
		case kind == 0: // drips
			if inherits {
				item[attribute(name, "rsched")] = text(unscheduled)
			}
			continue
		case kind == 1 && (inherits || pick(2)): // calendar
			if !inherits || pick(2) {
				item[attribute(name, "rsched")] = text("1m*/4")
			}
		default: // session
			if inherits {
				item[attribute(name, "rsched")] = text(unscheduled)
			}
			set(name, "rsa", int64(60+random.IntN(300)))
			if !pick(5) {
				start := now - int64(random.IntN(400_000))
				set(name, "ws", start)
				switch random.IntN(3) {
				case 0:
					set(name, "wa", start)
				case 1:
					set(name, "wa", start-1000*int64(random.IntN(500)))
				}
				if pick(3) {
					set(name, "wtc", int64(random.IntN(1_000_000)))
				}
			}
		}
		set(name, "ra", 0)
		if !pick(3) {
			set(name, "gc", int64(1)<<random.IntN(4))
		}
		if pick(4) {
			set(name, "tu", int64(random.IntN(100))*1000)
		}
	}
	before = maps.Clone(item)
	for _, name := range []string{"a", "b"} {
		n, _ := integerOf(item, attribute(name, "tc"))
		before[attribute(name, "tc")] = integer(max(0, n.value-int64(random.IntN(500_000)>>random.IntN(16))))
	}
	return before, item
}
