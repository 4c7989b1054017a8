//go:build unix

package main

import (
	"fmt"
	"os/signal"
	"syscall"
)

func ignoreSignals() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// inherited returns what is open beside the three standard files: files,
// folders, pipes, sockets. What the runtime of Go opens is none of these.
func inherited() (open []string) {
	for fd := 3; fd < 256; fd++ {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err == nil && st.Mode&syscall.S_IFMT != 0 {
			open = append(open, fmt.Sprintf("%d of mode %o", fd, st.Mode))
		}
	}
	return open
}
