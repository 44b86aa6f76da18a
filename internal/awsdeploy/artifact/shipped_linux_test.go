//go:build amd64 || arm64

package artifact

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What is shipped runs, without what only tools read.
func TestABinaryIsShippedWithoutWhatIsNotLoaded(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	b, err := readBinary(self, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	shipped := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(shipped, b.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), shipped, "-test.list", "^TestFindBinary$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "TestFindBinary") {
		t.Errorf("it does not run: %v\n%s", err, out)
	}
	if len(b.Data) >= len(whole) {
		t.Errorf("%d of %d bytes are shipped", len(b.Data), len(whole))
	}
}
