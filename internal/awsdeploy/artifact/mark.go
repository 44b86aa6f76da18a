package artifact

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// MarkAPI is the part of Lambda's client by which functions have tags.
type MarkAPI interface {
	ListTags(context.Context, *lambda.ListTagsInput, ...func(*lambda.Options)) (*lambda.ListTagsOutput, error)
	TagResource(context.Context, *lambda.TagResourceInput, ...func(*lambda.Options)) (*lambda.TagResourceOutput, error)
}

// Mark says on a function what it was given, where its stack does not.
type Mark struct {
	BuildID    string
	CodeSHA256 string
	// Release is that of the wire (aws.md 2.7).
	Release string
}

// The tags of a mark.
const (
	buildTag   = "zae-limiter:build-id"
	codeTag    = "zae-limiter:code-sha256"
	releaseTag = "zae-limiter:lambda-version"
)

// ReadMark returns the mark of a function, by ARN; what it does not say is "".
func ReadMark(ctx context.Context, api MarkAPI, function string) (Mark, error) {
	out, err := api.ListTags(ctx, &lambda.ListTagsInput{Resource: &function})
	if err != nil {
		return Mark{}, fmt.Errorf("tags of %s: %w", function, err)
	}
	return Mark{out.Tags[buildTag], out.Tags[codeTag], out.Tags[releaseTag]}, nil
}

// WriteMark puts a mark on a function, by ARN.
func WriteMark(ctx context.Context, api MarkAPI, function string, m Mark) error {
	_, err := api.TagResource(ctx, &lambda.TagResourceInput{
		Resource: &function, Tags: map[string]string{buildTag: m.BuildID, codeTag: m.CodeSHA256, releaseTag: m.Release},
	})
	if err != nil {
		return fmt.Errorf("tags of %s: %w", function, err)
	}
	return nil
}
