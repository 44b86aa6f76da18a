//go:build interop

package peer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Python is a process of Python's zae-limiter with an open repository. It is safe for concurrent use; calls
// run side by side.
type Python struct {
	// Version is that of zae-limiter.
	Version string

	env  *Env
	conn net.Conn

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	broken  error
}

// Options say how a peer opens its repository.
type Options struct {
	// Old takes the older release, 0.10.3, in place of 0.17.0.
	Old bool
	// How is open (the default), connect, or builder.
	How string
	// Namespace is opened; "" is the Namespace of the Env.
	Namespace string
	// ReadFirst switches speculative writes off.
	ReadFirst bool
	// Draw is the place of every element that is drawn at random, such as a shard, modulo their number.
	Draw int
	// More are arguments of open and connect, or calls of the builder, by their names: "config_cache_ttl": 0.
	More Args
}

// Args are arguments by their names in Python.
type Args = map[string]any

// Error is an exception of Python.
type Error struct {
	Type    string
	Parents []string // its base classes
	Message string
	Fields  map[string]any
	// AsDict is what as_dict returns, and RetryAfterHeader its header, of an exception that has them.
	AsDict           json.RawMessage `json:"as_dict"`
	RetryAfterHeader string          `json:"retry_after_header"`
}

func (e *Error) Error() string { return e.Type + ": " + e.Message }

// IsA says whether the exception is one of that class.
func (e *Error) IsA(class string) bool { return e.Type == class || slices.Contains(e.Parents, class) }

type answer struct {
	Result json.RawMessage
	Error  *Error
}

// Open forks a Python process that opens the table. It ends with the test.
func (e *Env) Open(t testing.TB, o Options) *Python {
	t.Helper()
	p := e.Process(t, o.Old)
	if err := p.Reopen(t, o); err != nil {
		t.Fatal(err)
	}
	return p
}

// Process forks a Python process that has not opened anything yet; Reopen opens.
func (e *Env) Process(t testing.TB, old bool) *Python {
	t.Helper()
	release := "0.17"
	if old {
		release = "0.10"
	}
	conn, err := e.machine.connect(release)
	if err != nil {
		t.Fatal(err)
	}
	p := &Python{env: e, conn: conn, waiting: map[int]chan answer{}}
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	return p
}

// Reopen opens the table, also one that another call opened before.
func (p *Python) Reopen(t testing.TB, o Options) error {
	t.Helper()
	more := maps.Clone(o.More)
	if more == nil {
		more = Args{}
	}
	how := o.How
	switch how {
	case "":
		how = "open"
		fallthrough
	case "open":
		if _, set := more["auto_update"]; !set {
			more["auto_update"] = false // Lambda functions are none of this
		}
	}
	namespace := o.Namespace
	if namespace == "" {
		namespace = Namespace
	}
	var opened struct{ Version string }
	err := p.Do("open", Args{
		"how": how, "namespace": namespace, "table": p.env.Table, "endpoint": p.env.Python.URL,
		"speculative": !o.ReadFirst, "draws": o.Draw, "options": more,
	}, &opened)
	p.Version = opened.Version
	p.env.Python.Forget()
	return err
}

