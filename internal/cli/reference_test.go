package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/term"
)

const (
	referencePage     = "../../docs/cli.md"
	regenerateOnePage = "go test ./internal/cli -run TestTheReferenceOfTheCommandsIsCurrent -update"
)

var update = flag.Bool("update", false, "write the pages that are generated from the commands")

// docs/cli.md is what the commands say of themselves.
func TestTheReferenceOfTheCommandsIsCurrent(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }, stdout: &resultWriter{w: io.Discard}, stderr: term.NewStream(io.Discard, func(string) string { return "" })}
	want := reference(a.rootCommand())
	if *update {
		if err := os.WriteFile(referencePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	have, lines := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i, line := range lines {
		if i >= len(have) || have[i] != line {
			t.Fatalf("docs/cli.md is not what the commands say (line %d: %q). Write it anew:\n  %s", i+1, line, regenerateOnePage)
		}
	}
	t.Fatalf("docs/cli.md says more than the commands. Write it anew:\n  %s", regenerateOnePage)
}

// Every command says what it is for and shows a line that works.
func TestEveryCommandHasAnExample(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }, stdout: &resultWriter{w: io.Discard}, stderr: term.NewStream(io.Discard, func(string) string { return "" })}
	for cmd := range commandsBelow(a.rootCommand()) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || !strings.Contains(cmd.Example, "zae-limiter") {
			t.Errorf("%s: short text %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		if cmd.HasSubCommands() {
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(cmd.Example, "\\\n", "")) {
			checkExample(t, cmd.Root(), line)
		}
	}
}

// checkExample says whether the command line of an example has a command that exists and options that it takes.
func checkExample(t *testing.T, root *cobra.Command, line string) {
	t.Helper()
	_, line, found := strings.Cut(line, "zae-limiter ")
	if !found {
		return
	}
	words := strings.Fields(line)
	cmd, rest, err := root.Find(words)
	if err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	for _, word := range rest {
		if word == "--" {
			return
		}
		if !strings.HasPrefix(word, "-") || strings.Trim(word, "-0123456789") == "" {
			continue
		}
		name, _, _ := strings.Cut(word, "=")
		if !takesOption(cmd, name) {
			t.Errorf("example %q: %s has no option %s", strings.TrimSpace(line), cmd.CommandPath(), name)
		}
	}
}

func takesOption(cmd *cobra.Command, option string) bool {
	if name, long := strings.CutPrefix(option, "--"); long {
		return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil || name == "help"
	}
	short := strings.TrimPrefix(option, "-")
	return cmd.Flags().ShorthandLookup(short[:1]) != nil
}

// commandsBelow yields the commands that help lists, each group before its own.
func commandsBelow(cmd *cobra.Command) func(func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) {
		for _, c := range cmd.Commands() {
			if !c.IsAvailableCommand() {
				continue
			}
			if !yield(c) {
				return
			}
			for below := range commandsBelow(c) {
				if !yield(below) {
					return
				}
			}
		}
	}
}

