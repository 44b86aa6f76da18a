package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
)

// targetConfig turns the options into what package target opens.
func (a *app) targetConfig(t *targetFlags) (target.Config, error) {
	engine, err := t.engine.config()
	if err != nil {
		return target.Config{}, err
	}
	config := target.Config{
		AWS: t.aws(), Endpoint: t.endpoint, Region: t.region, Profile: t.profile,
		Table: t.table, CreateTable: t.createTable,
		Namespace: t.namespace, KeepData: t.keepData,
		Client:          t.client,
		PoolConnections: t.poolConnections,
		NoSpeculation:   !t.speculative,
		RejectionCache:  t.rejectionCache.duration(),
		ConsumedAll:     t.consumed == "all",
		Engine:          engine,
	}
	if t.redis() {
		config.Redis, config.RedisPassword = t.kind, a.getenv(redisPasswordVariable)
	}
	return config, nil
}

// targetInfo is the target block of the result document.
func (t *targetFlags) info(info target.Info) report.Target {
	out := report.Target{
		Kind: report.TargetDynamoDB, Endpoint: &info.Endpoint,
		Table: &info.Table, Region: optional(info.Region), Namespace: optional(info.Namespace),
	}
	switch {
	case t.redis():
		out.Kind, out.Table = report.TargetRedis, nil
	case t.embedded():
		out.Kind, out.Engine = report.TargetEmbedded, t.engine.document()
	case t.aws() && t.endpoint == "":
		out.Endpoint = nil // AWS itself
	}
	return out
}

// fateOfNamespace says what becomes of a namespace that was made for the run.
func (t *targetFlags) fateOfNamespace() string {
	if t.keepData {
		return ", and is kept"
	}
	return ", and goes with it"
}

// credentialsHint are the ways to credentials.
const credentialsHint = "log in with `aws sso login --profile PROFILE`, set AWS_PROFILE or --profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

// purge removes what an earlier run left.
func (a *app) purge(ctx context.Context, f *benchmarkFlags) error {
	config, err := a.targetConfig(&f.target)
	if err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, closeTimeout, errors.New("the purge took longer than "+closeTimeout.String()))
	defer cancel()
	place := "table " + f.target.table
	if f.target.redis() {
		place = target.WithoutLogin(f.target.kind)
	}
	if err := target.Purge(ctx, config, f.purge); err != nil {
		if isCredentials(err) {
			err = withHint(err, credentialsHint)
		}
		return interruption(ctx, fmt.Errorf("purge run %s: %w", f.purge, err))
	}
	if a.json {
		document := map[string]any{"purged_run": f.purge, "table": f.target.table}
		if f.target.redis() {
			document = map[string]any{"purged_run": f.purge, "endpoint": place}
		}
		return a.printJSON(document)
	}
	_, err = fmt.Fprintf(a.stdout, "removed the namespace of run %s from %s\n", f.purge, place)
	return err
}

// fillReadings copies what was measured at the transport into the document.
func fillReadings(meta *report.Meta, r target.Readings) {
	meta.Consumed = report.Consumed{
		ReadUnits: r.ReadUnits, WriteUnits: r.WriteUnits, IndexWriteUnits: r.IndexWriteUnits,
		Throttled: r.Throttled, SDKRetries: r.SDKRetries, SampledRatio: r.SampledRatio,
	}
	meta.PoolWaitP99MS = r.PoolWaitP99MS
	for _, o := range r.Operations {
		meta.Operations = append(meta.Operations, report.Operation(o))
	}
}

// isCredentials tells errors of missing or expired credentials from others.
func isCredentials(err error) bool {
	return errors.Is(err, target.ErrCredentials) || errors.Is(err, target.ErrRedisLogin) || isAccountCredentials(err)
}
