//go:build unix

package tunnel

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func TestASignalFromOutsideFreesThePort(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			w := newWorld(t)
			file := filepath.Join(t.TempDir(), "pid")
			w.config.Environ = append(w.config.Environ, pidVariable+"="+file)
			tunnel := w.open()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if group, err := syscall.Getpgid(pid); err != nil || group != pid {
				t.Errorf("client %d is in group %d, want its own: %v", pid, group, err)
			}
			if err := syscall.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
			if err := tunnel.Err(); !errors.Is(err, ErrEndedFromOutside) {
				t.Errorf("got %v, want %v", err, ErrEndedFromOutside)
			}
			portIsFree(t, tunnel.Port())
			if active := w.active(); len(active) != 0 {
				t.Errorf("sessions are left: %v", active)
			}
		})
	}
}
