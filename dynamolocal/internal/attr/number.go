package attr

import (
	"cmp"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
	"unsafe"
)

// Limits of a number: significant digits, and the decimal exponents of the
// largest and the smallest magnitude.
const (
	maxDigits   = 38
	maxExponent = 125
	minExponent = -130
)

// Messages of number errors.
const (
	msgDigits    = "Attempting to store more than 38 significant digits in a Number"
	msgOverflow  = "Number overflow. Attempting to store a number with magnitude larger than supported range"
	msgUnderflow = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
	msgNumber    = "The parameter cannot be converted to a numeric value"
)

// decimal is a number as its significant digits times a power of ten. It is
// the form of numbers that do not fit a small Value, and of all slow paths.
// digits has no leading or trailing zeros and is empty for zero.
type decimal struct {
	neg    bool
	digits string
	exp    int
}

// Int returns the N value of i.
func Int(i int64) Value { return Value{n: uint64(i), kind: N} }

// small reports whether v is coefficient × 10^exp held in the value itself.
// The form is canonical: an integer that fits has exponent 0, a fraction has
// no trailing zero in its coefficient.
func (v Value) small() bool { return v.p == nil }

// Integer returns v as an int64 when it is an integer that fits.
func (v Value) Integer() (int64, bool) {
	return int64(v.n), v.kind == N && v.p == nil && v.exp == 0
}

// ParseNumber reads a number in the service's grammar.
func ParseNumber(s string) (Value, error) {
	if v, ok := parseInteger(s); ok {
		return v, nil
	}
	if s == "" {
		return Value{}, valueError(msgNumber)
	}
	d, ok := parseDecimal(s)
	if !ok {
		return Value{}, valueError(msgNumber + ": " + strings.Clone(s))
	}
	return d.value()
}

// parseInteger reads what most numbers are: up to 18 plain digits.
func parseInteger(s string) (Value, bool) {
	i, neg := 0, false
	if s != "" && s[0] == '-' {
		i, neg = 1, true
	}
	if n := len(s) - i; n == 0 || n > 18 {
		return Value{}, false
	}
	var c int64
	for ; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return Value{}, false
		}
		c = c*10 + int64(d)
	}
	if neg {
		c = -c
	}
	return Int(c), true
}

func parseDecimal(s string) (decimal, bool) {
	var d decimal
	i := 0
	if s[0] == '-' || s[0] == '+' {
		d.neg = s[0] == '-'
		i++
	}
	digits := make([]byte, 0, min(len(s), 64))
	seen, point, leading := 0, -1, true
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && point < 0 {
			point = seen
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen++
		if c == '0' && leading {
			continue
		}
		leading = false
		digits = append(digits, c)
	}
	if seen == 0 {
		return d, false
	}
	if point >= 0 {
		d.exp = point - seen
	}
	if i < len(s) {
		if s[i] != 'e' && s[i] != 'E' {
			return d, false
		}
		e, ok := parseExponent(s[i+1:])
		if !ok {
			return d, false
		}
		d.exp += e
	}
	d.digits = string(digits)
	return d.strip(), true
}

// parseExponent reads a signed integer; what is beyond any supported range is
// cut to a value that still is.
func parseExponent(s string) (int, bool) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" {
		return 0, false
	}
	e := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		e = min(e*10+int(s[i]-'0'), 1<<30)
	}
	if neg {
		e = -e
	}
	return e, true
}

// strip moves trailing zeros into the exponent.
func (d decimal) strip() decimal {
	t := strings.TrimRight(d.digits, "0")
	d.exp += len(d.digits) - len(t)
	d.digits = t
	if t == "" {
		return decimal{}
	}
	return d
}

// value checks the range of a stripped decimal and packs it.
func (d decimal) value() (Value, error) {
	if d.digits == "" {
		return Int(0), nil
	}
	switch magnitude := len(d.digits) + d.exp - 1; {
	case magnitude > maxExponent:
		return Value{}, valueError(msgOverflow)
	case magnitude < minExponent:
		return Value{}, valueError(msgUnderflow)
	case len(d.digits) > maxDigits:
		return Value{}, valueError(msgDigits)
	}
	if v, ok := d.pack(); ok {
		return v, nil
	}
	return Value{p: unsafe.Pointer(&d), kind: N}, nil
}

func (d decimal) pack() (Value, bool) {
	digits, exp := d.digits, d.exp
	if exp > 0 && len(digits)+exp <= 19 {
		digits += "0000000000000000000"[:exp]
		exp = 0
	}
	if exp > 0 || len(digits) > 19 {
		return Value{}, false
	}
	c, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return Value{}, false
	}
	if d.neg {
		c = -c
	}
	return Value{n: uint64(c), kind: N, exp: int16(exp)}, true
}

// decimal returns the slow form of v.
func (v Value) decimal() decimal {
	if !v.small() {
		return *(*decimal)(v.p)
	}
	var buf [20]byte
	text := strconv.AppendInt(buf[:0], int64(v.n), 10)
	d := decimal{exp: int(v.exp)}
	if text[0] == '-' {
		d.neg = true
		text = text[1:]
	}
	d.digits = string(text)
	return d.strip()
}

