package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long anything may take on a busy machine; a script goes on as soon as it has happened.
const patience = 4 * time.Minute

func TestMain(m *testing.M) {
	// Most of a load test's time is waiting, so more of them than there are cores run side by side.
	// An option on the command line comes later and wins.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	testscript.Main(shipping{m}, map[string]func(){
		"zae-limiter": main, "bootstrap": main, // as functions call it that were deployed without a build
		"standin-master": standInMaster, "standin-worker": standInWorker, "standin-locust": standInLocust,
	})
}

// shipping runs the tests with a folder for the build that they ship.
type shipping struct{ *testing.M }

// Run implements testscript.TestingM.
func (s shipping) Run() int {
	dir, err := os.MkdirTemp("", "zae-limiter-shipped-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shippedIn = dir
	return s.M.Run()
}

// TestScripts runs the program as a user types it. Each script is one behaviour; the name says which.
func TestScripts(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Abs("../../examples/locust")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("EXAMPLES", examples)
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			env.Setenv("ROTATION", cmp.Or(os.Getenv("ZAE_LIMITER_ROTATION"), shortRotation))
			withProcesses(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"measures": measures,
			"measured": measured,
			"within":   within,
			"jsonfld":  jsonField,
			"jsonenv":  jsonEnv,
			"await":    await,
			"refused":  refused,
			"webpage":  webpage,
			"occupy":   occupy,
			"start":    start,
			"sig":      sig,
			"ended":    ended,
			"endpoint": endpoint,
			"dynamo":   dynamo,
			"runid":    runID,
			"redis":    redis,
			"http":     httpCall,
			"until":    until,
			"becomes":  becomes,
			"address":  address,
			"gone":     gone,
			"slay":     slay,
			"pour":     pour,
			"cloud":    cloud,
			"reclaim":  reclaim,
			"function": function,
			"invoke":   invoke,
			"task":     task,
			"enter":    enter,
			"cramped":  cramped,
			"fail":     fail,
			"idle":     idle,
			"orphan":   orphan,
			"protect":  protect,
			"vacant":   vacant,
			"deserted": deserted,
			"narrow":   narrow,
			"program":  program,
			"quiet":    quiet,
			"bare":     bare,
			"rotates":  rotates,
		},
	})
}

// exits CODE COMMAND…: the command ends with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := exitCode(ts.Exec(args[1], args[2:]...))
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// within DURATION CODE COMMAND…: the command ends with the code, and in time.
func within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: within DURATION CODE COMMAND…")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	start := time.Now()
	exits(ts, false, args[1:])
	if took := time.Since(start); took > limit {
		ts.Fatalf("took %v, want at most %v", took, limit)
	}
}

// jsonfld FILE PATH OP VALUE: the file holds exactly one JSON value, and the number or text at the
// dotted path compares with VALUE (a number, a text, or null). OP is one of == != < <= > >=.
// With only FILE the file is checked to be one JSON object.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || (len(args) != 1 && len(args) != 4) {
		ts.Fatalf("usage: jsonfld FILE [PATH OP VALUE]")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		ts.Fatalf("%s is no JSON object: %v", args[0], err)
	}
	if dec.More() {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
	if len(args) == 1 {
		return
	}
	value, err := lookup(object, args[1])
	ts.Check(err)
	if !compare(value, args[2], args[3]) {
		ts.Fatalf("%s is %v, want %s %s", args[1], value, args[2], args[3])
	}
}

// jsonenv FILE PATH NAME puts a member of a document into a variable.
func jsonEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: jsonenv FILE PATH NAME")
	}
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	value, err := lookup(object, args[1])
	ts.Check(err)
	ts.Setenv(args[2], fmt.Sprint(value))
}

func lookup(value any, path string) (any, error) {
	for name := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			next, ok := v[name]
			if !ok {
				return nil, fmt.Errorf("no member %s on the way of %s", name, path)
			}
			value = next
		case []any:
			if name == "length" {
				value = float64(len(v))
				continue
			}
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(v) {
				return nil, fmt.Errorf("no element %s on the way of %s", name, path)
			}
			value = v[i]
		default:
			return nil, fmt.Errorf("%s has no members on the way of %s", name, path)
		}
	}
	return value, nil
}

func compare(value any, op, want string) bool {
	number, isNumber := value.(float64)
	limit, err := strconv.ParseFloat(want, 64)
	if !isNumber || err != nil {
		text := fmt.Sprint(value)
		if value == nil {
			text = "null"
		}
		return (op == "==") == (text == want)
	}
	switch op {
	case "==":
		return number == limit
	case "!=":
		return number != limit
	case "<":
		return number < limit
	case "<=":
		return number <= limit
	case ">":
		return number > limit
	default:
		return number >= limit
	}
}

// await FILE TEXT: waits until the file contains the text.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	path := ts.MkAbs(args[0])
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		time.Sleep(10 * time.Millisecond) // polls another process, which cannot signal us
	}
	data, _ := os.ReadFile(path)
	ts.Fatalf("%s does not contain %q after %v; it ends with\n%s", args[0], args[1], patience, data[max(0, len(data)-2000):])
}

