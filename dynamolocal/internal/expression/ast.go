package expression

import (
	"strconv"
	"strings"
)

// elem is one step of a path: a name, a placeholder of one, or a list index.
type elem struct {
	name  string
	ref   int // into Form.names; -1: name is literal, or the step is an index
	index int // of a list; -1: a name
}

// path is a document path before its placeholders are known.
type path []elem

type operandKind uint8

const (
	opPath operandKind = iota
	opValue
	opFunc
)

type operand struct {
	kind operandKind
	path path
	ref  int // into Form.values
	fn   string
	args []operand
}

type testKind uint8

const (
	testAnd testKind = iota
	testOr
	testNot
	testCompare
	testBetween
	testIn
	testFunc
)

// test is a node of a condition.
type test struct {
	kind        testKind
	left, right *test
	op          string // of a comparison
	args        []operand
	fn          string
}

type section uint8

const (
	secSet section = iota
	secRemove
	secAdd
	secDelete
)

var sectionNames = [...]string{"SET", "REMOVE", "ADD", "DELETE"}

// action is one target of an update.
type action struct {
	section section
	path    path
	// value is what SET assigns; op joins it with second.
	value, second operand
	op            byte // '+', '-' or 0
	ref           int  // value of ADD and DELETE
}

// Form is a parsed expression; it is immutable.
type Form struct {
	kind   string
	names  []string // placeholders of names, in the order of their first use
	values []string
	// broken is what is wrong with the text itself.
	broken *Error

	root    *test
	actions []action
	paths   []path
}

func (f *Form) nameRef(placeholder string) int  { return intern(&f.names, placeholder) }
func (f *Form) valueRef(placeholder string) int { return intern(&f.values, placeholder) }

func intern(list *[]string, s string) int {
	for i, have := range *list {
		if have == s {
			return i
		}
	}
	*list = append(*list, s)
	return len(*list) - 1
}

// Path is a document path with its placeholders replaced.
type Path []Step

// Step is a name, or a list index when Index is not negative.
type Step struct {
	Name  string
	Index int
}

// String writes the path as errors show it: [m, [0], a].
func (p Path) String() string {
	parts := make([]string, len(p))
	for i, step := range p {
		parts[i] = step.Name
		if step.Index >= 0 {
			parts[i] = "[" + strconv.Itoa(step.Index) + "]"
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (p Path) equal(o Path) bool {
	if len(p) != len(o) {
		return false
	}
	for i := range p {
		if p[i] != o[i] {
			return false
		}
	}
	return true
}
