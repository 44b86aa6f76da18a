package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// tripwire is a loopback port that counts who connects to it.
func tripwire(t *testing.T) (address string, touched *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	touched = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			touched.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String(), touched
}

// Every place that the AWS SDK would ask for credentials, a region or an endpoint leads to a
// tripwire, or to a file that cannot be read: a local run must not look at any of them.
func TestLocalRunAsksNobodyForCredentials(t *testing.T) {
	t.Parallel()
	address, touched := tripwire(t)
	dir := t.TempDir()
	poison := filepath.Join(dir, "poison")
	if err := os.WriteFile(poison, []byte("this is [ no configuration\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../examples/locust")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "zae-limiter", "load", "benchmark",
		"-C", examples, "-f", "locustfiles/simple.star", "--users", "4", "--duration", "1")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"AWS_CONFIG_FILE=" + poison, "AWS_SHARED_CREDENTIALS_FILE=" + poison, "AWS_PROFILE=missing",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + address + "/credentials",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://" + address,
		"AWS_ENDPOINT_URL=http://" + address, "AWS_ENDPOINT_URL_DYNAMODB=http://" + address,
		"AWS_ENDPOINT_URL_STS=http://" + address,
		"AWS_ROLE_ARN=arn:aws:iam::123456789012:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE=" + poison,
		"AWS_CA_BUNDLE=" + filepath.Join(dir, "missing.pem"),
		"HTTP_PROXY=http://" + address, "HTTPS_PROXY=http://" + address, "ALL_PROXY=http://" + address,
		"http_proxy=http://" + address, "https_proxy=http://" + address,
	}
	out, err := cmd.CombinedOutput()
	if err := unlessBusy(err, string(out)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := touched.Load(); n != 0 {
		t.Errorf("%d connections to where credentials, endpoints and proxies were said to be\n%s", n, out)
	}
}
