//go:build !unix

package main

import (
	"os"
	"testing"
)

// postgres returns the URL of the database that the environment names.
func postgres(t testing.TB) string {
	t.Helper()
	url := os.Getenv(databaseEnv)
	if url == "" {
		t.Skip("PostgreSQL is started by the tests on Unix only")
	}
	return url
}
