// Package target opens what a run drives: the embedded engine on a loopback port, or an endpoint
// that is already there, with the table, the namespace of the run and a limiter on them. Everything
// goes over HTTP, through the lean client or the AWS SDK's, and is metered at the transport; or over the
// connections of a Redis server, and is metered where it is called.
//
// A target without an endpoint makes no AWS call, looks up no credentials and opens no connection
// beyond loopback.
package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

const (
	localRegion      = "us-east-1"
	sampleEveryCalls = 100
	namespacePrefix  = "load-"
)

// NamespaceOf is the name of the namespace that a run registers for itself.
func NamespaceOf(runID string) string { return namespacePrefix + runID }

// ErrCredentials is returned when credentials are missing or expired.
var ErrCredentials = errors.New("no usable AWS credentials")

// The clients that send the requests.
const (
	// ClientLean is dynamostore.LeanClient.
	ClientLean = "lean"
	// ClientSDK is the AWS SDK's.
	ClientSDK = "sdk"
)

// Config says what to open.
type Config struct {
	// AWS says that the table is in the AWS account of the SDK's configuration.
	AWS bool
	// Endpoint is the URL of a DynamoDB-compatible service; "" starts the embedded engine, or is the
	// service of the region with AWS.
	Endpoint string
	// Redis is the URL of a Redis or Valkey server to drive instead of a table, and RedisPassword the password
	// when the URL has none. Of what follows, Namespace, RunID, KeepData and how the limiter works count.
	Redis, RedisPassword string
	// Region and Profile override the SDK's configuration; used with AWS or an Endpoint only.
	Region, Profile string
	// Table must exist, unless CreateTable is set or the engine is embedded.
	Table       string
	CreateTable bool
	// UpdatedBy is recorded in a version record that is written; "" means a load test.
	UpdatedBy string
	// Namespace is the one to work in; one that does not exist, or "", is registered for the run.
	Namespace string
	// RunID names the run, and its namespace.
	RunID string
	// KeepData leaves what the run made on the table.
	KeepData bool
	// Client is what sends the requests, ClientLean or ClientSDK; "" = ClientLean.
	Client string
	// PoolConnections bounds the connections to the endpoint.
	PoolConnections int
	// NoSpeculation makes acquires read before they write.
	NoSpeculation bool
	// RejectionCache is how long an image of a bucket may reject without a request; 0 = off.
	RejectionCache time.Duration
	// ConsumedAll asks every call for its consumed capacity instead of one in a hundred.
	ConsumedAll bool
	// Engine configures the embedded engine; EngineSeed seeds its delays and faults.
	Engine     dynamolocal.Config
	EngineSeed uint64
	// Logger is told what cannot be returned; nil discards.
	Logger *slog.Logger
}

// embedded reports whether the target is an engine of this process.
func (c *Config) embedded() bool { return c.Endpoint == "" && !c.AWS }

// Info describes an open target.
type Info struct {
	// Endpoint is where requests go.
	Endpoint, Table, Region, Namespace string
	// AWS is set when the table is in the account of the SDK's configuration.
	AWS bool
	// NamespaceMade is set when the namespace was registered for the run, and goes with it.
	NamespaceMade bool
}

// Target is an open target. Close it after the run.
type Target struct {
	config  Config
	info    Info
	engine  *embedded // nil with an endpoint
	meter   *Meter
	redis   *redisstore.Store // nil with a table
	idle    interface{ CloseIdleConnections() }
	api     dynamostore.API
	table   *dynamostore.Table
	limiter *limiter.Limiter
	// registered is the id of the run's own namespace; undo restores a shared one.
	registered string
	undo       *undoStore
	base       atomic.Pointer[dynamolocal.Stats]
}

