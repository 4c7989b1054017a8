//go:build !linux

package main

import "syscall"

// diesWithParent has no counterpart outside Linux; the demo stops its children
// itself.
func diesWithParent() *syscall.SysProcAttr { return nil }
