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
	"time"

	"golang.org/x/sys/unix"
)

// probe tries what a plugin must not be able to do, and what it must. It
// returns what came of each.
func probe(arg string) map[string]string {
	var targets map[string]string
	must(json.Unmarshal([]byte(arg), &targets))
	result := make(map[string]string)
	try := func(name string, err error) {
		result[name] = "ok"
		if err != nil {
			result[name] = err.Error()
		}
	}
	read := func(name, path string) {
		b, err := os.ReadFile(path)
		if err == nil && len(b) == 0 {
			err = fmt.Errorf("empty")
		}
		try(name, err)
	}
	dial := func(name, network, address string) {
		conn, err := net.DialTimeout(network, address, 2*time.Second)
		if err == nil {
			conn.Close()
		}
		try(name, err)
	}
	read("key", targets["key"])
	read("other", targets["other"])
	read("host environ", "/proc/"+targets["pid"]+"/environ")
	read("host memory", "/proc/"+targets["pid"]+"/maps")
	read("init environ", "/proc/1/environ")
	read("passwd", "/etc/passwd")
	read("shadow", "/etc/shadow")
	_, err := os.ReadDir(filepath.Dir(targets["key"]))
	try("list data", err)
	entries, err := os.ReadDir("/etc/ssl")
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("empty")
	}
	try("hidden system folder", err)
	dial("ipc socket", "unix", targets["socket"])
	dial("abstract socket", "unix", targets["abstract"])
	try("write outside", os.WriteFile(targets["outside"], []byte("x"), 0o600))
	try("write usr", os.WriteFile("/usr/hosttest", []byte("x"), 0o600))
	try("change own folder's mode of parent", os.Chmod(filepath.Dir(os.Getenv("STRATA_DIR")), 0o777))
	pid, err := strconv.Atoi(targets["pid"])
	must(err)
	try("signal host", unix.Kill(pid, 0))
	try("mount", unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	try("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	result["environment"] = strings.Join(os.Environ(), "\n")

	read("read allowed", targets["allowed"])
	try("write own", os.WriteFile(filepath.Join(os.Getenv("STRATA_DIR"), "mine"), []byte("x"), 0o600))
	try("write temp", os.WriteFile(filepath.Join(os.TempDir(), "mine"), []byte("x"), 0o600))
	read("hosts", "/etc/hosts")
	try("run", exec.Command("/bin/sh", "-c", "exit 0").Run())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	try("listen", err)
	if err == nil {
		dial("dial", "tcp", l.Addr().String())
		l.Close()
	}
	dial("dial host", "tcp", targets["tcp"])
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	try("udp", err)
	if err == nil {
		_, err = u.WriteTo([]byte("x"), u.LocalAddr())
		try("udp send", err)
		u.Close()
	}
	_, err = net.LookupHost("localhost")
	try("resolve", err)
	return result
}

// mustFail and mustWork say what of it a confined plugin can.
var (
	mustFail = []string{
		"key", "other", "host environ", "host memory", "init environ", "passwd", "shadow", "list data",
		"hidden system folder", "ipc socket", "abstract socket", "write outside", "write usr", "change own folder's mode of parent",
		"signal host", "mount", "unshare",
	}
	mustWork = []string{"read allowed", "write own", "write temp", "hosts", "run", "listen", "dial", "dial host", "udp", "udp send", "resolve"}
)
