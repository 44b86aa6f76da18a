// Package ecr plays the Elastic Container Registry: repositories and their images for clients and
// stacks, and the registry itself, which images are pushed to and pulled from.
package ecr

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// tokenLife is how long an authorization token is good (aws.md 5.2).
const tokenLife = 12 * time.Hour

// Config says whose registry it is.
type Config struct {
	Account, Region string
	// Host is the host and port that image references begin with.
	Host string
	// Dir holds the layers; it must exist and is the service's own.
	Dir string
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Service is a registry. It is safe for concurrent use.
type Service struct {
	config Config
	blobs  http.Handler

	mu           sync.Mutex
	repositories map[string]*repository
	tokens       map[string]token // by password
}

// token is what a password allows: everything that its caller's policies allow.
type token struct {
	call    *protocol.Call
	expires time.Time
}

type repository struct {
	Name       string                   `json:"name"`
	Created    time.Time                `json:"created"`
	Mutability types.ImageTagMutability `json:"mutability"`
	ScanOnPush bool                     `json:"scan_on_push,omitempty"`
	Lifecycle  string                   `json:"lifecycle_policy,omitempty"`
	Tags       map[string]string        `json:"tags,omitempty"`
	Images     map[string]*image        `json:"images"` // by digest
}

type image struct {
	Digest    string    `json:"digest"`
	MediaType string    `json:"media_type"`
	Manifest  []byte    `json:"manifest"`
	Tags      []string  `json:"tags,omitempty"`
	Pushed    time.Time `json:"pushed"`
	Size      int64     `json:"size"`
}

// New returns a registry without repositories.
func New(config Config) *Service {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Service{config: config, repositories: map[string]*repository{}, tokens: map[string]token{}}
	s.blobs = newBlobs(config.Dir)
	return s
}

// API returns the operations for the front.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "ecr", Wire: protocol.JSON11, Operations: map[string]protocol.Operation{
		"BatchDeleteImage":      protocol.Op(s.batchDeleteImage),
		"BatchGetImage":         protocol.Op(s.batchGetImage),
		"CreateRepository":      protocol.Op(s.createRepository),
		"DeleteLifecyclePolicy": protocol.Op(s.deleteLifecyclePolicy),
		"DeleteRepository":      protocol.Op(s.deleteRepository),
		"DescribeImages":        protocol.Op(s.describeImages),
		"DescribeRepositories":  protocol.Op(s.describeRepositories),
		"GetAuthorizationToken": protocol.Op(s.getAuthorizationToken),
		"GetLifecyclePolicy":    protocol.Op(s.getLifecyclePolicy),
		"ListImages":            protocol.Op(s.listImages),
		"ListTagsForResource":   protocol.Op(s.listTagsForResource),
		"PutImageTagMutability": protocol.Op(s.putImageTagMutability),
		"PutLifecyclePolicy":    protocol.Op(s.putLifecyclePolicy),
	}}
}

// Tagged returns the tags of every repository that has some, by ARN.
func (s *Service) Tagged() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tagged := map[string]map[string]string{}
	for _, r := range s.repositories {
		if len(r.Tags) > 0 {
			tagged[s.arn(r.Name)] = maps.Clone(r.Tags)
		}
	}
	return tagged
}

// MarshalJSON writes repositories and manifests; the layers are in the directory of the service.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.repositories)
}

