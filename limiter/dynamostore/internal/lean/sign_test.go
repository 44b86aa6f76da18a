package lean

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

// The SDK's own signer, given the same headers, must come to the same signature.
func TestSignaturesAreThoseOfTheSDK(t *testing.T) {
	endpoints := []string{"http://127.0.0.1:8000", "https://dynamodb.eu-central-1.amazonaws.com", "https://host:443/a%20b/c", "http://host:80/", "http://[::1]:8000/"}
	text := rapid.StringMatching(`[A-Za-z0-9/+=]{1,40}`)
	calls := map[string]*Call{} // which are used again, as by a transport
	rapid.Check(t, func(t *rapid.T) {
		endpoint := rapid.SampledFrom(endpoints).Draw(t, "endpoint")
		keys := aws.Credentials{AccessKeyID: text.Draw(t, "id"), SecretAccessKey: text.Draw(t, "secret")}
		keys.SessionToken = rapid.SampledFrom([]string{"", "token", strings.Repeat("long/", 400)}).Draw(t, "token")
		body := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "body")
		at := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "time"), 0)
		operation := rapid.SampledFrom([]string{"UpdateItem", "GetItem"}).Draw(t, "operation")

		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		s := newScope(u, "eu-central-1")
		call := calls[endpoint]
		if call == nil {
			call = newCall()
			calls[endpoint] = call
		}
		call.Body = append(call.Body[:bodyOffset], body...)
		written, err := call.sign(&s, &keys, operation, at)
		if err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(written)))
		if err != nil {
			t.Fatalf("%v in %q", err, written)
		}
		gotBody, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(gotBody, body) {
			t.Fatalf("the body is %q, %v", gotBody, err)
		}

		want, err := http.NewRequest(http.MethodPost, endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		want.Header.Set("Content-Type", "application/x-amz-json-1.0")
		want.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
		sum := sha256.Sum256(body)
		if err := v4.NewSigner().SignHTTP(t.Context(), keys, want, hex.EncodeToString(sum[:]), "dynamodb", "eu-central-1", at); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Target", "Content-Type"} {
			if got.Header.Get(name) != want.Header.Get(name) {
				t.Fatalf("%s: got %q, want %q", name, got.Header.Get(name), want.Header.Get(name))
			}
		}
		if host := want.Host; got.Host != host {
			t.Fatalf("Host: got %q, want %q", got.Host, host)
		}
		if got.URL.EscapedPath() != s.path {
			t.Fatalf("path %q", got.URL.EscapedPath())
		}
	})
}

func TestCredentialsThatWouldBreakAHeaderAreRefused(t *testing.T) {
	u, _ := url.Parse("http://h")
	s := newScope(u, "r")
	for _, keys := range []aws.Credentials{{AccessKeyID: "a\r\nX: y", SecretAccessKey: "s"}, {AccessKeyID: "a", SecretAccessKey: "s", SessionToken: "t\n"}} {
		if _, err := newCall().sign(&s, &keys, "GetItem", time.Unix(0, 0)); !errors.Is(err, errHeader) {
			t.Errorf("%q: %v", keys.AccessKeyID, err)
		}
	}
}
