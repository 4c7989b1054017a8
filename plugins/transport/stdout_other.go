//go:build !unix

package transport

import "os"

// takeStdout returns the true stdout and leads Go's os.Stdout to stderr. What C
// code prints is not caught here.
func takeStdout() (*os.File, error) {
	out := os.Stdout
	os.Stdout = os.Stderr
	return out, nil
}
