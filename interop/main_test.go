package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What TestMain builds, and the folder it puts everything into. Its path is kept
// short because the path of a socket must be.
var (
	workDir   string
	strataBin string
	gethBin   string
	statusBin string
)

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	if workDir, err = os.MkdirTemp("", "interop"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(workDir)
	strataBin, gethBin = filepath.Join(workDir, "strata"), filepath.Join(workDir, "gethpeer")
	statusBin = filepath.Join(workDir, "statuspeer")
	if given := os.Getenv("STRATA_BIN"); given != "" {
		strataBin = given // a node that is there already
	} else if err := goBuild("..", strataBin, "./cmd/node"); err != nil {
		return 1, err
	}
	// memsize, a debug page deep under go-ethereum's node package, reaches into the
	// runtime in a way that linkers since Go 1.23 refuse unless asked. Nothing of
	// it runs here.
	if err := goBuild(".", gethBin, "-ldflags=-checklinkname=0", "./cmd/gethpeer"); err != nil {
		return 1, err
	}
	if err := goBuild("statuswhisper", statusBin, "."); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// goBuild builds a command of the module in dir. Each side is built with the
// versions of its own go.mod, and without C, so that no compiler is needed.
func goBuild(dir, output string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", output}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %q in %s: %w\n%s", cmd.Args[1:], dir, err, out)
	}
	return nil
}
