package awsfake

import (
	"context"
	"maps"
	"net/http"
	"path/filepath"

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
	"github.com/zeroae/zae-limiter-go/internal/awsfake/quotas"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/sqs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/ssm"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/tagging"
)

// part is one service in the cloud. Only name is needed.
type part struct {
	// name is that of the file of its state.
	name      string
	services  []protocol.Service
	providers resource.Providers
	tagged    tagging.Source
	// save and load keep the part between runs; parts are loaded in their order.
	save func() ([]byte, error)
	load func([]byte) error
	// routes are paths that are no signed calls, as patterns of http.ServeMux.
	routes map[string]http.Handler
	// close ends what the part started; parts are closed in their order.
	close func(ctx context.Context) error
}

// Folders below the state's.
const (
	imagesDir    = "images"
	tasksDir     = "tasks"
	functionsDir = "functions"
)

// credentialsPath is where containers fetch their keys.
const credentialsPath = "/local/credentials"

// assemble makes the services in the order in which they need each other, and returns the handler of
// the endpoint.
func (c *Cloud) assemble(o Options) (http.Handler, error) {
	var err error
	if c.Tables, err = dynamo.New(c.account, c.region, o.Engine); err != nil {
		return nil, err
	}
	c.IAM = iam.New(iam.Options{Account: c.account, Decided: o.Decided})
	c.Network = network.New(network.Options{Account: c.account, Region: c.region})
	c.Metrics = metrics.New(nil)
	c.Logs = logs.New(logs.Config{Account: c.account, Region: c.region})
	c.Registry = ecr.New(ecr.Config{Account: c.account, Region: c.region, Host: c.host(), Dir: filepath.Join(c.dir, imagesDir)})
	c.Queues = sqs.New(sqs.Config{Account: c.account, Region: c.region, Host: c.host()})
	c.Functions, err = lambda.New(lambda.Config{
		Streams: c.Tables.Streams(), Queues: c.Queues,
		Dir: filepath.Join(c.dir, functionsDir), Endpoint: c.Endpoint, Logs: c.Logs, Recorder: functionMetrics{c.Metrics},
		Interfaces: c.Network, Sessions: functionRoles{iam: c.IAM, account: c.account, region: c.region}, Concurrency: o.LambdaConcurrency,
	})
	if err != nil {
		return nil, err
	}
	c.Tasks = ecs.New(ecs.Config{
		Account: c.account, Region: c.region, Endpoint: c.Endpoint(), Dir: filepath.Join(c.dir, tasksDir),
		Images: c.Registry, Logs: c.Logs, Metrics: c.Metrics, Interfaces: c.Network, Logger: o.Log,
		Ended: func(task string) { c.Tunnels.EndTask(task) }, // they begin when everything is there
		Roles: taskRoles{iam: c.IAM, account: c.account, region: c.region, url: c.Endpoint() + credentialsPath},
	})
	c.Tasks.SetFaults(c.fail.tasks())
	c.Tunnels = ssm.New(targets{c.Tasks}, o.Sessions)
	c.parts = c.list()
	providers := resource.Providers{}
	for _, p := range c.parts {
		maps.Copy(providers, p.providers)
	}
	c.Stacks = cloudformation.New(cloudformation.Options{
		Providers: providers, Fail: c.fail.resource, Permit: permitted,
		Exists: func(_ context.Context, _, _, kind, value string) bool { return c.Network.Exists(kind, value) },
	})
	// Stacks come before the tasks, whose services start when they are loaded; and they end first, as an
	// operation needs the services.
	c.parts = append([]part{{
		name: "stacks", services: []protocol.Service{c.Stacks.Protocol()}, tagged: c.Stacks.StackTags,
		save: c.Stacks.MarshalState, load: c.Stacks.UnmarshalState, close: c.Stacks.Close,
	}}, c.parts...)
	return c.front(o)
}

