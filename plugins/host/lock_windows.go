package host

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks f until it is closed, or fails if another process has.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, new(windows.Overlapped))
}
