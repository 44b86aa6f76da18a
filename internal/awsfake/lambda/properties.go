package lambda

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// settlePoll is how often a stack looks whether a change has been made, at the most.
const settlePoll = 10 * time.Millisecond

// text is a property as text, "" when it is absent; numbers and booleans may be either.
func text(properties map[string]any, key string) string {
	if value := properties[key]; value != nil {
		return fmt.Sprint(value)
	}
	return ""
}

// optional is a property as text, nil when it is absent.
func optional(properties map[string]any, key string) *string {
	if properties[key] == nil {
		return nil
	}
	value := text(properties, key)
	return &value
}

// number is a whole number, nil when it is absent.
func number(properties map[string]any, key string) (*int32, error) {
	if properties[key] == nil {
		return nil, nil //nolint:nilnil // absent and no error
	}
	value, err := strconv.ParseFloat(text(properties, key), 64)
	if err != nil || value != float64(int32(value)) {
		return nil, fmt.Errorf("property %s: %q is not a whole number", key, text(properties, key))
	}
	whole := int32(value)
	return &whole, nil
}

func texts(properties map[string]any, key string) []string {
	list, _ := properties[key].([]any)
	var out []string
	for _, value := range list {
		out = append(out, fmt.Sprint(value))
	}
	return out
}

func member(properties map[string]any, key string) map[string]any {
	value, _ := properties[key].(map[string]any)
	return value
}

// tags are those of the resource, which win, and those of its stack.
func tags(r *resource.Resource) map[string]string {
	all := maps.Clone(r.Tags)
	if all == nil {
		all = map[string]string{}
	}
	list, _ := r.Properties["Tags"].([]any)
	for _, entry := range list {
		if pair, ok := entry.(map[string]any); ok {
			all[text(pair, "Key")] = text(pair, "Value")
		}
	}
	all["aws:cloudformation:stack-name"] = r.Stack
	all["aws:cloudformation:stack-id"] = r.StackID
	all["aws:cloudformation:logical-id"] = r.LogicalID
	return all
}
