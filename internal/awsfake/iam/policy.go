package iam

import (
	"encoding/json"
	"fmt"
	"strings"
)

// document is a policy as it was given, and what it says.
type document struct {
	text       string
	statements []statement
}

type statement struct {
	deny                   bool
	actions, notActions    []string
	resources, notResource []string
	principals             map[string][]string // of trust policies: AWS, Service, …; nil = none stated
	conditions             []condition
}

// decision is what policies say together; the later one wins.
type decision int

const (
	silent decision = iota
	allowed
	denied
)

// request is what is decided on: an action on a resource with the keys that conditions may test.
type request struct {
	action, resource string
	// principals are the names by which a trust policy may know the caller, as AWS:arn or Service:name.
	principals []string
	keys       map[string][]string // by lower-case name
}

// parsePolicy reads a policy document; trust policies have principals and no resources.
func parsePolicy(text string, trust bool) (document, error) {
	var raw struct {
		Version   string
		Statement oneOrMany[struct {
			Effect              string
			Action, NotAction   oneOrMany[string]
			Resource            oneOrMany[string]
			NotResource         oneOrMany[string]
			Principal           principals
			Condition           map[string]map[string]oneOrMany[scalar]
			Sid                 string
			NotPrincipalPresent json.RawMessage `json:"NotPrincipal"`
		}]
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return document{}, fmt.Errorf("syntax errors in policy: %w", err)
	}
	doc := document{text: text}
	for i, from := range raw.Statement {
		s := statement{
			deny: from.Effect == "Deny", actions: from.Action, notActions: from.NotAction, resources: from.Resource,
			notResource: from.NotResource, principals: from.Principal,
		}
		switch {
		case from.Effect != "Allow" && from.Effect != "Deny":
			return document{}, fmt.Errorf("statement %d: Effect is %q, want Allow or Deny", i+1, from.Effect)
		case (len(s.actions) == 0) == (len(s.notActions) == 0):
			return document{}, fmt.Errorf("statement %d needs either Action or NotAction", i+1)
		case !trust && (len(s.resources) == 0) == (len(s.notResource) == 0):
			return document{}, fmt.Errorf("statement %d needs either Resource or NotResource", i+1)
		case trust && len(s.principals) == 0:
			return document{}, fmt.Errorf("statement %d needs a Principal", i+1)
		case from.NotPrincipalPresent != nil:
			return document{}, fmt.Errorf("statement %d: NotPrincipal is not understood here", i+1)
		}
		for operator, tests := range from.Condition {
			for key, wanted := range tests {
				c, err := newCondition(operator, key, texts(wanted))
				if err != nil {
					return document{}, fmt.Errorf("statement %d: %w", i+1, err)
				}
				s.conditions = append(s.conditions, c)
			}
		}
		doc.statements = append(doc.statements, s)
	}
	if len(doc.statements) == 0 {
		return document{}, fmt.Errorf("syntax errors in policy: no statement")
	}
	return doc, nil
}

// decide is the decision of several policies together: a denial wins over any permission.
func decide(documents []document, r request) decision {
	result := silent
	for _, doc := range documents {
		for i := range doc.statements {
			s := &doc.statements[i]
			if !s.covers(r) {
				continue
			}
			if s.deny {
				return denied
			}
			result = allowed
		}
	}
	return result
}

func (s *statement) covers(r request) bool {
	if len(s.actions) > 0 && !anyGlob(s.actions, r.action, nil, true) || len(s.notActions) > 0 && anyGlob(s.notActions, r.action, nil, true) {
		return false
	}
	if len(s.resources) > 0 && !anyGlob(s.resources, r.resource, r.keys, false) || len(s.notResource) > 0 && anyGlob(s.notResource, r.resource, r.keys, false) {
		return false
	}
	if s.principals != nil && !s.trusts(r.principals) {
		return false
	}
	for _, c := range s.conditions {
		if !c.holds(r.keys) {
			return false
		}
	}
	return true
}

func (s *statement) trusts(names []string) bool {
	for kind, patterns := range s.principals {
		for _, pattern := range patterns {
			for _, name := range names {
				if pattern == "*" || kind+":"+pattern == name {
					return true
				}
			}
		}
	}
	return false
}

func anyGlob(patterns []string, text string, keys map[string][]string, fold bool) bool {
	if fold {
		text = strings.ToLower(text)
	}
	for _, pattern := range patterns {
		if fold {
			pattern = strings.ToLower(pattern)
		}
		if pattern, ok := substitute(pattern, keys); ok && glob(pattern, text) {
			return true
		}
	}
	return false
}

// substitute replaces ${key} by the request's value; a policy with a key that the request lacks covers
// nothing. ${*}, ${?} and ${$} stand for the characters.
func substitute(pattern string, keys map[string][]string) (string, bool) {
	if !strings.Contains(pattern, "${") {
		return pattern, true
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(pattern, "${")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", false
		}
		switch name {
		case "*", "?", "$":
			out.WriteString(name)
		default:
			values := keys[strings.ToLower(name)]
			if len(values) != 1 {
				return "", false
			}
			out.WriteString(values[0])
		}
		pattern = after
	}
}

// glob matches * and ? of IAM's patterns.
func glob(pattern, text string) bool {
	star, mark := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0: // let the last star take one more
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// oneOrMany is a member that may be a single value or a list.
type oneOrMany[T any] []T

// UnmarshalJSON reads either.
func (o *oneOrMany[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]T)(o))
	}
	var one T
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*o = []T{one}
	return nil
}

// scalar is a condition's value: strings, and booleans and numbers by their text.
type scalar string

// UnmarshalJSON reads any scalar.
func (s *scalar) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, (*string)(s))
	}
	*s = scalar(data)
	return nil
}

func texts(values []scalar) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = string(value)
	}
	return out
}

// principals is "*" or lists by kind.
type principals map[string][]string

// UnmarshalJSON reads either.
func (p *principals) UnmarshalJSON(data []byte) error {
	if string(data) == `"*"` {
		*p = principals{"AWS": {"*"}}
		return nil
	}
	var kinds map[string]oneOrMany[string]
	if err := json.Unmarshal(data, &kinds); err != nil {
		return err
	}
	*p = principals{}
	for kind, names := range kinds {
		(*p)[kind] = names
	}
	return nil
}
