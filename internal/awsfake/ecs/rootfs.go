package ecs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// imageCache holds unpacked images by their digest. It is safe for concurrent use.
type imageCache struct {
	dir string
	mu  sync.Mutex // one image is unpacked at a time
}

// unpacked returns the directory with the files of an image, which nobody may change.
func (c *imageCache) unpacked(img v1.Image) (string, error) {
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := filepath.Join(c.dir, "image-"+digest.Hex)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	temporary, err := os.MkdirTemp(c.dir, "unpack-*")
	if err != nil {
		return "", err
	}
	if err := Unpack(img, temporary); err != nil {
		return "", errors.Join(err, os.RemoveAll(temporary))
	}
	return dir, os.Rename(temporary, dir)
}

// Unpack writes the files of an image, all layers in their order, to a directory. An entry that lies
// outside of it is an error.
func Unpack(img v1.Image, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	files := mutate.Extract(img)
	defer func() { err = errors.Join(err, files.Close()) }()
	for archive := tar.NewReader(files); ; {
		header, err := archive.Next()
		ended := errors.Is(err, io.EOF)
		if ended {
			// The archive ends also where a layer has an error, which comes after it.
			_, err = io.Copy(io.Discard, files)
		} else if err == nil {
			err = unpackEntry(root, header, archive)
		}
		if err != nil {
			return fmt.Errorf("image layer: %w", err)
		}
		if ended {
			return nil
		}
	}
}

// unpackEntry writes one file. The root refuses every way out of it, links included.
func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := filepath.FromSlash(strings.TrimPrefix(path.Clean(header.Name), "/"))
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q lies outside of the image", header.Name)
	}
	mode := header.FileInfo().Mode().Perm()
	if header.Typeflag == tar.TypeDir {
		return root.MkdirAll(name, mode|0o700)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode|0o400)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		return root.Symlink(relativeLink(header.Name, header.Linkname), name)
	case tar.TypeLink:
		return root.Link(filepath.FromSlash(strings.TrimPrefix(path.Clean(header.Linkname), "/")), name)
	}
	return nil // devices and pipes are of no use to a process of this machine
}

// relativeLink makes the target of an absolute link one that stays inside of the image.
func relativeLink(name, target string) string {
	if !strings.HasPrefix(target, "/") {
		return filepath.FromSlash(target)
	}
	up := strings.Repeat("../", strings.Count(strings.Trim(path.Clean("/"+name), "/"), "/"))
	return filepath.FromSlash(up + strings.TrimPrefix(path.Clean(target), "/"))
}

// copyFiles makes a writable copy of an unpacked image. Programs are linked, not copied: nobody writes
// to a program.
func copyFiles(from, to string) error {
	return filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case info.Mode()&0o111 != 0 && os.Link(file, target) == nil:
			return nil
		}
		return copyFile(file, target, info.Mode().Perm())
	})
}

func copyFile(from, to string, mode fs.FileMode) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode|0o200)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// rootfs is where the absolute paths of a container are on this machine: its processes are not
// confined to their files, so that paths are translated before they see them.
type rootfs struct {
	dir    string
	mounts []mount
}

// mount is a volume at a path of the container.
type mount struct{ path, dir string }

// inside returns where a path of the container is.
func (r rootfs) inside(name string) string {
	name = path.Clean("/" + name)
	best := mount{"/", r.dir}
	for _, m := range r.mounts {
		if under(name, m.path) && len(m.path) > len(best.path) {
			best = m
		}
	}
	return filepath.Join(best.dir, filepath.FromSlash(strings.TrimPrefix(name, best.path)))
}

func under(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// translate returns a text as it is, unless it is a path below a volume or below something that the
// image has at its top.
func (r rootfs) translate(text string) string {
	if !strings.HasPrefix(text, "/") || path.Clean(text) == "/" {
		return text
	}
	for _, m := range r.mounts {
		if under(path.Clean(text), m.path) {
			return r.inside(text)
		}
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(text), "/"), "/")
	if _, err := os.Lstat(filepath.Join(r.dir, top)); err != nil {
		return text
	}
	return r.inside(text)
}

// translateArgument is translate for an argument, which may be a flag with its value.
func (r rootfs) translateArgument(text string) string {
	if name, value, ok := strings.Cut(text, "="); ok && strings.HasPrefix(name, "-") {
		return name + "=" + r.translate(value)
	}
	return r.translate(text)
}
