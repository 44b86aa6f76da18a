package ecs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	fake "github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/logs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

// TestMain makes the test binary the program of its containers.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_CONTAINER") != "" {
		os.Exit(containerMain(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// report is what a container says about itself.
type report struct {
	Args     []string
	Env      map[string]string
	Dir      string
	Settings string
	Task     map[string]any
	PID      int
}

// containerMain is the program in the containers: what it does is its first argument.
func containerMain(args []string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	switch args[0] {
	case "exit3":
		fmt.Println("the locustfile has an error")
		return 3
	case "ignore":
		fmt.Println("ready")
		for {
			<-terminated
			fmt.Println("not yet")
		}
	case "touch":
		if err := os.WriteFile(args[1], []byte("secret"), 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
	case "exists":
		if _, err := os.Stat(args[1]); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case "report":
		fmt.Println(reportOf(args))
	}
	fmt.Println("ready")
	<-terminated
	fmt.Println(args[0] + " terminated")
	return 0
}

func reportOf(args []string) string {
	r := report{Args: args, Env: map[string]string{}, PID: os.Getpid()}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		r.Env[name] = value
	}
	r.Dir, _ = os.Getwd()
	settings, err := os.ReadFile(r.Env["SETTINGS"])
	r.Settings = string(settings)
	if err != nil {
		r.Settings = err.Error()
	}
	if answer, err := http.Get(r.Env["ECS_CONTAINER_METADATA_URI_V4"] + "/task"); err == nil {
		defer answer.Body.Close()
		_ = json.NewDecoder(answer.Body).Decode(&r.Task)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// programImage has the test binary as /program and a file below /mnt.
var programImage = sync.OnceValues(func() (v1.Image, error) {
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		return nil, err
	}
	layer, err := layerOf(
		tar.Header{Name: "program", Mode: 0o755, Size: int64(len(program))}, program,
		tar.Header{Name: "mnt/settings.txt", Mode: 0o644, Size: 4}, []byte("warm"),
		tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, nil,
	)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.Config(img, v1.Config{
		Entrypoint: []string{"/program"}, Cmd: []string{"wait"}, WorkingDir: "/mnt",
		Env: []string{"TEST_CONTAINER=1", "SETTINGS=/mnt/settings.txt", "MODE=image"},
	})
})

// layerOf makes a layer of headers and contents, in turn.
func layerOf(files ...any) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := 0; i < len(files); i += 2 {
		header := files[i].(tar.Header)
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if content, _ := files[i+1].([]byte); content != nil {
			if _, err := w.Write(content); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed))
}

type images map[string]v1.Image

func (i images) Image(reference, _ string) (v1.Image, error) {
	if img := i[reference]; img != nil {
		return img, nil
	}
	return nil, fmt.Errorf("failed to resolve ref %s: %s: not found", reference, reference)
}

// roles gives every role the same guard, and counts the credentials that are out.
type roles struct {
	guard protocol.Guard
	mu    sync.Mutex
	out   int
}

func (r *roles) Guard(string) (protocol.Guard, error) { return r.guard, nil }

func (r *roles) Credentials(role, session string) (string, string, func(), error) {
	r.count(1)
	return "http://127.0.0.1:1/" + session, "token-of-" + role, func() { r.count(-1) }, nil
}

func (r *roles) count(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out += n
	return r.out
}

// deny is a guard that allows everything but what it names.
type deny []string

func (d deny) Allow(action, resource string, conditions map[string]string) error {
	if slices.Contains(d, action) {
		return protocol.Errorf("AccessDeniedException", "no %s on %s (%s)", action, resource, conditions["iam:PassedToService"])
	}
	return nil
}

// cloud is an account with ECS, logs and metrics.
type cloud struct {
	*ecs.Client
	ec2     *ec2.Client
	service *fake.Service
	logs    *logs.Service
	metrics *metrics.Service
	roles   *roles
	network *network.Network
	ended   chan string // ids of tasks whose containers have ended
	dir     string
}

func newCloud(t *testing.T) *cloud {
	img, err := programImage()
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{
		logs:    logs.New(logs.Config{Account: protocoltest.Account, Region: protocoltest.Region}),
		metrics: metrics.New(nil), roles: &roles{}, dir: t.TempDir(),
		network: network.New(network.Options{Account: protocoltest.Account, Region: protocoltest.Region}), ended: make(chan string, 100),
	}
	c.service = fake.New(fake.Config{
		Account: protocoltest.Account, Region: protocoltest.Region, Endpoint: "http://127.0.0.1:4566", Dir: c.dir,
		Images: images{"registry/app": img}, Roles: c.roles, Logs: c.logs, Metrics: c.metrics, Interfaces: c.network, Ended: func(task string) { c.ended <- task },
		SampleEvery: time.Hour, // tests measure when they want to
	})
	t.Cleanup(func() {
		if err := c.service.Close(); err != nil {
			t.Error(err)
		}
	})
	config := protocoltest.Serve(t, c.service.API(), c.logs.API(), c.network.API())
	c.Client, c.ec2 = ecs.NewFromConfig(config), ec2.NewFromConfig(config)
	_, err = c.CreateCluster(t.Context(), &ecs.CreateClusterInput{
		ClusterName: aws.String("load"), CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT"), Weight: 1}},
		Settings:                        []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("enabled")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.logs.Providers()["AWS::Logs::LogGroup"].Create(t.Context(), resourceOf("AWS::Logs::LogGroup", map[string]any{"LogGroupName": "/ecs/master"})); err != nil {
		t.Fatal(err)
	}
	return c
}

// containerOf is a container of the test's image that logs.
func containerOf(name string, command ...string) types.ContainerDefinition {
	return types.ContainerDefinition{
		Name: &name, Image: aws.String("registry/app"), Command: command, StopTimeout: aws.Int32(60),
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": "/ecs/master", "awslogs-region": protocoltest.Region, "awslogs-stream-prefix": "p",
		}},
	}
}

func definitionOf(containers ...types.ContainerDefinition) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("master"), ContainerDefinitions: containers, Cpu: aws.String("1024"), Memory: aws.String("2048"),
		NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		TaskRoleArn: aws.String("arn:aws:iam::123456789012:role/task"), ExecutionRoleArn: aws.String("arn:aws:iam::123456789012:role/execution"),
	}
}

