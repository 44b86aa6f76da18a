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
		{"string", `"ab" * (1 << 24)`, `:1:10: string repeated 16777216 times has more than 16777216 bytes`},
		{"bytes", `(1 << 27) * b"x"`, `bytes repeated 134217728 times`},
		{"beyond 64 bits", "[0] * (1 << 100)", "list repeated 1267650600228229401496703205376 times"},
		{"range", "range(5000000)", ":1:10: range: 5000000 elements are more than 4194304"},
		{"list of a range", "list(range(1000000000))", ":1:15: range: 1000000000 elements"},
		{"in place", "[0]\nx *= 200000000", ":2:3: list repeated 200000000 times"},
		{"strings in place", "\"x\"\nwhile True:\n    x *= 1000", ":3:7: string repeated 1000 times"},
		{"replace", `("x" * 10000000).replace("", "y" * 1000)`, "replace: 10000001 times 1000 bytes are more than 16777216"},
		{"join", `("x" * 16777216).join(["y"] * 4)`, "join: the result has more than 16777216 bytes"},
		{"sum", "\"a\"\nwhile True:\n    x = x + x", ":3:11: string + string has more than 16777216 bytes"},
		{"sum in place", "\"a\"\nwhile True:\n    x += x", ":3:7: string + string has more than 16777216 bytes"},
		{"sum of bytes", "b\"a\"\nwhile True:\n    x += x", ":3:7: bytes + bytes has more than 16777216 bytes"},
		{"sum of lists", "[0]\nwhile True:\n    x = x + x", ":3:11: list + list has more than 4194304 elements"},
		{"sum of tuples", "(0,)\nwhile True:\n    x = x + x", ":3:11: tuple + tuple has more than 4194304 elements"},
		{"list in place", "[0]\nwhile True:\n    x += x", ":3:7: list + list has more than 4194304 elements"},
		{"list by a range in place", "[]\nwhile True:\n    x += range(1000000)", ":3:7: list + range has more than 4194304 elements"},
		{"extend", "[0]\nwhile True:\n    x.extend(x)", "extend: the list has more than 4194304 elements"},
		{"format", "\"a\"\nwhile True:\n    x = \"{}{}\".format(x, x)", "format: the formatted text may have more than 16777216 bytes"},
		{"format by position", `("{0}" * 100000).format("a" * 100000)`, "format: the formatted text may have"},
		{"format by name", `("{n}" * 100000).format(n = "a" * 100000)`, "format: the formatted text may have"},
		{"percent", "\"a\"\nwhile True:\n    x = \"%s%s\" % (x, x)", ":3:16: the formatted text may have more than 16777216 bytes"},
		{"percent by name", `"%(a)s" * 100000 % {"a": "b" * 100000}`, ":1:22: the formatted text may have"},
		{"percent in place", "\"%s%%s%%s\"\ny = \"a\" * 10000000\nx %= y\nx %= (y, y)", ":4:3: the formatted text may have"},
		{"percent in place of a field", "{\"f\": \"%s%s\"}\ny = \"a\" * 10000000\nx[\"f\"] %= (y, y)", ":3:8: the formatted text may have"},
		{"sprintf", "\"a\"\nwhile True:\n    x = sprintf(\"%s%s\", x, x)", "sprintf: the text has more than 16777216 bytes"},
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
		{`"a" + "b" + "c"`, `"abc"`},
		{`len("a" * 9000000 + "a" * 7000000)`, "16000000"},
		{`[0] * 2000 + [1] == [0] * 2000 + [1] * 1`, "True"},
		{`len((1,) * 2000 + (2,) * 2000)`, "4000"},
		{"len(b\"a\" * 2000 + b\"b\" * 2000)", "4000"},
		{`1 + 2 + 1.5`, "4.5"},
		{"time.second + 2 * time.second", "3s"},
		{`"%s-%d" % ("a", 7)`, `"a-7"`},
		{`"%s" % ["a"]`, `["a"]`},
		{`"%(a)s%(b)s" % {"a": 1, "b": "x"}`, `"1x"`},
		{`"%s" % {"a": 1}`, `{"a": 1}`},
		{"7 % 4", "3"},
		{"7 % (2 + 2)", "3"},
		{"-7.5 % len([1, 2])", "0.5"},
		{`"{}-{}".format("a", 1)`, `"a-1"`},
		{`"{1}{0}{n}".format("a", 1, n = "z")`, `"1az"`},
	} {
		source := "x = " + tt.expression + "\nif repr(x) != want and str(x) != want:\n    fail(repr(x))\n" + oneClass
		if _, err := loadSource(t, "want = "+"'''"+tt.want+"'''\n"+source); err != nil {
			t.Errorf("%s: %v, want %s", tt.expression, err, tt.want)
		}
	}
	if _, err := loadSource(t, `
x = []
y = x
x += range(2000)
x += [1] * 2000
x += ("a" * 2000).elems()
user = {"n": x}
user["n"] += x
if len(y) != 12000 or x != y or user["n"] != x:
    fail("got %d elements" % len(y))
z = x + [1] * 2000
if len(x) != 12000 or len(z) != 14000:
    fail("got %d and %d elements" % (len(x), len(z)))
`+oneClass); err != nil {
		t.Errorf("a list grows in place: %v", err)
	}
	for _, tt := range []struct{ expression, want string }{
		{`[] + "a" * 2000`, "unknown binary op: list + string"},
		{`"a" * 2000 + ["a"] * 2000`, "unknown binary op: string + list"},
		{"1 + [1] * 2000", "unknown binary op: int + list"},
		{"[]\nx += \"a\" * 2000", "unknown binary op: list + string"},
		{"[1]\nfor y in x:\n    x += range(2000)", "extend: cannot extend list during iteration"},
		{`"%d" % "a"`, "%d format requires integer: cannot convert string to int"},
		{`"%(b)s" % {"a": 1}`, "key not found: b"},
		{`"%s" % (1, 2)`, "too many arguments for format string"},
		{"[] % 2", "unknown binary op: list % int"},
		{"[] % []", "unknown binary op: list % list"},
		{`"{}".format()`, "format: tuple index out of range"},
		{"[].extend(1)", "extend: for parameter 1: got int, want iterable"},
		{"(1,).extend([1])", "tuple has no .extend field or method"},
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
