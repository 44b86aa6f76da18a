package cli

import (
	"context"
	"errors"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/account"
)

// accountFlags are the options of every command that works in an AWS account.
type accountFlags struct {
	region, profile, endpoint string
}

func (f *accountFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.region, "region", "", "AWS `region` (default: as the AWS CLI finds it)")
	flags.StringVar(&f.profile, "profile", "", "AWS `profile`")
	flags.StringVar(&f.endpoint, "endpoint-url", "", "`url` that stands in for all AWS services, such as that of `zae-limiter local aws`")
}

func (a *app) accountOptions(f accountFlags) account.Options {
	return account.Options{Region: f.region, Profile: f.profile, EndpointURL: f.endpoint, Getenv: a.getenv}
}

// openAccount opens the account that the options and the environment name.
func (a *app) openAccount(ctx context.Context, f accountFlags) (*account.Account, error) {
	opened, err := account.Open(ctx, a.accountOptions(f))
	if err != nil {
		return nil, awsError(err, f.profile)
	}
	return opened, nil
}

// awsError says what an error of AWS means and what to try: every command passes what the SDK returns
// through it once.
func awsError(err error, profile string) error {
	explained, ok := errors.AsType[*account.Error](account.Explain(err, profile))
	if !ok {
		return err
	}
	if explained.Kind == account.Setup {
		return usage(withHint(explained, explained.Hint))
	}
	return withHint(explained, explained.Hint)
}

// denied says whether the caller may not do what failed.
func denied(err error, profile string) bool {
	explained, ok := errors.AsType[*account.Error](account.Explain(err, profile))
	return ok && explained.Kind == account.Denied
}

// isAccountCredentials says whether credentials were missing or expired.
func isAccountCredentials(err error) bool {
	explained, ok := errors.AsType[*account.Error](err)
	return ok && explained.Kind == account.Credentials
}
