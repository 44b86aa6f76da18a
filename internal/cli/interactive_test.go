package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/term"
)

func TestNumbersOfAChoice(t *testing.T) {
	for answer, want := range map[string][]int{"1": {0}, "2, 3": {1, 2}, "3 1 3": {2, 0}, "": nil, "0": nil, "4": nil, "x": nil, "1,x": nil} {
		got, ok := numbers(answer, 3)
		if ok != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("numbers(%q) = %v, %v, want %v", answer, got, ok, want)
		}
	}
}

// keyboard gives one line at each read, as a terminal does.
type keyboard []string

func (lines *keyboard) Read(p []byte) (int, error) {
	if len(*lines) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*lines)[0]+"\n")
	*lines = (*lines)[1:]
	return n, nil
}

func TestChoiceIsAskedForAgain(t *testing.T) {
	var shown strings.Builder
	a := &app{stdin: &keyboard{"9", "1,2", "2"}, stderr: term.NewStream(&shown, nil)}
	chosen, err := a.choose(t.Context(), "Limiters:", []string{"one", "two"}, false)
	if err != nil || !slices.Equal(chosen, []int{1}) {
		t.Errorf("got %v, %v", chosen, err)
	}
	if n := strings.Count(shown.String(), "want numbers from 1 to 2"); n != 2 {
		t.Errorf("asked %d times again:\n%s", n, shown.String())
	}
	for answer, want := range map[string]bool{"y": true, "YES": true, "n": false, "": false} {
		a.stdin = &keyboard{answer}
		if got, err := a.confirm(t.Context(), "Sure?"); err != nil || got != want {
			t.Errorf("confirm %q: %v, %v", answer, got, err)
		}
	}
	a.stdin = &keyboard{} // Ctrl+D
	if got, err := a.confirm(t.Context(), "Sure?"); err != nil || got {
		t.Errorf("confirm without an answer: %v, %v", got, err)
	}
}

func TestHealth(t *testing.T) {
	status := http.StatusUnauthorized // a login page lives, too
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	health := func() int {
		return Main(Process{Args: []string{"load", "health", "-P", address.Port()}, Stdout: io.Discard, Stderr: io.Discard})
	}
	if code := health(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	status = http.StatusInternalServerError
	if code := health(); code != 1 {
		t.Errorf("with an error: exit code %d", code)
	}
	server.Close()
	if code := health(); code != 1 {
		t.Errorf("without a server: exit code %d", code)
	}
}
