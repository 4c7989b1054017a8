//go:build unix

package host

import (
	"os"
	"syscall"
)

// lockFile locks f until it is closed, or fails if another process has.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
