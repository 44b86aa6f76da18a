package ssm

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/gorilla/websocket"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const testTarget = "ecs:my_cluster_0123abcd_0123abcd-42"

// oneTarget is a world of one container.
type oneTarget Target

func (o oneTarget) Target(cluster, task, runtimeID string) (Target, bool) {
	return Target(o), cluster == "my_cluster" && task == "0123abcd" && runtimeID == "0123abcd-42"
}

// world is a service with one container that listens on a port and echoes lines in upper case.
type world struct {
	*Service
	host, port string
}

func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { echo(conn) })
		}
	})
	service := New(oneTarget{Address: "127.0.0.1", Connected: true}, limits)
	mux := http.NewServeMux()
	mux.Handle(Pattern, service)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		service.Close()
		server.Close()
		listener.Close()
		connections.Wait()
	})
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return &world{service, server.Listener.Addr().String(), port}
}

func echo(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := io.WriteString(conn, strings.ToUpper(lines.Text())+"\n"); err != nil {
			return
		}
	}
}

func (w *world) call(guard protocol.Guard) *protocol.Call {
	return &protocol.Call{Service: "ssm", Account: "123456789012", Region: "us-east-1", Principal: "arn:aws:iam::123456789012:user/ann", UserID: "AIDAANN", Host: w.host, Guard: guard}
}

func (w *world) input() *api.StartSessionInput {
	return &api.StartSessionInput{
		Target: aws.String(testTarget), DocumentName: aws.String("AWS-StartPortForwardingSession"),
		Parameters: map[string][]string{"portNumber": {w.port}},
	}
}

func (w *world) startOne(t *testing.T) *api.StartSessionOutput {
	t.Helper()
	started, err := w.startSession(t.Context(), w.call(nil), w.input())
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// client is the user's end of a data channel, as far as these tests need one.
type client struct {
	t      *testing.T
	socket *websocket.Conn
	next   int64
}

func dial(t *testing.T, url, token string) *client {
	t.Helper()
	socket, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.WriteJSON(map[string]string{"TokenValue": token, "ClientId": "c", "ClientVersion": "1.0"}); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, socket: socket}
}

// read returns the next message that is no acknowledgement, and acknowledges it when it is told to.
func (c *client) read(confirm bool) message {
	c.t.Helper()
	for {
		_, b, err := c.socket.ReadMessage()
		if err != nil {
			c.t.Fatal(err)
		}
		m, err := decode(b)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.kind == typeAcknowledge {
			continue
		}
		if confirm && m.kind == typeOutput {
			c.write(acknowledge(m))
		}
		return m
	}
}

func (c *client) write(m message) {
	c.t.Helper()
	if err := c.socket.WriteMessage(websocket.BinaryMessage, m.encode(time.Now())); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) input(payload payloadType, content []byte) message {
	m := newMessage(typeInput, payload, content)
	m.sequence = c.next
	c.next++
	return m
}

// onceAttached calls f from the next read, when the service has taken the connection for the session's.
func (c *client) onceAttached(f func()) {
	c.t.Helper()
	c.socket.SetPongHandler(func(string) error {
		f()
		return nil
	})
	if err := c.socket.WriteMessage(websocket.PingMessage, nil); err != nil {
		c.t.Fatal(err)
	}
}

// shake answers the handshake as a client of some version.
func (c *client) shake(version string) {
	c.t.Helper()
	if m := c.read(true); m.payload != payloadHandshakeRequest {
		c.t.Fatalf("first message has payload type %d, want a handshake request", m.payload)
	}
	c.write(c.input(payloadHandshakeResponse, []byte(`{"ClientVersion":"`+version+`","ProcessedClientActions":[]}`)))
	if m := c.read(true); m.payload != payloadHandshakeComplete {
		c.t.Fatalf("second message has payload type %d, want the handshake's end", m.payload)
	}
}

func TestAnOldClientGetsOneConnectionAfterTheOther(t *testing.T) {
	w := newWorld(t, Limits{})
	started := w.startOne(t)
	c := dial(t, *started.StreamUrl, *started.TokenValue)
	c.shake("1.1.61.0")
	for _, line := range []string{"first", "second"} {
		c.write(c.input(payloadOutput, []byte(line+"\n")))
		if got, want := string(c.read(true).content), strings.ToUpper(line)+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		c.write(c.input(payloadFlag, []byte{0, 0, 0, flagDisconnectToPort}))
	}
	c.write(c.input(payloadFlag, []byte{0, 0, 0, flagTerminateSession}))
	if m := c.read(true); m.kind != typeChannelClosed {
		t.Errorf("got a message %s, want %s", m.kind, typeChannelClosed)
	}
}

