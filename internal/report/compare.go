package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ComparisonSchema names the format of the comparison document.
const ComparisonSchema = "zae-limiter/load-comparison/v1"

// Comparison says for each figure whether it changed from A to B by more than the noise of the
// per-second series explains.
type Comparison struct {
	Schema      string              `json:"schema"`
	A           ComparedRun         `json:"a"`
	B           ComparedRun         `json:"b"`
	Differences []string            `json:"differences"` // settings that are not the same
	Figures     []FigureChange      `json:"figures"`
	Regressions []RegressionOutcome `json:"regressions"`

	a, b *Result
}

// ComparedRun names one of the two runs.
type ComparedRun struct {
	RunID   string `json:"run_id"`
	Verdict string `json:"verdict"`
}

// FigureChange is one figure in both runs. Changed is nil when the noise is not known: there are too
// few seconds, or no series of that figure.
type FigureChange struct {
	Figure      string   `json:"figure"`
	A           *float64 `json:"a"`
	B           *float64 `json:"b"`
	ChangeRatio *float64 `json:"change_ratio"` // (B − A) / A
	NoiseRatio  *float64 `json:"noise_ratio"`  // changes up to this share of A are noise
	Changed     *bool    `json:"changed"`
	Better      *bool    `json:"better"` // nil when not changed, or when neither is better
}

// comparedFigures are the figures with the series that their noise is taken from. A figure without a
// series of its own borrows the relative noise of the one above it, which is the rougher one.
var comparedFigures = []struct {
	name       string
	series     func(Second) *float64
	percentile bool
}{
	{"rps", rpsOf, false},
	{"failure_ratio", failureRatioOf, false},
	{"avg_ms", func(s Second) *float64 { return s.P95MS }, false},
	{"p50_ms", func(s Second) *float64 { return s.P50MS }, true},
	{"p90_ms", func(s Second) *float64 { return s.P95MS }, true},
	{"p95_ms", func(s Second) *float64 { return s.P95MS }, true},
	{"p99_ms", func(s Second) *float64 { return s.P99MS }, true},
	{"p99_9_ms", nil, true},
	{"min_ms", nil, false},
	{"max_ms", nil, false},
}

func rpsOf(s Second) *float64 { return &s.RPS }

func failureRatioOf(s Second) *float64 {
	if s.RPS == 0 {
		return nil
	}
	return known(s.FailuresPerSecond / s.RPS)
}

// Compare judges B against A. Neither is changed.
func Compare(a, b *Result) *Comparison {
	c := &Comparison{
		Schema:      ComparisonSchema,
		A:           ComparedRun{a.Run.ID, a.Verdict.State},
		B:           ComparedRun{b.Run.ID, b.Verdict.State},
		Differences: settingDifferences(a, b),
		Regressions: []RegressionOutcome{},
		a:           a,
		b:           b,
	}
	for _, figure := range comparedFigures {
		_, f, _ := findField(figure.name)
		change := FigureChange{Figure: figure.name, A: f.value(a), B: f.value(b)}
		change.relate()
		if figure.series != nil {
			change.judge(steady(a, figure.series), steady(b, figure.series), figure.percentile)
		}
		c.Figures = append(c.Figures, change)
	}
	return c
}

// steady returns the values of the seconds in which the run was at its full number of users, after
// the warm-up; the last second is cut short by the end of the run and is left out.
func steady(r *Result, value func(Second) *float64) []float64 {
	most := 0
	for _, second := range r.Series {
		most = max(most, second.Users)
	}
	var values []float64
	for i, second := range r.Series {
		full := float64(second.Users) >= fullCoverage*float64(most)
		if !full || second.TSeconds < r.Run.WarmupSeconds || i == len(r.Series)-1 {
			continue
		}
		if x := value(second); x != nil {
			values = append(values, *x)
		}
	}
	return values
}

func (c *FigureChange) relate() {
	if c.A == nil || c.B == nil {
		return
	}
	if *c.A == *c.B {
		c.ChangeRatio = new(0.0)
		return
	}
	c.ChangeRatio = known((*c.B - *c.A) / math.Abs(*c.A)) // stays unknown from zero
}

