package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testName is a test as documents name it: a function, and sub-tests.
var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)((?:/[a-z0-9-]+)*)`")

// testFiles is what the tests of the tree are called, by folder.
type testFiles struct {
	functions map[string][]string // folders by the name of a test
	texts     map[string][]string // string literals by folder, split at slashes
}

func readTests(root string) (testFiles, error) {
	all := testFiles{functions: map[string][]string{}, texts: map[string][]string{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "threat_model_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") {
					all.functions[n.Name.Name] = append(all.functions[n.Name.Name], dir)
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && len(text) < 100 {
					all.texts[dir] = append(all.texts[dir], strings.Split(text, "/")...)
				}
			}
			return true
		})
		return nil
	})
	return all, err
}

// missingTests returns the tests that a document names and that are not there.
func (f testFiles) missingTests(document string) (missing []string, named map[string]bool) {
	named = map[string]bool{}
	for _, m := range testName.FindAllStringSubmatch(document, -1) {
		name := m[1] + m[2]
		named[name] = true
		found := slices.ContainsFunc(f.functions[m[1]], func(dir string) bool {
			for _, sub := range strings.Split(m[2], "/")[1:] {
				if !slices.Contains(f.texts[dir], sub) {
					return false
				}
			}
			return true
		})
		if !found {
			missing = append(missing, name)
		}
	}
	return missing, named
}

// hostilePlugins returns the names of the hostile plugins.
func hostilePlugins(t *testing.T) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("testdata", "hostile", "main.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			name, err := strconv.Unquote(pair.Key.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if name != "idle" { // the children of others
				names = append(names, name)
			}
		}
		return true
	})
	if len(names) < 20 {
		t.Fatalf("%d hostile plugins", len(names))
	}
	return names
}

func TestThreatModelNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	files, err := readTests(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if missing, _ := files.missingTests("`TestHostilePlugin/running/tickle` and `TestNothingAtAll`"); len(missing) != 2 {
		t.Fatalf("of two invented tests %v are missing", missing)
	}
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "plugins-threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	missing, named := files.missingTests(string(document))
	for _, name := range missing {
		t.Errorf("there is no %s", name)
	}
	for _, plugin := range hostilePlugins(t) {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(named)), func(name string) bool {
			return strings.HasSuffix(name, "/"+plugin)
		}) {
			t.Errorf("the document does not name the hostile plugin %s", plugin)
		}
	}
}
