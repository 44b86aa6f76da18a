package cli

import (
	"os/exec"
	"runtime"
)

// openBrowser shows a page on a desktop; where there is none nothing happens.
func openBrowser(url string) {
	var command *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		command = exec.Command("open", url)
	case "windows":
		command = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	default:
		command = exec.Command("xdg-open", url)
	}
	if command.Start() == nil {
		go func() { _ = command.Wait() }()
	}
}

// hasDesktop reports whether this user sits in front of this machine.
func (a *app) hasDesktop() bool {
	if !a.stderr.IsTerminal() || a.getenv("SSH_CONNECTION") != "" {
		return false
	}
	return runtime.GOOS == "darwin" || runtime.GOOS == "windows" || a.getenv("DISPLAY") != "" || a.getenv("WAYLAND_DISPLAY") != ""
}
