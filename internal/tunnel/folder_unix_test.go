//go:build unix

package tunnel

import (
	"strings"
	"testing"
)

func TestSocketsHaveAShortPath(t *testing.T) {
	short := "/var/tmp"
	if got := socketFolder(short); got != short {
		t.Errorf("folder below %s is %s", short, got)
	}
	if got := socketFolder("/var/folders/" + strings.Repeat("x", 40) + "/T"); got != "/tmp" {
		t.Errorf("folder below a long one is %s", got)
	}
}
