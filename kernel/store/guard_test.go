package store

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"pgregory.net/rapid"
)

// meddled makes a store with three secret records, lets meddle change it below
// the store, and returns its folder.
func meddled(t *testing.T, meddle func(s *Store)) string {
	t.Helper()
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	n := s.Namespace("secure")
	committed(t, n, secretRecord("a", "1"), secretRecord("b", "1"), plainRecord("p", "1"))
	committed(t, n, secretRecord("b", "2"), secretRecord("c", "1"))
	meddle(s)
	closed(t, s)
	return dir
}

func run(t *testing.T, s *Store, sql string, args ...any) {
	t.Helper()
	q, _, err := s.db.conn.Prepare(sql)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for i, a := range args {
		switch a := a.(type) {
		case []byte:
			err = q.BindBlob(i+1, a)
		case int64:
			err = q.BindInt64(i+1, a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Exec(); err != nil {
		t.Fatal(err)
	}
}

func row(t *testing.T, s *Store, key string) (value []byte, seal int64) {
	t.Helper()
	q, _, err := s.db.conn.Prepare("SELECT value, seal FROM record WHERE key = ?")
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.BindBlob(1, []byte(key)); err != nil || !q.Step() {
		t.Fatal(err, q.Err())
	}
	return q.ColumnBlob(0, nil), q.ColumnInt64(1)
}

func rootRow(t *testing.T, s *Store) []byte {
	t.Helper()
	defer s.db.getRoot.Reset()
	if !s.db.getRoot.Step() {
		t.Fatal("no root")
	}
	return s.db.getRoot.ColumnBlob(0, nil)
}

func TestRolledBackRecordsAreNoticed(t *testing.T) {
	tests := []struct {
		name   string
		meddle func(t *testing.T, s *Store)
		want   string
	}{
		{"an older record", func(t *testing.T, s *Store) {
			value, seal := row(t, s, "b")
			committed(t, s.Namespace("secure"), secretRecord("b", "3"))
			run(t, s, "UPDATE record SET value = ?, seal = ? WHERE key = x'62'", value, seal)
		}, "namespace secure has 3 secret records as it should, but not of the same time"},
		{"a removed record", func(t *testing.T, s *Store) {
			run(t, s, "DELETE FROM record WHERE key = x'62'")
		}, "namespace secure has 2 secret records, the root record says 3"},
		{"a record that comes back", func(t *testing.T, s *Store) {
			value, seal := row(t, s, "b")
			committed(t, s.Namespace("secure"), Record{Key: "b"})
			run(t, s, "INSERT INTO record VALUES ('secure', x'62', ?, ?)", value, seal)
		}, "namespace secure has 3 secret records, the root record says 2"},
		{"the last record comes back", func(t *testing.T, s *Store) {
			value, seal := row(t, s, "a")
			committed(t, s.Namespace("secure"), Record{Key: "a"}, Record{Key: "b"}, Record{Key: "c"})
			run(t, s, "INSERT INTO record VALUES ('secure', x'61', ?, ?)", value, seal)
		}, "namespace secure has 1 secret records, the root record says 0"},
		{"two records that changed places", func(t *testing.T, s *Store) {
			a, sealA := row(t, s, "a")
			c, sealC := row(t, s, "c")
			run(t, s, "UPDATE record SET value = ?, seal = ? WHERE key = x'61'", c, sealC)
			run(t, s, "UPDATE record SET value = ?, seal = ? WHERE key = x'63'", a, sealA)
		}, "but not of the same time"},
		{"a secret made plain", func(t *testing.T, s *Store) {
			run(t, s, "UPDATE record SET value = x'00', seal = NULL WHERE key = x'61'")
		}, "namespace secure has 2 secret records, the root record says 3"},
		{"an older root", func(t *testing.T, s *Store) {
			root := rootRow(t, s)
			committed(t, s.Namespace("secure"), secretRecord("b", "3"))
			s.side.Truncate(0)
			run(t, s, "UPDATE root SET sealed = ?", root)
		}, "namespace secure has a record of generation 7, the root record is of 5"},
		{"a root of zeros", func(t *testing.T, s *Store) {
			run(t, s, "UPDATE root SET sealed = zeroblob(200)")
		}, "the root record does not open"},
		{"no root", func(t *testing.T, s *Store) {
			s.side.Truncate(0)
			run(t, s, "DELETE FROM root")
		}, "there is no root record, but the generation is 0 and 1 namespaces have secret records"},
		{"nothing left", func(t *testing.T, s *Store) {
			run(t, s, "DELETE FROM root")
			run(t, s, "DELETE FROM record")
		}, "there is no root record, but the generation is 5 and 0 namespaces have secret records"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := meddled(t, func(s *Store) { tt.meddle(t, s) })
			_, err := Open(dir, Options{Key: FileKey()})
			refused(t, err, ErrRolledBack, dir, tt.want)

			s := opened(t, dir, Options{AcceptRollback: true})
			committed(t, s.Namespace("secure"), secretRecord("d", "1"))
			closed(t, s)
			s = opened(t, dir, Options{}) // accepted once and for all
			if value, found, err := s.Namespace("secure").Get("d"); string(value) != "1" || !found || err != nil {
				t.Errorf("got %q, %v, %v", value, found, err)
			}
		})
	}
}

func TestChangedSecretIsNoticedWhenRead(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	n := s.Namespace("secure")
	committed(t, n, secretRecord("a", "1"), secretRecord("b", "2"))
	a, _ := row(t, s, "a")
	run(t, s, "UPDATE record SET value = ? WHERE key = x'62'", a)
	_, found, err := n.Get("b")
	refused(t, err, ErrRolledBack, `record "b" of secure does not open`)
	if found {
		t.Error("it was found all the same")
	}
	var last error
	for _, last = range n.Scan("", "", false) {
	}
	refused(t, last, ErrRolledBack)
}

func TestDatabaseOlderThanItsGenerationIsNoticed(t *testing.T) {
	dir := t.TempDir()
	n := func() *Store { return opened(t, dir, Options{}) }
	s := n()
	committed(t, s.Namespace("x"), secretRecord("a", "1"))
	closed(t, s)
	old := filepath.Join(t.TempDir(), "old.db")
	copied(t, filepath.Join(dir, databaseName), old)
	s = n()
	committed(t, s.Namespace("x"), secretRecord("a", "2"))
	closed(t, s)
	copied(t, old, filepath.Join(dir, databaseName))
	_, err := Open(dir, Options{Key: FileKey()})
	refused(t, err, ErrRolledBack, "the database is at generation 1, the file generation at 3")

	if err := os.Remove(filepath.Join(dir, databaseName)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{Key: FileKey()})
	refused(t, err, ErrRolledBack, "there is no root record, but the generation is 3")
}

func TestPageOfAnEarlierTimeIsNoticed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, databaseName)
	fill := func(value string) {
		s := opened(t, dir, Options{})
		for i := range 100 {
			committed(t, s.Namespace("secure"), secretRecord(fmt.Sprintf("session/%03d", i), value))
		}
		closed(t, s)
	}
	fill("old")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fill("new")
	now, err := os.ReadFile(path)
	if err != nil || len(old) != len(now) {
		t.Fatalf("the database has %d bytes, then %d, %v", len(old), len(now), err)
	}
	changed := 0
	for page := 0; page < len(now); page += 4096 {
		mixed := append([]byte(nil), now...)
		copy(mixed[page:page+4096], old[page:page+4096])
		if string(mixed) == string(now) {
			continue
		}
		if err := os.WriteFile(path, mixed, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{Key: FileKey()})
		if page == 0 && err == nil {
			// Page 1 has the header alone: a change counter.
			closed(t, s)
			continue
		}
		refused(t, err, ErrRolledBack)
		changed++
	}
	if changed < 3 {
		t.Errorf("only %d pages were put back", changed)
	}
}