// Open opens the target. It fails within seconds when nothing answers like DynamoDB.
func Open(ctx context.Context, c Config) (_ *Target, err error) {
	if c.Redis != "" {
		return openRedis(ctx, c)
	}
	t := &Target{config: c}
	c.Engine.Seed = cmp.Or(c.Engine.Seed, c.EngineSeed)
	defer func() {
		if err != nil {
			t.shutDown()
		}
	}()
	if c.embedded() {
		if t.engine, err = startEmbedded(ctx, c.Engine); err != nil {
			return nil, err
		}
		// Faults are for the run: the way to the table is not what is tested.
		t.engine.engine.SuspendFaults()
	}
	at, err := t.locate(ctx)
	if err != nil {
		return nil, err
	}
	t.info = Info{Endpoint: at.endpoint, AWS: c.AWS, Table: c.Table, Region: at.region}
	if err := t.connect(at); err != nil {
		return nil, err
	}
	if err := t.prepareTable(ctx); err != nil {
		return nil, err
	}
	if err := t.enterNamespace(ctx); err != nil {
		return nil, err
	}
	if t.engine != nil {
		t.engine.engine.ResumeFaults()
	}
	t.StartReadings()
	return t, nil
}

// StartReadings begins the readings anew: what was metered so far, such as the way to the table and
// a warm-up, is left out of them.
func (t *Target) StartReadings() {
	if t.engine != nil {
		base := t.engine.engine.Stats()
		t.base.Store(&base)
	}
	t.meter.reset()
}

// place is where requests go and who signs them.
type place struct {
	endpoint, region string
	credentials      aws.CredentialsProvider
}

// locate finds out where the target is. Only one beyond this machine, or in the account, needs
// credentials of AWS.
func (t *Target) locate(ctx context.Context) (place, error) {
	c := &t.config
	at := place{endpoint: c.Endpoint, region: cmp.Or(c.Region, localRegion)}
	if t.engine != nil {
		at.endpoint = t.engine.endpoint
	}
	if at.endpoint != "" {
		// Before credentials are looked for: a mistyped endpoint must not go anywhere.
		if _, err := ParseEndpoint(at.endpoint); err != nil {
			return place{}, err
		}
	}
	if !c.AWS && isLoopback(at.endpoint) {
		at.credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
		if t.engine == nil {
			return at, at.keysOfEnvironment()
		}
		return at, nil
	}
	return awsPlace(ctx, c)
}

// keysOfEnvironment takes the keys of the environment where it has some: an account that is played on this
// machine checks them. They are not looked for anywhere else.
func (at *place) keysOfEnvironment() error {
	environment, err := config.NewEnvConfig()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if environment.Credentials.HasKeys() {
		at.credentials = credentials.StaticCredentialsProvider{Value: environment.Credentials}
	}
	return nil
}

// connect makes the client.
func (t *Target) connect(at place) error {
	u, err := ParseEndpoint(at.endpoint)
	if err != nil {
		return err
	}
	connections := cmp.Or(t.config.PoolConnections, dynamostore.DefaultPoolConnections)
	sampleEvery := uint64(sampleEveryCalls)
	switch {
	case t.engine != nil:
		sampleEvery = 0 // the engine itself counts
	case t.config.ConsumedAll:
		sampleEvery = 1
	}
	t.meter = newMeter(sampleEvery)
	if t.config.Client == ClientSDK {
		err = t.connectSDK(at, u, connections)
	} else {
		err = t.connectLean(at, connections)
	}
	if err != nil {
		return err
	}
	t.table = dynamostore.OpenTable(t.api, t.config.Table, dynamostore.TableOptions{
		Logger: t.config.Logger, UpdatedBy: cmp.Or(t.config.UpdatedBy, "zae-limiter load"), WithoutStream: t.engine != nil,
	})
	return nil
}

func (t *Target) connectLean(at place, connections int) error {
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{
		Region: at.region, Endpoint: at.endpoint, Credentials: at.credentials, PoolConnections: connections,
		Observe: t.meter.observe,
	})
	if err != nil {
		return err
	}
	t.idle, t.api = client, meteredLean{meteredAPI{client, t.meter}, client}
	return nil
}

// connectSDK makes the SDK's client. Plain endpoints are served by a transport of our own.
func (t *Target) connectSDK(at place, u *url.URL, connections int) error {
	var transport http.RoundTripper
	if u.Scheme == "http" {
		address := u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "80")
		}
		plain := newPlainTransport(address, connections)
		transport, t.idle = plain, plain
	} else {
		secure := dynamostore.NewTransport(connections)
		transport, t.idle = secure, secure
	}
	client, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: at.region, Endpoint: at.endpoint, Credentials: at.credentials, PoolConnections: connections,
		Transport: newMeteredClient(transport, connections, t.meter),
	})
	if err != nil {
		return err
	}
	t.api = meteredAPI{client, t.meter}
	return nil
}

