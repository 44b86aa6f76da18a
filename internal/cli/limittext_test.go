package cli

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func TestLimitsOfTheCommandLine(t *testing.T) {
	for text, want := range map[string]limiter.Limit{
		"rpm:100":           limiter.PerMinute("rpm", 100),
		"rpm:100:250":       limiter.PerMinute("rpm", 100).WithBurst(250),
		"tph:50000/hour":    limiter.PerHour("tph", 50000),
		"a:3/5min:9":        limiter.Custom("a", 9, 3, 5*time.Minute),
		"r-p.m_x:1/2day":    limiter.Custom("r-p.m_x", 1, 1, 48*time.Hour),
		"b:7/sec":           limiter.PerSecond("b", 7),
		"c:7/1000000000sec": limiter.Custom("c", 7, 7, 1_000_000_000*time.Second),
	} {
		if got, err := parseLimit(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, mentions := range map[string]string{
		"rpm": "want name:rate", "": "want name:rate", "rpm:x": "not a whole number", "rpm:1.5": "not a whole number", "rpm:0": "capacity",
		"rpm:-1": "capacity", "rpm:10:0": "capacity", "rpm:10:x": "burst", "rpm:10/week": "week", "rpm:10/0min": "0min", "rpm:10/": "10^9 seconds at most",
		"rpm:99999999999999999999": "too large", "rpm:1:2:3": "want name:rate", "wcu:1": "reserved", "a b:1": "limit name", ":1": "limit name", "rpm:1/99999999999day": "10^9 seconds at most", "rpm:1/20000day": "10^9 seconds at most",
	} {
		if got, err := parseLimit(text); err == nil || !strings.Contains(err.Error(), mentions) {
			t.Errorf("%q: got %+v, %v, want an error that mentions %q", text, got, err, mentions)
		}
	}
}

func TestWhatIsShownOfALimitCanBeGivenAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := time.Duration(rapid.Int64Range(1, 1_000_000_000).Draw(t, "seconds")) * time.Second
		l := limiter.Custom("l", rapid.Int64Range(1, 1e15).Draw(t, "capacity"), rapid.Int64Range(1, 1e15).Draw(t, "amount"), period)
		if back, err := parseLimit(limitText(l)); err != nil || back != l {
			t.Fatalf("%s: got %+v, %v, want %+v", limitText(l), back, err, l)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"rpm:100", "a:3/5min:9", "rpm:100:250", "x:1/9999999999999999999sec", "::", "a:1/min/min", "ä:1", "a:+1", "a: 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLimit(text)
		if err != nil {
			return
		}
		if err := l.Validate(); err != nil {
			t.Fatalf("%q gave a limit that is not valid: %v", text, err)
		}
		if back, err := parseLimit(limitText(l)); err != nil || back != l {
			t.Fatalf("%q: %+v is shown as %q, which gives %+v, %v", text, l, limitText(l), back, err)
		}
	})
}
