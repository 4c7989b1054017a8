//go:build !windows

package rpc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// maxSocketPath is the longest path of a socket, in bytes, that all systems
// take: macOS and the BSDs have room for 104 with the final zero.
const maxSocketPath = 103

// listenPrivate listens on a socket that is nobody else's from the first moment:
// on Linux the file gets the mode the socket has when it is bound. Elsewhere the
// mode follows, and the data folder, itself private, guards it till then.
func listenPrivate(path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	return lc.Listen(context.Background(), "unix", path)
}

// nobodyListens reports whether err says that the socket is a left-over.
func nobodyListens(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isSocket(fs.FileInfo) bool { return false } // the mode has said all
