package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	ssmfake "github.com/zeroae/zae-limiter-go/internal/awsfake/ssm"
)

// pidVariable names a file to which a client of these tests writes its process id.
const pidVariable = "TUNNEL_TEST_PID"

// The test binary is the program that tunnels execute again.
func TestMain(m *testing.M) {
	if os.Getenv(ClientVariable) == "" {
		os.Exit(m.Run())
	}
	if file := os.Getenv(pidVariable); file != "" {
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	RunClient()
}

const (
	cluster, task, runtimeID = "stress_load", "0123abcd", "0123abcd-42"
	// patience is for what must happen and takes no time worth naming.
	patience = 5 * time.Minute
)

// world is an account with one task whose container serves HTTP.
type world struct {
	t         *testing.T
	service   *ssmfake.Service
	container *httptest.Server
	client    *ssm.Client
	config    Config
	events    chan Event

	mu       sync.Mutex
	refusals int                                               // how often the agent is not connected yet
	deny     func(action, resource string) bool                // what the caller may not do
	before   func(call *protocol.Call)                         // looks at each call; may be nil
	channel  func(w http.ResponseWriter, r *http.Request) bool // takes over a data channel; may be nil
	calls    []string
	keys     []string // access keys that data channels were signed with
	hijacked []net.Conn
	attached chan struct{} // one for each of them
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, events: make(chan Event, 100), attached: make(chan struct{}, 100)}
	w.service = ssmfake.New(w, ssmfake.Limits{})
	front := &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: w.service.Services(), Keys: w, Fail: w.fail}
	config := protocoltest.Client(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(front, rw, r) }))
	t.Cleanup(w.service.Close)
	w.container = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(rw, r.Body)
	}))
	t.Cleanup(w.container.Close)
	_, port, _ := net.SplitHostPort(w.container.Listener.Addr().String())
	remote, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	w.client = ssm.NewFromConfig(config)
	w.config = Config{
		Account:      &account.Account{Config: config, EndpointURL: *config.BaseEndpoint},
		Target:       Target(cluster, task, runtimeID),
		RemotePort:   remote,
		StillRunning: func(context.Context) (bool, string) { return true, "" },
		Progress:     func(e Event) { w.events <- e },
		Environ:      os.Environ(),
		RetryEvery:   10 * time.Millisecond, ReadyWithin: patience, ConnectWithin: patience, AnswerWithin: patience, Grace: patience,
	}
	return w
}

// Target is the world's only container.
func (w *world) Target(c, t, r string) (ssmfake.Target, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusals != 0 {
		w.refusals--
		return ssmfake.Target{}, true
	}
	return ssmfake.Target{Address: "127.0.0.1", Connected: true}, c == cluster && t == task && r == runtimeID
}

// Find knows every key.
func (w *world) Find(string, string) (*protocol.Identity, error) {
	return &protocol.Identity{Principal: "arn:aws:iam::123456789012:user/ann", Account: protocoltest.Account, Guard: w}, nil
}

func (w *world) Allow(action, resource string, _ map[string]string) error {
	if w.deny != nil && w.deny(action, resource) {
		return protocol.Errorf("AccessDeniedException", "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", action, resource, action)
	}
	return nil
}

func (w *world) fail(call *protocol.Call) error {
	w.mu.Lock()
	w.calls = append(w.calls, call.Action)
	before := w.before
	w.mu.Unlock()
	if before != nil {
		before(call)
	}
	return nil
}

func (w *world) serve(front http.Handler, rw http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/v1/data-channel/") {
		_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ := strings.Cut(credential, "/")
		w.mu.Lock()
		w.keys = append(w.keys, key)
		w.mu.Unlock()
		if w.channel != nil && w.channel(rw, r) {
			return
		}
		rw = &recorder{rw, w}
	}
	front.ServeHTTP(rw, r)
}

// recorder remembers the connections of data channels.
type recorder struct {
	http.ResponseWriter
	world *world
}

func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.world.mu.Lock()
		defer r.world.mu.Unlock()
		r.world.hijacked = append(r.world.hijacked, conn)
		r.world.attached <- struct{}{}
	}
	return conn, buffered, err
}

