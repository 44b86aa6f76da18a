package expression

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// request is the names and values of a request.
type request struct {
	names  map[string]string
	values map[string]attr.Value
}

func (r request) Name(placeholder string) (string, bool) {
	name, ok := r.names[placeholder]
	return name, ok
}

func (r request) Value(placeholder string) (attr.Value, bool) {
	v, ok := r.values[placeholder]
	return v, ok
}

func given() request {
	return request{
		names: map[string]string{"#a": "a", "#name": "name", "#d": "x.y"},
		values: map[string]attr.Value{
			":s": attr.String("hello"), ":he": attr.String("he"), ":n": attr.Int(10), ":one": attr.Int(1), ":five": attr.Int(5),
			":l": attr.ListOf([]attr.Value{attr.Int(1)}), ":t": attr.Bool(true), ":Q": attr.String("Q"), ":S": attr.String("S"),
			":m": attr.MapOf(attr.NewMap([]attr.Attr{{Name: "x", Value: attr.Int(1)}})),
		},
	}
}

// problem returns the error of an expression, "" when it is good.
func problem(t *testing.T, kind, text string) string {
	t.Helper()
	var b Bound
	err := b.Bind(NewCache().Parse(kind, text), given(), false)
	if err == nil && kind == "KeyCondition" {
		_, err = b.KeyTests()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestConditionErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "The expression can not be empty;"},
		{" ", `Syntax error; token: "<EOF>", near: " "`},
		{"INVALID SYNTAX HERE", `Syntax error; token: "SYNTAX", near: "INVALID SYNTAX HERE"`},
		{"!!! INVALID !!!", `Syntax error; token: "!", near: "!!"`},
		{"héllo = :s", `Syntax error; token: "é", near: "héllo"`},
		{"AND", `Syntax error; token: "AND", near: "AND"`},
		{"between = :s", `Syntax error; token: "between", near: "between ="`},
		{"a = :s AND OR b = :n", `Syntax error; token: "OR", near: "AND OR b"`},
		{"a = :s AND", `Syntax error; token: "<EOF>", near: "AND"`},
		{"a == :s", `Syntax error; token: "=", near: "== :s"`},
		{"a = 10", `Syntax error; token: "10", near: "= 10"`},
		{"a\n=\t10", "Syntax error; token: \"10\", near: \"=\t10\""},
		{"(a = :s", `Syntax error; token: "<EOF>", near: ":s"`},
		{"a IN ()", `Syntax error; token: ")", near: "()"`},
		{"((a = :s))", "The expression has redundant parentheses;"},
		{"((a = :s) AND b = :n)", ""},
		{"name = :s", "Attribute name is a reserved keyword; reserved keyword: name"},
		{"a.Value = :s", "Attribute name is a reserved keyword; reserved keyword: Value"},
		{"#name = :s", ""},
		{"#x = :s", "An expression attribute name used in the document path is not defined; attribute name: #x"},
		{"a = :x", "An expression attribute value used in expression is not defined; attribute value: :x"},
		{"foo(a)", "Invalid function name; function: foo"},
		{"Size(a) = :n", "Invalid function name; function: Size"},
		{"if_not_exists(a, :s) = :s", "The function is not allowed in a condition expression; function: if_not_exists"},
		{"size(a)", "The function is not allowed to be used this way in an expression; function: size"},
		{"attribute_exists(a) = :s", "The function is not allowed to be used this way in an expression; function: attribute_exists"},
		{"attribute_exists(:s)", "Operator or function requires a document path; operator or function: attribute_exists"},
		{"begins_with(a)", "Incorrect number of operands for operator or function; operator or function: begins_with, number of operands: 1"},
		{"size(a, b) = :n", "Incorrect number of operands for operator or function; operator or function: size, number of operands: 2"},
		{"begins_with(a, :n)", "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N"},
		{"begins_with(size(a), :he)", "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N"},
		{"a < :t", "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL"},
		{"attribute_type(a, :Q)", "Invalid attribute type name found; type: Q, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"},
		{"a = a", "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]"},
		{"a = #a", "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]"},
		{"a IN (b, a)", "The first operand must be distinct from the remaining operands for this operator or function; operator: IN, first operand: [a]"},
		{"a BETWEEN :one AND a", "The first operand must be distinct from the remaining operands for this operator or function; operator: BETWEEN, first operand: [a]"},
		{"a BETWEEN :n AND :s", "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {N:10}, upper bound operand: AttributeValue: {S:hello}"},
		{"a BETWEEN :n AND :one", "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {N:10}, upper bound operand: AttributeValue: {N:1}"},
	}
	for _, tt := range tests {
		want := tt.want
		if want != "" {
			want = "Invalid ConditionExpression: " + want
		}
		if got := problem(t, "Condition", tt.text); got != want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, want)
		}
	}
}

func TestUpdateErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"INVALID SYNTAX HERE", `Syntax error; token: "INVALID", near: "INVALID SYNTAX"`},
		{"SET", `Syntax error; token: "<EOF>", near: "SET"`},
		{"SET a = b + :n + :one", `Syntax error; token: "+", near: ":n + :one"`},
		{"SET a = (b + :n)", ""},
		{"SET a = ((b + :n))", "The expression has redundant parentheses;"},
		{"SET a = ((:n))", "The expression has redundant parentheses;"},
		{"SET a = :n SET b = :n", `The "SET" section can only be used once in an update expression;`},
		{"SET a = size(b)", "The function is not allowed in an update expression; function: size"},
		{"SET a = IF_NOT_EXISTS(a, :n)", "Invalid function name; function: IF_NOT_EXISTS"},
		{"SET a = if_not_exists(:n, :one)", "Operator or function requires a document path; operator or function: if_not_exists"},
		{"SET a = :s + :n", "Incorrect operand type for operator or function; operator or function: +, operand type: S"},
		{"SET a = list_append(:l, :n)", "Incorrect operand type for operator or function; operator or function: list_append, operand type: N"},
		{"ADD a :s", "Incorrect operand type for operator or function; operator: ADD, operand type: STRING"},
		{"DELETE a :n", "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER"},
		{"ADD a b", `Syntax error; token: "b", near: "a b"`},
		{"SET m = :m, m.a = :n", "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [m], path two: [m, a]"},
		{"SET m.a = :n REMOVE m[0]", "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [m, a], path two: [m, [0]]"},
		{"SET a = if_not_exists(a, :n) + :one, b = list_append(:l, b) REMOVE c ADD d :n", ""},
	}
	for _, tt := range tests {
		want := tt.want
		if want != "" {
			want = "Invalid UpdateExpression: " + want
		}
		if got := problem(t, "Update", tt.text); got != want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, want)
		}
	}
}

func TestKeyConditionErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{"a = :s AND begins_with(b, :he)", ""},
		{":s = a", ""},
		{"a = :s OR b = :n", "Invalid operator used in KeyConditionExpression: OR"},
		{"a <> :s", "Invalid operator used in KeyConditionExpression: <>"},
		{"contains(a, :s)", "Invalid operator used in KeyConditionExpression: contains"},
		{"a > :one AND a < :n", "KeyConditionExpressions must only contain one condition per key"},
		{"a.b = :s", "KeyConditionExpressions cannot have conditions on nested attributes"},
		{"a = :s AND size(b) = :n", "KeyConditionExpressions cannot contain nested operations"},
	}
	for _, tt := range tests {
		if got := problem(t, "KeyCondition", tt.text); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.text, got, tt.want)
		}
	}
}

