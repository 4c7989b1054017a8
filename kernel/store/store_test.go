package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// opened opens the store in dir, and closes it with the test.
func opened(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	if o.Key.mode == "" {
		o.Key = FileKey()
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func committed(t *testing.T, n *Namespace, records ...Record) {
	t.Helper()
	if err := n.Commit(records); err != nil {
		t.Fatal(err)
	}
}

// holds wants exactly these records in n, in this order, as "key=value".
func holds(t *testing.T, n *Namespace, want ...string) {
	t.Helper()
	if got := scanned(t, n, "", "", false); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", n.name, got, want)
	}
}

func scanned(t *testing.T, n *Namespace, from, to string, reverse bool) (got []string) {
	t.Helper()
	for e, err := range n.Scan(from, to, reverse) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Key+"="+string(e.Value))
	}
	return got
}

func plainRecord(key, value string) Record { return Record{Key: key, Value: []byte(value)} }

func secretRecord(key, value string) Record {
	return Record{Key: key, Value: []byte(value), Secret: true}
}

// refused wants an error that is target, if there is one, and has each text.
func refused(t *testing.T, err, target error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("got %v, want %v", err, target)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestRecordsAreThereAfterReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	s := opened(t, dir, Options{})
	n := s.Namespace("secure")
	committed(t, n, plainRecord("b", "2"), secretRecord("a", "1"), Record{Key: "c", Value: []byte{}}, secretRecord("", "0"))
	committed(t, s.Namespace("overlay"), plainRecord("a", "other"))
	committed(t, n, plainRecord("d", "4"), Record{Key: "b"}, Record{Key: "none"})
	holds(t, n, "=0", "a=1", "c=", "d=4")
	closed(t, s)

	s = opened(t, dir, Options{})
	holds(t, s.Namespace("secure"), "=0", "a=1", "c=", "d=4")
	holds(t, s.Namespace("overlay"), "a=other")
	value, found, err := s.Namespace("secure").Get("c")
	if value == nil || !found || err != nil {
		t.Errorf("an empty value is read as %v, %v, %v", value, found, err)
	}
	if value, found, err := s.Namespace("secure").Get("b"); value != nil || found || err != nil {
		t.Errorf("a removed record is read as %v, %v, %v", value, found, err)
	}
}

func TestSecretMayBecomePlainAndBack(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	n := s.Namespace("x")
	committed(t, n, secretRecord("k", "1"))
	committed(t, n, plainRecord("k", "2"))
	holds(t, n, "k=2")
	committed(t, n, secretRecord("k", "3"), plainRecord("k", "4"), secretRecord("k", "5"))
	holds(t, n, "k=5")
	closed(t, s)
	holds(t, opened(t, dir, Options{}).Namespace("x"), "k=5")
}

func TestKeysAreOrderedBytewise(t *testing.T) {
	n := opened(t, t.TempDir(), Options{}).Namespace("x")
	keys := []string{"a", "a\x00", "a\x00b", "aa", "b", "é", "\xff", "\xff\xff"}
	for _, i := range []int{5, 2, 7, 0, 3, 6, 1, 4} {
		committed(t, n, Record{Key: keys[i], Value: []byte{}})
	}
	for _, tt := range []struct {
		from, to string
		want     []string
	}{
		{"", "", keys}, {"a\x00", "b", keys[1:4]}, {"b", "", keys[4:]}, {"", "a", nil}, {"\xff", "\xff\xff", keys[6:7]}, {"b", "a", nil},
	} {
		for _, reverse := range []bool{false, true} {
			want := slices.Clone(tt.want)
			if reverse {
				slices.Reverse(want)
			}
			var got []string
			for e, err := range n.Scan(tt.from, tt.to, reverse) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Key)
			}
			if !slices.Equal(got, want) {
				t.Errorf("scan from %q to %q, reverse %v: got %q, want %q", tt.from, tt.to, reverse, got, want)
			}
		}
	}
}

func TestLongScanGoesOnOverPages(t *testing.T) {
	n := opened(t, t.TempDir(), Options{}).Namespace("x")
	const count = 3*pageEntries + 7
	var records []Record
	var want []string
	for i := range count {
		key := fmt.Sprintf("%05d", i)
		value := strings.Repeat("v", i%7*2000)
		records = append(records, Record{Key: key, Value: []byte(value), Secret: i%3 == 0})
		want = append(want, key+"="+value)
	}
	committed(t, n, records...)
	holds(t, n, want...)
	slices.Reverse(want)
	if got := scanned(t, n, "", "", true); !slices.Equal(got, want) {
		t.Errorf("downwards %d records were found, want %d in order", len(got), len(want))
	}
}

func TestLoopOfAScanMayCommitAndRead(t *testing.T) {
	n := opened(t, t.TempDir(), Options{}).Namespace("x")
	for i := range 2 * pageEntries {
		committed(t, n, plainRecord(fmt.Sprintf("%05d", i), "old"))
	}
	seen := 0
	for e, err := range n.Scan("", "", false) {
		if err != nil {
			t.Fatal(err)
		}
		committed(t, n, plainRecord(e.Key, "new"), Record{Key: fmt.Sprintf("%05d", 2*pageEntries-1)})
		if value, _, err := n.Get(e.Key); string(value) != "new" || err != nil {
			t.Fatalf("within the scan %s is %q, %v", e.Key, value, err)
		}
		seen++
	}
	if want := 2*pageEntries - 1; seen != want {
		t.Errorf("saw %d records, want the %d that were there all along", seen, want)
	}
}

