package lambda

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// environment is a process with the runtime API that it talks to. It serves one call at a time.
type environment struct {
	service *Service
	target  target
	process *process
	server  *http.Server
	serving sync.WaitGroup
	output  *output

	jobs    chan *job     // handed over when the runtime asks
	asking  chan struct{} // has an element when it has begun to ask
	results chan outcome  // what it answered
	cold    time.Duration // the time of its start, until it is told with the first call

	// Idle environments only, guarded by the service's lock.
	expiry    *time.Timer
	idleSince time.Time

	mu      sync.Mutex
	current *job // the one that has no answer yet
}

// job is one call as an environment serves it.
type job struct {
	id       string
	payload  []byte
	target   target
	deadline time.Time
}

// start starts the process of an environment.
func (s *Service) start(t target) (*environment, error) {
	folder := s.folderOf(*t.config.CodeSha256)
	bootstrap := filepath.Join(folder, "bootstrap")
	if _, err := os.Stat(bootstrap); err != nil {
		return nil, err
	}
	role := aws.ToString(t.config.Role)
	credentials, err := s.config.Sessions.Session(s.running, role, *t.config.FunctionName)
	if err != nil {
		return nil, fmt.Errorf("the function's role: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtime API: %w", err)
	}
	e := &environment{
		service: s, target: t, jobs: make(chan *job), asking: make(chan struct{}, 1), results: make(chan outcome, 1),
	}
	e.output, err = newOutput(s.sink(t))
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	e.server = &http.Server{Handler: e.runtimeAPI(), ReadHeaderTimeout: time.Minute}
	e.serving.Go(func() { _ = e.server.Serve(listener) }) // it ends with close
	environ := s.environ(t, folder, listener.Addr().String(), e.output.stream, credentials)
	if e.process, err = startProcess(bootstrap, folder, environ, e.output.pipe()); err != nil {
		e.output.close()
		_ = e.server.Close()
		e.serving.Wait()
		return nil, err
	}
	return e, nil
}

// sink is where the lines of an environment go: nowhere when its role may not write there.
func (s *Service) sink(t target) sink {
	group := *t.config.LoggingConfig.LogGroup
	stream := time.Now().UTC().Format("2006/01/02/") + "[" + *t.config.Version + "]" + strings.ToLower(rand.Text())
	parts := strings.Split(t.arn, ":")
	arn := strings.Join([]string{"arn", parts[1], "logs", parts[3], parts[4], "log-group", group, "log-stream", stream}, ":")
	guard := s.config.Sessions.Guard(aws.ToString(t.config.Role))
	for _, action := range []string{"logs:CreateLogStream", "logs:PutLogEvents"} {
		if guard != nil && guard.Allow(action, arn, nil) != nil {
			return sink{stream: stream, write: func(string) {}}
		}
	}
	return sink{stream: stream, write: func(line string) { s.config.Logs.Write(group, stream, time.Now(), line) }}
}

// environ is the environment of the process.
func (s *Service) environ(t target, folder, api, stream string, c Credentials) []string {
	region := strings.Split(t.arn, ":")[3]
	variables := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=en_US.UTF-8", "TZ=:UTC", "TMPDIR=" + os.TempDir(),
		"AWS_LAMBDA_RUNTIME_API=" + api, "LAMBDA_TASK_ROOT=" + folder, "LAMBDA_RUNTIME_DIR=" + folder,
		"_HANDLER=" + aws.ToString(t.config.Handler), "AWS_EXECUTION_ENV=AWS_Lambda_" + string(t.config.Runtime),
		"AWS_LAMBDA_FUNCTION_NAME=" + *t.config.FunctionName, "AWS_LAMBDA_FUNCTION_VERSION=" + *t.config.Version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(int(*t.config.MemorySize)), "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=" + *t.config.LoggingConfig.LogGroup, "AWS_LAMBDA_LOG_STREAM_NAME=" + stream,
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.SessionToken,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if endpoint := s.config.Endpoint(); endpoint != "" {
		variables = append(variables, "AWS_ENDPOINT_URL="+endpoint)
	}
	if t.config.Environment != nil {
		for name, value := range t.config.Environment.Variables {
			variables = append(variables, name+"="+value)
		}
	}
	return variables
}

// initialise waits until the process asks for its first call.
func (e *environment) initialise(j *job, limit time.Duration) (outcome, bool) {
	began := time.Now()
	e.output.begin()
	e.output.line("INIT_START Runtime Version: provided:al2023")
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var out outcome
	select {
	case <-e.asking:
		e.cold = time.Since(began)
		return outcome{}, true
	case out = <-e.results: // an error of the initialisation
	case <-e.process.done:
		out = e.exited(j)
	case <-timer.C:
		e.output.line("INIT_REPORT Init Duration: " + milliseconds(time.Since(began)) + " ms\tPhase: init\tStatus: timeout")
		out = e.timedOut(j, limit)
	case <-e.service.running.Done():
		out = failed("Service.Closed", "RequestId: %s Error: the service is closed", j.id)
	}
	out.log = e.output.tail()
	return out, false
}

