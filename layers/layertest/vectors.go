package layertest

import (
	"embed"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"testing"
)

//go:embed testdata/vectors
var embedded embed.FS

// Vector is one golden vector.
type Vector struct {
	ID    string
	Kind  string          // the file's group where the vectors have no kind of their own
	Suite string          // the file's suite or group, for example "secure/x3dh"
	In    json.RawMessage // "in" or "input"
	Out   json.RawMessage // "out" or "expect"
	Steps json.RawMessage // of script kinds
}

// Decode reads raw into v and ends the test if it does not fit.
func Decode(t testing.TB, raw json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("vector: %v", err)
	}
}

// Elsewhere stands in the map given to RunVectors for a kind that the tests of
// another package run, which is named there.
func Elsewhere(_ string) func(*testing.T, Vector) { return nil }

// RunVectors runs every vector of a layer's folder: of $STRATA_VECTORS if that is
// set, else of the copy in the repository. It fails on a kind that is missing in
// kinds, on an empty file and if not one vector was run.
func RunVectors(t *testing.T, layer string, kinds map[string]func(*testing.T, Vector)) {
	t.Helper()
	dir := vectorFS(t)
	files, err := fs.Glob(dir, path.Join(layer, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, f := range files {
		vectors := readVectors(t, dir, f)
		if len(vectors) == 0 {
			t.Errorf("%s: no vectors", f)
		}
		for _, v := range vectors {
			run, known := kinds[v.Kind]
			if !known {
				t.Errorf("%s: %s: unknown kind %q", f, v.ID, v.Kind)
				continue
			}
			if run == nil {
				continue // Elsewhere
			}
			ran++
			t.Run(path.Base(f)+"/"+v.ID, func(t *testing.T) { run(t, v) })
		}
	}
	if ran == 0 {
		t.Errorf("%s: not one vector was run", layer)
	}
}

func vectorFS(t testing.TB) fs.FS {
	t.Helper()
	if dir := os.Getenv("STRATA_VECTORS"); dir != "" {
		return os.DirFS(dir)
	}
	sub, err := fs.Sub(embedded, "testdata/vectors")
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func readVectors(t testing.TB, dir fs.FS, file string) []Vector {
	t.Helper()
	raw, err := fs.ReadFile(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Suite, Group string
		Vectors      []struct {
			ID, Kind           string
			In, Input          json.RawMessage
			Out, Expect, Steps json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	vectors := make([]Vector, 0, len(doc.Vectors))
	for _, v := range doc.Vectors {
		vectors = append(vectors, Vector{
			ID: v.ID, Kind: either(v.Kind, doc.Group), Suite: either(doc.Suite, doc.Group),
			In: either(v.In, v.Input), Out: either(v.Out, v.Expect), Steps: v.Steps,
		})
	}
	return vectors
}

func either[T ~string | ~[]byte](a, b T) T {
	if len(a) > 0 {
		return a
	}
	return b
}
