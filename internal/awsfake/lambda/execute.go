package lambda

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// initTimeout is how long an environment may take to ask for its first call; it is made anew then, and
// has the time of the call for it.
const initTimeout = 10 * time.Second

// outcome is the end of a call.
type outcome struct {
	payload []byte
	failure string // "" or the value of X-Amz-Function-Error
	log     []byte // the last 4 KB
}

// failed is the outcome of a call that the platform ended.
func failed(kind, format string, args ...any) outcome {
	payload, err := json.Marshal(map[string]string{"errorType": kind, "errorMessage": fmt.Sprintf(format, args...)})
	if err != nil {
		payload = []byte(`{}`) // texts always encode
	}
	return outcome{payload: payload, failure: "Unhandled"}
}

func size(n int64) string { return strconv.FormatInt(n, 10) }

// execute makes one call in an idle environment or in a new one.
func (s *Service) execute(t target, id string, payload []byte) outcome {
	s.metric(t.arn, "Invocations", 1, "Count")
	s.metric(t.arn, "ConcurrentExecutions", float64(s.busyNow(t.arn)), "Count")
	began := time.Now()
	out := s.executeIn(t, &job{id: id, payload: payload, target: t})
	s.metric(t.arn, "Duration", float64(time.Since(began))/float64(time.Millisecond), "Milliseconds")
	failures := 0.0
	if out.failure != "" {
		failures = 1
	}
	s.metric(t.arn, "Errors", failures, "Count")
	return out
}

func (s *Service) executeIn(t target, j *job) outcome {
	if runtime := string(t.config.Runtime); !strings.HasPrefix(runtime, "provided") {
		return failed("Runtime.Unsupported", "RequestId: %s Error: this machine runs functions of runtime provided.al2023, not %q", j.id, runtime)
	}
	e := s.takeIdle(t)
	if e == nil {
		var out outcome
		if e, out = s.boot(t, j); e == nil {
			return out
		}
	}
	out, usable := e.call(j)
	if usable && s.giveBack(e) {
		return out
	}
	e.close()
	return out
}

// boot makes an environment that has asked for its first call.
func (s *Service) boot(t target, j *job) (*environment, outcome) {
	timeout := time.Duration(*t.config.Timeout) * time.Second
	for attempt, limit := range []time.Duration{initTimeout, timeout} {
		e, err := s.start(t)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, failed("Runtime.InvalidEntrypoint", "RequestId: %s Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]", j.id)
		case err != nil:
			return nil, failed("Runtime.InvalidEntrypoint", "RequestId: %s Error: %v", j.id, err)
		}
		out, ok := e.initialise(j, limit)
		if ok {
			return e, outcome{}
		}
		e.close()
		if attempt == 1 || s.running.Err() != nil {
			return nil, out
		}
	}
	return nil, outcome{} // not reached: the second attempt returns
}

// takeIdle returns an idle environment for a target, nil when there is none.
func (s *Service) takeIdle(t target) *environment {
	var dead []*environment
	defer func() {
		for _, e := range dead {
			e.close()
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.idle[t.key()]
	for len(list) > 0 {
		e := list[len(list)-1]
		list = list[:len(list)-1]
		s.setIdle(t.key(), list)
		e.expiry.Stop() // when it is too late the sweep does not find it
		if e.alive() {
			return e
		}
		dead = append(dead, e)
	}
	return nil
}

func (s *Service) setIdle(key string, list []*environment) {
	if len(list) == 0 {
		delete(s.idle, key)
		return
	}
	s.idle[key] = list
}

// giveBack keeps an environment for the next call, unless its version is gone.
func (s *Service) giveBack(e *environment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.current(e.target) {
		return false
	}
	key := e.target.key()
	s.idle[key] = append(s.idle[key], e)
	e.idleSince = time.Now()
	e.expiry = time.AfterFunc(s.config.IdleTime, s.sweep)
	return true
}

// current reports whether a call can still be for a target. s.mu is held.
func (s *Service) current(t target) bool {
	f := s.functions[t.arn]
	if f == nil {
		return false
	}
	if aws.ToString(t.config.Version) != latest {
		return true // what is published does not change
	}
	return aws.ToString(f.Latest.RevisionId) == aws.ToString(t.config.RevisionId)
}

// sweep ends the idle environments that nobody will call any more, or that have been idle for too long.
func (s *Service) sweep() {
	s.mu.Lock()
	var over []*environment
	for key, list := range s.idle {
		var kept []*environment
		for _, e := range list {
			if s.current(e.target) && time.Since(e.idleSince) < s.config.IdleTime {
				kept = append(kept, e)
			} else {
				over = append(over, e)
			}
		}
		s.setIdle(key, kept)
	}
	s.mu.Unlock()
	for _, e := range over {
		e.close()
	}
}

func (s *Service) busyNow(arn string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy[arn]
}

// metric records a value of a function.
func (s *Service) metric(arn, name string, value float64, unit string) {
	function := arn[strings.LastIndexByte(arn, ':')+1:]
	s.config.Recorder.Record("AWS/Lambda", name, map[string]string{"FunctionName": function}, s.config.Now(), value, unit)
}

// milliseconds is a duration as the platform's lines have it.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(math.Ceil(float64(d)/1e4)/100, 'f', 2, 64)
}
