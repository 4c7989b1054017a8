// Package archtest checks what the compiler cannot: which part of the tree may
// import which, and that layers are pure (DESIGN §3). It reads source, so it
// can be shown trees that must fail.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const module = "github.com/stratanode/strata"

// slotBelow says on which slot a slot stands, top to bottom.
var slotBelow = map[string]string{
	"payload":   "datasync",
	"datasync":  "secure",
	"secure":    "envelope",
	"envelope":  "transport",
	"transport": "overlay",
	"discovery": "overlay",
	"overlay":   "",
}

// onlyIn says for a foreign module which folders may import it.
var onlyIn = map[string][]string{
	"github.com/asynkron/protoactor-go":        {"kernel", "actors"},
	"github.com/hashicorp/go-plugin":           {"plugins", "actors/edge/plugin"},
	"google.golang.org/grpc":                   {"plugins", "actors/edge/plugin"},
	"github.com/ethereum/go-ethereum/p2p":      {"actors/edge"},
	"github.com/ethereum/go-ethereum/rpc":      {"actors/edge"},
	"github.com/status-im/doubleratchet":       {"layers/secure"},
	"github.com/vacp2p/mvds":                   {"layers/datasync"},
	"github.com/libp2p":                        {"plugins/libp2p", "actors/edge/rendezvous"},
	"github.com/ncruces/go-sqlite3":            {"kernel/store", "actors/edge/archive"},
	"github.com/jackc/pgx":                     {"actors/edge/archive"},
	"github.com/jackc/tern":                    {"actors/edge/archive"},
	"github.com/cloudflare/circl":              {"layers/transport/whisper"},
	"github.com/goccy/go-yaml":                 {"kernel"},
	"github.com/spf13/cobra":                   {"cmd/node"},
	"github.com/prometheus/client_golang":      {"actors", "cmd/node"},
	"github.com/ethereum/go-ethereum/node":     {},
	"github.com/ethereum/go-ethereum/eth":      {},
	"github.com/asynkron/protoactor-go/remote": {},
}

// impure are the packages a layer must not have: they wait, read clocks, keep
// locks or draw randomness by themselves.
var impure = []string{
	"net", "os", "sync", "context", "log", "math/rand", "crypto/rand", "runtime", "syscall", "unsafe", "testing",
	"database/sql", "plugin", "expvar", "embed", "golang.org/x/sync", "golang.org/x/sys",
}

// clocks are the functions of package time that a layer must not call.
var clocks = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
}

// Check returns every offence in the tree, as file:line: text, sorted.
func Check(tree fs.FS) ([]string, error) {
	var offences []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name == "interop" || name != "." && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		found, err := checkFile(tree, name)
		offences = append(offences, found...)
		return err
	})
	slices.Sort(offences)
	return offences, err
}

// file is one source file that is looked at.
type file struct {
	name     string // its path in the tree
	dir      string
	test     bool
	set      *token.FileSet
	offences []string
}

func checkFile(tree fs.FS, name string) ([]string, error) {
	src, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	f := &file{name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), set: token.NewFileSet()}
	parsed, err := parser.ParseFile(f.set, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, spec := range parsed.Imports {
		f.checkImport(spec.Pos(), strings.Trim(spec.Path.Value, `"`))
	}
	ast.Inspect(parsed, f.checkNode)
	return f.offences, nil
}

func (f *file) offend(at token.Pos, format string, args ...any) {
	f.offences = append(f.offences, fmt.Sprintf("%s:%d: %s", f.name, f.set.Position(at).Line, fmt.Sprintf(format, args...)))
}

// pure reports whether the file belongs to a protocol or slot. What only tests
// use, layertest among it, may do more.
func (f *file) pure() bool {
	return under(f.dir, "layers") && !under(f.dir, "layers/layertest") && !f.test
}

func (f *file) checkImport(at token.Pos, imported string) {
	for prefix, dirs := range onlyIn {
		if under(imported, prefix) && !f.test && !slices.ContainsFunc(dirs, func(d string) bool { return under(f.dir, d) }) {
			f.offend(at, "%s may be imported only in %s", prefix, strings.Join(dirs, ", "))
		}
	}
	if f.pure() {
		for _, p := range impure {
			if under(imported, p) && imported != "log/slog" && imported != "net/netip" {
				f.offend(at, "a layer must be pure and cannot import %s", imported)
			}
		}
	}
	if own, ok := strings.CutPrefix(imported, module+"/"); ok && !f.mayImport(own) {
		f.offend(at, "%s may not import %s", f.dir, own)
	}
}

// mayImport is the table of DESIGN §3 for packages of ours. Tests of layers may
// look at all layers.
func (f *file) mayImport(own string) bool {
	switch {
	case under(f.dir, "layers"):
		if f.test || under(f.dir, "layers/layertest") {
			return under(own, "layers")
		}
		return own == "layers" || f.mayImportLayer(own)
	case f.dir == "kernel":
		return f.test && own == "kernel"
	case under(f.dir, "kernel"):
		return f.test && under(own, "kernel")
	case under(f.dir, "plugins/transport"):
		return under(own, "plugins/transport")
	case under(f.dir, "plugins"):
		return under(own, "plugins/transport") || under(own, pluginOf(f.dir)) || f.test && under(own, "plugins")
	case under(f.dir, "actors/edge/plugin"):
		return under(own, "actors") || under(own, "kernel") || under(own, "layers") ||
			under(own, "plugins/transport") || under(own, "plugins/host") || f.test && under(own, "plugins")
	case under(f.dir, "actors/edge"):
		return under(own, "actors") || under(own, "kernel") || under(own, "layers") || f.test && under(own, "plugins")
	case under(f.dir, "actors"):
		return under(own, "actors") && !under(own, "actors/edge") || under(own, "kernel") || under(own, "layers")
	case under(f.dir, "cmd/node"):
		return true
	}
	return f.test || under(own, f.dir)
}

// pluginOf returns the folder of the plugin that a folder belongs to. One plugin
// knows nothing of another.
func pluginOf(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

// mayImportLayer: a protocol knows its own slot and the one below, a slot the
// one below.
func (f *file) mayImportLayer(own string) bool {
	parts := strings.Split(f.dir, "/")
	if len(parts) < 2 {
		return false
	}
	slot := parts[1]
	below := slotBelow[slot]
	if own == f.dir || below != "" && own == "layers/"+below {
		return true
	}
	return len(parts) > 2 && (own == "layers/"+slot || under(own, strings.Join(parts[:3], "/")))
}

func (f *file) checkNode(n ast.Node) bool {
	if !f.pure() {
		return true
	}
	switch n := n.(type) {
	case *ast.GoStmt:
		f.offend(n.Pos(), "a layer must be pure and cannot start a goroutine")
	case *ast.ChanType:
		f.offend(n.Pos(), "a layer must be pure and has no channels")
	case *ast.FuncDecl:
		if n.Name.Name == "init" && n.Recv == nil {
			f.offend(n.Pos(), "nothing happens at import: no init")
		}
	case *ast.SelectorExpr:
		if p, ok := n.X.(*ast.Ident); ok && p.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
			f.offend(n.Pos(), "a layer must be pure and cannot call time.%s", n.Sel.Name)
		}
	}
	return true
}

// under reports whether p is the path top or below it.
func under(p, top string) bool {
	return p == top || strings.HasPrefix(p, top+"/")
}