// refused VAR: sets VAR to the URL of a port on which nobody listens.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	listener := listen(ts)
	ts.Setenv(args[0], "http://"+listener.Addr().String())
	ts.Check(listener.Close())
}

// occupy VAR: sets VAR to a port that is taken for the rest of the script; connections to it hang.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	listener := listen(ts)
	ts.Defer(func() { listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// webpage VAR: sets VAR to the URL of a web server that is no DynamoDB.
func webpage(ts *testscript.TestScript, neg bool, args []string) {
	listener := listen(ts)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "<html>hello</html>")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	ts.Defer(func() {
		server.Close()
		<-done
	})
	ts.Setenv(args[0], "http://"+listener.Addr().String())
}

func listen(ts *testscript.TestScript) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	return listener
}

// dynamo URL OPERATION JSON: calls the operation of a DynamoDB endpoint, which must succeed.
func dynamo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: dynamo URL OPERATION JSON")
	}
	request, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(args[2]))
	ts.Check(err)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+args[1])
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
	request.Header.Set("X-Amz-Date", "20260101T000000Z")
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		ts.Fatalf("%s: %s %s %v", args[1], response.Status, body, err)
	}
}

// http FILE METHOD URL [BODY]: calls the URL, with the body as a form, and writes what it answers into
// FILE. With ! the call has to be refused.
func httpCall(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 && len(args) != 4 {
		ts.Fatalf("usage: http FILE METHOD URL [BODY]")
	}
	status, body := call(ts, args[1:])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), body, 0o600))
	if neg != (status >= http.StatusBadRequest) {
		ts.Fatalf("%s %s: %d %s", args[1], args[2], status, body)
	}
}

// pour URL BYTES STATUS: posts so many bytes as a form; the answer has the status.
func pour(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pour URL BYTES STATUS")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	request, err := http.NewRequest(http.MethodPost, args[0], io.LimitReader(zeros{}, size))
	ts.Check(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	response.Body.Close()
	if strconv.Itoa(response.StatusCode) != args[2] {
		ts.Fatalf("%s, want %s", response.Status, args[2])
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func call(ts *testscript.TestScript, args []string) (status int, body []byte) {
	form := ""
	if len(args) == 3 {
		form = args[2]
	}
	request, err := http.NewRequest(args[0], args[1], strings.NewReader(form))
	ts.Check(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	ts.Check(err)
	return response.StatusCode, body
}

// address FILE VAR TEXT: sets VAR to the word that follows TEXT in the file.
func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: address FILE VAR TEXT")
	}
	_, rest, found := strings.Cut(ts.ReadFile(args[0]), args[2])
	if words := strings.Fields(rest); found && len(words) > 0 {
		ts.Setenv(args[1], words[0])
		return
	}
	ts.Fatalf("%s has nothing behind %q", args[0], args[2])
}

// until URL PATH OP VALUE: asks the URL for JSON until the value at the path compares as in jsonfld.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: until URL PATH OP VALUE")
	}
	deadline := time.Now().Add(patience)
	var last any
	for time.Now().Before(deadline) {
		_, body := call(ts, []string{http.MethodGet, args[0]})
		var object any
		if err := json.Unmarshal(body, &object); err == nil {
			if last, err = lookup(object, args[1]); err == nil && compare(last, args[2], args[3]) {
				return
			}
		}
		time.Sleep(20 * time.Millisecond) // polls another process, which cannot signal us
	}
	ts.Fatalf("%s is %v after %v, want %s %s", args[1], last, patience, args[2], args[3])
}

// becomes FILE PATH OP VALUE COMMAND…: runs the command until the JSON on its stdout compares as in jsonfld,
// and keeps it in FILE.
func becomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 {
		ts.Fatalf("usage: becomes FILE PATH OP VALUE COMMAND…")
	}
	deadline := time.Now().Add(patience)
	var last any
	for time.Now().Before(deadline) {
		ts.Check(ts.Exec(args[4], args[5:]...))
		text := ts.ReadFile("stdout")
		var object any
		ts.Check(json.Unmarshal([]byte(text), &object))
		value, err := lookup(object, args[1])
		if last = value; err == nil && compare(value, args[2], args[3]) {
			ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			return
		}
		time.Sleep(100 * time.Millisecond) // asks another process, which cannot signal us
	}
	ts.Fatalf("%s is %v after %v, want %s %s", args[1], last, patience, args[2], args[3])
}

// runid VAR FILE: sets VAR to the run id in the header that the file holds.
func runID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: runid VAR FILE")
	}
	_, rest, found := strings.Cut(ts.ReadFile(args[1]), "Run:")
	if !found {
		ts.Fatalf("%s has no run id", args[1])
	}
	id, _, _ := strings.Cut(strings.TrimSpace(rest), ",")
	ts.Setenv(args[0], id)
}
