// Package awsfake plays the part of AWS that load tests need on one machine: one loopback endpoint that
// speaks the protocols of all services, tasks and functions that are processes of this machine, and
// DynamoDB by the embedded engine. Subpackages are the services; this package wires them.
package awsfake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/dynamo"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ecr"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/logs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/metrics"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ssm"
)

// The account that is played when nothing else is said.
const (
	DefaultAccount = "123456789012"
	DefaultRegion  = "us-east-1"
)

// Errors of Start that the caller's options are to blame for.
var (
	// ErrRule is an error of a rule in Options.Fail.
	ErrRule = errors.New("failure rule")
	// ErrBusy is when another process has the state folder.
	ErrBusy = errors.New("another process works with this state folder")
)

// Options configure a cloud. The zero value is an empty account on a free port.
type Options struct {
	// Port is the port on the loopback interface; 0 = that of the state folder, else a free one.
	Port int
	// Account and Region; "" = DefaultAccount and DefaultRegion.
	Account, Region string
	// StateDir keeps the account between runs; "" = nothing is kept.
	StateDir string
	// Fail are rules for what goes wrong: SERVICE:ACTION[*TIMES][@PROBABILITY]=[CODE: ]MESSAGE.
	Fail []string
	// Engine configures DynamoDB.
	Engine dynamolocal.Config
	// FargateVCPU and FargateSpotVCPU are the quotas of tasks, LambdaConcurrency that of functions; 0 =
	// 4000, 4000 and 1000.
	FargateVCPU, FargateSpotVCPU, LambdaConcurrency int
	// Sessions are the limits of tunnels.
	Sessions ssm.Limits
	// Decided is told every decision about what a user or a role may do, except for those who may do
	// everything. It may be called from several goroutines at once. May be nil.
	Decided func(iam.Decision)
	// Log gets what goes wrong outside of the clients' sight. Nil discards it.
	Log *slog.Logger
}

// Cloud is a running account. Its services are there for what clients cannot do, such as a Spot
// interruption. Close it.
type Cloud struct {
	IAM       *iam.IAM
	Network   *network.Network
	Stacks    *cloudformation.Service
	Tables    *dynamo.Service
	Registry  *ecr.Service
	Tasks     *ecs.Service
	Functions *lambda.Service
	Tunnels   *ssm.Service
	Logs      *logs.Service
	Metrics   *metrics.Service

	account, region string
	port            int
	dir             string // of the state, or a temporary one
	fail            *failures
	services        []protocol.Service // all that are played
	temporary, keep bool               // what becomes of it in the end
	lock            *os.File
	parts           []part
	server          *http.Server
	stop            context.CancelFunc
	running         sync.WaitGroup
	closing         sync.Once
	closed          error
}

// Deadlines of the server. An answer may wait for a function's end, which takes 15 minutes at most.
const (
	headerWithin  = 10 * time.Second
	requestWithin = 5 * time.Minute
	answerWithin  = 20 * time.Minute
	idleFor       = 2 * time.Minute
)

// Start listens and returns when the account can be used. ctx is for the start only.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	fail, err := parseFailures(o.Fail)
	if err != nil {
		return nil, err
	}
	c := &Cloud{account: cmp.Or(o.Account, DefaultAccount), region: cmp.Or(o.Region, DefaultRegion), dir: o.StateDir, temporary: o.StateDir == "", fail: fail}
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	port := o.Port
	if port == 0 && !c.temporary {
		if port, err = readPlace(c.dir); err != nil {
			return nil, errors.Join(err, c.Close(ctx))
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen: %w", err), c.Close(ctx))
	}
	c.port = listener.Addr().(*net.TCPAddr).Port
	handler, err := c.assemble(o)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), c.Close(ctx))
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.server = &http.Server{Handler: handler, ReadHeaderTimeout: headerWithin, ReadTimeout: requestWithin, WriteTimeout: answerWithin, IdleTimeout: idleFor}
	if o.Log != nil {
		c.server.ErrorLog = slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)
	}
	c.running.Go(func() { _ = c.server.Serve(listener) }) // it ends with Close
	c.running.Go(func() { c.sample(background) })
	// With the endpoint served: the tasks of kept services start with it.
	if err := c.load(); err != nil { // what cannot be read is not written over
		return nil, errors.Join(err, c.Close(ctx))
	}
	c.keep = !c.temporary
	return c, nil
}

func (c *Cloud) makeDir() (err error) {
	if c.temporary {
		c.dir, err = os.MkdirTemp("", "zae-limiter-aws-")
	} else {
		err = os.MkdirAll(c.dir, 0o700)
	}
	if err == nil {
		c.lock, err = lockFile(filepath.Join(c.dir, lockName))
	}
	for _, name := range []string{imagesDir, tasksDir, functionsDir} {
		if err == nil {
			err = os.MkdirAll(filepath.Join(c.dir, name), 0o700)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", c.dir, err), c.unlock())
	}
	return nil
}

// unlock lets others have the folder.
func (c *Cloud) unlock() error {
	if c.lock == nil {
		return nil
	}
	return c.lock.Close()
}

// sampleEvery is how often the tables' consumption is recorded.
const sampleEvery = 5 * time.Second

func (c *Cloud) sample(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.Tables.Sample(c.Metrics.Record)
		}
	}
}

// Endpoint is the URL that stands in for all services.
func (c *Cloud) Endpoint() string { return "http://" + c.host() }

func (c *Cloud) host() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// Region is the region that is played.
func (c *Cloud) Region() string { return c.region }

// Account is the account's number.
func (c *Cloud) Account() string { return c.account }

// Environ are the variables, as NAME=VALUE, with which any AWS client works in the account as its
// administrator.
func (c *Cloud) Environ() []string {
	key, secret := c.IAM.Admin()
	return []string{
		"AWS_ENDPOINT_URL=" + c.Endpoint(),
		"AWS_ACCESS_KEY_ID=" + key,
		"AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_REGION=" + c.region,
		"AWS_DEFAULT_REGION=" + c.region,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Fail replaces the rules for what goes wrong, in the words of Options.Fail; none = nothing does. It is
// safe for concurrent use. Rules that cannot be wrap ErrRule and change nothing.
func (c *Cloud) Fail(rules ...string) error {
	next, err := parseFailures(rules)
	if err != nil {
		return err
	}
	if err := next.known(c.services); err != nil {
		return err
	}
	c.fail.replace(next)
	c.Tasks.SetFaults(c.fail.tasks())
	return nil
}

// Close ends everything: operations on stacks are waited for until ctx ends, then tasks, functions and
// sessions go, and the account is kept when it has a state folder. No process, port or temporary file
// is left. It may be called more than once.
func (c *Cloud) Close(ctx context.Context) error {
	c.closing.Do(func() { c.closed = c.close(ctx) })
	return c.closed
}

// close also ends a cloud that did not start altogether.
func (c *Cloud) close(ctx context.Context) error {
	var errs []error
	for _, p := range c.parts {
		if p.close != nil {
			errs = append(errs, p.close(ctx))
		}
	}
	if c.server != nil {
		c.stop()
		if c.server.Shutdown(ctx) != nil { // ctx has ended: requests are broken off
			errs = append(errs, c.server.Close())
		}
		c.running.Wait()
	}
	if c.keep {
		errs = append(errs, c.save())
	}
	if c.Tables != nil {
		c.Tables.Close()
	}
	errs = append(errs, c.unlock())
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
