package account

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"
)

// Kind is what an error of AWS is about.
type Kind int

// The kinds that commands tell apart.
const (
	Other       Kind = iota
	Credentials      // missing, expired or wrong: exit code 4
	Denied           // the caller may not do this
	Setup            // the command line or the profile lacks something
)

// Error is an error of AWS in one line, with what to try. Unwrap gives the SDK's error.
type Error struct {
	Kind Kind
	Err  error
	Hint string
	// Action and Resource are what was denied, where AWS says so.
	Action, Resource string
}

func (e *Error) Error() string {
	switch e.Kind {
	case Credentials, Denied:
		return e.line()
	default:
		return e.Err.Error()
	}
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) line() string {
	if api, ok := errors.AsType[smithy.APIError](e.Err); ok && api.ErrorMessage() != "" {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return lastOf(e.Err.Error())
}

// lastOf is the innermost part of the SDK's long chains of wrapped errors.
func lastOf(text string) string {
	for _, prefix := range []string{"get credentials: ", "failed to refresh cached credentials, "} {
		if _, rest, ok := strings.Cut(text, prefix); ok {
			text = rest
		}
	}
	return text
}

// Codes of the services' errors, by what they mean (aws.md 5.10).
var (
	expiredCodes = map[string]bool{
		"ExpiredToken": true, "ExpiredTokenException": true, "InvalidGrantException": true, "UnauthorizedException": true,
		"RequestExpired": true, "UnauthorizedClientException": true, "InvalidClientException": true,
	}
	wrongCodes = map[string]bool{
		"InvalidClientTokenId": true, "UnrecognizedClientException": true, "SignatureDoesNotMatch": true,
		"InvalidSignatureException": true, "AuthFailure": true, "ForbiddenException": true, "MissingAuthenticationToken": true,
	}
	deniedCodes = map[string]bool{"AccessDenied": true, "AccessDeniedException": true, "UnauthorizedOperation": true}
	// The SDK's own texts for a login that is over: they have no types.
	expiredTexts = []string{
		"SSO session has expired or is invalid", "refresh cached SSO token failed", "cached SSO token is expired",
		"unable to refresh SSO token", "failed to read cached SSO token file", "login session has expired",
		"token file not found, please reauthenticate", "login session password has changed",
	}
	missingTexts = []string{"no EC2 IMDS role found", "failed to refresh cached credentials, no EC2", "static credentials are empty", "EC2 IMDS"}
)

// Explain turns an error of the SDK into an *Error when it is about credentials or permissions;
// others are returned as they are. profile is named in the advice.
func Explain(err error, profile string) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	var missing config.SharedConfigProfileNotExistError
	var invalid *ssocreds.InvalidTokenError
	text := err.Error()
	code := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = api.ErrorCode()
	}
	switch {
	case errors.As(err, &missing):
		return &Error{Kind: Credentials, Err: err, Hint: "name a profile of ~/.aws/config with --profile or AWS_PROFILE"}
	case errors.As(err, &invalid), expiredCodes[code], containsAny(text, expiredTexts),
		errors.Is(err, fs.ErrNotExist) && strings.Contains(text, "SSO token"):
		return &Error{Kind: Credentials, Err: err, Hint: "the login has expired: run " + loginCommand(profile)}
	case wrongCodes[code]:
		return &Error{Kind: Credentials, Err: err, Hint: "the access keys are not accepted: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the profile, and this machine's clock"}
	case deniedCodes[code]:
		e := &Error{Kind: Denied, Err: err}
		e.Action, e.Resource = deniedOf(text)
		e.Hint = deniedHint(e.Action)
		return e
	case containsAny(text, missingTexts):
		return &Error{Kind: Credentials, Err: err, Hint: "no credentials found: run " + loginCommand(profile) + ", give --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_EC2_METADATA_DISABLED=true avoids the search on EC2)"}
	}
	return err
}

func loginCommand(profile string) string {
	if profile == "" {
		profile = "PROFILE"
	}
	return fmt.Sprintf("`aws sso login --profile %s` (or `aws login`)", profile)
}

var deniedPattern = regexp.MustCompile(`perform: ([A-Za-z0-9-]+:[A-Za-z0-9]+)(?: on resource: (\S+))?`)

func deniedOf(text string) (action, resource string) {
	match := deniedPattern.FindStringSubmatch(text)
	if match == nil {
		return "", ""
	}
	return match[1], match[2]
}

func deniedHint(action string) string {
	if action == "dynamodb:ConditionCheckItem" {
		return "the target's policies are from before 0.17: upgrade the target stack with `zae-limiter upgrade --name NAME`"
	}
	return "the policies that each command needs: `zae-limiter load iam-policy --for deploy|connect|benchmark`"
}

func containsAny(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
