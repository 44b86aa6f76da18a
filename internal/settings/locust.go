package settings

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// locustVariables are Locust's environment variables by our option (locust.md 6.5).
var locustVariables = map[string]string{
	"locustfile":              "LOCUST_LOCUSTFILE",
	"user-classes":            "LOCUST_USER_CLASSES",
	"host":                    "LOCUST_HOST",
	"users":                   "LOCUST_USERS",
	"spawn-rate":              "LOCUST_SPAWN_RATE",
	"run-time":                "LOCUST_RUN_TIME",
	"stop-timeout":            "LOCUST_STOP_TIMEOUT",
	"tags":                    "LOCUST_TAGS",
	"exclude-tags":            "LOCUST_EXCLUDE_TAGS",
	"print-stats":             "LOCUST_PRINT_STATS",
	"only-summary":            "LOCUST_ONLY_SUMMARY",
	"skip-log-setup":          "LOCUST_SKIP_LOG_SETUP",
	"csv":                     "LOCUST_CSV",
	"csv-full-history":        "LOCUST_CSV_FULL_HISTORY",
	"html":                    "LOCUST_HTML",
	"reset-stats":             "LOCUST_RESET_STATS",
	"autostart":               "LOCUST_AUTOSTART",
	"autoquit":                "LOCUST_AUTOQUIT",
	"headless":                "LOCUST_HEADLESS",
	"class-picker":            "LOCUST_USERCLASS_PICKER",
	"expect-workers":          "LOCUST_EXPECT_WORKERS",
	"expect-workers-max-wait": "LOCUST_EXPECT_WORKERS_MAX_WAIT",
	"web-host":                "LOCUST_WEB_HOST",
	"web-port":                "LOCUST_WEB_PORT",
	"web-base-path":           "LOCUST_WEB_BASE_PATH",
	"web-login":               "LOCUST_WEB_LOGIN",
	"master-bind-host":        "LOCUST_MASTER_BIND_HOST",
	"master-bind-port":        "LOCUST_MASTER_BIND_PORT",
	"master-host":             "LOCUST_MASTER_NODE_HOST",
	"master-port":             "LOCUST_MASTER_NODE_PORT",
	"processes":               "LOCUST_PROCESSES",
	"loglevel":                "LOCUST_LOGLEVEL",
}

// LocustVariable returns Locust's environment variable of an option, "" when there is none.
func LocustVariable(option string) string { return locustVariables[option] }

// LocustConf reads a file of Locust's own format (locust.conf): lines "key = value", "key: value" or
// "key", which is true; a value in brackets is a list.
func LocustConf(name string, data []byte) (Source, error) {
	e := entries{name: name, values: map[string][]string{}}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.ContainsRune("#;[", rune(line[0])) || strings.HasPrefix(line, "---") {
			continue
		}
		key, value := splitConf(line)
		if key == "" {
			return Source{}, &Error{name, number, "a line without a key: " + line}
		}
		e.values[normal(key)] = confTexts(value)
	}
	if err := lines.Err(); err != nil {
		return Source{}, &Error{File: name, Text: err.Error()}
	}
	return e.source(), nil
}

// splitConf splits a line at the first separator: an equals sign, a colon or a blank.
func splitConf(line string) (key, value string) {
	i := strings.IndexAny(line, "=: \t")
	if i < 0 {
		return line, "true"
	}
	value = strings.TrimSpace(line[i:])
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimSpace(value[1:])
	}
	if at := strings.Index(value, " #"); at >= 0 {
		value = strings.TrimSpace(value[:at])
	}
	return line[:i], value
}

func confTexts(value string) []string {
	inner, ok := strings.CutPrefix(value, "[")
	if !ok || !strings.HasSuffix(inner, "]") {
		return []string{strings.Trim(value, `"'`)}
	}
	var texts []string
	for _, part := range strings.Split(strings.TrimSuffix(inner, "]"), ",") {
		if part = strings.Trim(strings.TrimSpace(part), `"'`); part != "" {
			texts = append(texts, part)
		}
	}
	return texts
}

// PyProject reads the table tool.locust of a pyproject.toml.
func PyProject(name string, data []byte) (Source, error) {
	var document struct {
		Tool struct{ Locust map[string]any }
	}
	if _, err := toml.Decode(string(data), &document); err != nil {
		return Source{}, tomlError(name, err)
	}
	e := entries{name: name, values: map[string][]string{}}
	for key, value := range document.Tool.Locust {
		texts, ok := tomlTexts(value)
		if !ok {
			return Source{}, &Error{File: name, Text: "tool.locust." + key + " is no text, number, boolean or list of them"}
		}
		e.values[normal(key)] = texts
	}
	return e.source(), nil
}

func tomlError(name string, err error) error {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return &Error{name, parse.Position.Line, parse.Message}
	}
	return &Error{File: name, Text: err.Error()}
}

// LocustVariables returns the variables of the given options, of all when it is nil, sorted.
func LocustVariables(options []string) []string {
	var names []string
	for option, name := range locustVariables {
		if options == nil || slices.Contains(options, option) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
