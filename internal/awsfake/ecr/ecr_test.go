package ecr_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/zeroae/zae-limiter-go/internal/account"
	fake "github.com/zeroae/zae-limiter-go/internal/awsfake/ecr"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// clock is moved by the test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { return c.move(0) }

func (c *clock) move(by time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
	return c.at
}

// caller is the only identity of an account, which may not do what is denied.
type caller struct{ denied atomic.Pointer[[]string] }

func (c *caller) deny(actions ...string) { c.denied.Store(&actions) }

func (c *caller) Find(string, string) (*protocol.Identity, error) {
	return &protocol.Identity{Principal: "arn:aws:iam::123456789012:user/tester", Account: protocoltest.Account, Guard: c}, nil
}

func (c *caller) Allow(action, resource string, _ map[string]string) error {
	if denied := c.denied.Load(); denied != nil && slices.Contains(*denied, action) {
		return protocol.Errorf("AccessDeniedException", "User: tester is not authorized to perform: %s on resource: %s", action, resource)
	}
	return nil
}

// registry is the service behind the same address as its API.
type registry struct {
	*ecr.Client
	service *fake.Service
	host    string
	clock   *clock
	caller  *caller
}

func newRegistry(t *testing.T) *registry {
	r := &registry{clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, caller: &caller{}}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	r.service = fake.New(fake.Config{Account: protocoltest.Account, Region: protocoltest.Region, Host: r.host, Dir: t.TempDir(), Now: r.clock.now})
	mux.Handle("/v2/", r.service)
	mux.Handle("/", &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: []protocol.Service{r.service.API()}, Keys: r.caller})
	r.Client = ecr.NewFromConfig(aws.Config{
		Region: protocoltest.Region, BaseEndpoint: &server.URL, HTTPClient: account.WholeBodies(server.Client()),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
	return r
}

// token asks for an authorization, as clients of the registry show it.
func (r *registry) token(t *testing.T) remote.Option {
	t.Helper()
	out, err := r.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	data := out.AuthorizationData[0]
	if *data.ProxyEndpoint != "http://"+r.host || !data.ExpiresAt.Equal(r.clock.now().Add(12*time.Hour)) {
		t.Errorf("endpoint %s until %s", *data.ProxyEndpoint, data.ExpiresAt)
	}
	text, err := base64.StdEncoding.DecodeString(*data.AuthorizationToken)
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(string(text), ":")
	return remote.WithAuth(&authn.Basic{Username: user, Password: password})
}

func (r *registry) reference(t *testing.T, text string) name.Reference {
	t.Helper()
	reference, err := name.ParseReference(r.host + "/" + text)
	if err != nil {
		t.Fatal(err)
	}
	return reference
}

func (r *registry) create(t *testing.T, properties map[string]any) *resource.Physical {
	t.Helper()
	made, err := r.service.Providers()["AWS::ECR::Repository"].Create(t.Context(), repository(properties))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func repository(properties map[string]any) *resource.Resource {
	return &resource.Resource{Type: "AWS::ECR::Repository", Stack: "Limiter", LogicalID: "Repository", Properties: properties, Tags: map[string]string{"ManagedBy": "test"}}
}

func randomImage(t *testing.T, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(512, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestImageIsPushedAndPulled(t *testing.T) {
	r := newRegistry(t)
	made := r.create(t, map[string]any{"RepositoryName": "limiter-load-locust"})
	if made.Attributes["RepositoryUri"] != r.host+"/limiter-load-locust" {
		t.Errorf("made %+v", made)
	}
	img := randomImage(t, 2)
	token := r.token(t)
	if err := remote.Write(r.reference(t, "limiter-load-locust:b-1"), img, token); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(r.reference(t, "limiter-load-locust@"+digest(t, img)), token)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(pulled); err != nil {
		t.Error(err)
	}
	stored, err := r.service.Image(made.Attributes["RepositoryUri"]+":b-1", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(stored); err != nil || digest(t, stored) != digest(t, img) {
		t.Errorf("image in the storage: %v, digest %s", err, digest(t, stored))
	}
	if _, err := r.service.Image(made.Attributes["RepositoryUri"]+":b-2", "amd64"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("image that is not there: %v", err)
	}

	described, err := r.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: &made.ID, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("b-1")}}})
	if err != nil || *described.ImageDetails[0].ImageDigest != digest(t, img) || *described.ImageDetails[0].ImageSizeInBytes < 1024 {
		t.Errorf("described %v, %v", described, err)
	}
	got, err := r.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: &made.ID, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("b-1")}, {ImageTag: aws.String("b-9")}}})
	if err != nil || len(got.Images) != 1 || len(got.Failures) != 1 || got.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Errorf("got %v, %v", got, err)
	}
	deleted, err := r.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &made.ID, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("b-1")}}})
	if err != nil || len(deleted.ImageIds) != 1 {
		t.Errorf("deleted %v, %v", deleted, err)
	}
	listed, err := r.ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: &made.ID})
	if err != nil || len(listed.ImageIds) != 0 {
		t.Errorf("left %v, %v", listed, err)
	}
}

