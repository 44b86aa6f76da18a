package locustfile

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"
)

// maxWidth bounds the width and precision of a conversion.
const maxWidth = 10_000

// sprintf formats as C does.
func sprintf(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) == 0 || len(kwargs) > 0 {
		return nil, errors.New("sprintf: want a format and its values")
	}
	format, ok := starlark.AsString(args[0])
	if !ok {
		return nil, fmt.Errorf("sprintf: the format must be a string, got %s", args[0].Type())
	}
	p := printer{format: format, values: args[1:]}
	if err := p.run(); err != nil {
		return nil, fmt.Errorf("sprintf: %w", err)
	}
	return starlark.String(p.out.String()), nil
}

type printer struct {
	format string
	values []starlark.Value
	next   int
	out    strings.Builder
}

func (p *printer) run() error {
	for i := 0; i < len(p.format); {
		if p.format[i] != '%' {
			p.out.WriteByte(p.format[i])
			i++
			continue
		}
		n, err := p.conversion(p.format[i:])
		if err != nil {
			return err
		}
		i += n
		if p.out.Len() > maxText {
			return fmt.Errorf("the text has more than %d bytes", maxText)
		}
	}
	if p.next < len(p.values) {
		return fmt.Errorf("%d values for a format that takes %d", len(p.values), p.next)
	}
	return nil
}

// conversion formats one conversion at the start of text and returns its length.
func (p *printer) conversion(text string) (length int, err error) {
	i := 1
	for i < len(text) && strings.IndexByte("-+ #0", text[i]) >= 0 {
		i++
	}
	flags := text[1:i]
	width, i, err := p.number(text, i)
	if err != nil {
		return 0, err
	}
	precision := -1
	if i < len(text) && text[i] == '.' {
		if precision, i, err = p.number(text, i+1); err != nil {
			return 0, err
		}
		precision = max(precision, 0)
	}
	for i < len(text) && strings.IndexByte("hlLqjzt", text[i]) >= 0 {
		i++ // C's sizes mean nothing here
	}
	if i >= len(text) {
		return 0, fmt.Errorf("the format ends in %q", text)
	}
	if width < -1 {
		flags, width = flags+"-", -width
	}
	verb := text[i]
	if verb == '%' {
		p.out.WriteByte('%')
		return i + 1, nil
	}
	return i + 1, p.value(verb, flags, width, precision)
}

// number reads a width or precision; -1 when there is none.
func (p *printer) number(text string, i int) (n, end int, err error) {
	if i < len(text) && text[i] == '*' {
		v, err := p.take()
		if err != nil {
			return 0, 0, err
		}
		width, err := starlark.AsInt32(v)
		if err != nil || width > maxWidth || width < -maxWidth {
			return 0, 0, fmt.Errorf("a width must be a number up to %d, got %s", maxWidth, v)
		}
		return width, i + 1, nil
	}
	n = -1
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		n = max(n, 0)*10 + int(text[i]-'0')
		if n > maxWidth {
			return 0, 0, fmt.Errorf("a width or precision is above %d", maxWidth)
		}
	}
	return n, i, nil
}

func (p *printer) take() (starlark.Value, error) {
	if p.next >= len(p.values) {
		return nil, fmt.Errorf("%d values are not enough for the format", len(p.values))
	}
	p.next++
	return p.values[p.next-1], nil
}

// notFinite writes inf and nan as C spells them; zeros do not pad them.
func (p *printer) notFinite(f float64, verb byte, flags string, width int) {
	text := "nan"
	switch {
	case math.IsInf(f, -1):
		text = "-inf"
	case math.IsInf(f, 1) && strings.Contains(flags, "+"):
		text = "+inf"
	case math.IsInf(f, 1):
		text = "inf"
	}
	if verb < 'a' {
		text = strings.ToUpper(text)
	}
	if strings.Contains(flags, "-") {
		width = -width
	}
	fmt.Fprintf(&p.out, "%*s", width, text)
}

func (p *printer) value(verb byte, flags string, width, precision int) error {
	v, err := p.take()
	if err != nil {
		return err
	}
	var arg any
	switch verb {
	case 'd', 'i', 'u', 'x', 'X', 'o':
		n, err := starlark.NumberToInt(v)
		if err != nil {
			return fmt.Errorf("%%%c needs a number, got %s", verb, v.Type())
		}
		arg = n.BigInt()
		if verb == 'i' || verb == 'u' {
			verb = 'd'
		}
		if precision >= 0 {
			flags = strings.ReplaceAll(flags, "0", "")
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		f, ok := starlark.AsFloat(v)
		if !ok {
			return fmt.Errorf("%%%c needs a number, got %s", verb, v.Type())
		}
		arg = f
		if math.IsInf(f, 0) || math.IsNaN(f) {
			p.notFinite(f, verb, flags, width)
			return nil
		}
		if (verb == 'g' || verb == 'G') && precision < 0 {
			precision = 6
		}
	case 's':
		text, ok := starlark.AsString(v)
		if !ok {
			text = v.String()
		}
		arg = text
		flags = strings.ReplaceAll(flags, "0", "")
	case 'c':
		text, ok := starlark.AsString(v)
		if n, isInt := v.(starlark.Int); isInt {
			code, err := starlark.AsInt32(n)
			if err != nil {
				return fmt.Errorf("%%c needs a character, got %s", v)
			}
			text, ok = string(rune(code)), true
		}
		if !ok {
			return fmt.Errorf("%%c needs a character, got %s", v.Type())
		}
		arg, verb = text, 's'
	default:
		return fmt.Errorf("%%%c is no conversion", verb)
	}
	spec := "%" + flags
	if width >= 0 {
		spec += fmt.Sprint(width)
	}
	if precision >= 0 {
		spec += fmt.Sprintf(".%d", precision)
	}
	fmt.Fprintf(&p.out, spec+string(verb), arg)
	return nil
}
