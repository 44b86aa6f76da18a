package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxDepth bounds the nesting of a document, so that a hostile one cannot exhaust the stack.
const maxDepth = 100

// Parse reads a template and checks all that does not depend on the values of its parameters.
func Parse(body string) (*Template, error) {
	document, err := parseDocument(body)
	if err != nil {
		return nil, err
	}
	root, ok := document.(map[string]any)
	if !ok {
		return nil, Errorf("Template format error: unsupported structure.")
	}
	t, err := read(root)
	if err != nil {
		return nil, err
	}
	return t, t.check()
}

func parseDocument(body string) (any, error) {
	if strings.HasPrefix(strings.TrimSpace(body), "{") {
		return parseJSON(body)
	}
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(body), &node); err != nil {
		return nil, Errorf("Template format error: YAML not well-formed. (%s)", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if node.Kind != yaml.DocumentNode || len(node.Content) != 1 {
		return nil, Errorf("Template format error: unsupported structure.")
	}
	return fromYAML(node.Content[0], "", 0)
}

func parseJSON(body string) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(body)))
	var document any
	err := decoder.Decode(&document)
	if err == nil && decoder.More() {
		err = errors.New("more than one document")
	}
	if err != nil {
		offset := decoder.InputOffset()
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = syntax.Offset
		}
		line := 1 + strings.Count(body[:min(int(offset), len(body))], "\n")
		return nil, Errorf("Template format error: JSON not well-formed. (line %d: %s)", line, err)
	}
	return document, noNulls(document, "", 0)
}

