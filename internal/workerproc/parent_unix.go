//go:build unix && !linux

package workerproc

import "syscall"

// endWithParent does nothing: here workers of a parent that was killed go on until their master does
// not answer any more.
func endWithParent(*syscall.SysProcAttr) {}
