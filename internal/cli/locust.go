package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/settings"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// locustFlags say how to run a Python locustfile: on workers of Locust itself.
type locustFlags struct {
	command string
	workers int
}

func (l *locustFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&l.command, "locust-command", "", "run the Python locustfile on workers of Locust itself, started with this `command` (locust)")
	flags.IntVar(&l.workers, "locust-workers", -1, "how many of Locust's workers to start; -1 = one for each core, 0 = none: others start them")
}

func (l *locustFlags) validate() error {
	if l.workers < -1 {
		return fmt.Errorf("--locust-workers must be -1 or more, got %d", l.workers)
	}
	return nil
}

// count is how many workers to start.
func (l *locustFlags) count() int {
	if l.workers < 0 {
		return defaultLocustWorkers()
	}
	return l.workers
}

// locustQuestionTime is how long Locust may take to answer what a file has.
const locustQuestionTime = time.Minute

// locustClasses asks Locust for the user classes of a Python file and their weights.
func (l *locustFlags) classes(ctx context.Context, file string, env []string) ([]*loadtest.UserClass, error) {
	ctx, cancel := context.WithTimeout(ctx, locustQuestionTime)
	defer cancel()
	// A million users make the shares of the classes exact enough to be taken for weights.
	command := exec.CommandContext(ctx, l.command, "-f", file, "--show-task-ratio-json", "-u", "1000000")
	command.Env = env
	var out, trouble bytes.Buffer
	command.Stdout, command.Stderr = &out, &trouble
	if err := command.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, usage(withHint(fmt.Errorf("--locust-command: %w", err), "install Locust (pip install locust), or give the path of its program"))
		}
		return nil, usage(fmt.Errorf("%s -f %s: %w\n%s", l.command, file, err, lastLine(trouble.String())))
	}
	var ratios struct {
		PerClass map[string]struct{ Ratio float64 } `json:"per_class"`
	}
	text := out.Bytes()
	if i := bytes.IndexByte(text, '{'); i > 0 {
		text = text[i:] // what the file itself prints
	}
	if err := json.Unmarshal(text, &ratios); err != nil {
		return nil, fmt.Errorf("%s --show-task-ratio-json: %w", l.command, err)
	}
	var classes []*loadtest.UserClass
	for name, class := range ratios.PerClass {
		classes = append(classes, &loadtest.UserClass{Name: name, Weight: class.Ratio, Tasks: []loadtest.Task{{Name: "python", Run: nothing}}})
	}
	slices.SortFunc(classes, func(a, b *loadtest.UserClass) int { return cmp.Compare(a.Name, b.Name) })
	if len(classes) == 0 {
		return nil, usagef("%s has no user class", file)
	}
	return classes, nil
}

func nothing(context.Context, *loadtest.User) error { return nil }

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// locustEnvironment is the environment of Locust's processes: it lets the Python client of the limiter
// find the target and the file its modules, and leaves out what was meant for this process.
func (a *app) locustEnvironment(p *runPlan, dir string) []string {
	ours := append(settings.LocustVariables(nil), "LOCUST_MODE_MASTER", "LOCUST_MODE_WORKER")
	env := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(ours, name)
	})
	set := func(name, value string) {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	info := p.standing.Info()
	set("TARGET_STACK_NAME", info.Table)
	set("TARGET_REGION", info.Region)
	set("ZAEL_STACK", info.Table)
	set("ZAEL_NAMESPACE", info.Namespace)
	set("BOTO3_MAX_POOL", strconv.Itoa(p.target.poolConnections))
	set("AWS_REGION", info.Region)
	set("AWS_DEFAULT_REGION", info.Region)
	set("AWS_ENDPOINT_URL_DYNAMODB", info.Endpoint)
	if strings.HasPrefix(info.Endpoint, "http://127.0.0.1") || strings.HasPrefix(info.Endpoint, "http://localhost") {
		// Other services that the client may ask for are refused there, instead of looked for elsewhere.
		set("AWS_ENDPOINT_URL", info.Endpoint)
		set("AWS_ACCESS_KEY_ID", "local")
		set("AWS_SECRET_ACCESS_KEY", "local")
	}
	if folder, err := filepath.Abs(dir); err == nil {
		set("PYTHONPATH", strings.Trim(folder+string(os.PathListSeparator)+a.getenv("PYTHONPATH"), string(os.PathListSeparator)))
	}
	return env
}
