package template

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// outside is a resolver with one resource and one export.
type outside struct{}

func (outside) Ref(id string) (string, error)             { return "ref-" + id, nil }
func (outside) Attribute(id, name string) (string, error) { return "att-" + id + "-" + name, nil }
func (outside) Import(name string) (string, error)        { return "import-" + name, nil }

func environment() Environment {
	return Environment{
		Partition: "aws", Region: "us-east-1", Account: "123456789012", URLSuffix: "amazonaws.com",
		StackName: "mine", StackID: "arn:stack", Zones: []string{"us-east-1a", "us-east-1b"},
	}
}

// header declares what the values in the tables refer to.
const header = `
Parameters:
  Text: {Type: String, Default: hello}
  Empty: {Type: String, Default: ''}
  Count: {Type: Number, Default: 7}
  Ids: {Type: 'List<AWS::EC2::Subnet::Id>', Default: 'subnet-a, subnet-b'}
  None: {Type: CommaDelimitedList, Default: ''}
Mappings:
  Sizes:
    us-east-1: {small: 1, list: [x, y]}
Conditions:
  Yes: !Equals [!Ref Text, hello]
  No: !Not [!Condition Yes]
  HasNone: !Not [!Equals [!Join ['', !Ref None], '']]
  Both: !And [!Condition Yes, !Not [!Equals [!Ref Count, 8]]]
  Any: !Or [!Condition No, !Equals [!Select [1, !Ref Ids], subnet-b]]
Resources:
  Other: {Type: T}
  Gone: {Type: T, Condition: No}
  Subject:
    Type: T
    Properties:
      Value: `

