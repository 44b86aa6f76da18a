package dynamolocal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// constraints collects what is wrong with the scalar members of a request, for one message.
type constraints struct {
	problems []string
	newer    bool // the wording of 2026
}

func (c *constraints) fail(value, member, constraint string) {
	if c.newer {
		member = strings.ToUpper(member[:1]) + member[1:]
		c.problems = append(c.problems, "Value at '"+member+"' failed to satisfy constraint: "+constraint)
		return
	}
	if value != "null" {
		value = "'" + value + "'"
	}
	c.problems = append(c.problems, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+constraint)
}

func (c *constraints) err() error {
	switch n := len(c.problems); n {
	case 0:
		return nil
	case 1:
		return validation(validatorPrefix + c.problems[0])
	default:
		return validation(fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(c.problems, "; ")))
	}
}

func (c *constraints) enum(t wire.Text, member string, allowed ...string) {
	if t.Set && !slices.Contains(allowed, t.S) {
		c.fail(t.S, member, "Member must satisfy enum value set: ["+strings.Join(allowed, ", ")+"]")
	}
}

func (c *constraints) required(present bool, member string) {
	if !present {
		c.fail("null", member, "Member must not be null")
	}
}

func (c *constraints) atLeast(has bool, value, least int64, member string) {
	if has && value < least {
		c.fail(strconv.FormatInt(value, 10), member, "Member must have value greater than or equal to "+strconv.FormatInt(least, 10))
	}
}

func (c *constraints) length(value, member string, least, most int) {
	if len(value) < least {
		c.fail(value, member, "Member must have length greater than or equal to "+strconv.Itoa(least))
	}
	if len(value) > most {
		c.fail(value, member, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// Enumerations in the order in which errors show them.
var (
	returnValues     = []string{"ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"}
	returnOld        = []string{"ALL_OLD", "NONE"}
	returnCapacities = []string{"INDEXES", "TOTAL", "NONE"}
	returnMetrics    = []string{"SIZE", "NONE"}
	selects          = []string{"SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"}
)

const tableNamePattern = "[a-zA-Z0-9_.-]+"

func validTableName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return name != ""
}

// tableName checks the name of a table, which is reported alone, and returns it without the rest of
// an ARN.
func (e *Engine) tableName(t wire.Text, member string) (string, error) {
	c := constraints{}
	if !t.Set {
		c.required(false, member)
		return "", c.err()
	}
	name := t.S
	if strings.HasPrefix(name, "arn:") {
		if _, rest, ok := strings.Cut(name, ":table/"); ok {
			name, _, _ = strings.Cut(rest, "/")
		}
	}
	if len(name) >= 1 && len(name) <= 255 && validTableName(name) {
		return name, nil
	}
	c.length(name, member, 1, 255)
	if len(c.problems) == 0 {
		c.fail(name, member, "Member must satisfy regular expression pattern: "+tableNamePattern)
	}
	return "", c.err()
}
