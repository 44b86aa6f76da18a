package artifact

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// folder makes a folder of files; a name that ends in a slash makes a folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func collect(t *testing.T, files map[string]string) *Files {
	t.Helper()
	found, err := Collect(folder(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCollectLeavesOutWhatIsNotTheUsers(t *testing.T) {
	files := collect(t, map[string]string{
		"locustfiles/max_rps.star": "a", "common/__init__.py": "b", "requirements.txt": "c",
		".git/config": "x", ".env": "x", "venv/pyvenv.cfg": "x", "venv/lib/big.py": "x", "common/__pycache__/a.pyc": "x",
	})
	var names []string
	for _, f := range files.List {
		names = append(names, f.Name)
	}
	if want := []string{"common/__init__.py", "locustfiles/max_rps.star", "requirements.txt"}; !slices.Equal(names, want) {
		t.Errorf("files: got %v, want %v", names, want)
	}
	if want := []string{".env", ".git/", "common/__pycache__/", "venv/"}; !slices.Equal(files.Skipped, want) {
		t.Errorf("skipped: got %v, want %v", files.Skipped, want)
	}
}

func TestCollectRefusesWhatCannotBeMeant(t *testing.T) {
	dir := folder(t, map[string]string{"data.bin": strings.Repeat("x", maxFilesBytes+1), "a.star": ""})
	_, err := Collect(dir)
	if err == nil || !strings.Contains(err.Error(), "data.bin") || !strings.Contains(err.Error(), "-C") {
		t.Errorf("got %v, want an error that names the file and -C", err)
	}
}

func TestCollectStaysInTheFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := folder(t, map[string]string{"a.star": ""})
	if err := os.Symlink(secret, filepath.Join(dir, "link.star")); err != nil {
		t.Fatal(err)
	}
	files, err := Collect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if files.Has("link.star") || !slices.Contains(files.Skipped, "link.star") {
		t.Errorf("a link out of the folder is shipped: %v", files.List)
	}
}

func TestInsideFindsTheTwin(t *testing.T) {
	files := collect(t, map[string]string{"locustfiles/simple.star": "", "locustfiles/simple.py": ""})
	for _, given := range []string{"locustfiles/simple.py", "locustfiles/simple.star", filepath.Join(files.Dir, "locustfiles/simple.py")} {
		if name, err := files.Inside(given); err != nil || name != "locustfiles/simple.star" {
			t.Errorf("Inside(%q) = %q, %v", given, name, err)
		}
	}
	if _, err := files.Inside("other.py"); !errors.Is(err, ErrOutside) || !strings.Contains(err.Error(), filepath.Join(files.Dir, "other.star")) {
		t.Errorf("got %v, want the paths tried", err)
	}
}

func build(t *testing.T, arch string, files map[string]string) *Build {
	t.Helper()
	b, err := NewBuild(&Binary{Data: []byte("the program"), Static: true}, arch, collect(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildsAreReproducible(t *testing.T) {
	scenario := map[string]string{"locustfiles/a.star": "a", "common/b.star": "b"}
	one, two := build(t, "amd64", scenario), build(t, "amd64", scenario)
	if one.ID != two.ID {
		t.Errorf("ids of equal builds: %s, %s", one.ID, two.ID)
	}
	digest := func(b *Build) string {
		image, err := b.Image()
		if err != nil {
			t.Fatal(err)
		}
		hash, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return hash.String()
	}
	if digest(one) != digest(two) {
		t.Error("images of equal builds differ")
	}
	for name, other := range map[string]*Build{
		"architecture": build(t, "arm64", scenario),
		"content":      build(t, "amd64", map[string]string{"locustfiles/a.star": "A", "common/b.star": "b"}),
		"name":         build(t, "amd64", map[string]string{"locustfiles/c.star": "a", "common/b.star": "b"}),
	} {
		if other.ID == one.ID || digest(other) == digest(one) {
			t.Errorf("builds of another %s are equal", name)
		}
	}
}

func TestPackage(t *testing.T) {
	b := build(t, "amd64", map[string]string{"locustfiles/a.star": "a"})
	first, err := b.Package()
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Package()
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two packages differ (%v)", err)
	}
	archive, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range archive.File {
		got = append(got, f.Name+" "+f.Mode().String())
	}
	if want := []string{"bootstrap -rwxr-xr-x", "locustfiles/a.star -rw-r--r--"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, err = NewBuild(&Binary{}, "amd64", collect(t, map[string]string{"bootstrap": ""}))
	if err == nil || !strings.Contains(err.Error(), "rename the file") {
		t.Errorf("a file named bootstrap: %v", err)
	}
}

func TestImageHasWhatAProgramNeeds(t *testing.T) {
	image, err := build(t, "arm64", map[string]string{"locustfiles/deep/a.star": "a"}).Image()
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Config.User != "65532:65532" || config.Config.WorkingDir != "/mnt" ||
		!slices.Equal(config.Config.Entrypoint, []string{"/zae-limiter"}) || config.Config.Labels[BuildLabel] == "" {
		t.Errorf("configuration: %+v", config.Config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 3 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	found := map[string]*tar.Header{}
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found[h.Name] = h
		}
	}
	for name, mode := range map[string]int64{
		"zae-limiter": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644, "tmp/": 0o1777, "etc/passwd": 0o644,
		"mnt/": 0o755, "mnt/locustfiles/": 0o755, "mnt/locustfiles/deep/": 0o755, "mnt/locustfiles/deep/a.star": 0o644, "run/zae-limiter/": 0o700,
	} {
		if h := found[name]; h == nil || h.Mode != mode {
			t.Errorf("%s: got %+v, want mode %o", name, h, mode)
		}
	}
	if h := found["run/zae-limiter/"]; h != nil && h.Uid != userID {
		t.Errorf("the folder of the secret belongs to %d, want %d", h.Uid, userID)
	}
	if h := found["etc/ssl/certs/ca-certificates.crt"]; h != nil && h.Size < 100_000 {
		t.Errorf("%d bytes of certificates", h.Size)
	}
}

// token answers as ECR does, with the registry at an address.
type token string

func (r token) DescribeRepositories(_ context.Context, in *ecr.DescribeRepositoriesInput, _ ...func(*ecr.Options)) (*ecr.DescribeRepositoriesOutput, error) {
	if in.RepositoryNames[0] == "none" {
		return nil, &ecrtypes.RepositoryNotFoundException{}
	}
	return &ecr.DescribeRepositoriesOutput{Repositories: []ecrtypes.Repository{{RepositoryUri: aws.String(string(r) + "/" + in.RepositoryNames[0])}}}, nil
}

func (token) GetAuthorizationToken(context.Context, *ecr.GetAuthorizationTokenInput, ...func(*ecr.Options)) (*ecr.GetAuthorizationTokenOutput, error) {
	return &ecr.GetAuthorizationTokenOutput{AuthorizationData: []ecrtypes.AuthorizationData{
		{AuthorizationToken: aws.String(base64.StdEncoding.EncodeToString([]byte("AWS:password")))},
	}}, nil
}

func TestPushSendsOnlyWhatIsNew(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	api := token(strings.TrimPrefix(server.URL, "http://"))
	push := func(b *Build) *Pushed {
		t.Helper()
		image, err := b.Image()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := PushImage(t.Context(), api, "my-limiter-load-locust", b.ID, digest.String(), func() (v1.Image, error) { return image, nil })
		if err != nil {
			t.Fatal(err)
		}
		return pushed
	}
	first := push(build(t, "amd64", map[string]string{"a.star": "a"}))
	if first.Sent != 3 || first.Layers != 3 || !strings.Contains(first.Reference, "@sha256:") {
		t.Errorf("first push: %+v", first)
	}
	if again := push(build(t, "amd64", map[string]string{"a.star": "a"})); again.Sent != 0 || again.Reference != first.Reference {
		t.Errorf("second push of the same: %+v", again)
	}
	if changed := push(build(t, "amd64", map[string]string{"a.star": "b"})); changed.Sent != 1 || changed.Reference == first.Reference {
		t.Errorf("push of another file: %+v, want one layer", changed)
	}
	if _, err := PushImage(t.Context(), api, "none", "b-1", "", nil); !errors.Is(err, ErrNoRepository) {
		t.Errorf("without a repository: %v", err)
	}
}

// function is one function of Lambda that takes a look to accept an update.
type function struct {
	now     lambda.GetFunctionConfigurationOutput
	pending int
	calls   []string
	fail    string
}

func (f *function) GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error) {
	out := f.now
	if f.pending > 0 {
		f.pending--
		out.LastUpdateStatus = types.LastUpdateStatusInProgress
	}
	return &out, nil
}

func (f *function) UpdateFunctionCode(_ context.Context, in *lambda.UpdateFunctionCodeInput, _ ...func(*lambda.Options)) (*lambda.UpdateFunctionCodeOutput, error) {
	if f.pending > 0 {
		return nil, &types.ResourceConflictException{}
	}
	sum := sha256.Sum256(in.ZipFile)
	f.now.CodeSha256, f.now.Architectures, f.pending = aws.String(base64.StdEncoding.EncodeToString(sum[:])), in.Architectures, 2
	f.calls = append(f.calls, "code")
	if f.fail != "" {
		f.now.LastUpdateStatus, f.now.LastUpdateStatusReason = types.LastUpdateStatusFailed, aws.String(f.fail)
	}
	return &lambda.UpdateFunctionCodeOutput{}, nil
}

func (f *function) UpdateFunctionConfiguration(_ context.Context, in *lambda.UpdateFunctionConfigurationInput, _ ...func(*lambda.Options)) (*lambda.UpdateFunctionConfigurationOutput, error) {
	if f.pending > 0 {
		return nil, &types.ResourceConflictException{}
	}
	f.now.Runtime, f.pending = in.Runtime, 2
	f.calls = append(f.calls, "runtime")
	return &lambda.UpdateFunctionConfigurationOutput{}, nil
}

// updater is a Function for packages of a few letters.
type updater struct{ Function }

func (u *updater) update(t *testing.T, arch, code string) (bool, error) {
	return u.Update(t.Context(), arch, CodeSHA256([]byte(code)), func() ([]byte, error) { return []byte(code), nil })
}

func TestFunctionIsUpdatedWhenItDiffers(t *testing.T) {
	api := &function{pending: 1, now: lambda.GetFunctionConfigurationOutput{
		Runtime: types.RuntimePython313, Architectures: []types.Architecture{types.ArchitectureX8664}, State: types.StateActive,
		LastUpdateStatus: types.LastUpdateStatusSuccessful,
	}}
	f := updater{Function{API: api, Name: "my-limiter-load-worker", Poll: time.Microsecond}}
	for _, step := range []struct {
		arch, code string
		sent       bool
		calls      []string
	}{
		{"amd64", "one", true, []string{"code", "runtime"}},
		{"amd64", "one", false, nil},
		{"amd64", "two", true, []string{"code"}},
		{"arm64", "two", true, []string{"code"}},
	} {
		api.calls = nil
		sent, err := f.update(t, step.arch, step.code)
		if err != nil || sent != step.sent || !slices.Equal(api.calls, step.calls) {
			t.Errorf("%s %s: sent %v, calls %v, %v; want %v, %v", step.arch, step.code, sent, api.calls, err, step.sent, step.calls)
		}
	}
	api.now.Runtime, api.calls = types.RuntimePython313, nil // as an update of the stack leaves it
	if sent, err := f.update(t, "arm64", "two"); err != nil || sent || !slices.Equal(api.calls, []string{"runtime"}) {
		t.Errorf("after a stack update: sent %v, calls %v, %v", sent, api.calls, err)
	}
	api.fail = "no room"
	if _, err := f.update(t, "arm64", "three"); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("failed update: %v", err)
	}
}

func TestFindBinary(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && Architecture(runtime.GOARCH) {
		s := Source{Executable: own, OS: runtime.GOOS, Arch: runtime.GOARCH}
		if b, err := s.Find(runtime.GOARCH); err != nil || b.Path != own {
			t.Errorf("the running program: %v", err)
		}
		other := "arm64"
		if runtime.GOARCH == other {
			other = "amd64"
		}
		if _, err := (&Source{Given: own}).Find(other); err == nil || !strings.Contains(err.Error(), "not for "+other) {
			t.Errorf("a binary of another architecture: %v", err)
		}
	}
	elsewhere := &Source{Executable: filepath.Join(t.TempDir(), "zae-limiter"), OS: "darwin", Arch: "arm64"}
	if _, err := elsewhere.Find("arm64"); !errors.Is(err, ErrNoBinary) || !strings.Contains(err.Error(), "zae-limiter_linux_arm64") {
		t.Errorf("without a Linux build: %v", err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Source{Given: script}).Find("amd64"); err == nil || !strings.Contains(err.Error(), "no Linux program") {
		t.Errorf("a script: %v", err)
	}
}
