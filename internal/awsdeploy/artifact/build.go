package artifact

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// format is part of the build id: raise it when image or package are made differently from the same input.
const format = "2"

// BuildLabel is the image's label with the build id, BuildVariable the variable in image and function.
const (
	BuildLabel    = "zae-limiter.build-id"
	BuildVariable = "ZAEL_BUILD_ID"
)

// Paths in the image.
const (
	entryPoint = "/zae-limiter"
	workingDir = "/mnt"
	// linkDir is where a volume is mounted; the image's directory gives the volume its owner.
	linkDir = "/run/zae-limiter"
	userID  = 65532
)

// masterArguments are Locust's arguments of the master when a run does not replace them (load-cli.md 13).
const masterArguments = "--master --master-bind-port=5557 --enable-rebalancing --class-picker"

// maxPackage is what can be sent directly as a function's package, in bytes (aws.md 5.4).
const maxPackage = 50 << 20

// packageLevel is how hard a package is compressed. A function starts from it each time, and it is made once: the
// levels above take longer for a few thousandths, those below are a hundredth larger.
const packageLevel = 7

// Build is what is shipped. Its methods may be called at the same time.
type Build struct {
	// ID names the content: b- and 12 hexadecimal digits.
	ID     string
	Arch   string
	binary []byte
	files  []File
}

// NewBuild joins a binary for an architecture and files.
func NewBuild(b *Binary, arch string, files *Files) (*Build, error) {
	if files.Has("bootstrap") {
		return nil, fmt.Errorf("%s/bootstrap: a function's package has this program under that name; rename the file", files.Dir)
	}
	sum := sha256.New()
	part := func(data []byte) {
		_ = binary.Write(sum, binary.BigEndian, int64(len(data))) // a hash takes everything
		sum.Write(data)
	}
	part([]byte(format))
	part([]byte(arch))
	part(b.Data)
	for _, f := range files.List {
		part([]byte(f.Name))
		part(f.Data)
	}
	return &Build{ID: "b-" + hex.EncodeToString(sum.Sum(nil))[:12], Arch: arch, binary: b.Data, files: files.List}, nil
}

// Package is the function's zip: bootstrap and the files.
func (b *Build) Package() ([]byte, error) {
	var buffer bytes.Buffer
	w := zip.NewWriter(&buffer)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, packageLevel) })
	add := func(name string, mode fs.FileMode, data []byte) error {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(mode)
		entry, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = entry.Write(data)
		return err
	}
	err := add("bootstrap", 0o755, b.binary)
	for _, f := range b.files {
		if err == nil {
			err = add(f.Name, 0o644, f.Data)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("function package: %w", err)
	}
	if buffer.Len() > maxPackage {
		return nil, fmt.Errorf("function package has %.1f MB, at most %d can be sent; ship fewer files, or a stripped binary (make build)", float64(buffer.Len())/(1<<20), maxPackage>>20)
	}
	return buffer.Bytes(), nil
}

// Image is the task's image. Its layers are ordered by how seldom they change: the binary, what every
// program needs from a system, the files.
func (b *Build) Image() (v1.Image, error) {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: b.Arch,
		Config: v1.Config{
			Entrypoint: []string{entryPoint},
			WorkingDir: workingDir,
			User:       fmt.Sprintf("%d:%d", userID, userID),
			Env:        []string{"HOME=/tmp", "LOCUST_MASTER_ARGS=" + masterArguments, BuildVariable + "=" + b.ID},
			Labels:     map[string]string{BuildLabel: b.ID},
			Volumes:    map[string]struct{}{linkDir: {}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	for _, contents := range []func(*tarball){b.program, system, b.scenario} {
		l, err := newLayer(contents)
		if err != nil {
			return nil, fmt.Errorf("image layer: %w", err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
	}
	return image, nil
}

func (b *Build) program(t *tarball) { t.file(entryPoint, 0o755, b.binary) }

func (b *Build) scenario(t *tarball) {
	t.dir(workingDir, 0o755, 0)
	made := []string{"."}
	for _, f := range b.files {
		for _, parent := range parents(f.Name) {
			if !slices.Contains(made, parent) {
				made = append(made, parent)
				t.dir(path.Join(workingDir, parent), 0o755, 0)
			}
		}
		t.file(path.Join(workingDir, f.Name), 0o644, f.Data)
	}
}

// parents are the folders of a file, the outermost first.
func parents(name string) []string {
	var list []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		list = append(list, dir)
	}
	slices.Reverse(list)
	return list
}

func system(t *tarball) {
	t.dir("/etc", 0o755, 0)
	t.dir("/etc/ssl", 0o755, 0)
	t.dir("/etc/ssl/certs", 0o755, 0)
	t.file("/etc/ssl/certs/ca-certificates.crt", 0o644, certificates())
	t.file("/etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/none\nzae-limiter:x:%d:%d:zae-limiter:/tmp:/none\n", userID, userID))
	t.file("/etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nzae-limiter:x:%d:\n", userID))
	t.dir("/run", 0o755, 0)
	t.dir(linkDir, 0o700, userID)
	t.dir("/tmp", 0o1777, 0)
}

// certificates are the roots that browsers trust without conditions.
func certificates() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer takes everything
		}
	}
	return text.Bytes()
}

// tarball writes a layer's archive; the first error stays.
type tarball struct {
	w   *tar.Writer
	err error
}

func (t *tarball) file(name string, mode int64, data []byte) {
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: mode, Size: int64(len(data))}, data)
}

func (t *tarball) dir(name string, mode int64, owner int) {
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (t *tarball) add(h *tar.Header, data []byte) {
	if t.err != nil {
		return
	}
	h.ModTime = time.Unix(0, 0)
	if t.err = t.w.WriteHeader(h); t.err == nil {
		_, t.err = t.w.Write(data)
	}
}

// layer is a compressed archive in memory. It implements v1.Layer.
type layer struct {
	compressed     []byte
	digest, diffID v1.Hash
}

func newLayer(contents func(*tarball)) (*layer, error) {
	var compressed bytes.Buffer
	plain := sha256.New()
	zipped := gzip.NewWriter(&compressed)
	t := &tarball{w: tar.NewWriter(io.MultiWriter(zipped, plain))}
	contents(t)
	if t.err == nil {
		t.err = t.w.Close()
	}
	if t.err == nil {
		t.err = zipped.Close()
	}
	if t.err != nil {
		return nil, t.err
	}
	sum := sha256.Sum256(compressed.Bytes())
	return &layer{
		compressed: compressed.Bytes(),
		digest:     v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
		diffID:     v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(plain.Sum(nil))},
	}, nil
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return int64(len(l.compressed)), nil }
func (l *layer) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.compressed)), nil
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return gzip.NewReader(bytes.NewReader(l.compressed))
}
