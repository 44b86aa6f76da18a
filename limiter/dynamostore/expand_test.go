package dynamostore_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	gocmp "github.com/google/go-cmp/cmp"
)

// expanded is an update with its placeholders replaced, clause by clause and in order, so that two
// updates that mean the same are equal.
type expanded struct {
	Set, Remove, Add, Condition []string
}

func expand(t *testing.T, update, condition *string, names map[string]string, values item) expanded {
	t.Helper()
	var pairs [][2]string
	for p, name := range names {
		pairs = append(pairs, [2]string{p, name})
	}
	for p, v := range values {
		pairs = append(pairs, [2]string{p, show(v)})
	}
	// Longer placeholders first: ":v1" is the start of ":v10".
	slices.SortFunc(pairs, func(a, b [2]string) int { return cmp.Compare(len(b[0]), len(a[0])) })
	text := aws.ToString(update) + "\x00" + aws.ToString(condition)
	for _, p := range pairs {
		if !strings.Contains(text, p[0]) {
			t.Errorf("placeholder %s (%s) is not used", p[0], p[1])
		}
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	if strings.ContainsAny(text, "#:") {
		t.Errorf("placeholder left over in %q", text)
	}
	updateText, conditionText, _ := strings.Cut(text, "\x00")
	var out expanded
	for _, clause := range []struct {
		word string
		into *[]string
	}{{"ADD ", &out.Add}, {"REMOVE ", &out.Remove}, {"SET ", &out.Set}} {
		before, parts, ok := strings.Cut(" "+updateText, " "+clause.word)
		if ok {
			*clause.into = strings.Split(parts, ", ")
			updateText = strings.TrimPrefix(before, " ")
		}
	}
	if conditionText != "" {
		out.Condition = splitAnd(conditionText)
	}
	for _, l := range [][]string{out.Set, out.Remove, out.Add, out.Condition} {
		slices.Sort(l)
	}
	return out
}

// splitAnd splits at the ANDs outside brackets.
func splitAnd(text string) []string {
	var parts []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 && strings.HasPrefix(text[i:], " AND ") {
			parts = append(parts, text[start:i])
			start = i + len(" AND ")
		}
	}
	return append(parts, text[start:])
}

func show(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberS:
		return "'" + v.Value + "'"
	case *types.AttributeValueMemberBOOL:
		return fmt.Sprint(v.Value)
	case *types.AttributeValueMemberNULL:
		return "null"
	case *types.AttributeValueMemberSS:
		return fmt.Sprintf("%q", v.Value)
	}
	return fmt.Sprintf("%T", v)
}

func showItem(it item) map[string]string {
	out := make(map[string]string, len(it))
	for name, v := range it {
		out[name] = show(v)
	}
	return out
}

func diff(t *testing.T, got, want any) {
	t.Helper()
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("got +, want -:\n%s", d)
	}
}
