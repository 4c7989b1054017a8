package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Config is the section of the transport slot in the layer configuration file,
// if a plugin or a transport that is compiled in fills it.
//
// The transport sees topics and ciphertext, and of this section config alone.
// Secrets in config (the password of a proxy, say) reach the transport and
// nobody else: they are not logged, not shown by the node, and not in the
// arguments or the environment of the process.
type Config struct {
	Command      []string          `yaml:"command" comment:"program of the plugin and its arguments; empty for a transport that is compiled in"`
	Process      bool              `yaml:"process" comment:"run a transport that is compiled in as a process of its own"`
	Attach       string            `yaml:"attach" comment:"a plugin that runs already, for a debugger, as unix:PATH of its socket; nothing is started, nothing confined, and no call has a deadline"`
	SHA256       string            `yaml:"sha256" comment:"SHA-256 of the program, in hex; a program with another one is not started"`
	Pins         map[string]string `yaml:"pins" comment:"SHA-256, in hex, of further files that are checked before each start, such as the script of an interpreter"`
	Config       map[string]any    `yaml:"config" secret:"true" comment:"settings of the transport itself; they reach nobody else"`
	Confine      string            `yaml:"confine" comment:"what the process may not do: best (as much as this system can keep it from), required (no start without it) or off"`
	AllowRead    []string          `yaml:"allow_read" comment:"files and folders that a confined process may read beside the system's programs and libraries"`
	Env          map[string]string `yaml:"env" secret:"true" comment:"environment of the process; it gets nothing of the node's own. Not for secrets: use config"`
	MemoryMiB    int               `yaml:"memory_mib" comment:"memory the process may have, in MiB"`
	Processes    int               `yaml:"processes" comment:"processes the plugin may have at a time, itself included"`
	StartTimeout time.Duration     `yaml:"start_timeout" comment:"time for the process to start and to open the transport"`
	TTL          time.Duration     `yaml:"ttl" comment:"how long an envelope is worth carrying if the layers above do not say"`
	MinTTL       time.Duration     `yaml:"min_ttl" comment:"a shorter time to live is raised to it"`
	InFlight     int               `yaml:"in_flight_bytes" comment:"bytes of envelopes delivered but not yet worked off by the layers; no more are asked for beyond it"`
	MaxUnsent    int               `yaml:"max_unsent_bytes" comment:"bytes of envelopes kept until the transport takes them; more are refused"`

	// Dir is the transport's own folder and Hide what it must not see. They are
	// set by the node.
	Dir  string   `yaml:"-"`
	Hide []string `yaml:"-"`
}

// How a process is confined.
const (
	ConfineBest     = "best"
	ConfineRequired = "required"
	ConfineOff      = "off"
)

// Bounds of the configuration.
const (
	minMemoryMiB    = 32               // below it a Go program with gRPC does not start
	maxMemoryMiB    = 1 << 20          // 1 TiB; beyond it the bound would bound nothing
	minProcesses    = 1                // itself
	maxProcesses    = 1 << 12          // beyond it the bound would bound nothing
	minStart        = time.Second      // below it a cold disk fails a good plugin
	maxStart        = 30 * time.Second // the slot waits for it
	minInFlight     = 2 * costOfLargest
	maxInFlight     = 1 << 32 // bytes; beyond it the bound would bound nothing
	minUnsent       = 2 * costOfLargest
	maxUnsent       = 1 << 32
	minTTLOfAll     = time.Second    // the contract's
	maxTTLOfAll     = 24 * time.Hour // an envelope is not a mailbox; storage is another ability
	maxCommand      = 64             // program and arguments
	maxConfigText   = 4096           // bytes of a path, an argument or a value of env
	costOfEnvelope  = 256            // bytes that an envelope costs the node beside its data
	costOfLargest   = transport.MaxEnvelope + costOfEnvelope
	mebibyte        = 1 << 20
	maxPins         = 64
	maxEnv          = 64
	maxAllowedPaths = 64
)

// DefaultConfig returns the configuration of an empty section.
func DefaultConfig() Config {
	return Config{
		Confine:      ConfineBest,
		MemoryMiB:    512,
		Processes:    64,
		StartTimeout: 10 * time.Second,
		TTL:          15 * time.Second,
		MinTTL:       time.Second,
		InFlight:     16 << 20,
		MaxUnsent:    64 << 20,
	}
}

