//go:build !linux

package host

import (
	"fmt"
	"os"
)

// stamp tells one state of a file from another.
type stamp struct{ Size, Modified int64 }

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, fmt.Errorf("host: %w", err)
	}
	return stamp{info.Size(), info.ModTime().UnixNano()}, nil
}
