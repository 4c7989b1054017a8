package main

import "syscall"

// diesWithParent makes the system kill a child when this program is gone.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