func noNulls(value any, path string, depth int) error {
	if depth > maxDepth {
		return Errorf("Template format error: the template is nested too deeply")
	}
	switch v := value.(type) {
	case nil:
		return nullError(path)
	case map[string]any:
		for key, member := range v {
			if err := noNulls(member, path+"/"+key, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := noNulls(item, fmt.Sprintf("%s/%d", path, i), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func nullError(path string) error {
	return Errorf("Template format error: [%s] 'null' values are not allowed in templates", path)
}

// fromYAML turns a node into plain values; a short tag becomes the long form of its function.
func fromYAML(node *yaml.Node, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, Errorf("Template format error: the template is nested too deeply")
	}
	var value any
	var err error
	switch node.Kind {
	case yaml.MappingNode:
		value, err = mappingOf(node, path, depth)
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			if list[i], err = fromYAML(item, fmt.Sprintf("%s/%d", path, i), depth+1); err != nil {
				return nil, err
			}
		}
		value = list
	case yaml.ScalarNode:
		value = scalarOf(node)
		if value == nil {
			err = nullError(path)
		}
	default:
		err = Errorf("Template format error: YAML aliases are not allowed in CloudFormation templates")
	}
	if err != nil || !strings.HasPrefix(node.Tag, "!") || strings.HasPrefix(node.Tag, "!!") {
		return value, err
	}
	return longForm(strings.TrimPrefix(node.Tag, "!"), value)
}

func mappingOf(node *yaml.Node, path string, depth int) (any, error) {
	members := make(map[string]any, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind != yaml.ScalarNode {
			return nil, Errorf("Template format error: [%s] map keys must be strings", path)
		}
		if _, twice := members[key.Value]; twice {
			return nil, Errorf("Template format error: YAML not well-formed. (line %d: duplicate key %q)", key.Line, key.Value)
		}
		member, err := fromYAML(node.Content[i+1], path+"/"+key.Value, depth+1)
		if err != nil {
			return nil, err
		}
		members[key.Value] = member
	}
	return members, nil
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalarOf reads a scalar. Dates, and numbers that are not plainly decimal (an account id with leading
// zeros), stay text, as they do in CloudFormation.
func scalarOf(node *yaml.Node) any {
	switch node.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(node.Value, "true")
	case "!!int", "!!float":
		if number, err := strconv.ParseFloat(node.Value, 64); err == nil && decimal.MatchString(node.Value) && exact(node.Value, number) {
			return number
		}
	}
	return node.Value
}

// exact says whether an integer survives as a float64.
func exact(text string, number float64) bool {
	return math.Abs(number) < 1<<53 || strings.ContainsAny(text, ".eE")
}

// longForm gives {"Fn::Name": value} for !Name value.
func longForm(name string, value any) (any, error) {
	switch name {
	case "Ref", "Condition":
		return map[string]any{name: value}, nil
	case "GetAtt":
		if text, ok := value.(string); ok {
			resource, attribute, ok := strings.Cut(text, ".")
			if !ok {
				return nil, Errorf("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
			}
			value = []any{resource, attribute}
		}
	}
	name = "Fn::" + name
	if !slices.Contains(functions, name) && !slices.Contains(ruleFunctions, name) {
		return nil, Errorf("Template format error: Unrecognized function %s", name)
	}
	return map[string]any{name: value}, nil
}

// blocks are the sections of a template.
var blocks = []string{
	"AWSTemplateFormatVersion", "Conditions", "Description", "Mappings", "Metadata", "Outputs", "Parameters",
	"Resources", "Rules", "Transform",
}

func read(root map[string]any) (*Template, error) {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(root)) {
		if !slices.Contains(blocks, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, Errorf("Invalid template property or properties [%s]", strings.Join(unknown, ", "))
	}
	if root["Transform"] != nil {
		return nil, Errorf("No transform named %s found.", Text(root["Transform"]))
	}
	t := &Template{Metadata: root["Metadata"]}
	t.Version, _ = root["AWSTemplateFormatVersion"].(string)
	if t.Version != "" && t.Version != "2010-09-09" {
		return nil, Errorf("Template format error: Unsupported template format version %s.", t.Version)
	}
	var err error
	if description := root["Description"]; description != nil {
		if t.Description, err = textAt(description, "/Description"); err != nil {
			return nil, err
		}
	}
	if t.mappings, err = block(root, "Mappings"); err != nil {
		return nil, err
	}
	if t.conditions, err = block(root, "Conditions"); err != nil {
		return nil, err
	}
	if t.rules, err = members(root, "Rules", readRule); err != nil {
		return nil, err
	}
	if t.Parameters, err = members(root, "Parameters", readParameter); err != nil {
		return nil, err
	}
	if t.Resources, err = members(root, "Resources", readResource); err != nil {
		return nil, err
	}
	if len(t.Resources) == 0 {
		return nil, Errorf("Template format error: At least one Resources member must be defined.")
	}
	t.Outputs, err = members(root, "Outputs", readOutput)
	return t, err
}

func block(root map[string]any, name string) (map[string]any, error) {
	if root[name] == nil {
		return nil, nil
	}
	members, ok := root[name].(map[string]any)
	if !ok {
		return nil, Errorf("Template format error: [/%s] block must be a map", name)
	}
	return members, nil
}

var alphanumeric = regexp.MustCompile(`^[a-zA-Z0-9]+$`)

const maxLogicalID = 255

// members reads each member of a block.
func members[M any](root map[string]any, name string, read func(path string, from map[string]any) (*M, error)) (map[string]*M, error) {
	from, err := block(root, name)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*M, len(from))
	for _, id := range slices.Sorted(maps.Keys(from)) {
		if len(id) > maxLogicalID || !alphanumeric.MatchString(id) {
			return nil, Errorf("Template format error: %s name '%s' is non alphanumeric.", strings.TrimSuffix(name, "s"), id)
		}
		path := "/" + name + "/" + id
		member, ok := from[id].(map[string]any)
		if !ok {
			return nil, Errorf("Template format error: [%s] Every %s member must be an object.", path, name)
		}
		if out[id], err = read(path, member); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// resourceAttributes are the members of a resource.
var resourceAttributes = []string{
	"Condition", "CreationPolicy", "DeletionPolicy", "DependsOn", "Description", "Metadata", "Properties", "Type",
	"UpdatePolicy", "UpdateReplacePolicy",
}

func readResource(path string, from map[string]any) (*Resource, error) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if !slices.Contains(resourceAttributes, name) {
			return nil, Errorf("Invalid template resource property '%s'", name)
		}
	}
	r := &Resource{Properties: map[string]any{}, DeletionPolicy: Delete, UpdateReplacePolicy: Delete, Metadata: from["Metadata"]}
	r.Type, _ = from["Type"].(string)
	if r.Type == "" {
		return nil, Errorf("Template format error: [%s] Every Resources object must contain a Type member.", path)
	}
	if properties := from["Properties"]; properties != nil {
		var ok bool
		if r.Properties, ok = properties.(map[string]any); !ok {
			return nil, Errorf("Template format error: [%s/Properties] Properties must be an object.", path)
		}
	}
	var err error
	if r.DependsOn, err = textsAt(from["DependsOn"], path+"/DependsOn"); err != nil {
		return nil, err
	}
	for name, into := range map[string]*string{"Condition": &r.Condition, "DeletionPolicy": &r.DeletionPolicy, "UpdateReplacePolicy": &r.UpdateReplacePolicy} {
		if from[name] != nil {
			if *into, err = textAt(from[name], path+"/"+name); err != nil {
				return nil, err
			}
		}
	}
	if !slices.Contains([]string{Delete, Retain, RetainExceptOnCreate, Snapshot}, r.DeletionPolicy) {
		return nil, Errorf("Template format error: Unrecognized DeletionPolicy %s for resource %s", r.DeletionPolicy, path[len("/Resources/"):])
	}
	if !slices.Contains([]string{Delete, Retain, Snapshot}, r.UpdateReplacePolicy) {
		return nil, Errorf("Template format error: Unrecognized UpdateReplacePolicy %s for resource %s", r.UpdateReplacePolicy, path[len("/Resources/"):])
	}
	return r, nil
}

func readOutput(path string, from map[string]any) (*Output, error) {
	o := &Output{Value: from["Value"]}
	if o.Value == nil {
		return nil, Errorf("Template format error: [%s] Every Outputs member must contain a Value object", path)
	}
	var err error
	for name, into := range map[string]*string{"Condition": &o.Condition, "Description": &o.Description} {
		if from[name] != nil {
			if *into, err = textAt(from[name], path+"/"+name); err != nil {
				return nil, err
			}
		}
	}
	if from["Export"] != nil {
		export, _ := from["Export"].(map[string]any)
		if o.Export = export["Name"]; o.Export == nil {
			return nil, Errorf("Template format error: [%s/Export] Export must contain a Name", path)
		}
	}
	return o, nil
}

// textAt is a scalar as text.
func textAt(value any, path string) (string, error) {
	switch value.(type) {
	case string, bool, float64:
		return Text(value), nil
	}
	return "", Errorf("Template format error: [%s] must be a string", path)
}

// textsAt is a list of scalars, or one of them alone.
func textsAt(value any, path string) ([]string, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	out := make([]string, len(list))
	for i, item := range list {
		var err error
		if out[i], err = textAt(item, path); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Text is a scalar as CloudFormation passes it on where text is wanted.
func Text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}
