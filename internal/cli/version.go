package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what the binary knows about itself.
type build struct {
	Version   string  `json:"version"`
	ID        *string `json:"build_id"` // the commit, with +dirty when the tree was changed; nil when not known
	GoVersion string  `json:"go_version"`
	OSArch    string  `json:"os_arch"`
}

func readBuild() build {
	b := build{Version: "devel", GoVersion: runtime.Version(), OSArch: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision != "" {
		b.ID = new(revision + dirty)
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	var account accountFlags
	var name string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary or, with --name, what a limiter on AWS is made for",
		Example: `  zae-limiter version --json
  zae-limiter version --name my-limiter --region us-east-1`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name != "" {
				return a.limiterVersion(cmd.Context(), account, name, false)
			}
			b := a.build()
			if a.json {
				return a.printJSON(b)
			}
			id := "no build id"
			if b.ID != nil {
				id = *b.ID
			}
			_, err := fmt.Fprintf(a.stdout, "zae-limiter %s (%s, %s, %s)\n", b.Version, id, b.GoVersion, b.OSArch)
			return err
		},
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "`name` of a limiter")
	account.register(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}
