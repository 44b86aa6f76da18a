package resp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// server answers each command with what answer says; "" closes the connection. The first command of a
// connection is number 0.
func server(t *testing.T, answer func(args []string, number int) string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				r := bufio.NewReader(conn)
				for number := 0; ; number++ {
					args, err := readCommand(r)
					if err != nil {
						return
					}
					reply := answer(args, number)
					if reply == "" {
						return
					}
					if _, err := io.WriteString(conn, reply); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

func readCommand(r *bufio.Reader) ([]string, error) {
	var n int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		var length int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &length); err != nil {
			return nil, err
		}
		body := make([]byte, length+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		args[i] = string(body[:length])
	}
	return args, nil
}

func bulk(text string) string { return "$" + strconv.Itoa(len(text)) + "\r\n" + text + "\r\n" }

// text is a reply of one text.
type text string

func (d *text) Decode(r *Reader, v Value) error {
	*d = text(v.Text)
	return r.Skip(v)
}

func client(t *testing.T, config Config) *Client {
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	c := NewClient(config)
	t.Cleanup(c.Close)
	return c
}

func say(ctx context.Context, c *Client, args ...string) (string, error) {
	call := NewCall(args[0])
	for _, arg := range args[1:] {
		call.Arg(arg)
	}
	var reply text
	err := c.Do(ctx, call, &reply)
	return string(reply), err
}

func TestCallersGetTheirOwnReplies(t *testing.T) {
	address := server(t, func(args []string, _ int) string { return bulk(args[1]) })
	for _, connections := range []int{1, 3} {
		c := client(t, Config{Address: address, Connections: connections})
		var callers sync.WaitGroup
		for i := range 50 {
			callers.Go(func() {
				for j := range 100 {
					want := fmt.Sprint(i, " ", j)
					if got, err := say(t.Context(), c, "ECHO", want); err != nil || got != want {
						t.Errorf("got %q, %v, want %q", got, err, want)
						return
					}
				}
			})
		}
		callers.Wait()
	}
}

func TestAConnectionLogsInAndSelects(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	address := server(t, func(args []string, _ int) string {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, strings.Join(args, " "))
		return "+OK\r\n"
	})
	c := client(t, Config{Address: address, Username: "ops", Password: "secret", DB: 3})
	if _, err := say(t.Context(), c, "PING"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(seen, ", "), "AUTH ops secret, SELECT 3, PING"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARefusedLoginIsTold(t *testing.T) {
	address := server(t, func(args []string, _ int) string {
		if args[0] == "AUTH" {
			return "-WRONGPASS invalid username-password pair\r\n"
		}
		return "+OK\r\n"
	})
	_, err := say(t.Context(), client(t, Config{Address: address, Password: "x"}), "PING")
	if reply, ok := errors.AsType[Error](err); !ok || reply.Code() != "WRONGPASS" || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}

// A lost reply is an unknown outcome, the call is not sent again, and the next one gets a new connection.
func TestALostReplyIsAnUnknownOutcome(t *testing.T) {
	var mu sync.Mutex
	writes := 0
	address := server(t, func(args []string, _ int) string {
		mu.Lock()
		defer mu.Unlock()
		if args[0] == "WRITE" {
			writes++
			return ""
		}
		return "+OK\r\n"
	})
	c := client(t, Config{Address: address})
	if _, err := say(t.Context(), c, "WRITE"); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	if _, err := say(t.Context(), c, "PING"); err != nil {
		t.Errorf("the next call: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if writes != 1 {
		t.Errorf("sent %d times", writes)
	}
}

func TestASilentServerFails(t *testing.T) {
	release := make(chan struct{})
	address := server(t, func(args []string, _ int) string {
		if args[0] == "SLEEP" {
			<-release
		}
		return "+OK\r\n"
	})
	t.Cleanup(func() { close(release) })
	c := client(t, Config{Address: address, Timeout: 50 * time.Millisecond})
	if _, err := say(context.Background(), c, "PING"); err != nil {
		t.Fatal(err)
	}
	if _, err := say(context.Background(), c, "SLEEP"); !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "no reply from") {
		t.Errorf("got %v", err)
	}
}

// A caller that gives up leaves its reply to be passed over, and the others theirs.
func TestACallerGivesUp(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{})
	address := server(t, func(args []string, _ int) string {
		if args[0] == "SLEEP" {
			close(arrived)
			<-release
			return "*2\r\n:1\r\n*1\r\n$1\r\na\r\n"
		}
		return bulk(args[1])
	})
	c := client(t, Config{Address: address})
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("changed my mind")
	go func() {
		<-arrived
		cancel(reason)
	}()
	if _, err := say(ctx, c, "SLEEP"); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
	close(release)
	if got, err := say(t.Context(), c, "ECHO", "still here"); err != nil || got != "still here" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := say(ctx, c, "ECHO", "x"); !errors.Is(err, reason) || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("before it is sent: %v", err)
	}
}

