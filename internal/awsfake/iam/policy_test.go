package iam

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPoliciesDecide(t *testing.T) {
	bucket := `{"Statement":[
		{"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:Query"],"Resource":["arn:t","arn:t/index/*"]},
		{"Effect":"Allow","Action":"dynamodb:PutItem","Resource":"arn:t","Condition":{
			"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["${aws:PrincipalTag/ns}/BUCKET#*"]},"Null":{"dynamodb:LeadingKeys":"false"}}}]}`
	deny := `{"Statement":{"Effect":"Deny","Action":"ec2:*","Resource":"*","Condition":{"ArnEquals":{"lambda:SourceFunctionArn":"arn:f"}}}}`
	all := `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	for _, test := range []struct {
		name     string
		policies []string
		action   string
		resource string
		keys     map[string][]string
		want     decision
	}{
		{"a listed action on the resource", []string{bucket}, "dynamodb:GetItem", "arn:t", nil, allowed},
		{"actions in any case", []string{bucket}, "DynamoDB:getitem", "arn:t", nil, allowed},
		{"a wildcard in the resource", []string{bucket}, "dynamodb:Query", "arn:t/index/GSI4", nil, allowed},
		{"another resource", []string{bucket}, "dynamodb:Query", "arn:u", nil, silent},
		{"another action", []string{bucket}, "dynamodb:Scan", "arn:t", nil, silent},
		{"every leading key below the tag's value", []string{bucket}, "dynamodb:PutItem", "arn:t", map[string][]string{"dynamodb:leadingkeys": {"a/BUCKET#1", "a/BUCKET#2"}, "aws:principaltag/ns": {"a"}}, allowed},
		{"one leading key elsewhere", []string{bucket}, "dynamodb:PutItem", "arn:t", map[string][]string{"dynamodb:leadingkeys": {"a/BUCKET#1", "b/BUCKET#2"}, "aws:principaltag/ns": {"a"}}, silent},
		{"no leading key where Null forbids it", []string{bucket}, "dynamodb:PutItem", "arn:t", map[string][]string{"aws:principaltag/ns": {"a"}}, silent},
		{"a variable that the request lacks", []string{bucket}, "dynamodb:PutItem", "arn:t", map[string][]string{"dynamodb:leadingkeys": {"a/BUCKET#1"}}, silent},
		{"a denial wins", []string{all, deny}, "ec2:DescribeSubnets", "*", map[string][]string{"lambda:sourcefunctionarn": {"arn:f"}}, denied},
		{"a denial for others", []string{deny, all}, "ec2:DescribeSubnets", "*", nil, allowed},
		{"NotAction", []string{`{"Statement":{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}}`}, "iam:GetRole", "r", nil, silent},
		{"NotAction for others", []string{`{"Statement":{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}}`}, "ecs:RunTask", "r", nil, allowed},
		{"NotResource", []string{`{"Statement":{"Effect":"Allow","Action":"*","NotResource":"arn:secret*"}}`}, "s:A", "arn:secret/1", nil, silent},
		{"IfExists without the key", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"k":"v"}}}}`}, "s:A", "r", nil, allowed},
		{"IfExists with another value", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"k":"v"}}}}`}, "s:A", "r", map[string][]string{"k": {"w"}}, silent},
		{"StringEquals without the key", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"k":"v"}}}}`}, "s:A", "r", nil, silent},
		{"StringNotEquals without the key", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"k":"v"}}}}`}, "s:A", "r", nil, allowed},
		{"Bool", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"k":true}}}}`}, "s:A", "r", map[string][]string{"k": {"True"}}, allowed},
		{"ForAnyValue", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"k":["v","w"]}}}}`}, "s:A", "r", map[string][]string{"k": {"x", "w"}}, allowed},
		{"ArnLike", []string{`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"ecs:cluster":"arn:aws:ecs:*:*:cluster/c"}}}}`}, "s:A", "r", map[string][]string{"ecs:cluster": {"arn:aws:ecs:us-east-1:1:cluster/c"}}, allowed},
		{"no policy", nil, "s:A", "r", nil, silent},
	} {
		t.Run(test.name, func(t *testing.T) {
			var documents []document
			for _, text := range test.policies {
				doc, err := parsePolicy(text, false)
				if err != nil {
					t.Fatal(err)
				}
				documents = append(documents, doc)
			}
			if got := decide(documents, request{action: test.action, resource: test.resource, keys: test.keys}); got != test.want {
				t.Errorf("decision is %d, want %d", got, test.want)
			}
		})
	}
}

func TestDocumentsThatCannotBeAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                "syntax errors",
		`{"Statement":[]}`: "no statement",
		`{"Statement":{}}`: "Effect",
		`{"Statement":{"Effect":"Allow","Resource":"*"}}`:                                                        "Action",
		`{"Statement":{"Effect":"Allow","Action":"a:B"}}`:                                                        "Resource",
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"k":"2026"}}}}`: "DateLessThan",
	} {
		if _, err := parsePolicy(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("policy %s: error %v, want %q in it", text, err, want)
		}
	}
}

func TestGlobMatchesItsOwnMatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.StringMatching(`[a-z:/]{0,4}`)).Draw(t, "parts")
		text := ""
		for _, part := range parts {
			text += part + rapid.StringMatching(`[a-z:/]{0,5}`).Draw(t, "between")
		}
		if pattern := strings.Join(parts, "*") + "*"; !glob(pattern, text) {
			t.Fatalf("%q does not match %q", pattern, text)
		}
	})
}
