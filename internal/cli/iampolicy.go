package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
)

// iamPolicyCommand is `load iam-policy`.
func (a *app) iamPolicyCommand() *cobra.Command {
	var scope awsdeploy.Scope
	var purpose string
	cmd := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the IAM policy that a command's caller needs",
		Long: `Print a policy, as JSON, for who runs the load commands: "deploy" for deploy, push and delete,
"connect" for connect, list and logs, "benchmark" for benchmark, tune, status and doctor, which
contains connect. Parts of the account that are not named are left open. AWS is not asked.`,
		Example: `  zae-limiter load iam-policy --for deploy --name my-limiter
  zae-limiter load iam-policy --for benchmark --name my-limiter --region us-east-1 --account 123456789012`,
		Args: positional,
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains(awsdeploy.Purposes, purpose) {
				return usagef("--for %q: want %s", purpose, strings.Join(awsdeploy.Purposes, ", "))
			}
			if scope.Name != "" {
				if err := awsdeploy.CheckLoadNames(scope.Name, scope.RoleFormat); err != nil {
					return usage(err)
				}
			}
			policy, err := awsdeploy.CallerPolicy(purpose, scope)
			if err != nil {
				return usage(err)
			}
			return a.printJSON(policy)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&purpose, "for", "", strings.Join(awsdeploy.Purposes, ", "))
	flags.StringVarP(&scope.Name, "name", "n", "", "`name` of the limiter (default: any)")
	flags.StringVar(&scope.Region, "region", "", "AWS `region` (default: any)")
	flags.StringVar(&scope.Account, "account", "", "`number` of the account (default: any)")
	flags.StringVar(&scope.Partition, "partition", "aws", "aws, aws-cn or aws-us-gov")
	flags.StringVar(&scope.RoleFormat, "role-name-format", "", "role name `format` of the limiter, with one {}")
	flags.SortFlags = false
	return cmd
}