func TestConditionTruth(t *testing.T) {
	item := attr.NewMap([]attr.Attr{
		{Name: "a", Value: attr.String("hello")}, {Name: "b", Value: attr.Int(10)}, {Name: "x.y", Value: attr.Int(1)},
		{Name: "l", Value: attr.ListOf([]attr.Value{attr.Int(1), attr.String("he")})}, {Name: "nul", Value: attr.Null()},
	})
	holds := []string{
		"a = :s", "b <= :n", "gone <> :s", "gone <> absent", "NOT gone = :s", "a > :he", "b BETWEEN :five AND :n", "b IN (:one, :n)",
		"size(a) = :five", ":five = size(a)", "size(l) > :one", "#d = :one", "l[0] = :one", "contains(l, :he)", "contains(a, :he)",
		"attribute_exists(nul)", "attribute_not_exists(a.b)", "attribute_type(a, :S)", "begins_with(a, :he)", "NOT begins_with(b, :he)",
		"a = :s OR gone = :n AND gone = :one", "NOT a = :he and b = :n", "(a) = :s",
	}
	fails := []string{
		"a = :n", "gone = absent", "gone < :n", "a < :n", "size(b) > :one", "size(gone) = :five", "attribute_exists(l[2])", "NOT (a = :s OR gone = :n)",
		"b BETWEEN :one AND :five", "contains(l, :n)", "attribute_type(gone, :S)", "(a = :s OR gone = :n) AND b = :one",
	}
	for want, texts := range map[bool][]string{true: holds, false: fails} {
		for _, text := range texts {
			var b Bound
			if err := b.Bind(NewCache().Parse("Condition", text), given(), false); err != nil {
				t.Errorf("%q: %v", text, err)
				continue
			}
			if got := b.Holds(item); got != want {
				t.Errorf("%q is %v, want %v", text, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"a = :s AND NOT (b < :n)", "SET a = if_not_exists(a, :n) + :one REMOVE b[1].c", "a, b.c, d[0]", "((", "#a IN (:n, :s)"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for kind := range grammars {
			var b Bound
			if b.Bind(NewCache().Parse(kind, text), given(), false) == nil && kind == "Condition" {
				b.Holds(nil)
			}
		}
	})
}

func TestRemovalsMeanTheOldPositions(t *testing.T) {
	element := func(x int64) attr.Value {
		return attr.MapOf(attr.NewMap([]attr.Attr{{Name: "x", Value: attr.Int(x)}, {Name: "y", Value: attr.Int(x)}}))
	}
	item := attr.NewMap([]attr.Attr{{Name: "l", Value: attr.ListOf([]attr.Value{element(0), element(1), element(2)})}})
	for _, text := range []string{"REMOVE l[0], l[1].x", "REMOVE l[1].x, l[0]"} {
		var b Bound
		if err := b.Bind(NewCache().Parse("Update", text), given(), false); err != nil {
			t.Fatal(err)
		}
		draft := attr.NewShapes().Draft(item)
		if err := b.Apply(item, &draft); err != nil {
			t.Fatal(err)
		}
		list := draft.Item().Get("l").Values()
		if len(list) != 2 || list[0].Map().Get("x").Exists() || list[0].Map().Get("y").Key() != "1" || !list[1].Map().Get("x").Exists() {
			t.Errorf("%s left %d elements; the first has x: %v", text, len(list), list[0].Map().Get("x").Exists())
		}
	}
}

func TestDeleteNeedsTheParent(t *testing.T) {
	r := given()
	r.values[":set"], _ = attr.StringSet([]string{"a"})
	item := attr.NewMap([]attr.Attr{{Name: "m", Value: attr.MapOf(attr.NewMap(nil))}, {Name: "a", Value: attr.Int(1)}})
	for text, want := range map[string]error{"DELETE gone :set": nil, "DELETE m.gone :set": nil, "DELETE gone.x :set": errDocumentPath, "DELETE a.x :set": errDocumentPath, "DELETE m[0] :set": errDocumentPath} {
		var b Bound
		if err := b.Bind(NewCache().Parse("Update", text), r, false); err != nil {
			t.Fatal(err)
		}
		draft := attr.NewShapes().Draft(item)
		if err := b.Apply(item, &draft); err != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
