//go:build interop

package locust_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// patience is how long anything may take on a busy machine; tests end as soon as it has happened.
const patience = 90 * time.Second

// program is the binary under test, built once.
var program string

// TestMain builds the program and lets more tests run at once than there are cores: they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
		_ = flag.Set("test.parallel", "10")
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "interop-locust-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "zae-limiter")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/zae-limiter").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// newest and older are the interpreters that have these versions of Locust.
func newest(t *testing.T) string { return python(t, "ZAE_INTEROP_LOCUST_PYTHON") }
func older(t *testing.T) string  { return python(t, "ZAE_INTEROP_LOCUST_OLD_PYTHON") }

func python(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set; make interop installs Locust and sets it", variable)
	}
	return path
}

// eachLocust runs a test with both versions of Locust, side by side.
func eachLocust(t *testing.T, test func(t *testing.T, python string)) {
	t.Helper()
	t.Parallel()
	for name, interpreter := range map[string]func(*testing.T) string{"newest": newest, "older": older} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, interpreter(t))
		})
	}
}

// until waits for a condition, and says what there is instead when it does not come.
func until(t *testing.T, what string, instead func() string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; there is %s", what, patience, instead())
		}
	}
}

// process is a child of the test, which kills it at its end.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	name  string
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer for what the process says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func start(t *testing.T, name string, environment []string, command string, arguments ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(command, arguments...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its exit code is asked for where it matters
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, tail(p.output(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(len(s)-n, 0):] }

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// exit waits for the end of the process and returns its code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
		return 0
	}
}

func (p *process) says(text string) {
	p.t.Helper()
	until(p.t, p.name+" says "+text, p.output, func() bool { return strings.Contains(p.output(), text) })
}

// entry is a message that passed the socket of a process of Locust.
type entry struct {
	At   float64
	Dir  string
	Type string
	Data json.RawMessage
	Node string
}

func (e *entry) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(e.Data, into); err != nil {
		t.Fatalf("%s %s: %v", e.Type, e.Data, err)
	}
}

// users are those of a spawn.
func (e *entry) users(t *testing.T) map[string]int {
	t.Helper()
	var data struct {
		Users map[string]int `json:"user_classes_count"`
	}
	e.decode(t, &data)
	return data.Users
}

//go:embed testdata/prelude.py
var prelude string

// locust is a process of Locust.
type locust struct {
	*process
	folder string
}

// startLocust starts Locust with a locustfile, "" = none.
func startLocust(t *testing.T, python, locustfile string, environment []string, arguments ...string) *locust {
	t.Helper()
	l := &locust{folder: t.TempDir()}
	line := append([]string{"-u", "-m", "locust"}, arguments...)
	if locustfile != "" {
		file := filepath.Join(l.folder, "locustfile.py")
		if err := os.WriteFile(file, []byte(prelude+locustfile), 0o600); err != nil {
			t.Fatal(err)
		}
		line = append(line, "-f", file)
	}
	environment = append([]string{
		"PYTHONDONTWRITEBYTECODE=1", "TRACE=" + l.file("trace"), "COUNTS=" + l.file("counts"),
	}, environment...)
	l.process = start(t, "locust "+strings.Join(arguments, " "), environment, python, line...)
	return l
}

func (l *locust) file(name string) string { return filepath.Join(l.folder, name) }

// trace returns what passed the socket so far.
func (l *locust) trace() []entry {
	l.t.Helper()
	data, _ := os.ReadFile(l.file("trace")) // before it is there, nothing has passed
	var list []entry
	for line := range bytes.Lines(data) {
		var e entry
		if bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(line, &e) == nil {
			list = append(list, e)
		}
	}
	return list
}

// passed returns the messages of a direction ("in", "out") and type.
func (l *locust) passed(dir, kind string) []entry {
	l.t.Helper()
	var list []entry
	for _, e := range l.trace() {
		if e.Dir == dir && e.Type == kind {
			list = append(list, e)
		}
	}
	return list
}

// awaits waits until so many messages have passed and returns all of them.
func (l *locust) awaits(dir, kind string, n int) []entry {
	l.t.Helper()
	until(l.t, fmt.Sprintf("%d messages %s %s", n, kind, dir), func() string { return tail(fmt.Sprint(l.trace()), 3000) },
		func() bool { return len(l.passed(dir, kind)) >= n })
	return l.passed(dir, kind)
}

