//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// postgresPath is where Debian has the server's programs, which are not on PATH.
const postgresPath = "/usr/lib/postgresql/15/bin"

// postgres returns the URL of a database: the one that the environment names, or
// that of a server of its own, which ends with the test.
func postgres(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(databaseEnv); url != "" {
		return url
	}
	initdb, err := postgresProgram("initdb")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL: ", err)
		}
		t.Skip("PostgreSQL is not installed: ", err)
	}
	server, err := postgresProgram("postgres")
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	attributes := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	run := exec.Command(initdb, "-D", data, "-A", "trust", "-U", "strata", "--no-sync")
	run.SysProcAttr, run.Dir = attributes, dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	process := exec.CommandContext(ctx, server, "-D", data, "-k", dir, "-c", "listen_addresses=")
	process.SysProcAttr, process.Dir = attributes, dir
	process.Cancel = func() error { return process.Process.Signal(syscall.SIGQUIT) }
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = process.Wait()
	})
	eventually(t, "PostgreSQL to open its socket", func() bool {
		_, err := os.Stat(filepath.Join(dir, ".s.PGSQL.5432"))
		return err == nil
	})
	return fmt.Sprintf("postgres://strata@/postgres?host=%s", dir)
}

func postgresProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	debian := filepath.Join(postgresPath, name)
	if _, statErr := os.Stat(debian); statErr != nil {
		return "", errors.Join(err, statErr)
	}
	return debian, nil
}

// unprivileged makes a process run as somebody else if this one is the
// administrator, which PostgreSQL refuses, and gives him the folder.
func unprivileged(t testing.TB, dir string) *syscall.SysProcAttr {
	t.Helper()
	attributes := diesWithParent()
	if os.Geteuid() != 0 {
		return attributes
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, errU := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, errG := strconv.ParseUint(nobody.Gid, 10, 32)
	if err := errors.Join(errU, errG, os.Chown(dir, int(uid), int(gid))); err != nil {
		t.Fatal(err)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes
}
