// Command master simulates thousands of workers for one master, Locust's or ours, over TCP on this
// machine, and prints what they cost it as one JSON object. Each worker registers, sends a report a second,
// and a heartbeat a second or, if it is one of ours, with every other report, and does what the master says;
// what it reports is encoded once for all of them, so that one core of simulator loads more than one core of
// master.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

type options struct {
	master, web      string
	masterPID        int
	kind             string
	workers          int
	rows, buckets    int
	settle, duration time.Duration
	joinWithin       time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.master, "master", "127.0.0.1:5557", "where the master takes workers")
	flag.StringVar(&o.web, "web", "", "URL of the master's API")
	flag.IntVar(&o.masterPID, "master-pid", 0, "process of the master, to report what it uses (Linux)")
	flag.StringVar(&o.kind, "kind", "locust", "workers of which kind: locust or own")
	flag.IntVar(&o.workers, "workers", 1000, "how many workers")
	flag.IntVar(&o.rows, "rows", 10, "rows of a report")
	flag.IntVar(&o.buckets, "buckets", 60, "different response times of a row")
	flag.DurationVar(&o.settle, "settle", 15*time.Second, "how long to wait, once all users run, before measuring: what joining left to do is done")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "how long to measure")
	flag.DurationVar(&o.joinWithin, "join-within", time.Minute, "how long joining may take")
	flag.Parse()
	debug.SetGCPercent(400)
	if err := run(context.Background(), &o); err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

// result is what is printed. Processor use is in percent of one core.
type result struct {
	Kind    string `json:"kind"`
	Workers int    `json:"workers"`
	// JoinSeconds is from the first connection to the last acknowledgement, RampSeconds from the request
	// for users until all run, StopSeconds from the request to stop until it is answered.
	JoinSeconds float64 `json:"join_seconds"`
	RampSeconds float64 `json:"ramp_seconds"`
	StopSeconds float64 `json:"stop_seconds"`
	MasterCPU   float64 `json:"master_cpu_percent"`
	OwnCPU      float64 `json:"simulator_cpu_percent"`
	// MasterQueued is how long the master's threads were ready to run but something else did: much of it
	// means that the core was not the master's alone, and that the times below are too long.
	MasterQueued float64 `json:"master_queued_percent"`
	// ReportBytes is the size of one report, ReportRatio the share of the reports due that was sent.
	ReportBytes int     `json:"report_bytes"`
	ReportRatio float64 `json:"report_ratio"`
	// The time from a heartbeat to its answer, and how many were answered.
	HeartbeatP50  float64 `json:"heartbeat_p50_ms"`
	HeartbeatP99  float64 `json:"heartbeat_p99_ms"`
	AnsweredRatio float64 `json:"heartbeat_answered_ratio"`
	RequestsP50   float64 `json:"stats_requests_p50_ms"`
	RequestsMax   float64 `json:"stats_requests_max_ms"`
	// BytesPerWorker is the growth of the master's resident memory since before the first worker.
	BytesPerWorker int64 `json:"master_bytes_per_worker"`
	// RequestsSent are in the reports that were sent, RequestsCounted what the master says at the end.
	RequestsSent    int64   `json:"requests_sent"`
	RequestsCounted int64   `json:"requests_counted"`
	Load            float64 `json:"load_average"`
}

func run(ctx context.Context, o *options) error {
	if o.kind != "locust" && o.kind != "own" {
		return fmt.Errorf("-kind %q: locust or own", o.kind)
	}
	if o.web == "" {
		return errors.New("-web is missing")
	}
	if limit := raiseFileLimit(); uint64(o.workers)+64 > limit {
		return fmt.Errorf("%d workers need more files than the %d that a process may have open here (ulimit -n)", o.workers, limit)
	}
	r := result{Kind: o.kind, Workers: o.workers}
	before := residentBytes(o.masterPID)
	s, err := newSimulator(o)
	if err != nil {
		return err
	}
	defer s.close()
	start := time.Now()
	if err := s.join(ctx); err != nil {
		return err
	}
	r.JoinSeconds = time.Since(start).Seconds()
	web := newAPI(o.web)
	start = time.Now()
	if err := web.swarm(o.workers); err != nil {
		return err
	}
	if err := s.awaitUsers(o.joinWithin); err != nil {
		return err
	}
	r.RampSeconds = time.Since(start).Seconds()
	time.Sleep(o.settle)
	if err := s.measure(web, &r); err != nil {
		return err
	}
	r.BytesPerWorker = (residentBytes(o.masterPID) - before) / int64(o.workers)
	start = time.Now()
	if err := web.stop(); err != nil {
		return err
	}
	r.StopSeconds = time.Since(start).Seconds()
	s.awaitStopped(10 * time.Second)
	r.RequestsSent = s.requests.Load()
	if r.RequestsCounted, err = web.counted(r.RequestsSent); err != nil {
		return err
	}
	r.Load = loadAverage()
	return json.NewEncoder(os.Stdout).Encode(r)
}
