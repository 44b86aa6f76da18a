package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	runtime "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

// TestMain is the function, too: what tests upload starts this program again.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	switch os.Getenv("AT_START") {
	case "exit":
		fmt.Println("last words of the start")
		os.Exit(3)
	case "report":
		body := bytes.NewReader([]byte(`{"errorType": "Own.Reason", "errorMessage": "cannot start"}`))
		if _, err := http.Post("http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/init/error", "application/json", body); err != nil {
			panic(err)
		}
		os.Exit(1)
	}
	if os.Getenv("ASK") != "" {
		runtime.Start(ask)
	}
	runtime.Start(serve)
}

// ask hands an event to the URL in ASK, and answers or fails as that does.
func ask(event json.RawMessage) (json.RawMessage, error) {
	response, err := http.Post(os.Getenv("ASK"), "application/json", bytes.NewReader(event))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	return body, err
}

// order is what a test asks of the function.
type order struct {
	Print, Fail, Panic string
	Get                string // a URL whose answer is waited for
	Exit               int
	Size               int    // of the answer
	Variable           string // to tell
}

type answer struct {
	PID       int
	Calls     int
	RequestID string
	ARN       string
	Left      float64 // seconds to the deadline
	Value     string
	Filler    string
}

var calls int

func serve(ctx context.Context, o order) (answer, error) {
	calls++
	if o.Print != "" {
		fmt.Println(o.Print)
	}
	if o.Get != "" {
		response, err := http.Get(o.Get)
		if err != nil {
			return answer{}, err
		}
		_ = response.Body.Close()
	}
	switch {
	case o.Fail != "":
		return answer{}, errors.New(o.Fail)
	case o.Panic != "":
		panic(o.Panic)
	case o.Exit != 0:
		os.Exit(o.Exit)
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return answer{
		PID: os.Getpid(), Calls: calls, RequestID: lc.AwsRequestID, ARN: lc.InvokedFunctionArn, Left: time.Until(deadline).Seconds(),
		Value: os.Getenv(o.Variable), Filler: string(bytes.Repeat([]byte("x"), o.Size)),
	}, nil
}

// role is the role of every function here.
const role = "arn:aws:iam::123456789012:role/worker"

// cloud is what the service needs of other services.
type cloud struct {
	mu      sync.Mutex
	lines   []string
	groups  map[string]bool
	metrics map[string]float64 // sums by name
	guard   protocol.Guard
	denied  error // of a session
}

func (c *cloud) Session(context.Context, string, string) (lambda.Credentials, error) {
	return lambda.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "s", SessionToken: "t"}, c.denied
}

func (c *cloud) Guard(string) protocol.Guard { return c.guard }

func (c *cloud) Write(group, _ string, _ time.Time, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	if c.groups == nil {
		c.groups = map[string]bool{}
	}
	c.groups[group] = true
}

func (c *cloud) Record(_, name string, _ map[string]string, _ time.Time, value float64, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.metrics == nil {
		c.metrics = map[string]float64{}
	}
	c.metrics[name] += value
}

func (c *cloud) metric(name string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[name]
}

// denying denies one action.
type denying string

func (d denying) Allow(action, _ string, _ map[string]string) error {
	if action == string(d) {
		return protocol.Errorf("AccessDeniedException", "no %s", action)
	}
	return nil
}

// bench is a service with a client.
type bench struct {
	*testing.T
	*cloud
	service *lambda.Service
	client  *sdk.Client
}

func newBench(t *testing.T, change func(*lambda.Config)) *bench {
	t.Helper()
	b := &bench{T: t, cloud: &cloud{}}
	config := lambda.Config{
		Dir: t.TempDir(), Endpoint: func() string { return "http://127.0.0.1:1" }, Sessions: b.cloud, Logs: b.cloud, Recorder: b.cloud,
	}
	if change != nil {
		change(&config)
	}
	var err error
	if b.service, err = lambda.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.service.Close() })
	b.client = sdk.NewFromConfig(protocoltest.Serve(t, b.service.Service()))
	return b
}

// bootstrap is a package whose bootstrap is this program; comment makes it another one.
func bootstrap(t *testing.T, comment string) []byte {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, "bootstrap", "#!/bin/sh\n# "+comment+"\nexec '"+program+"'\n")
}

func packed(t *testing.T, name, text string) []byte {
	t.Helper()
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	header := &zip.FileHeader{Name: name}
	header.SetMode(0o755)
	w, err := archive.CreateHeader(header)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// make creates the function f; change may alter the request.
func (b *bench) make(change func(*sdk.CreateFunctionInput)) {
	b.Helper()
	in := &sdk.CreateFunctionInput{
		FunctionName: aws.String("f"), Role: aws.String(role), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Code: &types.FunctionCode{ZipFile: bootstrap(b.T, "1")}, Timeout: aws.Int32(300),
	}
	if change != nil {
		change(in)
	}
	if _, err := b.client.CreateFunction(b.Context(), in); err != nil {
		b.Fatal(err)
	}
}

// invoke calls f and returns the answer as it came.
func (b *bench) invoke(o order) (*sdk.InvokeOutput, error) {
	b.Helper()
	payload, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	return b.client.Invoke(b.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), Payload: payload, LogType: types.LogTypeTail})
}

// call calls f, which must succeed.
func (b *bench) call(o order) answer {
	b.Helper()
	out, err := b.invoke(o)
	if err != nil {
		b.Fatal(err)
	}
	if out.FunctionError != nil {
		b.Fatalf("%s: %s", *out.FunctionError, out.Payload)
	}
	var a answer
	if err := json.Unmarshal(out.Payload, &a); err != nil {
		b.Fatal(err)
	}
	return a
}

// second is the error of a call whose answer does not matter.
func second[T any](_ T, err error) error { return err }