// ParseEndpoint refuses what is no URL of an endpoint.
func ParseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("endpoint %q is not a URL such as http://127.0.0.1:8000", endpoint)
	}
	return u, nil
}

func (t *Target) prepareTable(ctx context.Context) error {
	if t.engine != nil || t.config.CreateTable {
		if err := t.table.Create(ctx); err != nil || t.engine == nil {
			return err
		}
		// Nothing but this program reads the engine, so that every feature may be stored there.
		return t.table.DeclareReaders(ctx, true)
	}
	return t.table.Check(ctx)
}

// limiterOptions are those of the limiter that is driven.
func (c *Config) limiterOptions() limiter.Options {
	options := limiter.Options{DisableSpeculation: c.NoSpeculation, RejectionCacheTTL: c.RejectionCache, Logger: c.Logger}
	if options.RejectionCacheTTL == 0 {
		options.RejectionCacheTTL = -1
	}
	return options
}

// enterNamespace finds the namespace that was asked for, or registers one for the run.
func (t *Target) enterNamespace(ctx context.Context) error {
	options := t.config.limiterOptions()
	if t.config.Namespace != "" {
		id, ok, err := t.table.ResolveNamespace(ctx, t.config.Namespace)
		if err != nil {
			return err
		}
		if ok {
			t.info.Namespace = t.config.Namespace
			t.undo = newUndoStore(t.table.Store(id))
			if t.limiter, err = limiter.New(t.undo, options); err != nil {
				return err
			}
			return t.checkPermission(ctx, id)
		}
	}
	name := cmp.Or(t.config.Namespace, NamespaceOf(t.config.RunID))
	id, err := t.table.RegisterNamespace(ctx, name)
	if err != nil {
		return err
	}
	t.info.Namespace, t.info.NamespaceMade, t.registered = name, true, id
	if t.limiter, err = limiter.New(t.table.Store(id), options); err != nil {
		return err
	}
	if err := t.checkPermission(ctx, id); err != nil {
		return errors.Join(err, purge(ctx, t.table, name, id))
	}
	return nil
}

// Standing reports whether the namespace that was made for the run is still registered. A run whose
// namespace somebody removed should end: that is how a run is ended from outside.
func (t *Target) Standing(ctx context.Context) (bool, error) {
	if t.registered == "" {
		return true, nil
	}
	id, ok, err := t.table.ResolveNamespace(ctx, t.info.Namespace)
	return ok && id == t.registered, err
}

// Limiter returns the limiter to drive.
func (t *Target) Limiter() *limiter.Limiter { return t.limiter }

// Info describes the target.
func (t *Target) Info() Info { return t.info }

// Tally returns what was metered since Open, or since StartReadings, without the engine's own counters.
func (t *Target) Tally() *Tally { return t.meter.tally(t.engine == nil) }

// Readings returns what was metered since Open, or since StartReadings, by this target and by those
// of workers that drove the same table; the processor time for each request is then that of the workers.
func (t *Target) Readings(workers ...*Tally) Readings {
	r := t.Sum(workers...).Readings()
	if t.engine != nil {
		t.engine.fill(&r, t.base.Load())
	}
	return r
}

// Sum is what Readings are made of, without the engine's own counters.
func (t *Target) Sum(workers ...*Tally) *Tally {
	sum := t.Tally()
	if len(workers) > 0 {
		sum.CPU = 0
	}
	for _, w := range workers {
		sum.Merge(w)
	}
	return sum
}

// Close removes what the run left on the table, unless it is to be kept, and closes the target. An
// embedded engine is thrown away with everything in it.
func (t *Target) Close(ctx context.Context) error {
	defer t.shutDown()
	if t.engine != nil || t.config.KeepData {
		return nil
	}
	if t.undo != nil {
		return t.undo.restore(ctx, t.limiter)
	}
	if t.redis != nil {
		_, err := t.redis.Purge(ctx)
		return err
	}
	return purge(ctx, t.table, t.info.Namespace, t.registered)
}

func (t *Target) shutDown() {
	if t.redis != nil {
		t.redis.Close()
	}
	if t.idle != nil {
		t.idle.CloseIdleConnections()
	}
	if t.engine != nil {
		t.engine.stop()
	}
}

