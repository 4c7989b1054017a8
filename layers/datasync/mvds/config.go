package mvds

import (
	"errors"
	"fmt"
	"time"
)

// Config is the section layers.datasync.settings of the configuration file.
type Config struct {
	// RetransmitAfter is how long the first transmission of a message waits for
	// its acknowledgement, unless the transport says that messages travel
	// longer than half of it. Every further wait is twice as long.
	RetransmitAfter time.Duration `yaml:"retransmit_after" comment:"how long the first transmission waits for its acknowledgement; every further wait is twice as long"`

	// RetransmitMax is the longest wait between two transmissions of a message.
	RetransmitMax time.Duration `yaml:"retransmit_max" comment:"longest wait between two transmissions of a message"`

	// ExpireAfter is when a message without an acknowledgement is given up.
	ExpireAfter time.Duration `yaml:"expire_after" comment:"a message that was not acknowledged in this time has failed, at most 336h"`

	// AckDelay is how long an acknowledgement waits for company.
	AckDelay time.Duration `yaml:"ack_delay" comment:"how long an acknowledgement waits for company"`

	// MaxQueued is how many messages may wait for an acknowledgement, over all
	// peers. A further one fails at once.
	MaxQueued int `yaml:"max_queued" comment:"messages that may wait for an acknowledgement, over all peers; a further one fails at once"`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		RetransmitAfter: 5 * time.Second,
		RetransmitMax:   10 * time.Minute,
		ExpireAfter:     7 * 24 * time.Hour,
		AckDelay:        20 * time.Millisecond,
		MaxQueued:       100_000,
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("mvds: "+format, args...)) }
	if c.RetransmitAfter < 100*time.Millisecond {
		fault("retransmit_after: %v is below 100ms", c.RetransmitAfter)
	}
	if c.RetransmitMax < c.RetransmitAfter {
		fault("retransmit_max: %v is below retransmit_after, %v", c.RetransmitMax, c.RetransmitAfter)
	}
	if c.RetransmitMax > 24*time.Hour {
		fault("retransmit_max: %v is above 24h", c.RetransmitMax)
	}
	if c.ExpireAfter < c.RetransmitAfter {
		fault("expire_after: %v is below retransmit_after, %v", c.ExpireAfter, c.RetransmitAfter)
	}
	if c.ExpireAfter > seenFor {
		fault("expire_after: %v is above %v, how long a receiver knows a repetition", c.ExpireAfter, seenFor)
	}
	if c.AckDelay < 0 || c.AckDelay > time.Second {
		fault("ack_delay: %v is not between 0s and 1s", c.AckDelay)
	}
	if c.MaxQueued < 1 || c.MaxQueued > 1_000_000 {
		fault("max_queued: %d is not between 1 and 1000000", c.MaxQueued)
	}
	return errors.Join(errs...)
}
