//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tutorial is a document whose blocks are run. The convention, by the words
// after the fence:
//
//	sh run=NAME      commands of the track NAME; all of a track are one shell
//	                 script, so that folders, variables and jobs last
//	yaml file=FILE   is written to FILE in the folder of the next commands
//	text             lines that the output of the commands before has, in this
//	                 order; … stands for anything
//
// A command that ends in & is a node that runs on; it ends with the script.

// block is one fenced block of a document.
type block struct {
	kind, key, value string // of "kind key=value"
	text             string
	line             int
}

var fence = regexp.MustCompile("(?m)^```(\\w+)(?: (\\w+)=(\\S+))?\n((?s:.*?))^```$")

func blocksOf(text string) (all []block) {
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		part := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return text[m[2*i]:m[2*i+1]]
		}
		all = append(all, block{part(1), part(2), part(3), part(4), 1 + strings.Count(text[:m[0]], "\n")})
	}
	return all
}

// track is the script of one name in a document, and what it has to print.
type track struct {
	script string
	wants  []want
}

// want are the lines that a step has to print.
type want struct {
	step  int
	lines []string
	line  int // in the document
}

// tracksOf gathers the tracks of a document.
func tracksOf(blocks []block) map[string]*track {
	tracks := map[string]*track{}
	var last *track
	var files string
	step := 0
	for _, b := range blocks {
		switch {
		case b.kind == "yaml" && b.key == "file":
			files += fmt.Sprintf("cat > %s <<'END'\n%sEND\n", b.value, b.text)
		case b.kind == "sh" && b.key == "run":
			if last = tracks[b.value]; last == nil {
				last = &track{}
				tracks[b.value] = last
			}
			step++
			last.script += fmt.Sprintf("echo %s\n%s%s", stepMark(step), files, b.text)
			files = ""
		case b.kind == "text" && last != nil:
			last.wants = append(last.wants, want{step, strings.Split(strings.TrimSpace(b.text), "\n"), b.line})
		}
	}
	return tracks
}

func stepMark(step int) string { return fmt.Sprintf("@@step%d@@", step) }

// missing returns what a script did not print though it had to.
func (tr *track) missing(out string) (faults []string) {
	for _, w := range tr.wants {
		_, text, _ := strings.Cut(out, stepMark(w.step)+"\n")
		text, _, _ = strings.Cut(text, "@@step")
		for _, line := range w.lines {
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".*")
			found := regexp.MustCompile("(?m)" + pattern + ".*$").FindStringIndex(text)
			if found == nil {
				faults = append(faults, fmt.Sprintf("line %d: the step does not print %q", w.line, line))
				continue
			}
			text = text[found[1]:]
		}
	}
	return faults
}

// builtStrata builds the program as its users do, for tests in which it starts
// itself or others without the environment of the test.
func builtStrata(t *testing.T) (dir string) {
	t.Helper()
	dir = shortDir(t)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "strata"), ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return dir
}

// goVariable returns a variable of the Go command.
func goVariable(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// runTrack runs a script in an empty folder, and ends what it left running.
func runTrack(t *testing.T, bin string, tr *track) string {
	t.Helper()
	dir := shortDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -eu\n"+tr.script)
	cmd.Dir = dir
	cmd.Env = []string{
		"HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + dir, "PATH=" + bin + ":" + os.Getenv("PATH"),
		// The module cache of this machine is enough: nothing is downloaded.
		"GOPROXY=off", "GOFLAGS=-mod=readonly", "GOTOOLCHAIN=local", "GONOSUMDB=*",
		"GOMODCACHE=" + goVariable(t, "GOMODCACHE"), "GOCACHE=" + goVariable(t, "GOCACHE"),
	}
	if err := os.Mkdir(filepath.Join(dir, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A group of its own, so that the jobs of the script end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	runErr := cmd.Run()
	if cmd.Process != nil {
		endGroup(t, cmd.Process.Pid)
	}
	out, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	if runErr != nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), text)
		}
		t.Fatalf("the script ended with %v:\n%s", runErr, out)
	}
	return string(out)
}

// endGroup ends the processes of a group, in good order if they do so in time.
func endGroup(t *testing.T, group int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	patience := time.After(10 * time.Second)
	for syscall.Kill(-group, syscall.SIGTERM) == nil {
		select {
		case <-tick.C:
		case <-patience:
			t.Error("what the script started does not end")
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return
		}
	}
}

func TestTutorialOfTransportsRuns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "add-a-transport.md"))
	if err != nil {
		t.Fatal(err)
	}
	tracks := tracksOf(blocksOf(string(text)))
	if len(tracks) != 2 {
		t.Fatalf("the document has %d tracks, want go and python", len(tracks))
	}
	bin := builtStrata(t)
	for _, name := range []string{"go", "python"} {
		t.Run(name, func(t *testing.T) {
			if name == "python" {
				needPython(t)
			}
			out := runTrack(t, bin, tracks[name])
			for _, fault := range tracks[name].missing(out) {
				t.Error(fault)
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestTutorialNoticesWhatIsNotPrinted(t *testing.T) {
	tr := tracksOf(blocksOf("```sh run=x\necho one; echo two\n```\n\n```text\ntw…\n```\n```sh run=x\ntrue\n```\n```text\none\n```\n"))["x"]
	out := runTrack(t, t.TempDir(), tr)
	if got := tr.missing(out); len(got) != 1 || !strings.Contains(got[0], `"one"`) {
		t.Errorf("got %q, want that the second step does not print one", got)
	}
}

// needPython skips a test where the system has no Python with gRPC. In CI it
// fails there: the tutorial must not pass by not running.
func needPython(t *testing.T) {
	t.Helper()
	out, err := exec.Command("/usr/bin/python3", "-c", "import cryptography, google.protobuf, grpc").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("python3-grpcio, python3-protobuf or python3-cryptography is missing: %v: %s", err, out)
	default:
		t.Skipf("python3-grpcio, python3-protobuf or python3-cryptography is missing: %v: %s", err, out)
	}
}
