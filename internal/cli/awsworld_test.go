package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/account"
	fakecfn "github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/dynamo"
	fakeecr "github.com/zeroae/zae-limiter-go/internal/awsfake/ecr"
	fakeecs "github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	fakeiam "github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	fakelambda "github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/logs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
	fakesqs "github.com/zeroae/zae-limiter-go/internal/awsfake/sqs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/tagging"
)

// awsWorld is an account on this machine, in which commands work. No container or function is run.
type awsWorld struct {
	t       *testing.T
	url     string
	env     map[string]string
	iam     *fakeiam.IAM
	config  aws.Config
	stacks  *cloudformation.Client
	dir     string // the folder that is shipped
	program string // what is shipped as this program

	mu    sync.Mutex
	calls []string          // service:Action of every call, in order
	fail  map[string]string // "PHASE LogicalID" → reason of a failure
	// archived is what the archive's bucket of my-limiter holds, as S3 lists it.
	archived string
}

func newAWSWorld(t *testing.T) *awsWorld {
	t.Helper()
	const id, region = "123456789012", "us-east-1"
	w := &awsWorld{t: t, fail: map[string]string{}}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.url = server.URL
	host := strings.TrimPrefix(server.URL, "http://")

	w.iam = fakeiam.New(fakeiam.Options{Account: id})
	net := network.New(network.Options{Account: id, Region: region})
	registry := fakeecr.New(fakeecr.Config{Account: id, Region: region, Host: host, Dir: t.TempDir()})
	log := logs.New(logs.Config{Account: id, Region: region})
	measured := metrics.New(time.Now)
	tasks := fakeecs.New(fakeecs.Config{Account: id, Region: region, Endpoint: w.url, Dir: t.TempDir(), Images: registry, Roles: taskRoles{}, Logs: log, Metrics: measured})
	tables, err := dynamo.New(id, region, dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	queues := fakesqs.New(fakesqs.Config{Account: id, Region: region, Host: host})
	functions, err := fakelambda.New(fakelambda.Config{
		Dir: t.TempDir(), Endpoint: func() string { return w.url }, Sessions: functionRoles{}, Logs: noLogs{}, Recorder: noLogs{}, Streams: tables.Streams(), Queues: queues,
	})
	if err != nil {
		t.Fatal(err)
	}
	providers := resource.Providers{"AWS::S3::Bucket": shelf{}}
	for _, more := range []resource.Providers{w.iam.Providers(), net.Providers(), measured.Providers(), registry.Providers(), log.Providers(), tasks.Providers(), functions.Providers(), queues.Providers(), tables.Providers()} {
		for name, provider := range more {
			if providers[name] == nil {
				providers[name] = provider
			}
		}
	}
	formation := fakecfn.New(fakecfn.Options{Providers: providers, Fail: w.failure})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(formation.Close(ctx), tasks.Close(), functions.Close()); err != nil {
			t.Error(err)
		}
		tables.Close()
	})
	services := append(w.iam.Services(), net.API(), registry.API(), log.API(), measured.API(), tasks.API(), functions.Service(), queues.API(), tables.API(), formation.Protocol(),
		tagging.API([]tagging.Source{formation.StackTags, registry.Tagged, tasks.Tagged}))
	mux.HandleFunc("GET /my-limiter-AuditArchiveBucket", func(answer http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintf(answer, "<ListBucketResult>%s</ListBucketResult>", w.archived)
	})
	mux.Handle("/v2/", registry)
	mux.Handle("/", &protocol.Front{Account: id, Region: region, Services: services, Keys: w.iam, Fail: w.count})

	key, secret := w.iam.Admin()
	w.env = map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": region, "AWS_ENDPOINT_URL": w.url, "AWS_EC2_METADATA_DISABLED": "true"}
	w.config = aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""), HTTPClient: account.WholeBodies(nil)}
	w.stacks = cloudformation.NewFromConfig(w.config)
	w.enter()
	return w
}

// enter makes the process one of the account, with a folder and a program to ship.
func (w *awsWorld) enter() {
	w.t.Helper()
	for name, value := range w.env {
		w.t.Setenv(name, value) // the SDK reads the process's own
	}
	w.t.Setenv("AWS_CONFIG_FILE", filepath.Join(w.t.TempDir(), "none"))
	w.t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(w.t.TempDir(), "none"))
	w.dir = w.t.TempDir()
	w.file("locustfiles/max_rps.star", "U = None\n")
	w.program = filepath.Join(w.t.TempDir(), "program")
	if err := os.WriteFile(w.program, program(), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// program is the least that is a static Linux program for amd64.
func program() []byte {
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	for _, v := range []any{uint16(2), uint16(62), uint32(1), uint64(0), uint64(0), uint64(0), uint32(0), uint16(64), uint16(56), uint16(0), uint16(64), uint16(0), uint16(0)} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

func (w *awsWorld) file(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *awsWorld) count(call *protocol.Call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call.Service+":"+call.Action)
	return nil
}

func (w *awsWorld) failure(_, logicalID, _ string, phase fakecfn.Phase) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reason := w.fail[fmt.Sprintf("%s %s", phase, logicalID)]; reason != "" {
		return errors.New(reason)
	}
	return nil
}

