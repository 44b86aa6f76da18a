package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// Locust's ports: workers join a master on the first, people open the second in a browser.
const (
	defaultMasterPort = 5557
	defaultWebPort    = 8089
)

// secretVariable holds the secret of master and workers where no file can.
const secretVariable = "ZAE_LIMITER_SECRET"

// secretFlags say how master and workers prove to each other that they belong together.
type secretFlags struct{ file string }

func (s *secretFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&s.file, "secret-file", "", "`file` with the secret that master and workers share ("+secretVariable+" holds the secret itself): the link is encrypted and both ends authenticated")
}

// load returns the secret, nil when none is given.
func (s *secretFlags) load(getenv func(string) string) (*wire.Secret, error) {
	text := []byte(getenv(secretVariable))
	from := secretVariable
	if s.file != "" {
		data, err := readSmall(s.file)
		if err != nil {
			return nil, fmt.Errorf("--secret-file: %w", err)
		}
		text, from = data, "--secret-file "+s.file
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		if s.file != "" {
			return nil, fmt.Errorf("%s: the file is empty", from)
		}
		return nil, nil
	}
	secret, err := wire.NewSecret(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return secret, nil
}

// masterFlags say how workers reach a master.
type masterFlags struct {
	bind          string
	bindHost      string
	bindPort      int
	expect        int
	expectMaxWait runTimeFlag
	rebalancing   bool
	allowPlain    bool
	secret        secretFlags
	newSecretFile string
	masterIgnored bool
}

func (m *masterFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&m.bind, "bind", net.JoinHostPort("127.0.0.1", strconv.Itoa(defaultMasterPort)), "`address` on which workers join")
	flags.StringVar(&m.bindHost, "master-bind-host", "", "the host of --bind, under Locust's name; * = all interfaces")
	flags.IntVar(&m.bindPort, "master-bind-port", 0, "the port of --bind, under Locust's name")
	flags.IntVar(&m.expect, "expect-workers", 1, "with --headless or --autostart: wait for this many `workers` before the start")
	flags.Var(&m.expectMaxWait, "expect-workers-max-wait", "give up waiting for workers after this long; 0 = never")
	flags.BoolVar(&m.rebalancing, "enable-rebalancing", false, "deal the users anew when workers come or go in a run")
	flags.BoolVar(&m.allowPlain, "allow-plain-workers", false, "accept workers from other machines that do not use the secret")
	m.secret.register(flags)
	flags.StringVar(&m.newSecretFile, "new-secret-file", "", "make a secret, use it, and write it to `file` for workers that are started here with --secret-file")
	flags.BoolVar(&m.masterIgnored, "master", false, "no effect: Locust's way to ask for a master")
	for _, name := range []string{"master", "master-bind-host", "master-bind-port"} {
		_ = flags.MarkHidden(name)
	}
}

// address is where workers join.
func (m *masterFlags) address() (string, error) {
	host, port, err := net.SplitHostPort(m.bind)
	if err != nil {
		return "", fmt.Errorf("--bind %q: want host:port", m.bind)
	}
	if m.bindHost != "" {
		host = m.bindHost
	}
	if m.bindPort != 0 {
		port = strconv.Itoa(m.bindPort)
	}
	if host == "*" {
		host = ""
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("--bind %q: the port must be between 0 and 65535", m.bind)
	}
	return net.JoinHostPort(host, port), nil
}

func (m *masterFlags) validate() error {
	var errs []error
	if _, err := m.address(); err != nil {
		errs = append(errs, err)
	}
	if m.newSecretFile != "" && m.secret.file != "" {
		errs = append(errs, errors.New("--new-secret-file and --secret-file do not go together: one makes the secret that the other has"))
	}
	if m.expect < 1 {
		errs = append(errs, fmt.Errorf("--expect-workers must be at least 1, got %d", m.expect))
	}
	return errors.Join(errs...)
}

// webFlags say where and to whom the web UI and its API are served.
type webFlags struct {
	host     string
	port     int
	basePath string
	token    string
	insecure bool
	picker   bool
	origins  []string
	login    bool
}

func (w *webFlags) register(flags *pflag.FlagSet) {
	flags.IntVarP(&w.port, "web-port", "P", defaultWebPort, "`port` of the web UI and its API; 0 = a free one")
	flags.StringVar(&w.host, "web-host", "127.0.0.1", "`address` of the web UI; * = all interfaces (needs --web-token or --insecure-web)")
	flags.StringVar(&w.basePath, "web-base-path", "", "serve the web UI below this `path`")
	flags.StringVar(&w.token, "web-token", "", "`token` that every request has to show; better given as ZAE_LIMITER_WEB_TOKEN")
	flags.BoolVar(&w.login, "web-login", false, "no more than a check that there is a --web-token, under Locust's name")
	_ = flags.MarkHidden("web-login")
	flags.BoolVar(&w.insecure, "insecure-web", false, "serve other machines without a token")
	flags.BoolVar(&w.picker, "class-picker", false, "let the web UI choose among user classes and load shapes")
	flags.StringSliceVar(&w.origins, "web-allow-origin", nil, "`site` whose pages may use the API, such as https://dash.example.com; repeatable")
}

