package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// resultWriter is stdout. A reader that went away (`| head`) is no error of the command: what it
// does not want to read is thrown away. Any other failure is kept and fails the command.
type resultWriter struct {
	w    io.Writer
	used bool
	gone bool
	err  error
}

func (r *resultWriter) Write(p []byte) (int, error) {
	r.used = true
	if r.gone {
		return len(p), nil
	}
	n, err := r.w.Write(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		r.gone = true
		return len(p), nil
	}
	if r.err == nil {
		r.err = fmt.Errorf("write to stdout: %w", err)
	}
	return n, r.err
}

// Err is the first failure that was not a reader going away.
func (r *resultWriter) Err() error { return r.err }

// outputFile is a file that a command writes when it is done. It is checked when the command starts,
// because a run whose result cannot be kept should not be started.
type outputFile struct {
	path   string // what the user gave
	target string // path behind symbolic links
	direct bool   // a device, a pipe: written in place instead of replaced
	mode   fs.FileMode
}

// openOutput checks that path can be written.
func openOutput(path string) (*outputFile, error) {
	o := &outputFile{path: path, mode: 0o644}
	var err error
	if o.target, err = followLinks(path); err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o, o.checkFolder()
	case err != nil:
		return nil, fmt.Errorf("output file: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("output file %s: is a directory", path)
	case !info.Mode().IsRegular() || strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/"):
		o.direct = true
		return o, nil
	}
	o.mode = info.Mode().Perm()
	f, err := os.OpenFile(o.target, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	return o, o.checkFolder()
}

// openOutputIn is openOutput for a file whose missing folders are made, as Locust does for reports.
func openOutputIn(path string) (*outputFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("output file %s: %w", path, err)
	}
	return openOutput(path)
}

// followLinks returns the path behind symbolic links, also when there is no file at its end yet.
func followLinks(path string) (string, error) {
	const most = 40
	for range most {
		next, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}

// checkFolder finds out whether a file can be made beside the target.
func (o *outputFile) checkFolder() error {
	f, err := o.temporary()
	if err != nil {
		return fmt.Errorf("output file %s: %w", o.path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (o *outputFile) temporary() (*os.File, error) {
	return os.CreateTemp(filepath.Dir(o.target), "."+filepath.Base(o.target)+".*")
}

// write puts what fill writes into the file: whole or not at all for a regular file.
func (o *outputFile) write(fill func(io.Writer) error) error {
	var err error
	if o.direct {
		err = o.writeDirectly(fill)
	} else {
		err = o.replace(fill)
	}
	if err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		err = failed.Err // its path is this one, or the temporary one beside it
	}
	return fmt.Errorf("write %s: %w", o.path, err)
}

func (o *outputFile) writeDirectly(fill func(io.Writer) error) error {
	f, err := os.OpenFile(o.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

func (o *outputFile) replace(fill func(io.Writer) error) error {
	f, err := o.temporary()
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Chmod(o.mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), o.target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
