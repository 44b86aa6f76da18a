package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
)

// scenarioFlags say which users to run; several commands share them.
type scenarioFlags struct {
	dir         string
	files       []string
	classes     []string
	userClasses []string
	set         []string
	tags        []string
	excludeTags []string
	seed        uint64
	seeded      bool
	host        string
}

func (s *scenarioFlags) register(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&s.files, "locustfile", "f", nil, "locustfile, relative to -C; repeatable or comma separated")
	flags.StringVarP(&s.dir, "directory", "C", "", "`folder` of the locustfiles (default: the working directory)")
	flags.StringSliceVar(&s.userClasses, "user-classes", nil, "user classes to run")
	_ = flags.MarkHidden("user-classes")
	flags.StringArrayVar(&s.set, "set", nil, "custom option `name=value` for the locustfile's env.options; repeatable")
	flags.StringSliceVarP(&s.tags, "tags", "T", nil, "only tasks with one of these `tags`")
	flags.StringSliceVarP(&s.excludeTags, "exclude-tags", "E", nil, "no tasks with one of these `tags`")
	flags.Var((*seedFlag)(s), "seed", "random seed `number`; each user's sequence depends on it and the user's index only")
	flags.StringVarP(&s.host, "host", "H", "", "host of the users (user.host), for locustfiles that look at it")
}

// addClasses takes the positional class names; scripts may also separate them with commas or blanks.
func (s *scenarioFlags) addClasses(args []string) {
	for _, arg := range append(args, s.userClasses...) {
		s.classes = append(s.classes, strings.FieldsFunc(arg, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
}

// place says on another command line where the locustfile is.
func (s *scenarioFlags) place() []string {
	args := []string{"-f", strings.Join(s.files, ",")}
	if s.dir != "" {
		args = append(args, "-C", s.dir)
	}
	return args
}

func (s *scenarioFlags) validate() error {
	_, err := s.options()
	return err
}

// options are the pairs of --set.
func (s *scenarioFlags) options() (map[string]string, error) {
	options := map[string]string{}
	var errs []error
	for _, pair := range s.set {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			errs = append(errs, fmt.Errorf("--set %q: want name=value", pair))
			continue
		}
		options[name] = value
	}
	return options, errors.Join(errs...)
}

// seedFlag remembers whether a seed was given: 0 is one, too.
type seedFlag scenarioFlags

func (s *seedFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a whole number from 0 on", text)
	}
	s.seed, s.seeded = n, true
	return nil
}

func (s *seedFlag) String() string {
	if !s.seeded {
		return ""
	}
	return strconv.FormatUint(s.seed, 10)
}

func (s *seedFlag) Type() string { return "uint" }

// engineFlags are the models of the embedded engine; local and benchmark share them.
type engineFlags struct {
	latency    string
	throughput string
	faults     string
	network    string
	wording    string
}

func (e *engineFlags) register(flags *pflag.FlagSet, prefix string) {
	flags.StringVar(&e.latency, prefix+"latency", "none", "latency `model` of the engine: none, aws, constant=5ms, or a file")
	flags.StringVar(&e.throughput, prefix+"throughput", "off", "throughput `model` of the engine: off, on-demand, provisioned=R,W")
	flags.StringVar(&e.faults, prefix+"faults", "", "`file` with the faults that the engine injects")
	flags.StringVar(&e.network, prefix+"network", "", "network `delay` added to each request of the engine, such as 1.2ms")
	flags.StringVar(&e.wording, prefix+"wording", "classic", "texts of the engine's validation errors: classic, or 2026 for those of the service's newer validator")
}

// config is the engine's configuration; the file of faults is read here.
func (e *engineFlags) config() (dynamolocal.Config, error) {
	c := dynamolocal.Config{Latency: e.latency, Throughput: e.throughput, Network: e.network}
	switch e.wording {
	case "classic":
	case "2026":
		c.Wording = dynamolocal.Wording2026
	default:
		return c, fmt.Errorf("wording %q is unknown: want classic or 2026", e.wording)
	}
	if e.faults == "" {
		return c, nil
	}
	rules, err := os.ReadFile(e.faults)
	if err != nil {
		return c, fmt.Errorf("faults: %w", err)
	}
	c.Faults = rules
	return c, nil
}

// validate makes an engine, which is the one judge of its configuration, and throws it away.
func (e *engineFlags) validate() error {
	config, err := e.config()
	if err != nil {
		return err
	}
	engine, err := dynamolocal.New(config)
	if err != nil {
		return err
	}
	return engine.Close()
}

// document is the engine block of the result document.
func (e *engineFlags) document() *report.Engine {
	return &report.Engine{
		Latency: e.latency, Throughput: e.throughput, Faults: optional(e.faults), Network: optional(e.network),
	}
}

// text names the models in one line.
func (e *engineFlags) text() string {
	text := "latency " + e.latency + ", throughput " + e.throughput
	if e.network != "" {
		text += ", network " + e.network
	}
	if e.faults != "" {
		text += ", faults " + e.faults
	}
	return text
}

// optional is nil for the empty text.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// targetFlags say what is driven.
type targetFlags struct {
	kind            string
	endpoint        string
	region          string
	profile         string
	table           string
	createTable     bool
	namespace       string
	keepData        bool
	client          string
	poolConnections int
	speculative     bool
	rejectionCache  secondsFlag
	consumed        string
	cost            bool
	engine          engineFlags
}

func (t *targetFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&t.kind, "target", targetEmbedded, "what is driven: the `embedded` engine, the table in the AWS account (dynamodb), or a Redis or Valkey server (redis://[[user]:password@]host:port[/db], rediss:// over TLS)")
	flags.StringVar(&t.endpoint, "endpoint-url", "", "`url` of an engine that is already there, instead of the embedded one")
	flags.StringVar(&t.region, "region", "", "AWS region of --endpoint-url")
	flags.StringVar(&t.profile, "profile", "", "AWS profile whose credentials --endpoint-url gets")
	flags.StringVar(&t.table, "table", "zae-limiter", "table of the limiter")
	flags.BoolVar(&t.createTable, "create-table", false, "create the table when it is absent")
	flags.StringVar(&t.namespace, "namespace", "", "use this namespace instead of one made for the run and purged after it; what the run changes in it is undone")
	flags.BoolVar(&t.keepData, "keep-data", false, "leave the data of the run on the table")
	flags.StringVar(&t.client, "client", target.ClientLean, "what sends the requests: our own `lean` client, or the AWS SDK's (sdk)")
	flags.IntVar(&t.poolConnections, "pool-connections", 1000, "connections to the target")
	flags.BoolVar(&t.speculative, "speculative", true, "write before reading; =false makes the two round trips of older versions")
	flags.Var(&t.rejectionCache, "rejection-cache", "answer repeated refusals locally for `seconds` (1 when none are given); off by default")
	flags.Lookup("rejection-cache").NoOptDefVal = "1"
	flags.StringVar(&t.consumed, "consumed", "sample", "ask the target for consumed capacity with 1 in 100 calls (sample) or with all")
	flags.BoolVar(&t.cost, "cost", false, "estimate the cost on AWS for the embedded engine too")
	t.engine.register(flags, "engine-")
}

