//go:build interop

package locust_test

import (
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// stream makes the same calls whoever the master is: times of every kind, failures, tasks that raise,
// and lines in the log.
const stream = `
from locust.exception import CatchResponseError

class Odd(Exception):
    pass

class A(Counted):
    @task
    def once(self):
        counts["begun"] += 1
        turn = counts["begun"]
        if turn == 1:
            for ms in [9.6, 147.0, 2.5, 0.5, 1.5, 105, 145, 99.5, 104.9, 115, 995, 3432, 58760, 105.0000001, 12, 33.6]:
                self.fire("/times", ms, length=100)
            for ms in [3, 12, 33, 120.0, 250, 1500, 7000] * 30:
                self.fire("/groups", ms, length=0)
            for ms in [None, None, 12.0]:
                self.fire("/nil", ms)
            self.fire("/only nil", None)
            for error in ["plain text", ValueError("boom"), CatchResponseError("bad status"), ValueError("boom"), Odd("a 'quoted', \"text\"\n<b>")]:
                self.fire("/failing", 250, error)
            logging.info("a line of the worker")
        elif turn <= 4:
            raise RuntimeError("uncaught %d" % (turn // 4))
        else:
            gevent.sleep(0.2)

class B(Counted):
    weight = 0
`

// oneUserOf is the same class for our master.
const oneUserOf = `
def nothing(user):
    pass

A = user_class(nothing)
`

func TestLocust14And42TheSameStreamGivesTheSameNumbers(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "a.star", oneUserOf))
		theirs := startMaster(t, newest(t), stream)
		onOurs := startWorker(t, python, m.port, stream, "LOG_EVERY=1")
		onTheirs := startWorker(t, python, theirs.port, stream, "LOG_EVERY=1")
		var answers [2]requests
		for i, web := range []string{m.web, theirs.web} {
			untilRequests(t, web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
			swarm(t, web, 1, 1)
			answers[i] = untilRequests(t, web, "the whole stream", func(r *requests) bool {
				total := r.row("Aggregated")
				return total != nil && total["num_requests"] == 235.0 && len(r.Errors) == 4
			})
			until(t, "exceptions and log", func() string { return getText(t, web+"/exceptions") + getText(t, web+"/logs") }, func() bool {
				return exceptions(t, web)["uncaught 0"] == 3 &&
					strings.Contains(getText(t, web+"/logs"), "a line of the worker")
			})
		}
		compareRows(t, answers[0], answers[1])
		for i, w := range []*locust{onOurs, onTheirs} {
			var logs struct{ Workers map[string][]string }
			get(t, []string{m.web, theirs.web}[i]+"/logs", &logs)
			if !slices.ContainsFunc(logs.Workers[w.id()], func(line string) bool { return strings.Contains(line, "a line of the worker") }) {
				t.Errorf("master %d has the logs %v", i, logs.Workers)
			}
		}
		compareDownloads(t, m.web, theirs.web)
	})
}

func exceptions(t *testing.T, web string) map[string]int {
	t.Helper()
	var answer struct {
		Exceptions []struct {
			Count     int
			Message   string `json:"msg"`
			Traceback string
			Nodes     string
		}
	}
	get(t, web+"/exceptions", &answer)
	counts := map[string]int{}
	for _, e := range answer.Exceptions {
		// Locust groups by the traceback, which has no message.
		if strings.Contains(e.Traceback, "raise RuntimeError") && e.Nodes != "" {
			counts[e.Message] += e.Count
		}
	}
	return counts
}

// quantile reports whether a column is one of a distribution. Ours are of the histogram's exact rank and
// within 1 %, Locust's of rounded times and sometimes one rank higher: they are the same where many
// times are equal, which is not so for the rows with single ones.
func quantile(column string) bool {
	return strings.Contains(column, "percentile") || strings.HasSuffix(column, "%") || strings.Contains(strings.ToLower(column), "median")
}

func singleTimes(name any) bool { return name == "/times" || name == "Aggregated" }

// sameValue compares what Locust says with what we say; numbers need not be written alike.
func sameValue(column string, want, got any) bool {
	a, errA := strconv.ParseFloat(fmt.Sprint(want), 64)
	b, errB := strconv.ParseFloat(fmt.Sprint(got), 64)
	if errA != nil || errB != nil {
		return fmt.Sprint(want) == fmt.Sprint(got)
	}
	tolerance := 1e-6
	if quantile(column) {
		tolerance = 0.01
	}
	return math.Abs(a-b) <= tolerance*max(math.Abs(a), 1)
}

func compareRows(t *testing.T, ours, theirs requests) {
	t.Helper()
	if len(ours.Stats) != len(theirs.Stats) {
		t.Fatalf("%d rows, Locust has %d", len(ours.Stats), len(theirs.Stats))
	}
	for i, want := range theirs.Stats {
		got := ours.Stats[i]
		for key, value := range want {
			switch {
			case strings.HasSuffix(key, "_rps"), strings.HasSuffix(key, "_per_sec"):
				continue // of a time that is not the same
			case quantile(key) && singleTimes(want["name"]):
				continue
			}
			if !sameValue(key, value, got[key]) {
				t.Errorf("row %v: %s is %v, Locust's %v", want["name"], key, got[key], value)
			}
		}
	}
	errors := func(r requests) (list []string) {
		for _, e := range r.Errors {
			list = append(list, fmt.Sprint(e["method"], e["name"], e["error"], e["occurrences"]))
		}
		slices.Sort(list)
		return list
	}
	if a, b := errors(ours), errors(theirs); !slices.Equal(a, b) {
		t.Errorf("errors %q, Locust's %q", a, b)
	}
}