// list are the parts that stacks are made of.
func (c *Cloud) list() []part {
	tables := c.Tables.API()
	tables.Handle = c.Metrics.ObserveTables(tables.Handle)
	return []part{
		{
			name: "iam", services: c.IAM.Services(), providers: c.IAM.Providers(), save: c.IAM.MarshalJSON, load: c.IAM.UnmarshalJSON,
			routes: map[string]http.Handler{"GET " + credentialsPath: c.IAM.CredentialsHandler()},
		},
		{
			name: "network", services: []protocol.Service{c.Network.API()}, providers: c.Network.Providers(), tagged: c.Network.Tagged,
			save: c.Network.MarshalJSON, load: c.Network.UnmarshalJSON,
		},
		{
			name: "tables", services: []protocol.Service{tables}, providers: c.Tables.Providers(), tagged: c.Tables.Tagged,
			save: c.Tables.MarshalJSON, load: c.Tables.UnmarshalJSON,
		},
		{
			name: "logs", services: []protocol.Service{c.Logs.API()}, providers: c.Logs.Providers(), tagged: c.Logs.Tagged,
			save: c.Logs.MarshalJSON, load: c.Logs.UnmarshalJSON,
		},
		{name: "metrics", services: []protocol.Service{c.Metrics.API()}, providers: c.Metrics.Providers()},
		{
			name: "registry", services: []protocol.Service{c.Registry.API()}, providers: c.Registry.Providers(), tagged: c.Registry.Tagged,
			save: c.Registry.MarshalJSON, load: c.Registry.UnmarshalJSON, routes: map[string]http.Handler{"/v2/": c.Registry},
		},
		{
			name: "tunnels", services: c.Tunnels.Services(),
			close: func(context.Context) error {
				c.Tunnels.Close()
				return nil
			},
		},
		{
			name: "queues", services: []protocol.Service{c.Queues.API()}, providers: c.Queues.Providers(), tagged: c.Queues.Tagged,
			save: c.Queues.MarshalJSON, load: c.Queues.UnmarshalJSON,
		},
		{
			name: "functions", services: []protocol.Service{c.Functions.Service()}, providers: c.Functions.Providers(), tagged: c.Functions.Tags,
			save: c.Functions.State, load: c.Functions.Restore, close: func(context.Context) error { return c.Functions.Close() },
		},
		{name: "mappings", save: c.Functions.MappingState, load: c.Functions.RestoreMappings},
		{
			name: "tasks", services: []protocol.Service{c.Tasks.API()}, providers: c.Tasks.Providers(), tagged: c.Tasks.Tagged,
			save: c.Tasks.MarshalJSON, load: c.Tasks.UnmarshalJSON, close: func(context.Context) error { return c.Tasks.Close() },
		},
	}
}

// front puts the parts behind one address.
func (c *Cloud) front(o Options) (http.Handler, error) {
	mux := http.NewServeMux()
	var sources []tagging.Source
	for _, p := range c.parts {
		c.services = append(c.services, p.services...)
		if p.tagged != nil {
			sources = append(sources, p.tagged)
		}
		for pattern, handler := range p.routes {
			mux.Handle(pattern, handler)
		}
	}
	quota := func(set, standard int) func() int {
		if set == 0 {
			set = standard
		}
		return func() int { return set }
	}
	c.services = append(c.services, tagging.API(sources), quotas.API(quotas.Values{
		FargateVCPU: quota(o.FargateVCPU, 4000), FargateSpotVCPU: quota(o.FargateSpotVCPU, 4000), LambdaConcurrency: quota(o.LambdaConcurrency, 1000),
	}))
	if err := c.fail.known(c.services); err != nil {
		return nil, err
	}
	front := &protocol.Front{Account: c.account, Region: c.region, Services: c.services, Keys: c.IAM, Fail: c.fail.call, Log: o.Log}
	mux.Handle("/", front)
	mux.HandleFunc(ssm.Pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" { // a client that signs is asked for its permission too
			front.ServeHTTP(w, r)
			return
		}
		c.Tunnels.ServeHTTP(w, r)
	})
	return mux, nil
}
