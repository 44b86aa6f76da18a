package workerproc

import "syscall"

// endWithParent has the kernel send SIGTERM when the parent dies in a way that leaves it no time to
// end its workers: they say goodbye to their master then and go.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGTERM }
