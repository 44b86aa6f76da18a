package orchestrator_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

func steady(users int) func(time.Duration) load {
	return func(time.Duration) load { return load{state: "running", users: users, target: users} }
}

func TestOneLineARound(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(30)
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(21*time.Second, func(time.Duration) {})
		l.end()
		if len(w.rounds) != 5 {
			t.Fatalf("%d lines after 21 s, want 5", len(w.rounds))
		}
		for _, key := range []string{"users", "rps", "desired", "connected", "pending", "expiring", "need"} {
			if _, ok := w.rounds[0].values[key]; !ok {
				t.Errorf("no %q in %v", key, w.rounds[0].values)
			}
		}
		if last := w.rounds[4]; last.number("connected") != 3 || last.number("need") != 0 || last.number("users") != 30 {
			t.Errorf("last line %v, want 3 connected, no need, 30 users", last.values)
		}
	})
}

// Defect 5.
func TestMinAboveMaxIsRefused(t *testing.T) {
	p := policy()
	p.MinWorkers, p.MaxWorkers = 2, 1
	if _, err := orchestrator.New(orchestrator.Config{Policy: p}, nil, nil, nil); err == nil {
		t.Error("accepted")
	}
}

func TestMaxZeroIsIdle(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(1000)
		p := policy()
		p.MinWorkers, p.MaxWorkers = 0, 0
		l := w.run(t, orchestrator.Config{Policy: p})
		w.eachSecond(time.Minute, func(time.Duration) {})
		if s := l.end(); s.Started != 0 || s.Rounds < 12 {
			t.Errorf("%+v, want a dozen rounds and nothing started", s)
		}
	})
}

// Defect 6: a worker that joins before the first answer is not kept pending and doubled.
func TestAWorkerThatJoinsBeforeTheFirstAnswer(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.silent = func(at time.Duration) bool { return at < 28*time.Second }
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(31*time.Second, func(time.Duration) {})
		if round := w.lastRound(); round.number("connected") != 1 || round.number("pending") != 0 {
			t.Errorf("first answer: %v, want 1 connected and 0 pending", round.values)
		}
		w.eachSecond(2*time.Minute, func(time.Duration) {})
		if s := l.end(); s.Started != 1 || s.Expired != 0 {
			t.Errorf("%+v, want one start and nothing expired", s)
		}
	})
}

// Defect 7: starts were made one after the other.
func TestStartsRunInParallelWithABound(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(250)
		w.startTakes = time.Second
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(4*time.Second, func(time.Duration) {})
		if len(w.starts) != 25 || w.mostAt != 10 {
			t.Errorf("%d started in 4 s, at most %d at once, want 25 and 10", len(w.starts), w.mostAt)
		}
		l.end()
	})
}

// Defect 7: an error in the middle lost the count of the starts before it.
func TestEverySuccessIsRecordedAndFailuresAreHeldBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(120)
		w.startFails = func(n int) error {
			if n == 7 || (n > 7 && w.now() < time.Minute) {
				return fmt.Errorf("invoke: %w", orchestrator.ErrThrottled)
			}
			return nil
		}
		w.startTakes = 10 * time.Millisecond
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(time.Second, func(time.Duration) {})
		begun := len(w.starts)
		if running, _, _ := w.count(); running != 7 {
			t.Fatalf("%d running after the first round, want 7", running)
		}
		w.eachSecond(6*time.Second, func(time.Duration) {})
		if round := w.lastRound(); round.number("pending")+round.number("connected") != 7 {
			t.Errorf("next round %v, want the 7 known", round.values)
		}
		w.eachSecond(2*time.Minute, func(time.Duration) {})
		if running, _, _ := w.count(); running != 12 {
			t.Errorf("%d running when starts succeed again, want 12", running)
		}
		warning, ok := w.warned("workers not started")
		if !ok || warning.values["throttled"] != true {
			t.Errorf("warning %v, want one about throttling", warning)
		}
		// Ten calls in the first round (begun before the failure was seen), then one round of up to
		// ten at 5, 15 and 35 s or, shortened by jitter, a little more often; never in each of 12 rounds.
		if l.end(); begun > 12 || len(w.starts) > begun+6*10 {
			t.Errorf("%d calls in the first round, %d in all", begun, len(w.starts))
		}
	})
}

func TestIDsBeginWithThePrefix(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		l := w.run(t, orchestrator.Config{Policy: policy(), IDPrefix: "lambda"})
		w.eachSecond(10*time.Second, func(time.Duration) {})
		l.end()
		for id := range w.workers {
			if !strings.HasPrefix(id, "lambda_") || len(id) != len("lambda_")+12 {
				t.Errorf("id %q, want lambda_ and 12 digits", id)
			}
		}
		if len(w.workers) != 1 {
			t.Errorf("%d workers, want 1", len(w.workers))
		}
	})
}