func (w *world) open() *Tunnel {
	w.t.Helper()
	tunnel, err := Open(w.t.Context(), w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tunnel.Close() })
	return tunnel
}

// openFails returns the error of an attempt, after which no session may be left.
func (w *world) openFails(ctx context.Context, want error) *account.Error {
	w.t.Helper()
	tunnel, err := Open(ctx, w.config)
	if err == nil {
		_ = tunnel.Close()
	}
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
	if active := w.active(); len(active) != 0 {
		w.t.Errorf("sessions are left: %v", active)
	}
	explained, _ := errors.AsType[*account.Error](err)
	return explained
}

// active returns the ids of the sessions that are open.
func (w *world) active() []string {
	w.t.Helper()
	out, err := w.client.DescribeSessions(w.t.Context(), &ssm.DescribeSessionsInput{State: types.SessionStateActive})
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, one := range out.Sessions {
		ids = append(ids, *one.SessionId)
	}
	return ids
}

// await waits for a state.
func (w *world) await(state State) Event {
	w.t.Helper()
	for {
		select {
		case e := <-w.events:
			if e.State == state {
				return e
			}
		case <-w.t.Context().Done():
			w.t.Fatalf("no event %q", state)
		}
	}
}

// echo sends a body through the tunnel and checks what comes back.
func echo(t *testing.T, tunnel *Tunnel, size int) {
	t.Helper()
	if err := tryEcho(t.Context(), tunnel, size); err != nil {
		t.Error(err)
	}
}

func tryEcho(ctx context.Context, tunnel *Tunnel, size int) error {
	body := make([]byte, size)
	rand.Read(body)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, tunnel.URL()+"/echo", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if sha256.Sum256(got) != sha256.Sum256(body) {
		return fmt.Errorf("%d bytes came back changed, as %d", size, len(got))
	}
	return nil
}

func portIsFree(t *testing.T, port int) {
	t.Helper()
	if err := testBind(port); err != nil {
		t.Errorf("port is not free: %v", err)
	}
}

func TestATunnelCarriesManyConnectionsAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	tunnel := w.open()
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() { echo(t, tunnel, i*10_000) })
	}
	clients.Wait()
	if got := w.await(Ready).Detail; got != tunnel.URL() {
		t.Errorf("got %q told, want %q", got, tunnel.URL())
	}
	if active := w.active(); len(active) != 1 {
		t.Errorf("got sessions %v, want one", active)
	}
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}
	if active := w.active(); len(active) != 0 {
		t.Errorf("sessions are left: %v", active)
	}
	portIsFree(t, tunnel.Port())
}

func TestAChannelThatCannotBeReachedIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.config.ReadyWithin = 100 * time.Millisecond
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	w.channel = func(http.ResponseWriter, *http.Request) bool {
		<-ended
		return true
	}
	if err := w.openFails(t.Context(), ErrNotReady); !strings.Contains(err.Hint, "ssmmessages.us-east-1") {
		t.Errorf("got hint %q, want the endpoint in it", err.Hint)
	}
}

