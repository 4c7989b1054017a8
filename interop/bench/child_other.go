//go:build !linux

package main

import "syscall"

// diesWithParent has no means here; what ends the children is the end
// of each row, and for gethpeer the end of its standard input.
func diesWithParent() *syscall.SysProcAttr { return nil }
