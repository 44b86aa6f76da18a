package cli

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/term"
)

// masterAt is the remote end of a server on this machine.
func masterAt(t *testing.T, handler http.HandlerFunc) *remoteMaster {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}
	remote, err := newRemoteMaster(port)
	if err != nil {
		t.Fatal(err)
	}
	return remote
}

func TestHowLongARunIsFollowed(t *testing.T) {
	for _, test := range []struct {
		seconds, users int
		rate           float64
		want           int
	}{
		{60, 20, 10, 92}, {60, 1000, 10, 190}, {300, 500, 7, 401}, {60, 10, 0, 100}, {60, 10, 0.5, 100},
	} {
		if got := maxWait(time.Duration(test.seconds)*time.Second, test.users, test.rate); got != time.Duration(test.want)*time.Second {
			t.Errorf("%d s with %d users at %v/s: got %v, want %d s", test.seconds, test.users, test.rate, got, test.want)
		}
	}
}

// Each letter is an answer of the master about its state: r running, s stopped, and x none. The last one
// repeats itself.
func TestARunIsFollowedUntilItIsOver(t *testing.T) {
	for _, test := range []struct {
		answers string
		lost    bool
		asked   int           // how often, 0 = until the time is up
		took    time.Duration // 0 = not looked at
	}{
		{answers: "rrs", asked: 3},
		{answers: "rxxx", lost: true, asked: 4},
		{answers: "xxx", lost: true, asked: 3},
		{answers: "rxxrxxrs", asked: 8},
		{answers: "sss", took: 92 * time.Second}, // of the run before
		{answers: "r", took: 92 * time.Second},
	} {
		t.Run(test.answers, func(t *testing.T) {
			asked := 0
			master := masterAt(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/stats/requests" {
					http.NotFound(w, r) // no result yet
					return
				}
				asked++
				switch answer := test.answers[min(asked, len(test.answers))-1]; answer {
				case 'x':
					http.Error(w, "away", http.StatusServiceUnavailable)
				default:
					state := map[byte]string{'r': "running", 's': "stopped"}[answer]
					_, _ = io.WriteString(w, `{"state": "`+state+`", "user_count": 1, "workers": []}`)
				}
			})
			clock := &jumpClock{now: time.Now()}
			begun := clock.now
			var stderr strings.Builder
			run := &deployedRun{
				deployment: &deployment{clock: clock}, flags: &benchmarkFlags{duration: runTimeFlag(time.Minute)},
				progress: term.NewProgress(term.NewStream(&stderr, nil), progressInterval),
			}
			err := run.poll(t.Context(), master, maxWait(time.Minute, 20, 10))
			if errors.Is(err, errLost) != test.lost || err != nil && !test.lost {
				t.Errorf("got %v, lost: want %v", err, test.lost)
			}
			if test.asked > 0 && asked != test.asked {
				t.Errorf("asked %d times, want %d", asked, test.asked)
			}
			if took := clock.now.Sub(begun); test.took > 0 && took != test.took {
				t.Errorf("took %v, want %v", took, test.took)
			}
		})
	}
}