// reference is the page that the commands make.
func reference(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Generated from the commands by: %s -->\n\n# Command line\n\n", regenerateOnePage)
	writeText(&b, root.Long)
	fmt.Fprint(&b, "`zae-limiter COMMAND --help` says the same as this page.\n\n")
	for cmd := range commandsBelow(root) {
		if cmd.HasParent() && cmd.Parent() == root {
			fmt.Fprintf(&b, "- [%s](#%s): %s\n", cmd.CommandPath(), strings.ReplaceAll(cmd.CommandPath(), " ", "-"), escaped(cmd.Short))
		}
	}
	fmt.Fprint(&b, "\n## All commands\n\n")
	writeOptions(&b, options(root.PersistentFlags()))
	writeText(&b, settingsNote(root))
	writeText(&b, exitTable)
	for cmd := range commandsBelow(root) {
		writeCommand(&b, cmd)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	level := "##"
	if cmd.Parent().HasParent() {
		level = "###"
	}
	fmt.Fprintf(b, "%s %s\n\n", level, cmd.CommandPath())
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	writeText(b, text)
	if cmd.HasSubCommands() && !cmd.HasAvailableLocalFlags() {
		if common := commonOptions(cmd); len(common) > 0 {
			fmt.Fprintf(b, "Options of all its commands:\n\n")
			writeOptions(b, common)
		}
		return
	}
	usage := cmd.UseLine()
	if len(cmd.Aliases) > 0 {
		usage += "    (also: " + strings.Join(cmd.Aliases, ", ") + ")"
	}
	fmt.Fprintf(b, "```\n%s\n\n%s\n```\n\n", usage, dedented(cmd.Example))
	common := commonOptions(cmd.Parent())
	writeOptions(b, slices.DeleteFunc(options(cmd.NonInheritedFlags()), func(o option) bool { return slices.Contains(common, o) }))
}

// option is a row of a table of options.
type option struct{ names, meaning string }

// options are those of a command that help lists, without --help.
func options(flags *pflag.FlagSet) []option {
	var all []option
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		names := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			names = "`-" + f.Shorthand + "`, " + names
		}
		if value != "" {
			names += " " + escaped(value)
		}
		text = escaped(text)
		switch f.DefValue {
		case "", "false", "0", "[]", "0s":
		case "true":
			text += " (default: yes)"
		default:
			text += " (default: `" + f.DefValue + "`)"
		}
		all = append(all, option{names, text})
	})
	return all
}

// commonOptions are those that all commands of a group have and explain alike.
func commonOptions(group *cobra.Command) []option {
	var common []option
	first := true
	for _, cmd := range group.Commands() {
		if !cmd.IsAvailableCommand() || cmd.HasSubCommands() {
			continue
		}
		own := options(cmd.NonInheritedFlags())
		if first {
			common, first = own, false
			continue
		}
		common = slices.DeleteFunc(common, func(o option) bool { return !slices.Contains(own, o) })
	}
	if len(group.Commands()) < 2 || !group.HasParent() {
		return nil
	}
	return common
}

func writeOptions(b *strings.Builder, all []option) {
	if len(all) == 0 {
		return
	}
	fmt.Fprint(b, "| Option | Meaning |\n|---|---|\n")
	for _, o := range all {
		fmt.Fprintf(b, "| %s | %s |\n", o.names, strings.ReplaceAll(o.meaning, "|", "\\|"))
	}
	fmt.Fprint(b, "\n")
}

// writeText puts the text of a command on the page; its indented lines are code.
func writeText(b *strings.Builder, text string) {
	for part := range partsOf(text) {
		if strings.HasPrefix(part, "  ") {
			fmt.Fprintf(b, "```\n%s\n```\n\n", dedented(part))
		} else {
			fmt.Fprintf(b, "%s\n\n", escaped(part))
		}
	}
}

// partsOf yields the paragraphs of a text, and what is indented between two of them as one part.
func partsOf(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		var part []string
		code := false
		for line := range strings.SplitSeq(strings.TrimSpace(text)+"\n\n.", "\n") {
			indented := strings.HasPrefix(line, "  ")
			blank := strings.TrimSpace(line) == ""
			if len(part) > 0 && (!code && blank || !blank && indented != code) {
				if !yield(strings.TrimRight(strings.Join(part, "\n"), "\n")) {
					return
				}
				part = nil
			}
			if len(part) == 0 && blank {
				continue
			}
			if len(part) == 0 {
				code = indented
			}
			part = append(part, line)
		}
	}
}

func dedented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

// escaped is a text whose characters mean nothing to Markdown, but for what it marks as code.
func escaped(text string) string {
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.NewReplacer("*", `\*`, " _", ` \_`, "<", `\<`).Replace(parts[i])
	}
	return strings.Join(parts, "`")
}
