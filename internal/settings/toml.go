package settings

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// TOML reads a configuration file of this program. Keys are options; those at the top are for every
// command that has them, those in a table for the command of its name only ([load.benchmark]), and
// win there. command has the words of the command that is run, without the program's name.
func TOML(name string, data []byte, command []string) (Source, error) {
	var document map[string]any
	if _, err := toml.Decode(string(data), &document); err != nil {
		return Source{}, tomlError(name, err)
	}
	e := entries{name: name, values: map[string][]string{}}
	var options []Option
	var walk func(table map[string]any, words []string) error
	walk = func(table map[string]any, words []string) error {
		for key, value := range table {
			if inner, ok := value.(map[string]any); ok {
				if err := walk(inner, append(slices.Clip(words), key)); err != nil {
					return err
				}
				continue
			}
			texts, ok := tomlTexts(value)
			if !ok {
				return &Error{File: name, Text: strings.Join(append(words, key), ".") + " is no text, number, boolean or list of them"}
			}
			options = append(options, Option{Name: normal(key), Command: words, Origin: name})
			if len(words) == 0 {
				if _, set := e.values[normal(key)]; !set {
					e.values[normal(key)] = texts
				}
			} else if slices.Equal(words, command) {
				e.values[normal(key)] = texts
			}
		}
		return nil
	}
	if err := walk(document, nil); err != nil {
		return Source{}, err
	}
	path := func(o Option) string { return strings.Join(append(o.Command, o.Name), " ") }
	sort.Slice(options, func(i, j int) bool { return path(options[i]) < path(options[j]) })
	s := e.source()
	s.options, s.Strict = options, true
	return s, nil
}

// tomlTexts returns a value as the command line would have it.
func tomlTexts(value any) (texts []string, ok bool) {
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case bool:
		return []string{strconv.FormatBool(v)}, true
	case int64:
		return []string{strconv.FormatInt(v, 10)}, true
	case float64:
		return []string{strconv.FormatFloat(v, 'g', -1, 64)}, true
	case []any:
		texts = []string{}
		for _, element := range v {
			text, ok := tomlTexts(element)
			if !ok || len(text) != 1 {
				return nil, false
			}
			texts = append(texts, text[0])
		}
		return texts, true
	case fmt.Stringer: // dates and times
		return []string{v.String()}, true
	}
	return nil, false
}
