// Package tunnel forwards a port of this machine to a port of a running task, by Session Manager's
// official client (load-cli.md 6.5). The client runs as a child of this program, which is the same
// executable: see ClientVariable and RunClient.
package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/zeroae/zae-limiter-go/internal/account"
)

// Config says what a tunnel leads to. Zero durations have the defaults named with them.
type Config struct {
	Account *account.Account
	// Target is the container: see Target.
	Target string
	// RemotePort is the container's port.
	RemotePort int
	// LocalPort is the port of this machine, on its loopback interface; 0 takes a free one.
	LocalPort int
	// Path is asked for by GET to learn whether the tunnel carries; the default is /stats/requests.
	Path string
	// StillRunning is asked after the tunnel was lost and while the agent is waited for. It says whether the
	// task still runs and, when it does not, why.
	StillRunning func(ctx context.Context) (running bool, reason string)
	// Progress is told what happens; may be nil. It is called by one goroutine at a time and must not
	// call the tunnel.
	Progress func(Event)

	// Executable is the program that calls RunClient; the default is this one. Environ is the client's
	// environment, to which credentials and region are added; the default is that of this process.
	Executable string
	Environ    []string

	// ReadyWithin is how long a client may take until it listens: 30 s. It waits for ever itself when
	// its data channel cannot be opened.
	ReadyWithin time.Duration
	// ConnectWithin is how long an agent may take to register itself: 60 s.
	ConnectWithin time.Duration
	// AnswerWithin is how long the container may take to answer once the client listens: 60 s.
	AnswerWithin time.Duration
	// RetryEvery is the pause between attempts of every kind: 2 s.
	RetryEvery time.Duration
	// CheckEvery is how often a tunnel is checked that is open: 15 s.
	CheckEvery time.Duration
	// Grace is how long a client may take to end: 5 s.
	Grace time.Duration
}

const (
	// attempts is how often a client is started that ends before it listens.
	attempts = 5
	// misses is how many checks in a row have no answer before the tunnel counts as lost.
	misses = 3
	// probeWithin bounds one request through the tunnel.
	probeWithin = 5 * time.Second
)

// Why a tunnel is not there, or not any more.
var (
	// ErrPortBusy: the local port cannot be used, mostly because another program listens there.
	ErrPortBusy = errors.New("cannot listen at local port")
	// ErrNotReady: the client did not listen in time.
	ErrNotReady = errors.New("tunnel did not open")
	// ErrNoAnswer: the tunnel is open and nobody answers at its other end.
	ErrNoAnswer = errors.New("no answer through the tunnel")
	// ErrEndedFromOutside: somebody has ended the client, to free the port.
	ErrEndedFromOutside = errors.New("tunnel was ended from outside")
	// ErrTaskStopped: the task does not run any more.
	ErrTaskStopped = errors.New("task has stopped")
)

// State is what happens to a tunnel.
type State string

// The states that are told.
const (
	Starting     State = "starting"      // a session is asked for
	NotConnected State = "not connected" // the task's agent is waited for
	Retrying     State = "retrying"      // a client has ended early and the next one follows
	Ready        State = "ready"         // the other end answers
	Lost         State = "lost"          // it was open; the next session follows when the task runs
)

// Event is a state with what is known about it, for people.
type Event struct {
	State  State
	Detail string
}

// Target names a container for Session Manager: by the cluster's name, the task's id and the container's
// runtime id (aws.md 5.1).
func Target(cluster, task, runtimeID string) string {
	return "ecs:" + cluster + "_" + task + "_" + runtimeID
}

