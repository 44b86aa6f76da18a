// Command redis is what an acquire takes on a Redis or Valkey server, or on an endpoint of DynamoDB: whole
// acquires by a number of callers over 4,096 entities, their rate, their times, and the processor time of
// the client and of a server on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func main() {
	target := flag.String("target", "redis://127.0.0.1:6379", "redis://… or the http://… of an endpoint of DynamoDB")
	pid := flag.Int("pid", 0, "process of the server, whose processor time is read")
	callers := flag.Int("callers", 64, "concurrent callers")
	speculative := flag.Bool("speculative", true, "one round trip instead of two")
	duration := flag.Duration("duration", 5*time.Second, "how long to loop")
	name := flag.String("name", "", "first cell of the row")
	flag.Parse()
	// As in our load generator.
	debug.SetGCPercent(400)
	row, err := measure(*target, *pid, *callers, *speculative, *duration)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("| %s | %d | %s\n", *name, *callers, row)
}

const entities = 4096

func measure(target string, pid, callers int, speculative bool, duration time.Duration) (row string, err error) {
	ctx := context.Background()
	store, done, err := open(ctx, target)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, done(ctx)) }()
	l, err := limiter.New(store, limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: !speculative})
	if err != nil {
		return "", err
	}
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		return "", err
	}
	requests := make([]limiter.Request, entities)
	for i := range requests {
		requests[i] = limiter.Request{EntityID: "user-" + strconv.Itoa(i), Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
	}
	acquire := func(i int64) error {
		lease, err := l.Acquire(ctx, requests[i%entities])
		if err != nil {
			return err
		}
		return lease.Close(ctx)
	}
	if err := together(64, func(c int64) error {
		for i := c; i < entities; i += 64 {
			if err := acquire(i); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return "", err
	}
	server := processorTime(pid)
	own, started := ownTime(), time.Now()
	until := started.Add(duration)
	var next atomic.Int64
	times := make([]stats.Histogram, callers)
	err = together(callers, func(c int64) error {
		for {
			from := time.Now()
			if from.After(until) {
				return nil
			}
			if err := acquire(next.Add(1)); err != nil {
				return err
			}
			times[c].Record(time.Since(from))
		}
	})
	took := time.Since(started)
	n := float64(next.Load())
	var all stats.Histogram
	for i := range times {
		all.Merge(&times[i])
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / n / 1000 }
	return fmt.Sprintf("%.0f | %.3f ms | %.3f ms | %.1f µs | %.1f µs |", n/took.Seconds(),
		float64(all.Quantile(0.5))/1e6, float64(all.Quantile(0.99))/1e6, each(ownTime()-own), each(processorTime(pid)-server)), err
}

// together runs n goroutines and returns what went wrong.
func together(n int, run func(i int64) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = run(int64(i)) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// open opens a namespace of its own, which done removes.
func open(ctx context.Context, target string) (store limiter.Store, done func(context.Context) error, err error) {
	name := fmt.Sprintf("bench-%d", os.Getpid())
	if strings.HasPrefix(target, "redis") {
		options, err := redisstore.ParseURL(target)
		if err != nil {
			return nil, nil, err
		}
		s, err := redisstore.Open(options, name)
		if err != nil {
			return nil, nil, err
		}
		return s, func(ctx context.Context) error {
			defer s.Close()
			_, err := s.Purge(ctx)
			return err
		}, nil
	}
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{
		Region: "us-east-1", Endpoint: target, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""), PoolConnections: 1000,
	})
	if err != nil {
		return nil, nil, err
	}
	table := dynamostore.OpenTable(client, "bench", dynamostore.TableOptions{WithoutStream: true})
	if err := table.Create(ctx); err != nil {
		return nil, nil, err
	}
	id, err := table.RegisterNamespace(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	return table.Store(id), func(context.Context) error { return nil }, nil // the server is thrown away
}

func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // only fails for another argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processorTime is what a process has used so far, in hundredths of a second; 0 for none.
func processorTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
