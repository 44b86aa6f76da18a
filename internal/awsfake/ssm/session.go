package ssm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// session is one session of the account, as the service and as the agent in its container see it.
type session struct {
	id, owner, document, target string
	// alias is the id as policies with ${aws:userid} mean it.
	alias string
	task  string // its id
	// parameters are those of the document, with its defaults.
	parameters map[string]string
	address    string
	agent      string // its version
	started    time.Time

	channel *channel
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when everything of the session has ended

	mu    sync.Mutex
	token string
	used  time.Time // when something was carried last
	ended time.Time // zero while it lives
}

// Reasons for the end of a session. Those of the last group are told to the client, which prints them.
var (
	errTerminated = errors.New("client has ended the session")
	errByCaller   = errors.New("session was ended by TerminateSession")
	errTaskGone   = errors.New("task has ended")

	//lint:ignore ST1005 the service's words
	errIdle = errors.New("Your session timed out due to inactivity.")
	//lint:ignore ST1005 the agent's words
	errHandshake = errors.New("Handshake timed out. Please ensure that you have the latest version of the session manager plugin.")
)

// slots are the session workers of one container's agent: sessions beyond them wait for one to end, and
// their clients with them (SessionWorkersLimit, aws.md 5.1).
type slots chan struct{}

// run is the session from the agent's side. It returns when the session is over, and whatever the
// session has started with it.
func (s *session) run(ctx context.Context, workers slots, limits Limits) {
	defer close(s.done)
	var owned sync.WaitGroup
	defer owned.Wait()
	owned.Go(func() {
		<-ctx.Done()
		s.mu.Lock()
		s.ended = time.Now()
		s.mu.Unlock()
		s.channel.close(s.id, endText(context.Cause(ctx)))
	})
	s.cancel(s.serve(ctx, workers, limits, &owned))
}

// endText is what a client is told about the end of its session.
func endText(cause error) string {
	for _, silent := range []error{errTerminated, errByCaller, errTaskGone, errClosed, context.Canceled} {
		if errors.Is(cause, silent) {
			return ""
		}
	}
	return cause.Error()
}

// serve waits for a worker of the agent and carries the session until it ends, with the reason.
func (s *session) serve(ctx context.Context, workers slots, limits Limits, owned *sync.WaitGroup) error {
	select {
	case workers <- struct{}{}:
		defer func() { <-workers }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	owned.Go(func() { s.channel.resend(ctx) })
	owned.Go(func() { s.watchIdle(ctx, limits.Idle) })

	client, err := s.handshake(limits.Handshake)
	if err != nil {
		return err
	}
	f := &forwarder{session: s, address: portOf(s.parameters, s.address)}
	if atLeast(client, muxClient) && after(s.agent, muxAgent) {
		return f.mux(ctx, !after(s.agent, noKeepAliveAgent))
	}
	return f.single(ctx)
}

// Versions from which on both sides do something.
const (
	muxClient        = "1.1.70"
	muxAgent         = "3.0.196.0"
	noKeepAliveAgent = "3.1.1511.0"
)

// handshake tells the client what the session is and returns the client's version.
func (s *session) handshake(within time.Duration) (client string, err error) {
	begun := time.Now()
	properties := map[string]string{"type": "LocalPortForwarding"}
	for name, value := range s.parameters {
		properties[name] = value
	}
	request := handshakeRequest{AgentVersion: s.agent, RequestedClientActions: []requestedAction{{
		ActionType: "SessionType", ActionParameters: sessionType{SessionType: "Port", Properties: properties},
	}}}
	if err := s.channel.send(payloadHandshakeRequest, encodeJSON(request)); err != nil {
		return "", err
	}
	late := time.AfterFunc(within, func() { s.cancel(errHandshake) })
	defer late.Stop()
	for {
		m, ok := s.channel.inbox.take()
		if !ok {
			return "", errClosed
		}
		if flagOf(m) == flagTerminateSession {
			return "", errTerminated
		}
		if m.payload != payloadHandshakeResponse {
			continue
		}
		var response handshakeResponse
		if err := json.Unmarshal(m.content, &response); err != nil {
			return "", err
		}
		if len(response.Errors) > 0 {
			return "", errors.New(strings.Join(response.Errors, "; "))
		}
		return response.ClientVersion, s.channel.send(payloadHandshakeComplete, encodeJSON(handshakeComplete{HandshakeTimeToComplete: time.Since(begun)}))
	}
}

func (s *session) touch() {
	now := time.Now()
	s.mu.Lock()
	s.used = now
	s.mu.Unlock()
}

// watchIdle ends the session when nothing is carried for some time.
func (s *session) watchIdle(ctx context.Context, timeout time.Duration) {
	s.touch()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.mu.Lock()
			left := timeout - time.Since(s.used)
			s.mu.Unlock()
			if left <= 0 {
				s.cancel(errIdle)
				return
			}
			timer.Reset(left)
		}
	}
}

// over says whether the session has ended.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended.IsZero()
}

// admits says whether a token opens the session's data channel.
func (s *session) admits(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended.IsZero() && token != "" && token == s.token
}

// renew gives the session another token.
func (s *session) renew() string {
	token := newToken()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	return token
}

// portOf is the address that a document's parameters name, as seen from a container whose own address
// is given: "" when the host is none of its own and not on this machine.
func portOf(parameters map[string]string, own string) string {
	host := parameters["host"]
	switch ip := net.ParseIP(host); {
	case host == "", host == "localhost", ip != nil && (ip.Equal(net.IPv4(127, 0, 0, 1)) || ip.IsUnspecified() || ip.Equal(net.IPv6loopback)):
		host = own
	case ip == nil || !ip.IsLoopback():
		return ""
	}
	return net.JoinHostPort(host, parameters["portNumber"])
}

func atLeast(version, other string) bool { return compareVersions(version, other) >= 0 }

func after(version, other string) bool { return compareVersions(version, other) > 0 }

// compareVersions compares dotted numbers; missing and unreadable parts count as 0.
func compareVersions(a, b string) int {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(left), len(right)) {
		if order := cmp.Compare(numberAt(left, i), numberAt(right, i)); order != 0 {
			return order
		}
	}
	return 0
}

func numberAt(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	number, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return number
}
