package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/metadata"
	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// functionLauncher invokes the worker function, which joins the master at the task's address.
func (a *app) functionLauncher(ctx context.Context, f *orchestratorFlags) (*functions.Launcher, error) {
	config, err := f.invocation()
	if err != nil {
		return nil, usage(err)
	}
	if !f.masterGiven {
		base := a.getenv(metadata.Variable)
		if base == "" {
			return nil, usage(withHint(errors.New("functions cannot reach a master on "+config.MasterHost), "outside of an ECS task name the master's address with --master"))
		}
		if config.MasterHost, err = metadata.TaskAddress(ctx, base); err != nil {
			return nil, err
		}
	}
	if config.Secret, err = a.awaitSecret(ctx, f.secretFile); err != nil {
		return nil, err
	}
	config.BuildID = a.getenv(buildIDVariable)
	loaded, err := account.Load(ctx, a.accountOptions(f.account))
	if err != nil {
		return nil, awsError(err, f.account.profile)
	}
	return functions.NewLauncher(loaded, functions.LauncherConfig{
		Function: f.function, Event: config, PendingTimeout: f.pending.duration(),
	}), nil
}

const (
	// secretWait is how long the container of the master may take to write the secret.
	secretWait = 30 * time.Second
	secretPoll = 200 * time.Millisecond
)

// awaitSecret returns the secret of the worker link as text, "" when none is asked for. Its file may
// appear a little later: the container that makes it starts at the same time.
func (a *app) awaitSecret(ctx context.Context, file string) (string, error) {
	if file == "" {
		return a.getenv(secretVariable), nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, secretWait, fmt.Errorf("--secret-file: %s did not appear within %v", file, secretWait))
	defer cancel()
	ticker := time.NewTicker(secretPoll)
	defer ticker.Stop()
	for {
		data, err := readSmall(file)
		if text := strings.TrimSpace(string(data)); text != "" {
			if _, err := wire.NewSecret([]byte(text)); err != nil {
				return "", usage(fmt.Errorf("--secret-file %s: %w", file, err))
			}
			return text, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("--secret-file: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
