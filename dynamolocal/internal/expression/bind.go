package expression

import (
	"sync"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Placeholders are the names and values of a request. Lookups mark what is used.
type Placeholders interface {
	// Name returns the attribute name of a placeholder such as #n.
	Name(placeholder string) (string, bool)
	// Value returns the value of a placeholder such as :v.
	Value(placeholder string) (attr.Value, bool)
}

// Bound is a form with the names and values of one request.
type Bound struct {
	form *Form
	// LongTypes selects the spelled-out names of types in operand errors.
	longTypes bool
	names     []string
	values    []attr.Value
	nameBuf   [8]string
	valueBuf  [8]attr.Value
}

// Cache keeps parsed expressions by text. It is safe for concurrent use.
type Cache struct {
	mu    sync.RWMutex
	forms map[cacheKey]*Form
}

type cacheKey struct{ kind, text string }

// maxCached bounds the cache; texts that hold literals of their own must not fill memory.
const maxCached = 4096

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{forms: map[cacheKey]*Form{}} }

var grammars = map[string]func(*parser){
	"Condition":    conditionGrammar,
	"Filter":       conditionGrammar,
	"KeyCondition": conditionGrammar,
	"Update":       updateGrammar,
	"Projection":   projectionGrammar,
}

// Parse returns the form of a text; kind is Condition, Filter, KeyCondition, Update or Projection.
func (c *Cache) Parse(kind, text string) *Form {
	c.mu.RLock()
	form := c.forms[cacheKey{kind, text}]
	c.mu.RUnlock()
	if form != nil {
		return form
	}
	owned := string([]byte(text))
	form = parse(kind, owned, grammars[kind])
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.forms) >= maxCached {
		clear(c.forms)
	}
	c.forms[cacheKey{kind, owned}] = form
	return form
}

// Err returns what is wrong with the text itself, whatever its placeholders stand for; nil for nothing.
func (f *Form) Err() error {
	if f.broken == nil {
		return nil
	}
	return f.broken
}

// Bind puts the names and values of a request into a form and reports what is wrong with them.
func (b *Bound) Bind(form *Form, with Placeholders, longTypes bool) error {
	b.form, b.longTypes = form, longTypes
	if form.broken != nil {
		return form.broken
	}
	b.names, b.values = b.nameBuf[:0], b.valueBuf[:0]
	var missing string
	for _, placeholder := range form.names {
		name, ok := with.Name(placeholder)
		if !ok && missing == "" {
			missing = "An expression attribute name used in the document path is not defined; attribute name: " + placeholder
		}
		b.names = append(b.names, name)
	}
	for _, placeholder := range form.values {
		value, ok := with.Value(placeholder)
		if !ok && missing == "" {
			missing = "An expression attribute value used in expression is not defined; attribute value: " + placeholder
		}
		b.values = append(b.values, value)
	}
	if missing != "" {
		return b.refuse(missing)
	}
	return b.check()
}

func (b *Bound) refuse(message string) error {
	return &Error{Kind: b.form.kind, Message: message, Strict: true}
}

// Path returns a path with its names.
func (b *Bound) path(p path) Path {
	steps := make(Path, len(p))
	for i, e := range p {
		steps[i] = Step{Name: b.stepName(e), Index: e.index}
		if e.index >= 0 {
			steps[i].Name = ""
		}
	}
	return steps
}

func (b *Bound) stepName(e elem) string {
	if e.ref >= 0 {
		return b.names[e.ref]
	}
	return e.name
}

// get returns the value at a path of an item, or the zero Value.
func (b *Bound) get(item *attr.Map, p path) attr.Value {
	v := item.Get(b.stepName(p[0]))
	for _, e := range p[1:] {
		if e.index >= 0 {
			list := v.Values()
			if v.Kind() != attr.L || e.index >= len(list) {
				return attr.Value{}
			}
			v = list[e.index]
			continue
		}
		v = v.Map().Get(b.stepName(e))
	}
	return v
}

// Heads yields the first name of every path of the expression.
func (b *Bound) Heads(yield func(name string, nested bool) bool) {
	b.allPaths(func(p path) bool { return yield(b.stepName(p[0]), len(p) > 1) })
}

func (b *Bound) allPaths(yield func(path) bool) {
	for _, a := range b.form.actions {
		if !yield(a.path) {
			return
		}
	}
	for _, p := range b.form.paths {
		if !yield(p) {
			return
		}
	}
	if b.form.root != nil {
		b.form.root.paths(yield)
	}
}

func (t *test) paths(yield func(path) bool) bool {
	for _, child := range []*test{t.left, t.right} {
		if child != nil && !child.paths(yield) {
			return false
		}
	}
	return operandPaths(t.args, yield)
}

func operandPaths(args []operand, yield func(path) bool) bool {
	for i := range args {
		if args[i].kind == opPath && !yield(args[i].path) || !operandPaths(args[i].args, yield) {
			return false
		}
	}
	return true
}
