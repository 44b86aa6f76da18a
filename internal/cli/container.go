package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/zeroae/zae-limiter-go/internal/awsrun/metadata"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// taskAddressVariable holds the address of a task whose containers are processes of one machine, as
// `zae-limiter local aws` runs them: there containers have no network of their own, and what a container
// calls itself, or any address, is this one.
const taskAddressVariable = "ZAE_LIMITER_TASK_ADDRESS"

// buildIDVariable holds the build id that a deployment stamped image and function with.
const buildIDVariable = "ZAEL_BUILD_ID"

// modeHere is the mode of a run whose users are in this process.
func (a *app) modeHere() string {
	switch {
	case a.getenv(runtimeAPIVariable) != "":
		return report.ModeLambda
	case a.getenv(metadata.Variable) != "":
		return report.ModeFargate
	}
	return report.ModeLocal
}

// deployed reports whether this process is part of a deployment: a container of a task, or a function.
func (a *app) deployed() bool { return a.modeHere() != report.ModeLocal }

// inTask replaces a host that means this container, in an address to listen on or to dial, by the
// task's own address where there is one.
func (a *app) inTask(address string) string {
	task := a.getenv(taskAddressVariable)
	host, port, err := net.SplitHostPort(address)
	if task == "" || err != nil {
		return address
	}
	ip := net.ParseIP(host)
	if host == "" || host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		return net.JoinHostPort(task, port)
	}
	return address
}

// urlInTask is inTask for the host of a URL.
func (a *app) urlInTask(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Port() == "" {
		return text
	}
	u.Host = a.inTask(u.Host)
	return u.String()
}

// build is what this process is: the binary, and the deployment that it belongs to.
func (a *app) build() build {
	b := readBuild()
	if id := a.getenv(buildIDVariable); id != "" {
		b.ID = &id
	}
	return b
}

// writeNewSecret makes a secret for the link to workers and puts it where only this user can read it.
// It appears at once and whole: others wait for the file.
func writeNewSecret(path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // readable for its owner only
	if err != nil {
		return fmt.Errorf("--new-secret-file: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("--new-secret-file: %w", errors.Join(err, os.Remove(file.Name())))
		}
	}()
	_, err = file.WriteString(rand.Text() + rand.Text() + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
