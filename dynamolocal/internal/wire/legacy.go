package wire

import "github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"

func (l *lexer) legacyMember(r *Request, key string) {
	switch key {
	case "AttributesToGet", "AttributeUpdates", "Expected", "KeyConditions", "QueryFilter", "ScanFilter", "ConditionalOperator":
	default:
		l.skip(0)
		return
	}
	if l.null() {
		return
	}
	r.Legacy = append(r.Legacy, key)
	switch key {
	case "AttributesToGet":
		r.Old.ToGet = l.strings((*lexer).str)
	case "ConditionalOperator":
		r.Old.Operator, _ = l.str()
	case "AttributeUpdates":
		l.legacyUpdates(&r.Old)
	case "Expected":
		r.Old.Expected = l.legacyTests(&r.Old, "ExpectedAttributeValue")
	case "KeyConditions":
		r.Old.KeyConditions = l.legacyTests(&r.Old, "Condition")
	case "QueryFilter":
		r.Old.FilterMember, r.Old.QueryFilter = "queryFilter", l.legacyTests(&r.Old, "Condition")
	case "ScanFilter":
		r.Old.FilterMember, r.Old.QueryFilter = "scanFilter", l.legacyTests(&r.Old, "Condition")
	}
}

func (l *lexer) legacyValue(o *Legacy) attr.Value {
	v, err := l.value(0)
	if err != nil && o.Err == nil {
		o.Err = err
	}
	return v
}

func (l *lexer) legacyUpdates(o *Legacy) {
	if !l.object(model + "AttributeValueUpdate") {
		return
	}
	first := true
	for l.next(&first, '}') {
		u := LegacyUpdate{Name: l.key(), Action: "PUT"}
		if err := attr.NameError(u.Name); err != nil && o.Err == nil {
			o.Err = err
		}
		if l.element("AttributeValueUpdate") {
			inner := true
			for l.next(&inner, '}') {
				switch l.key() {
				case "Action":
					if s, ok := l.str(); ok {
						u.Action = s
					}
				case "Value":
					if l.peek() == '{' {
						u.Value = l.legacyValue(o)
					} else {
						l.structure("AttributeValue")
					}
				default:
					l.skip(0)
				}
			}
		}
		o.Updates = append(o.Updates, u)
	}
}

func (l *lexer) legacyTests(o *Legacy, kind string) []LegacyTest {
	var out []LegacyTest
	if !l.object(model + kind) {
		return nil
	}
	first := true
	for l.next(&first, '}') {
		t := LegacyTest{Name: l.key(), Exists: true}
		if l.element(kind) {
			l.legacyTest(o, &t)
		}
		out = append(out, t)
	}
	return out
}

func (l *lexer) legacyTest(o *Legacy, t *LegacyTest) {
	first := true
	for l.next(&first, '}') {
		switch l.key() {
		case "ComparisonOperator":
			t.Operator, _ = l.str()
		case "Exists":
			l.flag(&t.Exists, &t.HasExists)
		case "Value":
			if l.peek() == '{' {
				t.Value, t.HasValue = l.legacyValue(o), true
			} else {
				l.structure("AttributeValue")
			}
		case "AttributeValueList":
			if !l.list() {
				continue
			}
			t.HasValues = true
			inner := true
			for l.next(&inner, ']') {
				t.Values = append(t.Values, l.legacyValue(o))
			}
		default:
			l.skip(0)
		}
	}
}
