package udp_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A fault is made in a copy of this package and of the store it uses. Each
// change is a text that occurs once, in one file, and what replaces it.
type fault struct {
	name    string
	breaks  string // the rule of the conformance suite that must fail
	changes []change
}

type change struct{ file, old, new string }

var faults = []fault{
	{"correct copy", "", nil},
	{"reports twice", "deliver.once", []change{
		{"store/store.go", "append(r.Envelopes, e.Envelope)", "append(r.Envelopes, e.Envelope, e.Envelope)"},
	}},
	{"reports its own", "publish.not-to-self", []change{
		{"udp.go", "u.Add(e, !from.IsValid())", "u.Add(e, false)"},
	}},
	{"loses the last byte of the topic", "deliver.topic-intact", []change{
		{"store/wire.go", "transport.Topic(b[:4])", "transport.Topic{b[0], b[1], b[2]}"},
	}},
	{"changes data of one length", "deliver.data-intact", []change{
		{"udp.go", "err == nil {\n\t\t\t\t_ = u.take(e, from)", "err == nil {\n\t\t\t\te.Data[0] ^= byte(len(e.Data) / 257 % 2 * (257 / len(e.Data)))\n\t\t\t\t_ = u.take(e, from)"},
	}},
	{"ignores the TTL", "expired.not-delivered", []change{
		{"store/keep.go", "len(s.oldest) > 0 && ", "len(s.oldest) > 1<<15 && "},
		{"store/store.go", "if now.Before(e.Expiry()) {", "if !now.IsZero() {"},
	}},
	{"takes what is too large", "publish.too-large-refused", []change{
		{"store/store.go", "len(e.Data) > s.limits.Data", "len(e.Data) > 2*s.limits.Data"},
	}},
	{"leaves the socket open", "close.frees-address", []change{
		{"udp.go", "\tdefer u.reading.Wait()\n\treturn u.conn.Close()", "\treturn nil"},
	}},
	{"receives without looking at the context", "receive.ends-on-cancel", []change{
		{"store/store.go", "case <-ctx.Done():", "case <-chan struct{}(nil):"},
	}},
	{"adds to the filter", "subscribe.replaces", []change{
		{"store/store.go", "s.filter, s.topics = f, topics", "for t := range s.topics {\n\t\ttopics[t] = true\n\t}\n\ts.filter, s.topics = f, topics"},
	}},
	{"loses the time of sending", "deliver.sent-and-ttl-intact", []change{
		{"store/wire.go", "time.Unix(int64(binary.BigEndian.Uint64(b[4:])), 0).UTC()", "time.Now().UTC().Truncate(time.Second)"},
	}},
	{"swallows errors of the settings", "open.unknown-setting", []change{
		{"udp.go", "o.Settings(&settings); err != nil {", "o.Settings(&settings); err != nil && o.Config[0] != '{' {"},
	}},
	{"loses one of twenty", "burst.no-loss", []change{
		{"udp.go", "if fresh {", "if fresh && k[0] > 256/20 {"},
	}},
	{"answers in the wrong order", "publish.errors-by-index", []change{
		{"udp.go", "errs[i] = u.take", "errs[len(batch)-1-i] = u.take"},
	}},
	{"forgets what came before Subscribe", "subscribe.late", []change{
		{"store/store.go", "\ts.behind = true\n\ts.signal()", "\ts.signal()"},
	}},
}

const root = "github.com/stratanode/strata/plugins/"

// TestSeededFaultsAreFound compiles a copy with each fault and lets the
// conformance suite judge it.
func TestSeededFaultsAreFound(t *testing.T) {
	judge := build(t)
	// They mostly wait, so all run at once, more than there are processors.
	verdicts := make([]chan verdict, len(faults))
	for i, f := range faults {
		verdicts[i] = make(chan verdict, 1)
		go func() {
			out, err := exec.CommandContext(t.Context(), judge, f.name).Output()
			verdicts[i] <- verdict{out, err}
		}()
	}
	for i, f := range faults {
		v := <-verdicts[i]
		t.Run(f.name, func(t *testing.T) {
			out, err := v.out, v.err
			if err != nil {
				t.Fatalf("judge: %v", err)
			}
			var report struct {
				OK      bool
				Results []struct{ Rule, Outcome, Detail string }
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("judge: %v in %q", err, out)
			}
			failed := map[string]string{}
			for _, r := range report.Results {
				if r.Outcome == "fail" {
					failed[r.Rule] = r.Detail
				}
			}
			switch {
			case f.breaks == "" && !report.OK:
				t.Errorf("failed: %v", failed)
			case f.breaks != "" && (report.OK || failed[f.breaks] == ""):
				t.Errorf("rule %s did not fail with a reason; failed: %v", f.breaks, failed)
			}
			t.Logf("failed: %v", failed)
		})
	}
}

type verdict struct {
	out []byte
	err error
}

// build compiles all copies into one program. They exist in an overlay only.
func build(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := map[string]string{}
	write := func(name, text string) {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(here, "testdata", "faults", filepath.FromSlash(name))] = file
	}
	var imports, table strings.Builder
	for i, f := range faults {
		pkg := "copy" + string(rune('a'+i))
		for name, text := range f.copy(t) {
			text = strings.ReplaceAll(text, `"`+root+`transport/store"`, `"`+root+`udp/testdata/faults/`+pkg+`/store"`)
			write(pkg+"/"+name, text)
		}
		imports.WriteString("\t" + pkg + ` "` + root + "udp/testdata/faults/" + pkg + "\"\n")
		table.WriteString("\t" + `"` + f.name + `": ` + pkg + ".New,\n")
	}
	write("main.go", strings.NewReplacer("// IMPORTS", imports.String(), "// TABLE", table.String()).Replace(program))
	config, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "judge.exe")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", binary, "./testdata/faults")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return binary
}

// copy returns the files of a copy with the fault.
func (f fault) copy(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for name, from := range map[string]string{
		"udp.go": "udp.go", "store/store.go": "../transport/store/store.go",
		"store/keep.go": "../transport/store/keep.go", "store/wire.go": "../transport/store/wire.go",
	} {
		text, err := os.ReadFile(filepath.FromSlash(from))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for _, c := range f.changes {
		if n := strings.Count(files[c.file], c.old); n != 1 {
			t.Fatalf("fault %q: %q occurs %d times in %s, want once", f.name, c.old, n, c.file)
		}
		files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
	}
	return files
}

// The program that judges the copy it is told to. A faulty one need not be
// waited for as long.
const program = `package main

import (
	"context"
	"os"
	"time"

	"` + root + `transport"
	"` + root + `transport/transporttest"
// IMPORTS
)

var copies = map[string]func() transport.Transport{
// TABLE
}

func main() {
	target := transporttest.Target{New: func(int) (transport.Transport, error) { return copies[os.Args[1]](), nil }}
	if os.Args[1] != "correct copy" {
		target.Patience = time.Second
	}
	if err := transporttest.Check(context.Background(), target, nil).JSON(os.Stdout); err != nil {
		panic(err)
	}
}
`
