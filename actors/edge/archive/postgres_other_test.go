//go:build !unix

package archive

import "testing"

// postgresURL has no PostgreSQL to start on this system.
func postgresURL(t testing.TB) string {
	t.Skip("PostgreSQL is started by the tests on Unix only")
	return ""
}

func benchDatabase(b *testing.B) string { return postgresURL(b) }

func stopPostgres() {}
