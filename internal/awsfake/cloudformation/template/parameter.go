package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parameter is one member of the Parameters block. Limits that the template does not set are nil.
type Parameter struct {
	Type, Description     string
	Default               *string
	NoEcho                bool
	AllowedValues         []string
	AllowedPattern        string // Java's; one that Go's regexp does not understand is refused
	ConstraintDescription string

	minLength, maxLength, minValue, maxValue *float64
	pattern                                  *regexp.Regexp
}

// Given is a value for a parameter, or the wish to keep the one it has.
type Given struct {
	Value       string
	UsePrevious bool
}

var parameterType = regexp.MustCompile(`^(String|Number|CommaDelimitedList|List<Number>|AWS::[A-Za-z0-9]+::[A-Za-z0-9:.]+|List<AWS::[A-Za-z0-9]+::[A-Za-z0-9:.]+>)$`)

func readParameter(path string, from map[string]any) (*Parameter, error) {
	p := &Parameter{}
	var err error
	texts := map[string]*string{
		"Type": &p.Type, "Description": &p.Description, "AllowedPattern": &p.AllowedPattern,
		"ConstraintDescription": &p.ConstraintDescription,
	}
	numbers := map[string]**float64{
		"MinLength": &p.minLength, "MaxLength": &p.maxLength, "MinValue": &p.minValue, "MaxValue": &p.maxValue,
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		at := path + "/" + name
		if into, ok := texts[name]; ok {
			*into, err = textAt(from[name], at)
		} else if into, ok := numbers[name]; ok {
			*into, err = numberAt(from[name], at)
		} else {
			err = p.readOther(name, from[name], at)
		}
		if err != nil {
			return nil, err
		}
	}
	if p.Type == "" {
		return nil, Errorf("Template format error: [%s] Every Parameters object must contain a Type member.", path)
	}
	if !parameterType.MatchString(p.Type) || strings.HasPrefix(p.Type, "AWS::SSM::") {
		return nil, Errorf("Template format error: Unrecognized parameter type: %s", p.Type)
	}
	if p.AllowedPattern != "" {
		if p.pattern, err = regexp.Compile(`^(?:` + p.AllowedPattern + `)$`); err != nil {
			return nil, Errorf("Template format error: [%s/AllowedPattern] %s is no pattern", path, p.AllowedPattern)
		}
	}
	return p, nil
}

func (p *Parameter) readOther(name string, value any, at string) (err error) {
	switch name {
	case "Default":
		var text string
		text, err = textAt(value, at)
		p.Default = &text
	case "NoEcho":
		p.NoEcho = strings.EqualFold(Text(value), "true")
	case "AllowedValues":
		p.AllowedValues, err = textsAt(value, at)
	default:
		err = Errorf("Invalid template parameter property '%s'", name)
	}
	return err
}

func numberAt(value any, path string) (*float64, error) {
	number, err := strconv.ParseFloat(Text(value), 64)
	if err != nil {
		return nil, Errorf("Template format error: [%s] must be a number", path)
	}
	return &number, nil
}

// List says whether the parameter's value is a list, written with commas.
func (p *Parameter) List() bool {
	return p.Type == "CommaDelimitedList" || strings.HasPrefix(p.Type, "List<")
}

// Items are the items of a value: of a list its members, else the value alone.
func (p *Parameter) Items(value string) []string {
	if !p.List() {
		return []string{value}
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// Account is the type of thing in the account that the value names, such as AWS::EC2::VPC::Id, empty for
// a parameter that is only text or numbers.
func (p *Parameter) Account() string {
	kind := strings.TrimSuffix(strings.TrimPrefix(p.Type, "List<"), ">")
	if strings.HasPrefix(kind, "AWS::") {
		return kind
	}
	return ""
}

// Values gives every parameter a value: what is given, the previous value where that is asked for, else
// the default. All of them are checked against the constraints.
func (t *Template) Values(given map[string]Given, previous map[string]string) (map[string]string, error) {
	var unknown, missing []string
	for name, g := range given {
		if _, ok := t.Parameters[name]; !ok {
			unknown = append(unknown, name)
		}
		if _, ok := previous[name]; g.UsePrevious && !ok {
			return nil, Errorf("Invalid input for parameter key %s. Cannot specify usePreviousValue as true for a parameter key not in the previous template", name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, Errorf("Parameters: [%s] do not exist in the template", strings.Join(unknown, ", "))
	}
	values := make(map[string]string, len(t.Parameters))
	for name, p := range t.Parameters {
		g, ok := given[name]
		switch {
		case ok && g.UsePrevious:
			values[name] = previous[name]
		case ok:
			values[name] = g.Value
		case p.Default != nil:
			values[name] = *p.Default
		default:
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, Errorf("Parameters: [%s] must have values", strings.Join(missing, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := t.Parameters[name].check(name, values[name]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (p *Parameter) check(name, value string) error {
	for _, item := range p.Items(value) {
		problem := p.problem(item)
		if problem == "" {
			continue
		}
		if p.ConstraintDescription != "" {
			return Errorf("Parameter %s failed to satisfy constraint: %s", name, p.ConstraintDescription)
		}
		return Errorf("Parameter '%s' %s", name, problem)
	}
	return nil
}

// problem says what is wrong with one item, empty when nothing is.
func (p *Parameter) problem(item string) string {
	if p.Type == "Number" || p.Type == "List<Number>" {
		number, err := strconv.ParseFloat(item, 64)
		switch {
		case err != nil:
			return "must be a number"
		case p.minValue != nil && number < *p.minValue:
			return fmt.Sprintf("must be a number not less than %s", Text(*p.minValue))
		case p.maxValue != nil && number > *p.maxValue:
			return fmt.Sprintf("must be a number not greater than %s", Text(*p.maxValue))
		}
	}
	length := float64(utf8.RuneCountInString(item))
	switch {
	case len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, item):
		return "must be one of AllowedValues"
	case p.minLength != nil && length < *p.minLength:
		return fmt.Sprintf("must contain at least %s characters", Text(*p.minLength))
	case p.maxLength != nil && length > *p.maxLength:
		return fmt.Sprintf("must contain at most %s characters", Text(*p.maxLength))
	case p.pattern != nil && !p.pattern.MatchString(item):
		return "must match pattern " + p.AllowedPattern
	}
	return ""
}