func TestMessagesAreTakenInTheirOrderAndOnce(t *testing.T) {
	w := newWorld(t, Limits{})
	started := w.startOne(t)
	c := dial(t, *started.StreamUrl, *started.TokenValue)
	c.shake("1.0")
	one, two, three := c.input(payloadOutput, []byte("a")), c.input(payloadOutput, []byte("b")), c.input(payloadOutput, []byte("c\n"))
	for _, m := range []message{three, two, two, one, one} {
		c.write(m)
	}
	if got := string(c.read(true).content); got != "ABC\n" {
		t.Errorf("got %q, want %q", got, "ABC\n")
	}
}

func TestWhatIsNotAcknowledgedComesAgainAlsoAfterALostConnection(t *testing.T) {
	w := newWorld(t, Limits{})
	started := w.startOne(t)
	c := dial(t, *started.StreamUrl, *started.TokenValue)
	c.shake("1.0")
	c.write(c.input(payloadOutput, []byte("again\n")))
	first := c.read(false)
	if second := c.read(false); second.sequence != first.sequence {
		t.Errorf("got message %d, want %d again", second.sequence, first.sequence)
	}
	c.socket.Close()

	resumed, err := w.resumeSession(t.Context(), w.call(nil), &api.ResumeSessionInput{SessionId: started.SessionId})
	if err != nil {
		t.Fatal(err)
	}
	if *resumed.TokenValue == *started.TokenValue {
		t.Error("a resumed session has its old token")
	}
	d := dial(t, *resumed.StreamUrl, *resumed.TokenValue)
	d.next = c.next
	if third := d.read(true); third.sequence != first.sequence || string(third.content) != "AGAIN\n" {
		t.Errorf("got message %d %q, want %d again", third.sequence, third.content, first.sequence)
	}
	d.write(d.input(payloadOutput, []byte("more\n")))
	if got := string(d.read(true).content); got != "MORE\n" {
		t.Errorf("got %q, want %q", got, "MORE\n")
	}
}

func TestATokenOpensItsSessionOnly(t *testing.T) {
	w := newWorld(t, Limits{})
	started := w.startOne(t)
	for _, token := range []string{"", "x", *w.startOne(t).TokenValue} {
		c := dial(t, *started.StreamUrl, token)
		_, _, err := c.socket.ReadMessage()
		if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("with token %q: got %v, want a refusal", token, err)
		}
	}
	_, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+w.host+dataChannelPath+"nobody-1", nil)
	if err == nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown session's channel opened: %v", err)
	}
}

func TestAThirdSessionWaitsForOneToEnd(t *testing.T) {
	w := newWorld(t, Limits{})
	first := w.startOne(t)
	w.startOne(t)
	third := w.startOne(t)
	c := dial(t, *third.StreamUrl, *third.TokenValue)
	ended := false
	c.onceAttached(func() {
		ended = true
		if _, err := w.terminateSession(t.Context(), w.call(nil), &api.TerminateSessionInput{SessionId: first.SessionId}); err != nil {
			t.Error(err)
		}
	})
	c.shake("1.0")
	if !ended {
		t.Error("a third session was served beside two others")
	}
}

