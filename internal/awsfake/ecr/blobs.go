package ecr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layersDir is where the layers and configurations of a repository are.
func layersDir(dir, repository string) string {
	return filepath.Join(dir, strings.ReplaceAll(repository, "/", "+"))
}

// newBlobs returns the part of the registry's protocol that moves layers.
func newBlobs(dir string) http.Handler {
	return registry.New(registry.WithBlobHandler(store{dir}), registry.Logger(log.New(io.Discard, "", 0)))
}

// store keeps blobs as files, those of each repository in a directory of its own, named by their
// digest. It trusts what it wrote: Put has checked the digest.
type store struct{ dir string }

func (s store) path(repository string, digest v1.Hash) string {
	// While an upload ends, the registry calls its repository so.
	repository = strings.TrimSuffix(repository, "/blobs")
	return filepath.Join(layersDir(s.dir, repository), digest.Algorithm+"-"+digest.Hex)
}

func (s store) Stat(_ context.Context, repository string, digest v1.Hash) (int64, error) {
	info, err := os.Stat(s.path(repository, digest))
	if err != nil {
		return 0, found(err)
	}
	return info.Size(), nil
}

func (s store) Get(_ context.Context, repository string, digest v1.Hash) (io.ReadCloser, error) {
	f, err := os.Open(s.path(repository, digest))
	if err != nil {
		return nil, found(err)
	}
	return f, nil
}

// found turns the absence of a file into the registry's own error.
func found(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return registry.ErrNotFound
	}
	return err
}

// Put writes to a file beside the blob, so that a blob is there whole or not at all.
func (s store) Put(_ context.Context, repository string, digest v1.Hash, blob io.ReadCloser) (err error) {
	path := s.path(repository, digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "upload-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, blob)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	return os.Rename(f.Name(), path)
}
