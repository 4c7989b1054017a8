package plugin

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/kernel"
)

func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestDefaultConfigIsValid(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryFaultOfTheConfigurationIsNamed(t *testing.T) {
	const good = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		set  func(*Config)
		want string
	}{
		{func(c *Config) { c.Command = []string{""} }, "command[0]: must be"},
		{func(c *Config) { c.Command = []string{"x", "a\x00"} }, "command[1]: must be"},
		{func(c *Config) { c.Command = make([]string, 65) }, "command: 65 arguments"},
		{func(c *Config) { c.Command, c.Process = []string{"x"}, true }, "process: true is for"},
		{func(c *Config) { c.Command, c.SHA256 = []string{"x"}, good[1:] }, "sha256: must be 64"},
		{func(c *Config) { c.SHA256 = good }, "sha256: command is empty"},
		{func(c *Config) { c.Pins = map[string]string{"/x": "1"} }, `pins: "/x" must be given 64`},
		{func(c *Config) { c.Attach, c.Process = "unix:/x", true }, "attach: is for a plugin that runs already"},
		{func(c *Config) { c.Attach = "unix:x" }, `attach: "unix:x" is not unix:`},
		{func(c *Config) { c.Env = map[string]string{"A=B": "1"} }, `env: "A=B": must be`},
		{func(c *Config) { c.AllowRead = []string{""} }, "allow_read[0]: is no path"},
		{func(c *Config) { c.Confine = "some" }, `confine: "some" is none of`},
		{func(c *Config) { c.MemoryMiB = 1 }, "memory_mib: 1 is not in"},
		{func(c *Config) { c.Processes = 0 }, "processes: 0 is not in"},
		{func(c *Config) { c.StartTimeout = time.Hour }, "start_timeout: 1h0m0s is not in"},
		{func(c *Config) { c.TTL = 0 }, "ttl: 0s is not in"},
		{func(c *Config) { c.MinTTL = time.Minute }, "min_ttl: 1m0s is above ttl"},
		{func(c *Config) { c.InFlight = 1 }, "in_flight_bytes: 1 is not in"},
		{func(c *Config) { c.MaxUnsent = 1 }, "max_unsent_bytes: 1 is not in"},
		{func(c *Config) { c.Config = map[string]any{"a": strings.Repeat("b", 1<<16)} }, "config: 65544 bytes as JSON"},
	} {
		cfg := DefaultConfig()
		c.set(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %s…", err, c.want)
		}
	}
	all := DefaultConfig()
	all.MemoryMiB, all.TTL, all.Confine = 0, 0, ""
	if err := all.Validate(); strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not every fault is reported: %v", err)
	}
}

func TestConfigurationHidesWhatIsSecret(t *testing.T) {
	c := DefaultConfig()
	c.Config = map[string]any{"password": "hunter2"}
	c.Env = map[string]string{"TOKEN": "hunter2"}
	var out strings.Builder
	if err := kernel.Effective(&out, "settings", c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "memory_mib: 512") {
		t.Errorf("shown as\n%s", &out)
	}
	if err := kernel.Document(&out, "settings", DefaultConfig()); err != nil {
		t.Error(err)
	}
}
