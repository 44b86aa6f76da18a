// Command package says how many bytes the function's package has that a deployment makes of a Linux build of
// the program for this machine, without locustfiles.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
)

func main() {
	size, err := packageSize(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
	fmt.Println(size)
}

func packageSize(args []string) (int, error) {
	if len(args) != 1 {
		return 0, errors.New("want the path of a build of the program")
	}
	binary, err := (&artifact.Source{Given: args[0]}).Find(runtime.GOARCH)
	if err != nil {
		return 0, err
	}
	build, err := artifact.NewBuild(binary, runtime.GOARCH, &artifact.Files{})
	if err != nil {
		return 0, err
	}
	code, err := build.Package()
	return len(code), err
}
