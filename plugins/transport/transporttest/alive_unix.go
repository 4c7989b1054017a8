//go:build unix

package transporttest

import "syscall"

// alive reports whether there is a process, or a group of processes, with the
// id: a child that a plugin left behind is in its group.
func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil || syscall.Kill(-pid, 0) == nil
}
