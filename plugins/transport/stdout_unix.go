//go:build unix

package transport

import (
	"os"

	"golang.org/x/sys/unix"
)

// takeStdout returns the true stdout and makes file descriptor 1 a second
// stderr, so that nothing but the handshake reaches the host through it. The
// descriptor is not inherited by children.
func takeStdout() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(unix.Stdout), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := redirect(unix.Stderr, unix.Stdout); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}
