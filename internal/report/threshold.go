package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Threshold is a parsed condition on one number of the document:
//
//	FIELD[{type=…,name=…}] OP NUMBER
type Threshold struct {
	Expression string // as it was written
	Group      string
	Field      string
	Filter     *Filter // nil for the number of the whole run
	Op         string  // one of < <= > >= ==
	Limit      float64

	value func(*Result) *float64
}

// Filter selects entries; a nil part matches every entry.
type Filter struct {
	Type, Name *string
}

func (f *Filter) matches(e *Entry) bool {
	return (f.Type == nil || *f.Type == e.Type) && (f.Name == nil || *f.Name == e.Name)
}

// ThresholdError is a threshold or an accepted regression that does not parse. Column counts characters from 1.
type ThresholdError struct {
	Expression string
	Column     int
	Problem    string
}

func (e *ThresholdError) Error() string {
	return fmt.Sprintf("expression %q, column %d: %s", e.Expression, e.Column, e.Problem)
}

// ThresholdOutcome is a threshold with the value that it met.
type ThresholdOutcome struct {
	Expression string   `json:"expression"`
	Value      *float64 `json:"value"`
	Passed     bool     `json:"passed"`
}

// ParseThreshold reads one condition; the error is a *ThresholdError.
func ParseThreshold(expression string) (Threshold, error) {
	p := &thresholdParser{text: expression}
	t := p.parse()
	if p.err != nil {
		return Threshold{}, p.err
	}
	return t, nil
}

// MaxFailRatio is the threshold behind --max-fail-ratio.
func MaxFailRatio(ratio float64) Threshold { return shorthand("failure_ratio", "<=", ratio) }

// MaxP95 is the threshold behind --max-p95, in milliseconds.
func MaxP95(ms float64) Threshold { return shorthand("p95_ms", "<=", ms) }

// MinRPS is the threshold behind --min-rps.
func MinRPS(rps float64) Threshold { return shorthand("rps", ">=", rps) }

func shorthand(name, op string, limit float64) Threshold {
	group, f, _ := findField(name)
	return Threshold{
		Expression: name + op + strconv.FormatFloat(limit, 'f', -1, 64),
		Group:      group, Field: name, Op: op, Limit: limit, value: f.value,
	}
}

// thresholdParser reads a condition from left to right and keeps the first problem.
type thresholdParser struct {
	text string
	pos  int // byte offset
	err  error
}

func (p *thresholdParser) parse() Threshold {
	t := Threshold{Expression: p.text}
	p.blanks()
	start := p.pos
	path := p.word()
	if path == "" {
		p.fail(start, "a field is expected, such as p95_ms")
		return t
	}
	group, f, problem := findField(path)
	if problem != "" {
		p.fail(start, problem)
		return t
	}
	t.Group, t.Field, t.value = group, f.name, f.value
	p.blanks()
	if p.has("{") {
		if group != groups[0].name {
			p.fail(p.pos, "only numbers of totals can be filtered, not those of "+group)
		}
		t.Filter = p.filter()
		p.blanks()
	}
	t.Op = p.operator()
	p.blanks()
	t.Limit = p.number()
	return t
}

func (p *thresholdParser) fail(at int, problem string) {
	if p.err == nil {
		column := utf8.RuneCountInString(p.text[:min(at, len(p.text))]) + 1
		p.err = &ThresholdError{Expression: p.text, Column: column, Problem: problem}
	}
}

func (p *thresholdParser) blanks() {
	rest := p.text[p.pos:]
	p.pos += len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
}

func (p *thresholdParser) has(token string) bool {
	return strings.HasPrefix(p.text[p.pos:], token)
}

func (p *thresholdParser) accept(token string) bool {
	if p.err != nil || !p.has(token) {
		return false
	}
	p.pos += len(token)
	return true
}

