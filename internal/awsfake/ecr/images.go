package ecr

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// find returns the image with a digest or a tag, or nil.
func (r *repository) find(reference string) *image {
	if img := r.Images[reference]; img != nil {
		return img
	}
	for _, img := range r.Images {
		if slices.Contains(img.Tags, reference) {
			return img
		}
	}
	return nil
}

// identified returns the image that an identifier of a request means, or nil. With digest and tag both
// have to be the image's.
func (r *repository) identified(id types.ImageIdentifier) *image {
	if id.ImageDigest == nil {
		return r.find(aws.ToString(id.ImageTag))
	}
	img := r.Images[*id.ImageDigest]
	if img != nil && id.ImageTag != nil && !slices.Contains(img.Tags, *id.ImageTag) {
		return nil
	}
	return img
}

// sorted returns the images, the latest first.
func (r *repository) sorted() []*image {
	return slices.SortedFunc(maps.Values(r.Images), func(a, b *image) int {
		if c := b.Pushed.Compare(a.Pushed); c != 0 {
			return c
		}
		if a.Digest < b.Digest {
			return -1
		}
		return 1
	})
}

func (s *Service) imageNotFound(r *repository, id types.ImageIdentifier) error {
	return protocol.Errorf("ImageNotFoundException", "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
		aws.ToString(id.ImageDigest), aws.ToString(id.ImageTag), r.Name, s.config.Account)
}

func (s *Service) describeImages(_ context.Context, call *protocol.Call, in *ecr.DescribeImagesInput) (*ecr.DescribeImagesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "DescribeImages", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	images := r.sorted()
	if len(in.ImageIds) > 0 {
		images = nil
		for _, id := range in.ImageIds {
			img := r.identified(id)
			if img == nil {
				return nil, s.imageNotFound(r, id)
			}
			images = append(images, img)
		}
	}
	var found []types.ImageDetail
	for _, img := range images {
		if in.Filter != nil && !tagStatus(in.Filter.TagStatus, img) {
			continue
		}
		found = append(found, types.ImageDetail{
			RegistryId: &s.config.Account, RepositoryName: &r.Name, ImageDigest: &img.Digest, ImageTags: slices.Clone(img.Tags),
			ImageSizeInBytes: &img.Size, ImagePushedAt: &img.Pushed, ImageManifestMediaType: &img.MediaType, ImageStatus: types.ImageStatusActive,
		})
	}
	page, next, err := protocol.Page(found, in.NextToken, in.MaxResults, 100)
	return &ecr.DescribeImagesOutput{ImageDetails: page, NextToken: next}, err
}

// tagStatus says whether an image passes a filter for tagged or untagged ones.
func tagStatus(status types.TagStatus, img *image) bool {
	switch status {
	case types.TagStatusTagged:
		return len(img.Tags) > 0
	case types.TagStatusUntagged:
		return len(img.Tags) == 0
	}
	return true
}

func (s *Service) listImages(_ context.Context, call *protocol.Call, in *ecr.ListImagesInput) (*ecr.ListImagesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "ListImages", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	var found []types.ImageIdentifier
	for _, img := range r.sorted() {
		if in.Filter != nil && !tagStatus(in.Filter.TagStatus, img) {
			continue
		}
		found = append(found, img.identifiers()...)
	}
	page, next, err := protocol.Page(found, in.NextToken, in.MaxResults, 100)
	return &ecr.ListImagesOutput{ImageIds: page, NextToken: next}, err
}

// identifiers are digest and tag for each tag, or the digest alone.
func (img *image) identifiers() []types.ImageIdentifier {
	if len(img.Tags) == 0 {
		return []types.ImageIdentifier{{ImageDigest: &img.Digest}}
	}
	var ids []types.ImageIdentifier
	for _, tag := range img.Tags {
		ids = append(ids, types.ImageIdentifier{ImageDigest: &img.Digest, ImageTag: &tag})
	}
	return ids
}

func (s *Service) batchGetImage(_ context.Context, call *protocol.Call, in *ecr.BatchGetImageInput) (*ecr.BatchGetImageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "BatchGetImage", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	out := &ecr.BatchGetImageOutput{}
	for _, id := range in.ImageIds {
		img := r.identified(id)
		if img == nil {
			out.Failures = append(out.Failures, notFound(id))
			continue
		}
		out.Images = append(out.Images, types.Image{
			RegistryId: &s.config.Account, RepositoryName: &r.Name, ImageManifest: aws.String(string(img.Manifest)), ImageManifestMediaType: &img.MediaType,
			ImageId: &types.ImageIdentifier{ImageDigest: &img.Digest, ImageTag: id.ImageTag},
		})
	}
	return out, nil
}

func notFound(id types.ImageIdentifier) types.ImageFailure {
	return types.ImageFailure{ImageId: &id, FailureCode: types.ImageFailureCodeImageNotFound, FailureReason: aws.String("Requested image not found")}
}

// batchDeleteImage deletes images by digest; by tag it takes the tag away, and the image with its last.
func (s *Service) batchDeleteImage(_ context.Context, call *protocol.Call, in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.open(call, "BatchDeleteImage", in.RepositoryName)
	if err != nil {
		return nil, err
	}
	out := &ecr.BatchDeleteImageOutput{}
	for _, id := range in.ImageIds {
		img := r.identified(id)
		if img == nil {
			out.Failures = append(out.Failures, notFound(id))
			continue
		}
		if id.ImageTag != nil {
			img.Tags = slices.DeleteFunc(img.Tags, func(tag string) bool { return tag == *id.ImageTag })
			out.ImageIds = append(out.ImageIds, types.ImageIdentifier{ImageDigest: &img.Digest, ImageTag: id.ImageTag})
		} else {
			out.ImageIds = append(out.ImageIds, img.identifiers()...)
		}
		if id.ImageTag == nil || len(img.Tags) == 0 {
			delete(r.Images, img.Digest)
		}
	}
	return out, nil
}

// tag gives an image a tag, which another one loses; the lock is held. An immutable repository gives no
// tag away.
func (r *repository) tag(img *image, tag string) error {
	holder := r.find(tag)
	if holder == img {
		return nil
	}
	if holder != nil {
		if r.Mutability == types.ImageTagMutabilityImmutable {
			return refuse(http.StatusBadRequest, "TAG_INVALID", "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the repository is immutable.", tag, r.Name)
		}
		holder.Tags = slices.DeleteFunc(holder.Tags, func(t string) bool { return t == tag })
	}
	img.Tags = append(img.Tags, tag)
	slices.Sort(img.Tags)
	return nil
}
