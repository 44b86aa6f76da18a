// Package ecs plays the Elastic Container Service with Fargate: clusters, task definitions, services
// and tasks. A task is real: its image is unpacked and its containers run as processes of this machine,
// with logs, credentials, metadata, stop signals and metrics as in AWS.
package ecs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Images is the registry that tasks pull from. Its errors are in the words of a container engine.
type Images interface {
	Image(reference, architecture string) (v1.Image, error)
}

// Roles knows the roles that tasks have.
type Roles interface {
	// Guard returns the check of what a role, named by its ARN, may do; nil allows everything.
	Guard(role string) (protocol.Guard, error)
	// Credentials returns the URL at which the containers of a task read their role's credentials and
	// the token that they show there (AWS_CONTAINER_CREDENTIALS_FULL_URI and
	// AWS_CONTAINER_AUTHORIZATION_TOKEN). The session is the task's id. After end nobody gets any more.
	Credentials(role, session string) (url, token string, end func(), err error)
}

// Logs is where the driver awslogs writes.
type Logs interface {
	Writer(group, stream string) (io.WriteCloser, error)
}

// Metrics takes what is measured of tasks, in the units of CloudWatch.
type Metrics interface {
	Record(namespace, name, unit string, dimensions map[string]string, value float64)
}

// Interfaces are the network interfaces of VPCs.
type Interfaces interface {
	// AddInterface makes one in a subnet; its error names a subnet or a group that does not exist.
	AddInterface(subnet string, groups []string, address, description string) (id string, err error)
	RemoveInterface(id string)
}

// Config says what tasks run in and on. Every field without a default must be set.
type Config struct {
	Account, Region string
	// Endpoint is the URL at which containers reach the services of the account (AWS_ENDPOINT_URL).
	Endpoint string
	// Dir is for images and for the files of tasks; it must exist and is the service's own. The files
	// of a task go with it.
	Dir     string
	Images  Images
	Roles   Roles
	Logs    Logs
	Metrics Metrics
	// Interfaces gets the interface of each task; nil = tasks have none that anybody sees.
	Interfaces Interfaces
	// Ended is called when the containers of a task, which is named by its id, have ended, before it is
	// STOPPED. May be nil.
	Ended func(task string)
	// Environment is given to every container, as "name=value", before what its definition says.
	Environment []string
	// SampleEvery is how often running tasks are measured; the default is 5 s: a short run is seen, too.
	SampleEvery time.Duration
	// Now is the clock of what is shown; nil is the machine's.
	Now func() time.Time
	// Logger gets what goes wrong outside of any request. Nil logs nothing.
	Logger *slog.Logger
}

const (
	defaultSampleEvery = 5 * time.Second
	// keepStopped is how long a stopped task can be described.
	keepStopped = time.Hour
)

// Faults are what goes wrong with tasks that are started from now on. The zero value is none.
type Faults struct {
	// NoCapacity names capacity providers that have none: RunTask answers with a failure.
	NoCapacity []string
	// Pull and Init, when not empty, end tasks before their start with CannotPullContainerError and
	// ResourceInitializationError and this text.
	Pull, Init string
	// AgentPending keeps the agent of ECS Exec from getting ready.
	AgentPending bool
	// Reclaim is asked once for each task that runs on Spot capacity, and tells how long after that AWS
	// takes it back, 0 = never. Nil = never.
	Reclaim func() time.Duration
}

// Service is the ECS of an account in a region. It is safe for concurrent use. Close ends its tasks.
type Service struct {
	config Config
	images *imageCache

	mu       sync.Mutex // guards what follows, and the fields of tasks and containers that say so
	closed   bool
	clusters map[string]*cluster
	families map[string]*family
	tasks    map[string]*task // by id
	launches map[string]launch
	faults   Faults

	closing chan struct{}
	running sync.WaitGroup
}

// cluster is a cluster with its services by name. What describes it is replaced, never changed in
// place, so that a copy may be used without the lock; the same holds for services, definitions, tasks.
type cluster struct {
	Cluster  types.Cluster       `json:"cluster"`
	Services map[string]*service `json:"services"`
}

// New returns a service without clusters.
func New(config Config) *Service {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.SampleEvery <= 0 {
		config.SampleEvery = defaultSampleEvery
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		config: config, images: &imageCache{dir: config.Dir},
		clusters: map[string]*cluster{}, families: map[string]*family{}, tasks: map[string]*task{}, launches: map[string]launch{},
		closing: make(chan struct{}),
	}
	s.sweep()
	s.running.Go(s.sampleUntilClosed)
	return s
}

