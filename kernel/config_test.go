package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is a configuration as a layer has one.
type sample struct {
	RetransmitAfter time.Duration     `yaml:"retransmit_after" comment:"wait for an acknowledgement"`
	MaxAttempts     int               `yaml:"max_attempts" comment:"then the message has failed"`
	Level           uint8             `yaml:"level"`
	Share           float64           `yaml:"share"`
	Relay           bool              `yaml:"relay"`
	Password        string            `yaml:"password" secret:"true"`
	PinFile         string            `yaml:"pin_file"`
	Peers           []string          `yaml:"peers"`
	Waits           []time.Duration   `yaml:"waits"`
	Limits          map[string]int    `yaml:"limits"`
	Inner           inner             `yaml:"inner" comment:"what is inside"`
	Named           map[string]inner  `yaml:"named"`
	Extra           map[string]string `yaml:"-"`
}

type inner struct {
	Depth int    `yaml:"depth" comment:"how deep"`
	Name  string `yaml:"name"`
}

func defaultSample() sample {
	return sample{
		RetransmitAfter: 5 * time.Second, MaxAttempts: 10, Level: 1, Share: 0.5,
		Peers: []string{"a", "b"}, Waits: []time.Duration{time.Second, 90 * time.Minute},
		Limits: map[string]int{"x": 1}, Inner: inner{Depth: 2, Name: "no: body, [really]"},
		Named: map[string]inner{"one": {1, "uno"}},
	}
}

func (s sample) Validate() error {
	var errs []error
	if s.RetransmitAfter < time.Second {
		errs = append(errs, fmt.Errorf("retransmit_after: %v is below 1s", s.RetransmitAfter))
	}
	if s.MaxAttempts < 1 {
		errs = append(errs, fmt.Errorf("max_attempts: %d is below 1", s.MaxAttempts))
	}
	for i, p := range s.Peers {
		if p == "" {
			errs = append(errs, fmt.Errorf("peers[%d]: is empty", i))
		}
	}
	if s.Inner.Depth > 10 {
		errs = append(errs, fmt.Errorf("mvds: inner.depth: %d is above 10", s.Inner.Depth))
	}
	if s.Level == 0 && s.Relay {
		errs = append(errs, errors.New("a relay needs a level"))
	}
	return errors.Join(errs...)
}

