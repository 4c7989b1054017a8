package host_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/host"
)

const canary = "canary-of-the-hosts-environment"

func TestConfinedPluginIsContained(t *testing.T) {
	t.Setenv("HOSTTEST_CANARY", canary)
	c, _ := command(t, "probe")
	data := t.TempDir()
	own := filepath.Join(data, "plugins", "own")
	c.Dir = own
	c.Confine = host.Required
	c.Hide = []string{data, "/etc/ssl"}
	targets := map[string]string{
		"key": write(t, filepath.Join(data, "keys", "key"), "secret"), "other": write(t, filepath.Join(data, "plugins", "other", "state"), "secret"),
		"allowed": write(t, filepath.Join(t.TempDir(), "allowed"), "public"),
		"outside": filepath.Join(t.TempDir(), "outside"),
		"pid":     strconv.Itoa(os.Getpid()),
		"socket":  filepath.Join(data, "ipc"), "abstract": "@hosttest-" + strconv.Itoa(os.Getpid()),
	}
	// A path of a socket is short; that of a test's folder may not be.
	short, err := os.MkdirTemp("/tmp", "hs-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	targets["socket"] = filepath.Join(short, "ipc")
	c.Hide = append(c.Hide, short)
	c.AllowRead = []string{targets["allowed"]}
	for _, address := range []string{targets["socket"], targets["abstract"]} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		conn, err := net.Dial("unix", address)
		if err != nil {
			t.Fatalf("the host cannot reach %s itself: %v", address, err)
		}
		conn.Close()
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	targets["tcp"] = tcp.Addr().String()
	arg, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	c.Env["HOSTTEST_ARG"] = string(arg)
	p := start(t, c)
	t.Log(p.Confinement())
	wantText(t, "confinement", p.Confinement(), "landlock", "namespaces", "seccomp")

	b, err := os.ReadFile(filepath.Join(own, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]string
	if err := json.Unmarshal(b, &result); err != nil {
		t.Fatal(err)
	}
	for _, name := range mustFail {
		if got := result[name]; got == "ok" || got == "" {
			t.Errorf("%s: the plugin could do it (%q)", name, got)
		}
	}
	for _, name := range mustWork {
		if got := result[name]; got != "ok" {
			t.Errorf("%s: the plugin could not: %s", name, got)
		}
	}
	if strings.Contains(result["environment"], canary) {
		t.Error("the host's environment is the plugin's")
	}
	if _, err := os.Stat(targets["outside"]); err == nil {
		t.Error("it wrote outside its folder")
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTooManyChildrenAreKilled(t *testing.T) {
	for _, confine := range []host.Confine{host.Best, host.Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, _ := command(t, "forks")
			c.Confine = confine
			mark := fmt.Sprintf("200 of %d %v", os.Getpid(), confine)
			c.Env["HOSTTEST_ARG"] = "200"
			c.Env["HOSTTEST_MARK"] = mark
			c.Watch = 10 * time.Millisecond
			p, err := host.Start(t.Context(), c)
			if err == nil {
				defer p.Kill()
				awaitDone(t, p)
				err = p.Err()
			}
			if err == nil {
				t.Fatal("no error")
			}
			wantText(t, "error", err.Error(), "processes: had", "limit 64")
			eventually(t, 2*time.Second, "all children are gone", func() bool { return len(holders(mark)) == 0 })
		})
	}
}

func TestKillEndsGrandchildren(t *testing.T) {
	for _, confine := range []host.Confine{host.Best, host.Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, _ := command(t, "forks")
			c.Confine = confine
			mark := fmt.Sprintf("20 of %d %v", os.Getpid(), confine)
			c.Env["HOSTTEST_ARG"] = "20"
			c.Env["HOSTTEST_MARK"] = mark
			p := start(t, c)
			if n := len(holders(mark)); n != 21 {
				t.Errorf("%d processes before, want 21", n)
			}
			p.Kill()
			if left := holders(mark); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// other starts a host in a process of its own and returns what it says.
func other(t *testing.T, dir string, confine host.Confine, namespaces string, env map[string]string) (*exec.Cmd, hosted) {
	t.Helper()
	temp, err := os.MkdirTemp("/tmp", "ho-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	c, err := json.Marshal(confine)
	if err != nil {
		t.Fatal(err)
	}
	e, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOSTTEST_HOST="+dir, "HOSTTEST_CONFINE="+string(c),
		"HOSTTEST_ENV="+string(e), "HOSTTEST_NAMESPACES="+namespaces)
	cmd.Stderr = os.Stderr
	if namespaces == "none" {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, soon, "the other host speaks", func() bool {
		_, err := os.Stat(filepath.Join(dir, "state"))
		return err == nil
	})
	b, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	var state hosted
	if err := json.Unmarshal(b, &state); err != nil {
		t.Fatal(err)
	}
	return cmd, state
}

// runFolders returns the folders of sockets that there are.
func runFolders(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(os.TempDir(), "strata-run-*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestKilledHostLeavesNoOrphan(t *testing.T) {
	for _, tt := range []struct {
		confine  host.Confine
		children int // only a namespace ends them with the plugin
	}{{host.Best, 3}, {host.Off, 0}} {
		t.Run(tt.confine.String(), func(t *testing.T) {
			dir := t.TempDir()
			cmd, state := other(t, dir, tt.confine, "", map[string]string{
				modeVariable: "forks", "HOSTTEST_ARG": strconv.Itoa(tt.children),
			})
			if state.Error != "" {
				t.Fatal(state.Error)
			}
			own := "STRATA_DIR=" + filepath.Join(dir, "plugin")
			if n := len(holders(own)); n != tt.children+1 {
				t.Errorf("%d processes before, want %d", n, tt.children+1)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, 2*time.Second, "no process is left", func() bool { return len(holders(own)) == 0 })
			cmd.Wait() // until then its lock may be held
			if left := runFolders(t); len(left) != 1 {
				t.Fatalf("folders %v, want that of the killed host", left)
			}
			// The next host cleans up.
			c, _ := commandHere(t, "good")
			start(t, c).Kill()
			if left := runFolders(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWithoutNamespacesLandlockConfines(t *testing.T) {
	dir := t.TempDir()
	targets := map[string]string{
		"key": write(t, filepath.Join(t.TempDir(), "key"), "secret"), "other": write(t, filepath.Join(t.TempDir(), "state"), "secret"),
		"outside": filepath.Join(t.TempDir(), "outside"), "pid": strconv.Itoa(os.Getpid()),
		"abstract": "@hosttest-" + strconv.Itoa(os.Getpid()),
	}
	l, err := net.Listen("unix", targets["abstract"])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arg, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{modeVariable: "probe", "HOSTTEST_ARG": string(arg)}
	_, state := other(t, dir, host.Best, "none", env)
	if state.Error != "" {
		t.Fatal(state.Error)
	}
	wantText(t, "confinement", state.Confinement, "landlock", "seccomp", "no namespaces")
	b, err := os.ReadFile(filepath.Join(dir, "plugin", "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]string
	if err := json.Unmarshal(b, &result); err != nil {
		t.Fatal(err)
	}
	for _, name := range mustFail {
		if name == "ipc socket" || name == "hidden system folder" {
			continue // only a mount namespace can
		}
		if got := result[name]; got == "ok" || got == "" {
			t.Errorf("%s: the plugin could do it (%q)", name, got)
		}
	}
}

func TestRequiredConfinementIsNotDoneWithout(t *testing.T) {
	for namespaces, want := range map[string]string{
		"none":    "no namespaces",
		"no shim": "does not call host.Shim",
	} {
		t.Run(namespaces, func(t *testing.T) {
			_, state := other(t, t.TempDir(), host.Required, namespaces, map[string]string{modeVariable: "good"})
			if state.Error == "" {
				t.Fatal("it started")
			}
			wantText(t, "error", state.Error, want)
		})
	}
}

func TestWithoutShimNothingIsConfinedAndThatIsSaid(t *testing.T) {
	_, state := other(t, t.TempDir(), host.Best, "no shim", map[string]string{modeVariable: "good"})
	if state.Error != "" {
		t.Fatal(state.Error)
	}
	wantText(t, "confinement", state.Confinement, "none: this program does not call host.Shim")
}
