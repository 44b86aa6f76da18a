package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// printHeader says on stderr what is about to run against what.
func (a *app) printHeader(p *runPlan, info target.Info, runID string) {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		b.WriteString(a.stderr.Paint(term.Bold, fmt.Sprintf("%-11s", name+":")) + " " + fmt.Sprintf(format, args...) + "\n")
	}
	line("Target", "%s", targetText(p.target, info))
	line("Locustfile", "%s", p.path())
	line("Users", "%s", p.usersText())
	line("Duration", "%s", p.durationText())
	if p.file != nil {
		line("Limiter", "%s", limiterText(p.target))
	} else {
		line("Limiter", "Python's, %d connections a worker", p.target.poolConnections)
	}
	line("Run", "%s, seed %d, %d cores", runID, p.seed, p.coresUsed())
	_, _ = io.WriteString(a.stderr, b.String())
}

func targetText(t *targetFlags, info target.Info) string {
	if t.redis() {
		return fmt.Sprintf("%s, namespace %s", info.Endpoint, info.Namespace)
	}
	if !t.embedded() {
		return fmt.Sprintf("%s, table %s, namespace %s", info.Endpoint, info.Table, info.Namespace)
	}
	return fmt.Sprintf("embedded engine on %s, table %s, namespace %s; %s", info.Endpoint, info.Table, info.Namespace, t.engine.text())
}

// usersText is the number of users with the mix of classes.
func (p *runPlan) usersText() string {
	if p.shape != nil {
		names := make([]string, len(p.classes))
		for i, c := range p.classes {
			names[i] = c.Name
		}
		return "as shape " + p.shape.Name + " says (" + strings.Join(names, ", ") + ")"
	}
	mix := classMix(p.classes, p.users)
	parts := make([]string, len(p.classes))
	for i, c := range p.classes {
		parts[i] = fmt.Sprintf("%s %d", c.Name, mix[c.Name])
	}
	return fmt.Sprintf("%d (%s), %v/s", p.users, strings.Join(parts, ", "), p.spawnRate)
}

func (p *runPlan) durationText() string {
	text := "until the shape ends"
	if p.duration > 0 {
		text = p.duration.String()
	}
	if p.warmup > 0 {
		text += ", the first " + p.warmup.String() + " left out"
	}
	return text
}

func limiterText(t *targetFlags) string {
	text := "speculative writes"
	if !t.speculative {
		text = "read before write"
	}
	cache := "off"
	if d := t.rejectionCache.duration(); d > 0 {
		cache = d.String()
	}
	if t.redis() {
		return fmt.Sprintf("%s, rejection cache %s, calls share connections", text, cache)
	}
	return fmt.Sprintf("%s, rejection cache %s, %s client, %d connections", text, cache, t.client, t.poolConnections)
}

// newLogger prints what a run logs, one line each.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				attr.Value = slog.StringValue(attr.Value.Time().Format("15:04:05.000"))
			}
			return attr
		},
	}))
}