// AppendNumber appends the canonical plain decimal text of the N value v.
func AppendNumber(dst []byte, v Value) []byte {
	if v.small() && v.exp == 0 {
		return strconv.AppendInt(dst, int64(v.n), 10)
	}
	d := v.decimal()
	if d.digits == "" {
		return append(dst, '0')
	}
	if d.neg {
		dst = append(dst, '-')
	}
	switch whole := len(d.digits) + d.exp; {
	case d.exp >= 0:
		dst = append(dst, d.digits...)
		for range d.exp {
			dst = append(dst, '0')
		}
	case whole > 0:
		dst = append(dst, d.digits[:whole]...)
		dst = append(dst, '.')
		dst = append(dst, d.digits[whole:]...)
	default:
		dst = append(dst, "0."...)
		for range -whole {
			dst = append(dst, '0')
		}
		dst = append(dst, d.digits...)
	}
	return dst
}

// NumberText returns the canonical plain decimal text of the N value v.
func (v Value) NumberText() string {
	var buf [48]byte
	return string(AppendNumber(buf[:0], v))
}

// CompareNumbers orders two N values by value.
func CompareNumbers(a, b Value) int {
	if a.small() && b.small() && a.exp == b.exp {
		return cmp.Compare(int64(a.n), int64(b.n))
	}
	return a.decimal().compare(b.decimal())
}

func (d decimal) compare(o decimal) int {
	ds, os := d.sign(), o.sign()
	if ds != os || ds == 0 {
		return cmp.Compare(ds, os)
	}
	c := cmp.Compare(len(d.digits)+d.exp, len(o.digits)+o.exp)
	if c == 0 {
		// Equal magnitude: without trailing zeros the digit strings order as
		// fractions do, a prefix before its extensions.
		c = strings.Compare(d.digits, o.digits)
	}
	return c * ds
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.neg:
		return -1
	}
	return 1
}

// Add returns a + b exactly, or the error of a result that cannot be stored.
func Add(a, b Value) (Value, error) {
	if a.small() && b.small() && a.exp == 0 && b.exp == 0 {
		x, y := int64(a.n), int64(b.n)
		if sum := x + y; (sum > x) == (y > 0) {
			return Int(sum), nil
		}
	}
	return addDecimals(a.decimal(), b.decimal())
}

// Sub returns a - b exactly, or the error of a result that cannot be stored.
func Sub(a, b Value) (Value, error) {
	if a.small() && b.small() && a.exp == 0 && b.exp == 0 {
		x, y := int64(a.n), int64(b.n)
		if diff := x - y; (diff < x) == (y > 0) {
			return Int(diff), nil
		}
	}
	d := b.decimal()
	d.neg = !d.neg
	return addDecimals(a.decimal(), d)
}

func addDecimals(a, b decimal) (Value, error) {
	if a.digits == "" {
		return b.value()
	}
	if b.digits == "" {
		return a.value()
	}
	exp := min(a.exp, b.exp)
	sum := new(big.Int).Add(a.integer(exp), b.integer(exp))
	d := decimal{exp: exp, digits: sum.String()}
	if strings.HasPrefix(d.digits, "-") {
		d.neg, d.digits = true, d.digits[1:]
	}
	if d.digits == "0" {
		return Int(0), nil
	}
	return d.strip().value()
}

// integer returns d / 10^exp for an exp that leaves no fraction.
func (d decimal) integer(exp int) *big.Int {
	i, _ := new(big.Int).SetString(d.digits+strings.Repeat("0", d.exp-exp), 10)
	if d.neg {
		i.Neg(i)
	}
	return i
}

// numberSize is 1 + half a byte per significant digit, the digits before and
// after the point rounded up on their own, and one more byte when negative.
func (v Value) numberSize() int {
	if v.small() && v.exp == 0 {
		return integerSize(int64(v.n))
	}
	d := v.decimal()
	if d.digits == "" {
		return 1
	}
	left, right := len(d.digits), 0
	if d.exp < 0 {
		left = max(0, len(d.digits)+d.exp)
		right = len(d.digits) - left
	}
	size := 1 + (left+1)/2 + (right+1)/2
	if d.neg {
		size++
	}
	return size
}

func integerSize(c int64) int {
	if c == 0 {
		return 1
	}
	size := 1
	u := uint64(c)
	if c < 0 {
		size++
		u = -u
	}
	for u%10 == 0 {
		u /= 10
	}
	return size + (decimalLength(u)+1)/2
}

// powers of ten that a uint64 holds.
var powers = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// decimalLength is the number of decimal digits of u > 0.
func decimalLength(u uint64) int {
	n := bits.Len64(u) * 1233 >> 12 // floor(log10) or one more
	if u >= powers[n] {
		return n + 1
	}
	return n
}