// load writes texts to files a.yaml, b.yaml, … and loads them. Section datasync
// is decoded too. Errors name the files without their folder.
func load(t *testing.T, texts ...string) (Config, sample, error) {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, text := range texts {
		file := filepath.Join(dir, string(rune('a'+i))+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	c, err := Load(files, []string{"api"})
	s := defaultSample()
	if err == nil {
		s, err = Decode(c.Layers["datasync"], s)
	}
	return c, s, trimmed(err, dir)
}

func trimmed(err error, dir string) error {
	var errs []error
	for _, e := range parts(err) {
		f, ok := e.(Fault)
		if !ok {
			return fmt.Errorf("not a Fault: %w", e)
		}
		f.File = strings.TrimPrefix(f.File, dir+string(filepath.Separator))
		f.Reason = strings.ReplaceAll(f.Reason, dir+string(filepath.Separator), "")
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

const head = "layers:\n  datasync:\n    use: mvds\n    settings:\n"

func TestEveryFaultIsReportedWithItsPlace(t *testing.T) {
	const at = "layers.datasync.settings."
	tests := []struct {
		name  string
		files []string
		want  []string // each error begins with one of these, in this order
	}{
		{"unknown top-level key", []string{"data_dir: x\nlayer: {}\n"}, []string{"a.yaml:2:1: layer: is no known key; known are data_dir, log, store, layers, api"}},
		{"unknown key of the kernel", []string{"log: {levle: info}\n"}, []string{"a.yaml:1:7: log.levle: is no known key; known are level, format"}},
		{"bad value of the kernel", []string{"log:\n  level: loud\nstore:\n  key: none\n  scrypt_n: 1000\n"}, []string{
			`a.yaml:2:3: log.level: "loud" is none of debug, info, warn, error`,
			`a.yaml:4:3: store.key: "none" is none of passphrase, file`,
			`a.yaml:5:3: store.scrypt_n: 1000 is no power of two from 4096 to 1048576`}},
		{"unknown setting", []string{head + "      retransmit: 5s\n"}, []string{"a.yaml:5:7: " + at + "retransmit: is no known key; known are retransmit_after, max_attempts, "}},
		{"unknown setting inside", []string{head + "      inner:\n        dept: 5\n"}, []string{"a.yaml:6:9: " + at + "inner.dept: is no known key; known are depth, name"}},
		{"unknown setting inside a map", []string{head + "      named:\n        two: {x: 5}\n"}, []string{"a.yaml:6:15: " + at + "named.two.x: is no known key"}},
		{"duration without unit", []string{head + "      retransmit_after: 5\n"}, []string{"a.yaml:5:7: " + at + "retransmit_after: is 5 without a unit, expected a duration with a unit, such as 300ms, 5s, 10m or 24h: did you mean 5s?"}},
		{"bad duration", []string{head + "      retransmit_after: soon\n"}, []string{"a.yaml:5:7: " + at + "retransmit_after: is soon, expected a duration with a unit"}},
		{"duration in a list", []string{head + "      waits: [1s, 2]\n"}, []string{"a.yaml:5:19: " + at + "waits[1]: is 2 without a unit"}},
		{"text for a number", []string{head + "      max_attempts: many\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: is many, expected a whole number"}},
		{"quoted number", []string{head + "      max_attempts: \"5\"\n"}, []string{"a.yaml:5:7: " + at + `max_attempts: is "5", expected a whole number`}},
		{"fraction", []string{head + "      max_attempts: 1.5\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: is 1.5, expected a whole number"}},
		{"leading zero", []string{head + "      max_attempts: 010\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: is 010, expected a whole number"}},
		{"too large", []string{head + "      level: 256\n"}, []string{"a.yaml:5:7: " + at + "level: is 256, expected a whole number from 0 to 255"}},
		{"below zero", []string{head + "      level: -1\n"}, []string{"a.yaml:5:7: " + at + "level: is -1, expected a whole number from 0 to 255"}},
		{"huge", []string{head + "      max_attempts: 99999999999999999999\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: is 99999999999999999999, expected a whole number from -9223372036854775808 to 9223372036854775807"}},
		{"text for a switch", []string{head + "      relay: yes\n"}, []string{"a.yaml:5:7: " + at + "relay: is yes, expected true or false"}},
		{"no number", []string{head + "      share: .nan\n"}, []string{"a.yaml:5:7: " + at + "share: is .nan, expected a number"}},
		{"text for a list", []string{head + "      peers: a\n"}, []string{"a.yaml:5:7: " + at + "peers: is a, expected a list"}},
		{"list for a text", []string{head + "      pin_file: [a]\n"}, []string{"a.yaml:5:7: " + at + "pin_file: is a list, expected a text"}},
		{"empty value", []string{head + "      max_attempts:\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: is empty, expected a whole number"}},
		{"secret is not shown", []string{head + "      password: {hunter2: x}\n"}, []string{"a.yaml:5:7: " + at + "password: is a mapping, expected a text"}},
		{"refused by Validate", []string{head + "      max_attempts: 0\n      retransmit_after: 1ms\n      inner: {depth: 11}\n      peers: [a, '']\n"}, []string{
			"a.yaml:6:7: " + at + "retransmit_after: 1ms is below 1s",
			"a.yaml:5:7: " + at + "max_attempts: 0 is below 1",
			"a.yaml:8:18: " + at + "peers[1]: is empty",
			"a.yaml:7:15: " + at + "inner.depth: 11 is above 10"}},
		{"refused as a whole", []string{head + "      level: 0\n      relay: true\n"}, []string{"a.yaml:4:5: layers.datasync.settings: a relay needs a level"}},
		{"several at once", []string{head + "      max_attempts: x\n      bogus: 1\n      relay: 3\n"}, []string{
			"a.yaml:5:7: " + at + "max_attempts: ", "a.yaml:6:7: " + at + "bogus: ", "a.yaml:7:7: " + at + "relay: "}},
		{"in the second file", []string{head + "      max_attempts: 3\n", "# over it\n\n" + head + "      max_attempts: 0\n"}, []string{"b.yaml:7:7: " + at + "max_attempts: 0 is below 1"}},
		{"in the first of two files", []string{head + "      max_attempts: 0\n", head + "      level: 3\n"}, []string{"a.yaml:5:7: " + at + "max_attempts: 0 is below 1"}},
		{"in both files", []string{head + "      bogus: 0\n", head + "      level: 300\n"}, []string{"a.yaml:5:7: " + at + "bogus: ", "b.yaml:5:7: " + at + "level: "}},
		{"mapping over a scalar", []string{head + "      peers: [a]\n", head + "      peers: {a: b}\n"}, []string{"b.yaml:5:7: " + at + "peers: is a mapping here and a list in a.yaml:5"}},
		{"layer without use", []string{"layers:\n  datasync: {}\n"}, []string{`a.yaml:2:3: layers.datasync: "use" is missing`}},
		{"layer that is a name", []string{"layers:\n  datasync: mvds\n"}, []string{`a.yaml:2:3: layers.datasync: is mvds, expected a mapping with "use" and "settings"`}},
		{"layer with an unknown key", []string{"layers:\n  datasync: {use: mvds, setting: {}}\n"}, []string{`a.yaml:2:25: layers.datasync.setting: is no known key; known are "use" and "settings"`}},
		{"layers that are a list", []string{"layers: [mvds]\n"}, []string{"a.yaml:1:1: layers: is a list, expected a mapping of slots"}},
		{"section that is a list", []string{"api: [ipc]\n"}, []string{"a.yaml:1:1: api: is a list, expected a mapping"}},
		{"file that is a list", []string{"- a\n"}, []string{"a.yaml:1:1: is a list"}},
		{"key twice", []string{head + "      level: 1\n      level: 2\n"}, []string{"a.yaml:6:7: "}},
		{"tab", []string{"layers:\n\tdatasync:\n\t\tuse: mvds\n"}, []string{"a.yaml:2:1: "}},
		{"bracket left open", []string{"log: {level: info\n"}, []string{"a.yaml:1:6: "}},
		{"alias", []string{"log: &x {level: info}\nstore: *x\n"}, []string{"a.yaml:1:6: anchors, aliases and merge keys are not allowed"}},
		{"alias bomb", []string{"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\n"}, []string{"a.yaml:1:4: anchors, aliases"}},
		{"merge key", []string{"log:\n  <<: {level: info}\n"}, []string{"a.yaml:2:3: anchors, aliases"}},
		{"tag", []string{"log: !!map {}\n"}, []string{"a.yaml:1:6: tags are not allowed"}},
		{"nested flow", []string{"api: {x: " + strings.Repeat("[", 100_000)}, []string{"a.yaml:1:41: nested deeper than 32"}},
		{"nested entries", []string{"api:\n  " + strings.Repeat("- ", 100_000)}, []string{"a.yaml:2:67: nested deeper than 32"}},
		{"two documents", []string{"data_dir: x\n---\ndata_dir: y\n"}, []string{"a.yaml:3:"}},
		{"too long", []string{"# " + strings.Repeat("x", MaxConfigFile)}, []string{"a.yaml: has 1048578 bytes, more than 1048576"}},
		{"unset variable", []string{"data_dir: $STRATA_TEST_UNSET/x\n"}, []string{"a.yaml:1:1: data_dir: environment variable STRATA_TEST_UNSET is not set"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := load(t, tt.files...)
			got := parts(err)
			if len(got) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(got), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i].Error(), want) {
					t.Errorf("fault %d:\ngot  %v\nwant %v…", i, got[i], want)
				}
				if strings.Contains(got[i].Error(), "hunter2") {
					t.Errorf("fault %d shows a secret: %v", i, got[i])
				}
			}
		})
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.yaml")
	_, err := Load([]string{file}, nil)
	if want := file + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLaterFileIsMergedOverEarlier(t *testing.T) {
	c, s, err := load(t,
		"data_dir: /one\nlog: {level: debug}\n"+head+"      max_attempts: 3\n      peers: [x, y, z]\n      limits: {x: 2, y: 3}\n      inner: {name: first}\n",
		"log: {format: json}\nlayers:\n  overlay: {use: devp2p}\n  datasync:\n    settings:\n      peers: [q]\n      limits: {y: 4}\n      inner: {depth: 7}\n",
		"data_dir: /three\nlog:\n")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultSample()
	want.MaxAttempts, want.Peers = 3, []string{"q"}
	want.Limits, want.Inner = map[string]int{"x": 2, "y": 4}, inner{7, "first"}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	if c.DataDir != "/three" || c.Log != (LogConfig{"debug", "json"}) {
		t.Errorf("got data_dir %s and log %+v", c.DataDir, c.Log)
	}
	if want := []string{"datasync", "overlay"}; !slices.Equal(c.LayerOrder, want) {
		t.Errorf("order of layers: got %v, want %v", c.LayerOrder, want)
	}
}

func TestLayerGivenToAnotherProtocolLosesItsSettings(t *testing.T) {
	c, _, err := load(t, "layers:\n  transport:\n    use: whisper\n    settings: {min_pow: 0.002}\n",
		"layers:\n  transport:\n    use: plugin\n    settings: {level: 3}\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(c.Layers["transport"], defaultSample())
	if err != nil || s.Level != 3 || c.Layers["transport"].Use != "plugin" {
		t.Errorf("got use %q, level %d, %v", c.Layers["transport"].Use, s.Level, err)
	}
}

func TestDefaultsHoldWhereTheFileIsSilent(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "layers:\n", "layers:\n  datasync: {use: mvds}\n", "layers:\n  datasync:\n    use: mvds\n    settings:\n"} {
		c, s, err := load(t, text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if !reflect.DeepEqual(s, defaultSample()) {
			t.Errorf("%q: got %+v", text, s)
		}
		if want := DefaultConfig(); c.Log != want.Log || c.Store != want.Store {
			t.Errorf("%q: got %+v", text, c)
		}
	}
}

func TestDecodeLeavesTheDefaultsAlone(t *testing.T) {
	c, _, err := load(t, head+"      limits: {x: 9}\n      named: {one: {depth: 9}}\n      peers: [c]\n")
	if err != nil {
		t.Fatal(err)
	}
	defaults := defaultSample()
	s, err := Decode(c.Layers["datasync"], defaults)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(defaults, defaultSample()) {
		t.Errorf("defaults became %+v", defaults)
	}
	if want := (inner{9, "uno"}); s.Named["one"] != want || s.Limits["x"] != 9 {
		t.Errorf("got %+v, %v", s.Named, s.Limits)
	}
}

func TestPathsAreExpandedWhereTheyAreNamed(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("STRATA_TEST_DIR", "/srv")
	for path, want := range map[string]string{
		"~/x": "/home/ada/x", "~": "/home/ada", "$STRATA_TEST_DIR/x": "/srv/x", "${STRATA_TEST_DIR}x": "/srvx",
		"/abs/x": "/abs/x", "~ada/x": "DIR/~ada/x", "x/y": "DIR/x/y", "../y": "PARENT/y", "": "",
	} {
		c, s, err := load(t, fmt.Sprintf("store: {passphrase_file: %q}\n%s      pin_file: %q\n      password: %q\n", path, head, path, path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		dir := filepath.Dir(c.Layers["datasync"].settings.at.file)
		want = strings.NewReplacer("DIR", dir, "PARENT", filepath.Dir(dir)).Replace(want)
		if c.Store.PassphraseFile != want || s.PinFile != want {
			t.Errorf("%s: got %s and %s, want %s", path, c.Store.PassphraseFile, s.PinFile, want)
		}
		if s.Password != path {
			t.Errorf("%s: a text that is no path became %s", path, s.Password)
		}
	}
	c, err := Load(nil, nil)
	if want := "/home/ada/.strata"; err != nil || c.DataDir != want {
		t.Errorf("without a file: got %s, %v, want %s", c.DataDir, err, want)
	}
}

func TestSectionsOfEdgesAreCarriedUndecoded(t *testing.T) {
	c, _, err := load(t, "api:\n  level: 7\n  inner: {name: x}\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(c.Sections["api"], defaultSample())
	if err != nil || s.Level != 7 || s.Inner.Name != "x" {
		t.Errorf("got %+v, %v", s, err)
	}
	err = trimmed(c.Sections["api"].Fault("inner.name", "is taken"), filepath.Dir(c.Sections["api"].settings.at.file))
	if want := "a.yaml:3:11: api.inner.name: is taken"; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// FuzzLoad wants no panic from any file, and from one that is not taken a Fault
// for every error.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{head + "      max_attempts: 3\n      peers: [a, {b: c}]\n", "log: {level: info}\n", "a: |\n  x\n? b\n: c\n", "- - a\n", "\t", "---\n...\n---\n", "api: {? x : y}", "x: 'a\n\n  b'", "%YAML 1.2\n---\n", "a: !!int 3", "{a: &b c, d: *b}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, _, err := load(t, text); err != nil {
			for _, e := range parts(err) {
				if _, ok := e.(Fault); !ok {
					t.Errorf("%v is a %T", e, e)
				}
			}
		}
	})
}
