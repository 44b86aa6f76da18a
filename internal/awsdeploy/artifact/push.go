package artifact

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ECRAPI is the part of ECR's client that is used.
type ECRAPI interface {
	DescribeRepositories(context.Context, *ecr.DescribeRepositoriesInput, ...func(*ecr.Options)) (*ecr.DescribeRepositoriesOutput, error)
	GetAuthorizationToken(context.Context, *ecr.GetAuthorizationTokenInput, ...func(*ecr.Options)) (*ecr.GetAuthorizationTokenOutput, error)
}

// ErrNoRepository says that the image repository does not exist.
var ErrNoRepository = errors.New("image repository not found")

// Pushed is what a push of an image did.
type Pushed struct {
	// Reference is the repository with the digest.
	Reference string
	// Layers of the image, and how many of them had to be sent; both 0 when the image was there.
	Layers, Sent int
}

// PushImage puts an image into a repository, by its name, under a tag. An image whose digest is there under
// that tag is not even made, and layers that the repository has are not sent. Where the registry is, only
// the service can tell in every partition.
func PushImage(ctx context.Context, api ECRAPI, repositoryName, tag, digest string, image func() (v1.Image, error)) (*Pushed, error) {
	repository, options, err := open(ctx, api, repositoryName)
	if err != nil {
		return nil, err
	}
	target, err := name.NewTag(repository+":"+tag, name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("image repository: %w", err)
	}
	counter := &uploads{next: remote.DefaultTransport}
	options = append(options, remote.WithTransport(counter))
	pushed := &Pushed{Reference: repository + "@" + digest}
	if there, err := remote.Head(target, options...); err == nil && there.Digest.String() == digest {
		return pushed, nil
	}
	made, err := image()
	if err != nil {
		return nil, err
	}
	layers, err := made.Layers()
	if err != nil {
		return nil, fmt.Errorf("image layers: %w", err)
	}
	if err := remote.Write(target, made, options...); err != nil {
		return nil, fmt.Errorf("push image to %s: %w", target, err)
	}
	pushed.Layers = len(layers)
	pushed.Sent = max(0, int(counter.begun.Load())-1) // the configuration is a blob, too
	return pushed, nil
}

// open finds a repository and the way into it.
func open(ctx context.Context, api ECRAPI, repositoryName string) (uri string, options []remote.Option, err error) {
	found, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repositoryName}})
	if _, missing := errors.AsType[*types.RepositoryNotFoundException](err); missing || err == nil && len(found.Repositories) == 0 {
		return "", nil, fmt.Errorf("%w: %s", ErrNoRepository, repositoryName)
	}
	if err != nil {
		return "", nil, fmt.Errorf("image repository %s: %w", repositoryName, err)
	}
	auth, err := login(ctx, api)
	if err != nil {
		return "", nil, err
	}
	return aws.ToString(found.Repositories[0].RepositoryUri), []remote.Option{remote.WithContext(ctx), remote.WithAuth(auth)}, nil
}

// InUse is the tag of the image that tasks run. The repository's lifecycle rules spare what has it, also
// when ten newer builds were pushed.
const InUse = "in-use"

// TagAPI is the part of ECR's client by which the tag of the image in use moves.
type TagAPI interface {
	ECRAPI
	BatchDeleteImage(context.Context, *ecr.BatchDeleteImageInput, ...func(*ecr.Options)) (*ecr.BatchDeleteImageOutput, error)
}

// MarkInUse gives the image with a digest the tag InUse. It is taken from the image that has it, because
// tags of the repository cannot be written over.
func MarkInUse(ctx context.Context, api TagAPI, repositoryName, digest string) error {
	repository, options, err := open(ctx, api, repositoryName)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(repository+":"+InUse, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("image repository: %w", err)
	}
	if has, err := remote.Head(tag, options...); err == nil {
		if has.Digest.String() == digest {
			return nil
		}
		_, err := api.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: &repositoryName, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String(InUse)}}})
		if err != nil {
			return fmt.Errorf("tag %s of image repository %s: %w", InUse, repositoryName, err)
		}
	}
	image, err := remote.Get(tag.Context().Digest(digest), options...)
	if err != nil {
		return fmt.Errorf("image in use: %w", err)
	}
	if err := remote.Tag(tag, image, options...); err != nil {
		return fmt.Errorf("tag %s of image repository %s: %w", InUse, repositoryName, err)
	}
	return nil
}

// login turns ECR's token into the registry's user and password.
func login(ctx context.Context, api ECRAPI) (authn.Authenticator, error) {
	out, err := api.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, fmt.Errorf("token of the image registry: %w", err)
	}
	if len(out.AuthorizationData) == 0 {
		return nil, errors.New("token of the image registry: the answer has none")
	}
	token, err := base64.StdEncoding.DecodeString(aws.ToString(out.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return nil, fmt.Errorf("token of the image registry: %w", err)
	}
	user, password, _ := strings.Cut(string(token), ":")
	return &authn.Basic{Username: user, Password: password}, nil
}

// uploads counts the blobs that are sent.
type uploads struct {
	next  http.RoundTripper
	begun atomic.Int32
}

func (u *uploads) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/blobs/uploads/") {
		u.begun.Add(1)
	}
	return u.next.RoundTrip(r)
}