func TestGenerationFileMayBeLostOrTorn(t *testing.T) {
	for name, content := range map[string][]byte{"empty": {}, "torn": make([]byte, 17), "zeros": make([]byte, generationSize), "long": make([]byte, 5000)} {
		dir := meddled(t, func(*Store) {})
		if err := os.WriteFile(filepath.Join(dir, generationName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{Key: FileKey()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		closed(t, s)
	}
	dir := meddled(t, func(*Store) {})
	if err := os.Remove(filepath.Join(dir, generationName)); err != nil {
		t.Fatal(err)
	}
	holds(t, opened(t, dir, Options{}).Namespace("secure"), "a=1", "b=2", "c=1", "p=1")
}

func TestFailedTransactionLeavesTheSumAsItWas(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, Options{})
	n := s.Namespace("secure")
	committed(t, n, secretRecord("a", "1"))
	before := s.guard.clone()
	run(t, s, "CREATE TEMP TRIGGER no BEFORE INSERT ON record WHEN new.key = x'62' BEGIN SELECT RAISE(FAIL, 'no'); END")
	refused(t, n.Commit([]Record{secretRecord("a", "2"), secretRecord("b", "1")}), sqlite3.CONSTRAINT)
	if !reflect.DeepEqual(s.guard, before) {
		t.Errorf("guard became %+v, was %+v", s.guard, before)
	}
	run(t, s, "DROP TRIGGER no")
	holds(t, n, "a=1")
	closed(t, s)
	holds(t, opened(t, dir, Options{}).Namespace("secure"), "a=1")
}

func TestGuardIsDecodedAsItWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := guard{rapid.Uint64().Draw(t, "counter"), map[string]tally{}}
		for range rapid.IntRange(0, 5).Draw(t, "spaces") {
			var s sum
			for i := range s {
				s[i] = rapid.Uint64().Draw(t, "word")
			}
			g.spaces[rapid.StringN(1, 16, MaxNamespace).Draw(t, "name")] = tally{rapid.Uint64().Draw(t, "count"), s}
		}
		got, err := decodeGuard(g.encode())
		if err != nil || !reflect.DeepEqual(got, g) {
			t.Fatalf("got %+v, %v, want %+v", got, err, g)
		}
	})
}

func FuzzDecodeGuard(f *testing.F) {
	f.Add(guard{7, map[string]tally{"a": {1, sum{1, 2, 3, 4}}, "b": {}}}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGuard(b)
		if err != nil {
			return
		}
		again, err := decodeGuard(g.encode())
		if err != nil || !reflect.DeepEqual(g, again) {
			t.Fatalf("got %+v, %v, want %+v", again, err, g)
		}
	})
}

func TestSumIsTakenBackInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (s sum) {
			for i := range s {
				s[i] = rapid.SampledFrom([]uint64{0, 1, ^uint64(0), 1 << 63, 12345}).Draw(t, "word")
			}
			return s
		}
		a, b := draw(), draw()
		if got := a.add(b).sub(a); got != b {
			t.Fatalf("%v + %v - %v is %v", a, b, a, got)
		}
		if a.add(b) != b.add(a) {
			t.Fatalf("%v + %v depends on the order", a, b)
		}
	})
}
