package attr

import (
	"encoding/base64"
	"slices"
	"strings"
)

// MaxDepth is the number of levels that values may be nested in an item, the innermost one included.
const MaxDepth = 32

// ValueError is a value that the service refuses. Strict marks the errors
// which the service's newer validator prefixes.
type ValueError struct {
	Message string
	Strict  bool
}

func (e *ValueError) Error() string { return e.Message }

func valueError(message string) error { return &ValueError{Message: message} }

// Errors of malformed values.
var (
	ErrEmpty    error = &ValueError{Message: "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"}
	ErrMultiple error = &ValueError{Message: "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"}
	ErrNull     error = &ValueError{Message: "One or more parameter values were invalid: Null attribute value types must have the value of true", Strict: true}
	ErrNesting  error = &ValueError{Message: "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"}
)

// StringSet returns an SS value that owns members.
func StringSet(members []string) (Value, error) {
	if len(members) == 0 {
		return Value{}, &ValueError{Message: "One or more parameter values were invalid: An string set  may not be empty", Strict: true}
	}
	if duplicate(members) {
		return Value{}, &ValueError{Message: "One or more parameter values were invalid: Input collection [" + strings.Join(members, ", ") + "] contains duplicates.", Strict: true}
	}
	return stringsOf(SS, members), nil
}

// BinarySet returns a BS value that owns members.
func BinarySet(members []string) (Value, error) {
	if len(members) == 0 {
		return Value{}, &ValueError{Message: "One or more parameter values were invalid: Binary sets should not be empty", Strict: true}
	}
	if duplicate(members) {
		texts := make([]string, len(members))
		for i, m := range members {
			texts[i] = base64.StdEncoding.EncodeToString([]byte(m))
		}
		return Value{}, &ValueError{Message: "One or more parameter values were invalid: Input collection [" + strings.Join(texts, ", ") + "]of type BS contains duplicates.", Strict: true}
	}
	return stringsOf(BS, members), nil
}

// NumberSet returns an NS value that owns members, all of kind N.
func NumberSet(members []Value) (Value, error) {
	if len(members) == 0 {
		return Value{}, &ValueError{Message: "One or more parameter values were invalid: An number set  may not be empty", Strict: true}
	}
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, CompareNumbers)
	for i := range len(sorted) - 1 {
		if CompareNumbers(sorted[i], sorted[i+1]) == 0 {
			return Value{}, &ValueError{Message: "Input collection contains duplicates", Strict: true}
		}
	}
	return numbersOf(members), nil
}

func duplicate(members []string) bool {
	if len(members) <= 8 {
		for i, m := range members {
			if slices.Contains(members[:i], m) {
				return true
			}
		}
		return false
	}
	sorted := slices.Clone(members)
	slices.Sort(sorted)
	return len(slices.Compact(sorted)) != len(members)
}

// MaxNameBytes is the length that the name of an attribute may have.
const MaxNameBytes = 65535

// NameError returns what is wrong with the name of an attribute, or nil.
func NameError(name string) error {
	switch {
	case name == "":
		return valueError("Empty attribute name")
	case len(name) > MaxNameBytes:
		return valueError("Attribute name is too large, must be less than 65536 bytes")
	}
	return nil
}
