package host

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stamp tells one state of a file from another. The time of change cannot be
// set by a program, unlike that of modification.
type stamp struct {
	Device, Inode uint64
	Size          int64
	Sec, Nsec     int64
}

func stampOf(f *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, fmt.Errorf("host: %s: %w", f.Name(), err)
	}
	return stamp{uint64(st.Dev), st.Ino, st.Size, int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}, nil
}