func (w *webFlags) address() string {
	host := w.host
	if host == "*" {
		host = ""
	}
	return net.JoinHostPort(host, strconv.Itoa(w.port))
}

// loopback reports whether only this machine can connect.
func (w *webFlags) loopback() bool {
	if w.host == "localhost" {
		return true
	}
	ip := net.ParseIP(w.host)
	return ip != nil && ip.IsLoopback()
}

func (w *webFlags) validate() error {
	var errs []error
	if w.port < 0 || w.port > 65535 {
		errs = append(errs, fmt.Errorf("--web-port must be between 0 and 65535, got %d", w.port))
	}
	if !w.loopback() && w.token == "" && !w.insecure {
		errs = append(errs, fmt.Errorf("--web-host %s lets other machines start and stop tests: give --web-token, or --insecure-web if that is wanted", w.host))
	}
	if w.login && w.token == "" {
		errs = append(errs, errors.New("--web-login needs --web-token: the token is what the login page asks for"))
	}
	if w.basePath != "" && !strings.HasPrefix(w.basePath, "/") {
		errs = append(errs, fmt.Errorf("--web-base-path %q must begin with a slash", w.basePath))
	}
	return errors.Join(errs...)
}

// joinFlags say which master a worker joins.
type joinFlags struct {
	master        string
	masterHost    string
	masterPort    int
	id            string
	timeout       runTimeFlag
	secret        secretFlags
	workerIgnored bool
}

func (j *joinFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&j.master, "master", net.JoinHostPort("127.0.0.1", strconv.Itoa(defaultMasterPort)), "`address` of the master")
	flags.StringVar(&j.masterHost, "master-host", "", "the host of --master, under Locust's name")
	flags.IntVar(&j.masterPort, "master-port", 0, "the port of --master, under Locust's name")
	flags.StringVar(&j.id, "worker-id", "", "`id` of this worker (default: host name and a random part)")
	flags.Var(&j.timeout, "master-timeout", "give up after this long without a master; 0 = after 5 minutes, and after 1 minute once it had answered")
	j.secret.register(flags)
	flags.BoolVar(&j.workerIgnored, "worker", false, "no effect: Locust's way to ask for a worker")
	for _, name := range []string{"worker", "master-host", "master-port"} {
		_ = flags.MarkHidden(name)
	}
}

func (j *joinFlags) address() (string, error) {
	host, port, err := net.SplitHostPort(j.master)
	if err != nil {
		if strings.Contains(j.master, ":") {
			return "", fmt.Errorf("--master %q: want host:port", j.master)
		}
		host, port = j.master, strconv.Itoa(defaultMasterPort)
	}
	if j.masterHost != "" {
		host = j.masterHost
	}
	if j.masterPort != 0 {
		port = strconv.Itoa(j.masterPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
		return "", fmt.Errorf("--master %q: want host:port", j.master)
	}
	return net.JoinHostPort(host, port), nil
}

func (j *joinFlags) validate() error {
	_, err := j.address()
	if len(j.id) > 255 || strings.ContainsAny(j.id, " \t\r\n") {
		err = errors.Join(err, fmt.Errorf("--worker-id %q: want up to 255 characters without blanks", j.id))
	}
	return err
}

// workerID is the id of a worker: as Locust's, a host name and something random.
func (j *joinFlags) workerID() string {
	if j.id != "" {
		return j.id
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	return strings.ReplaceAll(host, "_", "-") + "_" + randomHex(16)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// levelFlag is how much is logged; the names are Locust's.
type levelFlag struct{ slog.Level }

func (l *levelFlag) register(flags *pflag.FlagSet) {
	flags.VarP(l, "loglevel", "L", "how much to log: DEBUG, INFO, WARNING or ERROR")
}

func (l *levelFlag) Set(text string) error {
	switch strings.ToUpper(text) {
	case "DEBUG":
		l.Level = slog.LevelDebug
	case "INFO":
		l.Level = slog.LevelInfo
	case "WARNING", "WARN":
		l.Level = slog.LevelWarn
	case "ERROR", "CRITICAL":
		l.Level = slog.LevelError
	default:
		return fmt.Errorf("%q is none of DEBUG, INFO, WARNING, ERROR", text)
	}
	return nil
}

func (l *levelFlag) Type() string { return "level" }
