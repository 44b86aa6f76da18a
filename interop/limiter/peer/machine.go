//go:build interop

package peer

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

//go:embed peer.py
var program []byte

// Machine is what the tests of one binary share: an engine of each kind, and a Python process of each
// release that peers are forked from. It is safe for concurrent use.
type Machine struct {
	folder    string
	engine    *dynamolocal.Engine
	endpoints map[string]string // by engine
	releases  map[string]*release
	stop      func()
	tables    atomic.Int64
}

// The engines that tests run on, by what Env.Engine calls them.
const (
	Embedded = "embedded"
	Local    = "DynamoDBLocal"
)

// release is a Python with a release of zae-limiter; its process starts with the first peer.
type release struct {
	variable string
	socket   string
	start    func() error
	command  *exec.Cmd
	stdin    io.Closer
}

// Start starts a machine; the caller must Close it. It takes from the environment what interop/run puts
// there.
func Start() (*Machine, error) {
	folder, err := os.MkdirTemp("", "interop-limiter-")
	if err != nil {
		return nil, err
	}
	m := &Machine{folder: folder, endpoints: map[string]string{}, releases: map[string]*release{}}
	if err := m.start(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Machine) start() (err error) {
	if m.endpoints[Local] = os.Getenv("ZAE_INTEROP_DYNAMODB_LOCAL"); m.endpoints[Local] == "" {
		return errors.New("ZAE_INTEROP_DYNAMODB_LOCAL is not set; make interop starts DynamoDB Local and sets it")
	}
	if err := os.WriteFile(filepath.Join(m.folder, "peer.py"), program, 0o600); err != nil {
		return err
	}
	m.addRelease("0.17", "ZAE_INTEROP_LIMITER_PYTHON")
	m.addRelease("0.10", "ZAE_INTEROP_LIMITER_OLD_PYTHON")
	if m.engine, err = dynamolocal.New(dynamolocal.Config{}); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.endpoints[Embedded] = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { m.engine.Serve(ctx, listener) })
	m.stop = func() { cancel(); serving.Wait() }
	return nil
}

// Close ends what Start started.
func (m *Machine) Close() {
	for _, r := range m.releases {
		if r.command != nil {
			r.stdin.Close()
			r.command.Wait()
		}
	}
	if m.stop != nil {
		m.stop()
	}
	if m.engine != nil {
		m.engine.Close()
	}
	os.RemoveAll(m.folder)
}

func (m *Machine) addRelease(name, variable string) {
	r := &release{variable: variable, socket: filepath.Join(m.folder, name)}
	r.start = sync.OnceValue(func() error { return r.run(filepath.Join(m.folder, "peer.py")) })
	m.releases[name] = r
}

// run starts the process and waits until it listens.
func (r *release) run(program string) error {
	python := os.Getenv(r.variable)
	if python == "" {
		return fmt.Errorf("%s is not set; make interop installs Python's zae-limiter and sets it", r.variable)
	}
	command := exec.Command(python, program, r.socket)
	command.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=3", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore")
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	r.command, r.stdin = command, stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) == "" {
		return fmt.Errorf("%s does not listen: %q, %w", python, line, err)
	}
	return nil
}

// connect forks a process of the release.
func (m *Machine) connect(name string) (net.Conn, error) {
	r := m.releases[name]
	if r == nil {
		return nil, fmt.Errorf("no release %q", name)
	}
	if err := r.start(); err != nil {
		return nil, err
	}
	return net.Dial("unix", r.socket)
}

// Each runs a test on a fresh table of each engine, side by side.
func (m *Machine) Each(t *testing.T, test func(t *testing.T, e *Env)) {
	t.Helper()
	m.onEach(t, m.Env, test)
}

// EachEmpty does so without a table, which the test must create.
func (m *Machine) EachEmpty(t *testing.T, test func(t *testing.T, e *Env)) {
	t.Helper()
	m.onEach(t, m.EmptyEnv, test)
}

func (m *Machine) onEach(t *testing.T, env func(testing.TB, string) *Env, test func(t *testing.T, e *Env)) {
	t.Helper()
	t.Parallel()
	for _, engine := range []string{Embedded, Local} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, env(t, engine))
		})
	}
}
