package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSocketIsOfTheUserAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // files have no modes there
	}
	f := start(t, clientRole, DefaultConfig())
	for path, want := range map[string]os.FileMode{f.IPCPath(): 0o600, f.dir: 0o700} {
		i, err := os.Stat(path)
		if err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %04o", path, i.Mode(), err, want)
		}
	}
	f.stop()
	if _, err := os.Lstat(f.IPCPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := shortDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false) // as if the process had been killed
	old.Close()
	f := assemble(dir, clientRole, DefaultConfig())
	if err := f.stack.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.kernel.Stop)
	if _, err := f.dial(t).Version(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLiveSocketIsLeftAlone(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	second := assemble(f.dir, clientRole, DefaultConfig())
	err := second.stack.Start()
	if want := "another node is listening on " + f.IPCPath(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := f.dial(t).Version(t.Context()); err != nil {
		t.Errorf("the first node: %v", err)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	dir := shortDir(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(DefaultConfig(), dir, Node{}).Open(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v, want a refusal", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

func TestLongPathIsRefused(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("x", 100))
	const want = "choose a shorter data folder"
	if err := New(DefaultConfig(), dir, Node{}).Open(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: got %v, want %q", err, want)
	}
	if _, err := Dial(t.Context(), filepath.Join(dir, SocketName)); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("Dial: got %v", err)
	}
}

func TestDialSaysThatNoNodeRuns(t *testing.T) {
	dir := shortDir(t)
	_, err := Dial(t.Context(), filepath.Join(dir, SocketName))
	want := fmt.Sprintf("no node is running in %s (start one with: strata run --data-dir %s)", dir, dir)
	if !errors.Is(err, ErrNoNode) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxConnections = 2
	f := start(t, clientRole, cfg)
	first, second := f.dial(t), f.dial(t)
	for _, c := range []*Client{first, second} {
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	conn, _ := raw(t, f)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && (err == nil || !isReset(err)) {
		t.Errorf("third connection: got %v, want it closed", err)
	}
	eventually(t, "one is turned away", func() bool {
		st, err := first.Status(t.Context())
		return err == nil && st.API.TurnedAway == 1
	})
	second.Close()
	eventually(t, "there is room again", func() bool {
		c, err := Dial(t.Context(), f.dir)
		if err != nil {
			return false
		}
		defer c.Close()
		_, err = c.Version(t.Context())
		return err == nil
	})
}

func TestGarbageEndsOnlyItsConnection(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	for name, garbage := range map[string]string{
		"no JSON":      "GET / HTTP/1.1\r\n\r\n",
		"zeros":        strings.Repeat("\x00", 1000),
		"closed twice": "{}}",
		"nested":       strings.Repeat("[", 100_000),
	} {
		conn, in := raw(t, f)
		go func() {
			io.WriteString(conn, garbage)
			conn.(*net.UnixConn).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, in); err != nil && !isReset(err) {
			t.Errorf("%s: %v, want the end of the connection", name, err)
		}
	}
	if _, err := f.dial(t).Version(t.Context()); err != nil {
		t.Errorf("the node after it: %v", err)
	}
}

// TestLongRequestEndsItsConnection sends requests that never end; the codec by
// itself would take in all of them.
func TestLongRequestEndsItsConnection(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	for name, request := range map[string]string{
		"text":   `{"id":1,"method":"strata_say","params":["` + strings.Repeat("x", MaxBody),
		"digits": strings.Repeat("1", MaxBody+1),
		"braces": `"` + strings.Repeat(`{}`, MaxBody/2),
	} {
		conn, in := raw(t, f)
		go io.WriteString(conn, request)
		if _, err := io.Copy(io.Discard, in); err != nil && !isReset(err) {
			t.Errorf("%s: %v, want the end of the connection", name, err)
		}
	}
	c := f.dial(t)
	fits := strings.Repeat("y", MaxBody*2/3)
	for range 2 { // the bound is one of each request, not of all together
		if m, err := c.Say(t.Context(), "test", fits); err != nil || len(m.Text) != len(fits) {
			t.Errorf("a text that fits: got %d bytes, %v", len(m.Text), err)
		}
	}
}

// isReset reports the end of a connection on which something was not read.
func isReset(err error) bool { return strings.Contains(err.Error(), "reset by peer") }

func TestWrongParametersAreAnswered(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	conn, in := raw(t, f)
	for _, request := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"strata_nothing"}`,
		`{"jsonrpc":"2.0","id":1,"method":"strata_say"}`,
		`{"jsonrpc":"2.0","id":1,"method":"strata_say","params":[1,2]}`,
		`{"jsonrpc":"2.0","id":1,"method":"strata_say","params":{"chat":"x"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"strata_history","params":["x"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"strata_subscribe","params":["everything"]}`,
		`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 5000) + `"}`,
		`{"id":1}`, `{}`, `7`, `null`, `[]`,
		`[` + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"strata_version"},`, maxBatch) + `{"jsonrpc":"2.0","id":1,"method":"strata_version"}]`,
	} {
		fmt.Fprintln(conn, request)
		line, err := in.ReadBytes('\n')
		if err != nil {
			t.Fatalf("%.60s: %v", request, err)
		}
		if !bytes.Contains(line, []byte(`"error"`)) {
			t.Errorf("%.60s: got %.200s, want an error", request, line)
		}
	}
}

func FuzzMeasuredSeesWhereValuesEnd(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `{"a":"}"}`, `["\"]"]`, `{"a":["\\"]} `, `[[{"a":{}}]]`, `"x"`, `1`, `{"a":"\\\""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.TrimSpace(b)
		value := len(b) > 0 && (b[0] == '{' || b[0] == '[') && json.Valid(b)
		near, far := net.Pipe()
		go func() { far.Write(b); far.Close() }()
		m := &measured{Conn: near}
		got, err := io.ReadAll(m)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("read %q, %v, want %q", got, err, b)
		}
		if value && (m.size != 0 || m.depth != 0 || m.quoted) {
			t.Errorf("after %q: size %d, depth %d, quoted %v, want the end of a value", b, m.size, m.depth, m.quoted)
		}
		if !value && len(b) > 0 && m.size > len(b) {
			t.Errorf("after %q: size %d is more than was read", b, m.size)
		}
	})
}

func TestConfigurationReportsEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	for _, address := range []string{"127.0.0.1:8545", "[::1]:8545", "localhost:0", "127.9.9.9:1"} {
		c := DefaultConfig()
		c.HTTP, c.WebSocket = address, address
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"0.0.0.0:8545", ":8545", "[::]:1", "192.168.1.1:8545", "example.org:80", "127.0.0.1", "127.0.0.1.example.org:1"} {
		c := DefaultConfig()
		c.HTTP = address
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "http: ") {
			t.Errorf("%s: got %v, want it refused", address, err)
		}
	}
	c := Config{HTTP: "0.0.0.0:1"}
	err := c.Validate()
	for _, name := range []string{"call_timeout", "max_calls", "max_connections", "subscriber_buffer", "http", "token_file"} {
		if err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("got %v, want a fault of %s", err, name)
		}
	}
}

func TestNothingListensOnTCPUnlessConfigured(t *testing.T) {
	f := start(t, clientRole, DefaultConfig())
	if f.Address("http") != "" || f.Address("websocket") != "" {
		t.Errorf("listens on %q and %q", f.Address("http"), f.Address("websocket"))
	}
	if _, err := os.Stat(f.cfg.tokenPath(f.dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("token file: %v, want none", err)
	}
}
