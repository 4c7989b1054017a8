package store

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// faults is a disk that does as it is told, below the encryption.
type faults struct {
	vfs.VFS
	full   atomic.Bool  // writes that make a file longer find no room
	failAt atomic.Int64 // fail the operation that takes this to 0
	ops    atomic.Int64 // writes, syncs and truncations so far

	mu      sync.Mutex
	durable map[string][]byte // what each file held at its last sync
}

var disks atomic.Int64

// disk returns a new disk and the options to open a store on it.
func disk(t *testing.T) (*faults, Options) {
	d := &faults{VFS: vfs.Find(""), durable: map[string][]byte{}}
	name := fmt.Sprintf("strata-faults-%d", disks.Add(1))
	vfs.Register(name, encrypted(d))
	t.Cleanup(func() { vfs.Unregister(name) })
	return d, Options{Key: FileKey(), vfs: name}
}

func (d *faults) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, flags, err := vfsutil.WrapOpenFilename(d.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return &faultyFile{f, d, name.String()}, flags, nil
}

func (d *faults) Delete(name string, syncDir bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.durable, name)
	return d.VFS.Delete(name, syncDir)
}

func (d *faults) fails() bool {
	d.ops.Add(1)
	return d.failAt.Add(-1) == 0
}

type faultyFile struct {
	vfs.File
	disk *faults
	name string
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if f.disk.full.Load() && off+int64(len(p)) > size {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC} // as os.File does
	}
	if f.disk.fails() {
		n, _ := f.File.WriteAt(p[:len(p)/3], off) // a part of it gets there
		return n, sqlite3.IOERR_WRITE
	}
	return f.File.WriteAt(p, off)
}

func (f *faultyFile) Truncate(size int64) error {
	if f.disk.fails() {
		return sqlite3.IOERR_TRUNCATE
	}
	return f.File.Truncate(size)
}

// Sync takes a copy instead of waiting for the real disk.
func (f *faultyFile) Sync(vfs.SyncFlag) error {
	if f.disk.fails() {
		return sqlite3.IOERR_FSYNC
	}
	content, err := os.ReadFile(f.name)
	if err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.durable[f.name] = content
	return nil
}