// What --target names.
const (
	targetEmbedded = "embedded"
	targetDynamoDB = "dynamodb"
)

// aws reports whether the table is in the AWS account.
func (t *targetFlags) aws() bool { return t.kind == targetDynamoDB }

// redis reports whether a Redis or Valkey server is driven instead of a table.
func (t *targetFlags) redis() bool { return target.IsRedis(t.kind) }

// service says what answers.
func (t *targetFlags) service() string {
	if t.redis() {
		return "Redis server"
	}
	return "DynamoDB endpoint"
}

// redisPasswordVariable has the password of a Redis server, as for redis-cli.
const redisPasswordVariable = "REDISCLI_AUTH"

// embedded reports whether the target is an engine of this process.
func (t *targetFlags) embedded() bool { return t.endpoint == "" && !t.aws() && !t.redis() }

// pricesWanted reports whether the result says what the run costs: an embedded engine costs nothing,
// so there it is only said when asked for; what a Redis server costs is not known.
func (t *targetFlags) pricesWanted() bool { return t.cost || !t.embedded() && !t.redis() }

func (t *targetFlags) validate() error {
	var errs []error
	if t.poolConnections < 1 {
		errs = append(errs, fmt.Errorf("--pool-connections must be at least 1, got %d", t.poolConnections))
	}
	if t.client != target.ClientLean && t.client != target.ClientSDK {
		errs = append(errs, fmt.Errorf("--client %q is unknown: want %s or %s", t.client, target.ClientSDK, target.ClientLean))
	}
	if t.table == "" {
		errs = append(errs, errors.New("--table must not be empty"))
	}
	if t.endpoint != "" {
		_, err := target.ParseEndpoint(t.endpoint)
		errs = append(errs, err)
	}
	if t.consumed != "sample" && t.consumed != "all" {
		errs = append(errs, fmt.Errorf("--consumed %q is unknown: want sample or all", t.consumed))
	}
	switch {
	case t.redis():
		errs = append(errs, t.validateRedis())
	case t.kind != targetEmbedded && !t.aws():
		errs = append(errs, fmt.Errorf("--target %q is unknown: want %s, %s or redis://host:port", t.kind, targetEmbedded, targetDynamoDB))
	}
	if !t.embedded() && t.engine != (engineFlags{latency: "none", throughput: "off", wording: "classic"}) {
		errs = append(errs, errors.New("the --engine- options are for the embedded engine and do not go with --endpoint-url, --target dynamodb or --target redis://…"))
	}
	if t.embedded() {
		errs = append(errs, t.engine.validate())
	}
	return errors.Join(errs...)
}

// validateRedis refuses what says something about tables.
func (t *targetFlags) validateRedis() error {
	errs := []error{target.ParseRedis(t.kind)}
	for _, wrong := range []struct {
		option string
		given  bool
	}{
		{"--endpoint-url", t.endpoint != ""}, {"--region", t.region != ""}, {"--profile", t.profile != ""}, {"--create-table", t.createTable},
		{"--client " + t.client, t.client != target.ClientLean}, {"--consumed " + t.consumed, t.consumed != "sample"}, {"--cost", t.cost},
	} {
		if wrong.given {
			errs = append(errs, fmt.Errorf("%s is about tables in DynamoDB and does not go with --target redis://…", wrong.option))
		}
	}
	return errors.Join(errs...)
}
