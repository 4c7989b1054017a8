package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// maxTemp is the length in bytes of the folder of temporary files above
	// which another is taken: the path of a unix socket has at most 108, and
	// ours below it needs up to 60.
	maxTemp = 44

	runPattern = "strata-run-*"
	lockName   = "lock"
)

// runFolder is the folder of a plugin's socket, which only this user may enter.
// Its lock tells the next host whether it is still in use.
type runFolder struct {
	path string
	lock *os.File
}

// makeRun makes one, and removes those of hosts that were killed.
func makeRun() (*runFolder, error) {
	temp := resolved(os.TempDir())
	if len(temp) > maxTemp {
		temp = "/tmp"
	}
	removeStale(temp)
	path, err := os.MkdirTemp(temp, runPattern)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	r := &runFolder{path: path}
	// It gets its name when it is locked, so that nobody takes it for stale.
	f, err := os.CreateTemp(path, lockName)
	if err == nil {
		r.lock = f
		err = errors.Join(lockFile(f), os.Rename(f.Name(), filepath.Join(path, lockName)))
	}
	if err != nil {
		r.remove()
		return nil, fmt.Errorf("host: %w", err)
	}
	return r, nil
}

// remove removes the folder. There is no one to tell if it fails; the next host
// tries again.
func (r *runFolder) remove() {
	_ = os.RemoveAll(r.path)
	if r.lock != nil {
		_ = r.lock.Close()
	}
}

func removeStale(temp string) {
	folders, err := filepath.Glob(filepath.Join(temp, runPattern))
	if err != nil {
		return
	}
	for _, folder := range folders {
		// A plugin may have put anything in its place.
		name := filepath.Join(folder, lockName)
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if lockFile(f) == nil {
			_ = os.RemoveAll(folder)
		}
		_ = f.Close()
	}
}
