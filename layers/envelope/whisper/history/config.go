package history

import (
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// Config says how much is fetched, and how often. Times are to the second,
// because envelopes are.
type Config struct {
	Enabled     bool          `yaml:"enabled" comment:"Ask mail servers, or what the transport has instead, for what was sent while this node was away."`
	FirstWindow time.Duration `yaml:"first_window" comment:"How far back to ask for a topic that was never asked for."`
	MaxWindow   time.Duration `yaml:"max_window" comment:"How far back to ask at most, however long this node was away."`
	Overlap     time.Duration `yaml:"overlap" comment:"How far to ask again into what was fetched before, for envelopes that reached the servers late."`
	Every       time.Duration `yaml:"every" comment:"How often to ask while online, for envelopes lost on their way here; 0s: only after a loss of contact."`
	Page        int           `yaml:"page" comment:"Envelopes in one answer, up to 1000."`
	Compare     int           `yaml:"compare" comment:"Servers to ask for the same; what one lacks and another has is reported. 1: one is trusted."`
}

// Bounds of the configuration.
const (
	minWindow  = time.Minute
	maxWindow  = 366 * 24 * time.Hour // no server keeps more; also 366 queries at least
	minEvery   = time.Minute          // every catch-up costs the servers a query
	maxCompare = 5                    // each server more is once more the traffic
)

// DefaultConfig returns the configuration of an empty section.
//
// The overlap: servers find envelopes by the time they were sent, which is not
// the time they came. A relay takes an envelope up to 20 s after its expiry, so a
// message of Status, which lives 10 or 15 s, may turn up at a server 35 s after
// everything around it was fetched; with clocks off by as much again, and a
// minute on top, two minutes would do. Five are nearly free. Longer times to
// live are rare, and such an envelope is late only if for all that time no path
// led from its sender to the server; who depends on them makes the overlap
// longer.
func DefaultConfig() Config {
	return Config{
		Enabled:     true,
		FirstWindow: 24 * time.Hour,
		MaxWindow:   30 * 24 * time.Hour, // what the servers of Status kept
		Overlap:     5 * time.Minute,
		Every:       10 * time.Minute,
		Page:        500, // some 200 KiB of usual messages: below a second on a slow link
		Compare:     1,
	}
}

// Validate reports every fault of c, not only the first, with names as they
// stand in the settings of the envelope layer.
func (c Config) Validate() error {
	errs := []error{
		between("first_window", c.FirstWindow, minWindow, maxWindow),
		between("max_window", c.MaxWindow, minWindow, maxWindow),
		between("overlap", c.Overlap, 0, maxWindow),
		between("page", c.Page, 1, transport.MaxPage),
		between("compare", c.Compare, 1, maxCompare),
	}
	if c.Every != 0 {
		errs = append(errs, between("every", c.Every, minEvery, maxWindow))
	}
	if c.FirstWindow > c.MaxWindow {
		errs = append(errs, fmt.Errorf("history.first_window: %v is above history.max_window, %v", c.FirstWindow, c.MaxWindow))
	}
	if c.Overlap > c.MaxWindow {
		errs = append(errs, fmt.Errorf("history.overlap: %v is above history.max_window, %v", c.Overlap, c.MaxWindow))
	}
	return errors.Join(errs...)
}

func between[T int | time.Duration](name string, value, low, high T) error {
	if value < low || value > high {
		return fmt.Errorf("history.%s: %v is not in %v to %v", name, value, low, high)
	}
	return nil
}
