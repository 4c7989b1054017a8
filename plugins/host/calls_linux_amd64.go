package host

import "golang.org/x/sys/unix"

// oldCalls are those of the marking calls that newer processors do without.
var oldCalls = []uint32{unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