func TestAThirdSessionIsGivenUpWithAnExplanation(t *testing.T) {
	w := newWorld(t)
	w.config.ReadyWithin = 100 * time.Millisecond
	for range 2 {
		if _, err := w.client.StartSession(t.Context(), &ssm.StartSessionInput{Target: &w.config.Target, DocumentName: aws.String(documentPort)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(t.Context(), w.config)
	explained, _ := errors.AsType[*account.Error](err)
	if !errors.Is(err, ErrNotReady) || !strings.Contains(explained.Hint, "2 sessions") {
		t.Errorf("got %v, want the limit explained", err)
	}
	if active := w.active(); len(active) != 2 {
		t.Errorf("got sessions %v, want the two others", active)
	}
}

func TestABusyPortIsFoundBeforeASessionStarts(t *testing.T) {
	w := newWorld(t)
	w.config.LocalPort = w.config.RemotePort // the container listens there
	if err := w.openFails(t.Context(), ErrPortBusy); !strings.Contains(err.Hint, "--port") || !strings.Contains(err.Error(), strconv.Itoa(w.config.LocalPort)) {
		t.Errorf("got %v (%s), want the port and --port", err, err.Hint)
	}
	if slices.Contains(w.calls, "StartSession") {
		t.Error("a session was started")
	}
}

func TestAPortThatIsTakenInTheMeantimeIsFoundAsWell(t *testing.T) {
	w := newWorld(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.config.LocalPort = free.Addr().(*net.TCPAddr).Port
	w.config.ReadyWithin = 500 * time.Millisecond // the client tells it or hangs
	free.Close()
	w.before = func(call *protocol.Call) {
		if call.Action == "StartSession" {
			if taken, err := net.Listen("tcp", free.Addr().String()); err == nil {
				t.Cleanup(func() { taken.Close() })
			}
		}
	}
	w.openFails(t.Context(), ErrPortBusy)
}

func TestAnAgentThatRegistersLateIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.refusals = 2
	w.open()
	w.await(NotConnected)
	w.await(NotConnected)
	w.await(Ready)
}

func TestAnAgentThatNeverRegistersIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.refusals = -1
	w.config.ConnectWithin = time.Millisecond
	_, err := Open(t.Context(), w.config)
	explained, _ := errors.AsType[*account.Error](err)
	if _, not := errors.AsType[*types.TargetNotConnected](err); !not || !strings.Contains(explained.Hint, "2 sessions") {
		t.Errorf("got %v, want the agent explained", err)
	}
}

func TestTheAgentOfATaskThatEndsIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.refusals = -1
	asked := 0
	w.config.StillRunning = func(context.Context) (bool, string) {
		asked++
		return asked < 3, "UserInitiated"
	}
	_, err := Open(t.Context(), w.config)
	if !errors.Is(err, ErrTaskStopped) || !strings.Contains(err.Error(), "UserInitiated") || asked != 3 {
		t.Errorf("got %v after %d questions, want the reason after 3", err, asked)
	}
}

func TestALostSessionIsReplacedAtTheSamePortWithFreshCredentials(t *testing.T) {
	w := newWorld(t)
	var retrieved atomic.Int32
	w.config.Account.Config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: fmt.Sprintf("AKID%d", retrieved.Add(1)), SecretAccessKey: "secret"}, nil
	})
	tunnel := w.open()
	port, first := tunnel.Port(), w.active()[0]
	if _, err := w.client.TerminateSession(t.Context(), &ssm.TerminateSessionInput{SessionId: &first}); err != nil {
		t.Fatal(err)
	}
	w.await(Lost)
	w.await(Ready)
	echo(t, tunnel, 5000)
	if active := w.active(); len(active) != 1 || active[0] == first || tunnel.Port() != port {
		t.Errorf("got sessions %v at port %d, want another one than %s at %d", active, tunnel.Port(), first, port)
	}
	if len(w.keys) != 2 || w.keys[0] == w.keys[1] {
		t.Errorf("got data channels signed with %v, want two keys", w.keys)
	}
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}
}

func TestABrokenConnectionIsResumedByTheClient(t *testing.T) {
	w := newWorld(t)
	tunnel := w.open()
	w.await(Ready)
	w.breakChannels()
	for range 2 {
		<-w.attached // the second one is the client's next
	}
	w.untilConnected()
	// A connection that the client took while it resumed may end.
	for err := tryEcho(t.Context(), tunnel, 5000); err != nil; err = tryEcho(t.Context(), tunnel, 5000) {
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if len(w.events) != 0 {
		t.Errorf("something was told: %v", <-w.events)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.calls, "ResumeSession") {
		t.Errorf("got calls %v, want the session resumed", w.calls)
	}
}

// The client is then lost: it ends with the next connection that it accepts.
func TestAConnectionThatBreaksInTheMiddleIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.config.CheckEvery = 10 * time.Millisecond
	var away atomic.Bool
	w.channel = func(rw http.ResponseWriter, _ *http.Request) bool {
		refused := away.Load()
		if refused {
			http.Error(rw, "away", http.StatusServiceUnavailable)
		}
		return refused
	}
	tunnel := w.open()
	w.await(Ready)
	away.Store(true)
	w.breakChannels()
	w.await(Lost)
	away.Store(false)
	w.await(Ready)
	echo(t, tunnel, 5000)
}

