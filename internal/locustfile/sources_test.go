package locustfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/locustfile"
)

// TestSourcesAreEnoughToLoadTheFileElsewhere writes the sources of a file into another directory.
func TestSourcesAreEnoughToLoadTheFileElsewhere(t *testing.T) {
	here := t.TempDir()
	write := func(dir, path, text string) {
		t.Helper()
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(here, "files/a.star", "load('../common/task.star', 'task_of')\nA = user_class(task_of)\n")
	write(here, "b.star", "load('common/task.star', 'task_of')\nB = user_class(task_of)\n")
	write(here, "common/task.star", "load('deep/more.star', 'more')\ndef task_of(user):\n    more()\n")
	write(here, "common/deep/more.star", "def more():\n    pass\n")
	write(here, "deep/more.star", "def more():\n    pass\n")
	first, err := locustfile.Load(locustfile.Options{Dir: here, Files: []string{"files/a.star,b.star"}})
	if err != nil {
		t.Fatal(err)
	}
	there, mains := t.TempDir(), []string{}
	for i, s := range first.Sources() {
		write(there, s.Path, s.Text)
		if s.Main {
			mains = append(mains, s.Path)
			if i >= 2 {
				t.Errorf("%s is a locustfile and stands behind a module", s.Path)
			}
		}
	}
	if len(mains) != 2 || mains[0] != "files/a.star" || mains[1] != "b.star" {
		t.Fatalf("the locustfiles are %v", mains)
	}
	second, err := locustfile.Load(locustfile.Options{Dir: there, Files: mains})
	if err != nil {
		t.Fatal(err)
	}
	if first.SHA256() != second.SHA256() || len(second.Classes()) != 2 {
		t.Errorf("the copy is another file: %s and %s, %d classes", first.SHA256(), second.SHA256(), len(second.Classes()))
	}
}
