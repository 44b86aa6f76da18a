package expression

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Limits of an expression.
const (
	maxBytes     = 4096
	maxOperators = 300
	maxIn        = 100
)

type parser struct {
	form      *Form
	text      string
	toks      []token
	i         int
	operators int
	// The first error of each family that does not depend on names and values.
	parens, unknown, misused, reserved, sections string
	operands, ranges                             string
}

// syntaxError unwinds the parser.
type syntaxError struct{ message string }

func (p *parser) peek() token { return p.toks[p.i] }

func (p *parser) next() token {
	t := p.toks[p.i]
	if t.kind != tokEOF {
		p.i++
	}
	return t
}

func (p *parser) accept(symbol string) bool {
	if p.peek().symbol(symbol) {
		p.i++
		return true
	}
	return false
}

func (p *parser) acceptKeyword(keyword string) bool {
	if p.peek().is(keyword) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(symbol string) {
	if !p.accept(symbol) {
		p.fail()
	}
}

// fail reports the current token with its neighbours.
func (p *parser) fail() {
	t := p.peek()
	start, end := t.start, t.end
	if len(p.toks) == 1 {
		start = 0 // nothing but blanks
	}
	if p.i > 0 {
		start = p.toks[p.i-1].start
	}
	if p.i+1 < len(p.toks) {
		end = p.toks[p.i+1].end
	}
	panic(syntaxError{fmt.Sprintf("Syntax error; token: %q, near: %q", rawText(t.text), rawText(p.text[start:end]))})
}

// rawText keeps %q from escaping: the service echoes the text as it is.
type rawText string

// Format implements fmt.Formatter.
func (r rawText) Format(f fmt.State, _ rune) { fmt.Fprintf(f, `"%s"`, string(r)) }

func first(family *string, format string, args ...any) {
	if *family == "" {
		*family = fmt.Sprintf(format, args...)
	}
}

// parse runs one of the grammars over a text.
func parse(kind, text string, grammar func(*parser)) (form *Form) {
	form = &Form{kind: kind}
	refuse := func(message string) { form.broken = &Error{Kind: kind, Message: message, Strict: true} }
	if text == "" {
		refuse("The expression can not be empty;")
		return form
	}
	if len(text) > maxBytes {
		refuse("Expression size has exceeded the maximum allowed size; expression size: " + strconv.Itoa(len(text)))
		return form
	}
	p := &parser{form: form, text: text, toks: tokens(text)}
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		broken, ok := cause.(syntaxError)
		if !ok {
			panic(cause)
		}
		refuse(broken.message)
	}()
	grammar(p)
	if p.peek().kind != tokEOF {
		p.fail()
	}
	if p.operators > maxOperators {
		refuse("The expression contains too many operators; operator count: " + strconv.Itoa(p.operators))
		return form
	}
	families := []string{p.parens, p.unknown, p.misused, p.reserved, p.operands, p.ranges}
	if kind == "Update" {
		families = []string{p.parens, p.reserved, p.unknown, p.sections, p.misused, p.ranges}
	}
	for _, message := range families {
		if message != "" {
			refuse(message)
			break
		}
	}
	return form
}

// Paths.

func (p *parser) path() path {
	list := path{p.name()}
	for {
		switch {
		case p.accept("."):
			list = append(list, p.name())
		case p.accept("["):
			t := p.peek()
			if t.kind != tokDigits {
				p.fail()
			}
			n, err := strconv.ParseInt(t.text, 10, 32)
			if err != nil {
				first(&p.ranges, "List index is not within the allowable range; index: [%s]", t.text)
			}
			p.next()
			p.expect("]")
			list = append(list, elem{ref: -1, index: int(n)})
		default:
			if len(list) > attr.MaxDepth {
				first(&p.ranges, "The document path has too many nesting levels; nesting levels: %d", len(list))
			}
			return list
		}
	}
}