// compareDownloads compares the files that scripts read.
func compareDownloads(t *testing.T, ours, theirs string) {
	t.Helper()
	for path, varying := range map[string][]string{
		"/stats/requests/csv": {"Requests/s", "Failures/s"},
		"/stats/failures/csv": {"First Seen", "Last Seen"},
		"/exceptions/csv":     {"Traceback", "Nodes"},
	} {
		got, want := getText(t, ours+path), getText(t, theirs+path)
		if !strings.Contains(got, "\r\n") || strings.Count(got, "\r\n") != strings.Count(want, "\r\n") {
			t.Errorf("%s: line ends %q, Locust's %q", path, got, want)
		}
		a, b := table(t, got), table(t, want)
		if path == "/stats/failures/csv" {
			sortRows(a)
			sortRows(b)
		}
		if len(a) != len(b) {
			t.Errorf("%s: %d rows, Locust's %d", path, len(a), len(b))
			continue
		}
		for i := range b {
			for j := range b[i] {
				name := b[0][j]
				if i > 0 && (slices.Contains(varying, name) || quantile(name) && singleTimes(b[i][1])) {
					continue
				}
				if !sameValue(name, b[i][j], a[i][j]) {
					t.Errorf("%s row %d: %s is %q, Locust's %q", path, i, name, a[i][j], b[i][j])
				}
			}
		}
	}
}

// sortRows sorts all but the header: the order is that of keys.
func sortRows(rows [][]string) {
	slices.SortFunc(rows[1:], func(a, b []string) int { return strings.Compare(strings.Join(a[:4], ","), strings.Join(b[:4], ",")) })
}

func table(t *testing.T, text string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return rows
}

const withOptions = `
@events.init_command_line_parser.add_listener
def options(parser):
    parser.add_argument("--color", default="red")
    parser.add_argument("--shade", default="dark")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--loud", action="store_true")

@events.test_start.add_listener
def begin(environment, **_):
    o = environment.parsed_options
    counts["tasks"]["%r %r %r %r %r" % (o.color, o.shade, o.level, o.share, o.loud)] = 1

class A(Counted):
    @tag("fast")
    @task
    def quick(self):
        self.did("quick")

    @tag("slow")
    @task
    def slow(self):
        self.did("slow")
`

func TestLocust16OptionsAndTagsReachTheWorkers(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "a.star", oneUserOf),
			"--set", "color=red", "--set", "shade=pale", "--set", "level=1", "--set", "share=0.25", "--set", "loud=false")
		w := startWorker(t, python, m.port, withOptions)
		untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
		swarm(t, m.web, 1, 1, "color", "blue", "level", "7")
		untilRequests(t, m.web, "a user", func(r *requests) bool { return r.UserCount == 1 })
		w.awaits("out", "stats", len(w.passed("out", "stats"))+1)
		m.signal(syscall.SIGTERM)
		if c := w.counted(); c.Tasks["'blue' 'pale' 7 0.25 False"] != 1 || c.Tasks["quick"] == 0 || c.Tasks["slow"] == 0 {
			t.Errorf("options and tasks %v", c.Tasks)
		}
		m.exit()

		m = startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "a.star", taggedStar), "-T", "fast")
		w = startWorker(t, python, m.port, withOptions)
		untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
		swarm(t, m.web, 1, 1)
		untilRequests(t, m.web, "a user", func(r *requests) bool { return r.UserCount == 1 })
		w.awaits("out", "stats", len(w.passed("out", "stats"))+1)
		m.signal(syscall.SIGTERM)
		if c := w.counted(); c.Tasks["quick"] == 0 || c.Tasks["slow"] != 0 {
			t.Errorf("with the tag fast: tasks %v", c.Tasks)
		}
	})
}

const taggedStar = `
def nothing(user):
    pass

A = user_class(task(nothing, tags = ["fast"]))
`

func TestLocust18AMasterThatIsStartedAgain(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		file := writeFile(t, "calm.star", starFile)
		m := startOurProgram(t, "127.0.0.1:0", "-f", file)
		w := startWorker(t, python, m.port, calm)
		untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
		swarm(t, m.web, 3, 1000)
		untilRequests(t, m.web, "three users", func(r *requests) bool { return r.UserCount == 3 })
		m.kill()
		again := startOurProgram(t, "127.0.0.1:"+m.port, "-f", file)
		r := untilRequests(t, again.web, "the worker", func(r *requests) bool { return len(r.Workers) == 1 && r.Workers[0].State == "ready" })
		if r.Workers[0].ID != w.id() || r.UserCount != 0 {
			t.Errorf("adopted %+v, %d users", r.Workers, r.UserCount)
		}
		swarm(t, again.web, 4, 1000)
		untilRequests(t, again.web, "four users", func(r *requests) bool { return r.UserCount == 4 && r.State == "running" })
		untilRequests(t, again.web, "their calls", func(r *requests) bool {
			total := r.row("Aggregated")
			return total != nil && total["num_requests"].(float64) > 10
		})
		getText(t, again.web+"/stop")
		again.signal(syscall.SIGTERM)
		again.exit()
		if code := w.exit(); code != 0 && code != 1 { // 1: the file's own failures
			t.Errorf("the worker ended with %d", code)
		}
	})
}
