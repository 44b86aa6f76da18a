//go:build interop

package differential

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

var (
	differentialOperations = flag.Int("differential.operations", 10_000, "how many random operations the differential run makes at least")
	differentialEndpoint   = flag.String("differential.endpoint", "", "where the tables of the differential run are; none is an engine of its own")
)

const (
	// operationsPerRun is how many operations follow each other on one pair of tables, on average.
	operationsPerRun = 100
	// differentialSeed is what a run starts with that is not given a seed: the same operations every time.
	differentialSeed = 17
	// epoch is when runs begin, ms: 2027-01-15T08:00:00Z, an hour before a window of the schedules.
	epoch = 1_800_000_000_000
)

// operation is one call on both sides. Its JSON is the request to the Python side.
type operation struct {
	ID    int    `json:"id"`
	Do    string `json:"do"`
	NowMS int64  `json:"now_ms"`
	// Draw is what each random choice of a shard is made from.
	Draw int `json:"draw"`
	// Advance is how far the clock is moved before the operation, ms.
	Advance int64 `json:"-"`

	Entity      string                     `json:"entity,omitempty"`
	Resource    string                     `json:"resource"`
	Parent      string                     `json:"parent,omitempty"`
	Cascade     bool                       `json:"cascade,omitempty"`
	Consume     limiter.Amounts            `json:"consume,omitempty"`
	Also        map[string]limiter.Amounts `json:"also,omitempty"`
	Limits      limits                     `json:"limits"`
	Speculative bool                       `json:"speculative"`
	Steps       []step                     `json:"steps,omitempty"`
	Fails       bool                       `json:"fails,omitempty"`
	Flag        limiter.FlagName           `json:"flag,omitempty"`
	Value       any                        `json:"value"`
	Names       []string                   `json:"names,omitempty"`
	Key         string                     `json:"key,omitempty"`
	Memory      bool                       `json:"memory"`
}

// step is one call on a lease.
type step struct {
	Do       string          `json:"do"`
	Resource string          `json:"resource,omitempty"`
	Amounts  limiter.Amounts `json:"amounts"`
	Advance  int64           `json:"advance"`
}

type limits []limiter.Limit

// MarshalJSON has limits in the form that both clients describe them in.
func (l limits) MarshalJSON() ([]byte, error) {
	out := make([]any, len(l))
	for i := range l {
		out[i] = l[i].Map()
	}
	return json.Marshal(out)
}

func (o operation) String() string {
	text, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("+%d ms: %s", o.Advance, text)
}

// GoString is what a failing run prints.
func (o operation) GoString() string { return o.String() }

// database is what the comparison itself does to the tables.
type database interface {
	dynamostore.API
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// differential runs operations on both sides and compares.
type differential struct {
	db     database
	tables [2]string // ours, Python's
	now    int64     // ms
	draw   int
	// speculative and memory say how both sides work in this run.
	speculative, memory bool
	prefix              string // of the namespace, the same in both tables
	ours                *ourSide
	python              *pythonSide

	made       int
	decisions  map[string]int
	deviations map[string]int
	problem    error // of a side itself, not a difference

	incarnations [2]map[string]string
	drawn        int
	before       map[string]attributes // after the last operation that had no difference
	history      []operation
}

// TestDifferential makes random operations on our limiter and on Python's, each with a table of its own,
// and compares what they answer and every item after each of them. A failing run is cut down and printed
// with its seed; the same operations come back with
//
//	go test -tags interop ./interop/limiter/differential -run TestDifferential -rapid.seed=SEED
func TestDifferential(t *testing.T) {
	d := newDifferential(t)
	ours := setDefault(t, flag.Lookup("rapid.checks"), strconv.Itoa(*differentialOperations*11/10/operationsPerRun+1))
	setDefault(t, flag.Lookup("rapid.steps"), strconv.Itoa(operationsPerRun))
	setDefault(t, flag.Lookup("rapid.seed"), strconv.Itoa(differentialSeed))
	rapid.Check(t, func(rt *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "America/New_York"}).Draw(rt, "zone")
		d.speculative = rapid.IntRange(0, 7).Draw(rt, "reads first") != 7
		d.memory = rapid.IntRange(0, 3).Draw(rt, "rejects from memory") == 3
		d.begin(rt)
		draw := func(rt *rapid.T, what func(*generator) operation) {
			d.run(rt, rapid.Custom(func(rt *rapid.T) operation {
				return what(&generator{T: rt, zone: zone, speculative: d.speculative})
			}).Draw(rt, "operation"))
		}
		for _, resource := range []string{"", "r1"} {
			draw(rt, func(g *generator) operation { return g.defaults(resource) })
		}
		rt.Repeat(map[string]func(*rapid.T){"operation": func(rt *rapid.T) { draw(rt, (*generator).operation) }})
	})
	t.Logf("%d operations: %s", d.made, counts(d.decisions))
	for _, name := range slices.Sorted(maps.Keys(d.deviations)) {
		t.Logf("deviation, %d times: %s", d.deviations[name], name)
	}
	if !t.Failed() && ours && d.made < *differentialOperations {
		t.Errorf("%d operations, want %d", d.made, *differentialOperations)
	}
}

