package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOutputFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := openOutput(path)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err = o.write(func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("write = %v, want the error of the writer", err)
	}
	expectFile(t, path, "old")
	if err := o.write(func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	expectFile(t, path, "new")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v (%v), want the file only", entries, err)
	}
}

func TestOutputThroughALinkKeepsTheLink(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	o, err := openOutput(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.write(func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Fatal(err)
	}
	expectFile(t, file, "x")
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
}

func TestOutputThroughALinkToNothingMakesTheFile(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	o, err := openOutput(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.write(func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Fatal(err)
	}
	expectFile(t, file, "x")
	if err := errors.Join(os.Remove(file), os.Remove(link), os.Symlink("link", link)); err != nil {
		t.Fatal(err)
	}
	if _, err := openOutput(link); err == nil {
		t.Error("a link to itself is accepted")
	}
}

func TestOutputKeepsTheModeOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := openOutput(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.write(func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600 as before", info.Mode(), err)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "no", "such"), filepath.Join(os.DevNull, "x")} {
		if _, err := openOutput(path); err == nil {
			t.Errorf("openOutput(%s) succeeded", path)
		}
	}
}

func expectFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

// failingWriter fails with an error each time.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestAReaderThatWentAwayIsNoError(t *testing.T) {
	r := &resultWriter{w: failingWriter{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}}}
	for range 2 {
		if n, err := r.Write([]byte("abc")); n != 3 || err != nil {
			t.Errorf("Write = %d, %v; want 3, nil", n, err)
		}
	}
	if r.Err() != nil {
		t.Errorf("Err() = %v, want nil", r.Err())
	}
}

func TestAFullDiskBehindStdoutIsAnError(t *testing.T) {
	r := &resultWriter{w: failingWriter{syscall.ENOSPC}}
	if _, err := r.Write([]byte("abc")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %v, want ENOSPC", err)
	}
	if !errors.Is(r.Err(), syscall.ENOSPC) {
		t.Errorf("Err() = %v, want ENOSPC", r.Err())
	}
}
