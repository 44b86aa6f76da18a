package ecs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// metadataPort is the port of the metadata endpoint on a task's address. Listening on it also is the
// proof that no other task of this machine has the address.
const metadataPort = 51678

// metadataServer is the metadata endpoint of a task, version 4 (aws.md 5.3).
type metadataServer struct {
	task     *task
	address  string
	base     string
	server   *http.Server
	finished chan error
}

// startMetadata finds an address for a task and serves the metadata there.
func startMetadata(t *task) (*metadataServer, error) {
	listener, err := freeAddress()
	if err != nil {
		return nil, err
	}
	address := listener.Addr().(*net.TCPAddr)
	m := &metadataServer{task: t, address: address.IP.String(), base: "http://" + address.String(), finished: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v4/{container}", m.serve(func(c *container) any { return c.metadata() }))
	mux.HandleFunc("GET /v4/{container}/task", m.serve(func(*container) any { return t.metadataOf() }))
	mux.HandleFunc("GET /v4/{container}/taskWithTags", m.serve(func(*container) any { return t.metadataOf() }))
	mux.HandleFunc("GET /v4/{container}/stats", m.serve(func(c *container) any { return c.stats() }))
	mux.HandleFunc("GET /v4/{container}/task/stats", m.serve(func(*container) any { return t.stats() }))
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	go func() { m.finished <- m.server.Serve(listener) }()
	return m, nil
}

// freeAddress listens on an address in 127.0.0.0/8 that no other task has. On systems where only
// 127.0.0.1 is configured all tasks share that one.
func freeAddress() (net.Listener, error) {
	for range 20 {
		address := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		if listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(metadataPort))); err == nil {
			return listener, nil
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

func (m *metadataServer) close() error {
	err := m.server.Close()
	if ended := <-m.finished; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (m *metadataServer) url(c *container) string { return m.base + "/v4/" + c.runtimeID() }

// serve answers with what a function says about the container of the path.
func (m *metadataServer) serve(answer func(c *container) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, c := range m.task.containers {
			if c.runtimeID() == r.PathValue("container") {
				w.Header().Set("Content-Type", "application/json")
				// A container that is gone needs no answer.
				_ = json.NewEncoder(w).Encode(answer(c))
				return
			}
		}
		http.Error(w, "no such container", http.StatusNotFound)
	}
}

type containerMetadata struct {
	DockerID      string `json:"DockerId"`
	Name          string
	DockerName    string
	Image         string
	ImageID       string
	Labels        map[string]string
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int32 `json:",omitempty"`
	Limits        struct{ CPU int32 }
	CreatedAt     *time.Time `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	Type          string
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
	ContainerARN  string
	Networks      []networkMetadata
	Snapshotter   string
}

type networkMetadata struct {
	NetworkMode    string
	IPv4Addresses  []string
	MACAddress     string
	PrivateDNSName string
}

type taskMetadata struct {
	Cluster       string
	TaskARN       string
	Family        string
	Revision      string
	DesiredStatus string
	KnownStatus   string
	Limits        struct {
		CPU    float64 // in processors
		Memory int     // in MB
	}
	PullStartedAt    *time.Time `json:",omitempty"`
	PullStoppedAt    *time.Time `json:",omitempty"`
	AvailabilityZone string
	LaunchType       string
	Containers       []containerMetadata
	TaskTags         map[string]string `json:",omitempty"`
}

// metadata describes a container.
func (c *container) metadata() containerMetadata {
	c.task.service.mu.Lock()
	defer c.task.service.mu.Unlock()
	return c.metadataLocked()
}

// metadataLocked is metadata for who holds the lock.
func (c *container) metadataLocked() containerMetadata {
	t := c.task
	m := containerMetadata{
		DockerID: c.runtimeID(), Name: *c.definition.Name, DockerName: *c.definition.Name, Image: *c.definition.Image,
		ImageID: aws.ToString(c.shown.ImageDigest), Labels: c.labels(), DesiredStatus: aws.ToString(t.shown.DesiredStatus),
		KnownStatus: aws.ToString(c.shown.LastStatus), ExitCode: c.shown.ExitCode, CreatedAt: t.shown.CreatedAt, StartedAt: t.shown.StartedAt,
		Type: "NORMAL", ContainerARN: *c.shown.ContainerArn, Snapshotter: "overlayfs",
		Networks: []networkMetadata{{NetworkMode: "awsvpc", IPv4Addresses: []string{t.address}, MACAddress: t.mac(), PrivateDNSName: t.hostName()}},
	}
	m.Limits.CPU = c.definition.Cpu
	if log := c.definition.LogConfiguration; log != nil {
		m.LogDriver, m.LogOptions = string(log.LogDriver), log.Options
	}
	return m
}

func (t *task) hostName() string {
	return "ip-" + strings.ReplaceAll(t.address, ".", "-") + ".ec2.internal"
}

// metadataOf describes the task.
func (t *task) metadataOf() taskMetadata {
	t.service.mu.Lock()
	defer t.service.mu.Unlock()
	m := taskMetadata{
		Cluster: *t.shown.ClusterArn, TaskARN: *t.shown.TaskArn, Family: *t.definition.Family, Revision: strconv.Itoa(int(t.definition.Revision)),
		DesiredStatus: aws.ToString(t.shown.DesiredStatus), KnownStatus: aws.ToString(t.shown.LastStatus),
		PullStartedAt: t.shown.PullStartedAt, PullStoppedAt: t.shown.PullStoppedAt,
		AvailabilityZone: *t.shown.AvailabilityZone, LaunchType: string(types.LaunchTypeFargate), TaskTags: mapOf(t.shown.Tags),
	}
	m.Limits.CPU, m.Limits.Memory = float64(t.units)/1024, t.memory
	for _, c := range t.containers {
		m.Containers = append(m.Containers, c.metadataLocked())
	}
	return m
}

// containerStats are what a container engine measures, as far as it is measured here.
type containerStats struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Read        time.Time `json:"read"`
	PreRead     time.Time `json:"preread"`
	CPUStats    cpuStats  `json:"cpu_stats"`
	PreCPUStats cpuStats  `json:"precpu_stats"`
	MemoryStats struct {
		Usage int64 `json:"usage"` // bytes
		Limit int64 `json:"limit"`
	} `json:"memory_stats"`
}

// cpuStats are nanoseconds of processor time: the container's, and the machine's since the container
// began.
type cpuStats struct {
	CPUUsage struct {
		TotalUsage int64 `json:"total_usage"`
	} `json:"cpu_usage"`
	SystemCPUUsage int64 `json:"system_cpu_usage"`
	OnlineCPUs     int   `json:"online_cpus"`
}

// stats are nil for a container that does not run.
func (c *container) stats() *containerStats {
	c.task.service.mu.Lock()
	defer c.task.service.mu.Unlock()
	return c.statsLocked()
}

func (c *container) statsLocked() *containerStats {
	if c.process == nil {
		return nil
	}
	now := c.process.usage()
	s := &containerStats{ID: c.runtimeID(), Name: *c.definition.Name, Read: time.Now(), PreRead: c.measured}
	s.CPUStats = c.cpuStats(now.cpu, s.Read)
	s.PreCPUStats = c.cpuStats(c.sampled.cpu, s.PreRead)
	s.MemoryStats.Usage, s.MemoryStats.Limit = now.memory, int64(c.task.memory)<<20
	return s
}

func (c *container) cpuStats(used time.Duration, at time.Time) cpuStats {
	s := cpuStats{OnlineCPUs: runtime.NumCPU()}
	s.CPUUsage.TotalUsage = used.Nanoseconds()
	s.SystemCPUUsage = at.Sub(c.began).Nanoseconds() * int64(s.OnlineCPUs)
	return s
}

// stats are those of all containers, by their runtime id.
func (t *task) stats() map[string]*containerStats {
	t.service.mu.Lock()
	defer t.service.mu.Unlock()
	all := map[string]*containerStats{}
	for _, c := range t.containers {
		all[c.runtimeID()] = c.statsLocked()
	}
	return all
}
