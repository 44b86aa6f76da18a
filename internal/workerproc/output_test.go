package workerproc

import (
	"bytes"
	"strings"
	"testing"
)

func TestLinesOfWorkersAreNotMixed(t *testing.T) {
	var all bytes.Buffer
	o := &output{w: &all}
	a, b := o.of("a"), o.of("b")
	for _, step := range []struct {
		to   *lines
		text string
	}{{a, "one "}, {b, "two\nthree"}, {a, "half\n\n"}, {b, "\nfour"}} {
		if n, err := step.to.Write([]byte(step.text)); n != len(step.text) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	a.flush()
	b.flush()
	if want := "b: two\na: one half\na: \nb: three\nb: four\n"; all.String() != want {
		t.Errorf("got %q, want %q", all.String(), want)
	}
}

func TestALineWithoutEndIsNotKeptForEver(t *testing.T) {
	var all bytes.Buffer
	l := (&output{w: &all}).of("a")
	text := strings.Repeat("x", 3*maxLine+5)
	for part := range strings.SplitSeq(text, "") {
		_, _ = l.Write([]byte(part))
	}
	if cap(l.rest) > 2*maxLine {
		t.Errorf("%d bytes held back", cap(l.rest))
	}
	l.flush()
	if got := strings.ReplaceAll(strings.ReplaceAll(all.String(), "a: ", ""), "\n", ""); got != text {
		t.Errorf("%d of %d bytes came through", len(got), len(text))
	}
}