func purge(ctx context.Context, table *dynamostore.Table, name, id string) error {
	if err := patiently(ctx, func() error { return table.DeleteNamespace(ctx, name) }); err != nil {
		return err
	}
	return patiently(ctx, func() error { return table.PurgeNamespace(ctx, id) })
}

// patiently repeats what is refused for its rate: right after a run a table may have nothing left.
func patiently(ctx context.Context, do func() error) error {
	const most = 30 * time.Second
	started := time.Now()
	for {
		err := do()
		if err == nil || !dynamostore.IsThrottle(err) || time.Since(started) > most {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// ErrNothingLeft is the error of a purge that finds nothing.
var ErrNothingLeft = errors.New("the run left nothing, or was purged already")

// Purge removes the namespace that the run with an id left on the table.
func Purge(ctx context.Context, c Config, runID string) error {
	if c.Redis != "" {
		return purgeRedis(ctx, c, runID)
	}
	c.CreateTable = false
	t, err := standing(ctx, c)
	if err != nil {
		return err
	}
	defer t.shutDown()
	name := NamespaceOf(runID)
	id, ok, err := t.table.ResolveNamespace(ctx, name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("table %s has no namespace %s: %w", c.Table, name, ErrNothingLeft)
	}
	return purge(ctx, t.table, name, id)
}

// Leftover returns the ids of the runs that began before a moment and have a namespace on the table.
func Leftover(ctx context.Context, c Config, before time.Time) ([]string, error) {
	c.CreateTable = false
	t, err := standing(ctx, c)
	if err != nil {
		return nil, err
	}
	defer t.shutDown()
	namespaces, err := t.table.Namespaces(ctx, namespacePrefix)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, ns := range namespaces {
		id := strings.TrimPrefix(ns.Name, namespacePrefix)
		if made, ok := runIDTime(id); ok && made.Before(before) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Table reaches the table that the target names, without a namespace and without a run: it must be there,
// unless CreateTable is set. The function that is returned gives the connections up.
func Table(ctx context.Context, c Config) (*dynamostore.Table, func(), error) {
	t, err := standing(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	return t.table, t.shutDown, nil
}

// standing reaches a table, without a namespace.
func standing(ctx context.Context, c Config) (*Target, error) {
	t := &Target{config: c}
	at, err := t.locate(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.connect(at); err != nil {
		return nil, err
	}
	if err := t.prepareTable(ctx); err != nil {
		t.shutDown()
		return nil, err
	}
	return t, nil
}

// isLoopback reports whether an endpoint is on this machine, where any credentials do.
func isLoopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// awsPlace takes region, credentials and endpoint from the SDK's configuration, where the options say
// nothing else.
func awsPlace(ctx context.Context, c *Config) (place, error) {
	o := account.Options{Region: c.Region, Profile: c.Profile, EndpointURL: c.Endpoint, Getenv: os.Getenv}
	if !c.AWS {
		o.DefaultRegion = localRegion // what is signed for another service than AWS's own matters little
	}
	loaded, err := account.Load(ctx, o)
	if err != nil {
		return place{}, err
	}
	if loaded.Credentials == nil {
		return place{}, ErrCredentials
	}
	if _, err := loaded.Credentials.Retrieve(ctx); err != nil {
		return place{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	at := place{region: loaded.Region, credentials: loaded.Credentials}
	at.endpoint, err = serviceEndpoint(ctx, loaded)
	return at, err
}

// serviceEndpoint is the address of DynamoDB in the configuration's region, or what it names instead.
func serviceEndpoint(ctx context.Context, loaded aws.Config) (string, error) {
	client := dynamodb.NewFromConfig(loaded) // it knows where the configuration may name an endpoint
	if base := client.Options().BaseEndpoint; base != nil {
		return *base, nil
	}
	endpoints := client.Options().EndpointOptions
	resolved, err := dynamodb.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, dynamodb.EndpointParameters{
		Region:       aws.String(loaded.Region),
		UseFIPS:      aws.Bool(endpoints.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(endpoints.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return "", fmt.Errorf("endpoint of DynamoDB in region %q: %w", loaded.Region, err)
	}
	return resolved.URI.String(), nil
}