// call serves one call; the environment is frozen afterwards, unless it is of no use any more.
func (e *environment) call(j *job) (outcome, bool) {
	timeout := time.Duration(*e.target.config.Timeout) * time.Second
	began := time.Now()
	j.deadline = began.Add(timeout)
	e.setCurrent(j)
	defer e.setCurrent(nil)
	e.output.begin()
	e.output.line("START RequestId: " + j.id + " Version: " + *e.target.config.Version)
	e.process.resume()
	ctx, cancel := context.WithDeadline(e.service.running, j.deadline)
	defer cancel()
	out, usable := e.exchange(ctx, j, timeout)
	e.output.sync()
	took := time.Since(began)
	e.output.line("END RequestId: " + j.id)
	e.output.line(e.report(j, took, out))
	out.log = e.output.tail()
	if usable {
		e.process.freeze()
	}
	return out, usable
}

// exchange hands a call over and waits until the runtime has answered and asks for the next one.
func (e *environment) exchange(ctx context.Context, j *job, timeout time.Duration) (out outcome, usable bool) {
	select {
	case e.jobs <- j:
	case <-e.process.done:
		return e.exited(j), false
	case <-ctx.Done():
		return e.cutOff(j, timeout), false
	}
	select {
	case out = <-e.results:
	case <-e.process.done:
		return e.exited(j), false
	case <-ctx.Done():
		return e.cutOff(j, timeout), false
	}
	select {
	case <-e.asking:
		return out, true
	case <-e.process.done: // a runtime that ends after its answer, as after a panic
		return out, false
	case <-ctx.Done():
		e.process.kill()
		return out, false
	}
}

// cutOff ends a call whose time is over, or whose service is closed.
func (e *environment) cutOff(j *job, timeout time.Duration) outcome {
	e.process.kill()
	if e.service.running.Err() != nil {
		return failed("Service.Closed", "RequestId: %s Error: the service is closed", j.id)
	}
	return e.timedOut(j, timeout)
}

func (e *environment) timedOut(j *job, limit time.Duration) outcome {
	text := fmt.Sprintf("Task timed out after %.2f seconds", limit.Seconds())
	e.output.line(time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + " " + j.id + " " + text)
	return failed("Sandbox.Timedout", "RequestId: %s Error: %s", j.id, text)
}

// exited is the outcome of a call whose process ended.
func (e *environment) exited(j *job) outcome {
	select {
	case out := <-e.results: // it answered before
		return out
	default:
	}
	e.output.sync()
	reason := "Runtime exited without providing a reason"
	if err := e.process.err; err != nil {
		reason = "Runtime exited with error: " + err.Error()
	}
	e.output.line("RequestId: " + j.id + " Error: " + reason + "\tRuntime.ExitError")
	return failed("Runtime.ExitError", "RequestId: %s Error: %s", j.id, reason)
}

// report is the platform's line about a call.
func (e *environment) report(j *job, took time.Duration, out outcome) string {
	fields := []string{
		"REPORT RequestId: " + j.id, "Duration: " + milliseconds(took) + " ms",
		fmt.Sprintf("Billed Duration: %d ms", (took + e.cold + time.Millisecond - 1).Milliseconds()),
		fmt.Sprintf("Memory Size: %d MB", *e.target.config.MemorySize),
	}
	if used := e.process.peakMemory(); used > 0 {
		fields = append(fields, fmt.Sprintf("Max Memory Used: %d MB", used))
	}
	if e.cold > 0 {
		fields = append(fields, "Init Duration: "+milliseconds(e.cold)+" ms")
		e.cold = 0
	}
	if strings.Contains(string(out.payload), "Sandbox.Timedout") && out.failure != "" {
		fields = append(fields, "Status: timeout")
	}
	return strings.Join(fields, "\t") + "\t"
}

func (e *environment) setCurrent(j *job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = j
}

// take returns the call with an id, if it is the one being served and has no answer yet.
func (e *environment) take(id string) *job {
	e.mu.Lock()
	defer e.mu.Unlock()
	j := e.current
	if j == nil || j.id != id {
		return nil
	}
	e.current = nil
	return j
}

// alive reports whether the process is there.
func (e *environment) alive() bool {
	select {
	case <-e.process.done:
		return false
	default:
		return true
	}
}

// close kills the process and returns when everything of the environment is gone.
func (e *environment) close() {
	e.process.kill()
	<-e.process.done
	e.output.sync()
	e.output.close()
	_ = e.server.Close() // it has no error to tell
	e.serving.Wait()
}

// traceID is a trace that nobody looks at, in the platform's form.
func traceID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	text := hex.EncodeToString(b[:])
	return fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", time.Now().Unix(), text[:24], text[24:40])
}
