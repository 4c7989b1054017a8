//go:build !linux

package interop

import "syscall"

// diesWithParent has no means here; what ends the children is the cleanup of the
// test, and for gethpeer the end of its standard input.
func diesWithParent() *syscall.SysProcAttr { return nil }
