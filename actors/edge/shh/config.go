package shh

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of what a client may hold, beside those of the configuration.
const (
	maxTopics  = 1 << 10 // of one filter
	maxWaiting = 1 << 10 // calls that wait for the transport
)

// Config is the section of the API.
type Config struct {
	Filters        int           `yaml:"filters" comment:"Filters and subscriptions of all clients together."`
	FilterTimeout  time.Duration `yaml:"filter_timeout" comment:"After how long a filter that nobody polls is removed; a subscription lasts as long as its connection."`
	FilterMessages int           `yaml:"filter_messages" comment:"Messages that wait in a filter; the oldest are dropped."`
	FilterBytes    int           `yaml:"filter_bytes" comment:"Bytes of messages that wait in a filter, likewise."`
	StoredBytes    int           `yaml:"stored_bytes" comment:"Bytes of messages that wait in all filters; the oldest of the fullest filter are dropped."`
	QueueBytes     int           `yaml:"queue_bytes" comment:"Bytes of envelopes that wait to be tried with the keys of the filters; what is beyond is dropped."`
	Keys           int           `yaml:"keys" comment:"Key pairs and symmetric keys of all clients together."`
	Posts          int           `yaml:"posts" comment:"Posts that may look for a proof of work at the same time."`
	PoWCores       int           `yaml:"pow_cores" comment:"Cores for the proof of work of one post; 0: all."`
	MaxPoWTime     time.Duration `yaml:"max_pow_time" comment:"Longest powTime of a post."`
	PostTimeout    time.Duration `yaml:"post_timeout" comment:"How long a call waits for the transport, mining not counted."`
}

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		Filters:        256,
		FilterTimeout:  5 * time.Minute,
		FilterMessages: 4096,
		FilterBytes:    16 << 20,
		StoredBytes:    64 << 20,
		QueueBytes:     16 << 20,
		Keys:           1024,
		Posts:          8,
		MaxPoWTime:     10 * time.Minute,
		PostTimeout:    10 * time.Second,
	}
}

// Validate reports every fault of c, not only the first. Its errors use the names
// of the file.
func (c Config) Validate() error {
	var errs []error
	within := func(name string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("%s: %d is not within %d and %d", name, n, low, high))
		}
	}
	lasting := func(name string, d, low, high time.Duration) {
		if d < low || d > high {
			errs = append(errs, fmt.Errorf("%s: %v is not within %v and %v", name, d, low, high))
		}
	}
	const (
		leastStore = 1 << 20 // bytes; holds one message of the usual limit
		mostStore  = 1 << 32 // bytes; beyond it the bound would bound nothing
	)
	within("filters", c.Filters, 1, 1<<14)
	lasting("filter_timeout", c.FilterTimeout, time.Second, 24*time.Hour)
	within("filter_messages", c.FilterMessages, 1, 1<<20)
	within("filter_bytes", c.FilterBytes, leastStore, mostStore)
	within("stored_bytes", c.StoredBytes, leastStore, mostStore)
	within("queue_bytes", c.QueueBytes, leastStore, mostStore)
	within("keys", c.Keys, 1, 1<<20)
	within("posts", c.Posts, 1, 1<<10)
	within("pow_cores", c.PoWCores, 0, 1<<10)
	lasting("max_pow_time", c.MaxPoWTime, time.Second, 24*time.Hour)
	lasting("post_timeout", c.PostTimeout, 10*time.Millisecond, 10*time.Minute)
	return errors.Join(errs...)
}
