package term

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// asTerminal is a stream that draws into a buffer as if it were a terminal.
func asTerminal(b *bytes.Buffer, colour bool) *Stream {
	return &Stream{Writer: b, fd: -1, tty: true, colour: colour}
}

func TestBufferIsNoTerminal(t *testing.T) {
	s := NewStream(&bytes.Buffer{}, func(string) string { return "" })
	if s.IsTerminal() {
		t.Error("IsTerminal() = true for a buffer")
	}
	if got := s.Width(); got != 80 {
		t.Errorf("Width() = %d, want 80", got)
	}
	if got := s.Paint(Red, "x"); got != "x" {
		t.Errorf("Paint on a buffer = %q, want it unchanged", got)
	}
}

func TestPaint(t *testing.T) {
	if got, want := asTerminal(nil, true).Paint(Red, "x"), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("Paint = %q, want %q", got, want)
	}
	if got := asTerminal(nil, false).Paint(Red, "x"); got != "x" {
		t.Errorf("Paint without colour = %q, want x", got)
	}
}

func TestTableLines(t *testing.T) {
	table := Table{
		Columns: []string{"Type", "Name", "Reqs"}, LeftColumns: 2,
		Rows: [][]string{{"ACQUIRE", "api", "12"}, {"ACQUIRE", "a rather long name", "1,234"}},
	}
	got := strings.Join(table.Lines(0), "\n")
	want := strings.Join([]string{
		"Type     Name                 Reqs",
		"ACQUIRE  api                    12",
		"ACQUIRE  a rather long name  1,234",
	}, "\n")
	if got != want {
		t.Errorf("Lines(0):\n%s\nwant\n%s", got, want)
	}
	for _, line := range table.Lines(30) {
		if n := len([]rune(line)); n > 30 {
			t.Errorf("line of %d columns in a width of 30: %q", n, line)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 2, "ä…"}, {"abc", 0, ""},
	} {
		if got := Cut(c.text, c.width); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

func TestLinesComeOncePerIntervalWithoutATerminal(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(NewStream(&b, nil), 5*time.Second)
	start := time.Unix(1000, 0)
	p.Start(start)
	for s := range 13 {
		p.Update(start.Add(time.Duration(s)*time.Second), Frame{Line: string(rune('a' + s))})
	}
	p.Close()
	if got, want := b.String(), "f\nk\n"; got != want {
		t.Errorf("lines = %q, want %q", got, want)
	}
}

func TestTerminalIsRedrawnInPlace(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(asTerminal(&b, false), time.Second)
	frame := Frame{Line: "one", Table: Table{Columns: []string{"A"}, Rows: [][]string{{"1"}}}}
	p.Update(time.Time{}, frame)
	if got, want := b.String(), "one\nA\n1\n"; got != want {
		t.Fatalf("first frame = %q, want %q", got, want)
	}
	b.Reset()
	if n, err := p.Write([]byte("note")); n != 4 || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if got, want := b.String(), "\x1b[3A\x1b[Jnote\none\nA\n1\n"; got != want {
		t.Errorf("a note = %q, want it above the redrawn table: %q", got, want)
	}
	b.Reset()
	p.Close()
	if got, want := b.String(), "\x1b[3A\x1b[J"; got != want {
		t.Errorf("Close = %q, want %q", got, want)
	}
}

func TestFramesFitTheTerminal(t *testing.T) {
	lines := []string{"line", "header", "a", "b", "c", "total"}
	for _, test := range []struct {
		height int
		want   string
	}{
		{0, "line header a b c total"},
		{7, "line header a b c total"},
		{6, "line header a b total"},
		{2, "line header total"},
	} {
		if got := strings.Join(fit(lines, test.height), " "); got != test.want {
			t.Errorf("height %d: %q, want %q", test.height, got, test.want)
		}
	}
}
