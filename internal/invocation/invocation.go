// Package invocation is what a worker is started with: the event that a function gets, which is also
// the list of arguments of a worker process. Launchers write it, workers read it.
//
// Its keys and defaults are those of the Lambda worker of zae-limiter 0.17.0; those from worker_id on
// are additions, which that one ignores.
package invocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Modes of an invocation.
const (
	ModeHeadless = "headless" // runs users by itself and returns the totals; also any unknown mode
	ModeWorker   = "worker"   // joins a master
	// ModePurge removes from the table what the run with RunID has there. A headless run that goes on
	// elsewhere ends then: a call of a function cannot be ended from outside in any other way.
	ModePurge = "purge"
)

// Defaults of what an event leaves out.
const (
	DefaultUsers           = 10
	DefaultSpawnRate       = 5
	DefaultDurationSeconds = 60
	DefaultMasterPort      = 5557
	DefaultBaselineRPM     = 400
	DefaultSpikeRPM        = 1500
	// DefaultLocustfile is that of a headless run, which has no master to ask.
	DefaultLocustfile = "locustfile.py"
)

// DefaultSpikeProbability is per minute.
const DefaultSpikeProbability = 0.10

// maxEvent is the size that the platform allows an asynchronous event, in bytes.
const maxEvent = 1 << 20

// Event is the whole payload.
type Event struct {
	Config Config `json:"config"`
}

