package attr

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func rat(t *rapid.T, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is not a number", text)
	}
	return r
}

var numberTexts = rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,12})?([eE][+-]?[0-9])?`)

func TestNumbersAgreeWithRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := numberTexts.Draw(t, "x"), numberTexts.Draw(t, "y")
		a, errA := ParseNumber(x)
		b, errB := ParseNumber(y)
		if errA != nil || errB != nil {
			t.Fatalf("ParseNumber(%q), ParseNumber(%q): %v, %v", x, y, errA, errB)
		}
		p, q := rat(t, x), rat(t, y)
		if rat(t, a.NumberText()).Cmp(p) != 0 {
			t.Errorf("text of %q is %q", x, a.NumberText())
		}
		if again, err := ParseNumber(a.NumberText()); err != nil || again.NumberText() != a.NumberText() || !Equal(a, again) {
			t.Errorf("%q is not canonical", a.NumberText())
		}
		if got, want := CompareNumbers(a, b), p.Cmp(q); got != want {
			t.Errorf("CompareNumbers(%q, %q) = %d, want %d", x, y, got, want)
		}
		if sum, err := Add(a, b); err == nil && rat(t, sum.NumberText()).Cmp(new(big.Rat).Add(p, q)) != 0 {
			t.Errorf("%q + %q = %q", x, y, sum.NumberText())
		}
		if diff, err := Sub(a, b); err == nil && rat(t, diff.NumberText()).Cmp(new(big.Rat).Sub(p, q)) != 0 {
			t.Errorf("%q - %q = %q", x, y, diff.NumberText())
		}
	})
}

func TestNumberTexts(t *testing.T) {
	const nines = "99999999999999999999999999999999999999"
	for in, want := range map[string]string{
		"1.50": "1.5", "1E3": "1000", "1e-7": "0.0000001", "-0": "0", "+5": "5", ".5": "0.5", "5.": "5",
		"00.10": "0.1", nines: nines, "9223372036854775808": "9223372036854775808", "-9223372036854775808": "-9223372036854775808",
	} {
		if v, err := ParseNumber(in); err != nil || v.NumberText() != want {
			t.Errorf("ParseNumber(%q) = %q, %v, want %q", in, v.NumberText(), err, want)
		}
	}
	for in, want := range map[string]string{
		"": msgNumber, " 1": msgNumber + ":  1", "0x1": msgNumber + ": 0x1", "1_0": msgNumber + ": 1_0",
		"NaN": msgNumber + ": NaN", "1e": msgNumber + ": 1e", nines + "9": msgDigits, "1e126": msgOverflow, "1e-131": msgUnderflow,
	} {
		if _, err := ParseNumber(in); err == nil || err.Error() != want {
			t.Errorf("ParseNumber(%q): %v, want %q", in, err, want)
		}
	}
	big40, _ := ParseNumber("1e40")
	if _, err := Add(big40, Int(1)); err == nil || err.Error() != msgDigits {
		t.Errorf("1e40 + 1: %v, want %q", err, msgDigits)
	}
}
