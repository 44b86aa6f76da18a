package locustfile

import (
	"strings"
	"testing"
)

// Without bounds each of these holds the whole process for seconds, or takes all of its memory.
func TestOneOperationMakesNoMoreThanCanBeInterrupted(t *testing.T) {
	for _, tt := range []struct{ name, expression, want string }{
		{"list", "[0] * 200000000", ":1:9: list repeated 200000000 times has more than 4194304 elements"},
		{"list from the right", "200000000 * [0]", ":1:15: list repeated 200000000 times"},
		{"tuple", "(0, 1) * 3000000", ":1:12: tuple repeated 3000000 times"},
		{"string", `"ab" * (1 << 26)`, `:1:10: string repeated 67108864 times has more than 67108864 bytes`},
		{"bytes", `(1 << 27) * b"x"`, `bytes repeated 134217728 times`},
		{"beyond 64 bits", "[0] * (1 << 100)", "list repeated 1267650600228229401496703205376 times"},
		{"range", "range(5000000)", ":1:10: range: 5000000 elements are more than 4194304"},
		{"list of a range", "list(range(1000000000))", ":1:15: range: 1000000000 elements"},
		{"in place", "[0]\nx *= 200000000", ":2:3: list repeated 200000000 times"},
		{"strings in place", "\"x\"\nwhile True:\n    x *= 1000", ":3:7: string repeated 1000 times"},
		{"replace", `("x" * 10000000).replace("", "y" * 1000)`, "replace: 10000001 times 1000 bytes are more than 67108864"},
		{"join", `("x" * 67108864).join(["y"] * 4)`, "join: the result has more than 67108864 bytes"},
		{"integers", "3\nwhile True:\n    x = x * x", ":3:11: the product has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadSource(t, "x = "+tt.expression+"\n"+oneClass)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBoundedOperationsAreThoseOfTheInterpreter(t *testing.T) {
	for _, tt := range []struct{ expression, want string }{
		{"[1, 2] * 2", "[1, 2, 1, 2]"},
		{"2 * [1, 2]", "[1, 2, 1, 2]"},
		{"[1] * -1", "[]"},
		{"[] * (1 << 30)", "[]"},
		{"(1,) * 3", "(1, 1, 1)"},
		{`"ab" * 2`, `"abab"`},
		{`3 * b"x"`, `b"xxx"`},
		{"6 * 7", "42"},
		{"1.5 * 2", "3.0"},
		{"2 * 1.5", "3.0"},
		{"(1 << 100) * 2 * 2", "5070602400912917605986812821504"},
		{"2 * time.second", "2s"},
		{"time.second * 2", "2s"},
		{"len([0] * 4194304)", "4194304"},
		{"range(3)", "range(3)"},
		{"list(range(5, 1, -2))", "[5, 3]"},
		{"[2 * i for i in range(3)]", "[0, 2, 4]"},
		{`"a-b-c".replace("-", "--", 1)`, `"a--b-c"`},
		{`"a-b".replace("-", "").replace("a", "xyz")`, `"xyzb"`},
		{`", ".join(["a", "b"])`, `"a, b"`},
		{`"".join([])`, `""`},
	} {
		source := "x = " + tt.expression + "\nif repr(x) != want and str(x) != want:\n    fail(repr(x))\n" + oneClass
		if _, err := loadSource(t, "want = "+"'''"+tt.want+"'''\n"+source); err != nil {
			t.Errorf("%s: %v, want %s", tt.expression, err, tt.want)
		}
	}
	for _, tt := range []struct{ expression, want string }{
		{`"a" * "b"`, "unknown binary op: string * string"},
		{"None * 2", "unknown binary op: NoneType * int"},
		{"2 * None", "unknown binary op: int * NoneType"},
		{`"a".replace("b")`, "replace: got 1 arguments, want at least 2"},
		{`[].replace("a", "b")`, "list has no .replace field or method"},
		{`"".join(["a", 1])`, "join: in list, want string, got int"},
		{`"".join(1)`, "join: for parameter 1: got int, want iterable"},
		{"range()", "range: got 0 arguments, want at least 1"},
	} {
		if _, err := loadSource(t, "x = "+tt.expression+"\n"+oneClass); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.expression, err, tt.want)
		}
	}
}
