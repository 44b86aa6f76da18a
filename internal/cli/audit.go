package cli

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
)

const auditLong = `Each administrative change leaves an event with the one who made it (--principal), newest first. Events are
kept for 90 days, or as long as the system defaults of the table say.`

// auditCommand is the group of commands about who changed what.
func (a *app) auditCommand() *cobra.Command {
	return newGroup("audit", "Who changed what", auditLong,
		"  zae-limiter audit list --entity-id user-1", a.auditListCommand())
}

// auditDocument is an event in the output of audit list.
type auditDocument struct {
	ID        string         `json:"event_id"`
	Timestamp time.Time      `json:"timestamp"`
	Action    string         `json:"action"`
	Subject   string         `json:"entity_id"`
	Principal *string        `json:"principal"`
	Resource  *string        `json:"resource"`
	Details   map[string]any `json:"details"`
}

func (a *app) auditListCommand() *cobra.Command {
	var f tableFlags
	var subject, resource, after string
	var system bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the changes of an entity, a resource or the system, newest first",
		Example: "  zae-limiter audit list --entity-id user-1 --limit 10\n  zae-limiter audit list --resource gpt-4", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := 0
			for _, one := range []bool{subject != "", resource != "", system} {
				if one {
					given++
				}
			}
			switch {
			case given != 1:
				return usagef("changes of what? give one of --entity-id, --resource and --system")
			case limit < 1 || limit > 10_000:
				return usagef("--limit must be between 1 and 10000, got %d", limit)
			case resource != "":
				subject = limiter.AuditResource(resource)
			case system:
				subject = limiter.AuditSystem
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				events, err := admin.AuditEvents(ctx, subject, limit, after)
				if err != nil {
					return err
				}
				return a.printEvents(subject, events)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&subject, "entity-id", "e", "", "of this `entity`")
	flags.StringVarP(&resource, "resource", "r", "", "of the defaults of this `resource`")
	flags.BoolVar(&system, "system", false, "of the system defaults")
	flags.IntVarP(&limit, "limit", "l", 100, "at most `n` events")
	flags.StringVar(&after, "start-event-id", "", "go on after the event with this `id`")
	a.registerNamespace(flags, &f, reads)
	return cmd
}

func (a *app) printEvents(subject string, events []limiter.AuditEvent) error {
	documents := []auditDocument{}
	table := term.Table{Columns: []string{"Time", "Action", "Resource", "Principal", "Details"}, LeftColumns: 5}
	for _, e := range events {
		d := auditDocument{ID: e.ID, Timestamp: e.Timestamp.UTC(), Action: e.Action, Subject: e.Subject, Principal: optional(e.Principal), Resource: optional(e.Resource), Details: e.Details}
		if d.Details == nil {
			d.Details = map[string]any{}
		}
		documents = append(documents, d)
		details, err := json.Marshal(d.Details)
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{d.Timestamp.Format(time.RFC3339), e.Action, firstOf(e.Resource, "-"), firstOf(e.Principal, "-"), string(details)})
	}
	if a.json {
		return a.printJSON(map[string]any{"entity_id": subject, "events": documents})
	}
	return a.printRows(table, "no changes of "+subject+" are recorded")
}
