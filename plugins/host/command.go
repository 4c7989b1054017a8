package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Confine says how much of the confinement of doc.go is wanted.
type Confine uint8

const (
	Best     Confine = 0 // whatever the machine offers; Process.Confinement says what that was
	Required Confine = 1 // Landlock and namespaces, or Start fails
	Off      Confine = 2 // none
)

// String returns the word for the configuration file.
func (c Confine) String() string {
	switch c {
	case Best:
		return "best"
	case Required:
		return "required"
	case Off:
		return "off"
	}
	return fmt.Sprintf("confine %d", uint8(c))
}

// What a Command that leaves a limit at zero is given.
const (
	DefaultMemory       = 512 << 20 // bytes: a libp2p node with a thousand peers stays below 200 MiB
	DefaultProcesses    = 64
	DefaultStartTimeout = 10 * time.Second // an interpreter on a slow disk needs 3 s
	DefaultWatch        = 250 * time.Millisecond
	DefaultLogRate      = 50 // lines a second; four seconds' worth may come at once
)

// Limits of a Command.
const (
	maxArgs   = 64       // arguments, and variables of the environment
	maxArg    = 4096     // bytes of one of them
	minMemory = 16 << 20 // bytes: a plugin in Go starts with 14 MiB
	maxPaths  = 256      // entries of Pins, AllowRead and Hide, each
)

// Command says which plugin to run, and how. It is not changed by Start.
type Command struct {
	// Name is the plugin's name in the log. The base of Args[0] if empty.
	Name string

	// Args are the program and its arguments. The program is looked for in
	// PATH; what it is called with stays as it is. The plugin runs in Dir, so
	// that a relative path among the arguments means a file below Dir. A
	// confined plugin may read the files that are named by an absolute path.
	Args []string

	// SHA256 of the file of the program, in hex; unchecked if empty. It is the
	// checked file that is executed, even if another takes its place meanwhile.
	SHA256 string

	// Pins are further files to be checked, by absolute path: the script of an
	// interpreter and its libraries. In a mount namespace the plugin sees
	// copies of what was checked.
	Pins map[string]string

	// Dir is the plugin's own folder, absolute. It is made if need be, with
	// mode 0700, and stays.
	Dir string

	// Env is added to the plugin's environment, which has nothing of the
	// host's. Secrets do not belong there.
	Env map[string]string

	Confine   Confine
	AllowRead []string // absolute paths that the plugin may read besides
	Hide      []string // absolute paths that must not be visible, as the data folder

	Memory    int64 // bytes of resident memory of all its processes
	Processes int   // at a time

	StartTimeout time.Duration // from Start to an answer to the first Ping
	Watch        time.Duration // between two looks at its memory and processes

	// Debug is for a plugin under a debugger: no time limit, no confinement,
	// no TLS, no limits of memory and processes.
	Debug bool

	Log     *slog.Logger // where the plugin's output goes; nowhere if nil
	LogRate int          // lines a second
}

// Validate returns every fault of the command, each with the name of its field,
// or nil.
func (c Command) Validate() error {
	var faults []error
	bad := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf("host: %s: %s", field, fmt.Sprintf(format, args...)))
	}
	if len(c.Args) == 0 || c.Args[0] == "" {
		bad("args", "no program")
	}
	if len(c.Args) > maxArgs {
		bad("args", "%d, at most %d", len(c.Args), maxArgs)
	}
	for i, a := range c.Args {
		if len(a) > maxArg || strings.ContainsRune(a, 0) {
			bad("args", "number %d is longer than %d bytes or contains a zero", i, maxArg)
		}
	}
	if c.SHA256 != "" && !isSum(c.SHA256) {
		bad("sha256", "not 64 hex digits")
	}
	for _, path := range slices.Sorted(maps.Keys(c.Pins)) {
		if !filepath.IsAbs(path) {
			bad("pins", "%q is not an absolute path", path)
		}
		if !isSum(c.Pins[path]) {
			bad("pins", "the sum of %q is not 64 hex digits", path)
		}
	}
	if !filepath.IsAbs(c.Dir) {
		bad("dir", "%q is not an absolute path", c.Dir)
	}
	c.validateEnv(bad)
	c.validatePaths(bad)
	c.validateLimits(bad)
	return errors.Join(faults...)
}

