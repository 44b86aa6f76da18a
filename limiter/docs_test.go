package limiter_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every block of docs/limiter.md, but for its shell lines, which are run elsewhere, stands in an example that is
// compiled or run.
func TestTheGuideQuotesExamples(t *testing.T) {
	page, err := os.ReadFile("../docs/limiter.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]string
	for _, pattern := range []string{"guide_test.go", "example_test.go", "*/guide_test.go", "*/example_test.go", "../contrib/*/example_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			examples = append(examples, codeLines(string(text)))
		}
	}
	quoted := 0
	for i, part := range strings.Split(string(page), "```") {
		language, block, _ := strings.Cut(part, "\n")
		if i%2 == 0 || language == "sh" {
			continue
		}
		quoted++
		if !slices.ContainsFunc(examples, func(lines []string) bool { return containsRun(lines, codeLines(block)) }) {
			t.Errorf("no example has\n%s", block)
		}
	}
	if quoted < 15 {
		t.Errorf("%d blocks found", quoted)
	}
}

// codeLines are the lines of a text without what surrounds them: an output that an example checks is a comment there.
func codeLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(line, "// ")
		// gofmt aligns comments by the lines around them.
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return lines
}

func containsRun(lines, run []string) bool {
	for i := range len(lines) - len(run) + 1 {
		if slices.Equal(lines[i:i+len(run)], run) {
			return true
		}
	}
	return false
}