// judge compares the difference of the two figures with what their series vary by.
func (c *FigureChange) judge(a, b []float64, percentile bool) {
	noiseA, okA := noiseOf(a)
	noiseB, okB := noiseOf(b)
	if c.A == nil || c.B == nil || !okA || !okB {
		return
	}
	bound := welch(noiseA.scaled(*c.A), noiseA.effective, noiseB.scaled(*c.B), noiseB.effective)
	if percentile {
		bound = max(bound, percentileError*max(math.Abs(*c.A), math.Abs(*c.B)))
	}
	c.NoiseRatio = known(bound / math.Abs(*c.A))
	difference := *c.B - *c.A
	c.Changed = new(math.Abs(difference) > bound)
	if *c.Changed {
		c.Better = new((difference > 0) == higherIsBetter(c.Figure))
	}
}

// scaled is the standard error for a figure that differs from the mean of its series, as the
// percentile of a run does from the mean of the percentiles of its seconds.
func (n noise) scaled(figure float64) float64 {
	if n.mean == 0 {
		return n.standardError
	}
	return n.standardError * math.Abs(figure/n.mean)
}

func higherIsBetter(name string) bool {
	switch name {
	case "rps", "requests", "ratio", "planned_user_seconds", "delivered_user_seconds":
		return true
	}
	return false
}

func settingDifferences(a, b *Result) []string {
	list := []string{}
	differ := func(what string, x, y any) {
		if x != y {
			list = append(list, fmt.Sprintf("%s: %v, %v", what, x, y))
		}
	}
	differ("mode", a.Run.Mode, b.Run.Mode)
	differ("users", shown(a.Run.Users), shown(b.Run.Users))
	differ("spawn rate", shown(a.Run.SpawnRate), shown(b.Run.SpawnRate))
	differ("classes", fmt.Sprint(a.Run.UserClasses), fmt.Sprint(b.Run.UserClasses))
	differ("locustfile_sha256", shown(a.Run.LocustfileSHA256), shown(b.Run.LocustfileSHA256))
	differ("options", fmt.Sprint(a.Run.Options), fmt.Sprint(b.Run.Options))
	differ("speculative", shown(a.Run.Speculative), shown(b.Run.Speculative))
	differ("client", shown(a.Run.Client), shown(b.Run.Client))
	differ("rejection cache", shown(a.Run.RejectionCacheSeconds), shown(b.Run.RejectionCacheSeconds))
	differ("pool connections", shown(a.Run.PoolConnections), shown(b.Run.PoolConnections))
	differ("workers", shown(a.Run.Workers), shown(b.Run.Workers))
	differ("cores", shown(a.Run.Cores), shown(b.Run.Cores))
	differ("os and architecture", shown(a.Run.OSArch), shown(b.Run.OSArch))
	differ("version", shown(a.Run.Version), shown(b.Run.Version))
	differ("target", a.Target.Kind, b.Target.Kind)
	differ("engine", engineText(a.Target.Engine), engineText(b.Target.Engine))
	return list
}

func shown[T any](p *T) string {
	if p == nil {
		return dash
	}
	return fmt.Sprint(*p)
}

func engineText(e *Engine) string {
	if e == nil {
		return dash
	}
	return fmt.Sprintf("latency %s, throughput %s, faults %s, network %s", e.Latency, e.Throughput, shown(e.Faults), shown(e.Network))
}

// Regression is the worsening of a figure that is still accepted.
type Regression struct {
	Expression string
	Field      string
	MaxRatio   float64

	value func(*Result) *float64
}

// RegressionOutcome is a regression limit with what it met.
type RegressionOutcome struct {
	Expression string   `json:"expression"`
	A          *float64 `json:"a"`
	B          *float64 `json:"b"`
	WorseRatio *float64 `json:"worse_ratio"` // negative when B is better; nil when not known
	Passed     bool     `json:"passed"`
}

// ParseRegression reads FIELD=PERCENT%, such as p95_ms=10%. The error is a *ThresholdError.
func ParseRegression(expression string) (Regression, error) {
	fail := func(offset int, problem string) (Regression, error) {
		column := utf8.RuneCountInString(expression[:offset]) + 1
		return Regression{}, &ThresholdError{Expression: expression, Column: column, Problem: problem}
	}
	path, limit, found := strings.Cut(expression, "=")
	name := strings.TrimSpace(path)
	if name == "" {
		return fail(0, "a field is expected, such as p95_ms")
	}
	_, f, problem := findField(name)
	if problem != "" {
		return fail(0, problem)
	}
	if !found {
		return fail(len(expression), "=PERCENT% is expected, such as =10%")
	}
	at := len(path) + 1
	number, percent := strings.CutSuffix(strings.TrimSpace(limit), "%")
	if !percent {
		return fail(len(expression), "a percentage is expected, such as 10%")
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
		return fail(at, fmt.Sprintf("%q is not a percentage of at least 0", number))
	}
	return Regression{Expression: expression, Field: name, MaxRatio: x / 100, value: f.value}, nil
}

