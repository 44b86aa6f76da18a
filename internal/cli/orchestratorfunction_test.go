package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTheSecretMayComeLater(t *testing.T) {
	const secret = "a secret that is long enough"
	file := filepath.Join(t.TempDir(), "secret")
	a := &app{getenv: func(string) string { return "" }}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := a.awaitSecret(t.Context(), file)
		got <- answer{text, err}
	}()
	if err := os.WriteFile(file+".new", []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || a.text != secret {
		t.Errorf("got %q, %v", a.text, a.err)
	}
}

func TestWithoutASecret(t *testing.T) {
	dir := t.TempDir()
	a := &app{getenv: func(name string) string { return map[string]string{secretVariable: "of the environment"}[name] }}
	if text, err := a.awaitSecret(t.Context(), ""); err != nil || text != "of the environment" {
		t.Errorf("no file: %q, %v", text, err)
	}
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.awaitSecret(t.Context(), short); !isUsage(err) {
		t.Errorf("a short secret: %v, want a mistake of the caller", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	if _, err := a.awaitSecret(ctx, filepath.Join(dir, "none")); !errors.Is(err, errInterrupted) {
		t.Errorf("interrupted while waiting: %v", err)
	}
}
