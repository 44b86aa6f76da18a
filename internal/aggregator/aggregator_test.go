package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

const begin = 1_800_000_000_000 // 2027-01-15T08:00:00Z

// world is a limiter on an embedded engine, and what its stream has said.
type world struct {
	t       *testing.T
	engine  *dynamolocal.Engine
	client  *dynamolocal.Client
	limiter *limiter.Limiter
	ns      string
	arn     string
	seen    map[string]bool

	mu  sync.Mutex
	now int64
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.UnixMilli(w.now)
}

func (w *world) pass(milli int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += milli
}

func newWorld(t *testing.T, limits ...limiter.Limit) *world {
	t.Helper()
	w := &world{t: t, now: begin, seen: map[string]bool{}}
	var err error
	if w.engine, err = dynamolocal.New(dynamolocal.Config{Clock: w.clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.engine.Close() })
	w.client = w.engine.Client()
	table := dynamostore.OpenTable(w.client, "zae-limiter", dynamostore.TableOptions{Clock: w.clock})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := table.DeclareReaders(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if w.ns, err = table.RegisterNamespace(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	if w.limiter, err = limiter.New(table.Store(w.ns), limiter.Options{Clock: w.clock, Rand: func(int) int { return 0 }, RejectionCacheTTL: -1}); err != nil {
		t.Fatal(err)
	}
	if err := w.limiter.Admin().SetResourceDefaults(t.Context(), "api", limits); err != nil {
		t.Fatal(err)
	}
	out, err := w.client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("zae-limiter")})
	if err != nil {
		t.Fatal(err)
	}
	w.arn = *out.Table.LatestStreamArn
	return w
}

func (w *world) acquire(entity string, consume limiter.Amounts) {
	w.t.Helper()
	lease, err := w.limiter.Acquire(w.t.Context(), limiter.Request{EntityID: entity, Resource: "api", Consume: consume})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := lease.Close(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// drain returns the records that have come since the last time.
func (w *world) drain() (records []Record) {
	w.t.Helper()
	streams := w.engine.StreamsClient()
	described, err := streams.DescribeStream(w.t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &w.arn})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, shard := range described.StreamDescription.Shards {
		at, err := streams.GetShardIterator(w.t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &w.arn, ShardId: shard.ShardId, ShardIteratorType: "TRIM_HORIZON"})
		if err != nil {
			w.t.Fatal(err)
		}
		for iterator := at.ShardIterator; iterator != nil; {
			page, err := streams.GetRecords(w.t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: iterator})
			if err != nil {
				w.t.Fatal(err)
			}
			for i := range page.Records {
				if r := recordOf(&page.Records[i]); !w.seen[r.SequenceNumber] {
					w.seen[r.SequenceNumber] = true
					records = append(records, r)
				}
			}
			if iterator = page.NextShardIterator; len(page.Records) == 0 {
				break
			}
		}
	}
	return records
}

func (w *world) aggregator(table Table) *Aggregator {
	if table == nil {
		table = w.client
	}
	return New(Config{Table: table, TableName: "zae-limiter", Windows: []Window{Hourly, Daily, Monthly}, Clock: w.clock})
}

