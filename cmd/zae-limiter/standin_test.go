package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// standInMaster is a program for scripts: the web API of a master that has a test running with the
// number of users in its argument, as far as load orchestrator asks it. A stand-in worker is
// connected as long as its request is open.
func standInMaster() {
	users, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	m := &standInTable{users: users, leave: map[string]context.CancelFunc{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats/requests", m.status)
	mux.HandleFunc("POST /workers/quit", m.quit)
	mux.HandleFunc("POST /join/{id}", m.join)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s is the master\n", listener.Addr())
	panic(http.Serve(listener, mux)) // the script kills it
}

type standInTable struct {
	users int
	mu    sync.Mutex
	leave map[string]context.CancelFunc
}

func (m *standInTable) status(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	workers := []map[string]any{}
	for id := range m.leave {
		workers = append(workers, map[string]any{"id": id, "state": "running", "user_count": 1})
	}
	state := "running"
	if m.users == 0 {
		state = "ready"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"state": state, "user_count": m.users, "target_user_count": m.users, "workers": workers,
	})
}

func (m *standInTable) quit(w http.ResponseWriter, r *http.Request) {
	var body struct{ IDs []string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Printf("quit %d\n", len(body.IDs))
	for _, id := range body.IDs {
		if leave := m.leave[id]; leave != nil {
			leave()
		}
	}
}

func (m *standInTable) join(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	m.mu.Lock()
	m.leave[id] = leave
	fmt.Printf("connected %d\n", len(m.leave))
	m.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-ctx.Done()
	m.mu.Lock()
	delete(m.leave, id)
	fmt.Printf("left, connected %d\n", len(m.leave))
	m.mu.Unlock()
}

// standInWorker is a program for scripts: a worker of the stand-in master at the URL in --url. It
// ends when the master says so, or by a signal unless it has --stubborn.
func standInWorker() {
	fmt.Println("started as", strings.Join(os.Args[1:], " "))
	options := map[string]string{}
	for i, arg := range os.Args {
		if name, value, ok := strings.Cut(arg, "="); ok {
			options[name] = value
		} else if i+1 < len(os.Args) {
			options[arg] = os.Args[i+1]
		} else {
			options[arg] = ""
		}
	}
	if _, stubborn := options["--stubborn"]; stubborn {
		signal.Ignore(syscall.SIGTERM)
	}
	response, err := http.Post(options["--url"]+"/join/"+options["--worker-id"], "text/plain", nil)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	if _, stubborn := options["--stubborn"]; stubborn {
		select {}
	}
}

// standInLocust is Locust's program for scripts, as far as --locust-command uses it: it knows the user
// classes of a Python file, runs its listeners beside no users, and is a worker, which is one of this
// program with the Starlark file beside the Python one.
func standInLocust() {
	file := os.Args[slices.Index(os.Args, "-f")+1]
	text, err := os.ReadFile(strings.Split(file, ",")[0])
	if err != nil {
		panic(err)
	}
	switch {
	case strings.Contains(string(text), "import nothing"):
		fmt.Fprintln(os.Stderr, "Traceback\nModuleNotFoundError: No module named 'nothing'")
		os.Exit(1)
	case slices.Contains(os.Args, "--show-task-ratio-json"):
		fmt.Println(`{"per_class": {"A": {"ratio": 0.25}, "B": {"ratio": 0.75}}, "total": {}}`)
	case slices.Contains(os.Args, "--headless"):
		leave := make(chan os.Signal, 1)
		signal.Notify(leave, syscall.SIGTERM)
		fmt.Println("test_start for", os.Getenv("TARGET_STACK_NAME"), "with", os.Getenv("BOTO3_MAX_POOL"))
		fmt.Println("zae-limiter: test_start is over")
		<-leave
		fmt.Println("test_stop")
	case slices.Contains(os.Args, "--worker"):
		value := func(option string) string { return os.Args[slices.Index(os.Args, option)+1] }
		fmt.Println("a worker of process", os.Getpid())
		os.Args = []string{
			"zae-limiter", "load", "worker", "--master", value("--master-host") + ":" + value("--master-port"),
			"-f", strings.TrimSuffix(file, ".py") + ".star",
		}
		main()
	}
}