func TestFunctions(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"text", `plain`, `"plain"`},
		{"number", `12`, `12`},
		{"boolean", `true`, `true`},
		{"date stays text", `2012-10-17`, `"2012-10-17"`},
		{"account id with a leading zero stays text", `012345678901`, `"012345678901"`},
		{"Ref of a parameter", `!Ref Text`, `"hello"`},
		{"Ref of a number gives text", `!Ref Count`, `"7"`},
		{"Ref of a list", `!Ref Ids`, `["subnet-a","subnet-b"]`},
		{"Ref of an empty list has one empty item", `!Ref None`, `[""]`},
		{"Ref of a resource", `!Ref Other`, `"ref-Other"`},
		{"pseudo parameters", `!Sub '${AWS::Partition} ${AWS::Region} ${AWS::AccountId} ${AWS::StackName} ${AWS::StackId} ${AWS::URLSuffix}'`,
			`"aws us-east-1 123456789012 mine arn:stack amazonaws.com"`},
		{"long form", `{Ref: Text}`, `"hello"`},
		{"GetAtt", `!GetAtt Other.Arn`, `"att-Other-Arn"`},
		{"GetAtt of a dotted attribute", `!GetAtt Other.Endpoint.Port`, `"att-Other-Endpoint.Port"`},
		{"GetAtt, long form", `{'Fn::GetAtt': [Other, Arn]}`, `"att-Other-Arn"`},
		{"Sub", `!Sub '${Text}-${Other}-${Other.Arn}-${!Literal}-$5'`, `"hello-ref-Other-att-Other-Arn-${Literal}-$5"`},
		{"Sub with its own variables", `!Sub ['${Text}/${Mine}', {Mine: !Ref Count}]`, `"hello/7"`},
		{"Join", `!Join [',', [a, !Ref Text, 3]]`, `"a,hello,3"`},
		{"Join of a list parameter", `!Join ['+', !Ref Ids]`, `"subnet-a+subnet-b"`},
		{"Select", `!Select [1, !Split ['{}', 'a{}b']]`, `"b"`},
		{"Select with the index as text", `!Select ['0', [x]]`, `"x"`},
		{"Split", `!Split [':', 'arn:aws:iam']`, `["arn","aws","iam"]`},
		{"FindInMap", `!FindInMap [Sizes, !Ref 'AWS::Region', small]`, `1`},
		{"FindInMap of a list", `!FindInMap [Sizes, us-east-1, list]`, `["x","y"]`},
		{"GetAZs", `!GetAZs ''`, `["us-east-1a","us-east-1b"]`},
		{"Base64", `!Base64 abc`, `"YWJj"`},
		{"Cidr", `!Cidr [10.0.0.0/16, 3, 8]`, `["10.0.0.0/24","10.0.1.0/24","10.0.2.0/24"]`},
		{"Cidr of IPv6", `!Cidr ['fd00::/56', 2, 64]`, `["fd00::/64","fd00:0:0:1::/64"]`},
		{"ImportValue", `!ImportValue abc`, `"import-abc"`},
		{"ImportValue of a Sub", `{'Fn::ImportValue': !Sub '${Text}-TableArn'}`, `"import-hello-TableArn"`},
		{"If that holds", `!If [Yes, a, b]`, `"a"`},
		{"If that does not", `!If [No, a, [b, !If [Both, c, d]]]`, `["b","c"]`},
		{"condition on an empty list", `!If [HasNone, a, b]`, `"b"`},
		{"Or", `!If [Any, a, b]`, `"a"`},
		{"NoValue in a map", `{a: !If [No, 1, !Ref 'AWS::NoValue'], b: 2}`, `{"b":2}`},
		{"NoValue in a list", `[1, !If [No, 2, !Ref 'AWS::NoValue'], 3]`, `[1,3]`},
		{"a Condition member of a policy is no function", `{Condition: {StringLike: {k: !Ref Text}}}`, `{"Condition":{"StringLike":{"k":"hello"}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := evaluate(t, header+tt.value+"\n"); got != tt.want {
				t.Errorf("%s = %s, want %s", tt.value, got, tt.want)
			}
		})
	}
}

// evaluate gives the property Value of the resource Subject as JSON.
func evaluate(t testing.TB, body string) string {
	t.Helper()
	instance := instantiate(t, body)
	value, err := instance.Resolve(instance.Resources["Subject"].Properties["Value"], outside{})
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func instantiate(t testing.TB, body string) *Instance {
	t.Helper()
	tmpl, err := Parse(body)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	values, err := tmpl.Values(nil, nil)
	if err != nil {
		t.Fatalf("values: %v", err)
	}
	instance, err := tmpl.Instantiate(environment(), values)
	if err != nil {
		t.Fatalf("instantiate: %v", err)
	}
	return instance
}

func TestRefusedTemplates(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"no resources", `Description: x`, "At least one Resources member must be defined"},
		{"not a map", `just text`, "Template format error: unsupported structure."},
		{"broken YAML", "Resources:\n  - a\n b: c", "Template format error: YAML not well-formed."},
		{"broken JSON", "{\n\"Resources\": {,}}", "Template format error: JSON not well-formed. (line 2"},
		{"unknown block", "Resource: {}\n", "Invalid template property or properties [Resource]"},
		{"null", "Resources: {A: {Type: T, Properties: {B: null}}}", "[/Resources/A/Properties/B] 'null' values are not allowed in templates"},
		{"alias", "Resources: {A: &a {Type: T}, B: *a}", "aliases are not allowed"},
		{"key twice", "Resources: {A: {Type: T}, A: {Type: T}}", "duplicate key"},
		{"no type", "Resources: {A: {Properties: {}}}", "[/Resources/A] Every Resources object must contain a Type member."},
		{"name", "Resources: {a-b: {Type: T}}", "Resource name 'a-b' is non alphanumeric."},
		{"unknown member of a resource", "Resources: {A: {Type: T, Foo: 1}}", "Invalid template resource property 'Foo'"},
		{"unknown function", "Resources: {A: {Type: T, Properties: {B: !Transform x}}}", "Unrecognized function Fn::Transform"},
		{"unknown function, long form", "Resources: {A: {Type: T, Properties: {B: {'Fn::Length': [x]}}}}", "Unrecognized function Fn::Length"},
		{"transform", "Transform: AWS::Serverless-2016-10-31\nResources: {A: {Type: T}}", "No transform named AWS::Serverless-2016-10-31 found."},
		{"Ref to nothing", "Resources: {A: {Type: T, Properties: {B: !Ref C, D: !Sub '${E}'}}}", "Unresolved resource dependencies [C, E] in the Resources block of the template"},
		{"DependsOn nothing", "Resources: {A: {Type: T, DependsOn: Z}}", "Unresolved resource dependencies [Z] in the Resources block of the template"},
		{"GetAtt of nothing", "Resources: {A: {Type: T, Properties: {B: !GetAtt C.D}}}", "instance of Fn::GetAtt references undefined resource C"},
		{"output of nothing", "Resources: {A: {Type: T}}\nOutputs: {O: {Value: !Ref B}}", "Unresolved resource dependencies [B] in the Outputs block of the template"},
		{"output without value", "Resources: {A: {Type: T}}\nOutputs: {O: {Description: d}}", "Every Outputs member must contain a Value object"},
		{"undefined condition", "Resources: {A: {Type: T, Condition: C}}", "Unresolved condition dependency C in the Resources block of the template"},
		{"undefined condition in If", "Resources: {A: {Type: T, Properties: {B: !If [C, 1, 2]}}}", "unresolved condition dependency C in Fn::If"},
		{"resource in a condition", "Conditions: {C: !Equals [!Ref A, x]}\nResources: {A: {Type: T}}", "Unresolved dependencies [A]. Cannot reference resources in the Conditions block of the template"},
		{"conditions in a circle", "Conditions: {C: !Not [!Condition D], D: !Not [!Condition C]}\nResources: {A: {Type: T}}", "Circular dependency between conditions"},
		{"undefined mapping", "Resources: {A: {Type: T, Properties: {B: !FindInMap [M, a, b]}}}", "Mapping named 'M' is not present in the 'Mappings' section of template."},
		{"circle", "Resources: {A: {Type: T, DependsOn: B}, B: {Type: T, Properties: {P: !GetAtt A.Arn}}}", "Circular dependency between resources: [A, B]"},
		{"reference to itself", "Resources: {A: {Type: T, Properties: {P: !Ref A}}}", "Circular dependency between resources: [A]"},
		{"reference to what is not made", "Conditions: {C: !Equals [a, b]}\nResources: {A: {Type: T, Condition: C}, B: {Type: T, Properties: {P: !Ref A}}}",
			"Unresolved resource dependencies [A] in the Resources block of the template"},
		{"parameter without type", "Parameters: {P: {Default: x}}\nResources: {A: {Type: T}}", "Every Parameters object must contain a Type member."},
		{"parameter of an unknown type", "Parameters: {P: {Type: Text}}\nResources: {A: {Type: T}}", "Unrecognized parameter type: Text"},
		{"rule without assertions", "Rules: {R: {}}\nResources: {A: {Type: T}}", "Every Rules object must contain a list of Assertions."},
		{"resource in a rule", "Rules: {R: {Assertions: [{Assert: !Equals [!Ref A, x]}]}}\nResources: {A: {Type: T}}", "Cannot reference resources in the Rules block"},
		{"function of rules elsewhere", "Resources: {A: {Type: T, Properties: {P: !Contains [[a], a]}}}", "Unrecognized function Fn::Contains in the Resources block"},
		{"policy", "Resources: {A: {Type: T, DeletionPolicy: Keep}}", "Unrecognized DeletionPolicy Keep"},
		{"depth", "Resources: {A: {Type: T, Properties: {B: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}}}", "nested too deeply"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl, err := Parse(tt.body)
			if err == nil {
				var values map[string]string
				if values, err = tmpl.Values(nil, nil); err == nil {
					_, err = tmpl.Instantiate(environment(), values)
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if _, ok := err.(Error); err != nil && !ok {
				t.Errorf("error is a %T, want an Error", err)
			}
		})
	}
}

func TestFailuresOfFunctions(t *testing.T) {
	tests := []struct{ value, want string }{
		{`!Select [5, [a]]`, "Fn::Select cannot select nonexistent value at index 5"},
		{`!FindInMap [Sizes, eu-west-1, small]`, "Unable to get mapping for Sizes::eu-west-1::small"},
		{`!Join [',', text]`, "Fn::Join"},
		{`!Cidr [10.0.0.0/24, 3, 8]`, "Fn::Cidr"},
		{`!Sub 'a ${Ids}'`, "does not resolve to a string"},
	}
	for _, tt := range tests {
		instance := instantiate(t, header+tt.value+"\n")
		_, err := instance.Resolve(instance.Resources["Subject"].Properties["Value"], outside{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s gives %v, want %q", tt.value, err, tt.want)
		}
	}
}

func TestInstanceHasOnlyWhatItsConditionsAllow(t *testing.T) {
	instance := instantiate(t, header+`!GetAtt Other.Arn
    DependsOn: [Gone]
Outputs:
  Here: {Value: !Ref Text, Condition: Yes, Export: {Name: !Sub '${AWS::StackName}-Here'}}
  Missing: {Value: !Ref Gone, Condition: No}
`)
	if _, ok := instance.Resources["Gone"]; ok {
		t.Error("Gone is made although its condition does not hold")
	}
	if _, ok := instance.Outputs["Missing"]; ok {
		t.Error("Missing is an output although its condition does not hold")
	}
	if got, want := instance.Depends()["Subject"], []string{"Other"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Subject depends on %v, want %v", got, want)
	}
}

func TestJSONAndYAMLAreTheSame(t *testing.T) {
	yamlForm := instantiate(t, `
Resources:
  Subject:
    Type: T
    Properties: {Value: [1, true, x, !Sub '${AWS::Region}', {'Fn::Join': ['-', [a, b]]}]}
`)
	jsonForm := instantiate(t, `{"Resources": {"Subject": {"Type": "T",
		"Properties": {"Value": [1, true, "x", {"Fn::Sub": "${AWS::Region}"}, {"Fn::Join": ["-", ["a", "b"]]}]}}}}`)
	if !reflect.DeepEqual(yamlForm.Resources, jsonForm.Resources) {
		t.Errorf("YAML gives %v, JSON %v", yamlForm.Resources["Subject"], jsonForm.Resources["Subject"])
	}
}

func TestValuesOfParameters(t *testing.T) {
	const declaration = `
Parameters:
  P: {%s}
Resources: {A: {Type: T}}
`
	value := func(text string) map[string]Given { return map[string]Given{"P": {Value: text}} }
	tests := []struct {
		name, declaration string
		given             map[string]Given
		want              string // the value, or an error with this text
	}{
		{"given", "Type: String", value("x"), "x"},
		{"default", "Type: String, Default: 5", nil, "5"},
		{"none", "Type: String", nil, "Parameters: [P] must have values"},
		{"unknown", "Type: String, Default: a", map[string]Given{"Q": {}}, "Parameters: [Q] do not exist in the template"},
		{"previous", "Type: String, Default: a", map[string]Given{"P": {UsePrevious: true}}, "before"},
		{"allowed", "Type: String, AllowedValues: ['true', false]", value("false"), "false"},
		{"not allowed", "Type: String, AllowedValues: [a, b]", value("c"), "Parameter 'P' must be one of AllowedValues"},
		{"not allowed, described", "Type: String, AllowedValues: [a], ConstraintDescription: a it is", value("c"), "Parameter P failed to satisfy constraint: a it is"},
		{"pattern", "Type: String, AllowedPattern: '[a-z]+'", value("abc"), "abc"},
		{"pattern is for the whole", "Type: String, AllowedPattern: '[a-z]+'", value("abc1"), "Parameter 'P' must match pattern [a-z]+"},
		{"too short", "Type: String, MinLength: 3", value("ab"), "Parameter 'P' must contain at least 3 characters"},
		{"too long", "Type: String, MaxLength: '3'", value("abcd"), "Parameter 'P' must contain at most 3 characters"},
		{"no number", "Type: Number", value("x"), "Parameter 'P' must be a number"},
		{"too small", "Type: Number, MinValue: 3", value("2"), "Parameter 'P' must be a number not less than 3"},
		{"too large", "Type: Number, MaxValue: 3", value("3.5"), "Parameter 'P' must be a number not greater than 3"},
		{"item of a list", "Type: List<Number>, MaxValue: 3", value("1, 2,4"), "Parameter 'P' must be a number not greater than 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tmpl, err := Parse(fmt.Sprintf(declaration, tt.declaration))
			if err != nil {
				t.Fatal(err)
			}
			values, err := tmpl.Values(tt.given, map[string]string{"P": "before"})
			if err != nil {
				if err.Error() != tt.want {
					t.Errorf("error %q, want %q", err, tt.want)
				}
				return
			}
			if values["P"] != tt.want {
				t.Errorf("value %q, want %q", values["P"], tt.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	const body = `
Parameters:
  Kind: {Type: String, Default: small}
  Sizes: {Type: CommaDelimitedList, Default: 'a,b'}
Rules:
  Small:
    RuleCondition: !Equals [!Ref Kind, small]
    Assertions:
      - {Assert: !Contains [[a, b], !Select [0, !Ref Sizes]], AssertDescription: begins with a or b}
      - {Assert: !EachMemberIn [!Ref Sizes, [a, b]], AssertDescription: only a and b}
      - Assert: !Not [!EachMemberEquals [!Ref Sizes, b]]
Resources: {A: {Type: T}}
`
	tests := []struct{ kind, sizes, want string }{
		{"small", "a,b", ""},
		{"small", "c", "begins with a or b"},
		{"small", "a,c", "only a and b"},
		{"small", "b,b", "Rule Small is not satisfied"},
		{"large", "c", ""},
	}
	tmpl, err := Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		_, err := tmpl.Instantiate(environment(), map[string]string{"Kind": tt.kind, "Sizes": tt.sizes})
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s with %s: %v, want %q", tt.kind, tt.sizes, err, tt.want)
		}
	}
}

func TestCapability(t *testing.T) {
	tests := []struct{ resources, want string }{
		{"A: {Type: AWS::Logs::LogGroup}", ""},
		{"A: {Type: AWS::IAM::Role}", "CAPABILITY_IAM"},
		{"A: {Type: AWS::IAM::Role}, B: {Type: AWS::IAM::ManagedPolicy, Properties: {ManagedPolicyName: x}}", "CAPABILITY_NAMED_IAM"},
	}
	for _, tt := range tests {
		tmpl, err := Parse("Resources: {" + tt.resources + "}")
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := tmpl.Capability(); got != tt.want {
			t.Errorf("{%s} needs %q, want %q", tt.resources, got, tt.want)
		}
	}
}

func TestSplitUndoesJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.StringMatching(`[a-z ]{0,5}`), 1, 6).Draw(t, "items")
		list, err := json.Marshal(items)
		if err != nil {
			t.Fatal(err)
		}
		instance := instantiateIn(t, fmt.Sprintf(`{"Resources": {"Subject": {"Type": "T", "Properties": {
			"Value": {"Fn::Split": ["|", {"Fn::Join": ["|", %s]}]}}}}}`, list))
		got, err := instance.Resolve(instance.Resources["Subject"].Properties["Value"], nil)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, anySlice(items)) {
			t.Fatalf("got %q, want %q", got, items)
		}
	})
}

func instantiateIn(t *rapid.T, body string) *Instance {
	tmpl, err := Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := tmpl.Instantiate(environment(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return instance
}

func FuzzParse(f *testing.F) {
	f.Add(header + "!Sub '${Text}'\n")
	f.Add(`{"Resources": {"A": {"Type": "T", "Properties": {"B": {"Fn::If": ["C"]}}}}}`)
	f.Add("Resources: {A: {Type: T, Properties: !If [Yes, !Ref X, !GetAtt [A, B]]}}")
	f.Fuzz(func(t *testing.T, body string) {
		tmpl, err := Parse(body)
		if err != nil {
			return
		}
		values, err := tmpl.Values(nil, nil)
		if err != nil {
			return
		}
		instance, err := tmpl.Instantiate(environment(), values)
		if err != nil {
			return
		}
		for _, r := range instance.Resources {
			_, _ = instance.Resolve(r.Properties, outside{})
		}
		_, _ = instance.Imports()
	})
}
