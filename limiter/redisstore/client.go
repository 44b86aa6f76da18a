package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore/internal/resp"
)

// Options say how to reach the server. Only Address is needed.
type Options struct {
	// Address is host:port of a server, or of any node of a cluster.
	Address string
	// Username and Password log in; Username alone does nothing.
	Username, Password string
	// DB is the database, which must be 0 in a cluster.
	DB int
	// TLS is nil for plain connections. An empty ServerName is the host of the address.
	TLS *tls.Config
	// Connections is how many connections each client keeps, shared by all callers; 0 is one for two
	// processors, at most 4.
	Connections int
	// Timeout is how long a connection may take to be made, and a server to answer, whatever the
	// contexts of the callers say; 0 is 5 seconds.
	Timeout time.Duration
	// Observe, when not nil, is told of each request. It is called by the caller's goroutine.
	Observe func(Request)
}

// Request describes one request that was made.
type Request struct {
	Operation string // the method of the store
	Took      time.Duration
	Err       error
}

// DefaultPort is where servers listen.
const DefaultPort = "6379"

// ParseURL reads redis://[[user]:password@]host[:port][/db], and rediss:// for TLS.
func ParseURL(text string) (Options, error) {
	bad := func(reason string) (Options, error) {
		shown := text
		if u, err := url.Parse(text); err == nil {
			shown = u.Redacted()
		}
		return Options{}, fmt.Errorf("%q is not the address of a Redis server such as redis://127.0.0.1:6379/0: %s", shown, reason)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Options{}, errors.New("the address of the Redis server is not a URL such as redis://127.0.0.1:6379/0") // it may hold a password
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return bad("the scheme must be redis or rediss")
	case u.Hostname() == "":
		return bad("the host is missing")
	case u.RawQuery != "" || u.Fragment != "":
		return bad("nothing may follow the database")
	}
	o := Options{Address: net.JoinHostPort(u.Hostname(), DefaultPort), Username: u.User.Username()}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("the port must be between 1 and 65535")
		}
		o.Address = net.JoinHostPort(u.Hostname(), port)
	}
	o.Password, _ = u.User.Password()
	if o.Username != "" && o.Password == "" {
		return bad("the user has no password: write :password@ for the password alone")
	}
	if db := strings.TrimPrefix(u.Path, "/"); db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return bad("the database must be a number")
		}
	}
	if u.Scheme == "rediss" {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o, nil
}

// Store keeps one namespace. It is safe for concurrent use; its callers share a few connections, and what
// they ask at the same time goes out together.
type Store struct {
	client  *resp.Client
	prefix  string // of all keys
	observe func(Request)
}

var (
	_ limiter.Store      = (*Store)(nil)
	_ limiter.AdminStore = (*Store)(nil)
)

// Open returns the store of a namespace, of at most 64 letters, digits and "-_.". It connects with the first
// call; Ping is one. Close it in the end.
func Open(o Options, namespace string) (*Store, error) {
	if err := validateNamespace(namespace); err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return nil, invalid("address", o.Address, "must be host:port")
	}
	if o.Connections == 0 {
		o.Connections = min(4, (runtime.GOMAXPROCS(0)+1)/2)
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	client := resp.NewClient(resp.Config{
		Address: o.Address, Username: o.Username, Password: o.Password, DB: o.DB, TLS: o.TLS,
		Connections: o.Connections, Timeout: o.Timeout,
	})
	return &Store{client: client, prefix: keyPrefix(namespace), observe: o.Observe}, nil
}

// Close ends the connections. Calls on their way fail.
func (s *Store) Close() { s.client.Close() }

// do sends a call and names what went wrong.
func (s *Store) do(ctx context.Context, operation string, call *resp.Call, reply resp.Decoder) error {
	var started time.Time
	if s.observe != nil {
		started = time.Now()
	}
	err := s.client.Do(ctx, call, reply)
	if s.observe != nil {
		s.observe(Request{Operation: operation, Took: time.Since(started), Err: err})
	}
	if err != nil {
		return explain(operation, err)
	}
	return nil
}

// IsUnknownOutcome reports whether the request of an error was sent and not answered: it may have been
// executed.
func IsUnknownOutcome(err error) bool { return errors.Is(err, resp.ErrUnknownOutcome) }

// explain makes an error say what to try.
func explain(operation string, err error) error {
	reply, ok := errors.AsType[resp.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", operation, err)
	}
	switch reply.Code() {
	case "NOPERM", "NOAUTH", "WRONGPASS":
		return fmt.Errorf("%s: %w: %w (the user needs the commands of scripts, hashes, sets, sorted sets and key %s*)", operation, limiter.ErrAccessDenied, err, keyRoot)
	case "OOM":
		return fmt.Errorf("%s: %w (the server's maxmemory is reached: nothing was written)", operation, err)
	case "READONLY":
		return fmt.Errorf("%s: %w (the server is a replica: name the primary)", operation, err)
	case "ASK", "TRYAGAIN":
		return fmt.Errorf("%s: %w (the cluster is moving the namespace to another node: try again when it has)", operation, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}
