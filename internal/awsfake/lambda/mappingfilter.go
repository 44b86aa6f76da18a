package lambda

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// filter is what records must be like: one of the patterns has to match. No pattern = all match.
type filter []map[string]any

// mostFilters is how many a mapping may have.
const mostFilters = 5

// parseFilter reads the patterns of a mapping. Of the tests that patterns may have besides values, prefix,
// suffix, exists and anything-but are played.
func parseFilter(criteria *types.FilterCriteria) (filter, error) {
	if criteria == nil {
		return nil, nil
	}
	if len(criteria.Filters) > mostFilters {
		return nil, invalid("Invalid filters: at most %d are allowed, got %d", mostFilters, len(criteria.Filters))
	}
	var f filter
	for _, one := range criteria.Filters {
		var pattern map[string]any
		if err := json.Unmarshal([]byte(aws.ToString(one.Pattern)), &pattern); err != nil {
			return nil, invalid("Invalid filter pattern definition.")
		}
		if err := checkPattern(pattern); err != nil {
			return nil, err
		}
		f = append(f, pattern)
	}
	return f, nil
}

func checkPattern(pattern map[string]any) error {
	for name, want := range pattern {
		switch want := want.(type) {
		case map[string]any:
			if err := checkPattern(want); err != nil {
				return err
			}
		case []any:
			for _, one := range want {
				test, ok := one.(map[string]any)
				if !ok {
					continue
				}
				for kind := range test {
					switch kind {
					case "prefix", "suffix", "exists", "anything-but":
					default:
						return invalid("Invalid filter pattern definition: the test %q of %s is not played here", kind, name)
					}
				}
			}
		default:
			return invalid("Invalid filter pattern definition.")
		}
	}
	return nil
}

func (f filter) matches(record map[string]any) bool {
	for _, pattern := range f {
		if matchPattern(pattern, record) {
			return true
		}
	}
	return len(f) == 0
}

func matchPattern(pattern, record map[string]any) bool {
	for name, want := range pattern {
		have, there := record[name]
		if inner, ok := want.(map[string]any); ok {
			part, _ := have.(map[string]any)
			if !matchPattern(inner, part) {
				return false
			}
			continue
		}
		matched := false
		for _, one := range want.([]any) { // checkPattern has seen to it
			matched = matched || matchValue(one, have, there)
		}
		if !matched {
			return false
		}
	}
	return true
}

// matchValue compares a value of a record with one of a pattern, or with a test.
func matchValue(want, have any, there bool) bool {
	test, ok := want.(map[string]any)
	if !ok {
		return there && (want == have || want == nil && have == nil)
	}
	for kind, operand := range test {
		text, _ := have.(string)
		pass := false
		switch kind {
		case "prefix":
			pass = there && strings.HasPrefix(text, fmt.Sprint(operand))
		case "suffix":
			pass = there && strings.HasSuffix(text, fmt.Sprint(operand))
		case "exists":
			pass = there == (operand == true)
		case "anything-but":
			list, isList := operand.([]any)
			if !isList {
				list = []any{operand}
			}
			pass = there
			for _, not := range list {
				pass = pass && not != have
			}
		}
		if !pass {
			return false
		}
	}
	return true
}
