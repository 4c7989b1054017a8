package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPluginNewWritesWhatItSays(t *testing.T) {
	for _, lang := range []string{"go", "python"} {
		dir := filepath.Join(t.TempDir(), "x")
		code, out, errOut := command(t, "plugin", "new", "mine", "--lang", lang, "--dir", dir, "--json")
		var said newPlugin
		if err := json.Unmarshal([]byte(out), &said); code != exitOK || err != nil {
			t.Fatalf("%s: code %d, %v: %s%s", lang, code, err, out, errOut)
		}
		var there []string
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			there = append(there, entry.Name())
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil || len(text) == 0 || strings.Contains(string(text), "{{") {
				t.Errorf("%s: %s is empty or not filled in: %v", lang, entry.Name(), err)
			}
		}
		if !slices.Equal(said.Files, there) || !slices.Contains(there, "README.md") {
			t.Errorf("%s: said %q, there are %q", lang, said.Files, there)
		}
		if !isCheckout(said.Strata) {
			t.Errorf("%s: %q is no checkout", lang, said.Strata)
		}
		if code, _, errOut := command(t, "plugin", "new", "mine", "--lang", lang, "--dir", dir); code != exitFailed || !strings.Contains(errOut, "not empty") {
			t.Errorf("%s: a second time: code %d, %s", lang, code, errOut)
		}
	}
}

func TestPluginNewRefusesWhatIsNoProject(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{},
		{"a", "b"},
		{"Mine"},
		{"../mine"},
		{"-mine"},
		{"mi ne"},
		{""},
		{strings.Repeat("m", 33)},
		{"mine", "--lang", "perl"},
		{"mine", "--strata", "."},
	} {
		if code, _, errOut := command(t, append([]string{"plugin", "new"}, args...)...); code != exitMisused || errOut == "" {
			t.Errorf("%q: code %d, %s, want %d", args, code, errOut, exitMisused)
		}
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("%d files were made: %v", len(left), err)
	}
}

func TestScaffoldIsTheUDPTransport(t *testing.T) {
	want := body(t, os.DirFS("../.."), "plugins/udp/udp.go", "package udp\n")
	want = strings.Replace(want, `Name: "udp"`, `Name: "{{.Name}}"`, 1)
	if got := body(t, scaffolds, "scaffold/go/transport.go.tmpl", "package main\n"); got != want {
		t.Error("scaffold/go/transport.go.tmpl is not plugins/udp/udp.go with another name: copy it again")
	}
}

// body returns what follows a line of a file.
func body(t *testing.T, tree fs.FS, name, line string) string {
	t.Helper()
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), line)
	if !found {
		t.Fatalf("%s has no line %q", name, line)
	}
	return after
}

func TestScaffoldRequiresWhatThisModuleRequires(t *testing.T) {
	line := regexp.MustCompile(`(?m)^\s+(\S+) (v\S+)`)
	ours := map[string]string{}
	for _, m := range line.FindAllStringSubmatch(body(t, os.DirFS("../.."), "go.mod", "module"), -1) {
		ours[m[1]] = m[2]
	}
	theirs := line.FindAllStringSubmatch(body(t, scaffolds, "scaffold/go/go.mod.tmpl", "module"), -1)
	if len(theirs) < 10 {
		t.Errorf("the scaffold requires %d modules", len(theirs))
	}
	for _, m := range theirs {
		if ours[m[1]] != m[2] {
			t.Errorf("the scaffold requires %s %s, this module %s", m[1], m[2], ours[m[1]])
		}
	}
}

