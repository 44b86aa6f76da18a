//go:build interop

package redisstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

// command sends one command on a connection of its own and returns the reply as text.
func command(t testing.TB, address string, args ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(arg), arg)
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line[0] != '$' {
		return line
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		return line
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func contains(text, part string) bool { return strings.Contains(text, part) }

// refusals are errors of a server that a user has to understand.
func refusals(t *testing.T, address string) {
	s, err := redisstore.Open(redisstore.Options{Address: address}, "refusals")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	l, err := limiter.New(s, limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 100)}, ""); err != nil {
		t.Fatal(err)
	}
	acquire := func() error {
		_, err := l.Acquire(ctx, limiter.Request{EntityID: "u", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}})
		return err
	}
	if err := acquire(); err != nil {
		t.Fatal(err)
	}
	command(t, address, "SCRIPT", "FLUSH") // scripts are sent again
	if err := acquire(); err != nil {
		t.Error(err)
	}
	command(t, address, "CONFIG", "SET", "maxmemory", "1")
	if err := acquire(); !isUnavailable(err) || !contains(err.Error(), "maxmemory") {
		t.Errorf("a full server: %v", err)
	}
	command(t, address, "CONFIG", "SET", "maxmemory", "0")
	command(t, address, "REPLICAOF", "127.0.0.1", "1")
	if err := acquire(); !isUnavailable(err) || !contains(err.Error(), "primary") {
		t.Errorf("a replica: %v", err)
	}
	command(t, address, "REPLICAOF", "NO", "ONE")
	if err := acquire(); err != nil {
		t.Errorf("a primary again: %v", err)
	}
	command(t, address, "ACL", "SETUSER", "guest", "on", ">secret", "~other*", "+@all")
	guest, err := redisstore.Open(redisstore.Options{Address: address, Username: "guest", Password: "secret"}, "refusals")
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	gl, err := limiter.New(guest, limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gl.Acquire(ctx, limiter.Request{EntityID: "u", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}, OnUnavailable: limiter.Allow})
	if _, denied := errors.AsType[*limiter.PermissionError](err); !denied {
		t.Errorf("a user without the keys: %v", err)
	}
	wrong, err := redisstore.Open(redisstore.Options{Address: address, Username: "guest", Password: "wrong"}, "refusals")
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if err := wrong.Ping(ctx); !errors.Is(err, limiter.ErrAccessDenied) {
		t.Errorf("a wrong password: %v", err)
	}
	// What was refused left no trace.
	b, err := s.Buckets(ctx, "u", "gpt-4")
	if err != nil || len(b) != 1 || b[0].Limit("rpm").Counter != 3000 || b[0].Limit("rpm").Tokens > 98_000 || b[0].Limit(limiter.WCU).Counter < 2000 {
		t.Errorf("the bucket: %+v, %v", b, err)
	}
}

func isUnavailable(err error) bool {
	_, ok := errors.AsType[*limiter.UnavailableError](err)
	return ok
}
