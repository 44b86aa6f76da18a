package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/aggregator"
)

const (
	defaultWindows       = "hourly,daily"
	defaultRetentionDays = 90
)

// aggregateFlags are the options of aggregate.
type aggregateFlags struct {
	account       accountFlags
	name, windows string
	retention     int
	fromStart     bool
	poll          time.Duration
}

// aggregateCommand is `aggregate`.
func (a *app) aggregateCommand() *cobra.Command {
	f := &aggregateFlags{}
	cmd := &cobra.Command{
		Use:   "aggregate",
		Short: "Follow the stream of a limiter table: usage, refills, shards",
		Long: `Follow the stream of a limiter table until Ctrl+C: sum up usage in snapshots, refill buckets that are
spent fast, and carry a new shard count to all shards of a bucket.

It is what the aggregator function of a limiter stack does, for a table that has none. Run one of them
for a table: each counts all usage. Where it stopped is not remembered; with --from-start it reads what the stream
still has, which may have been counted before.`,
		Example: `  zae-limiter aggregate --name zae-limiter --endpoint-url http://127.0.0.1:8000
  zae-limiter aggregate --name my-limiter --region us-east-1 --snapshot-windows hourly,daily,monthly`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.aggregate(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "name", "n", "zae-limiter", "`name` of the limiter, which is that of its table")
	f.account.register(flags)
	flags.StringVar(&f.windows, "snapshot-windows", defaultWindows, "`windows` that usage is summed up over: hourly, daily, monthly")
	flags.IntVar(&f.retention, "usage-retention-days", defaultRetentionDays, "`days` after which a snapshot expires")
	flags.BoolVar(&f.fromStart, "from-start", false, "begin with the oldest record that the stream keeps")
	flags.DurationVar(&f.poll, "poll", time.Second, "pause after a look at the stream that brought nothing")
	flags.SortFlags = false
	return cmd
}

// aggregateDocument is what aggregate did.
type aggregateDocument struct {
	Table      string `json:"table"`
	StreamARN  string `json:"stream_arn"`
	Records    int    `json:"records"`
	Unreadable int    `json:"unreadable"`
	Snapshots  int    `json:"snapshots"`
	Refills    int    `json:"refills"`
	Doublings  int    `json:"doublings"`
	Shards     int    `json:"shards"`
}

func (a *app) aggregate(ctx context.Context, f *aggregateFlags) error {
	windows, err := aggregator.ParseWindows(f.windows)
	switch {
	case err != nil:
		return usage(err)
	case f.retention < 1:
		return usagef("--usage-retention-days must be at least 1, got %d", f.retention)
	case f.poll <= 0:
		return usagef("--poll must be positive, got %s", f.poll)
	}
	config, err := a.tableConfig(ctx, f.account)
	if err != nil {
		return awsError(err, f.account.profile)
	}
	table := dynamodb.NewFromConfig(config)
	out, err := table.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &f.name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return withHint(fmt.Errorf("there is no table %s in %s", f.name, config.Region), "give the limiter's name with --name, and its region with --region")
	}
	if err != nil {
		return awsError(fmt.Errorf("table %s: %w", f.name, err), f.account.profile)
	}
	arn := aws.ToString(out.Table.LatestStreamArn)
	if arn == "" {
		return withHint(fmt.Errorf("table %s has no stream", f.name), "a table that zae-limiter makes has one; enable it with both images (NEW_AND_OLD_IMAGES)")
	}
	total := aggregator.Result{}
	one := aggregator.New(aggregator.Config{
		Table: table, TableName: f.name, Windows: windows, RetentionDays: f.retention, Logger: newLogger(a.stderr, slog.LevelWarn),
	})
	if !a.json {
		fmt.Fprintf(a.stdout, "Following the stream of table %s (%s)\nCtrl+C ends it.\n", f.name, arn)
	}
	err = one.Follow(ctx, aggregator.FollowConfig{
		Streams: dynamodbstreams.NewFromConfig(config), StreamARN: arn, FromStart: f.fromStart, Poll: f.poll,
		Done: func(r aggregator.Result) { total.Add(&r) },
	})
	if err != nil {
		return errors.Join(awsError(err, f.account.profile), a.printAggregated(f.name, arn, &total))
	}
	return a.printAggregated(f.name, arn, &total)
}

// tableConfig is the configuration of clients of a table: an engine on this machine wants neither region nor
// keys, and gets those of the environment where there are some.
func (a *app) tableConfig(ctx context.Context, f accountFlags) (aws.Config, error) {
	if !onThisMachine(f.endpoint) {
		return account.Load(ctx, a.accountOptions(f))
	}
	id, secret := a.getenv("AWS_ACCESS_KEY_ID"), a.getenv("AWS_SECRET_ACCESS_KEY")
	if id == "" || secret == "" {
		id, secret = "local", "local"
	}
	return aws.Config{
		Region:       cmp.Or(f.region, a.getenv("AWS_REGION"), a.getenv("AWS_DEFAULT_REGION"), localRegion),
		BaseEndpoint: &f.endpoint, HTTPClient: account.WholeBodies(nil),
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, a.getenv("AWS_SESSION_TOKEN")),
	}, nil
}

// onThisMachine reports whether a URL is one of the loopback interface.
func onThisMachine(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return false
	}
	address := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || address != nil && address.IsLoopback()
}

func (a *app) printAggregated(table, arn string, r *aggregator.Result) error {
	if a.json {
		return a.printJSON(&aggregateDocument{table, arn, r.Records, r.Unreadable, r.Snapshots, r.Refills, r.Doublings, r.Shards})
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s records: %s usage snapshots updated, %s refills, %s doublings, %s shards told or made\n",
		formatCount(int64(r.Records)), formatCount(int64(r.Snapshots)), formatCount(int64(r.Refills)), formatCount(int64(r.Doublings)), formatCount(int64(r.Shards)))
	if r.Unreadable > 0 {
		_, err = fmt.Fprintf(a.stdout, "%s records could not be read and were left out\n", formatCount(int64(r.Unreadable)))
	}
	return err
}

// newAggregatorHandler is the aggregator function: its environment is that of the limiter stack's template.
func newAggregatorHandler(ctx context.Context, p Process) (*aggregator.Handler, error) {
	name := p.Getenv("TABLE_NAME")
	if name == "" {
		return nil, errors.New("which table? give TABLE_NAME in the function's environment")
	}
	windows, err := aggregator.ParseWindows(cmp.Or(p.Getenv("SNAPSHOT_WINDOWS"), defaultWindows))
	if err != nil {
		return nil, fmt.Errorf("SNAPSHOT_WINDOWS: %w", err)
	}
	days, err := strconv.Atoi(cmp.Or(p.Getenv("SNAPSHOT_TTL_DAYS"), strconv.Itoa(defaultRetentionDays)))
	if err != nil || days < 1 {
		return nil, fmt.Errorf("SNAPSHOT_TTL_DAYS is %q: want a whole number of days", p.Getenv("SNAPSHOT_TTL_DAYS"))
	}
	config, err := account.Load(ctx, account.Options{Getenv: p.Getenv})
	if err != nil {
		return nil, err
	}
	return aggregator.New(aggregator.Config{
		Table: dynamodb.NewFromConfig(config), TableName: name, Windows: windows, RetentionDays: days, Logger: newLogger(p.Stderr, slog.LevelInfo),
	}).Handler(), nil
}
