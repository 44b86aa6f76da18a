package awsfake

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// failures are the rules for what goes wrong. A rule reads
//
//	SERVICE:ACTION[*TIMES][@PROBABILITY]=[CODE: ]MESSAGE
//
// such as ecs:RunTask*2=ThrottlingException: Rate exceeded. SERVICE is a service's name in signatures,
// ACTION an operation or a pattern with *; TIMES is how many calls fail, all when it is left out,
// PROBABILITY (0 to 1) how likely each one does. Without a code it is ClientException.
//
// Two services stand for what is no call: resource:LOGICALID or resource:LOGICALID/PHASE (CREATE,
// UPDATE, DELETE, ROLLBACK) fails what stacks do; task:Pull and task:Init end tasks before their start
// with the message, task:Agent keeps the agents of ECS Exec from getting ready, task:Capacity names the
// capacity provider that has none, and task:Spot says how long after its start a task on Spot capacity
// loses it, such as task:Spot*1=20s.
type failures struct {
	mu    sync.Mutex
	rules []*rule
}

type rule struct {
	service, action string
	left            int           // how often it still applies; negative = for ever
	after           time.Duration // of task:Spot
	probability     float64
	err             *protocol.Error
}

var (
	ruleHead = regexp.MustCompile(`^([a-z0-9-]+):([A-Za-z0-9*/-]+?)(?:\*(\d+))?(?:@([0-9.]+))?$`)
	ruleCode = regexp.MustCompile(`^([A-Z][A-Za-z0-9.]+): (.*)$`)
	// familiar are names that people use for those in signatures.
	familiar = map[string]string{"cloudwatch": "monitoring", "tag": "tagging", "cfn": "cloudformation"}
)

// parseFailures reads rules, of which several may stand in one text, separated by semicolons.
func parseFailures(texts []string) (*failures, error) {
	f := &failures{}
	for _, text := range texts {
		for one := range strings.SplitSeq(text, ";") {
			if strings.TrimSpace(one) == "" {
				continue
			}
			r, err := parseRule(strings.TrimSpace(one))
			if err != nil {
				return nil, err
			}
			f.rules = append(f.rules, r)
		}
	}
	return f, nil
}

func parseRule(text string) (*rule, error) {
	head, message, ok := strings.Cut(text, "=")
	match := ruleHead.FindStringSubmatch(head)
	if !ok || match == nil || message == "" {
		return nil, fmt.Errorf("%w %q: want SERVICE:ACTION[*TIMES][@PROBABILITY]=[CODE: ]MESSAGE, such as ecs:RunTask*2=ThrottlingException: Rate exceeded", ErrRule, text)
	}
	r := &rule{service: match[1], action: match[2], left: -1, probability: 1}
	if name := familiar[r.service]; name != "" {
		r.service = name
	}
	var err error
	if match[3] != "" {
		if r.left, err = strconv.Atoi(match[3]); err != nil || r.left < 1 {
			return nil, fmt.Errorf("%w %q: the number of times must be 1 or more, got %s", ErrRule, text, match[3])
		}
	}
	if match[4] != "" {
		if r.probability, err = strconv.ParseFloat(match[4], 64); err != nil || r.probability > 1 {
			return nil, fmt.Errorf("%w %q: the probability must be between 0 and 1, got %s", ErrRule, text, match[4])
		}
	}
	if r.service == taskRules && r.action == spotAction {
		if r.after, err = time.ParseDuration(message); err != nil || r.after <= 0 {
			return nil, fmt.Errorf("%w %q: want how long a task keeps its Spot capacity, such as 20s, got %s", ErrRule, text, message)
		}
	}
	r.err = &protocol.Error{Status: http.StatusBadRequest, Code: "ClientException", Message: message}
	if coded := ruleCode.FindStringSubmatch(message); coded != nil {
		r.err.Code, r.err.Message = coded[1], coded[2]
	}
	switch r.err.Code {
	case "InternalFailure", "InternalServerError", "ServerException", "ServiceException":
		r.err.Status = http.StatusInternalServerError
	case "ServiceUnavailable", "ServiceUnavailableException":
		r.err.Status = http.StatusServiceUnavailable
	case "TooManyRequestsException":
		r.err.Status = http.StatusTooManyRequests
	}
	return r, nil
}

// The services of rules that are no service of AWS.
const (
	resourceRules = "resource"
	taskRules     = "task"
)

// taskActions are what may go wrong with a task.
var taskActions = []string{"Pull", "Init", "Agent", "Capacity", spotAction}

const spotAction = "Spot"

// known checks that each rule is for a service that is played.
func (f *failures) known(services []protocol.Service) error {
	for _, r := range f.rules {
		switch {
		case r.service == resourceRules:
		case r.service == taskRules:
			if !slices.Contains(taskActions, r.action) {
				return fmt.Errorf("%w task:%s: a task knows %s", ErrRule, r.action, strings.Join(taskActions, ", "))
			}
		case !slices.ContainsFunc(services, func(s protocol.Service) bool { return s.Name == r.service }):
			return fmt.Errorf("%w %s:%s: there is no service %s", ErrRule, r.service, r.action, r.service)
		}
	}
	return nil
}

// replace makes the rules of next those that hold.
func (f *failures) replace(next *failures) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = next.rules
}

// next returns the first rule that applies, nil when there is none.
func (f *failures) next(service, action string) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		matched, err := path.Match(r.action, action)
		if r.service != service || err != nil || !matched || r.left == 0 || rand.Float64() >= r.probability {
			continue
		}
		r.left--
		return r
	}
	return nil
}

// call is asked before each operation.
func (f *failures) call(call *protocol.Call) error {
	if r := f.next(call.Service, call.Action); r != nil {
		return r.err
	}
	return nil
}

// resource is asked before each thing that is done to a stack's resource.
func (f *failures) resource(_, logicalID, _ string, phase cloudformation.Phase) error {
	for _, name := range []string{logicalID, logicalID + "/" + string(phase)} {
		if r := f.next(resourceRules, name); r != nil {
			return errors.New(r.err.Message)
		}
	}
	return nil
}

// tasks are the faults of tasks; they hold until the rules are replaced.
func (f *failures) tasks() ecs.Faults {
	faults := ecs.Faults{Reclaim: func() time.Duration {
		if r := f.next(taskRules, spotAction); r != nil {
			return r.after
		}
		return 0
	}}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.service != taskRules {
			continue
		}
		switch r.action {
		case "Pull":
			faults.Pull = r.err.Message
		case "Init":
			faults.Init = r.err.Message
		case "Agent":
			faults.AgentPending = true
		case "Capacity":
			faults.NoCapacity = append(faults.NoCapacity, r.err.Message)
		}
	}
	return faults
}