// Gate judges the accepted regressions and stores the outcomes. One fails when the figure worsened by
// more than is accepted and that is not within the noise; also when it is not known in one of the
// documents, and when one of the verdicts is invalid.
func (c *Comparison) Gate(regressions []Regression) {
	for _, g := range regressions {
		outcome := RegressionOutcome{Expression: g.Expression, A: g.value(c.a), B: g.value(c.b)}
		if outcome.A != nil && outcome.B != nil {
			worse := *outcome.B - *outcome.A
			if higherIsBetter(g.Field[strings.LastIndex(g.Field, ".")+1:]) {
				worse = -worse
			}
			// The product, not the quotient, decides: from zero on any worsening is too much.
			outcome.Passed = worse <= g.MaxRatio*math.Abs(*outcome.A) || c.withinNoise(g.Field)
			if *outcome.A != 0 || worse == 0 {
				outcome.WorseRatio = known(worse / cmp.Or(math.Abs(*outcome.A), 1))
			}
		}
		if c.A.Verdict == Invalid || c.B.Verdict == Invalid {
			outcome.Passed = false
		}
		c.Regressions = append(c.Regressions, outcome)
	}
}

func (c *Comparison) withinNoise(name string) bool {
	name = strings.TrimPrefix(name, groups[0].name+".")
	i := slices.IndexFunc(c.Figures, func(f FigureChange) bool { return f.Figure == name })
	return i >= 0 && c.Figures[i].Changed != nil && !*c.Figures[i].Changed
}

// ExitCode is 3 when a regression failed and 0 otherwise.
func (c *Comparison) ExitCode() int {
	for _, outcome := range c.Regressions {
		if !outcome.Passed {
			return ExitThreshold
		}
	}
	return ExitDone
}

// WriteJSON writes the comparison as one JSON object.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// WriteText prints a line for each figure, and one for each gate.
func (c *Comparison) WriteText(w io.Writer) error {
	b := new(strings.Builder)
	fmt.Fprintf(b, "\nComparison:\n  A %s (%s)\n  B %s (%s)\n", c.A.RunID, c.A.Verdict, c.B.RunID, c.B.Verdict)
	if len(c.Differences) > 0 {
		fmt.Fprintf(b, "  Not the same: %s\n", strings.Join(c.Differences, "; "))
	}
	fmt.Fprintf(b, "  %-14s %12s %12s %9s %9s  %s\n", "Figure", "A", "B", "Change", "Noise", "Judgement")
	for i := range c.Figures {
		f := &c.Figures[i]
		fmt.Fprintf(b, "  %-14s %12s %12s %9s %9s  %s\n", f.Figure, figureText(f.Figure, f.A), figureText(f.Figure, f.B),
			percentText(f.ChangeRatio, "%+.1f%%"), percentText(f.NoiseRatio, "±%.1f%%"), f.judgement())
	}
	for _, g := range c.Regressions {
		state := "failed"
		if g.Passed {
			state = "passed"
		}
		fmt.Fprintf(b, "Regression %s: %s (worse by %s)\n", state, g.Expression, percentText(g.WorseRatio, "%.1f%%"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *FigureChange) judgement() string {
	switch {
	case c.A == nil || c.B == nil:
		return "not known in both"
	case c.Changed == nil:
		return "cannot tell: noise not known"
	case !*c.Changed:
		return "within noise"
	case *c.Better:
		return "better"
	}
	return "worse"
}

func figureText(name string, x *float64) string {
	switch {
	case x == nil:
		return dash
	case strings.HasSuffix(name, "_ms"):
		return formatMS(x)
	case strings.HasSuffix(name, "_ratio"):
		return percentText(x, "%.2f%%")
	}
	return decimal(x, 1)
}

func percentText(ratio *float64, format string) string {
	if ratio == nil {
		return dash
	}
	return fmt.Sprintf(format, 100**ratio)
}