// sweep removes what the tasks of an earlier process left, which had no time to.
func (s *Service) sweep() {
	for _, pattern := range []string{taskDir("*"), "unpack-*"} {
		left, err := filepath.Glob(filepath.Join(s.config.Dir, pattern))
		for _, dir := range left {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		if err != nil {
			s.config.Logger.Warn("files of an earlier process stay", "error", err)
		}
	}
}

// taskDir is the name of the directory of a task's files.
func taskDir(id string) string { return "task-" + id }

// Close kills the containers of all tasks and returns when they are gone. No task can be started any
// more.
func (s *Service) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for _, t := range s.tasks {
		t.end(types.TaskStopCodeTerminationNotice, "The cloud was closed.")
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// SetFaults replaces the faults.
func (s *Service) SetFaults(faults Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

// API returns the operations for the front.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "ecs", Wire: protocol.JSON11, Operations: map[string]protocol.Operation{
		"CreateCluster":               protocol.Op(s.createCluster),
		"CreateService":               protocol.Op(s.createService),
		"DeleteCluster":               protocol.Op(s.deleteCluster),
		"DeleteService":               protocol.Op(s.deleteService),
		"DeregisterTaskDefinition":    protocol.Op(s.deregisterTaskDefinition),
		"DescribeClusters":            protocol.Op(s.describeClusters),
		"DescribeServices":            protocol.Op(s.describeServices),
		"DescribeTaskDefinition":      protocol.Op(s.describeTaskDefinition),
		"DescribeTasks":               protocol.Op(s.describeTasks),
		"ListClusters":                protocol.Op(s.listClusters),
		"ListServices":                protocol.Op(s.listServices),
		"ListTagsForResource":         protocol.Op(s.listTagsForResource),
		"ListTaskDefinitions":         protocol.Op(s.listTaskDefinitions),
		"ListTasks":                   protocol.Op(s.listTasks),
		"PutClusterCapacityProviders": protocol.Op(s.putClusterCapacityProviders),
		"RegisterTaskDefinition":      protocol.Op(s.registerTaskDefinition),
		"RunTask":                     protocol.Op(s.runTask),
		"StopTask":                    protocol.Op(s.stopTask),
		"TagResource":                 protocol.Op(s.tagResource),
		"UntagResource":               protocol.Op(s.untagResource),
		"UpdateService":               protocol.Op(s.updateService),
	}}
}

// state is what outlives the process: tasks do not.
type state struct {
	Clusters map[string]*cluster `json:"clusters"`
	Families map[string]*family  `json:"families"`
}

// MarshalJSON writes clusters, services and task definitions.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(state{s.clusters, s.families})
}

// UnmarshalJSON replaces clusters, services and task definitions by those that MarshalJSON wrote, and
// starts the tasks that the services want.
func (s *Service) UnmarshalJSON(raw []byte) error {
	st := state{map[string]*cluster{}, map[string]*family{}}
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("state of ECS: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clusters, s.families = st.Clusters, st.Families
	for _, c := range s.clusters {
		for _, svc := range c.Services {
			s.reconcile(svc)
		}
	}
	return nil
}

func (s *Service) arn(resource string) string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:%s", s.config.Region, s.config.Account, resource)
}

// lastSegment is the name at the end of an ARN, or the name itself.
func lastSegment(reference string) string {
	return reference[strings.LastIndexByte(reference, '/')+1:]
}

// Tagged returns the tags of every resource that has some, by ARN.
func (s *Service) Tagged() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tagged := map[string]map[string]string{}
	for holder := range s.holders() {
		if len(*holder.tags) > 0 {
			tagged[holder.arn] = mapOf(*holder.tags)
		}
	}
	return tagged
}

func mapOf(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, tag := range tags {
		m[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return m
}

func listOf(tags map[string]string) []types.Tag {
	var list []types.Tag
	for _, key := range sortedKeys(tags) {
		list = append(list, types.Tag{Key: &key, Value: new(tags[key])})
	}
	return list
}

// merged are tags with others over them.
func merged(tags []types.Tag, over ...types.Tag) []types.Tag {
	m := mapOf(tags)
	maps.Copy(m, mapOf(over))
	return listOf(m)
}
