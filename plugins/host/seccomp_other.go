//go:build linux && !amd64 && !arm64

package host

import "errors"

// filterCalls has no list of the numbers of system calls on other processors.
func filterCalls(bool) error { return errors.New("this processor is not supported") }
