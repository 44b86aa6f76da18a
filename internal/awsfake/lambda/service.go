// Package lambda plays AWS Lambda on one machine: functions, versions, aliases, limits and event source
// mappings of streams behind the service's HTTP API, and the functions' execution. The package that was uploaded runs as a process of this
// machine behind a Lambda runtime API of its own, one environment for each call at a time, frozen between
// calls and killed at its timeout (aws.md 5.4).
//
// Only runtimes "provided…" run. A function's processors are not limited to the share that goes with its
// memory: a program that wants to keep to it reads AWS_LAMBDA_FUNCTION_MEMORY_SIZE, as ours does.
package lambda

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Credentials are the keys of a role session.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// Sessions are the roles that functions act as.
type Sessions interface {
	// Session opens a session of a role for Lambda. The error says in IAM's words why that cannot be.
	Session(ctx context.Context, role, name string) (Credentials, error)
	// Guard decides what a role may do; nil allows everything.
	Guard(role string) protocol.Guard
}

// Logs takes what functions print, and the platform's lines about their calls. Groups and streams are
// made when they are absent.
type Logs interface {
	Write(group, stream string, at time.Time, line string)
}

// Recorder takes the service's metrics.
type Recorder interface {
	Record(namespace, name string, dimensions map[string]string, at time.Time, value float64, unit string)
}

// Interfaces are the network interfaces of VPCs.
type Interfaces interface {
	// AddInterface makes one in a subnet; its error names a subnet or a group that does not exist.
	AddInterface(subnet string, groups []string, address, description string) (id string, err error)
	RemoveInterface(id string)
	// VPC is the id of a subnet's VPC, "" when there is no such subnet.
	VPC(subnet string) string
}

// Config configures a service.
type Config struct {
	// Dir keeps the packages of functions; it is made when it is absent.
	Dir string
	// Endpoint is the URL that functions find in AWS_ENDPOINT_URL; asked for each environment.
	Endpoint func() string
	Sessions Sessions
	Logs     Logs
	Recorder Recorder
	// Streams are what event source mappings read, Queues what they tell about batches that failed for good.
	Streams Streams
	Queues  Queues
	// Interfaces gets the interfaces of functions in VPCs; nil = nobody sees them.
	Interfaces Interfaces
	// Concurrency is the account's limit of concurrent calls; 0 = 1000.
	Concurrency int
	// UpdateTime is how long a function is Pending after its creation and an update is InProgress.
	UpdateTime time.Duration
	// IdleTime is how long a frozen environment is kept; 0 = 5 minutes.
	IdleTime time.Duration
	// Now is the clock of states and events; nil = time.Now.
	Now func() time.Time
	// Wait waits between deliveries of a queued event; nil = really.
	Wait func(ctx context.Context, d time.Duration) error
}

// Service is Lambda. It is safe for concurrent use.
type Service struct {
	config Config
	mux    *http.ServeMux

	// running ends with Close, work is what runs until then.
	running context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	functions map[string]*function // by unqualified ARN
	mappings  map[string]*mapping  // by UUID
	busy      map[string]int       // calls under way, by unqualified ARN
	idle      map[string][]*environment
}

const (
	defaultConcurrency = 1000
	defaultIdleTime    = 5 * time.Minute
)

// New returns a service without functions. Close ends it.
func New(config Config) (*Service, error) {
	config.Concurrency = cmp.Or(config.Concurrency, defaultConcurrency)
	config.IdleTime = cmp.Or(config.IdleTime, defaultIdleTime)
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Wait == nil {
		config.Wait = wait
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the functions: %w", err)
	}
	s := &Service{
		config: config, functions: map[string]*function{}, mappings: map[string]*mapping{}, busy: map[string]int{}, idle: map[string][]*environment{},
	}
	s.running, s.stop = context.WithCancel(context.Background())
	s.mux = s.routes()
	return s, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close kills every process, forgets queued events and returns when nothing runs any more.
func (s *Service) Close() error {
	s.mu.Lock()
	s.closed = true
	var idle []*environment
	for _, list := range s.idle {
		idle = append(idle, list...)
	}
	s.idle = map[string][]*environment{}
	s.mu.Unlock()
	s.stop()
	for _, e := range idle {
		e.expiry.Stop()
		e.close()
	}
	s.work.Wait()
	return nil
}

// spawn runs f until it returns, unless the service is closed.
func (s *Service) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// function is what the service knows of one function.
type function struct {
	Latest    types.FunctionConfiguration
	Versions  []types.FunctionConfiguration // published, in their order
	Aliases   map[string]types.AliasConfiguration
	Events    map[string]types.FunctionEventInvokeConfig // by qualifier, "" for none
	Reserved  *int32                                     // concurrent calls
	Tags      map[string]string
	Policy    map[string]string // statements by id
	Next      int               // number of the next version
	SettledAt time.Time         // when the last change has been made
	Created   bool              // that change was not the creation
	// Interfaces are those that the function has in its VPC, by id.
	Interfaces []string
}

// State is what has to be kept of the service besides its folder, as JSON.
func (s *Service) State() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.functions)
}

// Restore takes a state back, into a service with the same folder.
func (s *Service) Restore(state []byte) error {
	functions := map[string]*function{}
	if err := json.Unmarshal(state, &functions); err != nil {
		return fmt.Errorf("state of Lambda: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.functions = functions
	return nil
}