func TestSessionsEndWithTheirReason(t *testing.T) {
	nothing := func(*client) {}
	shakes := func(c *client) { c.shake("1.0") }
	tests := map[string]struct {
		limits Limits
		client func(*client)
		want   string
	}{
		"nothing is carried":        {Limits{Idle: time.Millisecond}, nothing, errIdle.Error()},
		"the client does not shake": {Limits{Handshake: time.Millisecond}, nothing, errHandshake.Error()},
		"nobody listens":            {Limits{}, shakes, "Unable to connect to specified port"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.limits)
			w.port = freePort(t)
			busy := make(slots, 1)
			busy <- struct{}{}
			w.workers[testTarget] = busy
			started := w.startOne(t)
			c := dial(t, *started.StreamUrl, *started.TokenValue)
			c.onceAttached(func() { <-busy })
			test.client(c)
			m := c.read(false)
			for m.kind != typeChannelClosed {
				m = c.read(false)
			}
			var closed channelClosed
			if err := json.Unmarshal(m.content, &closed); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(closed.Output, test.want) {
				t.Errorf("got %q, want %q in it", closed.Output, test.want)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func TestStartSessionRefuses(t *testing.T) {
	w := newWorld(t, Limits{})
	disconnected := New(oneTarget{}, Limits{})
	tests := map[string]struct {
		service *Service
		change  func(*api.StartSessionInput)
		guard   protocol.Guard
		want    string
	}{
		"an agent that has not registered": {service: disconnected, want: "TargetNotConnected: " + testTarget + " is not connected."},
		"another container":                {change: func(in *api.StartSessionInput) { in.Target = aws.String("ecs:c_t_r") }, want: "TargetNotConnected"},
		"a target that is none":            {change: func(in *api.StartSessionInput) { in.Target = aws.String("i-123") }, want: "TargetNotConnected"},
		"an unknown document":              {change: func(in *api.StartSessionInput) { in.DocumentName = aws.String("Mine") }, want: "InvalidDocument"},
		"an unknown parameter":             {change: func(in *api.StartSessionInput) { in.Parameters["host"] = []string{"localhost"} }, want: "InvalidParameters"},
		"two values":                       {change: func(in *api.StartSessionInput) { in.Parameters["portNumber"] = []string{"1", "2"} }, want: "InvalidParameters"},
		"a port that is none":              {change: func(in *api.StartSessionInput) { in.Parameters["portNumber"] = []string{"0"} }, want: "InvalidParameters"},
		"a missing host": {change: func(in *api.StartSessionInput) {
			in.DocumentName = aws.String("AWS-StartPortForwardingSessionToRemoteHost")
		}, want: "InvalidParameters"},
		"a caller who may not reach the task":   {guard: denies("arn:aws:ecs:us-east-1:123456789012:task/my_cluster/0123abcd"), want: "AccessDeniedException"},
		"a caller who may not use the document": {guard: denies("arn:aws:ssm:us-east-1::document/AWS-StartPortForwardingSession"), want: "AccessDeniedException"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			service, in := w.Service, w.input()
			if test.service != nil {
				service = test.service
			}
			if test.change != nil {
				test.change(in)
			}
			_, err := service.startSession(t.Context(), w.call(test.guard), in)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// denies is a policy that denies one resource.
type denies string

func (d denies) Allow(action, resource string, _ map[string]string) error {
	if resource == string(d) {
		return protocol.Errorf("AccessDeniedException", "not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// only is a policy that allows resources that begin so.
type only string

func (o only) Allow(action, resource string, _ map[string]string) error {
	if !strings.HasPrefix(resource, string(o)) {
		return protocol.Errorf("AccessDeniedException", "not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// Policies name sessions of one's own as session/${aws:username}-* and as session/${aws:userid}-*.
func TestOwnSessionsArePermittedByNameAndByUserID(t *testing.T) {
	w := newWorld(t, Limits{})
	const sessions = "arn:aws:ssm:us-east-1:123456789012:session/"
	for _, test := range []struct {
		policy only
		denied bool
	}{{sessions + "ann-", false}, {sessions + "AIDAANN-", false}, {sessions + "AIDABOB-", true}} {
		one := w.startOne(t)
		_, err := w.terminateSession(t.Context(), w.call(test.policy), &api.TerminateSessionInput{SessionId: one.SessionId})
		if (err != nil) != test.denied {
			t.Errorf("with %s: %v, want denied = %v", test.policy, err, test.denied)
		}
	}
}

func TestSessionsAreDescribed(t *testing.T) {
	w := newWorld(t, Limits{})
	first, second := w.startOne(t), w.startOne(t)
	if !strings.HasPrefix(*first.SessionId, "ann-") {
		t.Errorf("session id %s does not begin with its owner", *first.SessionId)
	}
	if _, err := w.terminateSession(t.Context(), w.call(nil), &api.TerminateSessionInput{SessionId: first.SessionId}); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[types.SessionState]string{types.SessionStateActive: *second.SessionId, types.SessionStateHistory: *first.SessionId} {
		out, err := w.describeSessions(t.Context(), w.call(nil), &api.DescribeSessionsInput{State: state, Filters: []types.SessionFilter{{Key: types.SessionFilterKeyTargetId, Value: aws.String(testTarget)}}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Sessions) != 1 || *out.Sessions[0].SessionId != want {
			t.Errorf("%s: got %v, want %s", state, out.Sessions, want)
		}
	}
	w.EndTask("0123abcd")
	resumed, err := w.resumeSession(t.Context(), w.call(nil), &api.ResumeSessionInput{SessionId: second.SessionId})
	if err != nil || resumed.TokenValue != nil {
		t.Errorf("a session whose task has ended resumes: %v, %v", resumed, err)
	}
	_, err = w.terminateSession(t.Context(), w.call(nil), &api.TerminateSessionInput{SessionId: aws.String("nobody-1")})
	if err == nil || !strings.Contains(err.Error(), "DoesNotExistException") {
		t.Errorf("got %v, want DoesNotExistException", err)
	}
}

func TestHostsOutsideOfTheContainerAreRefused(t *testing.T) {
	for host, want := range map[string]string{"": "127.1.0.5:8089", "localhost": "127.1.0.5:8089", "127.0.0.1": "127.1.0.5:8089", "127.1.0.9": "127.1.0.9:8089", "10.0.0.1": "", "example.com": ""} {
		if got := portOf(map[string]string{"host": host, "portNumber": "8089"}, "127.1.0.5"); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
