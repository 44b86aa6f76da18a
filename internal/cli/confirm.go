package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// confirmTarget makes sure that the table may be loaded: one that looks like production needs its name
// given once more, on the command line or on the terminal.
func (d *deployment) confirmTarget(ctx context.Context, confirmed string) error {
	name := string(d.stack)
	if confirmed != "" && confirmed != name {
		return usagef("--confirm-target %s: the target is %s", confirmed, name)
	}
	table, err := awsrun.DescribeTable(ctx, d.account.Config, d.stack)
	if err != nil {
		if denied(err, d.account.Profile) {
			d.app.warn("whether table %s is protected is not known: %v", name, awsError(err, d.account.Profile))
			return nil
		}
		return err
	}
	if table.Unreadable != nil && confirmed == "" {
		d.app.warn("whether the tags of table %s say production is not known: %v", name, awsError(table.Unreadable, d.account.Profile))
	}
	if len(table.Protected) == 0 || confirmed == name {
		return nil
	}
	why := fmt.Sprintf("table %s looks like production: %s", name, strings.Join(table.Protected, ", "))
	if !d.app.interactive() {
		return usage(withHint(fmt.Errorf("%s", why), "a load test may deny service to its users; if it is meant, give --confirm-target "+name))
	}
	answer, err := term.Ask(ctx, d.app.stdin, d.app.stderr, why+".\nA load test may deny service to its users. To go on type the table's name: ")
	if err != nil && !errors.Is(err, io.EOF) { // Ctrl+D is no name
		return interruption(ctx, err)
	}
	if answer != name {
		return usagef("the target was not confirmed: got %q, want %s", answer, name)
	}
	return nil
}
