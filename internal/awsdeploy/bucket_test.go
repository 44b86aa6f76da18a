package awsdeploy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestABucketIsAskedForOneObject(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		answer string
		has    bool
		says   string // of the error
	}{
		"empty":     {200, `<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>`, false, ""},
		"one":       {200, `<ListBucketResult><KeyCount>1</KeyCount><Contents><Key>a</Key></Contents></ListBucketResult>`, true, ""},
		"not there": {404, `<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>`, false, ""},
		"denied":    {403, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`, false, "bucket archive: 403 Forbidden Access Denied"},
		"no XML":    {200, `{}`, false, "bucket archive: EOF"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/archive" || r.URL.RawQuery != "list-type=2&max-keys=1" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/s3/aws4_request") {
				t.Errorf("%s: asked for %s with %s", name, r.URL, r.Header.Get("Authorization"))
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.answer)
		}))
		cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), HTTPClient: server.Client()}
		has, err := BucketHasObjects(t.Context(), cfg, "archive")
		if has != test.has || (err == nil) != (test.says == "") || err != nil && err.Error() != test.says {
			t.Errorf("%s: %v, %v, want %v, %q", name, has, err, test.has, test.says)
		}
		server.Close()
	}
	for region, want := range map[string]string{"us-east-1": "https://s3.us-east-1.amazonaws.com", "cn-north-1": "https://s3.cn-north-1.amazonaws.com.cn"} {
		if got := s3Endpoint(aws.Config{Region: region}); got != want {
			t.Errorf("%s: %s, want %s", region, got, want)
		}
	}
}