// Defect 8: no id is ever used for a second start.
func TestEveryStartHasItsOwnID(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(100)
		w.startFails = func(n int) error {
			if n%2 == 0 {
				return errors.New("no")
			}
			return nil
		}
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(time.Hour, func(time.Duration) {})
		if s := l.end(); s.Started != len(w.workers) {
			t.Errorf("%d accepted starts, %d ids", s.Started, len(w.workers))
		}
	})
}

func TestWorkersSurplusToATestLeaveThroughTheMaster(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = func(at time.Duration) load {
			if at < time.Minute {
				return load{state: "running", users: 50, target: 50}
			}
			return load{state: "stopped"}
		}
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(78*time.Second, func(time.Duration) {})
		if running, _, _ := w.count(); running != 5 {
			t.Errorf("%d running 18 s after the end of the test, want 5", running)
		}
		w.eachSecond(90*time.Second, func(time.Duration) {})
		if running, _, _ := w.count(); running != 1 || len(w.quits) != 1 || len(w.stops) != 0 {
			t.Errorf("%d running, told to quit %v, ended %v, want 1 left and one message to the others", running, w.quits, w.stops)
		}
		l.end()
	})
}

func TestWhereTheMasterCannotTellTheLauncherEnds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(10)
		w.noQuit = true
		p := policy()
		p.Lifetime = 120 * time.Second
		l := w.run(t, orchestrator.Config{Policy: p})
		w.eachSecond(5*time.Minute, func(time.Duration) {})
		if running, _, _ := w.count(); running != 1 || len(w.stops) == 0 {
			t.Errorf("%d running, ended %v", running, w.stops)
		}
		l.end()
	})
}

// Where neither can, replaced workers run out, as the original's do, and are not adopted again.
func TestWhereNobodyCanTellWorkersRunOut(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = ramp
		w.noQuit, w.noStop = true, true
		l := w.run(t, orchestrator.Config{Policy: policy(), StopTimeout: time.Second})
		filled := false
		w.eachSecond(time.Hour, func(at time.Duration) {
			_, _, connected := w.count()
			filled = filled || connected >= 12
			if desired := w.lastRound().number("desired"); filled && connected < desired {
				t.Errorf("at %v %d of %d connected", at, connected, desired)
			}
		})
		if s := l.end(); s.Started > 20*16 {
			t.Errorf("%d started in an hour", s.Started)
		}
	})
}

// Defect 9.
func TestTheIdleTimeoutIsAnnouncedAndKept(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = func(at time.Duration) load {
			if at < time.Minute {
				return load{state: "running", users: 10, target: 10}
			}
			return load{state: "stopped"}
		}
		l := w.run(t, orchestrator.Config{Policy: policy(), IdleTimeout: 15 * time.Minute})
		<-l.done
		s := l.end()
		if s.Reason != orchestrator.ReasonIdle || s.Uptime < 15*time.Minute+55*time.Second || s.Uptime > 16*time.Minute+5*time.Second {
			t.Errorf("%+v, want it to end for idleness 15 minutes after the test", s)
		}
		warning, ok := w.warned("no test runs")
		if ahead := s.Uptime - warning.at; !ok || ahead < 60*time.Second || ahead > 75*time.Second {
			t.Errorf("announced %v ahead (%v), want a minute", ahead, warning)
		}
	})
}

func TestAPersonAtTheWebUIKeepsItAlive(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		// A click at 10 minutes, and one at 24:30, after the announcement.
		w.idle = func(at time.Duration) time.Duration {
			for _, click := range []time.Duration{24*time.Minute + 30*time.Second, 10 * time.Minute, 0} {
				if at >= click {
					return at - click
				}
			}
			return 0
		}
		l := w.run(t, orchestrator.Config{Policy: policy(), IdleTimeout: 15 * time.Minute})
		<-l.done
		s := l.end()
		if want := 39*time.Minute + 30*time.Second; s.Uptime < want || s.Uptime > want+10*time.Second {
			t.Errorf("ended after %v, want %v", s.Uptime, want)
		}
		announced := 0
		for _, warning := range w.warnings {
			if strings.HasPrefix(warning.message, "no test runs") {
				announced++
			}
		}
		if announced != 2 {
			t.Errorf("announced %d times, want 2", announced)
		}
	})
}