// counted is what the users of a process of Locust did, as they say.
type counted struct {
	Requests, Failures, Untimed, Raised, Length, Begun, Ended int64
	Sum                                                       float64
	Tasks, Starts, Stops                                      map[string]int
}

// counted waits for the end of the process.
func (l *locust) counted() counted {
	l.t.Helper()
	l.exit()
	data, err := os.ReadFile(l.file("counts"))
	if err != nil {
		l.t.Fatal(err)
	}
	var c counted
	if err := json.Unmarshal(data, &c); err != nil {
		l.t.Fatal(err)
	}
	return c
}

// startWorker starts a worker of Locust.
func startWorker(t *testing.T, python, port, locustfile string, environment ...string) *locust {
	t.Helper()
	return startLocust(t, python, locustfile, environment, "--worker", "--master-host", "127.0.0.1", "--master-port", port)
}

// locustMaster is a master of Locust.
type locustMaster struct {
	*locust
	port string // for workers
	web  string // its address
}

// startMaster starts a master of Locust with a web UI.
func startMaster(t *testing.T, python, locustfile string, arguments ...string) *locustMaster {
	t.Helper()
	ports := filepath.Join(t.TempDir(), "ports")
	line := append([]string{"--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", "0", "--web-host", "127.0.0.1", "--web-port", "0"}, arguments...)
	m := &locustMaster{locust: startLocust(t, python, locustfile, []string{"PORTS=" + ports}, line...)}
	var told struct{ Workers, Web int }
	until(t, "the master tells its ports", m.output, func() bool {
		data, err := os.ReadFile(ports)
		return err == nil && json.Unmarshal(data, &told) == nil
	})
	m.port, m.web = fmt.Sprint(told.Workers), fmt.Sprintf("http://127.0.0.1:%d", told.Web)
	return m
}

// ours is a master of ours in this process, on a port of loopback.
type ours struct {
	*master.Master
	t    *testing.T
	port string
	stop context.CancelFunc
	done chan struct{}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// freePort returns a port that nothing listens on yet.
func freePort(t *testing.T) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

func startOurs(t *testing.T, config master.Config) *ours {
	t.Helper()
	return startOursOn(t, listen(t, "127.0.0.1:0"), config)
}

func startOursOn(t *testing.T, listener net.Listener, config master.Config) *ours {
	t.Helper()
	m, err := master.New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	o := &ours{Master: m, t: t, port: port, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if err := m.Run(ctx, listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-o.done
	})
	return o
}

func (o *ours) until(what string, condition func() bool) {
	o.t.Helper()
	until(o.t, what, func() string { return fmt.Sprintf("state %s, workers %+v", o.State(), o.Workers()) }, condition)
}

// workers waits until so many workers can run users.
func (o *ours) workers(n int) {
	o.t.Helper()
	o.until(fmt.Sprintf("%d workers", n), func() bool { return o.able() == n })
}

func (o *ours) able() int {
	n := 0
	for _, w := range o.Workers() {
		if w.State == master.StateReady || w.State == master.StateSpawning || w.State == master.StateRunning {
			n++
		}
	}
	return n
}

// knows waits until the master has learned which classes its workers have.
func (o *ours) knows(classes ...string) {
	o.t.Helper()
	o.until("classes "+strings.Join(classes, ", "), func() bool {
		var names []string
		for _, c := range o.Classes() {
			names = append(names, c.Name)
		}
		return strings.Join(names, ",") == strings.Join(classes, ",")
	})
}

func (o *ours) total() int {
	n := 0
	for _, count := range o.Users() {
		n += count
	}
	return n
}

func (o *ours) running(users int) {
	o.t.Helper()
	o.until(fmt.Sprintf("%d users running", users), func() bool { return o.State() == master.StateRunning && o.total() == users })
}

func (o *ours) begin(plan master.Plan) {
	o.t.Helper()
	if _, err := o.Start(plan); err != nil {
		o.t.Fatal(err)
	}
}

func (o *ours) end() master.Outcome {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := o.Stop(ctx); err != nil {
		o.t.Fatal(err)
	}
	outcome, _ := o.Outcome()
	return outcome
}

func classes(list ...*loadtest.UserClass) []*loadtest.UserClass { return list }

// program runs our binary as a master with a web UI.
type oursProcess struct {
	*process
	port, web string
}

// startProgram starts our binary.
func startProgram(t *testing.T, arguments ...string) *process {
	t.Helper()
	p := start(t, "zae-limiter "+strings.Join(arguments, " "), []string{"ZAE_LIMITER_SECRET="}, program, arguments...)
	return p
}

// startOurProgram starts `load master` of a Starlark file (or others, by arguments) with a web UI.
func startOurProgram(t *testing.T, bind string, arguments ...string) *oursProcess {
	t.Helper()
	p := &oursProcess{process: startProgram(t, append([]string{"load", "master", "--bind", bind, "--web-port", "0"}, arguments...)...)}
	p.says("Web UI:")
	p.says("\n")
	for line := range strings.Lines(p.output()) {
		if rest, ok := strings.CutPrefix(line, "Workers join at "); ok {
			_, p.port, _ = net.SplitHostPort(strings.TrimSpace(rest))
		}
		if rest, ok := strings.CutPrefix(line, "Web UI:"); ok {
			p.web = strings.Replace(strings.TrimSpace(rest), "localhost", "127.0.0.1", 1)
		}
	}
	return p
}

// writeFile writes a file of its own and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// get reads JSON from a web server.
func get(t *testing.T, address string, into any) {
	t.Helper()
	text := getText(t, address)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v\n%s", address, err, text)
	}
}