func TestIndexHasAnImageForEachArchitecture(t *testing.T) {
	r := newRegistry(t)
	r.create(t, map[string]any{"RepositoryName": "multi"})
	images := map[string]v1.Image{"amd64": randomImage(t, 1), "arm64": randomImage(t, 1)}
	var index v1.ImageIndex = empty.Index
	for architecture, img := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	if err := remote.WriteIndex(r.reference(t, "multi:latest"), index, r.token(t)); err != nil {
		t.Fatal(err)
	}
	for architecture, want := range images {
		got, err := r.service.Image(r.host+"/multi", architecture)
		if err != nil || digest(t, got) != digest(t, want) {
			t.Errorf("image for %s: %v, %v", architecture, got, err)
		}
	}
	if _, err := r.service.Image(r.host+"/multi", "riscv64"); err == nil || !strings.Contains(err.Error(), "linux/riscv64") {
		t.Errorf("image for riscv64: %v", err)
	}
}

func TestRegistryRefuses(t *testing.T) {
	r := newRegistry(t)
	r.create(t, map[string]any{"RepositoryName": "fixed", "ImageTagMutability": "IMMUTABLE"})
	token := r.token(t)
	if err := remote.Write(r.reference(t, "fixed:one"), randomImage(t, 1), token); err != nil {
		t.Fatal(err)
	}
	status := func(err error) int {
		if refused, ok := errors.AsType[*transport.Error](err); ok {
			return refused.StatusCode
		}
		return 0
	}
	push := func(reference string, options ...remote.Option) error {
		return remote.Write(r.reference(t, reference), randomImage(t, 1), options...)
	}
	if err := push("fixed:one", token); status(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "is immutable") {
		t.Errorf("another image for an immutable tag: %v", err)
	}
	if err := push("absent:one", token); status(err) != http.StatusNotFound || !strings.Contains(err.Error(), "does not exist in the registry") {
		t.Errorf("repository that does not exist: %v", err)
	}
	if err := push("fixed:two"); status(err) != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
	if err := push("fixed:two", remote.WithAuth(&authn.Basic{Username: "AWS", Password: "x"})); status(err) != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %v", err)
	}
	for _, action := range []string{"ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage"} {
		r.caller.deny(action)
		if err := push("fixed:three", token); status(err) != http.StatusForbidden {
			t.Errorf("push without %s: %v", action, err)
		}
	}
	r.caller.deny()
	r.clock.move(13 * time.Hour)
	if err := push("fixed:two", token); status(err) != http.StatusForbidden {
		t.Errorf("with an old token: %v", err)
	}
}

