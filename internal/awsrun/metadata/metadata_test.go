package metadata_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/awsrun/metadata"
)

func TestTheAddressIsThatOfTheFirstInterface(t *testing.T) {
	tests := []struct {
		name, body, want, problem string
		status                    int
	}{
		{"a task", `{"Containers": [{"Networks": []}, {"Networks": [{"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]},
			{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.106", "10.0.2.107"]}]}]}`, "10.0.2.106", "", 200},
		{"no interface", `{"Containers": [{"Networks": [{"NetworkMode": "host"}]}]}`, "", "awsvpc", 200},
		{"no task", `not found`, "", "404", 404},
		{"no JSON", `<html>`, "", "invalid character", 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v4/abc/task" {
					t.Errorf("asked %s", r.URL)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			got, err := metadata.TaskAddress(t.Context(), server.URL+"/v4/abc")
			if got != test.want || (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%q, %v; want %q and a problem about %q", got, err, test.want, test.problem)
			}
		})
	}
}
