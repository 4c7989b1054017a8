package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTreeKeepsTheRules(t *testing.T) {
	offences, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range offences {
		t.Error(o)
	}
}

// TestEveryRuleCanFail shows each rule a file that breaks it, and one that
// nearly does.
func TestEveryRuleCanFail(t *testing.T) {
	tests := []struct {
		name, file, src string
		want            string // in the offence; empty: none
	}{
		{"goroutine", "layers/secure/x/x.go", "package x\nfunc f() { go f() }", "goroutine"},
		{"channel", "layers/secure/x/x.go", "package x\nvar c chan int", "channels"},
		{"clock", "layers/secure/x/x.go", "package x\nimport \"time\"\nvar t = time.Now()", "time.Now"},
		{"timer", "layers/secure/x/x.go", "package x\nimport \"time\"\nvar t = time.NewTimer(1)", "time.NewTimer"},
		{"time as an argument", "layers/secure/x/x.go", "package x\nimport \"time\"\nfunc f(now time.Time) {}", ""},
		{"lock", "layers/secure/x/x.go", "package x\nimport _ \"sync\"", "sync"},
		{"atomic", "layers/secure/x/x.go", "package x\nimport _ \"sync/atomic\"", "sync"},
		{"file", "layers/secure/x/x.go", "package x\nimport _ \"os\"", "os"},
		{"socket", "layers/secure/x/x.go", "package x\nimport _ \"net\"", "net"},
		{"log", "layers/secure/x/x.go", "package x\nimport _ \"log\"", "log"},
		{"randomness", "layers/secure/x/x.go", "package x\nimport _ \"crypto/rand\"", "crypto/rand"},
		{"init", "layers/secure/x/x.go", "package x\nfunc init() {}", "init"},
		{"a test may wait", "layers/secure/x/x_test.go", "package x\nimport _ \"sync\"", ""},
		{"upwards", "layers/secure/x/x.go", own("x", "layers/datasync"), "may not import layers/datasync"},
		{"two down", "layers/secure/x/x.go", own("x", "layers/transport"), "may not import layers/transport"},
		{"one down", "layers/secure/x/x.go", own("x", "layers/envelope"), ""},
		{"own slot", "layers/secure/x/x.go", own("x", "layers/secure"), ""},
		{"sibling protocol", "layers/secure/x/x.go", own("x", "layers/secure/y"), "may not import"},
		{"protocol below", "layers/secure/x/x.go", own("x", "layers/envelope/whisper"), "may not import"},
		{"kernel from a layer", "layers/secure/x/x.go", own("x", "kernel"), "may not import kernel"},
		{"slot upwards", "layers/secure/m.go", own("secure", "layers/datasync"), "may not import"},
		{"kernel from its test", "kernel/x_test.go", own("kernel_test", "kernel"), ""},
		{"layer from a test of kernel", "kernel/x_test.go", own("kernel_test", "layers"), "may not import layers"},
		{"layer from kernel", "kernel/x.go", own("kernel", "layers"), "may not import layers"},
		{"edge from actors", "actors/x.go", own("actors", "actors/edge/rpc"), "may not import"},
		{"node from plugin contract", "plugins/transport/x.go", own("transport", "layers"), "may not import"},
		{"plugin from the contract", "plugins/transport/x.go", own("transport", "plugins/host"), "may not import"},
		{"plugin from a plugin", "plugins/udp/x.go", own("udp", "plugins/libp2p"), "may not import"},
		{"node from a plugin", "plugins/udp/x.go", own("udp", "layers/transport"), "may not import"},
		{"contract from a plugin", "plugins/udp/cmd/x/x.go", own("main", "plugins/udp"), ""},
		{"plugin host from its edge", "actors/edge/plugin/x.go", own("plugin", "plugins/host"), ""},
		{"plugin host from another edge", "actors/edge/rpc/x.go", own("rpc", "plugins/host"), "may not import"},
		{"transport from the edge", "actors/edge/plugin/x.go", own("plugin", "plugins/libp2p"), "may not import"},
		{"transport from actors", "actors/x.go", own("actors", "plugins/libp2p"), "may not import"},
		{"transport from the kernel", "kernel/x.go", own("kernel", "plugins/udp"), "may not import"},
		{"transport from a layer", "layers/transport/x/x.go", own("x", "plugins/udp"), "may not import"},
		{"protoactor in a layer", "layers/secure/x/x.go", "package x\nimport _ \"github.com/asynkron/protoactor-go/actor\"", "only in"},
		{"protoactor in an actor", "actors/x.go", "package x\nimport _ \"github.com/asynkron/protoactor-go/actor\"", ""},
		{"p2p in a layer", "layers/overlay/x.go", "package x\nimport _ \"github.com/ethereum/go-ethereum/p2p\"", "only in"},
		{"rlp in a layer", "layers/overlay/x.go", "package x\nimport _ \"github.com/ethereum/go-ethereum/rlp\"", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			offences, err := Check(fstest.MapFS{tt.file: {Data: []byte(tt.src)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(offences, "\n")
			if tt.want == "" && got != "" {
				t.Errorf("got %q, want no offence", got)
			}
			if tt.want != "" && (!strings.Contains(got, tt.want) || !strings.HasPrefix(got, tt.file+":")) {
				t.Errorf("got %q, want an offence in %s with %q", got, tt.file, tt.want)
			}
		})
	}
}

func own(pkg, path string) string {
	return "package " + pkg + "\nimport _ \"" + module + "/" + path + "\""
}

// Adding a transport is a folder below plugins and a line in one file: nothing
// else of the node knows them.
func TestOnlyTheCompositionRootKnowsTransports(t *testing.T) {
	knows := map[string]bool{}
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(name, "plugins/") || strings.Contains(name, "testdata/") {
			return err
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			path, found := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/plugins/")
			// plugins/python is the text of an example, for "plugin new".
			if found && !under(path, "transport") && path != "host" && path != "python" {
				knows[name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(knows) != 1 || !knows["cmd/node/transports.go"] {
		t.Errorf("transports are known to %v, want cmd/node/transports.go alone", knows)
	}
}
