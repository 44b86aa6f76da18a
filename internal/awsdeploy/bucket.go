package awsdeploy

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// ArchiveOutput is the output of a limiter's stack that names the bucket of its audit archive. Only stacks
// with the Python tool's aggregator have one.
const ArchiveOutput = "AuditArchiveBucketName"

const (
	bucketWithin = 30 * time.Second
	// maxBucketAnswer bounds the answer to a question for one object.
	maxBucketAnswer = 1 << 20
	// noPayload is the SHA-256 of nothing.
	noPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// BucketHasObjects asks S3 whether a bucket holds anything: CloudFormation cannot delete one that does. A
// bucket that is not there holds nothing. It is the one question for S3, so that no client of the SDK is
// linked for it.
func BucketHasObjects(ctx context.Context, cfg aws.Config, bucket string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s3Endpoint(cfg)+"/"+url.PathEscape(bucket)+"?list-type=2&max-keys=1", nil)
	if err != nil {
		return false, err
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return false, err
	}
	request.Header.Set("X-Amz-Content-Sha256", noPayload)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, noPayload, "s3", cfg.Region, time.Now()); err != nil {
		return false, err
	}
	response, err := cfg.HTTPClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBucketAnswer))
	if err != nil {
		return false, err
	}
	var answer struct {
		Contents []struct{ Key string }
		Code     string
		Message  string
	}
	err = xml.Unmarshal(body, &answer)
	switch {
	case response.StatusCode == http.StatusNotFound && answer.Code == "NoSuchBucket":
		return false, nil
	case response.StatusCode != http.StatusOK:
		return false, fmt.Errorf("bucket %s: %s %s", bucket, response.Status, answer.Message)
	case err != nil:
		return false, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return len(answer.Contents) > 0, nil
}

// s3Endpoint is where the buckets of a region are.
func s3Endpoint(cfg aws.Config) string {
	if cfg.BaseEndpoint != nil {
		return strings.TrimSuffix(*cfg.BaseEndpoint, "/")
	}
	suffix := "amazonaws.com"
	if strings.HasPrefix(cfg.Region, "cn-") {
		suffix += ".cn"
	}
	return "https://s3." + cfg.Region + "." + suffix
}
