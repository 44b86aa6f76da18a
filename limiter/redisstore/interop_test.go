//go:build interop

package redisstore_test

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

// programs are the servers that the store is held to.
var programs = []string{"redis-server", "valkey-server"}

// start starts a server on a free loopback port, which ends with the test, and returns its address.
func start(t testing.TB, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: interop/run installs it", err)
	}
	for range 5 { // another process may take the port between the two
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		_, port, _ := net.SplitHostPort(address)
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		command := exec.Command(path, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "log")}, args...)...)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		if answers(address, ended) {
			t.Cleanup(func() {
				_ = command.Process.Kill()
				<-ended
			})
			return address
		}
		_ = command.Process.Kill()
	}
	t.Fatalf("%s does not start", program)
	return ""
}

// answers waits until a server accepts connections.
func answers(address string, ended <-chan error) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
	}
	return false
}

func TestInteropConformance(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			o := redisstore.Options{Address: start(t, program)}
			storetest.Run(t, func(t *testing.T) storetest.Store { return onNamespace(t, o) })
		})
	}
}

func TestInteropAgreement(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			o := redisstore.Options{Address: start(t, program)}
			storetest.Agree(t, func(t *testing.T) storetest.Store { return onNamespace(t, o) }, func(*testing.T) storetest.Store { return memstore.New() })
		})
	}
}

// The servers' Lua compares texts by the locale.
func TestInteropLargeBalances(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) { largeBalances(t, redisstore.Options{Address: start(t, program)}) })
	}
}

// A cluster of two nodes: every namespace is reached through either of them.
func TestInteropCluster(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			first, second := start(t, program, "--cluster-enabled", "yes"), start(t, program, "--cluster-enabled", "yes")
			host, port, _ := net.SplitHostPort(second)
			command(t, first, "CLUSTER", "ADDSLOTSRANGE", "0", "8191")
			command(t, second, "CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
			command(t, first, "CLUSTER", "MEET", host, port)
			for _, node := range []string{first, second} {
				waitFor(t, func() bool { return clusterIsUp(t, node) })
			}
			for i := range 8 { // the namespaces fall on both
				for _, node := range []string{first, second} {
					s, err := redisstore.Open(redisstore.Options{Address: node}, "ns-"+strconv.Itoa(i)+"-"+node[len(node)-5:len(node)-1])
					if err != nil {
						t.Fatal(err)
					}
					exercise(t, s)
					s.Close()
				}
			}
		})
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("not within 30 s")
		case <-tick.C:
		}
	}
}

func clusterIsUp(t *testing.T, node string) bool {
	return contains(command(t, node, "CLUSTER", "INFO"), "cluster_state:ok") && contains(command(t, node, "CLUSTER", "INFO"), "cluster_known_nodes:2")
}

// A server that is full, read-only or that forbids a command says so, and nothing is half written.
func TestInteropRefusals(t *testing.T) {
	for _, program := range programs {
		t.Run(program, func(t *testing.T) {
			refusals(t, start(t, program))
		})
	}
}

func BenchmarkInterop(b *testing.B) {
	for _, program := range programs {
		o := redisstore.Options{Address: start(b, program)}
		b.Run(program, func(b *testing.B) {
			storetest.Benchmark(b, func(b *testing.B) storetest.Store { return onNamespace(b, o) })
			b.Run("together", func(b *testing.B) { benchmarkTogether(b, o) })
		})
	}
}
