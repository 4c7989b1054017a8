package host

import (
	"fmt"
	"time"
)

// usage is what the processes of a plugin take together.
type usage struct {
	resident  int64 // bytes; what several share counts for each
	processes int
}

// watch ends the plugin when it takes more than it may.
func (c *child) watch() {
	t := c.owned()
	tick := time.NewTicker(c.command.Watch)
	defer tick.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		if err := exceeded(t.usage(), c.command); err != nil {
			c.end(err)
			c.kill()
		}
	}
}

func exceeded(u usage, c Command) error {
	const mib = 1 << 20
	if u.resident > c.Memory {
		return fmt.Errorf("memory: used %d MiB, limit %d MiB", u.resident/mib, c.Memory/mib)
	}
	if u.processes > c.Processes {
		return fmt.Errorf("processes: had %d, limit %d", u.processes, c.Processes)
	}
	return nil
}
