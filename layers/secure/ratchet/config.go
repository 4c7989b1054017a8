package ratchet

import (
	"errors"
	"fmt"
	"time"
)

// Config is the section layers.secure of the layer configuration file.
type Config struct {
	PrekeyRotation      time.Duration `yaml:"prekey_rotation" comment:"age at which the own signed prekey is replaced, judged when a bundle is attached"`
	PrekeyRetention     time.Duration `yaml:"prekey_retention" comment:"how long the private half of a replaced prekey is kept for late first messages, then it is erased"`
	ContactCodeInterval time.Duration `yaml:"contact_code_interval" comment:"how often the own bundle is published on the contact code topic"`
	AnswerInterval      time.Duration `yaml:"answer_interval" comment:"at most one own bundle is sent in this time to a sender who does not know this device"`
	GenericDiscovery    bool          `yaml:"generic_discovery" comment:"listen on the discovery topic of 2018, and write there to devices that know no other"`
	Legacy2019          bool          `yaml:"legacy_2019" comment:"speak the broken ratchet of October 2019 (no post-compromise security) with devices that use it"`
	MaxStrangers        int           `yaml:"max_strangers" comment:"identities remembered that are not watched; the one longest silent is forgotten first"`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		PrekeyRotation:      24 * time.Hour,
		PrekeyRetention:     14 * 24 * time.Hour,
		ContactCodeInterval: 6 * time.Hour,
		AnswerInterval:      2 * time.Hour,
		GenericDiscovery:    true,
		MaxStrangers:        1000,
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	within := func(name string, d, low, high time.Duration) {
		if d < low || d > high {
			errs = append(errs, fmt.Errorf("%s: %v is not between %v and %v", name, d, low, high))
		}
	}
	const day = 24 * time.Hour
	within("prekey_rotation", c.PrekeyRotation, time.Hour, 30*day)
	within("prekey_retention", c.PrekeyRetention, time.Hour, 90*day)
	within("contact_code_interval", c.ContactCodeInterval, time.Minute, 7*day)
	within("answer_interval", c.AnswerInterval, time.Minute, 7*day)
	if c.MaxStrangers < 1 || c.MaxStrangers > 100_000 {
		errs = append(errs, fmt.Errorf("max_strangers: %d is not between 1 and 100000", c.MaxStrangers))
	}
	return errors.Join(errs...)
}