func (p *Python) read() {
	reader := bufio.NewReader(p.conn)
	var err error
	for {
		var line []byte
		if line, err = reader.ReadBytes('\n'); err != nil {
			break
		}
		var reply struct {
			ID int
			answer
		}
		if err = json.Unmarshal(line, &reply); err != nil {
			break
		}
		p.mu.Lock()
		waiting := p.waiting[reply.ID]
		delete(p.waiting, reply.ID)
		p.mu.Unlock()
		if waiting != nil {
			waiting <- reply.answer
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = fmt.Errorf("the Python process ended: %w", err)
	for id, waiting := range p.waiting {
		delete(p.waiting, id)
		close(waiting)
	}
}

// Do has the process do an operation of peer.py and decodes its result, unless that is nil. An exception
// is an *Error.
func (p *Python) Do(operation string, arguments Args, result any) error {
	request := Args{"do": operation, "now_ms": p.env.Now()}
	maps.Copy(request, arguments)
	waiting := make(chan answer, 1)
	p.mu.Lock()
	if p.broken != nil {
		defer p.mu.Unlock()
		return p.broken
	}
	p.last++
	request["id"] = p.last
	line, err := json.Marshal(request)
	if err == nil {
		p.waiting[p.last] = waiting
		_, err = p.conn.Write(append(line, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	reply, ok := <-waiting
	switch {
	case !ok:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.broken
	case reply.Error != nil:
		return reply.Error
	case result == nil:
		return nil
	}
	return json.Unmarshal(reply.Result, result)
}

// Try calls a method of the repository.
func (p *Python) Try(method string, arguments Args, result any) error {
	return p.Do("call", Args{"on": "repository", "method": method, "kwargs": arguments}, result)
}

// Repository calls a method of the repository, which must succeed.
func (p *Python) Repository(t testing.TB, method string, arguments Args, result any) {
	t.Helper()
	if err := p.Try(method, arguments, result); err != nil {
		t.Fatalf("Python's %s: %v", method, err)
	}
}

// Limiter calls a method of the limiter, which must succeed.
func (p *Python) Limiter(t testing.TB, method string, arguments Args, result any) {
	t.Helper()
	if err := p.Do("call", Args{"on": "limiter", "method": method, "kwargs": arguments}, result); err != nil {
		t.Fatalf("Python's %s: %v", method, err)
	}
}

// Lease is what a lease of Python says of itself.
type Lease struct {
	Consumed           map[string]int64
	Bypassed, Degraded bool
	Overdrawn          []string
	Resources          []string
	Entries            []Entry
}

// Entry is one limit of a lease.
type Entry struct {
	EntityID    string `json:"entity_id"`
	Resource    string
	Limit       map[string]any
	Consumed    int64
	Shard       int
	TokensMilli int64 `json:"tokens_milli"`
}

// Acquire makes a whole acquire with these steps in its body: Args{"adjust": Args{"rpm": 5}} and so on for
// consume and release, with "on" for a further resource; Args{"raise": "text"} fails it.
func (p *Python) Acquire(entity, resource string, consume Args, body ...Args) (Lease, error) {
	return p.AcquireWith(Args{"entity_id": entity, "resource": resource, "consume": consume, "body": append([]Args{}, body...)})
}

// AcquireWith makes an acquire with all its arguments by name.
func (p *Python) AcquireWith(arguments Args) (lease Lease, err error) {
	err = p.Do("acquire", arguments, &lease)
	return lease, err
}

// Must makes an acquire that must be admitted.
func (p *Python) Must(t testing.TB, entity, resource string, consume Args, body ...Args) Lease {
	t.Helper()
	lease, err := p.Acquire(entity, resource, consume, body...)
	if err != nil {
		t.Fatalf("Python's acquire of %v: %v", consume, err)
	}
	return lease
}

// Refused makes an acquire that must fail with the exception.
func (p *Python) Refused(t testing.TB, class, entity, resource string, consume Args, body ...Args) *Error {
	t.Helper()
	lease, err := p.Acquire(entity, resource, consume, body...)
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.IsA(class) {
		t.Fatalf("Python's acquire of %v: %+v, %v, want %s", consume, lease, err, class)
	}
	return e
}

// Enter makes the first half of an acquire, under a name for its lease. Body and Exit go on with it.
func (p *Python) Enter(t testing.TB, name, entity, resource string, consume Args) (lease Lease) {
	t.Helper()
	if err := p.Do("enter", Args{"lease": name, "entity_id": entity, "resource": resource, "consume": consume}, &lease); err != nil {
		t.Fatalf("Python's acquire of %v: %v", consume, err)
	}
	return lease
}

// Body does one step in the body of a lease.
func (p *Python) Body(t testing.TB, name string, step Args) (lease Lease) {
	t.Helper()
	arguments := maps.Clone(step)
	arguments["lease"] = name
	if err := p.Do("body", arguments, &lease); err != nil {
		t.Fatalf("Python's %v: %v", step, err)
	}
	return lease
}

// Exit ends a lease; an error other than "" is that of its body.
func (p *Python) Exit(t testing.TB, name, failure string) {
	t.Helper()
	arguments := Args{"lease": name}
	if failure != "" {
		arguments["error"] = failure
	}
	if err := p.Do("exit", arguments, nil); err != nil {
		t.Fatalf("Python's exit: %v", err)
	}
}

func wire(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return fmt.Sprintf("%q", v.Value)
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberBOOL:
		return fmt.Sprint(v.Value)
	case *types.AttributeValueMemberSS:
		return fmt.Sprintf("%q", slices.Sorted(slices.Values(v.Value)))
	case *types.AttributeValueMemberM:
		return "{" + strings.ReplaceAll(Item(v.Value).String(), "\n", ",") + "}"
	case *types.AttributeValueMemberL:
		var list []string
		for _, element := range v.Value {
			list = append(list, wire(element))
		}
		return "[" + strings.Join(list, ",") + "]"
	case *types.AttributeValueMemberNULL:
		return "null"
	}
	return fmt.Sprintf("%T", v)
}
