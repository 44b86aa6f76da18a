package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
)

// exportFlags are the options of lambda-export.
type exportFlags struct {
	output, arch, binary string
	info, force          bool
}

// exportDocument is what the package of the function is.
type exportDocument struct {
	File    *string `json:"file"` // null with --info
	BuildID string  `json:"build_id"`
	Arch    string  `json:"arch"`
	Runtime string  `json:"runtime"`
	Handler string  `json:"handler"`
	Bytes   int     `json:"bytes"`
	Program string  `json:"program"`
}

// lambdaExportCommand is `lambda-export`.
func (a *app) lambdaExportCommand() *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "lambda-export",
		Short: "Write the package of the aggregator function, for deployments of one's own",
		Long: `Write the package of the aggregator function, for pipelines that deploy it themselves: a zip with this program as
bootstrap. The function's runtime is provided.al2023 and its handler aggregator. AWS is not asked.`,
		Example: "  zae-limiter lambda-export -o aggregator.zip --arch arm64\n  zae-limiter lambda-export --info",
		Args:    positional,
		RunE:    func(*cobra.Command, []string) error { return a.lambdaExport(f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "lambda.zip", "`file` to write")
	flags.BoolVar(&f.info, "info", false, "say what the package is, and write nothing")
	flags.BoolVarP(&f.force, "force", "f", false, "write over a file that is there")
	flags.StringVar(&f.arch, "arch", "", "amd64 or arm64 (default: that of this program)")
	flags.StringVar(&f.binary, "binary", "", "Linux build of this program to package (default: this one, or "+artifact.ReleaseName("ARCH")+" beside it)")
	flags.SortFlags = false
	return cmd
}

func (a *app) lambdaExport(f *exportFlags) error {
	if f.arch == "" {
		f.arch = defaultArch()
	}
	if !artifact.Architecture(f.arch) {
		return usagef("--arch must be amd64 or arm64, got %q", f.arch)
	}
	var out *outputFile
	if !f.info {
		if _, err := os.Stat(f.output); !errors.Is(err, fs.ErrNotExist) && !f.force {
			return usage(withHint(fmt.Errorf("%s is there already", f.output), "write over it with --force, or name another file with -o"))
		}
		var err error
		if out, err = openOutput(f.output); err != nil {
			return usage(err)
		}
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("path of this program: %w", err)
	}
	source := artifact.Source{Given: f.binary, Executable: executable, OS: runtime.GOOS, Arch: runtime.GOARCH}
	binary, err := source.Find(f.arch)
	if errors.Is(err, artifact.ErrNoBinary) {
		err = withHint(err, "take it from a release or build it (make dist), and name it with --binary")
	}
	if err != nil {
		return usage(err)
	}
	if !binary.Static {
		a.warn("%s needs a C library, which functions do not have: build it with CGO_ENABLED=0 (make build)", binary.Path)
	}
	build, err := artifact.NewBuild(binary, f.arch, &artifact.Files{})
	if err != nil {
		return err
	}
	code, err := build.Package()
	if err != nil {
		return err
	}
	d := exportDocument{BuildID: build.ID, Arch: f.arch, Runtime: "provided.al2023", Handler: "aggregator", Bytes: len(code), Program: binary.Path}
	if out != nil {
		if err := out.write(func(w io.Writer) error { _, err := w.Write(code); return err }); err != nil {
			return err
		}
		d.File = &f.output
	}
	if a.json {
		return a.printJSON(d)
	}
	text := fmt.Sprintf("package %s for linux/%s: %.1f MB, runtime %s, handler %s, of %s\n", d.BuildID, d.Arch, megabytes(int64(d.Bytes)), d.Runtime, d.Handler, d.Program)
	if d.File != nil {
		text += "written to " + f.output + "\n"
	}
	_, err = io.WriteString(a.stdout, text)
	return err
}
