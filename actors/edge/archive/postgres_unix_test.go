//go:build unix

package archive

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is the PostgreSQL of this test binary, started when it is first needed.
var server struct {
	once    sync.Once
	url     *url.URL // nil: there is none, see missing
	missing string
	dir     string
	command *exec.Cmd
	schemas atomic.Int64
}

// postgresURL returns a database of its own for a test: a schema of the one that
// STRATA_POSTGRES names, or of one that is started for the tests.
func postgresURL(t testing.TB) string {
	t.Helper()
	address, drop := newSchema(t)
	t.Cleanup(drop)
	return address
}

// benchDatabase is postgresURL for all benchmarks of the test binary together.
func benchDatabase(b *testing.B) string {
	b.Helper()
	address, drop := newSchema(b)
	atExit = append(atExit, drop)
	return address
}

func newSchema(t testing.TB) (address string, drop func()) {
	t.Helper()
	server.once.Do(func() { startPostgres(t) })
	if server.url == nil {
		if os.Getenv("CI") != "" {
			t.Fatal(server.missing)
		}
		t.Skip(server.missing)
	}
	schema := fmt.Sprintf("archive_%d_%d", os.Getpid(), server.schemas.Add(1))
	if err := onServer("CREATE SCHEMA " + schema); err != nil {
		t.Fatal(err)
	}
	u := *server.url
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String(), func() {
		if err := onServer("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func onServer(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, server.url.String())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, sql)
	return err
}

// program finds a program of PostgreSQL, which distributions put beside the path.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob(filepath.Join("/usr/lib/postgresql", "*", "bin", name))
	if len(found) == 0 {
		return "", fmt.Errorf("the program %s of PostgreSQL is not installed, and STRATA_POSTGRES names no database", name)
	}
	return found[len(found)-1], nil
}

func startPostgres(t testing.TB) {
	t.Helper()
	if address := os.Getenv("STRATA_POSTGRES"); address != "" {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal("STRATA_POSTGRES is no URL")
		}
		server.url = u
		return
	}
	initdb, err := program("initdb")
	if err != nil {
		server.missing = err.Error()
		return
	}
	postgres, err := program("postgres")
	if err != nil {
		server.missing = err.Error()
		return
	}
	if server.dir, err = os.MkdirTemp("", "archive-postgres"); err != nil {
		t.Fatal(err)
	}
	who := unprivileged(t, server.dir)
	data := filepath.Join(server.dir, "data")
	create := exec.Command(initdb, "-D", data, "-U", "strata", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	create.SysProcAttr, create.Dir = who, server.dir
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	c := exec.Command(postgres, "-D", data, "-k", server.dir, "-c", "listen_addresses=", "-c", "max_wal_size=4GB",
		"-c", "shared_buffers=128MB", "-c", "log_min_messages=fatal", "-c", "logging_collector=off")
	c.SysProcAttr, c.Dir = who, server.dir
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	server.command = c
	u := &url.URL{Scheme: "postgres", User: url.User("strata"), Path: "/postgres", RawQuery: url.Values{"host": {server.dir}}.Encode()}
	deadline := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, u.String())
		if err == nil {
			conn.Close(ctx)
			cancel()
			break
		}
		<-time.After(50 * time.Millisecond)
		cancel()
		if time.Now().After(deadline) {
			t.Fatalf("PostgreSQL does not come up: %v", err)
		}
	}
	server.url = u
}

// unprivileged returns who runs the server: it refuses to be run by root.
func unprivileged(t testing.TB, dir string) *syscall.SysProcAttr {
	t.Helper()
	who := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return who
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		who.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return who
	}
	t.Fatal("there is neither a user postgres nor a user nobody to run PostgreSQL as")
	return nil
}

// stopPostgres ends the server of this test binary.
func stopPostgres() {
	if server.command != nil {
		server.command.Process.Signal(syscall.SIGINT)
		server.command.Wait()
	}
	if server.dir != "" {
		os.RemoveAll(server.dir)
	}
}