func getText(t *testing.T, address string) string {
	t.Helper()
	return getTextOf(t, http.MethodGet, address)
}

func getTextOf(t *testing.T, method, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", address, response.Status, err, body)
	}
	return string(body)
}

// post sends a form and wants success.
func post(t *testing.T, address string, form url.Values) {
	t.Helper()
	response, err := http.PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Success bool
		Message string
	}
	body, _ := io.ReadAll(response.Body)
	if err := json.Unmarshal(body, &answer); err != nil || !answer.Success {
		t.Fatalf("%s %v: %s %s", address, form, response.Status, body)
	}
}

func swarm(t *testing.T, web string, users int, rate float64, more ...string) {
	t.Helper()
	form := url.Values{"user_count": {fmt.Sprint(users)}, "spawn_rate": {fmt.Sprint(rate)}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	post(t, web+"/swarm", form)
}

// requests is what /stats/requests says, of Locust and of ours.
type requests struct {
	State      string           `json:"state"`
	UserCount  int              `json:"user_count"`
	Stats      []map[string]any `json:"stats"`
	Errors     []map[string]any `json:"errors"`
	CurrentRPS float64          `json:"current_rps"`
	Workers    []struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Users int    `json:"user_count"`
	} `json:"workers"`
}

func (r *requests) row(name string) map[string]any {
	for _, row := range r.Stats {
		if row["name"] == name {
			return row
		}
	}
	return nil
}

// untilRequests waits for what /stats/requests says.
func untilRequests(t *testing.T, web, what string, condition func(*requests) bool) requests {
	t.Helper()
	var r requests
	until(t, what, func() string { return fmt.Sprintf("%+v", r) }, func() bool {
		r = requests{}
		get(t, web+"/stats/requests", &r)
		return condition(&r)
	})
	return r
}

// goWorker is a worker of ours in this process.
type goWorker struct {
	*worker.Worker
	status chan worker.Status
	stop   context.CancelFunc
}

