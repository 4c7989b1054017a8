package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MaxConfigFile is the size of a configuration file in bytes above which it is
// refused: written by hand it has some thousands.
const MaxConfigFile = 1 << 20

// Config is the layer configuration file, as far as the kernel reads it. What
// belongs to a layer or an edge it carries undecoded, as a Section.
type Config struct {
	DataDir string      `yaml:"data_dir" comment:"folder of everything that is kept; one running node each"`
	Log     LogConfig   `yaml:"log" comment:"the log, written to standard error"`
	Store   StoreConfig `yaml:"store" comment:"the encrypted database of the data folder"`

	// Layers are the sections below "layers" by the name of their slot, and
	// LayerOrder these names in the order of the file: top to bottom, if its
	// author followed the convention.
	Layers     map[string]Section `yaml:"-"`
	LayerOrder []string           `yaml:"-"`

	// Sections are the other known top-level keys that the files have.
	Sections map[string]Section `yaml:"-"`
}

// LogConfig says what is logged, and how.
type LogConfig struct {
	Level  string `yaml:"level" comment:"debug, info, warn or error"`
	Format string `yaml:"format" comment:"text or json"`
}

// StoreConfig says how the key of the database is kept.
type StoreConfig struct {
	Key            string `yaml:"key" comment:"passphrase: the database key is wrapped by a passphrase; file: it lies open in the data folder, for servers that start unattended"`
	PassphraseFile string `yaml:"passphrase_file" comment:"file with the passphrase in its first line; empty: ask for it"`
	PassphraseEnv  string `yaml:"passphrase_env" comment:"name of an environment variable with the passphrase, if there is no file"`
	ScryptN        int    `yaml:"scrypt_n" comment:"cost of wrapping a new key, a power of two; N KiB of memory are taken at every start"`
}

// DefaultConfig returns the configuration of an empty file.
func DefaultConfig() Config {
	return Config{
		DataDir: "~/.strata",
		Log:     LogConfig{Level: "info", Format: "text"},
		Store:   StoreConfig{Key: "passphrase", PassphraseEnv: "STRATA_PASSPHRASE", ScryptN: 1 << 17},
	}
}

// Validate reports every fault of c, not only the first.
func (c Config) Validate() error {
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("data_dir: is empty"))
	}
	return errors.Join(append(errs, within("log", c.Log.Validate()), within("store", c.Store.Validate()))...)
}

// Validate reports every fault of c.
func (c LogConfig) Validate() error {
	return errors.Join(
		oneOf("level", c.Level, "debug", "info", "warn", "error"),
		oneOf("format", c.Format, "text", "json"))
}

// Bounds of scrypt_n: less is no protection, more takes above 1 GiB of memory.
const (
	minScryptN = 1 << 12
	maxScryptN = 1 << 20
)

// Validate reports every fault of c.
func (c StoreConfig) Validate() error {
	errs := []error{oneOf("key", c.Key, "passphrase", "file")}
	if n := c.ScryptN; n < minScryptN || n > maxScryptN || n&(n-1) != 0 {
		errs = append(errs, fmt.Errorf("scrypt_n: %d is no power of two from %d to %d", n, minScryptN, maxScryptN))
	}
	if c.Key == "file" && c.PassphraseFile != "" {
		errs = append(errs, errors.New(`passphrase_file: is of no use with key "file"`))
	}
	return errors.Join(errs...)
}

func oneOf(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(allowed, ", "))
}

// within puts the key of a section before each fault that its Validate found.
func within(key string, err error) error {
	var errs []error
	for _, e := range parts(err) {
		errs = append(errs, fmt.Errorf("%s.%w", key, e))
	}
	return errors.Join(errs...)
}

// Load reads configuration files, a later one over an earlier one: mappings are
// merged key by key, scalars and lists replaced; a layer that a later file gives
// to another protocol loses the settings it had. known are the top-level keys
// that the caller decodes itself, beside data_dir, log, store and layers. No
// file at all is the default configuration.
//
// "~", and environment variables as $NAME or ${NAME}, are expanded in data_dir
// and in keys that end in _file, also where sections are decoded. Relative
// paths there are relative to the file that names them.
//
// The error has every fault that could be found, each a Fault with its place.
func Load(files, known []string) (Config, error) {
	root := &node{kind: mapping, fields: map[string]*node{}}
	for _, file := range files {
		text, err := readConfig(file)
		if err != nil {
			return Config{}, err
		}
		tree, err := parse(file, text)
		if err != nil {
			return Config{}, err
		}
		if root, err = merge(root, tree); err != nil {
			return Config{}, err
		}
	}
	return fromTree(root, known)
}

