package interop

import "syscall"

// diesWithParent makes the system kill a child when the test process is gone.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
