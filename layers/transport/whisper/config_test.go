package whisper

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestValidateReportsEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is at fault: %v", err)
	}
	tests := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Interest = "all" }, `interest: "all"`},
		{func(c *Config) { c.MinPoW = -0.001 }, "min_pow: -0.001"},
		{func(c *Config) { c.MinPoW = 0.0021 }, "min_pow: 0.0021"},
		{func(c *Config) { c.MinPoW = math.NaN() }, "min_pow: NaN"},
		{func(c *Config) { c.PoW = 0.0021 }, "pow: 0.0021"},
		{func(c *Config) { c.PoW = 0.0005 }, "pow: 0.0005 is below min_pow"},
		{func(c *Config) { c.PoWTime = 0 }, "pow_time: 0s"},
		{func(c *Config) { c.TTL = 9 * time.Second }, "ttl: 9s is below 10s"},
		{func(c *Config) { c.TTL = 10500 * time.Millisecond }, "ttl: 10.5s is not in whole seconds"},
		{func(c *Config) { c.MaxTTL = 10 * time.Second }, "max_ttl: 10s is below ttl"},
		{func(c *Config) { c.MaxTTL = 1000 * time.Hour }, "max_ttl: 1000h0m0s is above"},
		{func(c *Config) { c.MaxMessageSize = 100 }, "max_message_size_bytes: 100"},
		{func(c *Config) { c.MaxMessageSize = 11 << 20 }, "max_message_size_bytes: 11534336"},
		{func(c *Config) { c.PoolBytes = 0 }, "pool_bytes: 0 is below"},
		{func(c *Config) { c.PoolBytes = 1<<21 - 1 }, "twice max_message_size_bytes"},
		{func(c *Config) { c.BundleBytes = 1 << 20 }, "bundle_bytes: 1048576 is not within"},
		{func(c *Config) { c.Mail.Timeout = 0 }, "mail_timeout: 0s"},
		{func(c *Config) { c.MaxMessageSize = 8192 }, "bundle_bytes: 524288 is above max_message_size_bytes"},
	}
	for _, tt := range tests {
		c := DefaultConfig()
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	all := Config{MinPoW: 1, PoW: -1}.Validate()
	for _, field := range []string{"interest", "min_pow", "pow", "pow_time", "ttl", "max_message_size_bytes", "pool_bytes", "bundle_bytes"} {
		if !strings.Contains(all.Error(), field+": ") {
			t.Errorf("%q is missing in: %v", field, all)
		}
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	c := reflect.TypeFor[Config]()
	for i := range c.NumField() {
		f := c.Field(i)
		if f.Tag.Get("yaml") == ",inline" {
			continue // documents its fields itself
		}
		if f.Tag.Get("yaml") == "" || !strings.HasSuffix(f.Tag.Get("comment"), ".") {
			t.Errorf("%s: tag %q", f.Name, f.Tag)
		}
	}
}