// UnmarshalJSON replaces the repositories by those that MarshalJSON wrote.
func (s *Service) UnmarshalJSON(state []byte) error {
	repositories := map[string]*repository{}
	if err := json.Unmarshal(state, &repositories); err != nil {
		return fmt.Errorf("state of the registry: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repositories = repositories
	return nil
}

func (s *Service) arn(repository string) string {
	return fmt.Sprintf("arn:aws:ecr:%s:%s:repository/%s", s.config.Region, s.config.Account, repository)
}

func (s *Service) getAuthorizationToken(_ context.Context, call *protocol.Call, _ *ecr.GetAuthorizationTokenInput) (*ecr.GetAuthorizationTokenOutput, error) {
	if err := call.Allow("ecr:GetAuthorizationToken"); err != nil {
		return nil, err
	}
	password, expires := s.issue(call)
	return &ecr.GetAuthorizationTokenOutput{AuthorizationData: []types.AuthorizationData{{
		AuthorizationToken: aws.String(base64.StdEncoding.EncodeToString([]byte("AWS:" + password))),
		ExpiresAt:          &expires,
		ProxyEndpoint:      aws.String("http://" + call.Host),
	}}}, nil
}

// issue makes a password for a caller, and forgets those that are no good any more.
func (s *Service) issue(call *protocol.Call) (password string, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now()
	maps.DeleteFunc(s.tokens, func(_ string, t token) bool { return now.After(t.expires) })
	password, expires = rand.Text(), now.Add(tokenLife)
	s.tokens[password] = token{call, expires}
	return password, expires
}

// repository finds a repository; the lock is held.
func (s *Service) repository(name string) (*repository, error) {
	if r := s.repositories[name]; r != nil {
		return r, nil
	}
	return nil, protocol.Errorf("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", name, s.config.Account)
}

// open checks an action on a repository and finds it; the lock is held.
func (s *Service) open(call *protocol.Call, action string, name *string) (*repository, error) {
	if err := call.Allow("ecr:"+action, s.arn(aws.ToString(name))); err != nil {
		return nil, err
	}
	return s.repository(aws.ToString(name))
}

var repositoryName = regexp.MustCompile(`^(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// create makes a repository.
func (s *Service) create(r *repository) error {
	if !repositoryName.MatchString(r.Name) || len(r.Name) < 2 || len(r.Name) > 256 {
		return protocol.Errorf("InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repositories[r.Name] != nil {
		return protocol.Errorf("RepositoryAlreadyExistsException", "The repository with name '%s' already exists in the registry with id '%s'", r.Name, s.config.Account)
	}
	r.Created = s.config.Now()
	r.Mutability = cmp.Or(r.Mutability, types.ImageTagMutabilityMutable)
	r.Images = map[string]*image{}
	s.repositories[r.Name] = r
	return nil
}

func (s *Service) createRepository(_ context.Context, call *protocol.Call, in *ecr.CreateRepositoryInput) (*ecr.CreateRepositoryOutput, error) {
	name := aws.ToString(in.RepositoryName)
	if err := call.Allow("ecr:CreateRepository", s.arn(name)); err != nil {
		return nil, err
	}
	r := &repository{Name: name, Mutability: in.ImageTagMutability, Tags: map[string]string{}}
	if in.ImageScanningConfiguration != nil {
		r.ScanOnPush = in.ImageScanningConfiguration.ScanOnPush
	}
	for _, tag := range in.Tags {
		r.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	if err := s.create(r); err != nil {
		return nil, err
	}
	return &ecr.CreateRepositoryOutput{Repository: new(s.describe(r))}, nil
}

func (s *Service) deleteRepository(_ context.Context, call *protocol.Call, in *ecr.DeleteRepositoryInput) (*ecr.DeleteRepositoryOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "DeleteRepository", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	described := s.describe(r)
	if err := s.remove(r, in.Force); err != nil {
		return nil, err
	}
	return &ecr.DeleteRepositoryOutput{Repository: &described}, nil
}

// remove deletes a repository, with its images only by force; the lock is held.
func (s *Service) remove(r *repository, force bool) error {
	if len(r.Images) > 0 && !force {
		return protocol.Errorf("RepositoryNotEmptyException", "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", r.Name, s.config.Account)
	}
	delete(s.repositories, r.Name)
	if err := os.RemoveAll(layersDir(s.config.Dir, r.Name)); err != nil {
		return fmt.Errorf("layers of %s: %w", r.Name, err)
	}
	return nil
}

func (s *Service) describe(r *repository) types.Repository {
	return types.Repository{
		RegistryId: &s.config.Account, RepositoryName: &r.Name, RepositoryArn: aws.String(s.arn(r.Name)),
		RepositoryUri: aws.String(s.config.Host + "/" + r.Name), CreatedAt: &r.Created, ImageTagMutability: r.Mutability,
		ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: r.ScanOnPush},
		EncryptionConfiguration:    &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
	}
}

func (s *Service) describeRepositories(_ context.Context, call *protocol.Call, in *ecr.DescribeRepositoriesInput) (*ecr.DescribeRepositoriesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := in.RepositoryNames
	if len(names) == 0 {
		if err := call.Allow("ecr:DescribeRepositories", s.arn("*")); err != nil {
			return nil, err
		}
		names = slices.Sorted(maps.Keys(s.repositories))
	}
	var found []types.Repository
	for _, name := range names {
		if len(in.RepositoryNames) > 0 {
			if err := call.Allow("ecr:DescribeRepositories", s.arn(name)); err != nil {
				return nil, err
			}
		}
		r, err := s.repository(name)
		if err != nil {
			return nil, err
		}
		found = append(found, s.describe(r))
	}
	page, next, err := protocol.Page(found, in.NextToken, in.MaxResults, 100)
	return &ecr.DescribeRepositoriesOutput{Repositories: page, NextToken: next}, err
}

func (s *Service) putImageTagMutability(_ context.Context, call *protocol.Call, in *ecr.PutImageTagMutabilityInput) (*ecr.PutImageTagMutabilityOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "PutImageTagMutability", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	r.Mutability = in.ImageTagMutability
	return &ecr.PutImageTagMutabilityOutput{RegistryId: &s.config.Account, RepositoryName: &r.Name, ImageTagMutability: r.Mutability}, nil
}

func (s *Service) putLifecyclePolicy(_ context.Context, call *protocol.Call, in *ecr.PutLifecyclePolicyInput) (*ecr.PutLifecyclePolicyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "PutLifecyclePolicy", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	text := aws.ToString(in.LifecyclePolicyText)
	if _, err := parseLifecycle(text); err != nil {
		return nil, err
	}
	r.Lifecycle = text
	r.expire(s.config.Now())
	return &ecr.PutLifecyclePolicyOutput{RegistryId: &s.config.Account, RepositoryName: &r.Name, LifecyclePolicyText: &text}, nil
}

func (s *Service) lifecycle(call *protocol.Call, action string, name *string) (*repository, error) {
	r, err := s.open(call, action, name)
	if err == nil && r.Lifecycle == "" {
		err = protocol.Errorf("LifecyclePolicyNotFoundException", "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, s.config.Account)
	}
	return r, err
}

func (s *Service) getLifecyclePolicy(_ context.Context, call *protocol.Call, in *ecr.GetLifecyclePolicyInput) (*ecr.GetLifecyclePolicyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.lifecycle(call, "GetLifecyclePolicy", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	return &ecr.GetLifecyclePolicyOutput{RegistryId: &s.config.Account, RepositoryName: &r.Name, LifecyclePolicyText: aws.String(r.Lifecycle)}, nil
}

func (s *Service) deleteLifecyclePolicy(_ context.Context, call *protocol.Call, in *ecr.DeleteLifecyclePolicyInput) (*ecr.DeleteLifecyclePolicyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.lifecycle(call, "DeleteLifecyclePolicy", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	text := r.Lifecycle
	r.Lifecycle = ""
	return &ecr.DeleteLifecyclePolicyOutput{RegistryId: &s.config.Account, RepositoryName: &r.Name, LifecyclePolicyText: &text}, nil
}

func (s *Service) listTagsForResource(_ context.Context, call *protocol.Call, in *ecr.ListTagsForResourceInput) (*ecr.ListTagsForResourceOutput, error) {
	arn := aws.ToString(in.ResourceArn)
	if err := call.Allow("ecr:ListTagsForResource", arn); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repositories {
		if s.arn(r.Name) != arn {
			continue
		}
		out := &ecr.ListTagsForResourceOutput{}
		for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
			out.Tags = append(out.Tags, types.Tag{Key: &key, Value: aws.String(r.Tags[key])})
		}
		return out, nil
	}
	return nil, protocol.Errorf("RepositoryNotFoundException", "The repository %s does not exist in the registry with id '%s'", arn, s.config.Account)
}
