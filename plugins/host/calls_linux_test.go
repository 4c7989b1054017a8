package host_test

import "golang.org/x/sys/unix"

func signalZero(pid int) error { return unix.Kill(pid, 0) }

func mountTmp() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }

func unshareUser() error { return unix.Unshare(unix.CLONE_NEWUSER) }