// startGoWorker starts a worker of ours; what the configuration leaves open is filled in.
func startGoWorker(t *testing.T, port string, list []*loadtest.UserClass, change func(*worker.Config)) *goWorker {
	t.Helper()
	config := worker.Config{
		Master: "127.0.0.1:" + port, Cores: 2,
		Open: func(context.Context, worker.Run) (*worker.Scenario, error) {
			return &worker.Scenario{Classes: list}, nil
		},
	}
	for _, c := range list {
		config.ClassNames = append(config.ClassNames, c.Name)
	}
	if change != nil {
		change(&config)
	}
	w, err := worker.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &goWorker{Worker: w, status: make(chan worker.Status, 1), stop: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, err := w.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		g.status <- status
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return g
}

// ends waits for the end of the worker.
func (g *goWorker) ends(t *testing.T) worker.Status {
	t.Helper()
	select {
	case s := <-g.status:
		return s
	case <-time.After(patience):
		t.Fatal("the worker does not end")
		return ""
	}
}

// peer is a hand-made worker: it says what the test wants.
type peer struct {
	t  *testing.T
	id string
	*wire.Dealer

	mu       sync.Mutex
	received []wire.Message
}

func startPeer(t *testing.T, port, id string) *peer {
	t.Helper()
	p := &peer{t: t, id: id, Dealer: wire.NewDealer(wire.DealerOptions{Identity: id, Address: "127.0.0.1:" + port})}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = p.Dealer.Run(ctx) })
	group.Go(func() {
		for {
			m, err := p.Receive(ctx)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.received = append(p.received, m)
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return p
}

func (p *peer) send(kind string, data any) {
	p.t.Helper()
	if err := p.Send(&wire.Message{Type: kind, Data: data, NodeID: p.id}); err != nil {
		p.t.Fatal(err)
	}
}

// got returns the messages of a type.
func (p *peer) got(kind string) []wire.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []wire.Message
	for _, m := range p.received {
		if m.Type == kind {
			list = append(list, m)
		}
	}
	return list
}

func (p *peer) awaits(kind string, n int) []wire.Message {
	p.t.Helper()
	until(p.t, fmt.Sprintf("%d messages %s", n, kind), func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return fmt.Sprint(p.received)
	}, func() bool { return len(p.got(kind)) >= n })
	return p.got(kind)
}

// puppet is a hand-made master: it says what the test wants.
type puppet struct {
	t      *testing.T
	router *wire.Router
	port   string
	stop   func()

	mu       sync.Mutex
	received []said
	mute     bool // no heartbeat is answered
}

type said struct {
	at time.Time
	wire.Event
}

func startPuppet(t *testing.T, address string) *puppet {
	t.Helper()
	listener := listen(t, address)
	p := &puppet{t: t}
	_, p.port, _ = net.SplitHostPort(listener.Addr().String())
	p.router = wire.NewRouter(wire.RouterOptions{Handle: p.handle})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.router.Serve(ctx, listener)
	}()
	p.stop = sync.OnceFunc(func() {
		closing, cancelClosing := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancelClosing()
		p.router.Close(closing)
		cancel()
		<-done
	})
	t.Cleanup(p.stop)
	return p
}

func (p *puppet) handle(e wire.Event) {
	p.mu.Lock()
	p.received = append(p.received, said{time.Now(), e})
	mute := p.mute
	p.mu.Unlock()
	if e.Kind != wire.Received {
		return
	}
	switch e.Message.Type {
	case wire.TypeClientReady:
		_ = p.router.Send(e.Identity, &wire.Message{Type: wire.TypeAck, Data: wire.Ack{Index: 7}, NodeID: e.Identity})
	case wire.TypeHeartbeat:
		if !mute {
			_ = p.router.Send(e.Identity, &wire.Message{Type: wire.TypeHeartbeat, NodeID: e.Identity})
		}
	}
}

func (p *puppet) send(id, kind string, data any) {
	p.t.Helper()
	if err := p.router.Send(id, &wire.Message{Type: kind, Data: data, NodeID: id}); err != nil {
		p.t.Fatal(err)
	}
}

// all returns what was received but heartbeats and statistics.
func (p *puppet) all() []said {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []said
	for _, s := range p.received {
		if s.Kind == wire.Received && s.Message.Type != wire.TypeHeartbeat && s.Message.Type != wire.TypeStats && s.Message.Type != wire.TypeLogs {
			list = append(list, s)
		}
	}
	return list
}

func (p *puppet) got(kind string) []said {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []said
	for _, s := range p.received {
		if s.Kind == wire.Received && s.Message.Type == kind {
			list = append(list, s)
		}
	}
	return list
}

func (p *puppet) awaits(kind string, n int) []said {
	p.t.Helper()
	until(p.t, fmt.Sprintf("%d messages %s", n, kind), func() string { return fmt.Sprint(p.all()) },
		func() bool { return len(p.got(kind)) >= n })
	return p.got(kind)
}
