package cli

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// modelMeasure answers with the p50 of a model and plenty of requests, and notes who was asked.
func modelMeasure(p50 func(users int) float64, asked *[]int) tuneMeasure {
	return func(_ context.Context, users int, d time.Duration) (tunePoint, error) {
		*asked = append(*asked, users)
		return tunePoint{Users: users, Seconds: d.Seconds(), Requests: 1000, P50: p50(users)}, nil
	}
}

func TestTuneFollowsTheWorkedExamples(t *testing.T) {
	flat := func(floor, slope float64) func(int) float64 {
		return func(u int) float64 { return max(floor, math.RoundToEven(slope*float64(u))) }
	}
	for _, c := range []struct {
		name      string
		p50       func(int) float64
		threshold float64
		steps     []int
		optimal   int
		workers   []int // for 100, 500 and 1000 users
	}{
		{"2.6 ms a user", flat(26, 2.6), 0.80, []int{1, 40, 11, 15, 13, 12}, 12, []int{9, 42, 84}},
		{"2.7 ms a user, strict", flat(7, 2.7), 0.90, []int{1, 40, 5, 2, 3}, 2, []int{50, 250, 500}},
		{"2.7 ms a user", flat(7, 2.7), 0.80, []int{1, 40, 9, 3, 4}, 3, []int{34, 167, 334}},
		{"never slower", flat(5, 0), 0.80, []int{1, 40}, 40, []int{3, 13, 25}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []int
			s := tuneSearch{
				MaxUsers: 40, Threshold: c.threshold, Baseline: time.Minute, Step: 30 * time.Second,
				Limit: 300 * time.Second, Measure: modelMeasure(c.p50, &asked),
			}
			out, err := s.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(asked, c.steps) {
				t.Errorf("steps = %v, want %v", asked, c.steps)
			}
			if out.Optimal != c.optimal {
				t.Errorf("optimal = %d, want %d", out.Optimal, c.optimal)
			}
			for i, total := range []int{100, 500, 1000} {
				if got := workersFor(total, out.Optimal); got != c.workers[i] {
					t.Errorf("workers for %d users = %d, want %d", total, got, c.workers[i])
				}
			}
		})
	}
}

func TestTuneEfficienciesOfTheWorkedExample(t *testing.T) {
	var asked []int
	s := tuneSearch{
		MaxUsers: 40, Threshold: 0.8, Baseline: time.Minute, Step: time.Minute, Limit: 300 * time.Second,
		Measure: modelMeasure(func(u int) float64 { return max(26, math.RoundToEven(2.6*float64(u))) }, &asked),
	}
	out, err := s.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1, 0.25, 0.8966, 0.6667, 0.7647, 0.8387}
	for i, p := range out.Points {
		if math.Abs(p.Efficiency-want[i]) > 5e-5 {
			t.Errorf("efficiency of step %d (%d users) = %.4f, want %.4f", i, p.Users, p.Efficiency, want[i])
		}
	}
}

func TestTuneExtendsItsBaseline(t *testing.T) {
	for _, c := range []struct {
		name  string
		rate  float64 // requests a second of one user
		tried []int   // seconds
	}{
		{"enough at once", 1.8, []int{60}},
		{"one a second", 1.0, []int{60, 120}},
		{"one in two seconds", 0.5, []int{60, 240}},
		{"one a minute", 0.03, []int{60, 270}},
		{"none", 0, []int{60, 120, 240, 270}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tried []int
			s := tuneSearch{
				MaxUsers: 2, Threshold: 0.8, Baseline: time.Minute, Step: time.Second, Limit: 300 * time.Second,
				Measure: func(_ context.Context, _ int, d time.Duration) (tunePoint, error) {
					tried = append(tried, int(d.Seconds()))
					return tunePoint{Requests: int64(c.rate * d.Seconds()), P50: 1}, nil
				},
			}
			if _, _, err := s.baseline(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(tried, c.tried) {
				t.Errorf("baselines of %v s, want %v", tried, c.tried)
			}
		})
	}
}

func TestTuneStepDuration(t *testing.T) {
	for _, c := range []struct {
		name     string
		requests int64 // of the first baseline
		want     float64
	}{
		{"is its own after a good baseline", 1000, 30},
		{"is the longer one after an extended baseline", 50, 120},
	} {
		t.Run(c.name, func(t *testing.T) {
			var last float64
			s := tuneSearch{
				MaxUsers: 2, Threshold: 0.8, Baseline: time.Minute, Step: 30 * time.Second, Limit: 300 * time.Second,
				Measure: func(_ context.Context, users int, d time.Duration) (tunePoint, error) {
					last = d.Seconds()
					return tunePoint{Users: users, Requests: c.requests * int64(d/time.Minute), P50: 1}, nil
				},
			}
			if _, err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if last != c.want {
				t.Errorf("step of %v s, want %v", last, c.want)
			}
		})
	}
}

func TestTuneRefusesABaselineOfZero(t *testing.T) {
	s := tuneSearch{
		MaxUsers: 40, Threshold: 0.8, Baseline: time.Second, Step: time.Second, Limit: time.Minute,
		Measure: func(context.Context, int, time.Duration) (tunePoint, error) {
			return tunePoint{Requests: 1000}, nil
		},
	}
	out, err := s.run(t.Context())
	if !errors.Is(err, errBaselineZero) {
		t.Errorf("err = %v, want %v", err, errBaselineZero)
	}
	if len(out.Points) != 1 {
		t.Errorf("%d points reported, want the baseline", len(out.Points))
	}
}

// Whatever the curve, as long as it falls the search ends at the last point above the threshold.
func TestTuneFindsTheLastGoodPointOfAnyFallingCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxUsers := rapid.IntRange(2, 200).Draw(t, "max")
		threshold := rapid.Float64Range(0.05, 1).Draw(t, "threshold")
		curve := make([]float64, maxUsers+1)
		curve[1] = 1
		for u := 2; u <= maxUsers; u++ {
			curve[u] = curve[u-1] * rapid.Float64Range(0, 1).Draw(t, "step")
		}
		got, err := bisect(maxUsers, threshold, func(u int) (float64, error) { return curve[u], nil })
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		for u := 2; u <= maxUsers && curve[u] >= threshold; u++ {
			want = u
		}
		if got != want {
			t.Fatalf("optimal = %d, want %d", got, want)
		}
	})
}

func TestARepeatedStepCountsWithItsMedian(t *testing.T) {
	for _, test := range []struct {
		p50s []float64
		want float64
	}{
		{[]float64{5}, 5},
		{[]float64{9, 2, 4}, 4},
		{[]float64{8, 2, 4, 6}, 4},
	} {
		i := 0
		got, err := medianOf(len(test.p50s), func() (tunePoint, error) {
			i++
			return tunePoint{P50: test.p50s[i-1]}, nil
		})
		if err != nil || got.P50 != test.want || i != len(test.p50s) {
			t.Errorf("%v: %v after %d measurements, %v; want %v", test.p50s, got.P50, i, err, test.want)
		}
	}
	failure := errors.New("no")
	if _, err := medianOf(3, func() (tunePoint, error) { return tunePoint{}, failure }); !errors.Is(err, failure) {
		t.Errorf("err = %v", err)
	}
}
