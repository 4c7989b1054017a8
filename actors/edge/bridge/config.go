package bridge

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// Bounds of the configuration.
const (
	maxEnvelopesPerSecond = 30_000  // of both directions 2 minutes fit into maxRemember
	maxKiBPerSecond       = 1 << 20 // 1 GiB/s; beyond it the bound would bound nothing
	maxWorkPerSecond      = 1 << 24 // 16 GiB taken up and 13 s of one core a second, likewise
	maxQueue              = 1 << 16 // envelopes; their bytes have a bound of their own
	maxRemember           = 1 << 23 // identities; about 1 GB
	maxTopics             = 1 << 14 // as many as a transport plugin takes

	// leastMemory is for how long the bridge must remember what it carries at
	// the full rate: longer than an envelope and its copies need to spread.
	leastMemory = 2 * time.Minute
)

// Config is the section of the bridge.
type Config struct {
	NearToFar Budget   `yaml:"near_to_far" comment:"What may go from the transport slot to the far one."`
	FarToNear Budget   `yaml:"far_to_near" comment:"What may go from the far slot to the transport one."`
	Remember  int      `yaml:"remember" comment:"Identities of carried envelopes to remember so that none is carried twice, about 100 bytes each; at least what both directions carry in 2m."`
	Topics    []string `yaml:"topics" comment:"Topics to carry, each 0x and 8 hex digits; empty means all."`
}

// Budget is what one direction may carry. The directions share nothing, so a
// flood in one takes nothing from the other.
type Budget struct {
	EnvelopesPerSecond int `yaml:"envelopes_per_second" comment:"Envelopes a second on average."`
	KiBPerSecond       int `yaml:"kib_per_second" comment:"KiB of data a second on average."`
	WorkPerSecond      int `yaml:"work_per_second" comment:"KiB times seconds of life, a second: what proof of work costs, and how many KiB of the other transport are taken up in the long run. Envelopes that are both long and long-lived live shorter. Zero: without limit."`
	Queue              int `yaml:"queue" comment:"Envelopes that wait for the budget or for the other transport; the oldest are dropped."`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	toFar := Budget{EnvelopesPerSecond: 100, KiBPerSecond: 512, Queue: 1024}
	toNear := toFar
	// Whisper's proof of work takes 0.8 µs for a KiB and second at 0.002: 2 % of
	// a core. And 24 MiB remain below the half of Whisper's pool that own
	// envelopes may fill; beyond that it would refuse them.
	toNear.WorkPerSecond = 24 << 10
	return Config{NearToFar: toFar, FarToNear: toNear, Remember: 1 << 17}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	errs := append(c.NearToFar.faults("near_to_far"), c.FarToNear.faults("far_to_near")...)
	// Only if the rates are sane does what they add up to mean anything.
	least := 1
	if len(errs) == 0 {
		least = (c.NearToFar.EnvelopesPerSecond + c.FarToNear.EnvelopesPerSecond) * int(leastMemory/time.Second)
	}
	switch {
	case c.Remember > maxRemember:
		errs = append(errs, fmt.Errorf("remember: %d is above %d", c.Remember, maxRemember))
	case c.Remember < least:
		errs = append(errs, fmt.Errorf("remember: %d is below %d, what both directions carry in %v", c.Remember, least, leastMemory))
	}
	_, faults := parseTopics(c.Topics)
	return errors.Join(append(errs, faults...)...)
}

func (b Budget) faults(name string) (errs []error) {
	within := func(key string, value, low, high int) {
		if value < low || value > high {
			errs = append(errs, fmt.Errorf("%s.%s: %d is not within %d and %d", name, key, value, low, high))
		}
	}
	within("envelopes_per_second", b.EnvelopesPerSecond, 1, maxEnvelopesPerSecond)
	within("kib_per_second", b.KiBPerSecond, 1, maxKiBPerSecond)
	within("work_per_second", b.WorkPerSecond, 0, maxWorkPerSecond)
	within("queue", b.Queue, 1, maxQueue)
	return errs
}

func parseTopics(texts []string) (topics []transport.Topic, faults []error) {
	if len(texts) > maxTopics {
		return nil, []error{fmt.Errorf("topics: %d are more than %d", len(texts), maxTopics)}
	}
	first := map[transport.Topic]int{}
	for i, text := range texts {
		digits, prefixed := strings.CutPrefix(text, "0x")
		b, err := hex.DecodeString(digits)
		if !prefixed || err != nil || len(b) != len(transport.Topic{}) {
			faults = append(faults, fmt.Errorf("topics[%d]: %.20q is not 0x and 8 hex digits", i, text))
			continue
		}
		t := transport.Topic(b)
		if j, twice := first[t]; twice {
			faults = append(faults, fmt.Errorf("topics[%d]: is the same as topics[%d]", i, j))
			continue
		}
		first[t] = i
		topics = append(topics, t)
	}
	return topics, faults
}
