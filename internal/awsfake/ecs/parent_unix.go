//go:build unix && !linux

package ecs

import "syscall"

// endWithParent does nothing: here the processes of a parent that was killed go on.
func endWithParent(*syscall.SysProcAttr) {}