func (w *world) breakChannels() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.hijacked {
		conn.Close()
	}
}

// untilConnected waits until the only session has a client.
func (w *world) untilConnected() {
	w.t.Helper()
	for {
		out, err := w.client.DescribeSessions(w.t.Context(), &ssm.DescribeSessionsInput{State: types.SessionStateActive})
		if err != nil {
			w.t.Fatal(err)
		}
		if out.Sessions[0].Status == types.SessionStatusConnected {
			return
		}
		if err := sleep(w.t.Context(), time.Millisecond); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestATunnelEndsWithItsTask(t *testing.T) {
	stopped := func(context.Context) (bool, string) { return false, "SpotInterruption" }
	tests := map[string]func(*world){
		"its sessions end":        func(w *world) { w.service.EndTask(task) },
		"its container is silent": func(w *world) { w.container.Close() },
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.config.StillRunning = stopped
			w.config.CheckEvery = 10 * time.Millisecond
			tunnel := w.open()
			end(w)
			if err := tunnel.Err(); !errors.Is(err, ErrTaskStopped) || !strings.Contains(err.Error(), "SpotInterruption") {
				t.Errorf("got %v, want the reason", err)
			}
			if active := w.active(); len(active) != 0 {
				t.Errorf("sessions are left: %v", active)
			}
		})
	}
}

func TestAContainerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.container.Close()
	w.config.AnswerWithin = 100 * time.Millisecond
	w.openFails(t.Context(), ErrNoAnswer)
}

func TestGivingUpLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	w.channel = func(http.ResponseWriter, *http.Request) bool {
		cancel() // as by Ctrl+C
		<-ended
		return true
	}
	w.openFails(ctx, context.Canceled)
}

func TestAClientEndsWithWhoeverStartedIt(t *testing.T) {
	w := newWorld(t)
	config := w.config
	if err := config.complete(); err != nil {
		t.Fatal(err)
	}
	tunnel := &Tunnel{config: config, client: w.client}
	request, response, err := tunnel.startSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tunnel.start(t.Context(), request, response)
	if err != nil {
		t.Fatal(err)
	}
	<-c.ready
	c.stdin.Close() // as when this process dies
	<-c.done
	for len(w.active()) != 0 { // the agent learns it from the client
		if err := sleep(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDenials(t *testing.T) {
	onTask := func(_, resource string) bool { return strings.Contains(resource, ":task/") }
	tests := map[string]struct {
		deny func(action, resource string) bool
		hint string // "" = the tunnel opens
	}{
		"the plain document":     {func(_, resource string) bool { return strings.HasSuffix(resource, "/"+documentPort) }, ""},
		"the other document":     {func(_, resource string) bool { return strings.HasSuffix(resource, "/"+documentRemoteHost) }, ""},
		"both documents":         {func(_, resource string) bool { return strings.Contains(resource, ":document/") }, "document/" + documentPort},
		"every session to tasks": {onTask, "ecs:ExecuteCommand"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.deny = test.deny
			if test.hint == "" {
				echo(t, w.open(), 100)
				return
			}
			_, err := Open(t.Context(), w.config)
			explained, ok := errors.AsType[*account.Error](err)
			if !ok || explained.Kind != account.Denied || explained.Action != "ssm:StartSession" || !strings.Contains(explained.Hint, test.hint) {
				t.Errorf("got %v, want a denial with %q", err, test.hint)
			}
		})
	}
}

func TestAProgramThatIsNotThereLeavesNoSession(t *testing.T) {
	w := newWorld(t)
	w.config.Executable = filepath.Join(t.TempDir(), "absent")
	w.openFails(t.Context(), os.ErrNotExist)
}
