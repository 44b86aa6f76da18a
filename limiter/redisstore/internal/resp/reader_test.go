package resp

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// show reads one reply and writes it as text.
func show(r *Reader) (string, error) {
	v, err := r.Next()
	if err != nil {
		return "", err
	}
	switch v.Kind {
	case Integer:
		return strconv.FormatInt(v.N, 10), nil
	case Nil:
		return "nil", nil
	case Array:
		parts := make([]string, 0, min(v.N, 16))
		for range v.N {
			part, err := show(r)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, " ") + "]", nil
	}
	return string(rune(v.Kind)) + string(v.Text), nil
}

func TestRepliesAreReadHoweverTheyArrive(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for text, want := range map[string]string{
		"+OK\r\n":                       "+OK",
		"-ERR no\r\n":                   "-ERR no",
		":-9223372036854775808\r\n":     "-9223372036854775808",
		"$-1\r\n":                       "nil",
		"*-1\r\n":                       "nil",
		"$0\r\n\r\n":                    "$",
		"$4\r\na\r\nb\r\n":              "$a\r\nb",
		"*2\r\n*1\r\n:1\r\n$1\r\na\r\n": "[[1] $a]",
		"$100000\r\n" + long + "\r\n":   "$" + long,
	} {
		for name, source := range map[string]io.Reader{
			"at once": strings.NewReader(text + text), "byte by byte": iotest.OneByteReader(strings.NewReader(text + text)),
		} {
			r := NewReader(source)
			for range 2 {
				if got, err := show(r); err != nil || got != want {
					t.Errorf("%.40q %s: got %.60q, %v", text, name, got, err)
				}
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%.40q %s: after the last reply: %v", text, name, err)
			}
		}
	}
}

func TestWhatIsNoReplyIsRefused(t *testing.T) {
	for _, text := range []string{
		"\r\n", "hello\r\n", "+OK\n", ":\r\n", ":1x\r\n", ":9223372036854775808\r\n", "$-2\r\n", "$1\r\nab\r\n", "$99999999999\r\n", "*99999999999\r\n",
		"HTTP/1.1 400 Bad Request\r\n", "+" + strings.Repeat("x", 2*maxLine),
	} {
		if got, err := show(NewReader(strings.NewReader(text + "\r\n"))); !errors.Is(err, errProtocol) {
			t.Errorf("%.40q: got %q, %v", text, got, err)
		}
	}
	deep := strings.Repeat("*1\r\n", 20) + ":1\r\n"
	r := NewReader(strings.NewReader(deep))
	v, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Skip(v); !errors.Is(err, errProtocol) {
		t.Errorf("arrays in arrays: %v", err)
	}
}

func TestNumbersAreReadExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		if got, ok := ParseInt(strconv.AppendInt(nil, n, 10)); !ok || got != n {
			t.Fatalf("got %d, %t, want %d", got, ok, n)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9a+ ]{0,22}`).Draw(t, "text")
		want, err := strconv.ParseInt(text, 10, 64)
		if strings.HasPrefix(text, "+") {
			return // strconv takes a sign that no server sends
		}
		got, ok := ParseInt([]byte(text))
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q: got %d, %t, want %d, %v", text, got, ok, want, err)
		}
	})
}

// Whatever a server sends: no panic, no value beyond the bounds, and the same values however it arrives.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "$-1\r\n", "-MOVED 1 a:1\r\n", "$5\r\nab", "*3\r\n*3\r\n", ":12", "$70000000\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := func(source io.Reader) (values []string) {
			r := NewReader(source)
			for range 1000 {
				v, err := r.Next()
				if err != nil {
					if !errors.Is(err, errProtocol) && !errors.Is(err, io.EOF) {
						t.Fatalf("%v", err)
					}
					return values
				}
				values = append(values, string(rune(v.Kind))+strconv.FormatInt(v.N, 10)+string(v.Text))
			}
			return values
		}
		whole, pieces := read(strings.NewReader(text)), read(iotest.OneByteReader(strings.NewReader(text)))
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			t.Errorf("%q and %q", whole, pieces)
		}
	})
}