// Tunnel is a tunnel that was opened. It keeps itself open until Close, or until Done says that it
// cannot. It is safe for concurrent use.
type Tunnel struct {
	config Config
	client *ssm.Client
	probe  *http.Client
	port   int // of this machine; 0 until the first client has chosen one

	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

// Open opens a tunnel and returns when the container answers through it. Cancelling ctx gives up; it
// does not end a tunnel that is open. Errors carry advice as *account.Error where there is some.
func Open(ctx context.Context, config Config) (*Tunnel, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	t := &Tunnel{
		config: config,
		client: ssm.NewFromConfig(config.Account.Config),
		probe:  &http.Client{Timeout: probeWithin, Transport: &http.Transport{DisableKeepAlives: true}},
		port:   config.LocalPort,
		done:   make(chan struct{}),
	}
	if err := testBind(t.port); err != nil {
		return nil, err
	}
	first, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(t.done)
		t.err = t.keep(ctx, first)
	}()
	return t, nil
}

func (c *Config) complete() error {
	if c.Path == "" {
		c.Path = "/stats/requests"
	}
	if c.Progress == nil {
		c.Progress = func(Event) {}
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	for _, limit := range []struct {
		of       *time.Duration
		standard time.Duration
	}{
		{&c.ReadyWithin, 30 * time.Second}, {&c.ConnectWithin, time.Minute}, {&c.AnswerWithin, time.Minute},
		{&c.RetryEvery, 2 * time.Second}, {&c.CheckEvery, 15 * time.Second}, {&c.Grace, 5 * time.Second},
	} {
		if *limit.of <= 0 {
			*limit.of = limit.standard
		}
	}
	if c.Executable == "" {
		executable, err := os.Executable()
		if err != nil {
			return fmt.Errorf("path of this program: %w", err)
		}
		c.Executable = executable
	}
	return nil
}

// testBind finds out early whether a port is free. Only the client's own attempt is certain.
func testBind(port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return busy(port, err)
	}
	return listener.Close()
}

func busy(port int, reason error) error {
	return &account.Error{
		Err:  fmt.Errorf("%w %d: %w", ErrPortBusy, port, reason),
		Hint: "give another one with --port, or end the program that listens there",
	}
}

// Port is the port of this machine.
func (t *Tunnel) Port() int { return t.port }

// URL is the address at which the container's HTTP server answers on this machine.
func (t *Tunnel) URL() string { return "http://127.0.0.1:" + strconv.Itoa(t.port) }

// Done is closed when the tunnel is gone for good; Err says why.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Err waits until the tunnel is gone and says why: nil after Close.
func (t *Tunnel) Err() error {
	<-t.done
	return t.err
}

// Close ends the tunnel and its session and waits for both. It returns the reason when the tunnel was
// gone before, or that a session may have been left open.
func (t *Tunnel) Close() error {
	t.cancel()
	return t.Err()
}

func (t *Tunnel) tell(state State, detail string) { t.config.Progress(Event{state, detail}) }

