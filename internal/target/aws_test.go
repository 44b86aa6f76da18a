package target

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
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

// An engine on this machine gets the keys of the environment, such as those of an account that is played
// here, and others only when there are none; nothing is looked up for it.
func TestAnEndpointOnThisMachineGetsTheKeysOfTheEnvironment(t *testing.T) {
	t.Setenv("AWS_PROFILE", "absent")
	for key, want := range map[string]string{"AKIDACCOUNT": "AKIDACCOUNT", "": "local"} {
		t.Setenv("AWS_ACCESS_KEY_ID", key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", key)
		at, err := (&Target{config: Config{Endpoint: "http://127.0.0.1:1"}}).locate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		signer, err := at.credentials.Retrieve(t.Context())
		if err != nil || signer.AccessKeyID != want {
			t.Errorf("AWS_ACCESS_KEY_ID=%q: signed by %q, %v, want %q", key, signer.AccessKeyID, err, want)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDACCOUNT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	at, err := (&Target{engine: &embedded{endpoint: "http://127.0.0.1:1"}}).locate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := at.credentials.Retrieve(t.Context()); err != nil || signer.AccessKeyID != "local" {
		t.Errorf("the embedded engine: signed by %q, %v", signer.AccessKeyID, err)
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

// A wrong region would be a table of somebody else, or none.
func TestATableOfTheAccountNeedsARegion(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDACCOUNT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	if at, err := awsPlace(t.Context(), &Config{AWS: true}); err == nil || !strings.Contains(err.Error(), "region") {
		t.Errorf("%+v, %v", at, err)
	}
}
