// Package protocoltest serves fake services to real SDK clients in tests.
package protocoltest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Account and Region are those of every test.
const (
	Account = "123456789012"
	Region  = "us-east-1"
)

// Serve plays the services on loopback until the test ends, and returns the configuration of clients
// that reach them as the account's root. Calls are not retried, so that a test sees each answer.
func Serve(t testing.TB, services ...protocol.Service) aws.Config {
	t.Helper()
	return Client(t, &protocol.Front{Account: Account, Region: Region, Services: services})
}

// Client serves any handler and returns the configuration of clients that reach it with the keys
// AKIDTEST and secret.
func Client(t testing.TB, handler http.Handler) aws.Config {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(server.URL),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient:   account.WholeBodies(server.Client()),
	}
}
