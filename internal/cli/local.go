package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// localCommand is `local`: the embedded engine for any DynamoDB client.
func (a *app) localCommand() *cobra.Command {
	var engine engineFlags
	var host string
	var port int
	var streams streamFlags
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Serve the embedded DynamoDB-compatible engine",
		Long: `Serve the embedded DynamoDB-compatible engine until Ctrl+C. Everything is kept in memory and
thrown away at the end. Signatures are not verified: any credentials will do.`,
		Example: `  zae-limiter local
  zae-limiter local --port 8001 --latency aws --throughput on-demand
  zae-limiter local --latency constant=5ms --network 1.2ms`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 0 || port > 65535 {
				return usagef("--port must be between 0 and 65535, got %d", port)
			}
			return a.serveLocal(cmd.Context(), net.JoinHostPort(host, strconv.Itoa(port)), engine, streams)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&port, "port", 8000, "port to listen on; 0 = a free one")
	flags.StringVar(&host, "host", "127.0.0.1", "`address` to listen on; whoever reaches it may do everything")
	engine.register(flags, "")
	flags.IntVar(&streams.megabytes, "stream-memory", 64, "`MB` of changes that one table's stream keeps; 0 = streams stay empty")
	flags.IntVar(&streams.shards, "stream-shards", 1, "open shards of a stream")
	flags.SortFlags = false
	cmd.AddCommand(a.localAWSCommand())
	return cmd
}

// streamFlags are the bounds of the engine's streams.
type streamFlags struct{ megabytes, shards int }

// apply puts the bounds into the engine's configuration.
func (f *streamFlags) apply(config *dynamolocal.Config) error {
	if f.megabytes < 0 {
		return usagef("--stream-memory must not be negative, got %d", f.megabytes)
	}
	if f.shards < 1 {
		return usagef("--stream-shards must be at least 1, got %d", f.shards)
	}
	config.StreamBytes, config.StreamShards = int64(f.megabytes)<<20, f.shards
	if f.megabytes == 0 {
		config.StreamBytes = -1
	}
	return nil
}

// localRegion is the region that the exports of local name; the engine accepts any.
const localRegion = "us-east-1"

func (a *app) serveLocal(ctx context.Context, address string, flags engineFlags, streams streamFlags) error {
	config, err := flags.config()
	if err != nil {
		return usage(err)
	}
	if err := streams.apply(&config); err != nil {
		return err
	}
	engine, err := dynamolocal.New(config)
	if err != nil {
		return usage(err)
	}
	defer engine.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return withHint(fmt.Errorf("listen: %w", err), "choose another port with --port (0 = a free one)")
	}
	endpoint := "http://" + reachable(listener.Addr())
	exports := []string{
		"AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + endpoint,
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_REGION=" + localRegion,
		"AWS_DEFAULT_REGION=" + localRegion, // what clients in Python read
	}
	if a.json {
		err = a.printJSON(map[string]any{"endpoint": endpoint, "region": localRegion, "engine": flags.document()})
	} else {
		_, err = fmt.Fprintf(a.stdout, "DynamoDB-compatible engine on %s (%s)\n\nexport %s\n\nCtrl+C ends it and throws everything away.\n",
			endpoint, flags.text(), strings.Join(exports, " "))
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	err = engine.Serve(ctx, listener)
	if ctx.Err() != nil {
		err = nil // Ctrl+C is the normal end
	}
	a.printServed(engine)
	return err
}

// reachable is where a client on this machine finds the listener: an address that stands for all
// interfaces is none to connect to.
func reachable(listening net.Addr) string {
	address, ok := listening.(*net.TCPAddr)
	if !ok || !address.IP.IsUnspecified() {
		return listening.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(address.Port))
}

// printServed says what ends with the engine.
func (a *app) printServed(engine *dynamolocal.Engine) {
	stats := engine.Stats()
	var out io.Writer = a.stdout
	if a.json {
		out = a.stderr
	}
	fmt.Fprintf(out, "\nServed %s requests\n", formatCount(stats.Requests()))
	operations := term.Table{Columns: []string{"Operation", "Requests", "Failed", "Throttled"}, LeftColumns: 1}
	for _, o := range stats.Operations {
		operations.Rows = append(operations.Rows, []string{
			o.Operation, formatCount(o.Requests), formatCount(o.Failed), formatCount(o.Throttled),
		})
	}
	printTable(out, operations)
	faults := term.Table{Columns: []string{"Fault", "Matched", "Hit"}, LeftColumns: 1}
	for _, f := range stats.Faults {
		faults.Rows = append(faults.Rows, []string{f.Rule, formatCount(f.Matched), formatCount(f.Hit)})
	}
	printTable(out, faults)
	tables := term.Table{Columns: []string{"Table", "Items", "Bytes"}, LeftColumns: 1}
	items := int64(0)
	for _, t := range stats.Tables {
		items += t.Items
		tables.Rows = append(tables.Rows, []string{t.Name, formatCount(t.Items), formatCount(t.Bytes)})
	}
	fmt.Fprintf(out, "\nThrown away %s items in %d tables\n", formatCount(items), len(stats.Tables))
	printTable(out, tables)
}

// printTable prints the table indented, and nothing for one without rows.
func printTable(w io.Writer, t term.Table) {
	if len(t.Rows) == 0 {
		return
	}
	for _, line := range t.Lines(0) {
		fmt.Fprintln(w, "  "+line)
	}
}