func (p *parser) name() elem {
	t := p.peek()
	switch t.kind {
	case tokName:
		if isKeyword(t.text) {
			p.fail()
		}
		p.next()
		if isReserved(t.text) {
			first(&p.reserved, "Attribute name is a reserved keyword; reserved keyword: %s", t.text)
		}
		return elem{name: strings.Clone(t.text), ref: -1, index: -1}
	case tokNameRef:
		p.next()
		return elem{ref: p.form.nameRef(strings.Clone(t.text)), index: -1}
	}
	p.fail()
	return elem{}
}

// operand reads a path, a value or a function call, possibly in brackets.
func (p *parser) operand() operand {
	if p.accept("(") {
		doubled := p.peek().symbol("(")
		o := p.operand()
		p.expect(")")
		if doubled {
			first(&p.parens, "The expression has redundant parentheses;")
		}
		return o
	}
	t := p.peek()
	if t.kind == tokValueRef {
		p.next()
		return operand{kind: opValue, ref: p.form.valueRef(strings.Clone(t.text))}
	}
	if t.kind == tokName && p.toks[p.i+1].symbol("(") && !isKeyword(t.text) {
		return p.call()
	}
	return operand{kind: opPath, path: p.path()}
}

// isKeyword reports whether a word has a meaning of its own, in any letter case.
func isKeyword(word string) bool {
	switch strings.ToUpper(word) {
	case "SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN":
		return true
	}
	return false
}

func (p *parser) call() operand {
	o := operand{kind: opFunc, fn: strings.Clone(p.next().text)}
	p.operators++
	p.expect("(")
	o.args = append(o.args, p.operand())
	for p.accept(",") {
		o.args = append(o.args, p.operand())
	}
	p.expect(")")
	p.checkCall(&o)
	return o
}