func TestAScriptIsSentWholeOnce(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	address := server(t, func(args []string, _ int) string {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, args[0])
		if args[0] == "EVALSHA" && len(seen) == 1 {
			return "-NOSCRIPT No matching script\r\n"
		}
		return bulk(args[len(args)-1])
	})
	c := client(t, Config{Address: address})
	script := NewScript("return ARGV[1]")
	for range 2 {
		call := NewScriptCall(script)
		call.Int(0)
		call.Arg("argument")
		var reply text
		if err := c.Do(t.Context(), call, &reply); err != nil || reply != "argument" {
			t.Errorf("got %q, %v", reply, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, " "); got != "EVALSHA EVAL EVALSHA" {
		t.Errorf("sent %s", got)
	}
}

func TestACallFollowsTheCluster(t *testing.T) {
	right := server(t, func([]string, int) string { return "+right\r\n" })
	wrong := server(t, func([]string, int) string { return "-MOVED 866 " + right + "\r\n" })
	c := client(t, Config{Address: wrong})
	for range 3 {
		if got, err := say(t.Context(), c, "GET", "a"); err != nil || got != "right" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if c.Address() != right {
		t.Errorf("at %s, want %s", c.Address(), right)
	}
	var circle string
	circle = server(t, func([]string, int) string { return "-MOVED 866 " + circle + "\r\n" })
	if _, err := say(t.Context(), client(t, Config{Address: circle}), "GET", "a"); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
		t.Errorf("in a circle: %v", err)
	}
}

func TestMovedTo(t *testing.T) {
	for reply, want := range map[string]string{
		"MOVED 3999 10.0.0.1:6381": "10.0.0.1:6381", "MOVED 3999 :6381": "first:6381", "MOVED 1 ::1:7000": "[::1]:7000", "MOVED 1 h": "", "MOVED": "",
	} {
		if got, ok := movedTo(reply, "first:6379"); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, want %q", reply, got, want)
		}
	}
}

func TestBytesThatAreNoReplyEndTheConnection(t *testing.T) {
	address := server(t, func([]string, int) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" })
	if _, err := say(t.Context(), client(t, Config{Address: address}), "PING"); !errors.Is(err, errProtocol) || !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := say(t.Context(), client(t, Config{Address: address}), "PING"); err == nil || errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
}

func TestAClosedClientRefuses(t *testing.T) {
	address := server(t, func([]string, int) string { return "+OK\r\n" })
	c := client(t, Config{Address: address})
	if _, err := say(t.Context(), c, "PING"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := say(t.Context(), c, "PING"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// What writing a call costs.
func BenchmarkCall(b *testing.B) {
	script := NewScript("return 1")
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		call := NewScriptCall(script)
		call.Int(1)
		call.Join("zae:{", "ns", "}/BUCKET#user-1234#gpt-4#0")
		call.Int(1_800_000_000_000)
		call.Arg("rpm")
		call.Int(1000)
		out = call.appendTo(out[:0])
		calls.Put(call)
	}
}