// word reads letters, digits, underscores and dots.
func (p *thresholdParser) word() string {
	rest := p.text[p.pos:]
	end := strings.IndexFunc(rest, func(c rune) bool {
		return c != '_' && c != '.' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
	if end < 0 {
		end = len(rest)
	}
	p.pos += end
	return rest[:end]
}

// filter reads {type=…,name=…} in any order, at least one of the two.
func (p *thresholdParser) filter() *Filter {
	f := new(Filter)
	p.accept("{")
	for p.err == nil {
		p.blanks()
		start := p.pos
		key := p.word()
		var part **string
		switch key {
		case "type":
			part = &f.Type
		case "name":
			part = &f.Name
		default:
			p.fail(start, "type= or name= is expected")
			return f
		}
		if *part != nil {
			p.fail(start, key+" is given twice")
		}
		p.blanks()
		if !p.accept("=") {
			p.fail(p.pos, "= is expected after "+key)
		}
		p.blanks()
		*part = new(p.filterValue())
		p.blanks()
		if p.accept("}") {
			return f
		}
		if !p.accept(",") {
			p.fail(p.pos, "a comma or } is expected")
		}
	}
	return f
}

// filterValue reads a bare value up to the next comma or brace, or a quoted one, in which a
// backslash protects the quote and itself.
func (p *thresholdParser) filterValue() string {
	if p.has(`"`) || p.has(`'`) {
		return p.quoted()
	}
	rest := p.text[p.pos:]
	end := strings.IndexAny(rest, ",}")
	if end < 0 {
		p.fail(len(p.text), "} is missing")
		return ""
	}
	value := strings.TrimRightFunc(rest[:end], unicode.IsSpace)
	if value == "" {
		p.fail(p.pos, `a value is expected ("" for an empty one)`)
	}
	p.pos += end
	return value
}

func (p *thresholdParser) quoted() string {
	start, quote := p.pos, p.text[p.pos]
	var value strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		c := p.text[i]
		switch {
		case c == quote:
			p.pos = i + 1
			return value.String()
		case c == '\\' && i+1 < len(p.text) && (p.text[i+1] == quote || p.text[i+1] == '\\'):
			i++
			c = p.text[i]
		}
		value.WriteByte(c)
	}
	p.fail(start, "the quote is not closed")
	return ""
}

func (p *thresholdParser) operator() string {
	// The longer operators come first: each shorter one is a beginning of one of them.
	for _, op := range []string{"<=", ">=", "==", "<", ">"} {
		if p.accept(op) {
			return op
		}
	}
	p.fail(p.pos, "an operator is expected: < <= > >= or ==")
	return ""
}

// number reads a decimal number that ends the expression.
func (p *thresholdParser) number() float64 {
	text := strings.TrimRightFunc(p.text[p.pos:], unicode.IsSpace)
	end := strings.IndexFunc(text, func(c rune) bool { return !strings.ContainsRune("+-.eE0123456789", c) })
	if end < 0 {
		end = len(text)
	}
	x, err := strconv.ParseFloat(text[:end], 64)
	switch {
	case text == "" || end == 0:
		p.fail(p.pos, "a number is expected")
	case end < len(text):
		p.fail(p.pos+end, fmt.Sprintf("%q follows the number", text[end:]))
	case err != nil:
		p.fail(p.pos, fmt.Sprintf("%q is not a number", text))
	}
	return x
}

// Evaluate judges the thresholds and stores the outcomes in the document. It needs the final
// verdict: a result that is invalid fails each one. A value that is not known fails too.
func (r *Result) Evaluate(thresholds []Threshold) {
	r.Thresholds = make([]ThresholdOutcome, 0, len(thresholds))
	for _, t := range thresholds {
		value := t.Value(r)
		r.Thresholds = append(r.Thresholds, ThresholdOutcome{
			Expression: t.Expression,
			Value:      value,
			Passed:     r.Verdict.State != Invalid && value != nil && t.holds(*value),
		})
	}
}

// Value is the number that the threshold is about, nil when it is not known. A threshold with a
// filter has no value in a document that was read back unless one entry alone matches.
func (t Threshold) Value(r *Result) *float64 {
	if t.Filter == nil {
		return t.value(r)
	}
	f, ok := r.merged(t.Filter)
	if !ok {
		return nil
	}
	return t.value(&Result{Totals: f})
}

func (t Threshold) holds(x float64) bool {
	switch t.Op {
	case "<":
		return x < t.Limit
	case "<=":
		return x <= t.Limit
	case ">":
		return x > t.Limit
	case ">=":
		return x >= t.Limit
	default:
		return x == t.Limit
	}
}

// ThresholdsFailed reports whether one of the evaluated thresholds did not hold.
func (r *Result) ThresholdsFailed() bool {
	for _, t := range r.Thresholds {
		if !t.Passed {
			return true
		}
	}
	return false
}

// text says in a line whether the condition held, and with which value.
func (t *ThresholdOutcome) text() string {
	state, value := "failed", "not known"
	if t.Passed {
		state = "passed"
	}
	if t.Value != nil {
		value = strconv.FormatFloat(*t.Value, 'g', 6, 64)
	}
	return fmt.Sprintf("Threshold %s: %s (%s)", state, t.Expression, value)
}

// WriteThresholds prints a line for each evaluated threshold.
func (r *Result) WriteThresholds(w io.Writer) error {
	b := new(strings.Builder)
	for i := range r.Thresholds {
		b.WriteString(r.Thresholds[i].text() + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
