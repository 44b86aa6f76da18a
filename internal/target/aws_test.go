package target

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// A table of the account is reached as the SDK's configuration says, with its credentials also on this
// machine.
func TestATableOfTheAccountIsFoundByTheConfiguration(t *testing.T) {
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	var foreign atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDACCOUNT/") || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/") {
			foreign.Add(1)
		}
		engine.ServeHTTP(w, r)
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDACCOUNT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "eu-central-1")

	target := open(t, Config{AWS: true, Table: "my-limiter", CreateTable: true, RunID: "r1"})
	defer closeTarget(t, target)
	acquireOnce(t, target, "user-1")
	info := target.Info()
	if info.Endpoint != server.URL || info.Region != "eu-central-1" || !info.AWS {
		t.Errorf("opened %+v", info)
	}
	if n := foreign.Load(); n > 0 {
		t.Errorf("%d requests signed by somebody else or for another region", n)
	}
}

func TestTheEndpointOfARegionIsAWSs(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDACCOUNT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for region, want := range map[string]string{
		"us-east-1":  "https://dynamodb.us-east-1.amazonaws.com",
		"cn-north-1": "https://dynamodb.cn-north-1.amazonaws.com.cn",
	} {
		at, err := awsPlace(t.Context(), &Config{AWS: true, Region: region})
		if err != nil || at.endpoint != want {
			t.Errorf("%s: %q, %v, want %q", region, at.endpoint, err, want)
		}
	}
}
