//go:build unix

package transport

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or one of the programs that a test starts as a
// process of its own.
func TestMain(m *testing.M) {
	if program := os.Getenv(programKey); program != "" {
		programs[program]()
		return
	}
	goleak.VerifyTestMain(m)
}
