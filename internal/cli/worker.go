package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/worker"
)

// workerCommandFlags are the options of load worker.
type workerCommandFlags struct {
	scenario scenarioFlags
	target   targetFlags
	join     joinFlags
	cores    int
	level    levelFlag
}

// workerCommand is `load worker`.
func (a *app) workerCommand() *cobra.Command {
	f := &workerCommandFlags{}
	cmd := &cobra.Command{
		Use:   "worker [class…]",
		Short: "Run users as a master says",
		Long: `Join a master, this program's or Locust's, and run users as it says. The target is the master's
unless --endpoint-url names one; under a master of Locust it is the embedded engine without it.`,
		Example: `  zae-limiter load worker --master 127.0.0.1:5557 -f examples/locust/locustfiles/max_rps.star
  zae-limiter load worker --master 127.0.0.1:5557 -f -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.scenario.addClasses(args)
			err := errors.Join(f.join.validate(), f.target.validate(), f.scenario.validate())
			if f.cores < 0 {
				err = errors.Join(err, fmt.Errorf("--cores must not be negative, got %d", f.cores))
			}
			if len(f.scenario.files) == 0 {
				missing := missingLocustfile(f.scenario.dir)
				err = errors.Join(err, withHint(missing, hintOf(missing)+"\n-f - takes the master's"))
			}
			if err != nil {
				return usage(err)
			}
			return a.runWorker(cmd, f)
		},
	}
	flags := cmd.Flags()
	f.scenario.register(flags)
	f.join.register(flags)
	f.target.register(flags)
	flags.IntVar(&f.cores, "cores", 0, "cores to use; 0 = all")
	f.level.register(flags)
	flags.SortFlags = false
	return cmd
}

// runWorker is load worker.
func (a *app) runWorker(cmd *cobra.Command, f *workerCommandFlags) error {
	ctx := cmd.Context()
	lines := &lastLines{out: term.NewProgress(a.stderr, progressInterval)}
	secret, err := f.join.secret.load(a.getenv)
	if err != nil {
		return usage(err)
	}
	address, err := f.join.address()
	if err != nil {
		return usage(err)
	}
	config := worker.Config{
		ID: f.join.workerID(), Version: readBuild().Version, Build: a.getenv(buildIDVariable), Master: address, Secret: secret,
		JoinTimeout: f.join.timeout.duration(), MasterTimeout: f.join.timeout.duration(),
		Seed: f.scenario.seed, Cores: cmp.Or(f.cores, runtime.GOMAXPROCS(0)), Logs: lines.last, Logger: newLogger(lines, f.level.Level),
	}
	file, release, err := a.workerFile(ctx, f, config, lines)
	if errors.Is(err, worker.ErrNoAnswer) {
		return a.workerEnded(worker.StatusMasterUnreachable, config)
	}
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return a.workerEnded(worker.StatusStopped, config) // as later: a worker is ended by its signal
	}
	if err != nil {
		return err
	}
	defer release()
	options, err := f.scenario.options()
	if err != nil {
		return usage(err)
	}
	if !f.scenario.seeded {
		config.Seed = randomSeed()
	}
	run := &workerRun{
		app: a, file: file, classes: f.scenario.runnable(file), flags: &f.target,
		ownTarget: cmd.Flags().Changed("endpoint-url") || cmd.Flags().Changed("target") || cmd.Flags().Changed("table"),
	}
	config.ClassNames, config.Locustfile, config.Options = classNames(run.classes), file.SHA256(), options
	config.NewRunID = newRunID
	config.Open = run.open
	if run.worker, err = worker.New(config); err != nil {
		return usage(err)
	}
	status, err := run.worker.Run(ctx)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return a.workerEnded(status, config)
}

// workerEnd is how a worker ended, for machines.
type workerEnd struct {
	Status   worker.Status `json:"status"`
	WorkerID string        `json:"worker_id"`
}

// workerEnded says how a worker ended; ends without a master are errors.
func (a *app) workerEnded(status worker.Status, config worker.Config) error {
	var err error
	if a.json {
		err = a.printJSON(workerEnd{status, config.ID})
	}
	switch status {
	case worker.StatusMasterUnreachable:
		return errors.Join(err, withHint(fmt.Errorf("no master answers at %s", config.Master), "start one with zae-limiter load master, or name it with --master"))
	case worker.StatusMasterLost:
		return errors.Join(err, withHint(fmt.Errorf("the master at %s has not answered for too long", config.Master), "its last numbers may be missing there; --master-timeout says how long to wait for it"))
	}
	return err
}

// workerFile loads the locustfile, which -f - takes from the master. release removes it.
func (a *app) workerFile(ctx context.Context, f *workerCommandFlags, config worker.Config, stderr io.Writer) (*locustfile.File, func(), error) {
	if len(f.scenario.files) != 1 || f.scenario.files[0] != "-" {
		file, err := a.loadScenario(&f.scenario, stderr)
		return file, func() {}, err
	}
	sources, err := worker.FetchLocustfile(ctx, config)
	if err != nil {
		return nil, nil, fmt.Errorf("locustfile of the master: %w", err)
	}
	dir, err := os.MkdirTemp("", "zae-limiter-worker-")
	if err != nil {
		return nil, nil, err
	}
	release := func() { _ = os.RemoveAll(dir) }
	scenario := f.scenario
	scenario.dir = dir
	if scenario.files, err = writeSources(dir, sources); err == nil {
		var file *locustfile.File
		if file, err = a.loadScenario(&scenario, stderr); err == nil {
			return file, release, nil
		}
	}
	release()
	return nil, nil, err
}

// manifestName is the first file that a master gives: it lists which of the others are locustfiles
// and not modules of them.
const manifestName = "zae-limiter.json"

type manifest struct {
	Locustfiles []string `json:"locustfiles"`
}

// writeSources writes the files of a master into an empty directory and returns the locustfiles.
func writeSources(dir string, sources []wire.LocustfileSource) ([]string, error) {
	var m manifest
	if len(sources) == 0 || sources[0].Filename != manifestName || json.Unmarshal([]byte(sources[0].Contents), &m) != nil {
		return nil, errors.New("the master has no Starlark file: start the worker with -f FILE")
	}
	for _, source := range sources[1:] {
		if !filepath.IsLocal(filepath.FromSlash(source.Filename)) {
			return nil, fmt.Errorf("the master gives a file outside of the directory: %q", source.Filename)
		}
		path := filepath.Join(dir, filepath.FromSlash(source.Filename))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(source.Contents), 0o600); err != nil {
			return nil, err
		}
	}
	return m.Locustfiles, nil
}

// givenSources is the form in which a master gives its files to workers.
func givenSources(file *locustfile.File) ([]wire.LocustfileSource, error) {
	var m manifest
	files := []wire.LocustfileSource{{Filename: manifestName}}
	for _, source := range file.Sources() {
		if source.Main {
			m.Locustfiles = append(m.Locustfiles, source.Path)
		}
		files = append(files, wire.LocustfileSource{Filename: source.Path, Contents: source.Text})
	}
	text, err := json.Marshal(m)
	files[0].Contents = string(text)
	return files, err
}
