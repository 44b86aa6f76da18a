package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/logs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// scriptLog writes what functions print to a file of the script.
type scriptLog struct {
	mu   sync.Mutex
	file *os.File
}

func (l *scriptLog) Write(_, _ string, _ time.Time, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintln(l.file, line)
}

// anyRole lets functions do everything and records nothing.
type anyRole struct{}

func (anyRole) Session(context.Context, string, string) (lambda.Credentials, error) {
	return lambda.Credentials{AccessKeyID: "ASIAFUNCTION", SecretAccessKey: "secret", SessionToken: "token"}, nil
}
func (anyRole) Guard(string) protocol.Guard { return nil }
func (anyRole) Record(string, string, map[string]string, time.Time, float64, string) {
}

// function NAME DIR [VARIABLE=VALUE…]: an account with an embedded DynamoDB and one Lambda function, this
// program with the files of DIR beside it. $AWS is its URL; what the function prints goes to NAME.log.
func function(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: function NAME DIR [VARIABLE=VALUE…]")
	}
	name := args[0]
	file, err := os.Create(ts.MkAbs(name + ".log"))
	ts.Check(err)
	engine, err := dynamolocal.New(dynamolocal.Config{})
	ts.Check(err)
	url := ""
	service, err := lambda.New(lambda.Config{
		Dir: ts.MkAbs(".functions"), Endpoint: func() string { return url },
		Sessions: anyRole{}, Logs: &scriptLog{file: file}, Recorder: anyRole{},
	})
	ts.Check(err)
	front := &protocol.Front{Account: "123456789012", Region: "us-east-1", Services: []protocol.Service{
		service.Service(), metrics.New(nil).API(), logs.New(logs.Config{Account: "123456789012", Region: "us-east-1"}).API(), callers(),
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB") {
			engine.ServeHTTP(w, r)
			return
		}
		front.ServeHTTP(w, r)
	}))
	url = server.URL
	ts.Setenv("AWS", url)
	ts.Defer(func() { // first what runs, then what it needs
		err := service.Close()
		server.Close()
		ts.Check(errors.Join(err, engine.Close(), file.Close()))
	})
	client := sdk.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIDSCRIPT", "secret", ""),
		HTTPClient: account.WholeBodies(nil),
	})
	processesOf(ts).account = client
	variables := map[string]string{}
	for _, pair := range args[2:] {
		key, value, _ := strings.Cut(pair, "=")
		variables[key] = value
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = client.CreateFunction(ctx, &sdk.CreateFunctionInput{
		FunctionName: &name, Role: aws.String("arn:aws:iam::123456789012:role/worker"), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Timeout: aws.Int32(300), MemorySize: aws.Int32(1769), Environment: &types.Environment{Variables: variables},
		Code: &types.FunctionCode{ZipFile: functionPackage(ts, ts.MkAbs(args[1]))},
	})
	ts.Check(err)
	_, err = client.CreateAlias(ctx, &sdk.CreateAliasInput{FunctionName: &name, Name: aws.String("live"), FunctionVersion: aws.String("$LATEST")})
	ts.Check(err)
}

// callers tells everybody who they are.
func callers() protocol.Service {
	return protocol.Service{Name: "sts", Wire: protocol.Query, Operations: map[string]protocol.Operation{
		"GetCallerIdentity": protocol.Op(func(context.Context, *protocol.Call, *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
			return &sts.GetCallerIdentityOutput{Account: aws.String("123456789012"), Arn: aws.String("arn:aws:iam::123456789012:user/script"), UserId: aws.String("AIDASCRIPT")}, nil
		}),
	}}
}

// functionPackage is the package of a function that is this program.
func functionPackage(ts *testscript.TestScript, dir string) []byte {
	program, err := exec.LookPath("zae-limiter")
	ts.Check(err)
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	add := func(name string, mode os.FileMode, content io.Reader) {
		header := &zip.FileHeader{Name: name}
		header.SetMode(mode)
		w, err := archive.CreateHeader(header)
		ts.Check(err)
		_, err = io.Copy(w, content)
		ts.Check(err)
	}
	add("bootstrap", 0o755, strings.NewReader("#!/bin/sh\nexec '"+program+"'\n"))
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		ts.Check(err)
		add(entry.Name(), 0o644, bytes.NewReader(content))
	}
	ts.Check(archive.Close())
	return data.Bytes()
}

// invoke FILE NAME EVENT: calls a function and writes its answer to FILE. With ! the function fails.
func invoke(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: invoke FILE NAME EVENT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := processesOf(ts).account.Invoke(ctx, &sdk.InvokeInput{FunctionName: &args[1], Payload: []byte(args[2])})
	ts.Check(err)
	if neg != (out.FunctionError != nil) {
		ts.Fatalf("%s: %s", args[1], out.Payload)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Payload, 0o600))
}

// task HOST:PORT: a task metadata endpoint for a task at the host. $METADATA is its URL, $PORT the port.
func task(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: task HOST:PORT")
	}
	host, port, err := net.SplitHostPort(args[0])
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v4/1/task" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, `{"Containers": [{"Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [%q]}]}]}`, host)
	}))
	ts.Defer(server.Close)
	ts.Setenv("METADATA", server.URL+"/v4/1")
	ts.Setenv("PORT", port)
}