// crashed returns a folder as a power failure might leave dir: of what was
// written since the last sync any 512 bytes may or may not have arrived.
func (d *faults) crashed(t *testing.T, dir string, r *rand.Rand) string {
	t.Helper()
	after := t.TempDir()
	for _, name := range []string{keyName, generationName} {
		copied(t, filepath.Join(dir, name), filepath.Join(after, name))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range maps.Keys(d.durable) {
		now, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		then := d.durable[name]
		mixed := make([]byte, max(len(now), len(then)))
		copy(mixed, then)
		for i := 0; i < len(now); i += 512 {
			if r.IntN(2) == 0 {
				copy(mixed[i:min(i+512, len(now))], now[i:])
			}
		}
		if r.IntN(2) == 0 {
			mixed = mixed[:len(then)]
		}
		if err := os.WriteFile(filepath.Join(after, filepath.Base(name)), mixed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return after
}

func TestFullDiskIsSaidAndOvercome(t *testing.T) {
	d, o := disk(t)
	dir := t.TempDir()
	s := opened(t, dir, o)
	n := s.Namespace("x")
	committed(t, n, secretRecord("a", "1"))
	d.full.Store(true)
	// More than there is reserved for the WAL.
	big := Record{Key: "b", Value: make([]byte, walReserve)}
	for range 3 {
		refused(t, n.Commit([]Record{secretRecord("a", "2"), big}), ErrFull, "commit to x")
	}
	holds(t, n, "a=1")
	d.full.Store(false)
	committed(t, n, secretRecord("a", "3"))
	holds(t, n, "a=3")
	closed(t, s)
	holds(t, opened(t, dir, Options{}).Namespace("x"), "a=3")
}

func TestFullDatabaseIsSaidAndOvercome(t *testing.T) {
	s := opened(t, t.TempDir(), Options{})
	n := s.Namespace("x")
	committed(t, n, secretRecord("a", "1"))
	run(t, s, "PRAGMA max_page_count = 20")
	big := Record{Key: "b", Value: make([]byte, 1<<20), Secret: true}
	refused(t, n.Commit([]Record{secretRecord("a", "2"), big}), ErrFull)
	holds(t, n, "a=1")
	committed(t, n, secretRecord("a", "3"))
	run(t, s, "PRAGMA max_page_count = 100000")
	committed(t, n, big)
}

// scripted is how many commits script makes.
const scripted = 12

// script commits until it is done or the store is broken for good, and returns
// how far the acknowledged commits came. Commit i writes i to three records.
func script(s *Store) (acknowledged int) {
	for i := 1; i <= scripted; i++ {
		if s.Namespace("x").Commit(numbered(i)) == nil {
			acknowledged = i
		}
	}
	return acknowledged
}

func numbered(i int) []Record {
	return []Record{
		secretRecord("a", fmt.Sprint(i)), plainRecord("b", fmt.Sprint(i)),
		{Key: "c/" + fmt.Sprint(i%5), Value: make([]byte, i%3*5000)}, {Key: "c/" + fmt.Sprint((i+2)%5)},
	}
}

// reached returns the commit that dir shows, which must be one as a whole.
func reached(t *testing.T, dir string, o Options) int {
	t.Helper()
	s := opened(t, dir, o)
	defer closed(t, s)
	var a, b int
	for key, i := range map[string]*int{"a": &a, "b": &b} {
		value, found, err := s.Namespace("x").Get(key)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			fmt.Sscan(string(value), i)
		}
	}
	if a != b {
		t.Errorf("half of a commit: a is %d and b is %d", a, b)
	}
	return a
}

func TestAnyWriteMayFail(t *testing.T) {
	d, o := disk(t)
	script(opened(t, t.TempDir(), o))
	total := d.ops.Load()
	if total < 30 {
		t.Fatalf("the script takes only %d operations", total)
	}
	for k := int64(1); k <= total; k++ {
		dir := t.TempDir()
		d, o := disk(t)
		d.failAt.Store(k)
		s, err := Open(dir, o)
		if err != nil {
			continue // said at once, and nothing is acknowledged
		}
		acknowledged := script(s)
		s.Close()
		if acknowledged < scripted-2 {
			t.Errorf("after operation %d failed, commits went on to %d only", k, acknowledged)
		}
		// A commit whose failure was reported may be there as a whole.
		_, o = disk(t)
		if got := reached(t, dir, o); got < acknowledged {
			t.Errorf("operation %d failed: commit %d was acknowledged, %d is there", k, acknowledged, got)
		}
	}
}

func TestPowerFailureLosesNothingAcknowledged(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 60 {
		d, o := disk(t)
		dir := t.TempDir()
		s := opened(t, dir, o)
		if round%3 == 0 { // in the middle of a checkpoint too
			run(t, s, "PRAGMA wal_autocheckpoint = 10")
		}
		last := 1 + r.IntN(40)
		for i := 1; i <= last; i++ {
			committed(t, s.Namespace("x"), numbered(i)...)
		}
		if r.IntN(2) == 0 { // one more that is cut off
			d.failAt.Store(1 + r.Int64N(3))
			s.Namespace("x").Commit(numbered(last + 1))
		}
		after := d.crashed(t, dir, r)
		_, o = disk(t)
		if got := reached(t, after, o); got != last && got != last+1 {
			t.Errorf("seed %d, round %d: commit %d was acknowledged, %d is there", seed, round, last, got)
		}
	}
}

func TestGatheredWritesAreWhatWasWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		path := filepath.Join(t.TempDir(), "f")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		g := &gatheringFile{File: plainFile{file}}
		var want []byte
		for range 40 {
			switch off := int64(len(want)); r.IntN(8) {
			case 0:
				if err := g.Sync(0); err != nil {
					t.Fatal(err)
				}
			case 1:
				if size, err := g.Size(); err != nil || size > off || size < off&^(gatherBlock-1) {
					t.Fatalf("size is %d, %v, want %d", size, err, off)
				}
			case 2:
				size := r.Int64N(off + 1)
				if err := g.Truncate(size); err != nil {
					t.Fatal(err)
				}
				want = want[:size]
			case 3:
				at := r.Int64N(off + 1)
				got := make([]byte, r.Int64N(off-at+1))
				if _, err := g.ReadAt(got, at); err != nil && err != io.EOF || string(got) != string(want[at:at+int64(len(got))]) {
					t.Fatalf("read of %d at %d: %v", len(got), at, err)
				}
			default:
				if r.IntN(4) == 0 {
					off = r.Int64N(off + 1) // a transaction anew
				}
				p := make([]byte, r.IntN(6000))
				for i := range p {
					p[i] = byte(r.Uint32())
				}
				if _, err := g.WriteAt(p, off); err != nil {
					t.Fatal(err)
				}
				want = append(want[:off], append(p, want[min(off+int64(len(p)), int64(len(want))):]...)...)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
			t.Fatalf("the file has %d bytes, %v, want %d others", len(got), err, len(want))
		}
	}
}

// plainFile is an os.File as a vfs.File.
type plainFile struct{ *os.File }

func (f plainFile) Sync(vfs.SyncFlag) error { return nil }
func (f plainFile) Size() (int64, error) {
	info, err := f.Stat()
	return info.Size(), err
}
func (plainFile) Lock(vfs.LockLevel) error                        { return nil }
func (plainFile) Unlock(vfs.LockLevel) error                      { return nil }
func (plainFile) CheckReservedLock() (bool, error)                { return false, nil }
func (plainFile) SectorSize() int                                 { return 512 }
func (plainFile) DeviceCharacteristics() vfs.DeviceCharacteristic { return 0 }
