package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
)

// limiterTemplateCommand is `cfn-template`.
func (a *app) limiterTemplateCommand() *cobra.Command {
	var file string
	var withoutIndexes bool
	cmd := &cobra.Command{
		Use:   "cfn-template",
		Short: "Print the CloudFormation template of a limiter's stack",
		Long: `Print the template that deploy applies. --without-local-indexes prints the variant for a table that
release 0.10 made: local indexes cannot be added to a table. AWS is not asked.`,
		Example: "  zae-limiter cfn-template -o limiter.yaml",
		Args:    positional,
		RunE: func(*cobra.Command, []string) error {
			template, err := awsdeploy.LimiterTemplate(!withoutIndexes)
			if err != nil {
				return err
			}
			return a.writeTemplate(file, template)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write (default: stdout)")
	cmd.Flags().BoolVar(&withoutIndexes, "without-local-indexes", false, "the variant without local indexes")
	cmd.Flags().SortFlags = false
	return cmd
}

// loadTemplateCommand is `load cfn-template`.
func (a *app) loadTemplateCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "cfn-template",
		Short:   "Print the CloudFormation template of a load test's stack",
		Long:    "Print the template that load deploy applies. AWS is not asked.",
		Example: "  zae-limiter load cfn-template -o load.yaml",
		Args:    positional,
		RunE:    func(*cobra.Command, []string) error { return a.writeTemplate(file, awsdeploy.LoadTemplate()) },
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write (default: stdout)")
	return cmd
}

// writeTemplate puts a template into a file or, without one, on stdout: as it is, or with --json as a
// member of an object.
func (a *app) writeTemplate(file, template string) error {
	if file != "" {
		out, err := openOutput(file)
		if err != nil {
			return usage(err)
		}
		return out.write(func(w io.Writer) error {
			_, err := io.WriteString(w, template)
			return err
		})
	}
	if a.json {
		return a.printJSON(map[string]string{"template": template})
	}
	_, err := io.WriteString(a.stdout, template)
	return err
}