func runOf() *ecs.RunTaskInput {
	return &ecs.RunTaskInput{
		Cluster: aws.String("load"), TaskDefinition: aws.String("master"), EnableExecuteCommand: true,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}},
	}
}

// register makes a revision.
func (c *cloud) register(t *testing.T, in *ecs.RegisterTaskDefinitionInput) {
	t.Helper()
	if _, err := c.RegisterTaskDefinition(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// run starts a task and returns its ARN.
func (c *cloud) run(t *testing.T, in *ecs.RunTaskInput) string {
	t.Helper()
	out, err := c.RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 1 {
		t.Fatalf("RunTask started %d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	return *out.Tasks[0].TaskArn
}

// await waits until a task is as a condition wants it, or stops.
func (c *cloud) await(t *testing.T, arn string, condition func(types.Task) bool) types.Task {
	t.Helper()
	var last types.Task
	waiter := ecs.NewTasksRunningWaiter(c, func(o *ecs.TasksRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 20*time.Millisecond
		o.Retryable = func(_ context.Context, _ *ecs.DescribeTasksInput, out *ecs.DescribeTasksOutput, err error) (bool, error) {
			if err != nil {
				return false, err
			}
			last = out.Tasks[0]
			return !condition(last) && !isStopped(last), nil
		}
	})
	in := &ecs.DescribeTasksInput{Cluster: aws.String("load"), Tasks: []string{arn}, Include: []types.TaskField{types.TaskFieldTags}}
	if err := waiter.Wait(t.Context(), in, 2*time.Minute); err != nil {
		t.Fatalf("waiting for the task, which is %s: %v", aws.ToString(last.LastStatus), err)
	}
	if !condition(last) {
		t.Fatalf("the task is %s: %s: %s\n%s", aws.ToString(last.LastStatus), last.StopCode, aws.ToString(last.StoppedReason), c.everything(t))
	}
	return last
}

func isRunning(task types.Task) bool { return aws.ToString(task.LastStatus) == "RUNNING" }

func isStopped(task types.Task) bool { return aws.ToString(task.LastStatus) == "STOPPED" }

// says waits until a container has written a line that begins with a text, and returns it.
func (c *cloud) says(t *testing.T, arn, container, text string) string {
	t.Helper()
	var found string
	c.await(t, arn, func(types.Task) bool {
		for _, line := range c.lines(t, arn, container) {
			if strings.HasPrefix(line, text) {
				found = line
			}
		}
		return found != ""
	})
	return found
}

func resources(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}
