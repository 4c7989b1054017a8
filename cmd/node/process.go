package main

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/stratanode/strata/kernel"
)

// processConfig is the section "process": what the node may take of the machine.
type processConfig struct {
	Memory int64 `yaml:"memory_bytes" comment:"memory that the node tries to keep to, by collecting garbage more often; what it must not exceed is bounded by the pools, queues and caches of its layers; 0: no limit"`
}

// minMemory is what a node of empty pools needs, in bytes.
const minMemory = 64 << 20

// Validate implements the interface of kernel.Decode.
func (c processConfig) Validate() error {
	if c.Memory != 0 && c.Memory < minMemory {
		return fmt.Errorf("memory_bytes: %d is below %d", c.Memory, minMemory)
	}
	return nil
}

// limitProcess applies the section. The Go runtime has a soft limit, so a quarter
// is left for what is not its own: the program and the memory of SQLite.
func limitProcess(cfg kernel.Config) error {
	c, err := kernel.Decode(cfg.Sections[processSection], processConfig{})
	if err != nil {
		return err
	}
	limit := int64(math.MaxInt64)
	if c.Memory > 0 {
		limit = c.Memory / 4 * 3
	}
	debug.SetMemoryLimit(limit)
	return nil
}
