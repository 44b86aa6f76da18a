package main

import (
	"bytes"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the pages whose shell blocks (marked sh) must work as written, from a clone of the
// repository.
func documents(t *testing.T) []string {
	t.Helper()
	var pages []string
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../examples/locust/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) == 0 {
		t.Fatal("no pages found")
	}
	return pages
}

// seedOptions are those of the seed document's commands and tables.
var seedOptions = map[string][]string{
	"deploy": {"--name", "--region", "--vpc-id", "--subnet-ids", "-C", "--max-workers"},
	"connect": {
		"--name", "--region", "--standalone", "--force", "--destroy", "--cpu", "--memory", "--pool-connections", "-f",
		"--max-workers", "--min-workers", "--users-per-worker", "--startup-lead-time",
	},
	"benchmark": {"--name", "--region", "--mode", "--users", "--duration", "--spawn-rate", "-f", "--cpu", "--memory", "--port", "--workers"},
}

func TestEveryOptionOfTheSeedDocumentIsExplainedAndThere(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## From the seed document to here\n")
	if !found {
		t.Fatal("docs/aws.md has no such section")
	}
	for command, options := range seedOptions {
		help, err := exec.CommandContext(t.Context(), "zae-limiter", "load", command, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, option := range options {
			if !strings.Contains(table, "`load "+command+" "+option+"`") {
				t.Errorf("load %s %s has no row", command, option)
			}
			if !regexp.MustCompile(`(?m)^ +(-\w, )?` + option + `[, ]`).Match(help) {
				t.Errorf("load %s has no %s:\n%s", command, option, help)
			}
		}
	}
}

// Each section of a page is tried in a clone of its own, its blocks one after the other.
func TestShellLinesOfTheDocumentsRun(t *testing.T) {
	t.Parallel()
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(page)) + "/" + filepath.Base(page)
		for title, section := range sections(string(text)) {
			blocks := shellBlocks(section)
			if len(blocks) == 0 {
				continue
			}
			t.Run(name+"/"+title, func(t *testing.T) {
				t.Parallel()
				dir := checkout(t)
				for _, block := range blocks {
					runShell(t, dir, block)
				}
			})
		}
	}
}

// sections yields the parts of a page between its headings of the second level.
func sections(text string) iter.Seq2[string, string] {
	return func(yield func(title, section string) bool) {
		for section := range strings.SplitSeq(text, "\n## ") {
			title, _, _ := strings.Cut(section, "\n")
			if !yield(strings.Trim(title, "# "), section) {
				return
			}
		}
	}
}

// checkout is a folder that looks like a clone and may be written to.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(examples)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// timeLimit is a threshold on a time in milliseconds.
var timeLimit = regexp.MustCompile(`_ms<\d+`)

// runShell runs the commands of a block one after the other, each of which must succeed.
func runShell(t *testing.T, dir, block string) {
	t.Helper()
	path := os.Getenv("PATH")
	if strings.Contains(block, "local aws") { // what is deployed there is the program itself, not this test
		program, err := shipped()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Dir(program) + string(filepath.ListSeparator) + path
	}
	// The program under test stands for the one that would be compiled.
	block = strings.ReplaceAll(block, "go run ./cmd/zae-limiter", "zae-limiter")
	// Times of the documents are those of a machine that has nothing else to do.
	block = timeLimit.ReplaceAllString(block, "${0}000")
	for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", " ")) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if err := unlessBusy(err, out.String()); err != nil {
			t.Errorf("%v in\n%s\n%s", err, line, out.String())
		}
	}
}

// shellBlocks returns the fenced blocks of a page that are marked sh.
func shellBlocks(text string) []string {
	var blocks []string
	var block strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch fence := strings.TrimSpace(line); {
		case !inside && fence == "```sh":
			inside = true
		case inside && fence == "```":
			blocks = append(blocks, block.String())
			block.Reset()
			inside = false
		case inside:
			block.WriteString(line)
		}
	}
	return blocks
}
