package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// raiseFileLimit allows this process as many open files as it may have, and returns the number.
func raiseFileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	most := syscall.Rlimit{Cur: max(limit.Max, 1<<17), Max: max(limit.Max, 1<<17)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &most); err == nil {
		return most.Cur
	}
	limit.Cur = limit.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // then it stays as it is
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return limit.Cur
}

// processTime returns the processor time of a process so far, 0 = this one.
func processTime(pid int) time.Duration {
	raw, err := os.ReadFile("/proc/" + process(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The fields after the name in brackets: utime and stime are the 12th and 13th, in hundredths of
	// a second on every Linux that Go runs on.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// queuedTime returns how long threads of a process were ready to run and did not, because something else
// ran on their core.
func queuedTime(pid int) time.Duration {
	tasks, err := filepath.Glob("/proc/" + process(pid) + "/task/*/schedstat")
	if err != nil {
		return 0
	}
	sum := int64(0)
	for _, task := range tasks {
		if raw, err := os.ReadFile(task); err == nil {
			if fields := strings.Fields(string(raw)); len(fields) > 1 {
				ns, _ := strconv.ParseInt(fields[1], 10, 64)
				sum += ns
			}
		}
	}
	return time.Duration(sum)
}

func process(pid int) string {
	if pid == 0 {
		return "self"
	}
	return strconv.Itoa(pid)
}

// residentBytes returns the memory of a process.
func residentBytes(pid int) int64 {
	raw, err := os.ReadFile("/proc/" + process(pid) + "/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func loadAverage() float64 {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	load, _ := strconv.ParseFloat(strings.Fields(string(raw))[0], 64)
	return load
}

// api is the master's, on one connection.
type api struct {
	url    string
	client http.Client
}

func newAPI(address string) *api {
	return &api{url: strings.TrimSuffix(address, "/"), client: http.Client{Timeout: time.Minute}}
}

func (a *api) swarm(users int) error {
	form := url.Values{"user_count": {strconv.Itoa(users)}, "spawn_rate": {"1000000"}}
	response, err := a.client.PostForm(a.url+"/swarm", form)
	if err != nil {
		return err
	}
	var answer struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}
	if err := decode(response, &answer); err != nil {
		return err
	}
	if !answer.Success {
		return fmt.Errorf("/swarm: %s", answer.Message)
	}
	return nil
}

func (a *api) stop() error {
	response, err := a.client.PostForm(a.url+"/stop", nil)
	if err != nil {
		return err
	}
	return decode(response, nil)
}

// requests asks for the statistics and returns how long it took until all of the answer was there; what
// reading it as JSON takes here is not the master's.
func (a *api) requests() (time.Duration, error) {
	start := time.Now()
	response, err := a.client.Get(a.url + "/stats/requests")
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	took := time.Since(start)
	if err = errors.Join(err, response.Body.Close()); err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("/stats/requests: %s", response.Status)
	}
	return took, err
}

type statistics struct {
	Stats []struct {
		Name     string `json:"name"`
		Requests int64  `json:"num_requests"`
	} `json:"stats"`
}

func (a *api) statistics() (*statistics, error) {
	response, err := a.client.Get(a.url + "/stats/requests")
	if err != nil {
		return nil, err
	}
	var s statistics
	return &s, decode(response, &s)
}

// counted returns how many requests the master has counted; it has some time for those that are on
// the way.
func (a *api) counted(sent int64) (counted int64, err error) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		s, err := a.statistics()
		if err != nil {
			return 0, err
		}
		for _, row := range s.Stats {
			if row.Name == "Aggregated" {
				counted = row.Requests
			}
		}
		if counted == sent || time.Now().After(end) {
			return counted, nil
		}
	}
}

func decode(response *http.Response, into any) error {
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %.200s", response.Request.URL.Path, response.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
