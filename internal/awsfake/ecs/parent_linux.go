package ecs

import "syscall"

// endWithParent has the kernel kill the process when its parent dies in a way that leaves it no time to
// end its tasks.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
