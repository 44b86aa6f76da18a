// Package settings finds the values of options that a command line does not give: in environment
// variables and in configuration files, those of Locust included.
//
// A Source is one such place. Sources have an order; the first one that has an option wins, and a
// command line stands before all of them.
package settings

import (
	"fmt"
	"strings"
)

// Value is the value of an option.
type Value struct {
	// Texts has one element, or those of a list.
	Texts []string
	// Origin says where it stands, such as "ZAE_LIMITER_USERS" or "zae-limiter.toml".
	Origin string
	// Setting is the value's name there, such as "ZAE_LIMITER_USERS" or "zae-limiter.toml: users".
	Setting string
}

// Source is one place with values of options. Options are named as on the command line, without
// dashes in front.
type Source struct {
	lookup func(option string) (Value, bool)
	// options are those that the source has, nil when it cannot say.
	options []Option
	// Strict sources hold nothing but options of this program: others are mistakes.
	Strict bool
}

// Option is an option as a source names it.
type Option struct {
	Name string
	// Command has the words of the command that it is for; empty = all commands.
	Command []string
	Origin  string
}

// Lookup returns the value of an option.
func (s *Source) Lookup(option string) (Value, bool) { return s.lookup(option) }

// Options returns the options that the source has, as far as it can say.
func (s *Source) Options() []Option { return s.options }

// variablePrefix begins the environment variable of every option.
const variablePrefix = "ZAE_LIMITER_"

// Variable returns the environment variable of an option: spawn-rate is ZAE_LIMITER_SPAWN_RATE.
func Variable(option string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// Environment is the variables of this program.
func Environment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string { return Variable(option) })
}

// LocustEnvironment is Locust's variables.
func LocustEnvironment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string { return locustVariables[option] })
}

func variables(getenv func(string) string, name func(option string) string) Source {
	return Source{lookup: func(option string) (Value, bool) {
		variable := name(option)
		if variable == "" {
			return Value{}, false
		}
		text := getenv(variable)
		return Value{Texts: []string{text}, Origin: variable, Setting: variable}, text != ""
	}}
}

// Given is options whose values are known, such as those of another command line. They come from
// what origin names.
func Given(origin string, values map[string][]string) Source {
	return Source{lookup: func(option string) (Value, bool) {
		texts, ok := values[option]
		return Value{Texts: texts, Origin: origin, Setting: origin + ": --" + option}, ok
	}}
}

// entries is a source whose values are all known.
type entries struct {
	name   string
	values map[string][]string
}

func (e *entries) source() Source {
	return Source{lookup: func(option string) (Value, bool) {
		texts, ok := e.values[option]
		return Value{Texts: texts, Origin: e.name, Setting: e.name + ": " + option}, ok
	}}
}

// normal is the name of an option that a file may write with underscores or leading dashes.
func normal(key string) string {
	return strings.ReplaceAll(strings.TrimLeft(key, "-"), "_", "-")
}

// Error is a mistake in a configuration file.
type Error struct {
	File string
	Line int // 0 when unknown
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}
