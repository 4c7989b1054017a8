package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checked returns a child that is ready to be started, with a copy of a program
// of the system that prints its argument.
func checked(t *testing.T, confine Confine) (c *child, path string) {
	t.Helper()
	echo, err := os.ReadFile("/bin/echo")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, echo, 0o700); err != nil {
		t.Fatal(err)
	}
	return prepare(t, confine, path, "checked"), path
}

func prepare(t *testing.T, confine Confine, args ...string) *child {
	t.Helper()
	command := Command{Args: args, Dir: t.TempDir(), Confine: confine}.withDefaults()
	p, err := openProgram(command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return newChild(command, p, t.TempDir())
}

// finish starts the child and returns why it ended.
func finish(t *testing.T, c *child) error {
	t.Helper()
	if err := c.start(t.Context(), nil); err != nil && c.process == nil {
		return err
	}
	<-c.drained
	return c.cause()
}

func TestSwappedProgramIsNotExecuted(t *testing.T) {
	for _, confine := range []Confine{Best, Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, path := checked(t, confine)
			other := path + ".other"
			if err := os.WriteFile(other, []byte("#!/bin/sh\necho swapped\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(other, path); err != nil {
				t.Fatal(err)
			}
			// The rename changes the time of change of the old file, which has
			// a name less. Either it is executed, or nothing is.
			err := finish(t, c)
			if err == nil {
				t.Fatal("no error")
			}
			if text := err.Error(); strings.Contains(text, "swapped") || !strings.Contains(text, `"checked"`) && !errors.Is(err, ErrChecksum) {
				t.Errorf("got %v, want what the checked program prints, or ErrChecksum", err)
			}
		})
	}
}

func TestProgramThatIsWrittenToIsNotExecuted(t *testing.T) {
	for _, confine := range []Confine{Best, Off} {
		t.Run(confine.String(), func(t *testing.T) {
			c, path := checked(t, confine)
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if err := finish(t, c); !errors.Is(err, ErrChecksum) {
				t.Errorf("got %v, want ErrChecksum", err)
			}
		})
	}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh -e\necho %s\n", text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPinnedScriptIsExecuted(t *testing.T) {
	for _, confine := range []Confine{Best, Off} {
		t.Run(confine.String(), func(t *testing.T) {
			path := script(t, "checked")
			f, err := openRegular(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			_, sum, err := copyFile(filepath.Join(t.TempDir(), "copy"), f)
			if err != nil {
				t.Fatal(err)
			}
			c := Command{Args: []string{path}, SHA256: sum, Dir: t.TempDir(), Confine: confine}.withDefaults()
			p, err := openProgram(c)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			err = finish(t, newChild(c, p, t.TempDir()))
			if err == nil || !strings.Contains(err.Error(), `printed "checked"`) {
				t.Errorf("got %v, want what the script prints", err)
			}
		})
	}
}

func TestPinnedScriptThatIsSwappedIsNotExecuted(t *testing.T) {
	path := script(t, "checked")
	c := prepare(t, Best, path)
	// As if it had been checked with this sum.
	c.program.pins[path] = strings.Repeat("00", 32)
	if err := finish(t, c); !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

func TestFilterDeniesByTheFirstMatch(t *testing.T) {
	filter := callFilter(denied)
	for i, f := range filter {
		if int(f.Jt) >= len(filter)-i || int(f.Jf) >= len(filter)-i {
			t.Errorf("instruction %d jumps out of the filter", i)
		}
	}
	if len(filter) > 4096 {
		t.Errorf("%d instructions, at most 4096", len(filter))
	}
}
