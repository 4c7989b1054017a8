//go:build unix

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is who opens the folder when the tests are run by root, whom no mode
// stops.
const nobody = 65534

func init() { children["unprivileged"] = openUnprivileged }

// openUnprivileged opens dir without the right to write to it, and prints what
// comes of it.
func openUnprivileged(dir string) {
	if os.Getuid() == 0 {
		if err := syscall.Setuid(nobody); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	_, err := Open(dir, Options{Key: FileKey()})
	fmt.Println(err)
	os.Exit(0)
}

func TestReadOnlyFolderIsNamed(t *testing.T) {
	for name, prepare := range map[string]func(dir string){
		"there is none and none can be made": func(dir string) {
			os.Chmod(filepath.Dir(dir), 0o555)
		},
		"there is a new one": func(dir string) {
			os.Mkdir(dir, 0o700)
			os.Chown(dir, nobody, -1)
			os.Chmod(dir, 0o500)
		},
		"there is one in use": func(dir string) {
			closed(t, opened(t, dir, Options{}))
			os.Chmod(dir, 0o555)
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			// The test's folders are closed to others.
			for d := parent; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
				os.Chmod(d, 0o755)
			}
			dir := filepath.Join(parent, "data")
			prepare(dir)
			t.Cleanup(func() { os.Chmod(parent, 0o755); os.Chmod(dir, 0o755) })
			c := child("unprivileged", dir)
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			refused(t, fmt.Errorf("%s", out), nil, "store: "+dir+": ", "permission denied")
		})
	}
}
