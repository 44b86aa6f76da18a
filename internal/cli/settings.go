package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/settings"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// settingsFile is the configuration file that is read where the command runs.
const settingsFile = "zae-limiter.toml"

// maxSettingsBytes bounds a configuration file.
const maxSettingsBytes = 1 << 20

// alternatives are options of which one replaces the others: given with more right, it keeps the
// others from being read out of a weaker source.
var alternatives = [][]string{
	{"duration", "run-time"},
	{"users", "sweep-users"},
	{"sweep-users", "csv"},
	{"sweep-users", "html"},
	{"cores", "processes"},
}

// secretOptions are not shown.
var secretOptions = []string{"web-token", "secret"}

// configured are the options of a command that were not on the command line, with their origin.
type configured struct {
	origins map[string]string
	show    bool
	file    string
}

func (c *configured) register(flags *pflag.FlagSet) {
	flags.StringVar(&c.file, "config", "", "read options from `file` too: TOML, or lines as in locust.conf")
	flags.BoolVar(&c.show, "show-config", false, "print every option with its value and where it comes from, and end")
}

// settingsNote is what the help of a command says about the sources of its options.
func settingsNote(cmd *cobra.Command) string {
	var options []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { options = append(options, f.Name) })
	note := `Every option can also come from the environment (--spawn-rate as ZAE_LIMITER_SPAWN_RATE) or from
` + settingsFile + ` in the working directory (spawn-rate = 5, for all commands or under [load.benchmark]);
--show-config prints where each value comes from.`
	if names := settings.LocustVariables(options); len(names) > 0 && locustCounts(commandWords(cmd)) {
		note += " Locust's variables and locust.conf\ncount, too: " + strings.Join(names, ", ") + "."
	}
	return note
}

// configure sets the options of a command that its command line does not give. args are its
// positional arguments.
func (a *app) configure(cmd *cobra.Command, args []string) error {
	sources, err := a.sources(cmd)
	if err != nil {
		return usage(err)
	}
	if err := checkOptions(cmd.Root(), sources); err != nil {
		return usage(err)
	}
	flags := cmd.Flags()
	a.config.origins = map[string]string{}
	flags.Visit(func(f *pflag.Flag) { a.config.origins[f.Name] = "command line" })
	for i := range sources {
		if err := a.apply(&sources[i], flags, args); err != nil {
			return usage(err)
		}
	}
	if a.config.show {
		return cmp.Or(a.showConfig(cmd), errShown)
	}
	return nil
}

// errShown ends a command whose options were shown instead of used.
var errShown = errors.New("options shown")

// apply takes what a source has of the options that no stronger one gave.
func (a *app) apply(source *settings.Source, flags *pflag.FlagSet, args []string) error {
	replaced := func(name string) bool {
		if name == "user-classes" {
			return len(args) > 0
		}
		return slices.ContainsFunc(alternatives, func(group []string) bool {
			return slices.Contains(group, name) && slices.ContainsFunc(group, func(other string) bool {
				return other != name && a.config.origins[other] != ""
			})
		})
	}
	found := map[string]settings.Value{}
	flags.VisitAll(func(f *pflag.Flag) {
		if a.config.origins[f.Name] != "" || f.Name == "help" || f.Name == "config" || f.Name == "show-config" || replaced(f.Name) {
			return
		}
		if value, ok := source.Lookup(f.Name); ok {
			found[f.Name] = value
		}
	})
	var errs []error
	for name, value := range found {
		if err := setFlag(flags, name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", value.Setting, strings.Join(value.Texts, ","), err))
		}
		a.config.origins[name] = value.Origin
	}
	return errors.Join(errs...)
}

func setFlag(flags *pflag.FlagSet, name string, value settings.Value) error {
	list, ok := flags.Lookup(name).Value.(pflag.SliceValue)
	texts := value.Texts
	if ok && len(texts) == 1 {
		// One text of several values, as in a variable: Locust separates them with blanks, we with commas.
		texts = strings.FieldsFunc(texts[0], func(r rune) bool { return r == ' ' || r == ',' })
	}
	if !ok {
		return flags.Set(name, strings.Join(texts, ","))
	}
	if err := list.Replace(texts); err != nil {
		return err
	}
	flags.Lookup(name).Changed = true
	return nil
}

// sources are all places of options, the strongest first.
func (a *app) sources(cmd *cobra.Command) ([]settings.Source, error) {
	command := commandWords(cmd)
	found, err := a.containerSources(command)
	if err != nil {
		return nil, err
	}
	locust := locustCounts(command)
	if locust {
		found = append(found, settings.LocustEnvironment(a.getenv))
	}
	read := func(path string, required bool, parse func(string, []byte) (settings.Source, error)) error {
		data, err := readSmall(path)
		if errors.Is(err, fs.ErrNotExist) && !required {
			return nil
		}
		if err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		source, err := parse(path, data)
		if err == nil {
			found = append(found, source)
		}
		return err
	}
	ours := func(name string, data []byte) (settings.Source, error) { return settings.TOML(name, data, command) }
	errs := []error{}
	if a.config.file != "" {
		parse := settings.LocustConf
		if filepath.Ext(a.config.file) == ".toml" {
			parse = ours
		}
		errs = append(errs, read(a.config.file, true, parse))
	}
	errs = append(errs, read(settingsFile, false, ours))
	if !locust {
		return found, errors.Join(errs...)
	}
	errs = append(errs, read("locust.conf", false, settings.LocustConf))
	if home := a.getenv("HOME"); home != "" {
		errs = append(errs, read(filepath.Join(home, ".locust.conf"), false, settings.LocustConf))
	}
	errs = append(errs, read("pyproject.toml", false, settings.PyProject))
	return found, errors.Join(errs...)
}

