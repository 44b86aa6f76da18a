package webui

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestPagesAreCompleteAndSelfContained(t *testing.T) {
	pages := Pages()
	index, err := fs.ReadFile(pages, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`nonce="{{.Nonce}}"`, "window.templateArgs = {{.Args}}", `<div id="root">`} {
		if !strings.Contains(string(index), want) {
			t.Errorf("index.html lacks %s", want)
		}
	}
	references := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(index), -1)
	if len(references) < 3 {
		t.Errorf("index.html refers to %v, want icons and a script", references)
	}
	for _, reference := range references {
		name, relative := strings.CutPrefix(reference[1], "./")
		if _, err := fs.Stat(pages, name); !relative || err != nil {
			t.Errorf("%s is no relative name of a file that is there: %v", reference[1], err)
		}
	}
}

// Names that may be cached for ever carry a hash; no file is so large that it would slow the page.
func TestAssetsAreHashedAndSmall(t *testing.T) {
	hashed := regexp.MustCompile(`^[a-z-]+-[A-Za-z0-9_-]{8}\.[a-z]+$`)
	entries, err := fs.ReadDir(Pages(), "assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if !hashed.MatchString(entry.Name()) || info.Size() > 2<<20 {
			t.Errorf("%s has %d bytes, or a name without a hash", entry.Name(), info.Size())
		}
	}
}

func TestNoticesOfWhatIsInside(t *testing.T) {
	names, err := fs.Glob(Pages(), "assets/licences-*.txt")
	if err != nil || len(names) != 1 {
		t.Fatalf("licences: %v, %v", names, err)
	}
	text, err := fs.ReadFile(Pages(), names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"locust-ui 2.43.4", "Andrew Baldwin, Lars Holmberg", "react ", "@mui/material ", "echarts ", "Apache License", "zrender ", "reduxjs-toolkit "} {
		if !strings.Contains(string(text), name) {
			t.Errorf("%s lacks %q", path.Base(names[0]), name)
		}
	}
}