func (c Command) validateEnv(bad func(field, format string, args ...any)) {
	if len(c.Env) > maxArgs {
		bad("env", "%d variables, at most %d", len(c.Env), maxArgs)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		switch value := c.Env[name]; {
		case !isVariable(name):
			bad("env", "%q is no name of a variable", name)
		case isReserved(name):
			bad("env", "%s is set by the host", name)
		case len(value) > maxArg || strings.ContainsRune(value, 0):
			bad("env", "the value of %s is longer than %d bytes or contains a zero", name, maxArg)
		}
	}
}

func (c Command) validatePaths(bad func(field, format string, args ...any)) {
	check := func(field string, paths []string) {
		if len(paths) > maxPaths {
			bad(field, "%d paths, at most %d", len(paths), maxPaths)
		}
		for _, path := range paths {
			if !filepath.IsAbs(path) {
				bad(field, "%q is not an absolute path", path)
			}
		}
	}
	check("allow_read", c.AllowRead)
	check("hide", c.Hide)
	if len(c.Pins) > maxPaths {
		bad("pins", "%d files, at most %d", len(c.Pins), maxPaths)
	}
	// Landlock only ever allows; what is below an allowed folder cannot be
	// taken away again.
	for _, allowed := range c.AllowRead {
		for _, hidden := range c.Hide {
			if contains(resolved(allowed), resolved(hidden)) {
				bad("allow_read", "%s contains %s, which is to be hidden", allowed, hidden)
			}
		}
	}
}

func (c Command) validateLimits(bad func(field, format string, args ...any)) {
	if c.Confine > Off {
		bad("confine", "%d is unknown", uint8(c.Confine))
	}
	if c.Debug && c.Confine == Required {
		bad("confine", "required and debug exclude each other")
	}
	if c.Memory != 0 && c.Memory < minMemory {
		bad("memory", "%d bytes, at least %d", c.Memory, minMemory)
	}
	if c.Processes < 0 {
		bad("processes", "%d is below zero", c.Processes)
	}
	if c.StartTimeout < 0 {
		bad("start_timeout", "%v is below zero", c.StartTimeout)
	}
	if c.Watch < 0 {
		bad("watch", "%v is below zero", c.Watch)
	}
	if c.LogRate < 0 {
		bad("log_rate", "%d is below zero", c.LogRate)
	}
}

// withDefaults returns the command with every limit set.
func (c Command) withDefaults() Command {
	if c.Name == "" {
		c.Name = transport.Clean(filepath.Base(c.Args[0]), maxKey)
	}
	if c.Debug {
		c.Confine = Off
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Memory = orDefault(c.Memory, DefaultMemory)
	c.Processes = orDefault(c.Processes, DefaultProcesses)
	c.StartTimeout = orDefault(c.StartTimeout, DefaultStartTimeout)
	c.Watch = orDefault(c.Watch, DefaultWatch)
	c.LogRate = orDefault(c.LogRate, DefaultLogRate)
	return c
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func isSum(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxKey
}

// isReserved tells of variables that belong to the protocol, or would load code
// into the plugin that no checksum covers.
func isReserved(name string) bool {
	return name == "HOME" || name == "TMPDIR" ||
		strings.HasPrefix(name, "STRATA_") || strings.HasPrefix(name, "PLUGIN_") || strings.HasPrefix(name, "LD_")
}

// resolved returns path without symbolic links, or as it is where it does not
// exist.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// contains tells whether path is folder or below it.
func contains(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
