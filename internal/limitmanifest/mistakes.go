package limitmanifest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// What the decoder says of a key that means nothing, and of a value of another kind.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type `)
	otherKind  = regexp.MustCompile("(?s)^line (\\d+): cannot unmarshal !!(\\w+)(?: `(.*)`)? into (.+)$")
)

// kind is a value that the file wants: in words, and under which keys.
type kind struct {
	words string
	keys  []string
}

// kinds are known by the types that the decoder names. What is not here is a mapping.
var kinds = map[string]kind{
	"bool":                  {"true or false", []string{"soft", "cascade"}},
	"string":                {"a text", []string{"namespace", "on_unavailable", "cron", "tz"}},
	"float64":               {"a number", []string{"scale"}},
	"limitmanifest.whole":   {"a whole number", []string{"capacity", "burst", "refill_amount", "refill_period", "refill_period_seconds", "reset_after_seconds"}},
	"[]limitmanifest.entry": {"a list of entries", []string{"schedule", "reset_schedule"}},
}

// kindOf is the one of a type.
func kindOf(name string) (words string, under func(key string) bool) {
	if k, ok := kinds[name]; ok {
		return k.words, func(key string) bool { return slices.Contains(k.keys, key) }
	}
	return "a mapping", func(key string) bool {
		for _, k := range kinds {
			if slices.Contains(k.keys, key) {
				return false
			}
		}
		return true
	}
}

// mistakes says what a decoder found in the words of the file: where it is, what stands there, and what is wanted.
// Errors that are no TypeError are about the form of the text, with its line.
func mistakes(text []byte, err error) error {
	found, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return err
	}
	var errs []error
	for _, message := range found.Errors {
		errs = append(errs, mistake(&root, message))
	}
	return errors.Join(errs...)
}

func mistake(root *yaml.Node, message string) error {
	if m := unknownKey.FindStringSubmatch(message); m != nil {
		where, _ := find(root, nil, func(n *yaml.Node, _ string, key bool) bool { return key && at(n, m[1]) && n.Value == m[2] })
		return fmt.Errorf("line %s: %s: is no key that a manifest has here", m[1], or(where, m[2]))
	}
	m := otherKind.FindStringSubmatch(message)
	if m == nil {
		return errors.New(message)
	}
	// The decoder cuts long values off.
	value, _ := strings.CutSuffix(m[3], "...")
	wanted, under := kindOf(m[4])
	where, n := find(root, nil, func(n *yaml.Node, last string, key bool) bool {
		return !key && under(last) && at(n, m[1]) && n.ShortTag() == "!!"+m[2] && strings.HasPrefix(n.Value, value)
	})
	is := map[string]string{"seq": "a list", "map": "a mapping", "null": "nothing"}[m[2]]
	if is == "" {
		is = strconv.Quote(m[3])
		if n != nil {
			is = strconv.Quote(n.Value)
		}
	}
	return fmt.Errorf("line %s: %s: %s: want %s", m[1], or(where, "the manifest"), is, wanted)
}

func at(n *yaml.Node, line string) bool { return strconv.Itoa(n.Line) == line }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// find returns the first node that fits, with the keys that lead to it; last is the last of them. Keys of mappings are
// nodes, too.
func find(n *yaml.Node, path []string, fits func(n *yaml.Node, last string, key bool) bool) (where string, found *yaml.Node) {
	last := ""
	if len(path) > 0 {
		last = path[len(path)-1]
	}
	if n.Kind != yaml.DocumentNode && fits(n, last, false) {
		return strings.Join(path, "."), n
	}
	for i, child := range n.Content {
		below := path
		switch {
		case n.Kind == yaml.MappingNode && i%2 == 0:
			if fits(child, last, true) {
				return strings.Join(append(slices.Clone(path), child.Value), "."), child
			}
			continue
		case n.Kind == yaml.MappingNode:
			below = append(slices.Clone(path), n.Content[i-1].Value)
		case n.Kind == yaml.SequenceNode && len(path) > 0:
			below = slices.Clone(path)
			below[len(below)-1] += "[" + strconv.Itoa(i) + "]"
		}
		if where, found := find(child, below, fits); found != nil {
			return where, found
		}
	}
	return "", nil
}