// LoadText is Load for one file whose text the caller has already. name is what
// faults call it, and where relative paths begin.
func LoadText(name string, text []byte, known []string) (Config, error) {
	if len(text) > MaxConfigFile {
		return Config{}, Fault{File: name, Reason: fmt.Sprintf("has %d bytes, more than %d", len(text), MaxConfigFile)}
	}
	tree, err := parse(name, text)
	if err != nil {
		return Config{}, err
	}
	return fromTree(tree, known)
}

// fromTree decodes what the files amount to.
func fromTree(root *node, known []string) (Config, error) {
	c := DefaultConfig()
	own, errs := c.takeSections(root, known)
	c, err := Decode(Section{settings: own}, c)
	errs = append(errs, err)
	if _, given := root.fields["data_dir"]; !given {
		c.DataDir, err = expandPath("", c.DataDir)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

func readConfig(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, Fault{File: file, Reason: err.Error()}
	}
	if info.Size() > MaxConfigFile {
		return nil, Fault{File: file, Reason: fmt.Sprintf("has %d bytes, more than %d", info.Size(), MaxConfigFile)}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, Fault{File: file, Reason: err.Error()}
	}
	return text, nil
}

// ownKeys are the top-level keys that the kernel decodes.
var ownKeys = []string{"data_dir", "log", "store"}

// takeSections fills the layers and sections of c from root, and returns what
// is left: the kernel's own keys.
func (c *Config) takeSections(root *node, known []string) (*node, []error) {
	var errs []error
	own := &node{kind: mapping, fields: map[string]*node{}}
	c.Layers, c.Sections = map[string]Section{}, map[string]Section{}
	for _, key := range root.keys {
		n := root.fields[key]
		switch {
		case key == "layers":
			errs = append(errs, c.takeLayers(n)...)
		case slices.Contains(known, key):
			if n.kind != mapping && n.kind != null {
				errs = append(errs, n.fault("", "is %s, expected a mapping", n.describe(false)))
				continue
			}
			c.Sections[key] = Section{settings: n}
		case slices.Contains(ownKeys, key):
			own.keys = append(own.keys, key)
			own.fields[key] = n
		default:
			all := slices.Concat(ownKeys, []string{"layers"}, known)
			errs = append(errs, n.fault("", "is no known key; known are %s", strings.Join(all, ", ")))
		}
	}
	return own, errs
}

func (c *Config) takeLayers(layers *node) (errs []error) {
	if layers.kind == null {
		return nil
	}
	if layers.kind != mapping {
		return []error{layers.fault("", "is %s, expected a mapping of slots", layers.describe(false))}
	}
	for _, slot := range layers.keys {
		s, faults := section(layers.fields[slot])
		errs = append(errs, faults...)
		c.Layers[slot] = s
		c.LayerOrder = append(c.LayerOrder, slot)
	}
	return errs
}

// section reads "use" and "settings" of one layer.
func section(n *node) (s Section, errs []error) {
	if n.kind != mapping {
		return s, []error{n.fault("", `is %s, expected a mapping with "use" and "settings"`, n.describe(false))}
	}
	used := false
	s = Section{slot: n, settings: &node{kind: mapping, at: n.at, key: n.key, path: join(n.path, "settings")}}
	for _, key := range n.keys {
		v := n.fields[key]
		switch key {
		case "use":
			if v.kind != scalar || v.text == "" {
				errs = append(errs, v.fault("", "is %s, expected the name of a protocol", v.describe(false)))
			}
			s.Use, used = v.text, true
		case "settings":
			if v.kind != mapping && v.kind != null {
				errs = append(errs, v.fault("", "is %s, expected a mapping", v.describe(false)))
				continue
			}
			s.settings = v
		default:
			errs = append(errs, v.fault("", `is no known key; known are "use" and "settings"`))
		}
	}
	if !used {
		errs = append(errs, n.fault("", `"use" is missing: it names the protocol`))
	}
	return s, errs
}

// expandPath resolves a path of a configuration file.
func expandPath(file, path string) (string, error) {
	var missing []string
	path = os.Expand(path, func(name string) string {
		value, found := os.LookupEnv(name)
		if !found {
			missing = append(missing, name)
		}
		return value
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("environment variable %s is not set", strings.Join(missing, ", "))
	}
	if rest, found := strings.CutPrefix(path, "~"); found && (rest == "" || os.IsPathSeparator(rest[0])) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		return filepath.Join(home, rest), nil
	}
	if path == "" || filepath.IsAbs(path) || file == "" {
		return path, nil
	}
	return filepath.Join(filepath.Dir(file), path), nil
}