// keep replaces the client whenever it is lost while the task runs.
func (t *Tunnel) keep(ctx context.Context, current *child) error {
	for {
		lost := t.watch(ctx, current)
		left := t.drop(ctx, current)
		if ctx.Err() != nil {
			return left
		}
		if errors.Is(lost, ErrEndedFromOutside) {
			return lost
		}
		if running, reason := t.config.StillRunning(ctx); !running && ctx.Err() == nil {
			return fmt.Errorf("%w: %s", ErrTaskStopped, reason)
		}
		t.tell(Lost, lost.Error())
		var err error
		if current, err = t.connect(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// watch returns why a client's tunnel does not carry any more. The client may well live on: it gives up
// after some attempts to reach its data channel, and does not end.
func (t *Tunnel) watch(ctx context.Context, c *child) error {
	ticker := time.NewTicker(t.config.CheckEvery)
	defer ticker.Stop()
	for missed := 0; missed < misses; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return c.reason()
		case <-ticker.C:
			missed++
			if t.answers(ctx) == nil {
				missed = 0
			}
		}
	}
	return ErrNoAnswer
}

// drop ends a client and its session.
func (t *Tunnel) drop(ctx context.Context, c *child) error {
	c.end(t.config.Grace)
	return t.terminate(ctx, c.session)
}

// connect opens the tunnel by a client and a session of its own.
func (t *Tunnel) connect(ctx context.Context) (*child, error) {
	for attempt := 1; ; attempt++ {
		c, err := t.attempt(ctx)
		early, again := errors.AsType[*earlyEnd](err)
		if !again || attempt == attempts {
			return c, err
		}
		t.tell(Retrying, early.Error())
		if err := sleep(ctx, t.config.RetryEvery); err != nil {
			return nil, err
		}
	}
}

// earlyEnd is the end of a client before its tunnel carried, which another one may not meet.
type earlyEnd struct{ reason error }

func (e *earlyEnd) Error() string { return e.reason.Error() }

func (e *earlyEnd) Unwrap() error { return e.reason }

func (t *Tunnel) attempt(ctx context.Context) (*child, error) {
	t.tell(Starting, t.config.Target)
	request, response, err := t.startSession(ctx)
	if err != nil {
		return nil, err
	}
	c, err := t.start(ctx, request, response)
	if err != nil {
		return nil, errors.Join(err, t.terminate(ctx, *response.SessionId))
	}
	if err = t.awaitReady(ctx, c); err == nil {
		if t.port == 0 { // from now on it is always the same
			t.port = c.listensAt()
		}
		err = t.awaitAnswer(ctx, c)
	}
	if err != nil {
		left := t.drop(ctx, c)
		if errors.Is(err, ErrNotReady) { // a client that finds its port taken may say nothing and wait
			err = cmp.Or(testBind(t.port), err)
		}
		return nil, errors.Join(err, left)
	}
	t.tell(Ready, t.URL())
	return c, nil
}

// start starts a client with the credentials of this moment: those of the one before may have expired.
func (t *Tunnel) start(ctx context.Context, request *ssm.StartSessionInput, response *ssm.StartSessionOutput) (*child, error) {
	environ, err := t.config.Account.Environment(ctx, t.config.Environ)
	if err != nil {
		return nil, err
	}
	return launch(t.config.Executable, environ, t.region(), request, response)
}

// ended turns the end of a client before its tunnel carried into an error.
func (t *Tunnel) ended(c *child) error {
	switch err := c.reason(); {
	case errors.Is(err, errBusy):
		return busy(t.port, err)
	case errors.Is(err, ErrEndedFromOutside):
		return err
	default:
		return &earlyEnd{err}
	}
}

func (t *Tunnel) awaitReady(ctx context.Context, c *child) error {
	timer := time.NewTimer(t.config.ReadyWithin)
	defer timer.Stop()
	select {
	case <-c.ready:
		return nil
	case <-c.done:
		return t.ended(c)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &account.Error{
			Err: fmt.Errorf("%w within %v", ErrNotReady, t.config.ReadyWithin),
			Hint: "either the container serves its 2 sessions already: end the others (`aws ssm describe-sessions --state Active --filters key=Target,value=" + t.config.Target +
				"`, `aws ssm terminate-session`); or the data channel cannot be reached: allow wss to ssmmessages." + t.region() + " (port 443, proxies)",
		}
	}
}

// awaitAnswer waits until the container answers: it may still be starting.
func (t *Tunnel) awaitAnswer(ctx context.Context, c *child) error {
	waited, cancel := context.WithTimeout(ctx, t.config.AnswerWithin)
	defer cancel()
	for {
		err := t.answers(waited)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(t.config.RetryEvery)
		select {
		case <-timer.C:
		case <-c.done:
			timer.Stop()
			return t.ended(c)
		case <-waited.Done():
			timer.Stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &account.Error{
				Err:  fmt.Errorf("%w: port %d of the container, %s, within %v: %w", ErrNoAnswer, t.config.RemotePort, t.config.Path, t.config.AnswerWithin, err),
				Hint: "the log of the container says why: `zae-limiter load logs`",
			}
		}
	}
}

// answers says whether the container answers through the tunnel, whatever its answer is.
func (t *Tunnel) answers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL()+t.config.Path, nil)
	if err != nil {
		return err
	}
	response, err := t.probe.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