func TestWhatKeepsItFromBeingIdle(t *testing.T) {
	tests := map[string]func(*world, *orchestrator.Config){
		"a running test":     func(w *world, _ *orchestrator.Config) { w.load = steady(10) },
		"a silent master":    func(w *world, _ *orchestrator.Config) { w.silent = func(time.Duration) bool { return true } },
		"no timeout":         func(_ *world, c *orchestrator.Config) { c.IdleTimeout = 0 },
		"a negative timeout": func(_ *world, c *orchestrator.Config) { c.IdleTimeout = -time.Second },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				c := orchestrator.Config{Policy: policy(), IdleTimeout: time.Minute}
				change(w, &c)
				l := w.run(t, c)
				w.eachSecond(time.Hour, func(time.Duration) {})
				if s := l.end(); s.Reason != orchestrator.ReasonStopped {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Defect 10: workers were not told to leave at the end.
func TestAtTheEndWorkersAreToldAndWaitedFor(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(50)
		w.goodbye = 6 * time.Second
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(20*time.Second, func(time.Duration) {})
		s := l.end()
		if len(w.quits) != 1 || len(w.quits[0]) != 5 {
			t.Errorf("told to quit %v, want five in one message", w.quits)
		}
		if s.Goodbyes != 5 || s.Stopped != 0 {
			t.Errorf("%+v, want five goodbyes", s)
		}
		if took := w.now() - 20*time.Second; took < 6*time.Second || took > 8*time.Second {
			t.Errorf("took %v, want it to end with the last goodbye", took)
		}
		if running, _, _ := w.count(); running != 0 {
			t.Errorf("%d still run", running)
		}
	})
}

func TestTheEndKeepsItsTimeout(t *testing.T) {
	tests := map[string]func(*world){
		"workers that do not go":    func(w *world) { w.stubborn = true },
		"a master that cannot tell": func(w *world) { w.noQuit = true },
		"a master that is gone":     func(w *world) { w.silent = func(at time.Duration) bool { return at > 20*time.Second } },
		"workers not yet connected": func(w *world) { w.connect = 100 * time.Second },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.load = steady(50)
				change(w)
				l := w.run(t, orchestrator.Config{Policy: policy(), StopTimeout: 10 * time.Second})
				w.eachSecond(20*time.Second, func(time.Duration) {})
				l.end()
				if took := w.now() - 20*time.Second; took > 10*time.Second {
					t.Errorf("took %v, want at most 10 s", took)
				}
				if running, _, _ := w.count(); running != 0 {
					t.Errorf("%d still run", running)
				}
			})
		})
	}
}

// Nobody else's workers are told to quit.
func TestForeignWorkersStay(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = steady(20)
		w.workers["python"] = &simulated{invoked: -time.Minute, ends: forever}
		l := w.run(t, orchestrator.Config{Policy: policy()})
		w.eachSecond(20*time.Second, func(time.Duration) {})
		if s := l.end(); s.Started != 1 {
			t.Errorf("%d started beside one of somebody else, want 1", s.Started)
		}
		for _, ids := range w.quits {
			if slices.Contains(ids, "python") {
				t.Errorf("told %v to quit", ids)
			}
		}
		if running, _, _ := w.count(); running != 1 {
			t.Errorf("%d run after the end, want the one of somebody else", running)
		}
	})
}

// watching is a launcher that sees workers end.
type watching struct {
	*world
	ended []string
}

func (w *watching) Ended() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.ended
	w.ended = nil
	return ended
}

func TestALauncherThatSeesWorkersEndSavesThePendingTimeout(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		launcher := &watching{world: w}
		w.connect = forever
		l := w.runWith(t, orchestrator.Config{Policy: policy()}, launcher)
		w.eachSecond(2*time.Minute, func(at time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for id, worker := range w.workers {
				if at >= worker.invoked+time.Second {
					delete(w.workers, id)
					launcher.ended = append(launcher.ended, id)
				}
			}
		})
		l.end()
		var at []int
		for _, start := range w.starts {
			at = append(at, int(start/time.Second))
		}
		// A second try at once, then pauses of 30 s and 60 s.
		if want := []int{0, 5, 40, 105}; !slices.Equal(at, want) {
			t.Errorf("started at %v, want %v", at, want)
		}
	})
}

func TestShortLivedWorkersAreWarnedAbout(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		p := policy()
		p.Lifetime = 60 * time.Second
		l := w.run(t, orchestrator.Config{Policy: p})
		w.eachSecond(time.Second, func(time.Duration) {})
		l.end()
		if _, ok := w.warned("workers are replaced before half"); !ok {
			t.Error("no warning")
		}
	})
}
