package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func passphrase(p string) Options {
	return Options{Key: PassphraseKey([]byte(p)), ScryptN: MinScryptN}
}

func TestWrongPassphraseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, passphrase("right"))
	committed(t, s.Namespace("x"), plainRecord("a", "1"))
	closed(t, s)
	_, err := Open(dir, passphrase("wrong"))
	refused(t, err, ErrPassphrase, dir)
	if strings.Contains(err.Error(), "wrong\"") || strings.Contains(err.Error(), "right") {
		t.Errorf("error shows a passphrase: %v", err)
	}
	holds(t, opened(t, dir, passphrase("right")).Namespace("x"), "a=1")
}

func TestKeyIsOpenedTheWayItIsKept(t *testing.T) {
	for _, tt := range []struct{ kept, asked Options }{
		{passphrase("p"), Options{Key: FileKey()}}, {Options{Key: FileKey()}, passphrase("p")},
	} {
		dir := t.TempDir()
		closed(t, opened(t, dir, tt.kept))
		_, err := Open(dir, tt.asked)
		refused(t, err, ErrKeyMode, fmt.Sprintf("says %q, asked for is %q (setting store.key)", tt.kept.Key.mode, tt.asked.Key.mode))
	}
}

func TestKeyMustBeGiven(t *testing.T) {
	for want, o := range map[string]Options{
		"no key is given":         {},
		"the passphrase is empty": passphrase(""),
		"scrypt_n: 1000 is no power of two from 4096 to 1048576": {Key: FileKey(), ScryptN: 1000},
		"scrypt_n: 2048 is no power of two":                      {Key: FileKey(), ScryptN: 2048},
		"scrypt_n: 2097152 is no power of two":                   {Key: FileKey(), ScryptN: 2 << 20},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		_, err := Open(dir, o)
		refused(t, err, nil, want)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: the folder was made all the same", want)
		}
	}
}

func TestPassphraseIsNotPrinted(t *testing.T) {
	k := PassphraseKey([]byte("hunter2"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{k, Options{Key: k}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "hunter2") || strings.Contains(text, "104 117") || strings.Contains(text, "0x68, 0x75") {
				t.Errorf("%s of %T shows it: %s", verb, v, text)
			}
		}
	}
}

func TestPassphraseIsChangedWithoutTouchingTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, passphrase("one"))
	committed(t, s.Namespace("x"), secretRecord("a", "1"))
	closed(t, s)
	before, err := os.ReadFile(filepath.Join(dir, databaseName))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, ChangePassphrase(dir, PassphraseKey([]byte("no")), PassphraseKey([]byte("two")), MinScryptN), ErrPassphrase)
	refused(t, ChangePassphrase(dir, PassphraseKey([]byte("one")), PassphraseKey(nil), MinScryptN), nil, "the passphrase is empty")
	refused(t, ChangePassphrase(t.TempDir(), FileKey(), FileKey(), 0), os.ErrNotExist)
	keys := []Key{PassphraseKey([]byte("one")), PassphraseKey([]byte("two")), FileKey(), PassphraseKey([]byte("three"))}
	for i := range len(keys) - 1 {
		if err := ChangePassphrase(dir, keys[i], keys[i+1], MinScryptN); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{Key: keys[i]}); err == nil {
			t.Errorf("key %d still opens", i)
		}
		s := opened(t, dir, Options{Key: keys[i+1]})
		holds(t, s.Namespace("x"), "a=1")
		closed(t, s)
	}
	if after, err := os.ReadFile(filepath.Join(dir, databaseName)); err != nil || string(after) != string(before) {
		t.Errorf("the database changed, %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, ".*")); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestDamagedKeyFileIsNamed(t *testing.T) {
	change := func(edit func(map[string]any)) func([]byte) []byte {
		return func(text []byte) []byte {
			var m map[string]any
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			edit(m)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	for want, edit := range map[string]func([]byte) []byte{
		"unexpected end of JSON input":                            func(b []byte) []byte { return b[:len(b)/2] },
		"db.key is damaged (put back a copy of it)":               func(b []byte) []byte { return nil },
		"longer than 4096 bytes":                                  func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
		"version is 0":                                            change(func(m map[string]any) { delete(m, "version") }),
		`mode is "open"`:                                          change(func(m map[string]any) { m["mode"] = "open" }),
		"scrypt_n: 1073741824 is no power of two from":            change(func(m map[string]any) { m["scrypt_n"] = 1 << 30 }),
		"scrypt_r and scrypt_p are 1000000 and 1, not 8 and 1":    change(func(m map[string]any) { m["scrypt_r"] = 1_000_000 }),
		"salt, nonce or key is too short or too long":             change(func(m map[string]any) { m["key"] = "00" }),
		"db.key: written by a newer version: version 2, known is": change(func(m map[string]any) { m["version"] = 2 }),
	} {
		dir := t.TempDir()
		closed(t, opened(t, dir, passphrase("p")))
		path := filepath.Join(dir, keyName)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, edit(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(dir, passphrase("p"))
		refused(t, err, nil, want)
	}
}

func TestMissingKeyIsNotMadeAnew(t *testing.T) {
	for _, name := range []string{databaseName, databaseName + "-wal", generationName} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, Options{Key: FileKey()})
		refused(t, err, nil, "db.key is missing, but there is "+name)
		if _, err := os.Stat(filepath.Join(dir, keyName)); !os.IsNotExist(err) {
			t.Errorf("%s: a key was made", name)
		}
	}
}

func TestOpenKeyFileSaysThatItIsOpen(t *testing.T) {
	dir := t.TempDir()
	closed(t, opened(t, dir, Options{Key: FileKey()}))
	text, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil || !strings.Contains(string(text), `"mode": "file"`) || !strings.Contains(string(text), "not wrapped") {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestForeignDatabaseIsSaidToBeDamaged(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		closed(t, opened(t, d, Options{Key: FileKey()}))
	}
	copied(t, filepath.Join(other, databaseName), filepath.Join(dir, databaseName))
	_, err := Open(dir, Options{Key: FileKey()})
	refused(t, err, nil, "strata.db is damaged, or db.key is not its key")
	if key, _ := readKey(filepath.Join(dir, keyName), FileKey()); strings.Contains(err.Error(), fmt.Sprintf("%x", key)) {
		t.Errorf("error shows the key: %v", err)
	}
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