// notAPlugin makes a program that prints something else than a handshake.
func notAPlugin(t *testing.T, dir string) string {
	t.Helper()
	path := write(t, filepath.Join(dir, "program"), "#!/bin/sh\necho hello\n")
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPluginTestFailsWithTheRule(t *testing.T) {
	path := notAPlugin(t, t.TempDir())
	junit := filepath.Join(t.TempDir(), "report.xml")
	code, out, errOut := command(t, "plugin", "test", path, "--junit", junit)
	if code != exitFailed || !strings.Contains(out, "fail  process.starts") || !strings.Contains(out, "DOES NOT CONFORM") {
		t.Errorf("code %d, %s%s", code, out, errOut)
	}
	if text, err := os.ReadFile(junit); err != nil || !strings.Contains(string(text), "<failure") {
		t.Errorf("report: %v: %s", err, text)
	}
	code, out, _ = command(t, "plugin", "test", path, "--json")
	var report struct{ OK *bool }
	if err := json.Unmarshal([]byte(out), &report); code != exitFailed || err != nil || report.OK == nil || *report.OK {
		t.Errorf("code %d, %v: %s", code, err, out)
	}
}

func TestSettingsOfATestAreRead(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good.yaml"), "conformance:\n  nodes:\n    - {bind: \"127.0.0.1:$PORT0\", n: 3}\n    - {bind: \"127.0.0.1:$PORT1\"}\n")
	got, err := nodeSettings(good)
	if want := []string{`{"bind":"127.0.0.1:$PORT0","n":3}`, `{"bind":"127.0.0.1:$PORT1"}`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	asJSON := write(t, filepath.Join(dir, "good.json"), `{"conformance": {"nodes": [{"a": 1}, {}, {}]}}`)
	if got, err := nodeSettings(asJSON); err != nil || len(got) != 3 || got[0] != `{"a":1}` {
		t.Errorf("JSON: got %q, %v", got, err)
	}
	for _, text := range []string{"", "conformance: {nodes: [{}]}\n", "conformance: {nodes: [{}, {}, {}, {}]}\n", "nodes: []\n", "conformance: {peers: 3}\n"} {
		if got, err := nodeSettings(write(t, filepath.Join(dir, "bad.yaml"), text)); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

func TestWrongChecksumIsSeenBeforeAStart(t *testing.T) {
	dir := t.TempDir()
	notAPlugin(t, dir)
	config := write(t, filepath.Join(dir, "node.yaml"), fmt.Sprintf(`
data_dir: %s
layers:
  transport:
    use: plugin
    settings: {command: [./program], sha256: %s}
`, filepath.Join(dir, "data"), strings.Repeat("0", 64)))
	code, out, errOut := command(t, "plugin", "verify", "-c", config)
	if code != exitFailed || !strings.Contains(errOut, "checksum") || strings.Contains(out, "confined") {
		t.Errorf("verify: code %d, %s%s", code, out, errOut)
	}
	code, out, _ = command(t, "plugin", "list", "-c", config, "--json")
	var all []listed
	if err := json.Unmarshal([]byte(out), &all); code != exitOK || err != nil {
		t.Fatalf("list: code %d, %v: %s", code, err, out)
	}
	last := all[len(all)-1]
	if last.Name != "program" || last.Path != filepath.Join(dir, "program") || !last.Pinned || last.Fault == "" || len(last.SHA256) != 64 {
		t.Errorf("list: got %+v", last)
	}
}

func TestPluginListHasWhatIsCompiledIn(t *testing.T) {
	code, out, errOut := command(t, "plugin", "list")
	for _, name := range append(builtinNames(), "whisper") {
		if code != exitOK || !regexp.MustCompile(`(?m)^`+name+` `).MatchString(out) {
			t.Errorf("%s is missing: code %d, %s%s", name, code, out, errOut)
		}
	}
}

func TestPluginCommandsWithoutAPluginAreMisused(t *testing.T) {
	for _, args := range [][]string{
		{"test"},
		{"run", "--dev"},
		{"run", "./mine"},
		{"verify"},
		{"verify", "./x", "--settings", "{"},
		{"serve"},
		{"serve", "carrier-pigeon"},
		{"test", "./x", "--confine", "perhaps"},
		{"test", "./x", "-c", "missing.yaml"},
	} {
		if code, _, errOut := command(t, append([]string{"plugin"}, args...)...); code != exitMisused || errOut == "" {
			t.Errorf("%q: code %d, %s, want %d", args, code, errOut, exitMisused)
		}
	}
}

func TestHandshakeLineIsChecked(t *testing.T) {
	version, socket, err := readHandshake(bufio.NewReader(strings.NewReader("1|2|unix|/run/x|grpc|\nmore")))
	if version != 2 || socket != "/run/x" || err != nil {
		t.Errorf("got %d, %q, %v", version, socket, err)
	}
	for _, line := range []string{
		"", "hello\n", "1|2|unix|/run/x\n", "2|2|unix|/run/x|grpc|\n", "1|1|unix|/run/x|grpc|\n", "1|2|tcp|127.0.0.1:1|grpc|\n",
		"1|2|unix|/run/x|netrpc|\n", "1|many|unix|/run/x|grpc|\n", strings.Repeat("x", 2*maxHandshake) + "\n",
	} {
		if _, _, err := readHandshake(bufio.NewReaderSize(strings.NewReader(line), maxHandshake)); err == nil {
			t.Errorf("%.40q was taken", line)
		}
	}
}

func TestSocketNameReplacesOnlyLinks(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	for _, socket := range []string{"a", "b"} {
		if err := relink(filepath.Join(dir, socket), name); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(name); err != nil || to != filepath.Join(dir, "b") {
		t.Errorf("leads to %q, %v", to, err)
	}
	file := write(t, filepath.Join(dir, "file"), "precious")
	if err := relink(name, file); err == nil {
		t.Error("a file was replaced")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