// masterArguments holds the arguments of Locust's program in the master's container.
const masterArguments = "LOCUST_MASTER_ARGS"

// containerSources are the variables of this program and those that a deployment sets in the
// container that runs the command.
func (a *app) containerSources(command []string) ([]settings.Source, error) {
	found := []settings.Source{settings.Environment(a.getenv)}
	switch strings.Join(command, " ") {
	case "load orchestrator":
		return append(found, settings.DeploymentEnvironment(a.getenv)), nil
	case "load worker":
		return append(found, settings.LocustfileEnvironment(a.getenv), settings.WorkerEnvironment(a.getenv)), nil
	case "load master":
		arguments, err := a.masterArguments()
		if err != nil {
			return nil, err
		}
		found = append(found, arguments, settings.LocustfileEnvironment(a.getenv))
	case "load connect", "load benchmark":
	default:
		return found, nil
	}
	return append(found, settings.ContainerEnvironment(a.getenv)), nil
}

// masterArguments are the options in LOCUST_MASTER_ARGS. Classes stand there as on a command line.
func (a *app) masterArguments() (settings.Source, error) {
	cmd := a.masterCommand()
	if err := cmd.ParseFlags(strings.Fields(a.getenv(masterArguments))); err != nil {
		return settings.Source{}, fmt.Errorf("%s: %w", masterArguments, err)
	}
	values := map[string][]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values[f.Name] = []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values[f.Name] = list.GetSlice()
		}
	})
	if classes := cmd.Flags().Args(); len(classes) > 0 {
		values["user-classes"] = classes
	}
	return settings.Given(masterArguments, values), nil
}

// standsAlone reports whether LOCUST_MASTER_ARGS is there and asks for no master: Locust runs the users
// in its one process then.
func (a *app) standsAlone(master bool) bool {
	if master || a.lookup == nil {
		return false
	}
	_, set := a.lookup(masterArguments)
	return set
}

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSettingsBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), maxSettingsBytes)
	}
	return os.ReadFile(path)
}

// locustCounts reports whether Locust's variables and files concern a command: those of the group load.
// Elsewhere an option of the same name is another one, such as --host of local.
func locustCounts(command []string) bool { return len(command) > 0 && command[0] == "load" }

// commandWords are the words of a command without the program's name, by its first name.
func commandWords(cmd *cobra.Command) []string {
	words := strings.Fields(cmd.CommandPath())[1:]
	if len(words) > 0 && words[0] == "loadtest" {
		words[0] = "load"
	}
	return words
}

// checkOptions refuses options in files of this program that no command has.
func checkOptions(root *cobra.Command, sources []settings.Source) error {
	var errs []error
	for i := range sources {
		if !sources[i].Strict {
			continue
		}
		for _, o := range sources[i].Options() {
			if !hasOption(root, o.Command, o.Name) {
				errs = append(errs, fmt.Errorf("%s: no command has an option %q", o.Origin, strings.Join(append(slices.Clip(o.Command), o.Name), ".")))
			}
		}
	}
	return errors.Join(errs...)
}

func hasOption(cmd *cobra.Command, words []string, name string) bool {
	if len(words) > 0 {
		found, rest, err := cmd.Find(words)
		return err == nil && len(rest) == 0 && found != cmd && found.Flags().Lookup(name) != nil
	}
	if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
		return true
	}
	return slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return hasOption(c, nil, name) })
}

// setting is one option in the output of --show-config.
type setting struct {
	Option string `json:"option"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// showConfig prints every option of a command with its value and origin.
func (a *app) showConfig(cmd *cobra.Command) error {
	var list []setting
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "config" || f.Name == "show-config" {
			return
		}
		s := setting{f.Name, f.Value.String(), a.config.origins[f.Name]}
		if s.Origin == "" {
			s.Origin = "default"
		}
		if s.Value != "" && slices.Contains(secretOptions, f.Name) {
			s.Value = "(secret)"
		}
		list = append(list, s)
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Option < list[j].Option })
	if a.json {
		return a.printJSON(map[string]any{"command": strings.Join(commandWords(cmd), " "), "options": list})
	}
	table := term.Table{Columns: []string{"Option", "Value", "Origin"}, LeftColumns: 3}
	for _, s := range list {
		table.Rows = append(table.Rows, []string{s.Option, s.Value, s.Origin})
	}
	printTable(a.stdout, table)
	return nil
}
