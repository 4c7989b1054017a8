// Package store keeps the records of the layers durable and secret: ordered
// records, one namespace per slot, one transaction per Commit.
//
// Everything lies in one data folder, of which one process at a time has the
// use:
//
//	LOCK        held locked while the folder is open
//	db.key      the database key, wrapped by a passphrase or as it is
//	strata.db   SQLite, every page encrypted by Adiantum; strata.db-wal beside it
//	generation  how far the secret records had come, to notice a rollback
//
// # What is promised
//
// When Commit returns nil, all its records are on the disk (WAL,
// synchronous=FULL: one fdatasync per transaction); when it returns an error,
// none is. Commits that are made at the same time share a transaction.
//
// # What is secret, and from whom
//
// Who reads the folder without the passphrase learns sizes, and from several
// copies which 4 KiB blocks changed between them: page encryption is
// deterministic and carries no authentication. The value of a record that is
// marked Secret is therefore sealed once more with XChaCha20-Poly1305, bound to
// its namespace, its key and a counter that never repeats.
//
// An old ratchet state that comes back to life means that message keys are used
// twice. So all live secret records are summed up in a sealed root, which
// changes in the same transaction; Open sums them up again and returns
// ErrRolledBack when a record, a page or the root is not of the same time as
// the rest. The file generation, written after the transaction and not forced
// to disk, remembers the counter outside the database; a database older than it
// is rolled back as a whole.
//
// What cannot be seen: the whole folder put back to an earlier state, an older
// database together with a removed generation file, and anything done to
// records that are not marked Secret, apart from damage SQLite notices itself.
package store

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Errors that a caller may branch on. They come wrapped, with the folder and
// the reason.
var (
	ErrLocked     = errors.New("data folder is in use by another process")
	ErrPassphrase = errors.New("wrong passphrase")
	ErrKeyMode    = errors.New("key is kept in another way than asked for")
	ErrFull       = errors.New("no room left on the disk")
	ErrRolledBack = errors.New("secret records were rolled back or changed")
	ErrVersion    = errors.New("written by a newer version")
	ErrClosed     = errors.New("store is closed")
)

// Names of the files in the data folder.
const (
	lockName       = "LOCK"
	keyName        = "db.key"
	databaseName   = "strata.db"
	generationName = "generation"
)

// Options say how to open a store.
type Options struct {
	// Key says how the database key is kept. It must be given.
	Key Key

	// ScryptN is the cost at which a new folder's key is wrapped, a power of
	// two from MinScryptN to MaxScryptN; 0 is DefaultScryptN. An existing
	// folder keeps the cost it has.
	ScryptN int

	// AcceptRollback opens a store in spite of ErrRolledBack and takes what is
	// there for the truth from now on. Sessions may then use keys twice: to be
	// set only by the user, once, after a backup was put back.
	AcceptRollback bool

	// vfs is the VFS below the encryption; tests put faults there.
	vfs string
}

// Store is an open data folder. Its methods may be called by several goroutines
// at once.
type Store struct {
	dir  string
	lock *lockFile

	queue struct {
		sync.Mutex
		waiting []*commit
		leading bool // somebody is writing, and will hand over
		closed  bool
	}

	mu    sync.Mutex // guards all below; never taken while queue is held
	db    *database
	seal  *sealer
	guard guard    // what the root record says
	side  *os.File // the generation file
}

// Open opens the store in dir, and creates it if there is none: the folder with
// mode 0700, its files with 0600.
//
// It returns ErrLocked, ErrPassphrase, ErrKeyMode, ErrRolledBack, ErrVersion or
// ErrFull where these are the reason.
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, o Options) (_ *Store, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.lock, err = acquire(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	key, err := databaseKey(dir, o)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if s.seal, err = newSealer(key); err != nil {
		return nil, err
	}
	if s.db, err = openDatabase(filepath.Join(dir, databaseName), o.vfs, key); err != nil {
		return nil, err
	}
	if err := s.openGuard(o.AcceptRollback); err != nil {
		return nil, err
	}
	return s, syncDir(dir)
}

func (o Options) validate() error {
	if err := o.Key.validate(); err != nil {
		return err
	}
	if o.ScryptN != 0 {
		return checkScryptN(o.ScryptN)
	}
	return nil
}

// databaseKey returns the key of the database in dir, a new one if the folder
// is new. A folder that has a database but no key is not new.
func databaseKey(dir string, o Options) ([]byte, error) {
	path := filepath.Join(dir, keyName)
	key, err := readKey(path, o.Key)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	for _, name := range []string{databaseName, databaseName + "-wal", generationName} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("%s is missing, but there is %s: without the key it cannot be read", keyName, name)
		}
	}
	return createKey(path, o.Key, o.ScryptN)
}

// Close waits for the commits under way and closes the store. What is called
// later returns ErrClosed.
func (s *Store) Close() error {
	s.queue.Lock()
	s.queue.closed = true
	s.queue.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	if err := s.release(); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

func (s *Store) release() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.close())
		s.db = nil
	}
	if s.side != nil {
		errs = append(errs, s.side.Close())
		s.side = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// Namespace returns the records called name, 1 to MaxNamespace bytes. It costs
// nothing and may be called for the same name any number of times.
func (s *Store) Namespace(name string) *Namespace {
	return &Namespace{store: s, name: name}
}

// Namespace is a set of records with an order and keys of its own.
type Namespace struct {
	store *Store
	name  string
}

// derive returns a key for one purpose, from the database key.
func derive(key []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "strata store "+purpose, 32)
}