// Config is the one member of an event. Zero values are left out when it is written, and filled with
// the defaults above when it is parsed.
type Config struct {
	Mode            string  `json:"mode,omitempty"`
	Users           int     `json:"users,omitempty"`
	SpawnRate       float64 `json:"spawn_rate,omitempty"` // users a second
	DurationSeconds int     `json:"duration_seconds,omitempty"`
	Locustfile      string  `json:"locustfile,omitempty"`   // empty: the worker's own default
	UserClasses     string  `json:"user_classes,omitempty"` // separated by commas; empty: all

	MasterHost string `json:"master_host,omitempty"` // required of a worker
	MasterPort int    `json:"master_port,omitempty"`

	TargetStackName  string   `json:"target_stack_name,omitempty"`
	Region           string   `json:"region,omitempty"`
	BaselineRPM      int      `json:"baseline_rpm,omitempty"`
	SpikeRPM         int      `json:"spike_rpm,omitempty"`
	SpikeProbability *float64 `json:"spike_probability,omitempty"` // a pointer, because 0 is a value

	WorkerID string `json:"worker_id,omitempty"` // the id under which the worker joins
	RunID    string `json:"run_id,omitempty"`
	BuildID  string `json:"build_id,omitempty"` // of the launcher's binary
	// DeadlineS is the Unix time, in seconds, after which the launcher has given the worker up. It
	// compares clocks of two machines and is therefore only good to a second or so.
	DeadlineS float64 `json:"deadline_s,omitempty"`
	// Secret is the one of the worker link; it belongs in no log.
	Secret string `json:"secret,omitempty"`

	// MaxCostUSD stops a headless run that has cost so much; 0 = the default.
	MaxCostUSD float64 `json:"max_cost_usd,omitempty"`

	// What a headless run can be told besides, as options of load benchmark.
	Seed           *uint64           `json:"seed,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	ExcludeTags    []string          `json:"exclude_tags,omitempty"`
	Options        map[string]string `json:"options,omitempty"` // --set
	Host           string            `json:"host,omitempty"`
	Shape          string            `json:"shape,omitempty"`
	Warmup         float64           `json:"warmup,omitempty"`       // seconds
	StopTimeout    *int              `json:"stop_timeout,omitempty"` // seconds
	Namespace      string            `json:"namespace,omitempty"`
	KeepData       bool              `json:"keep_data,omitempty"`
	Speculative    *bool             `json:"speculative,omitempty"`
	RejectionCache float64           `json:"rejection_cache,omitempty"` // seconds; 0 = off
	Consumed       string            `json:"consumed,omitempty"`        // sample or all
	Client         string            `json:"client,omitempty"`          // sdk or lean

	// PoolConnections bounds the connections to the table, also of a worker; 0 = the worker's default.
	PoolConnections int `json:"pool_connections,omitempty"`
}

// Parse reads an event and fills in the defaults. Unknown keys are ignored.
func Parse(data []byte) (Event, error) {
	if len(data) > maxEvent {
		return Event{}, fmt.Errorf("event of %d bytes: at most %d are allowed", len(data), maxEvent)
	}
	probability := DefaultSpikeProbability
	e := Event{Config: Config{
		Mode: ModeHeadless, Users: DefaultUsers, SpawnRate: DefaultSpawnRate, DurationSeconds: DefaultDurationSeconds,
		MasterPort: DefaultMasterPort, BaselineRPM: DefaultBaselineRPM, SpikeRPM: DefaultSpikeRPM,
		SpikeProbability: &probability,
	}}
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	if e.Config.SpikeProbability == nil { // an explicit null
		e.Config.SpikeProbability = &probability
	}
	if e.Config.Mode != ModeWorker && e.Config.Mode != ModePurge {
		e.Config.Mode = ModeHeadless
	}
	return e, nil
}

// Validate reports everything that is wrong with a parsed configuration at once.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(c.PoolConnections < 0, "pool_connections must not be negative, got %d", c.PoolConnections)
	if c.Mode == ModePurge {
		refuse(c.RunID == "", "run_id is required to purge a run")
		return errors.Join(errs...)
	}
	if c.Mode == ModeWorker {
		refuse(c.MasterHost == "", "master_host is required of a worker")
		refuse(c.MasterPort < 1 || c.MasterPort > 65535, "master_port must be from 1 to 65535, got %d", c.MasterPort)
		return errors.Join(errs...)
	}
	refuse(c.Users < 1, "users must be at least 1, got %d", c.Users)
	refuse(!(c.SpawnRate > 0), "spawn_rate must be greater than 0, got %v", c.SpawnRate)
	refuse(c.DurationSeconds < 1, "duration_seconds must be at least 1, got %d", c.DurationSeconds)
	refuse(!(c.Warmup >= 0), "warmup must not be negative, got %v", c.Warmup)
	refuse(c.StopTimeout != nil && *c.StopTimeout < 0, "stop_timeout must not be negative")
	refuse(!(c.RejectionCache >= 0), "rejection_cache must not be negative, got %v", c.RejectionCache)
	return errors.Join(errs...)
}

// Errors that tell a worker not to start.
var (
	ErrStale      = errors.New("the event is older than its deadline: the orchestrator has given this worker up")
	ErrOtherBuild = errors.New("the event was sent by another build")
)

// Refuse is the guard against events that come late, as queued or retried ones do: it returns nil
// when a worker of the given build may start at the time now.
func (c *Config) Refuse(now time.Time, build string) error {
	if c.BuildID != "" && c.BuildID != build {
		return fmt.Errorf("%w: it has %s, this is %s", ErrOtherBuild, c.BuildID, build)
	}
	if c.DeadlineS > 0 && float64(now.UnixMilli())/1000 > c.DeadlineS {
		return ErrStale
	}
	return nil
}

// Classes are the names in UserClasses.
func (c *Config) Classes() []string {
	return strings.FieldsFunc(c.UserClasses, func(r rune) bool { return r == ',' || r == ' ' })
}

// Master is the address of the master, as host:port.
func (c *Config) Master() string {
	return net.JoinHostPort(c.MasterHost, strconv.Itoa(c.MasterPort))
}

// WorkerArgs are the arguments with which this binary runs as the worker that the configuration
// describes; more are further options. Without a locustfile the worker asks the master for it.
func (c *Config) WorkerArgs(more ...string) []string {
	args := []string{"load", "worker", "--master", c.Master()}
	if c.WorkerID != "" {
		args = append(args, "--worker-id", c.WorkerID)
	}
	file := c.Locustfile
	if file == "" {
		file = "-"
	}
	args = append(args, "-f", file)
	return append(append(args, more...), c.Classes()...)
}

// BenchmarkArgs are the arguments with which this binary makes the headless run that the
// configuration describes; more are further options.
func (c *Config) BenchmarkArgs(more ...string) []string {
	args := []string{"load", "benchmark"}
	option := func(given bool, name, value string) {
		if given {
			args = append(args, "--"+name+"="+value)
		}
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	file := c.Locustfile
	if file == "" {
		file = DefaultLocustfile
	}
	option(true, "locustfile", file)
	option(true, "users", strconv.Itoa(c.Users))
	option(true, "spawn-rate", number(c.SpawnRate))
	option(true, "duration", strconv.Itoa(c.DurationSeconds))
	if c.Seed != nil {
		option(true, "seed", strconv.FormatUint(*c.Seed, 10))
	}
	for _, tag := range c.Tags {
		option(true, "tags", tag)
	}
	for _, tag := range c.ExcludeTags {
		option(true, "exclude-tags", tag)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		option(true, "set", name+"="+c.Options[name])
	}
	option(c.RunID != "", "run-id", c.RunID)
	option(c.MaxCostUSD > 0, "max-cost", number(c.MaxCostUSD))
	option(c.Host != "", "host", c.Host)
	option(c.Shape != "", "shape", c.Shape)
	option(c.Warmup > 0, "warmup", number(c.Warmup))
	if c.StopTimeout != nil {
		option(true, "stop-timeout", strconv.Itoa(*c.StopTimeout))
	}
	option(c.Namespace != "", "namespace", c.Namespace)
	option(c.KeepData, "keep-data", "true")
	if c.Speculative != nil {
		option(true, "speculative", strconv.FormatBool(*c.Speculative))
	}
	option(c.RejectionCache > 0, "rejection-cache", number(c.RejectionCache))
	option(c.Consumed != "", "consumed", c.Consumed)
	option(c.Client != "", "client", c.Client)
	option(c.PoolConnections > 0, "pool-connections", strconv.Itoa(c.PoolConnections))
	option(c.UserClasses != "", "user-classes", c.UserClasses)
	return append(args, more...)
}