func TestRepositories(t *testing.T) {
	r := newRegistry(t)
	_, err := r.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("Upper")})
	wantCode(t, err, "InvalidParameterException")
	if made := r.create(t, nil); made.ID != strings.ToLower(made.ID) || !strings.HasPrefix(made.ID, "limiter-repository-") {
		t.Errorf("generated name %s", made.ID)
	}
	policy := `{"rules":[{"rulePriority":1}]}`
	properties := map[string]any{"RepositoryName": "app", "LifecyclePolicy": map[string]any{"LifecyclePolicyText": policy}}
	made := r.create(t, properties)
	_, err = r.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("app")})
	wantCode(t, err, "RepositoryAlreadyExistsException")
	got, err := r.GetLifecyclePolicy(t.Context(), &ecr.GetLifecyclePolicyInput{RepositoryName: aws.String("app")})
	if err != nil || *got.LifecyclePolicyText != policy {
		t.Errorf("policy %v, %v", got, err)
	}
	_, err = r.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"none"}})
	wantCode(t, err, "RepositoryNotFoundException")
	if tags := r.service.Tagged()[made.Attributes["Arn"]]; tags["ManagedBy"] != "test" {
		t.Errorf("tags %v", tags)
	}
	img := randomImage(t, 1)
	if err := remote.Write(r.reference(t, "app:one"), img, r.token(t)); err != nil {
		t.Fatal(err)
	}

	state, err := json.Marshal(r.service)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(state, r.service); err != nil {
		t.Fatal(err)
	}
	if kept, err := r.service.Image(r.host+"/app:one", "amd64"); err != nil || validate.Image(kept) != nil {
		t.Errorf("image of the saved state: %v", err)
	}

	provider := r.service.Providers()["AWS::ECR::Repository"]
	if err := provider.Delete(t.Context(), made, repository(properties)); err == nil || !strings.Contains(err.Error(), "still contains images") {
		t.Errorf("repository with images: %v", err)
	}
	properties["EmptyOnDelete"] = "true"
	if err := provider.Delete(t.Context(), made, repository(properties)); err != nil {
		t.Error(err)
	}
	if err := provider.Delete(t.Context(), made, repository(properties)); err != nil {
		t.Errorf("repository that is gone: %v", err)
	}
}

// An image that an earlier rule is about is spared by the later ones, which count it.
func TestImagesExpireByTheLifecyclePolicy(t *testing.T) {
	r := newRegistry(t)
	token := r.token(t)
	r.create(t, map[string]any{"RepositoryName": "app", "LifecyclePolicy": map[string]any{"LifecyclePolicyText": `{"rules": [
		{"rulePriority": 20, "selection": {"tagStatus": "tagged", "tagPrefixList": ["b-"], "countType": "imageCountMoreThan", "countNumber": 2}, "action": {"type": "expire"}},
		{"rulePriority": 10, "selection": {"tagStatus": "tagged", "tagPrefixList": ["in-use"], "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}},
		{"rulePriority": 30, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1}, "action": {"type": "expire"}}]}`}})
	push := func(tags ...string) {
		t.Helper()
		img := randomImage(t, 1)
		for _, tag := range tags {
			if err := remote.Write(r.reference(t, "app:"+tag), img, token); err != nil {
				t.Fatal(err)
			}
		}
		r.clock.move(time.Hour)
	}
	tags := func() string {
		t.Helper()
		out, err := r.ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: aws.String("app")})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, id := range out.ImageIds {
			all = append(all, aws.ToString(id.ImageTag))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	push("b-1", "in-use")
	push("b-2")
	push("other")
	push("b-3")
	if got := tags(); got != "b-1 b-2 b-3 in-use other" {
		t.Errorf("two builds and the one in use: %s", got)
	}
	push("b-4")
	if got := tags(); got != "b-1 b-3 b-4 in-use other" {
		t.Errorf("after another build: %s", got)
	}
	push("other") // takes the tag away from an image, which has none then
	if got := tags(); got != " b-1 b-3 b-4 in-use other" {
		t.Errorf("with an image without a tag: %q", got)
	}
	r.clock.move(72 * time.Hour)
	token = r.token(t)
	push("b-5")
	if got := tags(); got != "b-1 b-4 b-5 in-use other" {
		t.Errorf("days later: %q", got)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if refused, ok := errors.AsType[smithy.APIError](err); !ok || refused.ErrorCode() != code {
		t.Errorf("error %v, want %s", err, code)
	}
}
