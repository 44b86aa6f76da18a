package ssm

import (
	"maps"
	"regexp"
	"slices"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// parameter is a parameter of a document.
type parameter struct {
	pattern  *regexp.Regexp
	standard string // "" = it must be given
}

// document is one of AWS's session documents: its parameters by name.
type document map[string]parameter

const portNumber = `([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`

// documents are the two that forward ports.
var documents = map[string]document{
	"AWS-StartPortForwardingSession": {
		"portNumber":      {regexp.MustCompile(`^` + portNumber + `$`), "80"},
		"localPortNumber": {regexp.MustCompile(`^(0|` + portNumber + `)$`), "0"},
	},
	"AWS-StartPortForwardingSessionToRemoteHost": {
		"portNumber":      {regexp.MustCompile(`^` + portNumber + `$`), "80"},
		"localPortNumber": {regexp.MustCompile(`^(0|` + portNumber + `)$`), "0"},
		"host":            {regexp.MustCompile(`^[^,$^&\(\)!;'"<>` + "`" + `{}\[\]\|#=]{3,}$`), ""},
	},
}

// bind gives the document's parameters the values of a call.
func (d document) bind(given map[string][]string) (map[string]string, error) {
	bound := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := d[name]; !ok {
			return nil, protocol.Errorf("InvalidParameters", "Parameter %q is not one of the document's.", name)
		}
		if len(given[name]) != 1 {
			return nil, protocol.Errorf("InvalidParameters", "Parameter %q needs one value, not %d.", name, len(given[name]))
		}
		bound[name] = given[name][0]
	}
	for _, name := range slices.Sorted(maps.Keys(d)) {
		value, ok := bound[name]
		if !ok {
			value = d[name].standard
		}
		if !d[name].pattern.MatchString(value) {
			return nil, protocol.Errorf("InvalidParameters", "Value %q of parameter %q does not match the pattern %s.", value, name, d[name].pattern)
		}
		bound[name] = value
	}
	return bound, nil
}
