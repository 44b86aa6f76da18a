package stats

import "testing"

func TestErrorKeysAreLocusts(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"x", "2b021d4e302ad4c44e78026b5f8e51499225d38eeec7202f3385d9a6ac8e71df"},
		{"CatchResponseError('bad status')", "120b583fe7dcf86692d21cc36ad4b82330af7c12f4b6f393aa587b2a6a370bb1"},
	} {
		if got := (ErrorKey{Type: "GET", Name: "/x", Text: test.text}).Locust(); got != test.want {
			t.Errorf("the key of %s is %s, want %s", test.text, got, test.want)
		}
	}
}

// The literals are what Python prints.
func TestTextsAreQuotedAsPythonDoes(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `''`,
		"a'b":                    `"a'b"`,
		"a\"b":                   `'a"b'`,
		"a'\"b":                  `'a\'"b'`,
		"back\\slash\n\r\t\x00":  `'back\\slash\n\r\t\x00'`,
		"\x7f\u00a0\u00e9":       `'\x7f\xa0é'`,
		"\u200b\u2028\U000e0001": `'\u200b\u2028\U000e0001'`,
		"日本 😀":                   `'日本 😀'`,
	} {
		if got := pythonRepr(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
