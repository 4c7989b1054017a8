package rpc

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
)

// residentMemory returns the memory of the process in bytes.
func residentMemory() uint64 {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(b); len(fields) > 1 {
			if pages, err := strconv.ParseUint(string(fields[1]), 10, 64); err == nil {
				return pages * uint64(os.Getpagesize())
			}
		}
	}
	total := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(total)
	if total[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return total[0].Value.Uint64()
}