func (w *world) item(pk, sk string) Item {
	w.t.Helper()
	out, err := w.client.GetItem(w.t.Context(), &dynamodb.GetItemInput{TableName: aws.String("zae-limiter"), Key: Item{"PK": text(pk), "SK": text(sk)}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Item
}

func (w *world) bucket(entity string, shard int) Item {
	return w.item(w.ns+"/BUCKET#"+entity+"#api#"+strconv.Itoa(shard), stateKey)
}

func (w *world) number(item Item, name string) int64 {
	w.t.Helper()
	n, err := integerOf(item, name)
	if err != nil || !n.set {
		w.t.Fatalf("%s of %v: %v", name, item, err)
	}
	return n.value
}

// snapshots returns an entity's usage by sort key: its limits and events.
func (w *world) snapshots(entity string) map[string]string {
	w.t.Helper()
	out, err := w.client.Query(w.t.Context(), &dynamodb.QueryInput{
		TableName: aws.String("zae-limiter"), KeyConditionExpression: aws.String("PK = :p AND begins_with(SK, :s)"),
		ExpressionAttributeValues: Item{":p": text(w.ns + "/ENTITY#" + entity), ":s": text("#USAGE#")},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	got := map[string]string{}
	for _, item := range out.Items {
		line := ""
		for _, name := range slices.Sorted(maps.Keys(item)) {
			if n, ok := item[name].(*types.AttributeValueMemberN); ok && name != "ttl" {
				line += fmt.Sprintf("%s=%s ", name, n.Value)
			}
		}
		got[textOf(item, "SK")+" "+textOf(item, "window")+" "+textOf(item, "window_start")] = line
	}
	return got
}

// All that is consumed is counted once: creation, fast path, adjustments; the infrastructure's limit is not.
func TestUsageIsWhatWasConsumed(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 10_000))
	a := w.aggregator(nil)
	w.acquire("u", limiter.Amounts{"rpm": 1, "tpm": 500})
	lease, err := w.limiter.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "api", Consume: limiter.Amounts{"rpm": 2, "tpm": 0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Adjust(limiter.Amounts{"tpm": 20_000}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := a.Process(t.Context(), w.drain())
	w.pass(3_600_000)
	w.acquire("u", limiter.Amounts{"rpm": 1})
	second := a.Process(t.Context(), w.drain())
	if first.Unreadable+second.Unreadable+len(first.Unwritten)+len(second.Unwritten) > 0 {
		t.Errorf("%+v\n%+v", first, second)
	}
	want := map[string]string{
		"#USAGE#api#2027-01-15T08:00:00Z hourly 2027-01-15T08:00:00Z":          "rpm=3 total_events=3 tpm=20500 ",
		"#USAGE#api#2027-01-15T09:00:00Z hourly 2027-01-15T09:00:00Z":          "rpm=1 total_events=1 ",
		"#USAGE#api#2027-01-15T00:00:00Z#daily daily 2027-01-15T00:00:00Z":     "rpm=4 total_events=4 tpm=20500 ",
		"#USAGE#api#2027-01-01T00:00:00Z#monthly monthly 2027-01-01T00:00:00Z": "rpm=4 total_events=4 tpm=20500 ",
	}
	if diff := cmp.Diff(want, w.snapshots("u")); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	item := w.item(w.ns+"/ENTITY#u", "#USAGE#api#2027-01-15T08:00:00Z")
	for name, want := range map[string]string{"entity_id": "u", "resource": "api", "GSI2PK": w.ns + "/RESOURCE#api", "GSI2SK": "USAGE#2027-01-15T08:00:00Z#u", "GSI4PK": w.ns, "GSI4SK": w.ns + "/ENTITY#u"} {
		if got := textOf(item, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if ttl := w.number(item, "ttl"); ttl != begin/1000+90*86400 {
		t.Errorf("ttl %d", ttl)
	}
}

// The hour 00, its day and its month are three items.
func TestTheFirstHourOfAMonthIsNoDay(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	w.pass(time.Date(2027, 2, 1, 0, 10, 0, 0, time.UTC).UnixMilli() - begin)
	w.acquire("u", limiter.Amounts{"rpm": 7})
	w.aggregator(nil).Process(t.Context(), w.drain())
	got := w.snapshots("u")
	if len(got) != 3 {
		t.Fatalf("snapshots %v", got)
	}
	for key, line := range got {
		if line != "rpm=7 total_events=1 " {
			t.Errorf("%s: %s", key, line)
		}
	}
}

// A bucket that is spent fast is refilled in one write, which has what all limits regained; the next slow pass
// of a client finds what it would have made itself.
func TestRefillLosesNothing(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 6000))
	a := w.aggregator(nil)
	w.acquire("u", limiter.Amounts{"rpm": 1, "tpm": 1000})
	w.acquire("u", limiter.Amounts{"rpm": 59, "tpm": 1000})
	w.pass(10_000)
	result := a.Process(t.Context(), w.drain())
	if result.Refills != 1 {
		t.Fatalf("%+v", result)
	}
	got := w.bucket("u", 0)
	for name, want := range map[string]int64{"rf": begin + 10_000, "b_rpm_tk": 10_000, "b_tpm_tk": 5_000_000, "b_rpm_tc": 60_000, "b_wcu_tk": 1_000_000} {
		if n := w.number(got, name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	// The image is old by now: its lock is lost, and nothing is given twice.
	if again, err := a.refill(t.Context(), a.states(lastOf(w))[0], w.now+50_000); err != nil || again {
		t.Errorf("a refill from an old image: %v %v", again, err)
	}
	w.acquire("u", limiter.Amounts{"rpm": 10})
	if left := w.number(w.bucket("u", 0), "b_rpm_tk"); left != 0 {
		t.Errorf("rpm has %d left", left)
	}
}

// lastOf returns the bucket's modification before the refill.
func lastOf(w *world) []Record {
	w.seen = map[string]bool{}
	for _, r := range w.drain() {
		if r.Event == Modify && textOf(r.New, "SK") == stateKey {
			return []Record{r}
		}
	}
	w.t.Fatal("no modification of a bucket")
	return nil
}

// What was given back between the image and the write is no reason to lift the bucket over its ceiling.
func TestRefillYieldsToCredits(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	a := w.aggregator(nil)
	w.acquire("u", limiter.Amounts{"rpm": 1})
	w.acquire("u", limiter.Amounts{"rpm": 59})
	records := w.drain()
	w.pass(1000)
	credit := &dynamodb.UpdateItemInput{TableName: aws.String("zae-limiter"), Key: bucketKey{w.ns, "u", "api", 0}.item(),
		UpdateExpression: aws.String("ADD b_rpm_tk :n"), ExpressionAttributeValues: Item{":n": integer(30_000)}}
	if _, err := w.client.UpdateItem(t.Context(), credit); err != nil {
		t.Fatal(err)
	}
	if result := a.Process(t.Context(), records); result.Refills != 0 {
		t.Errorf("%+v", result)
	}
}

// A bucket whose writes are nearly used up is doubled, unless a request that was seen would fit into no shard then.
func TestDoubling(t *testing.T) {
	for amount, want := range map[int64]int64{50: 2, 51: 1} {
		w := newWorld(t, limiter.PerMinute("rpm", 100))
		a := w.aggregator(nil)
		w.acquire("u", limiter.Amounts{"rpm": 1})
		key := bucketKey{w.ns, "u", "api", 0}
		u := newUpdate()
		u.set(attribute(infrastructure, "tk"), 150_000)
		u.unchanged(attribute("rpm", "tc"), optional{1000, true})
		if done, err := a.conditional(t.Context(), u.input(key.item())); err != nil || !done {
			t.Fatal(done, err)
		}
		w.drain()
		w.acquire("u", limiter.Amounts{"rpm": amount})
		result := a.Process(t.Context(), w.drain())
		if shards := w.number(w.bucket("u", 0), "shard_count"); result.Doublings != int(want)-1 || shards != want {
			t.Errorf("a request of %d: %+v, %d shards, want %d", amount, result, shards, want)
		}
	}
}

// Doubling is carried to shards that exist and to those that do not; clients use the clones.
func TestShardsAreCloned(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	if _, err := w.limiter.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u", Name: "u"}); err != nil {
		t.Fatal(err)
	}
	a := w.aggregator(nil)
	w.acquire("u", limiter.Amounts{"rpm": 10})
	grow := func(from, to int64) {
		u := newUpdate()
		u.set("shard_count", to)
		u.unchanged("shard_count", optional{from, true})
		if done, err := a.conditional(t.Context(), u.input(bucketKey{w.ns, "u", "api", 0}.item())); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	grow(1, 2)
	if result := a.Process(t.Context(), w.drain()); result.Shards != 1 {
		t.Fatalf("%+v", result)
	}
	clone := w.bucket("u", 1)
	for name, want := range map[string]int64{"b_rpm_tk": 50_000, "b_rpm_tc": 0, "b_rpm_cp": 100_000, "b_wcu_tk": 1_000_000, "shard_count": 2, "rf": begin} {
		if n := w.number(clone, name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	if got := textOf(clone, "GSI3SK") + " " + textOf(clone, "GSI2SK") + " " + textOf(clone, "GSI4SK") + " " + textOf(clone, "entity_id"); got != "BUCKET#api#1 BUCKET#u#1 BUCKET#u#api#1 u" {
		t.Errorf("keys %s", got)
	}
	grow(2, 4)
	if result := a.Process(t.Context(), w.drain()); result.Shards != 3 || w.number(w.bucket("u", 1), "shard_count") != 4 {
		t.Errorf("%+v, shard 1 %v", result, w.bucket("u", 1))
	}
	before := w.bucket("u", 3)
	w.limiter.InvalidateCaches()
	l, err := limiter.New(dynamostore.OpenTable(w.client, "zae-limiter", dynamostore.TableOptions{}).Store(w.ns), limiter.Options{Clock: w.clock, Rand: func(n int) int { return n - 1 }, RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.limiter = l
	w.acquire("u", limiter.Amounts{"rpm": 1}) // shard 0, whose image tells the count
	w.acquire("u", limiter.Amounts{"rpm": 5})
	if got := w.number(w.bucket("u", 3), "b_rpm_tk"); got != w.number(before, "b_rpm_tk")-5000 {
		t.Errorf("shard 3 has %d of %d left", got, w.number(before, "b_rpm_tk"))
	}
}

// An entity that moved or was made anew since the image does not get the shards of the one before.
func TestClonesAreOfTheSameOwner(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	a := w.aggregator(nil)
	if _, err := w.limiter.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u", Name: "u"}); err != nil {
		t.Fatal(err)
	}
	w.acquire("u", limiter.Amounts{"rpm": 10})
	u := newUpdate()
	u.set("shard_count", 2)
	u.require("attribute_exists(PK)")
	if _, err := a.conditional(t.Context(), u.input(bucketKey{w.ns, "u", "api", 0}.item())); err != nil {
		t.Fatal(err)
	}
	records := w.drain()
	move := &dynamodb.UpdateItemInput{TableName: aws.String("zae-limiter"), Key: Item{"PK": text(w.ns + "/ENTITY#u"), "SK": text(metaKey)},
		UpdateExpression: aws.String("ADD pgen :one"), ExpressionAttributeValues: Item{":one": integer(1)}}
	if _, err := w.client.UpdateItem(t.Context(), move); err != nil {
		t.Fatal(err)
	}
	if result := a.Process(t.Context(), records); result.Shards != 0 || w.bucket("u", 1) != nil {
		t.Errorf("%+v, shard 1 %v", result, w.bucket("u", 1))
	}
}

// A quota is not minted anew by a doubling: what the clones have, the donor has lost.
func TestQuotaClonesAreFundedByMoves(t *testing.T) {
	quota, err := limiter.Quota("day", 100, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, quota)
	a := w.aggregator(nil)
	w.acquire("u", limiter.Amounts{"day": 30})
	for count := int64(2); count <= 8; count *= 2 {
		u := newUpdate()
		u.set("shard_count", count)
		u.require("attribute_exists(PK)")
		if _, err := a.conditional(t.Context(), u.input(bucketKey{w.ns, "u", "api", 0}.item())); err != nil {
			t.Fatal(err)
		}
		a.Process(t.Context(), w.drain())
		sum := int64(0)
		for shard := range int(count) {
			item := w.bucket("u", shard)
			sum += w.number(item, "b_day_tk")
			if shard > 0 && w.number(item, "shard_count") != count {
				t.Errorf("shard %d of %d has count %d", shard, count, w.number(item, "shard_count"))
			}
		}
		if sum != 70_000 {
			t.Errorf("%d shards hold %d", count, sum)
		}
	}
}

// failing refuses some updates, as a throttled table does.
type failing struct {
	*dynamolocal.Client
	refuse func(*dynamodb.UpdateItemInput) bool
}

func (f *failing) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	if f.refuse(in) {
		return nil, errors.New("throttled")
	}
	return f.Client.UpdateItem(ctx, in, opts...)
}

// The function asks for the records again from the first whose usage it could not write.
func TestFunctionReportsWhatIsLeft(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	w.acquire("a", limiter.Amounts{"rpm": 1})
	w.acquire("b", limiter.Amounts{"rpm": 2})
	w.acquire("a", limiter.Amounts{"rpm": 3})
	records := w.drain()
	type image = map[string]map[string]any
	encode := func(item Item) image {
		if item == nil {
			return nil
		}
		out := image{}
		for name, v := range item {
			switch v := v.(type) {
			case *types.AttributeValueMemberS:
				out[name] = map[string]any{"S": v.Value}
			case *types.AttributeValueMemberN:
				out[name] = map[string]any{"N": v.Value}
			case *types.AttributeValueMemberBOOL:
				out[name] = map[string]any{"BOOL": v.Value}
			case *types.AttributeValueMemberNULL:
				out[name] = map[string]any{"NULL": true}
			}
		}
		return out
	}
	var list []any
	firstOfB := ""
	for _, r := range records {
		if textOf(r.New, "PK") == w.ns+"/BUCKET#b#api#0" && firstOfB == "" {
			firstOfB = r.SequenceNumber
		}
		list = append(list, map[string]any{"eventName": r.Event, "dynamodb": map[string]any{
			"ApproximateCreationDateTime": float64(r.At.Unix()), "SequenceNumber": r.SequenceNumber, "NewImage": encode(r.New), "OldImage": encode(r.Old),
		}})
	}
	payload, err := json.Marshal(map[string]any{"Records": list})
	if err != nil {
		t.Fatal(err)
	}
	table := &failing{w.client, func(in *dynamodb.UpdateItemInput) bool { return textOf(in.Key, "PK") == w.ns+"/ENTITY#b" }}
	got, err := w.aggregator(table).Handler().Invoke(t.Context(), "id", payload)
	if want := `{"batchItemFailures":[{"itemIdentifier":"` + firstOfB + `"}]}`; err != nil || string(got) != want {
		t.Errorf("answer %s (%v), want %s", got, err, want)
	}
	if line := w.snapshots("a")["#USAGE#api#2027-01-15T08:00:00Z hourly 2027-01-15T08:00:00Z"]; line != "rpm=4 total_events=2 " {
		t.Errorf("usage of a: %q", line)
	}
	table.refuse = func(*dynamodb.UpdateItemInput) bool { return false }
	if got, err := w.aggregator(table).Handler().Invoke(t.Context(), "id", payload); err != nil || string(got) != `{"batchItemFailures":[]}` {
		t.Errorf("answer %s (%v)", got, err)
	}
	if _, err := w.aggregator(nil).Handler().Invoke(t.Context(), "id", []byte(`{"Records":[{"dynamodb":{"NewImage":{"a":{"X":1}}}}]}`)); err == nil {
		t.Error("an event of unknown values was taken")
	}
}

// A follower reads over the end of shards, writes late what could not be written at once, and each record
// once.
func TestFollowerSeesEverything(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 1_000_000))
	var mu sync.Mutex
	throttled := true
	table := &failing{w.client, func(in *dynamodb.UpdateItemInput) bool {
		mu.Lock()
		defer mu.Unlock()
		return throttled
	}}
	a := New(Config{Table: table, TableName: "zae-limiter", Windows: []Window{Monthly}, Clock: w.clock})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	counted := make(chan Result, 1000)
	go func() {
		done <- a.Follow(ctx, FollowConfig{Streams: w.engine.StreamsClient(), StreamARN: w.arn, FromStart: true, Poll: time.Millisecond, Done: func(r Result) { counted <- r }})
	}()
	const rounds = 30
	for i := range rounds {
		w.acquire("u", limiter.Amounts{"rpm": 2})
		if i%10 == 9 {
			w.pass(5 * 3_600_000) // the shard ends
		}
		<-counted
		if i == 3 {
			mu.Lock()
			throttled = false
			mu.Unlock()
		}
	}
	want := map[string]string{"#USAGE#api#2027-01-01T00:00:00Z#monthly monthly 2027-01-01T00:00:00Z": "rpm=60 total_events=30 "}
	for {
		if got := w.snapshots("u"); cmp.Equal(got, want) {
			break
		} else if total := got["#USAGE#api#2027-01-01T00:00:00Z#monthly monthly 2027-01-01T00:00:00Z"]; len(total) > len("rpm=60 total_events=30 ") {
			t.Fatalf("usage %v", got)
		}
		select {
		case <-counted:
		case err := <-done:
			t.Fatalf("following ended: %v, usage %v", err, w.snapshots("u"))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the end of a context is an error: %v", err)
	}
}

// Following ends with the stream.
func TestFollowingEndsWithTheStream(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	w.acquire("u", limiter.Amounts{"rpm": 1})
	if _, err := w.client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("zae-limiter"), StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(false)}}); err != nil {
		t.Fatal(err)
	}
	a := w.aggregator(nil)
	if err := a.Follow(t.Context(), FollowConfig{Streams: w.engine.StreamsClient(), StreamARN: w.arn, FromStart: true, Poll: time.Millisecond}); err != nil {
		t.Error(err)
	}
	if len(w.snapshots("u")) != 3 {
		t.Errorf("usage %v", w.snapshots("u"))
	}
	if err := a.Follow(t.Context(), FollowConfig{Streams: w.engine.StreamsClient(), StreamARN: w.arn + "9"}); err == nil {
		t.Error("a stream that is none was followed")
	}
}

func TestKeys(t *testing.T) {
	for pk, want := range map[string]bucketKey{
		"ns/BUCKET#u#api#0":      {"ns", "u", "api", 0},
		"ns/BUCKET#u#a/b:c#d#12": {"ns", "u", "a/b:c#d", 12},
		"ns/BUCKET#u#api":        {},
		"ns/BUCKET##api#0":       {},
		"ns/ENTITY#u":            {},
		"/BUCKET#u#api#0":        {},
		"ns/BUCKET#u#api#-1":     {},
		"ns/BUCKET#u#api#x":      {},
	} {
		got, ok := parseKey(pk)
		if got != want || ok != (want != bucketKey{}) {
			t.Errorf("%s is %+v", pk, got)
		}
		if ok && textOf(got.item(), "PK") != pk {
			t.Errorf("%+v is written as %s", got, textOf(got.item(), "PK"))
		}
	}
}