func counts(of map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(out, ", ")
}

// setDefault sets a flag that the command line does not, and says whether it did.
func setDefault(t *testing.T, f *flag.Flag, value string) bool {
	t.Helper()
	given := false
	flag.Visit(func(set *flag.Flag) { given = given || set.Name == f.Name })
	if given {
		return false
	}
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
	return true
}

func newDifferential(t *testing.T) *differential {
	d := &differential{tables: [2]string{"differential-go", "differential-python"}, now: epoch,
		decisions: map[string]int{}, deviations: map[string]int{}}
	endpoint := *differentialEndpoint
	if endpoint == "" {
		engine, err := dynamolocal.New(dynamolocal.Config{StreamBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		d.db = engine.Client()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		endpoint = "http://" + listener.Addr().String()
		served := make(chan error, 1)
		ctx, stop := context.WithCancel(context.Background())
		go func() { served <- engine.Serve(ctx, listener) }()
		t.Cleanup(func() {
			stop()
			<-served
			engine.Close()
		})
	} else {
		client, err := dynamostore.NewClient(dynamostore.ClientConfig{Region: "us-east-1", Endpoint: endpoint,
			Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
		if err != nil {
			t.Fatal(err)
		}
		d.db = client
	}
	ctx := t.Context()
	clock := func() time.Time { return time.UnixMilli(d.now) }
	var id string
	for i, name := range d.tables {
		table := dynamostore.OpenTable(d.db, name, dynamostore.TableOptions{Clock: clock})
		if err := errors.Join(table.Create(ctx), table.DeclareReaders(ctx, false)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			var err error
			if id, err = table.RegisterNamespace(ctx, "differential"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		// The same namespace id in both tables, so that their items are equal.
		for _, item := range d.scan(t, 0) {
			d.put(t, 1, item)
		}
	}
	d.prefix = id + "/"
	d.ours = &ourSide{d: d, store: dynamostore.OpenTable(d.db, d.tables[0], dynamostore.TableOptions{Clock: clock}).Store(id)}
	d.python = startPython(t, endpoint, d.tables[1], "differential")
	return d
}

// begin empties the tables and the memory of both sides.
func (d *differential) begin(t fatal) {
	if d.problem != nil {
		t.Fatalf("cannot go on: %v", d.problem)
	}
	d.now, d.draw, d.history = epoch, 0, nil
	d.incarnations = [2]map[string]string{{}, {}}
	for side := range d.tables {
		for key, item := range d.scan(t, side) {
			if strings.HasPrefix(key, d.prefix) {
				d.remove(t, side, item)
			}
		}
	}
	d.restart(t)
}

type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

func (d *differential) restart(t fatal) {
	d.ours.restart(t)
	if out, err := d.python.do(operation{Do: "restart", NowMS: d.now, Memory: d.memory}); err != nil || out["error"] != nil {
		d.problem = fmt.Errorf("restart: %v: %w", out["error"], err)
		t.Fatalf("%v", d.problem)
	}
}

// run makes one operation on both sides and compares.
func (d *differential) run(t fatal, op operation) {
	t.Helper()
	d.made++
	op.ID = d.made
	d.now += op.Advance
	op.NowMS, d.draw = d.now, op.Draw
	d.history = append(d.history, op)
	if d.arrange(t, op) {
		d.compare(t, op, nil, nil)
		return
	}
	asked := make(chan answer, 1)
	go func() {
		got, err := d.python.do(op)
		asked <- answer{got, err}
	}()
	ours := normal(d.ours.do(op))
	theirs := <-asked
	if theirs.err != nil {
		d.problem = theirs.err
		t.Fatalf("%v: %v", op, theirs.err)
	}
	for _, s := range op.Steps {
		if theirs.value["error"] == nil {
			d.now += s.Advance
		}
	}
	if op.Do == "acquire" {
		d.decisions[decisionOf(theirs.value)]++
	} else {
		d.decisions[op.Do]++
	}
	d.compare(t, op, ours, theirs.value)
}

func decisionOf(answer map[string]any) string {
	switch e, failed := answer["error"].(map[string]any); {
	case failed:
		return fmt.Sprint("acquire ", e["type"])
	}
	return "acquire admitted"
}

// arrange makes the operations that are not calls of the limiter, on both sides. It says whether op was one.
func (d *differential) arrange(t fatal, op operation) bool {
	switch op.Do {
	case "restart":
		d.restart(t)
	case "expire":
		for side := range d.tables {
			for _, item := range d.scan(t, side) {
				if ttl, ok := item["ttl"].(*types.AttributeValueMemberN); ok {
					if at, err := strconv.ParseInt(ttl.Value, 10, 64); err == nil && at < d.now/1000 {
						d.remove(t, side, item)
					}
				}
			}
		}
		// A process that holds the images of what is gone is not what this is about.
		d.restart(t)
	case "exhaust":
		key := d.prefix + "BUCKET#" + op.Entity + "#" + op.Resource + "#" + op.Key
		for side := range d.tables {
			if item, ok := d.scan(t, side)[key+" #STATE"]; ok {
				item["b_wcu_tk"] = &types.AttributeValueMemberN{Value: "0"}
				d.put(t, side, item)
			}
		}
	default:
		return false
	}
	d.decisions[op.Do]++
	return true
}

type answer struct {
	value map[string]any
	err   error
}

// normal is an answer as JSON gives it back.
func normal(v any) map[string]any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}

// difference is what is not equal: an answer, or an attribute of an item.
type difference struct {
	Item, Attribute string // "" for an answer
	Ours, Python    any
}

func (f difference) String() string {
	if f.Item == "" {
		return fmt.Sprintf("%s: ours %v, Python's %v", f.Attribute, text(f.Ours), text(f.Python))
	}
	return fmt.Sprintf("%s: %s: ours %v, Python's %v", f.Item, f.Attribute, text(f.Ours), text(f.Python))
}

func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(out)
}

// compare fails unless the sides agree, or deviate as they may. After a deviation Python's items are put into
// our table, and both sides forget what they remember, so that what follows is compared from one state.
func (d *differential) compare(t fatal, op operation, ours, theirs map[string]any) {
	t.Helper()
	items := [2]map[string]attributes{}
	raw := [2]map[string]item{}
	for side := range d.tables {
		raw[side] = d.scan(t, side)
	}
	d.pair(raw)
	for side := range d.tables {
		items[side] = d.normalise(side, raw[side])
	}
	c := comparison{d: d, op: op, ours: ours, python: theirs, items: items}
	c.answers()
	for _, key := range slices.Sorted(maps.Keys(union(items[0], items[1]))) {
		a, b := items[0][key], items[1][key]
		if a == nil || b == nil {
			c.add(key, "item", a != nil, b != nil)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(union(a, b))) {
			if !reflect.DeepEqual(a[name], b[name]) {
				c.add(key, name, a[name], b[name])
			}
		}
	}
	if len(c.differences) == 0 {
		d.before = items[0]
		return
	}
	var left []difference
	named := map[string]bool{}
	for _, f := range c.differences {
		name := ""
		for _, allowed := range allowedDeviations {
			if allowed.is(&c, f) {
				name = allowed.name
				break
			}
		}
		if name == "" {
			left = append(left, f)
			continue
		}
		named[name] = true
	}
	if len(left) > 0 {
		for _, past := range d.history[max(0, len(d.history)-12):] {
			t.Logf("%v", past)
		}
		t.Logf("ours answers %s", text(ours))
		t.Logf("Python's answers %s", text(theirs))
		for _, f := range left {
			t.Logf("%v", f)
		}
		for _, f := range left {
			if f.Item != "" && f.Attribute != "item" {
				t.Logf("%s was %s", f.Item, text(d.before[f.Item]))
				break
			}
		}
		t.Fatalf("%d differences after %v", len(left), op)
	}
	for name := range named {
		d.deviations[name]++
		t.Logf("%d: %s", op.ID, name)
	}
	d.align(t, raw)
	d.before = items[1]
}

func union[V any](a, b map[string]V) map[string]bool {
	out := map[string]bool{}
	for k := range a {
		out[k] = true
	}
	for k := range b {
		out[k] = true
	}
	return out
}

// align copies Python's items into our table.
func (d *differential) align(t fatal, raw [2]map[string]item) {
	for key, it := range raw[0] {
		if _, ok := raw[1][key]; !ok {
			d.remove(t, 0, it)
		}
	}
	for _, it := range raw[1] {
		d.put(t, 0, it)
	}
	// What was paired is one and the same now.
	d.incarnations[0] = maps.Clone(d.incarnations[1])
	d.restart(t)
}

type (
	item       = map[string]types.AttributeValue
	attributes = map[string]any
)

func keyOf(it item) string {
	s := func(name string) string {
		v, ok := it[name].(*types.AttributeValueMemberS)
		if !ok {
			return ""
		}
		return v.Value
	}
	return s("PK") + " " + s("SK")
}

func (d *differential) scan(t fatal, side int) map[string]item {
	out := map[string]item{}
	var start item
	for {
		page, err := d.db.Scan(context.Background(), &dynamodb.ScanInput{TableName: &d.tables[side], ExclusiveStartKey: start, ConsistentRead: aws.Bool(true)})
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		for _, it := range page.Items {
			out[keyOf(it)] = it
		}
		if start = page.LastEvaluatedKey; start == nil {
			return out
		}
	}
}

func (d *differential) put(t fatal, side int, it item) {
	if _, err := d.db.PutItem(context.Background(), &dynamodb.PutItemInput{TableName: &d.tables[side], Item: it}); err != nil {
		t.Fatalf("put: %v", err)
	}
}

func (d *differential) remove(t fatal, side int, it item) {
	key := item{"PK": it["PK"], "SK": it["SK"]}
	if _, err := d.db.DeleteItem(context.Background(), &dynamodb.DeleteItemInput{TableName: &d.tables[side], Key: key}); err != nil {
		t.Fatalf("delete: %v", err)
	}
}

// pair gives the incarnations of the same entity on both sides one name: they are random.
func (d *differential) pair(raw [2]map[string]item) {
	for key, a := range raw[0] {
		b, ok := raw[1][key]
		if !ok || !strings.HasSuffix(key, " #META") {
			continue
		}
		x, y := stringOf(a["pinc"]), stringOf(b["pinc"])
		if d.incarnations[0][x] == "" && d.incarnations[1][y] == "" && x != "" && y != "" {
			d.drawn++
			name := fmt.Sprintf("incarnation %d", d.drawn)
			d.incarnations[0][x], d.incarnations[1][y] = name, name
		}
	}
}

func stringOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// normalise leaves out of the items of a side what is random.
func (d *differential) normalise(side int, raw map[string]item) map[string]attributes {
	out := map[string]attributes{}
	again := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if !strings.HasPrefix(key, d.prefix) {
			continue
		}
		it := raw[key]
		a := attributes{}
		for name, v := range it {
			a[name] = plainValue(v)
		}
		for _, name := range []string{"pinc", "ent"} {
			if v, ok := a[name].(string); ok && d.incarnations[side][v] != "" {
				a[name] = d.incarnations[side][v]
			}
		}
		sk := stringOf(it["SK"])
		switch {
		case strings.HasPrefix(sk, "#AUDIT#"), strings.HasPrefix(sk, "#OP#") && !strings.HasPrefix(sk, "#OP#key"):
			// Ids are random: such items are told apart by what they say, in its order.
			for _, name := range []string{"SK", "event_id", "GSI4SK"} {
				delete(a, name)
			}
			delete(a, "writer")
			kind := stringOf(it["PK"]) + " " + sk[:4] + " " + text(a)
			again[kind]++
			key = fmt.Sprintf("%s (%d)", kind, again[kind])
		case strings.HasPrefix(sk, "#OP#"):
			delete(a, "writer")
		}
		out[key] = a
	}
	return out
}

// plainValue is an attribute as a comparable value with its type.
func plainValue(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return json.Number(v.Value)
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberNULL:
		return nil
	case *types.AttributeValueMemberSS:
		return slices.Sorted(slices.Values(v.Value))
	case *types.AttributeValueMemberL:
		out := make([]any, len(v.Value))
		for i := range v.Value {
			out[i] = plainValue(v.Value[i])
		}
		return out
	case *types.AttributeValueMemberM:
		out := attributes{}
		for name, of := range v.Value {
			out[name] = plainValue(of)
		}
		return out
	}
	return fmt.Sprintf("%T", v)
}

// comparison is what one operation gave on both sides.
type comparison struct {
	d            *differential
	op           operation
	ours, python map[string]any
	items        [2]map[string]attributes
	differences  []difference
}

func (c *comparison) add(item, attribute string, ours, python any) {
	c.differences = append(c.differences, difference{item, attribute, ours, python})
}

func (c *comparison) answers() {
	for _, name := range []string{"result", "error"} {
		a, b := c.ours[name], c.python[name]
		if name == "error" {
			a, b = comparable(a), comparable(b)
		}
		if !reflect.DeepEqual(a, b) {
			c.add("", name, c.ours[name], c.python[name])
		}
	}
}

// comparable leaves out of an error what only its own side says: texts that are not part of the contract.
func comparable(v any) any {
	e, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := maps.Clone(e)
	delete(out, "message")
	delete(out, "cause")
	delete(out, "from_memory")
	if kind, _ := out["type"].(string); strings.HasPrefix(kind, "Entity") {
		delete(out, "entity_id") // ours has it in its text
	}
	return out
}

// pythonSide is the process that runs Python's zae-limiter.
type pythonSide struct {
	in  *json.Encoder
	out *bufio.Scanner
}

func startPython(t *testing.T, endpoint, table, namespace string) *pythonSide {
	interpreter := os.Getenv("ZAE_INTEROP_LIMITER_PYTHON")
	if interpreter == "" {
		t.Fatal("ZAE_INTEROP_LIMITER_PYTHON is not set; make interop installs the Python library and sets it")
	}
	command := exec.Command(interpreter, "-B", "testdata/peer.py", endpoint, table, namespace)
	command.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = command.Wait()
	})
	p := &pythonSide{in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<20)
	ready, err := p.line()
	if err != nil {
		t.Fatal(err)
	}
	if ready["ready"] != "0.17.0" {
		t.Fatalf("zae-limiter %v, want 0.17.0", ready["ready"])
	}
	return p
}

func (p *pythonSide) line() (map[string]any, error) {
	if !p.out.Scan() {
		return nil, errors.Join(p.out.Err(), io.ErrUnexpectedEOF)
	}
	var out map[string]any
	if err := json.Unmarshal(p.out.Bytes(), &out); err != nil {
		return nil, fmt.Errorf("answer %s: %w", p.out.Bytes(), err)
	}
	return out, nil
}

func (p *pythonSide) do(op operation) (map[string]any, error) {
	if err := p.in.Encode(op); err != nil {
		return nil, err
	}
	out, err := p.line()
	delete(out, "id")
	return out, err
}