func TestScanMayBeLeft(t *testing.T) {
	n := opened(t, t.TempDir(), Options{}).Namespace("x")
	committed(t, n, plainRecord("a", ""), plainRecord("b", ""))
	for range n.Scan("", "", false) {
		break
	}
	committed(t, n, plainRecord("c", ""))
	holds(t, n, "a=", "b=", "c=")
}

func TestCommitIsAllOrNothing(t *testing.T) {
	n := opened(t, t.TempDir(), Options{}).Namespace("x")
	refused(t, n.Commit([]Record{plainRecord("a", "1"), plainRecord(strings.Repeat("k", MaxKey+1), "2")}), nil, "commit to x", "1025 bytes, more than 1024")
	refused(t, n.Commit([]Record{plainRecord("a", "1"), {Key: "b", Value: make([]byte, MaxValue+1)}}), nil, `value of "b" has 16777217 bytes, more than 16777216`)
	holds(t, n)
	committed(t, n, Record{Key: strings.Repeat("k", MaxKey), Value: bytes.Repeat([]byte("v"), MaxValue), Secret: true})
	if value, _, err := n.Get(strings.Repeat("k", MaxKey)); len(value) != MaxValue || err != nil {
		t.Errorf("the longest value came back with %d bytes, %v", len(value), err)
	}
}

func TestNamespaceNeedsAName(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	for _, name := range []string{"", strings.Repeat("n", MaxNamespace+1)} {
		refused(t, s.Namespace(name).Commit([]Record{plainRecord("a", "")}), nil, "not 1 to 64")
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	n := s.Namespace("x")
	closed(t, s)
	closed(t, s)
	refused(t, n.Commit([]Record{plainRecord("a", "")}), ErrClosed)
	_, _, err := n.Get("a")
	refused(t, err, ErrClosed)
	for _, err := range n.Scan("", "", false) {
		refused(t, err, ErrClosed)
	}
}

func TestFolderIsUsedByOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	_, err := Open(dir, Options{Key: FileKey()})
	refused(t, err, ErrLocked, dir, fmt.Sprintf("pid %d", os.Getpid()))
	refused(t, ChangePassphrase(dir, FileKey(), PassphraseKey([]byte("x")), MinScryptN), ErrLocked)
	closed(t, s)
	opened(t, dir, Options{})
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := opened(t, dir, Options{})
	committed(t, s.Namespace("x"), secretRecord("a", "1"))
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
		names = append(names, f.Name())
	}
	if want := []string{"LOCK", "db.key", "generation", "strata.db", "strata.db-wal"}; !slices.Equal(names, want) {
		t.Errorf("the folder has %v, want %v", names, want)
	}
}

func TestNothingIsInTheClear(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{Key: PassphraseKey([]byte("canary-passphrase")), ScryptN: MinScryptN})
	n := s.Namespace("canary-namespace")
	search := func(when string) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			content, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if i := bytes.Index(content, []byte("canary")); i >= 0 {
				t.Errorf("%s: %s has %q at %d", when, f.Name(), content[i:min(i+20, len(content))], i)
			}
			if f.Name() != lockName && f.Name() != keyName && bytes.Contains(content, []byte("SQLite format")) {
				t.Errorf("%s: %s is not encrypted", when, f.Name())
			}
		}
	}
	for i := range 50 {
		committed(t, n, secretRecord(fmt.Sprintf("canary-key-%d", i), "canary-secret"), plainRecord(fmt.Sprintf("canary-plain-%d", i), strings.Repeat("canary-value", 500)))
	}
	search("in the WAL")
	if _, _, err := s.db.conn.WALCheckpoint("", 3); err != nil {
		t.Fatal(err)
	}
	search("in the database")
	closed(t, s)
	search("closed")
}

func TestSealsOfEqualValuesDiffer(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	a := s.seal.record("x", "k", 1, []byte("value"))
	if b := s.seal.record("x", "k", 1, []byte("value")); bytes.Equal(a, b) {
		t.Error("two seals are the same")
	}
	for _, tt := range []struct {
		ns, key string
		counter uint64
	}{{"y", "k", 1}, {"x", "l", 1}, {"x", "k", 2}, {"xk", "", 1}} {
		if _, err := s.seal.open(tt.ns, tt.key, tt.counter, a); !errors.Is(err, ErrRolledBack) {
			t.Errorf("a seal opens as %+v: %v", tt, err)
		}
	}
	if v, err := s.seal.open("x", "k", 1, a); string(v) != "value" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	if err := s.db.conn.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	_, err := Open(dir, Options{Key: FileKey()})
	refused(t, err, ErrVersion, "schema 99, known is 1")
}

func TestMigrationsGoForwardAndKeepRecords(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	committed(t, s.Namespace("x"), plainRecord("a", "1"))
	further := append(slices.Clone(migrations), "CREATE TABLE more (a)", "INSERT INTO more VALUES (1);")
	for range 2 { // the second time there is nothing to do
		if err := s.db.migrate(further); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.db.version(); v != 3 || err != nil {
		t.Errorf("schema is %d, %v", v, err)
	}
	holds(t, s.Namespace("x"), "a=1")

	broken := append(further, "CREATE TABLE again (a)", "CREATE TABLE again (a)")
	if err := s.db.migrate(broken); err == nil || !strings.Contains(err.Error(), "migration to schema 5") {
		t.Errorf("got %v", err)
	}
	s.db.undo()
	if v, err := s.db.version(); v != 4 || err != nil {
		t.Errorf("after a migration that fails the schema is %d, %v", v, err)
	}
}
