package shh

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	installWithin = 4 * time.Minute
	clientWithin  = 3 * time.Minute
)

// A client that was written for go-ethereum, with the stock package from npm,
// works over all three ways in.
func TestStockJavaScriptClientWorksUnchanged(t *testing.T) {
	dir := installed(t)
	r, _ := running(t, nil)
	server := r.serve()
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	sockets := httptest.NewServer(server.WebsocketHandler([]string{"*"}))
	t.Cleanup(sockets.Close)
	args := []string{"client.js", web.URL, "ws" + strings.TrimPrefix(sockets.URL, "http")}
	if runtime.GOOS != "windows" {
		args = append(args, ipc(t, server.ServeListener))
	}

	ctx, cancel := context.WithTimeout(t.Context(), clientWithin)
	defer cancel()
	node := exec.CommandContext(ctx, "node", args...)
	node.Dir = dir
	out, err := node.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all as in go-ethereum") {
		t.Errorf("client: %v\n%s", err, out)
	}
	until(t, func() bool { return r.api.Report().Subscriptions == 0 })
}

// ipc listens on a socket whose name is short enough for every system.
func ipc(t *testing.T, serve func(net.Listener) error) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "node.ipc")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

// installed returns a folder with the client and the packages it needs, exactly
// those of package-lock.json.
func installed(t *testing.T) string {
	t.Helper()
	missing := func(format string, args ...any) {
		t.Helper()
		if os.Getenv("CI") != "" {
			t.Fatalf(format, args...)
		}
		t.Skipf(format, args...)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing("%s is missing: %v", tool, err)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "js"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), installWithin)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		missing("npm ci: the packages cannot be had: %v\n%s", err, out)
	}
	return dir
}
