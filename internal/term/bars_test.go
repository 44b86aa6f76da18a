package term

import (
	"math"
	"strings"
	"testing"
)

func TestBars(t *testing.T) {
	for name, c := range map[string]struct {
		values []int64
		want   string
	}{
		"as high as they are": {[]int64{0, 25, 50, 100}, "" +
			"100 │   █\n" +
			"    │ ▄██\n" +
			"  0 └────"},
		"little is not nothing":       {[]int64{1, math.MaxInt64}, "9223372036854775807 │ █\n                    │▁█\n                  0 └──"},
		"what was given back is none": {[]int64{-5, 2}, "2 │ █\n  │ █\n0 └──"},
		"nothing":                     {[]int64{0}, "0 │\n  │\n0 └─"},
		"no column":                   {nil, "0 │\n  │\n0 └"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(Bars(c.values, 2), "\n"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
