package dynamolocal

import (
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// placeholders are the names and values of one request; it remembers which of them were used.
type placeholders struct {
	request    *wire.Request
	usedNames  uint64
	usedValues uint64
}

// Name implements expression.Placeholders.
func (p *placeholders) Name(placeholder string) (string, bool) {
	for i := range p.request.Names {
		if p.request.Names[i].Key == placeholder {
			p.usedNames |= 1 << (i & 63)
			return p.request.Names[i].Name, true
		}
	}
	return "", false
}

// Value implements expression.Placeholders.
func (p *placeholders) Value(placeholder string) (attr.Value, bool) {
	for i := range p.request.Values {
		if p.request.Values[i].Name == placeholder {
			p.usedValues |= 1 << (i & 63)
			return p.request.Values[i].Value, true
		}
	}
	return attr.Value{}, false
}

// expressions binds the expressions of one request.
type expressions struct {
	engine *Engine
	with   placeholders
	long   bool
}

func (e *Engine) expressionsOf(r *wire.Request) expressions {
	return expressions{engine: e, with: placeholders{request: r}, long: e.config.Wording == Wording2026}
}

// named is an expression member with the name that errors give it.
type named struct {
	kind string
	text wire.Text
}

// check validates names, values and legacy members against the expressions that the operation has.
func (x *expressions) check(members ...named) error {
	r := x.with.request
	any := false
	for _, m := range members {
		any = any || m.text.Set
	}
	if err := checkLegacy(r, members); err != nil {
		return err
	}
	if !any {
		if r.HasName {
			return strictly("ExpressionAttributeNames can only be specified when using expressions")
		}
		if r.HasVals {
			return strictly("ExpressionAttributeValues can only be specified when using expressions: " + absent(members))
		}
		return nil
	}
	if r.HasName && len(r.Names) == 0 {
		return strictly("ExpressionAttributeNames must not be empty")
	}
	for i := range r.Names {
		if !validPlaceholder(r.Names[i].Key, '#') {
			return validation("ExpressionAttributeNames contains invalid key: Syntax error; key: \"" + r.Names[i].Key + "\"")
		}
		if err := attr.NameError(r.Names[i].Name); err != nil {
			return validation("ExpressionAttributeNames contains invalid value: " + err.Error() + " for key " + r.Names[i].Key)
		}
	}
	if r.HasVals && len(r.Values) == 0 {
		return strictly("ExpressionAttributeValues must not be empty")
	}
	for i := range r.Values {
		if !validPlaceholder(r.Values[i].Name, ':') {
			return validation("ExpressionAttributeValues contains invalid key: Syntax error; key: \"" + r.Values[i].Name + "\"")
		}
	}
	if r.ValueErr != nil {
		inner := asAPIError(r.ValueErr)
		return &apiError{code: codeValidation, strict: inner.strict,
			message: "ExpressionAttributeValues contains invalid value: " + inner.message + " for key " + r.ValueErrKey}
	}
	return nil
}

func strictly(message string) error {
	return &apiError{code: codeValidation, message: message, strict: true}
}

func absent(members []named) string {
	names := make([]string, 0, len(members))
	for _, m := range members {
		if m.kind != "Projection" {
			names = append(names, m.kind+"Expression")
		}
	}
	if len(names) == 1 {
		return names[0] + " is null"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " are null"
}

// legacyMembers is the order in which errors list the members of the older style.
var legacyMembers = []string{"AttributesToGet", "AttributeUpdates", "QueryFilter", "ScanFilter", "Expected", "ConditionalOperator", "KeyConditions"}

// checkLegacy refuses members of the older style beside expressions.
func checkLegacy(r *wire.Request, members []named) error {
	if len(r.Legacy) == 0 {
		return nil
	}
	var given []string
	for _, m := range members {
		if m.text.Set {
			given = append(given, m.kind+"Expression")
		}
	}
	// KeyConditions go with expressions other than their own.
	old := slices.Clone(r.Legacy)
	if !r.KeyCondition.Set {
		old = slices.DeleteFunc(old, func(name string) bool { return name == "KeyConditions" })
	}
	if len(given) == 0 || len(old) == 0 {
		return nil
	}
	slices.SortFunc(old, func(a, b string) int { return slices.Index(legacyMembers, a) - slices.Index(legacyMembers, b) })
	return strictly("Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {" +
		strings.Join(old, ", ") + "} Expression parameters: {" + strings.Join(given, ", ") + "}")
}

func validPlaceholder(key string, mark byte) bool {
	if len(key) < 2 || key[0] != mark {
		return false
	}
	for i := range len(key) - 1 {
		c := key[i+1]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// bind parses and binds one expression; bound is untouched when the member is absent.
func (x *expressions) bind(bound *expression.Bound, kind string, text wire.Text) (ok bool, err error) {
	if !text.Set {
		return false, nil
	}
	return true, bound.Bind(x.engine.forms.Parse(kind, text.S), &x.with, x.long)
}

// syntax refuses texts that are no expressions; that comes before placeholders without a meaning.
func (x *expressions) syntax(members ...named) error {
	for _, m := range members {
		if m.text.Set {
			if err := x.engine.forms.Parse(m.kind, m.text.S).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unused refuses names and values that no expression used.
func (x *expressions) unused() error {
	r := x.with.request
	if len(r.Names) > 64 || len(r.Values) > 64 {
		return nil
	}
	if x.with.usedNames != 1<<len(r.Names)-1 {
		var keys []string
		for i := range r.Names {
			if x.with.usedNames&(1<<i) == 0 {
				keys = append(keys, r.Names[i].Key)
			}
		}
		return strictly("Value provided in ExpressionAttributeNames unused in expressions: keys: {" + strings.Join(keys, ", ") + "}")
	}
	if x.with.usedValues != 1<<len(r.Values)-1 {
		var keys []string
		for i := range r.Values {
			if x.with.usedValues&(1<<i) == 0 {
				keys = append(keys, r.Values[i].Name)
			}
		}
		return strictly("Value provided in ExpressionAttributeValues unused in expressions: keys: {" + strings.Join(keys, ", ") + "}")
	}
	return nil
}
