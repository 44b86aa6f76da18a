package locustfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The files testdata/*.star are split at lines of three dashes. Each part is a locustfile of its
// own, which is loaded and checked: every task runs once against an in-memory limiter. A comment
// `### pattern` at the end of a line expects an error on that line whose text matches; all other
// lines must be free of errors. The comment `#:: TYPE name; …` at the end of a part expects exactly
// these calls, in this order.

type chunk struct {
	line   int // of its first line in the file
	source string
}

func splitChunks(text string) []chunk {
	chunks := []chunk{{line: 1}}
	for i, line := range strings.SplitAfter(text, "\n") {
		if strings.TrimRight(line, "\n") == "---" {
			chunks = append(chunks, chunk{line: i + 2})
			continue
		}
		chunks[len(chunks)-1].source += line
	}
	return chunks
}

var (
	expectedError = regexp.MustCompile(`### (.*)$`)
	expectedCalls = regexp.MustCompile(`(?m)^#:: ?(.*)$`)
)

// asserts is loaded by the scripts as "assert.star".
const asserts = `
def eq(got, want):
    if type(got) != type(want) or got != want:
        fail("got %r, want %r" % (got, want))

def true(condition, what=""):
    if not condition:
        fail("not so: " + what)

def fails(fn, text):
    result = attempt(fn)
    if result.ok or text not in result.error:
        fail("want an error with %r, got %r" % (text, result))
`

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.star")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range splitChunks(string(text)) {
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(file), c.line), func(t *testing.T) { runChunk(t, c) })
		}
	}
}

func runChunk(t *testing.T, c chunk) {
	dir := t.TempDir()
	write(t, dir, "chunk.star", c.source)
	write(t, dir, "assert.star", asserts)
	var printed bytes.Buffer
	errs, calls := loadAndCheck(t, Options{Dir: dir, Files: []string{"chunk.star"}, Stderr: &printed})

	expected := map[int]*regexp.Regexp{}
	for i, line := range strings.Split(c.source, "\n") {
		if m := expectedError.FindStringSubmatch(line); m != nil {
			expected[i+1] = regexp.MustCompile(m[1])
		}
	}
	for _, err := range errs {
		var located *Error
		if !errors.As(err, &located) {
			t.Errorf("an error without a position: %v", err)
			continue
		}
		pattern := expected[located.Line]
		switch {
		case located.File != "chunk.star" && located.Line > 0, pattern == nil:
			t.Errorf("unexpected error, line %d of the script: %v\n%s", c.line+located.Line-1, located, located.Stack)
		case !pattern.MatchString(located.Error()):
			t.Errorf("line %d of the script: got error %q, want %q", c.line+located.Line-1, located.Error(), pattern)
		default:
			delete(expected, located.Line)
		}
	}
	for line, pattern := range expected {
		t.Errorf("line %d of the script: got no error, want %q", c.line+line-1, pattern)
	}
	if m := expectedCalls.FindStringSubmatch(c.source); m != nil {
		if got := strings.Join(calls, "; "); got != strings.TrimSpace(m[1]) {
			t.Errorf("calls: got %q, want %q", got, strings.TrimSpace(m[1]))
		}
	}
}

// loadAndCheck returns the errors and the recorded calls of a file. A failed call of a task is found
// in the calls, not among the errors.
func loadAndCheck(t *testing.T, options Options) (errs []error, calls []string) {
	t.Helper()
	f, err := Load(options)
	if err != nil {
		return []error{err}, nil
	}
	checked, err := f.Check(t.Context(), CheckOptions{Seed: 1, Host: "http://host", Options: map[string]string{"given": "7"}})
	if err != nil {
		return []error{err}, nil
	}
	for _, task := range checked.Tasks {
		for _, call := range task.Calls {
			calls = append(calls, strings.TrimSpace(call.Type+" "+call.Name+" "+call.Error))
		}
		if task.Error != "" && !failedCall(task) {
			errs = append(errs, locate(task))
		}
	}
	return errs, calls
}

// failedCall reports whether a task ended with a call that failed: its error has that call's text.
func failedCall(task CheckedTask) bool {
	for _, call := range task.Calls {
		if call.Error != "" && strings.HasSuffix(task.Error, call.Error) {
			return true
		}
	}
	return false
}

var position = regexp.MustCompile(`^([^:]+):(\d+):(\d+): (.*)`)

// locate reads the position at the front of a checked task's error.
func locate(task CheckedTask) error {
	m := position.FindStringSubmatch(task.Error)
	if m == nil {
		return errors.New(task.Error)
	}
	e := &Error{File: m[1], Msg: m[4], Stack: task.Stack}
	fmt.Sscan(m[2], &e.Line)
	fmt.Sscan(m[3], &e.Col)
	return e
}

func write(t testing.TB, dir, name, source string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// loadSource loads one file with that content.
func loadSource(t testing.TB, source string) (*File, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "chunk.star", source)
	write(t, dir, "assert.star", asserts)
	return Load(Options{Dir: dir, Files: []string{"chunk.star"}})
}

func mustLoad(t testing.TB, source string) *File {
	t.Helper()
	f, err := loadSource(t, source)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAnEndlessLoopAtTopLevelEnds(t *testing.T) {
	_, err := loadSource(t, "while True:\n    pass\n")
	if err == nil || !strings.Contains(err.Error(), "endless loop") {
		t.Errorf("an endless loop at top level: got %v", err)
	}
}