// Validate reports every fault of c, not only the first. It looks at no file.
func (c Config) Validate() error {
	errs := []error{
		checkCommand(c.Command),
		c.checkSHA256(),
		checkPins(c.Pins),
		checkEnv(c.Env),
		checkPaths("allow_read", c.AllowRead),
		within("memory_mib", c.MemoryMiB, minMemoryMiB, maxMemoryMiB),
		within("processes", c.Processes, minProcesses, maxProcesses),
		within("start_timeout", c.StartTimeout, minStart, maxStart),
		within("ttl", c.TTL, minTTLOfAll, maxTTLOfAll),
		within("min_ttl", c.MinTTL, minTTLOfAll, maxTTLOfAll),
		within("in_flight_bytes", c.InFlight, minInFlight, maxInFlight),
		within("max_unsent_bytes", c.MaxUnsent, minUnsent, maxUnsent),
	}
	switch c.Confine {
	case ConfineBest, ConfineRequired, ConfineOff:
	default:
		errs = append(errs, fmt.Errorf("confine: %q is none of best, required, off", c.Confine))
	}
	if c.MinTTL > c.TTL {
		errs = append(errs, fmt.Errorf("min_ttl: %v is above ttl, %v", c.MinTTL, c.TTL))
	}
	if len(c.Command) > 0 && c.Process {
		errs = append(errs, errors.New("process: true is for a transport that is compiled in, but command names a program"))
	}
	if c.Attach != "" && (len(c.Command) > 0 || c.Process) {
		errs = append(errs, errors.New("attach: is for a plugin that runs already, but command or process asks to start one"))
	}
	if path, ok := strings.CutPrefix(c.Attach, "unix:"); c.Attach != "" && (!ok || !filepath.IsAbs(path)) {
		errs = append(errs, fmt.Errorf("attach: %q is not unix: with an absolute path", c.Attach))
	}
	_, err := c.settings()
	return errors.Join(append(errs, err)...)
}

// settings returns what the transport gets as Options.Config. The error does not
// quote the settings.
func (c Config) settings() ([]byte, error) {
	if len(c.Config) == 0 {
		return []byte("{}"), nil
	}
	b, err := json.Marshal(c.Config)
	if err != nil {
		return nil, errors.New("config: cannot be written as JSON")
	}
	if len(b) > transport.MaxConfig {
		return nil, fmt.Errorf("config: %d bytes as JSON, at most %d", len(b), transport.MaxConfig)
	}
	return b, nil
}

var (
	sum     = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (c Config) checkSHA256() error {
	switch {
	case c.SHA256 == "":
		return nil
	case !sum.MatchString(c.SHA256):
		return errors.New("sha256: must be 64 hex digits")
	case len(c.Command) == 0:
		return errors.New("sha256: command is empty, there is no program to check")
	}
	return nil
}

func checkCommand(command []string) error {
	if len(command) > maxCommand {
		return fmt.Errorf("command: %d arguments, at most %d", len(command), maxCommand)
	}
	for i, arg := range command {
		if len(arg) > maxConfigText || strings.ContainsRune(arg, 0) || i == 0 && arg == "" {
			return fmt.Errorf("command[%d]: must be a text of at most %d bytes without NUL", i, maxConfigText)
		}
	}
	return nil
}

func checkPins(pins map[string]string) error {
	if len(pins) > maxPins {
		return fmt.Errorf("pins: %d files, at most %d", len(pins), maxPins)
	}
	var errs []error
	for file, s := range pins {
		if file == "" || !sum.MatchString(s) {
			errs = append(errs, fmt.Errorf("pins: %q must be given 64 hex digits", file))
		}
	}
	return errors.Join(errs...)
}

func checkEnv(env map[string]string) error {
	if len(env) > maxEnv {
		return fmt.Errorf("env: %d variables, at most %d", len(env), maxEnv)
	}
	var errs []error
	for name, value := range env {
		if !envName.MatchString(name) || len(value) > maxConfigText || strings.ContainsRune(value, 0) {
			errs = append(errs, fmt.Errorf("env: %q: must be a name of letters, digits and _ with a text of at most %d bytes", name, maxConfigText))
		}
	}
	return errors.Join(errs...)
}

func checkPaths(key string, paths []string) error {
	if len(paths) > maxAllowedPaths {
		return fmt.Errorf("%s: %d paths, at most %d", key, len(paths), maxAllowedPaths)
	}
	for i, p := range paths {
		if p == "" || len(p) > maxConfigText || strings.ContainsRune(p, 0) {
			return fmt.Errorf("%s[%d]: is no path", key, i)
		}
	}
	return nil
}

func within[N int | time.Duration](key string, value, low, high N) error {
	if value < low || value > high {
		return fmt.Errorf("%s: %v is not in %v to %v", key, value, low, high)
	}
	return nil
}
