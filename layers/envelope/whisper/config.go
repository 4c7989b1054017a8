package whisper

import (
	"errors"
	"fmt"

	"github.com/stratanode/strata/layers/envelope/whisper/history"
)

// Config is the section of the envelope layer in the layer configuration file.
type Config struct {
	MaxUnanswered      int `yaml:"max_unanswered" comment:"messages kept until the transport has answered; more are refused"`
	MaxUnansweredBytes int `yaml:"max_unanswered_bytes" comment:"bytes of sealed messages kept until the transport has answered; more are refused"`
	MaxFilters         int `yaml:"max_filters" comment:"filters in one set; a longer set is refused"`

	History history.Config `yaml:"history" comment:"What was sent while this node was away."`
}

// Bounds of the configuration.
const (
	minUnansweredBytes = 1 << 10 // room for at least the smallest sealed message, twice
	maxUnansweredBytes = 1 << 32 // beyond it the bound would bound nothing
	maxCount           = 1 << 24 // likewise, for what is counted
)

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		MaxUnanswered:      4096,     // at Whisper's work per message this is many minutes of sending
		MaxUnansweredBytes: 64 << 20, // some of the largest messages, or all 4096 of 16 KiB
		MaxFilters:         1 << 16,  // four per contact for 16384 contacts
		History:            history.DefaultConfig(),
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	return errors.Join(
		within("max_unanswered", c.MaxUnanswered, 1, maxCount),
		within("max_unanswered_bytes", c.MaxUnansweredBytes, minUnansweredBytes, maxUnansweredBytes),
		within("max_filters", c.MaxFilters, 1, maxCount),
		c.History.Validate(),
	)
}

func within(name string, value, low, high int) error {
	if value < low || value > high {
		return fmt.Errorf("%s: %d is not in %d to %d", name, value, low, high)
	}
	return nil
}
