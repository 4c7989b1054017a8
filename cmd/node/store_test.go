package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
)

// vault is a data folder with a chat key under a passphrase, and what one needs
// to run a node on it.
type vault struct {
	dir, config string
	key         string
}

func newVault(t *testing.T) *vault {
	t.Helper()
	dir := shortDir(t)
	v := &vault{dir: filepath.Join(dir, "data"), config: filepath.Join(dir, "node.yaml")}
	v.configure(t, "right")
	v.key = v.show(t)
	return v
}

// configure writes a configuration whose passphrase is phrase; none if it is
// empty.
func (v *vault) configure(t *testing.T, phrase string) {
	t.Helper()
	file := ""
	if phrase != "" {
		file = ", passphrase_file: " + write(t, v.config+".pass", phrase+"\n")
	}
	write(t, v.config, fmt.Sprintf(`
data_dir: %s
store: {key: passphrase, scrypt_n: %d%s}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`, v.dir, store.MinScryptN, file))
}

// show returns the chat key, which is drawn at the first call.
func (v *vault) show(t *testing.T) string {
	t.Helper()
	verb := "show"
	if v.key == "" {
		verb = "new"
	}
	code, out, errOut := command(t, "key", verb, "--json", "-c", v.config)
	var key struct{ Key layers.PublicKey }
	if err := json.Unmarshal([]byte(out), &key); err != nil || code != exitOK || key.Key.IsZero() {
		t.Fatalf("key %s: code %d, %v, %s%s", verb, code, err, out, errOut)
	}
	return key.Key.String()
}

// open boots a node with the right passphrase, and stops it.
func (v *vault) open(t *testing.T) {
	t.Helper()
	n := v.boot(t)
	defer n.stop()
	if got := n.keys.identity.Public().String(); got != v.key {
		t.Errorf("the chat key is %s now, was %s", got, v.key)
	}
	n.healthy(t)
}

func (v *vault) boot(t *testing.T) *party {
	t.Helper()
	cfg, err := (&fileFlags{files: []string{v.config}}).load()
	if err != nil {
		t.Fatal(err)
	}
	n, err := bootParty(cfg, store.PassphraseKey([]byte("right")), bootOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// refuses runs the program on the folder, which must fail and say why.
func (v *vault) refuses(t *testing.T, code int, why string) {
	t.Helper()
	for _, args := range [][]string{{"run", "-c", v.config}, {"key", "show", "--secret", "-c", v.config}} {
		got, out, errOut := runStrata(t, args...)
		if got != code || out != "" || !strings.Contains(errOut, why) {
			t.Errorf("%s: code %d, printed %q and %q, want code %d and %q", args[0], got, out, errOut, code, why)
		}
		if strings.Contains(errOut, "goroutine ") {
			t.Errorf("%s ended by a panic", args[0])
		}
	}
}

func TestWrongPassphraseOpensNothing(t *testing.T) {
	v := newVault(t)
	v.configure(t, "wrong")
	v.refuses(t, exitFailed, store.ErrPassphrase.Error())
	v.configure(t, "right")
	v.open(t)
}

func TestNodeWithoutPassphraseOrTerminalDoesNotStart(t *testing.T) {
	v := newVault(t)
	v.configure(t, "")
	v.refuses(t, exitMisused, "no passphrase: set store.passphrase_file or the environment variable STRATA_PASSPHRASE")
	v.configure(t, "right")
	v.open(t)
}

func TestDataFolderIsUsedByOneNode(t *testing.T) {
	v := newVault(t)
	n := v.boot(t)
	v.refuses(t, exitFailed, store.ErrLocked.Error())
	n.healthy(t)
	n.stop()
	v.open(t)
}

func TestRolledBackDatabaseIsNotUsed(t *testing.T) {
	v := newVault(t)
	v.open(t)
	old := v.database(t)
	v.change(t)
	latest := v.database(t)
	v.restore(t, old)
	v.refuses(t, exitFailed, store.ErrRolledBack.Error())
	v.restore(t, latest)
	v.open(t)
}

// change replaces a secret record, as every message does.
func (v *vault) change(t *testing.T) {
	t.Helper()
	s, err := store.Open(v.dir, store.Options{Key: store.PassphraseKey([]byte("right"))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key, err := layers.GenerateKey(zeroOne{})
	if err != nil {
		t.Fatal(err)
	}
	if err := saveKey(s, "another", key); err != nil {
		t.Fatal(err)
	}
}

// database returns the files of the database of a closed folder.
func (v *vault) database(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(v.dir, "strata.db*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%q: %v", names, err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func (v *vault) restore(t *testing.T, files map[string][]byte) {
	t.Helper()
	for name := range v.database(t) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		write(t, name, string(content))
	}
}
