package ecr

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Image returns an image by its reference (host/repository:tag or host/repository@digest), of several
// the one for an architecture as Go names it. Its layers are read from the storage as they are asked
// for. The error is in the words that a container engine has for it.
func (s *Service) Image(reference, architecture string) (v1.Image, error) {
	host, name, _ := strings.Cut(reference, "/")
	if hostName(host) != hostName(s.config.Host) {
		return nil, fmt.Errorf("failed to resolve ref %s: only the registry %s is there", reference, s.config.Host)
	}
	name, wanted, byDigest := strings.Cut(name, "@")
	if !byDigest {
		name, wanted, _ = strings.Cut(name, ":")
		wanted = cmp.Or(wanted, "latest")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repositories[name]
	if r == nil {
		return nil, fmt.Errorf("failed to resolve ref %s: %s: not found", reference, reference)
	}
	img := r.find(wanted)
	if img == nil {
		return nil, fmt.Errorf("failed to resolve ref %s: %s: not found", reference, reference)
	}
	if types.MediaType(img.MediaType).IsIndex() {
		var err error
		if img, err = r.member(img, architecture); err != nil {
			return nil, err
		}
	}
	return partial.CompressedToImage(stored{img, store{s.config.Dir}, name})
}

// hostName is a host without its port: a reference that was saved may have the port of an earlier run.
func hostName(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// member returns the image of an index that is for Linux on an architecture.
func (r *repository) member(index *image, architecture string) (*image, error) {
	manifest, err := v1.ParseIndexManifest(bytes.NewReader(index.Manifest))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", index.Digest, err)
	}
	for _, m := range manifest.Manifests {
		if p := m.Platform; p != nil && p.OS == "linux" && p.Architecture == architecture {
			if img := r.Images[m.Digest.String()]; img != nil {
				return img, nil
			}
		}
	}
	return nil, fmt.Errorf("image Manifest does not contain descriptor matching platform 'linux/%s'", architecture)
}

// stored is an image in the storage, the core from which a v1.Image is made.
type stored struct {
	image      *image
	store      store
	repository string
}

func (i stored) RawManifest() ([]byte, error) { return i.image.Manifest, nil }

func (i stored) MediaType() (types.MediaType, error) { return types.MediaType(i.image.MediaType), nil }

func (i stored) RawConfigFile() ([]byte, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(i.image.Manifest))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", i.image.Digest, err)
	}
	f, err := i.store.Get(context.Background(), i.repository, manifest.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", manifest.Config.Digest, err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxManifest))
}

func (i stored) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(i.image.Manifest))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", i.image.Digest, err)
	}
	for _, layer := range append(manifest.Layers, manifest.Config) {
		if layer.Digest == digest {
			return blob{layer, i}, nil
		}
	}
	return nil, fmt.Errorf("layer %s is not one of %s", digest, i.image.Digest)
}

// blob is a layer in the storage.
type blob struct {
	v1.Descriptor
	of stored
}

func (b blob) Digest() (v1.Hash, error) { return b.Descriptor.Digest, nil }

func (b blob) Size() (int64, error) { return b.Descriptor.Size, nil }

func (b blob) MediaType() (types.MediaType, error) { return b.Descriptor.MediaType, nil }

func (b blob) Compressed() (io.ReadCloser, error) {
	return b.of.store.Get(context.Background(), b.of.repository, b.Descriptor.Digest)
}
