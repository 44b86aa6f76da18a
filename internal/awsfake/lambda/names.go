package lambda

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// latest is the qualifier of what is not published.
const latest = "$LATEST"

// namePattern takes a name, name:qualifier, account:function:name, or an ARN.
var namePattern = regexp.MustCompile(`^(?:arn:aws[a-z-]*:lambda:[a-z0-9-]+:)?(?:\d{12}:)?(?:function:)?([A-Za-z0-9-_]+)(?::(\$LATEST|[A-Za-z0-9-_]+))?$`)

// split reads the ways to name a function; the qualifier is "" when the name has none.
func split(name string) (function, qualifier string, err error) {
	match := namePattern.FindStringSubmatch(name)
	if match == nil || len(match[1]) > 64 {
		return "", "", protocol.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", name, namePattern)
	}
	return match[1], match[2], nil
}

// arnOf is the ARN of a function without a qualifier.
func arnOf(call *protocol.Call, name string) string { return call.ARN("lambda", "function:"+name) }

// found is a function as a caller named it.
type found struct {
	arn, qualifier string // the qualifier is "" when none was named
	*function
}

// qualified is the ARN with the qualifier that was named.
func (f *found) qualified() string {
	if f.qualifier == "" {
		return f.arn
	}
	return f.arn + ":" + f.qualifier
}

// find looks a function up and asks the guard for an action on it. s.mu is held.
func (s *Service) find(call *protocol.Call, permission string, name, qualifier *string) (*found, error) {
	short, inName, err := split(aws.ToString(name))
	if err != nil {
		return nil, err
	}
	f := &found{arn: arnOf(call, short), qualifier: inName}
	if given := aws.ToString(qualifier); given != "" {
		if inName != "" && inName != given {
			return nil, invalid("The derived qualifier from the function name does not match the specified qualifier.")
		}
		f.qualifier = given
	}
	if err := call.Allow("lambda:"+permission, f.qualified()); err != nil {
		return nil, err
	}
	f.function = s.functions[f.arn]
	if f.function == nil {
		return nil, notFound("Function not found: %s", f.qualified())
	}
	return f, nil
}

// version is the configuration that a qualifier stands for. s.mu is held.
func (f *found) version() (types.FunctionConfiguration, error) {
	name := f.qualifier
	if alias, ok := f.Aliases[name]; ok {
		name = aws.ToString(alias.FunctionVersion)
	}
	if name == "" || name == latest {
		return f.Latest, nil
	}
	for _, v := range f.Versions {
		if aws.ToString(v.Version) == name {
			return v, nil
		}
	}
	return types.FunctionConfiguration{}, notFound("Function not found: %s", f.qualified())
}

// isVersion tells numbers of versions from names of aliases.
func isVersion(name string) bool {
	_, err := strconv.Atoi(name)
	return err == nil || name == latest
}

func notFound(format string, args ...any) error {
	return &protocol.Error{Status: http.StatusNotFound, Code: "ResourceNotFoundException", Message: fmt.Sprintf(format, args...), Fields: map[string]any{"Type": "User"}}
}

func conflict(format string, args ...any) error {
	return &protocol.Error{Status: http.StatusConflict, Code: "ResourceConflictException", Message: fmt.Sprintf(format, args...), Fields: map[string]any{"Type": "User"}}
}

func invalid(format string, args ...any) error {
	e := protocol.Errorf("InvalidParameterValueException", format, args...)
	e.Fields = map[string]any{"Type": "User"}
	return e
}

// reservedVariable says whether a variable is the platform's and cannot be set on a function.
func reservedVariable(name string) bool {
	switch name {
	case "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
		"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR":
		return true
	}
	return strings.HasPrefix(name, "AWS_LAMBDA_")
}