// failWith makes phases of resources fail, as "CREATE EcsCluster": "reason"; nothing else fails any more.
func (w *awsWorld) failWith(reasons map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = maps.Clone(reasons)
	if w.fail == nil {
		w.fail = map[string]string{}
	}
}

// made are the calls of an action since the last forget.
func (w *awsWorld) made(action string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, call := range w.calls {
		if call == action {
			n++
		}
	}
	return n
}

func (w *awsWorld) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

// outcomeOf is how a command ended.
type outcomeOf struct {
	code           int
	stdout, stderr string
	doc            map[string]any // with --json
}

// run runs a command in the account. What makes aggregators makes them of a program that is small.
func (w *awsWorld) run(args ...string) *outcomeOf {
	w.t.Helper()
	if args[0] == "deploy" || args[0] == "upgrade" {
		args = append([]string{args[0], "--binary", w.program, "--arch", "amd64"}, args[1:]...)
	}
	var stdout, stderr bytes.Buffer
	code := Main(Process{Args: args, Getenv: func(name string) string { return w.env[name] }, Stdout: &stdout, Stderr: &stderr})
	o := &outcomeOf{code: code, stdout: stdout.String(), stderr: stderr.String()}
	if strings.HasPrefix(o.stdout, "{") {
		if err := json.Unmarshal(stdout.Bytes(), &o.doc); err != nil {
			w.t.Fatalf("%v: %v\n%s", args, err, o.stdout)
		}
	}
	return o
}

// must runs a command that has to end well, with --json.
func (w *awsWorld) must(args ...string) *outcomeOf {
	w.t.Helper()
	o := w.run(append(args, "--json")...)
	if o.code != 0 {
		w.t.Fatalf("%v: exit code %d\n%s\n%s", args, o.code, o.stderr, o.stdout)
	}
	return o
}

// refused runs a command that has to end with a code and say something on stderr.
func (w *awsWorld) refused(code int, says string, args ...string) *outcomeOf {
	w.t.Helper()
	o := w.run(args...)
	if o.code != code || !strings.Contains(o.stderr, says) {
		w.t.Errorf("%v: exit code %d, want %d and %q\n%s", args, o.code, code, says, o.stderr)
	}
	return o
}

// deploy is a load deploy with the usual options.
func (w *awsWorld) deploy(more ...string) []string {
	return append([]string{"load", "deploy", "--name", "my-limiter", "--vpc-id", "vpc-local", "--subnet-ids", "subnet-a, subnet-b", "-C", w.dir, "--binary", w.program, "--arch", "amd64"}, more...)
}

// status is the state of a stack, "" when there is none.
func (w *awsWorld) status(name string) string {
	out, err := w.stacks.DescribeStacks(w.t.Context(), &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil || len(out.Stacks) == 0 {
		return ""
	}
	return string(out.Stacks[0].StackStatus)
}

// taskRoles and functionRoles let tasks and functions be made; nothing runs as a role here.
type (
	taskRoles     struct{}
	functionRoles struct{}
)

func (taskRoles) Guard(string) (protocol.Guard, error) { return nil, nil }
func (taskRoles) Credentials(string, string) (url, token string, end func(), err error) {
	return "", "", func() {}, nil
}

func (functionRoles) Guard(string) protocol.Guard { return nil }
func (functionRoles) Session(context.Context, string, string) (fakelambda.Credentials, error) {
	return fakelambda.Credentials{}, nil
}

type noLogs struct{}

func (noLogs) Write(string, string, time.Time, string)                              {}
func (noLogs) Record(string, string, map[string]string, time.Time, float64, string) {}

// shelf provides buckets, which the Python tool's functions have.
type shelf struct{}

func (shelf) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	name := r.Stack + "-" + r.LogicalID
	return &resource.Physical{ID: name, Attributes: map[string]string{"Arn": "arn:aws:x:us-east-1:123456789012:" + name, "QueueName": name}}, nil
}
func (shelf) Update(_ context.Context, old *resource.Physical, _, _ *resource.Resource) (*resource.Physical, error) {
	return old, nil
}
func (shelf) Delete(context.Context, *resource.Physical, *resource.Resource) error { return nil }
func (shelf) Replaces(string, any, any) resource.Replacement                       { return resource.Never }
