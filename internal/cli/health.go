package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// healthWithin bounds the answer of a web UI that is asked whether it lives.
const healthWithin = 4 * time.Second

// healthCommand is `load health`: the health check of the master's container, whose image has no other
// program that could ask.
func (a *app) healthCommand() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:     "health",
		Short:   "Ask whether the web UI of this machine answers",
		Hidden:  true,
		Example: "  zae-limiter load health",
		Args:    positional,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.health(cmd.Context(), port) },
	}
	cmd.Flags().IntVarP(&port, "web-port", "P", defaultWebPort, "`port` of the web UI")
	return cmd
}

func (a *app) health(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, healthWithin, fmt.Errorf("no answer within %s", healthWithin))
	defer cancel()
	url := "http://" + a.inTask(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) + "/"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 1) // whether the page is whole is of no interest
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("health: %s answers %s", url, response.Status)
	}
	if a.json {
		return a.printJSON(map[string]any{"healthy": true, "status": response.StatusCode})
	}
	return nil
}
