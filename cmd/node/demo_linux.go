package main

import "syscall"

// diesWithParent has the kernel kill a child whose parent is gone, so that no
// node outlives a demo that was killed.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
