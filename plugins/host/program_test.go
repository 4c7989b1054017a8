//go:build unix

package host_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/host"
)

func sumOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestRightChecksumStarts(t *testing.T) {
	c, _ := command(t, "good")
	c.SHA256 = strings.ToUpper(sumOf(t, c.Args[0]))
	start(t, c)
}

func TestWrongChecksumIsRefused(t *testing.T) {
	c, _ := command(t, "good")
	c.SHA256 = strings.Repeat("ab", 32)
	err := refused(t, c)
	if !errors.Is(err, host.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
	wantText(t, "error", err.Error(), c.Args[0], "checksum", "abababababab", sumOf(t, c.Args[0])[:12])
}

// copyProgram returns a copy of the test binary with some bytes behind it.
func copyProgram(t *testing.T, name string, more int) string {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		own, _ := os.Executable()
		if exe, err = os.Open(own); err != nil {
			t.Fatal(err)
		}
	}
	defer exe.Close()
	path := filepath.Join(t.TempDir(), name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, exe); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, more)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMissingProgramIsRefused(t *testing.T) {
	c, _ := command(t, "good")
	c.Args = []string{filepath.Join(t.TempDir(), "nothing")}
	wantText(t, "error", refused(t, c).Error(), "host: args:", "nothing")
}

func TestPinnedFileThatDiffersIsRefused(t *testing.T) {
	c, _ := command(t, "good")
	library := filepath.Join(t.TempDir(), "library")
	if err := os.WriteFile(library, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Pins = map[string]string{library: strings.Repeat("cd", 32)}
	err := refused(t, c)
	if !errors.Is(err, host.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
	wantText(t, "error", err.Error(), library, "cdcdcdcdcdcd")
}

// The figure of the issue is for start to first publish; the limit here leaves
// room for a loaded machine with the race detector.
func TestStartIsQuick(t *testing.T) {
	c, _ := command(t, "good")
	c.Args = []string{copyProgram(t, "large", 20<<20)}
	c.SHA256 = sumOf(t, c.Args[0])
	begun := time.Now()
	p := start(t, c)
	roundTrip(t, p, c.Dir)
	took := time.Since(begun)
	t.Logf("from start to first envelope: %v (%s)", took, p.Confinement())
	if took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func BenchmarkStart(b *testing.B) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.ReadFile(exe)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(info)
	dir := b.TempDir()
	for _, confine := range []host.Confine{host.Best, host.Off} {
		b.Run(confine.String(), func(b *testing.B) {
			for b.Loop() {
				p, err := host.Start(b.Context(), host.Command{
					Args: []string{exe}, SHA256: hex.EncodeToString(sum[:]), Dir: dir, Confine: confine,
					Env: map[string]string{modeVariable: "good"},
				})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				p.Kill()
				b.StartTimer()
			}
		})
	}
}
