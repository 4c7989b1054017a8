package rpc

import (
	"errors"
	"io/fs"
	"net"

	"golang.org/x/sys/windows"
)

// maxSocketPath is the longest path of a socket, in bytes.
const maxSocketPath = 107

// listenPrivate listens on a Unix socket, which Windows has since 2018. Access
// to it follows from the data folder.
func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }

// nobodyListens reports whether err says that the socket is a left-over.
func nobodyListens(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

// isSocket accepts what Windows reports for a socket: an irregular file.
func isSocket(i fs.FileInfo) bool { return i.Mode()&(fs.ModeIrregular|fs.ModeSocket) != 0 }
