package tunnel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// ClientVariable is the environment variable that makes a process a session client. A program that opens
// tunnels calls RunClient before anything else when it is set, and ends.
const ClientVariable = "ZAE_LIMITER_SESSION_CLIENT"

// responseVariable holds the session's token, so that it never shows in a list of processes. The client
// removes it from its environment.
const responseVariable = "AWS_SSM_START_SESSION_RESPONSE"

// What the client prints (aws.md 5.1). Its exit code says nothing.
const (
	textReady       = "Waiting for connections"
	textFailed      = "Cannot perform start session: "
	textBusy        = "address already in use"
	textInterrupted = "Terminate signal received"
	textPanic       = "panic: "
)

// errBusy: the client found its port taken.
var errBusy = errors.New(textBusy)

var openedPort = regexp.MustCompile(`^Port (\d+) opened for sessionId`)

// outputGrace is how long the output of a client may stay open after its end.
const outputGrace = time.Second

// child is a session client that runs.
type child struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	session string
	files   string        // a directory of its own for what it keeps in files
	ready   chan struct{} // closed when the client listens; port is known then
	done    chan struct{} // closed when the process has ended

	mu   sync.Mutex
	port int
	rest []byte // of a line that is not complete
	last string // line
	said error  // why it ends, as far as it has said it
}

// launch starts a client for a session. environ is its environment without what the session adds.
func launch(executable string, environ []string, region string, request *ssm.StartSessionInput, response *ssm.StartSessionOutput) (*child, error) {
	answer, err := json.Marshal(map[string]string{
		"SessionId": aws.ToString(response.SessionId), "StreamUrl": aws.ToString(response.StreamUrl), "TokenValue": aws.ToString(response.TokenValue),
	})
	if err != nil {
		return nil, fmt.Errorf("session's response: %w", err)
	}
	asked, err := json.Marshal(map[string]any{
		"Target": aws.ToString(request.Target), "DocumentName": aws.ToString(request.DocumentName), "Parameters": request.Parameters,
	})
	if err != nil {
		return nil, fmt.Errorf("session's request: %w", err)
	}
	c := &child{session: aws.ToString(response.SessionId), ready: make(chan struct{}), done: make(chan struct{})}
	// A client that is killed leaves its socket behind.
	if c.files, err = os.MkdirTemp(socketFolder(os.TempDir()), "zael"); err != nil {
		return nil, fmt.Errorf("session client: %w", err)
	}
	if err := c.start(executable, environ, region, string(asked), string(answer)); err != nil {
		return nil, errors.Join(fmt.Errorf("session client: %w", err), os.RemoveAll(c.files))
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait()          // how it ended stands in its state and its output
		_ = os.RemoveAll(c.files) // nothing can be done about a file that stays
	}()
	return c, nil
}

const (
	// longestSocket is how long the path of a socket may be on every system.
	longestSocket = 103
	// socketName is the longest path of a client's socket below the folder for temporary files: a folder
	// of its own, and a name with a checksum.
	socketName = len("/zael4294967295/4294967295_session_manager_plugin_mux.sock")
)

// socketFolder is where clients have their folders: that for temporary files, unless sockets below it
// would have too long a path, as with the folders that some systems give each user.
func socketFolder(temporary string) string {
	if runtime.GOOS != "windows" && len(temporary)+socketName > longestSocket {
		return "/tmp"
	}
	return temporary
}

func (c *child) start(executable string, environ []string, region, request, response string) error {
	// Without a profile and an endpoint the client finds both in its environment, as this process did.
	const profile, endpoint = "", ""
	c.cmd = exec.Command(executable, responseVariable, region, "StartSession", profile, request, endpoint)
	c.cmd.Env = append(environ, ClientVariable+"=1", responseVariable+"="+response, "TMPDIR="+c.files, "TMP="+c.files, "TEMP="+c.files)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	c.cmd.WaitDelay = outputGrace
	ownGroup(c.cmd)
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	return c.cmd.Start()
}

// lineLimit bounds a line of a client's output.
const lineLimit = 4096

// Write takes what the client prints.
func (c *child) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, b...)
	for {
		line, rest, complete := bytes.Cut(c.rest, []byte("\n"))
		if !complete && len(c.rest) < lineLimit {
			return len(b), nil
		}
		c.rest = rest
		c.takeLocked(strings.TrimSpace(string(line)))
	}
}

func (c *child) takeLocked(line string) {
	if line == "" {
		return
	}
	c.last = line
	if c.said == nil {
		c.said = endOf(line)
	}
	if match := openedPort.FindStringSubmatch(line); match != nil {
		c.port, _ = strconv.Atoi(match[1]) // digits; 0 when there are too many
	}
	if strings.HasPrefix(line, textReady) && !c.isReady() {
		close(c.ready)
	}
}

// endOf returns the reason for a client's end that a line gives; nil for other lines.
func endOf(line string) error {
	switch {
	case strings.HasPrefix(line, textInterrupted):
		return fmt.Errorf("%w: its process was interrupted", ErrEndedFromOutside)
	case strings.Contains(line, textBusy):
		return errBusy
	case strings.HasPrefix(line, textFailed), strings.HasPrefix(line, textPanic):
		return errors.New("session client: " + strings.TrimPrefix(line, textFailed))
	}
	return nil
}

func (c *child) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// listensAt returns the local port of a client that is ready.
func (c *child) listensAt() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.port
}

// end asks the client to end its session, and kills it when it does not within a time.
func (c *child) end(within time.Duration) {
	select {
	case <-c.done:
		return
	default:
	}
	if err := interrupt(c.cmd.Process); err != nil {
		_ = c.stdin.Close() // the other way to ask
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		_ = c.cmd.Process.Kill() // it has just ended, if anything
		<-c.done
	}
}

// reason says why a client has ended that nobody here told to.
func (c *child) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by := killedBy(c.cmd.ProcessState); by != "" {
		return fmt.Errorf("%w: its process got the signal %q", ErrEndedFromOutside, by)
	}
	if c.said != nil {
		return c.said
	}
	return fmt.Errorf("session client ended: %s", c.last)
}
