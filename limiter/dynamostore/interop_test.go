//go:build interop

package dynamostore_test

import (
	"os"
	"testing"
)

// The suite on Amazon's own DynamoDB Local, whose address make interop puts into the environment.
func TestSuiteOnDynamoDBLocal(t *testing.T) {
	endpoint := os.Getenv("ZAE_INTEROP_DYNAMODB_LOCAL")
	if endpoint == "" {
		t.Fatal("ZAE_INTEROP_DYNAMODB_LOCAL is not set; make interop starts DynamoDB Local and sets it")
	}
	withEachClient(t, func(t *testing.T, connect connector) { runSuite(t, connect(t, endpoint)) })
}

func TestConformanceOnDynamoDBLocal(t *testing.T) {
	endpoint := os.Getenv("ZAE_INTEROP_DYNAMODB_LOCAL")
	if endpoint == "" {
		t.Fatal("ZAE_INTEROP_DYNAMODB_LOCAL is not set; make interop starts DynamoDB Local and sets it")
	}
	withEachClient(t, func(t *testing.T, connect connector) { conformance(t, connect(t, endpoint)) })
}
