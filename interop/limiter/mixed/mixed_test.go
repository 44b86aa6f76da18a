//go:build interop

package mixed

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

var duration = flag.Duration("mixed.duration", 40*time.Second, "how long the mixed load goes on")

// workVariable tells this binary that it is a process of the load.
const workVariable = "ZAE_MIXED_WORK"

func TestMain(m *testing.M) {
	if text := os.Getenv(workVariable); text != "" {
		if err := work(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	processes  = 4 // of each side
	table      = "mixed"
	namespace  = "mixed"
	parent     = "org"
	rate       = 150 // tokens a second of an entity's bucket, twice as much of the parent's
	burst      = 300
	quota      = 2000
	session    = 500
	window     = 10 * time.Second
	doubleAt   = 4 // doublings are at 1/4 and 2/4 of the run
	edgeAt     = 3 // and the clocks begin so that a minute ends after 1/3 of it, or 20 s
	settlement = 8000
)

var entities = []string{"u1", "u2"}

// charge is what a process was told: within an interval tokens were taken, or given back when negative.
type charge struct {
	from, until      int64 // ms
	entity, resource string
	limit            string
	tokens           int64
	corrects         bool // by a lease, which may take what is not there
}

// TestMixedLoad has processes of both sides load one table while calendar and session quotas come back and
// shards double.
func TestMixedLoad(t *testing.T) {
	ctx := t.Context()
	engine, err := dynamolocal.New(dynamolocal.Config{StreamBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- engine.Serve(serving, listener) }()
	defer func() { stop(); <-served }()

	// All clocks are ahead by what lets a minute end in the run.
	edge := min(*duration/edgeAt, 20*time.Second)
	ahead := time.Minute - time.Duration(time.Now().Add(edge).UnixNano()%int64(time.Minute))
	clock := func() time.Time { return time.Now().Add(ahead) }
	db := engine.Client()
	tb := dynamostore.OpenTable(db, table, dynamostore.TableOptions{Clock: clock})
	must(t, tb.Create(ctx))
	must(t, tb.DeclareReaders(ctx, false))
	_, err = tb.RegisterNamespace(ctx, namespace)
	must(t, err)
	store, err := tb.Connect(ctx, namespace)
	must(t, err)
	l, err := limiter.New(store, limiter.Options{Clock: clock})
	must(t, err)
	configure(t, l.Admin())

	running := startAll(t, orders{Endpoint: "http://" + listener.Addr().String(), Table: table, Namespace: namespace,
		Entities: entities, Seconds: duration.Seconds(), AheadMS: ahead.Milliseconds()})
	begun := clock()
	for _, p := range running {
		must(t, p.begin())
	}
	var doubled []int64
	for n := range 2 {
		time.Sleep(time.Until(begun.Add(-ahead).Add(*duration / doubleAt * time.Duration(n+1))))
		doubled = append(doubled, clock().UnixMilli())
		for _, entity := range append([]string{parent}, entities...) {
			must(t, double(ctx, store, entity, "drip", 1<<n))
			if entity != parent {
				must(t, double(ctx, store, entity, "quota", 1<<n))
			}
		}
	}
	var charges []charge
	var total summary
	for _, p := range running {
		told, s, err := p.end()
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		t.Logf("%s: %d acquires, %d refused, %d of them contended", p.name, s.Made, s.Refused, s.Contended)
		if s.Made-s.Refused == 0 {
			t.Errorf("%s was never admitted", p.name)
		}
		charges = append(charges, told...)
		total.Made, total.Refused = total.Made+s.Made, total.Refused+s.Refused
	}
	for _, c := range charges {
		if c.resource == "drip" {
			c.entity = parent
			charges = append(charges, c)
		}
	}
	t.Logf("%d acquires, %d refused; %d charges in %v", total.Made, total.Refused, len(charges), *duration)
	ledger(t, db, charges)
	for _, entity := range entities {
		noWindowAbove(t, of(charges, entity, "drip", "rate"), burst, rate, doubled)
		for _, name := range []string{"even", "odd"} {
			noPeriodAbove(t, of(charges, entity, "quota", name), quota, name)
		}
		noSessionAbove(t, of(charges, entity, "quota", "session"))
	}
	noWindowAbove(t, of(charges, parent, "drip", "rate"), 2*burst, 2*rate, doubled)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configure sets limits that the load exhausts.
func configure(t *testing.T, admin *limiter.Admin) {
	t.Helper()
	ctx := t.Context()
	drip := func(times int64) []limiter.Limit {
		return []limiter.Limit{limiter.PerSecond("rate", times*rate).WithBurst(times * burst)}
	}
	must(t, admin.SetResourceDefaults(ctx, "drip", drip(1)))
	must(t, admin.SetLimits(ctx, parent, "drip", drip(2)))
	even, err := limiter.Quota("even", quota, schedule.Entry{Cron: "*/2 * * * *"})
	must(t, err)
	odd, err := limiter.Quota("odd", quota, schedule.Entry{Cron: "1-59/2 * * * *"})
	must(t, err)
	must(t, admin.SetResourceDefaults(ctx, "quota", []limiter.Limit{even, odd, limiter.SessionQuota("session", session, window)}))
	_, err = admin.CreateEntity(ctx, limiter.Entity{ID: parent})
	must(t, err)
	for _, entity := range entities {
		_, err = admin.CreateEntity(ctx, limiter.Entity{ID: entity, ParentID: parent, Cascade: true})
		must(t, err)
	}
	_, err = admin.SetCascade(ctx, "", "quota", false)
	must(t, err)
}

// double does what the process does that finds a shard without writes left: it doubles the count on shard 0
// and tells the others.
func double(ctx context.Context, store *dynamostore.Store, entity, resource string, count int) error {
	stored, won, err := store.Double(ctx, entity, resource, count)
	if err != nil || !won {
		return err
	}
	var quotas []string
	if resource == "quota" {
		quotas = []string{"even", "odd", "session"}
	}
	for shard := 1; shard < count; shard++ {
		if err := store.StampShardCount(ctx, limiter.BucketKey{EntityID: entity, Resource: resource, Shard: shard}, stored, quotas); err != nil {
			return err
		}
	}
	return nil
}

// running is one process of the load.
type running struct {
	name    string
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader // until it is ready
	told    *lines
}

func startAll(t *testing.T, o orders) []*running {
	t.Helper()
	python := os.Getenv("ZAE_INTEROP_LIMITER_PYTHON")
	if python == "" {
		t.Fatal("ZAE_INTEROP_LIMITER_PYTHON is not set; make interop installs the Python library and sets it")
	}
	binary, err := os.Executable()
	must(t, err)
	var all []*running
	for n := range 2 * processes {
		o.Seed = uint64(n)
		text, err := json.Marshal(o)
		must(t, err)
		p := &running{name: fmt.Sprintf("Go process %d", n+1), command: exec.Command(binary)}
		p.command.Env = append(os.Environ(), workVariable+"="+string(text))
		if n >= processes {
			p.name = fmt.Sprintf("Python process %d", n+1-processes)
			p.command = exec.Command(python, "-B", "testdata/load.py", string(text))
			p.command.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_EC2_METADATA_DISABLED=true")
		}
		p.command.Stderr = os.Stderr
		p.in, err = p.command.StdinPipe()
		must(t, err)
		out, err := p.command.StdoutPipe()
		must(t, err)
		p.out = bufio.NewReader(out)
		must(t, p.command.Start())
		t.Cleanup(func() {
			if p.command.ProcessState == nil {
				_ = p.command.Process.Kill()
				_ = p.command.Wait()
			}
		})
		all = append(all, p)
	}
	for _, p := range all {
		if line, err := p.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != `"ready"` {
			t.Fatalf("%s: %q, %v", p.name, line, err)
		}
	}
	// What they say must be read while they work.
	for _, p := range all {
		p.drain()
	}
	return all
}

func (p *running) begin() error {
	_, err := io.WriteString(p.in, "\n")
	return err
}

// drain keeps what the process says in memory.
func (p *running) drain() {
	from, to := p.out, &lines{done: make(chan struct{})}
	p.out = nil
	go func() {
		defer close(to.done)
		for {
			line, err := from.ReadBytes('\n')
			if err != nil {
				return
			}
			to.all = append(to.all, line)
		}
	}()
	p.told = to
}

type lines struct {
	all  [][]byte
	done chan struct{}
}

// end waits for the process and returns what it was told.
func (p *running) end() ([]charge, summary, error) {
	var s summary
	<-p.told.done
	if err := p.command.Wait(); err != nil {
		return nil, s, err
	}
	said := p.told.all
	if len(said) == 0 {
		return nil, s, io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(said[len(said)-1], &s); err != nil {
		return nil, s, err
	}
	var out []charge
	for _, line := range said[:len(said)-1] {
		var c charge
		var amounts limiter.Amounts
		if err := json.Unmarshal(line, &[]any{&c.from, &c.until, &c.entity, &c.resource, &amounts, &c.corrects}); err != nil {
			return nil, s, fmt.Errorf("%s: %w", line, err)
		}
		for limit, n := range amounts {
			c.limit, c.tokens = limit, n
			out = append(out, c)
		}
	}
	return out, s, nil
}

func of(charges []charge, entity, resource, limit string) []charge {
	var out []charge
	for _, c := range charges {
		if c.entity == entity && c.resource == resource && c.limit == limit {
			out = append(out, c)
		}
	}
	return out
}

// ledger compares the counters on the items with what the processes were told.
func ledger(t *testing.T, db *dynamolocal.Client, charges []charge) {
	t.Helper()
	want, got := map[string]int64{}, map[string]int64{}
	for _, c := range charges {
		want[c.entity+"/"+c.resource+" "+c.limit] += c.tokens * 1000
	}
	shards := map[string]int{}
	name := table
	var start map[string]types.AttributeValue
	for {
		page, err := db.Scan(context.Background(), &dynamodb.ScanInput{TableName: &name, ExclusiveStartKey: start})
		must(t, err)
		for _, item := range page.Items {
			entity, _ := item["entity_id"].(*types.AttributeValueMemberS)
			resource, _ := item["resource"].(*types.AttributeValueMemberS)
			if _, bucket := item["rf"]; !bucket || entity == nil || resource == nil {
				continue
			}
			shards[entity.Value+"/"+resource.Value]++
			for attribute, value := range item {
				limit, counter := strings.CutSuffix(strings.TrimPrefix(attribute, "b_"), "_tc")
				if !counter || limit == limiter.WCU {
					continue
				}
				n, err := strconv.ParseInt(value.(*types.AttributeValueMemberN).Value, 10, 64)
				must(t, err)
				got[entity.Value+"/"+resource.Value+" "+limit] += n
			}
		}
		if start = page.LastEvaluatedKey; start == nil {
			break
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if got[key] != want[key] {
			t.Errorf("%s: the items count %d millitokens, the processes were told %d: %+d", key, got[key], want[key], got[key]-want[key])
		} else {
			t.Logf("%s: %d tokens, on the items and told", key, got[key]/1000)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("told, but on no item: %v", want)
	}
	for _, key := range slices.Sorted(maps.Keys(shards)) {
		if shards[key] != 4 {
			t.Errorf("%s has %d shards, want 4", key, shards[key])
		}
	}
}

// noWindowAbove fails if in some window of time more was taken than a full bucket and its refill. A doubling
// leaves the shards that are there undivided until they are next written, so that it gives up to half of the
// burst once.
func noWindowAbove(t *testing.T, charges []charge, burst, perSecond int64, doubled []int64) {
	t.Helper()
	// A debit was made by the end of its interval at the latest, a credit at its beginning at the earliest.
	at := func(c charge) int64 {
		if c.tokens > 0 {
			return c.until
		}
		return c.from
	}
	slices.SortFunc(charges, func(a, b charge) int {
		if at(a) != at(b) {
			return int(at(a) - at(b))
		}
		return int(a.tokens - b.tokens)
	})
	worst, full := int64(0), 0.0
	for first := 0; first < len(charges); first += max(1, len(charges)/1000) {
		begin := charges[first].from
		taken := int64(0)
		for _, c := range charges {
			if c.tokens > 0 && (c.from < begin || c.corrects) || c.tokens < 0 && c.until < begin {
				continue
			}
			taken += c.tokens
			end := max(at(c), begin)
			allowed := burst + (end-begin)*perSecond/1000 + 1
			for _, when := range doubled {
				if begin < when+settlement && end > when {
					allowed += burst / 2
				}
			}
			worst = max(worst, taken-allowed)
			full = max(full, float64(taken)/float64(allowed))
			if taken > allowed {
				t.Errorf("%s/%s: %d tokens in %d ms from %d, more than %d", c.entity, c.resource, taken, end-begin, begin, allowed)
				return
			}
		}
	}
	if full < 0.5 {
		t.Errorf("%s/%s: the fullest window used %.0f%% of what is there: nothing was tested", charges[0].entity, charges[0].resource, full*100)
	}
	t.Logf("%s/%s: the fullest window used %.1f%% of burst and refill", charges[0].entity, charges[0].resource, full*100)
}

// noPeriodAbove fails if more than the quota was taken between two edges of its minutes, the even or the odd ones.
func noPeriodAbove(t *testing.T, charges []charge, amount int64, name string) {
	t.Helper()
	taken := map[int64]int64{}
	for _, c := range charges {
		if period := periodOf(c.from, name); period == periodOf(c.until, name) {
			taken[period] += c.tokens
		}
	}
	exhausted := 0
	for _, period := range slices.Sorted(maps.Keys(taken)) {
		if taken[period] > amount {
			t.Errorf("%s %s: %d tokens in the period %d, more than %d", charges[0].entity, name, taken[period], period, amount)
		}
		if taken[period] > amount*9/10 {
			exhausted++
		}
	}
	t.Logf("%s %s: %d periods, %d of them exhausted", charges[0].entity, name, len(taken), exhausted)
}

func periodOf(ms int64, name string) int64 {
	minute := ms / 60_000
	if name == "odd" {
		minute--
	}
	return minute / 2
}

// noSessionAbove fails if a stretch as long as a window has more than the end of one and the begin of the next.
func noSessionAbove(t *testing.T, charges []charge) {
	t.Helper()
	slices.SortFunc(charges, func(a, b charge) int { return int(a.until - b.until) })
	length, first, taken, most := window.Milliseconds(), 0, int64(0), int64(0)
	for _, c := range charges {
		taken += c.tokens
		for charges[first].from < c.until-length {
			taken -= charges[first].tokens
			first++
		}
		most = max(most, taken)
	}
	if most > 2*session {
		t.Errorf("%s session: %d tokens within %v, more than two windows of %d", charges[0].entity, most, window, session)
	}
	if most < session*9/10 {
		t.Errorf("%s session: at most %d of %d tokens within %v: nothing was tested", charges[0].entity, most, session, window)
	}
	t.Logf("%s session: at most %d tokens within %v", charges[0].entity, most, window)
}
