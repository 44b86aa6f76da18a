// Package account opens an AWS account for a command: one configuration with one region for every
// client, who the caller is, and what an error of AWS means for the person at the keyboard.
package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// Options say which account and where.
type Options struct {
	// Region, Profile and EndpointURL are those of the command line; empty = as the SDK finds them.
	Region, Profile, EndpointURL string
	// DefaultRegion is the region when nothing names one; empty = that is an error.
	DefaultRegion string
	// Getenv reads the environment.
	Getenv func(string) string
}

// Account is an account that a command works in. It is safe for concurrent use.
type Account struct {
	// Config is for every client: region, credentials and endpoint are set.
	Config aws.Config
	// Profile is the profile's name, "" when the SDK's default chain was used.
	Profile string
	// EndpointURL is the address that stands in for all services; empty = AWS.
	EndpointURL string
	// ID is the account's number, Caller the ARN of who asks, Partition aws, aws-cn or aws-us-gov.
	ID, Caller, Partition string
}

// Region is the region of every client.
func (a *Account) Region() string { return a.Config.Region }

// identifyWithin bounds how long the first call may take: credentials may have to be fetched for it.
const identifyWithin = 30 * time.Second

// Load reads the configuration without a call that needs more than credentials: what a process inside of
// AWS wants, whose network may reach no other service. Its errors are as those of Open.
func Load(ctx context.Context, o Options) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{config.WithLogger(logging.Nop{})} // errors are returned as well
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	} else if region := o.Getenv("AWS_REGION"); region == "" && o.Getenv("AWS_DEFAULT_REGION") != "" {
		load = append(load, config.WithRegion(o.Getenv("AWS_DEFAULT_REGION"))) // the SDK for Go does not know this one
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, Explain(err, o.profile())
	}
	cfg.HTTPClient = WholeBodies(cfg.HTTPClient)
	if o.EndpointURL != "" {
		cfg.BaseEndpoint = aws.String(o.EndpointURL)
	}
	if cfg.Region = cmp.Or(cfg.Region, o.DefaultRegion); cfg.Region == "" {
		return aws.Config{}, &Error{Kind: Setup, Err: errors.New("no AWS region: neither --region, AWS_REGION, AWS_DEFAULT_REGION nor the profile names one"), Hint: "give --region, such as --region us-east-1"}
	}
	return cfg, nil
}

// profile is the name of the profile that counts, "" for the SDK's default chain.
func (o Options) profile() string {
	if o.Profile != "" {
		return o.Profile
	}
	return o.Getenv("AWS_PROFILE")
}

// Open reads the configuration and asks who the caller is. Its errors are of type *Error where they
// come from credentials.
func Open(ctx context.Context, o Options) (*Account, error) {
	profile := o.profile()
	cfg, err := Load(ctx, o)
	if err != nil {
		return nil, err
	}
	a := &Account{Config: cfg, Profile: profile, EndpointURL: o.EndpointURL}
	if a.EndpointURL == "" {
		a.EndpointURL = o.Getenv("AWS_ENDPOINT_URL")
	}
	ctx, cancel := context.WithTimeout(ctx, identifyWithin)
	defer cancel()
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, Explain(err, profile)
	}
	a.ID, a.Caller = aws.ToString(identity.Account), aws.ToString(identity.Arn)
	parsed, err := arn.Parse(a.Caller)
	if err != nil {
		return nil, fmt.Errorf("caller identity %q: %w", a.Caller, err)
	}
	a.Partition = parsed.Partition
	return a, nil
}

// ARN builds an ARN of the account and its region.
func (a *Account) ARN(service, resource string) string {
	return strings.Join([]string{"arn", a.Partition, service, a.Region(), a.ID, resource}, ":")
}

// Environment is what a child process needs to act as this account: the resolved keys, the region and
// the endpoint, added to the environment given. Keys may expire: ask again for every child.
func (a *Account) Environment(ctx context.Context, environ []string) ([]string, error) {
	credentials, err := a.Config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, Explain(err, a.Profile)
	}
	var kept []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION":
		default:
			kept = append(kept, entry)
		}
	}
	kept = append(kept, "AWS_ACCESS_KEY_ID="+credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+credentials.SecretAccessKey, "AWS_REGION="+a.Region())
	if credentials.SessionToken != "" {
		kept = append(kept, "AWS_SESSION_TOKEN="+credentials.SessionToken)
	}
	if a.EndpointURL != "" {
		kept = append(kept, "AWS_ENDPOINT_URL="+a.EndpointURL)
	}
	return kept, nil
}