var (
	conditionFunctions = map[string]int{"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2, "size": 1}
	updateFunctions    = map[string]int{"if_not_exists": 2, "list_append": 2}
)

func (p *parser) checkCall(o *operand) {
	functions, others, where := conditionFunctions, updateFunctions, "a condition"
	if p.form.kind == "Update" {
		functions, others, where = updateFunctions, conditionFunctions, "an update"
	}
	if _, ok := functions[o.fn]; !ok {
		if _, ok := others[o.fn]; ok {
			first(&p.unknown, "The function is not allowed in %s expression; function: %s", where, o.fn)
			return
		}
		first(&p.unknown, "Invalid function name; function: %s", o.fn)
		return
	}
	if p.form.kind != "Update" {
		p.checkMisused(o.args)
	}
}

// checkMisused refuses functions other than size where a value is needed.
func (p *parser) checkMisused(args []operand) {
	for i := range args {
		if args[i].kind == opFunc && args[i].fn != "size" {
			first(&p.misused, "The function is not allowed to be used this way in an expression; function: %s", args[i].fn)
		}
	}
}

// Conditions.

func conditionGrammar(p *parser) { p.form.root = p.or() }

func (p *parser) or() *test {
	left := p.and()
	for p.acceptKeyword("OR") {
		p.operators++
		left = &test{kind: testOr, left: left, right: p.and()}
	}
	return left
}

func (p *parser) and() *test {
	left := p.not()
	for p.acceptKeyword("AND") {
		p.operators++
		left = &test{kind: testAnd, left: left, right: p.not()}
	}
	return left
}

func (p *parser) not() *test {
	if p.acceptKeyword("NOT") {
		p.operators++
		return &test{kind: testNot, left: p.not()}
	}
	if p.peek().symbol("(") && !p.bracketIsOperand() {
		p.next()
		doubled := p.peek().symbol("(") && p.closes(p.i) == p.closes(p.i-1)-1
		inner := p.or()
		p.expect(")")
		if doubled {
			first(&p.parens, "The expression has redundant parentheses;")
		}
		return inner
	}
	return p.test()
}

// closes returns the position of the bracket that closes the one at i, or the end.
func (p *parser) closes(i int) int {
	depth := 0
	for ; i < len(p.toks); i++ {
		switch {
		case p.toks[i].symbol("("):
			depth++
		case p.toks[i].symbol(")"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(p.toks) - 1
}

// bracketIsOperand tells `(a) = :v` from `(a = :v)` by what follows the closing bracket.
func (p *parser) bracketIsOperand() bool {
	next := p.toks[min(p.closes(p.i)+1, len(p.toks)-1)]
	return next.is("BETWEEN") || next.is("IN") || next.comparator()
}

func (p *parser) test() *test {
	left := p.operand()
	t := p.peek()
	switch {
	case t.comparator():
		p.next()
		p.operators++
		args := []operand{left, p.operand()}
		p.checkMisused(args)
		return &test{kind: testCompare, op: strings.Clone(t.text), args: args}
	case p.acceptKeyword("BETWEEN"):
		p.operators++
		low := p.operand()
		if !p.acceptKeyword("AND") {
			p.fail()
		}
		args := []operand{left, low, p.operand()}
		p.checkMisused(args)
		return &test{kind: testBetween, args: args}
	case p.acceptKeyword("IN"):
		p.operators++
		p.expect("(")
		args := []operand{left, p.operand()}
		for p.accept(",") {
			args = append(args, p.operand())
		}
		p.expect(")")
		p.checkMisused(args)
		if len(args)-1 > maxIn {
			first(&p.operands, "Incorrect number of operands for operator or function; operator or function: IN, number of operands: %d", len(args)-1)
		}
		return &test{kind: testIn, args: args}
	case left.kind == opFunc:
		if left.fn == "size" {
			first(&p.misused, "The function is not allowed to be used this way in an expression; function: size")
		}
		return &test{kind: testFunc, fn: left.fn, args: left.args}
	}
	p.fail()
	return nil
}

// Updates.

func updateGrammar(p *parser) {
	seen := map[section]bool{}
	for p.peek().kind != tokEOF || len(seen) == 0 {
		s, ok := p.sectionKeyword()
		if !ok {
			p.fail()
		}
		if seen[s] {
			first(&p.sections, "The %q section can only be used once in an update expression;", rawText(sectionNames[s]))
		}
		seen[s] = true
		p.form.actions = append(p.form.actions, p.action(s))
		for p.accept(",") {
			p.form.actions = append(p.form.actions, p.action(s))
		}
	}
}

func (p *parser) sectionKeyword() (section, bool) {
	for i, name := range sectionNames {
		if p.acceptKeyword(name) {
			return section(i), true
		}
	}
	return 0, false
}

func (p *parser) action(s section) action {
	a := action{section: s, path: p.path()}
	switch s {
	case secSet:
		p.expect("=")
		p.operators++
		p.setValue(&a)
	case secAdd, secDelete:
		t := p.peek()
		if t.kind != tokValueRef {
			p.fail()
		}
		p.next()
		a.ref = p.form.valueRef(strings.Clone(t.text))
	}
	return a
}

func (p *parser) setValue(a *action) {
	if p.peek().symbol("(") && p.bracketHoldsSum() {
		p.next()
		if p.peek().symbol("(") && p.closes(p.i) == p.closes(p.i-1)-1 {
			first(&p.parens, "The expression has redundant parentheses;")
		}
		p.setValue(a)
		p.expect(")")
		return
	}
	a.value = p.operand()
	for _, op := range []string{"+", "-"} {
		if a.op == 0 && p.accept(op) {
			p.operators++
			a.op = op[0]
			a.second = p.operand()
		}
	}
}

// bracketHoldsSum tells `(a + :v)` from `(a) + :v`, whatever brackets are around the sum.
func (p *parser) bracketHoldsSum() bool {
	for _, t := range p.toks[p.i:p.closes(p.i)] {
		if t.symbol("+") || t.symbol("-") {
			return true
		}
	}
	return false
}

// Projections.

func projectionGrammar(p *parser) {
	p.form.paths = append(p.form.paths, p.path())
	for p.accept(",") {
		p.form.paths = append(p.form.paths, p.path())
	}
}
