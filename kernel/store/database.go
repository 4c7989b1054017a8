package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
	"github.com/ncruces/go-sqlite3/vfs/adiantum"
)

// migrations bring a database forward, one version each; their number is the
// version of the schema. They are only ever appended to.
//
// A record is found by its primary key alone, which is the table's order on
// disk as well, so that a layer's records lie together. seal is the counter of
// a secret record, NULL for any other.
var migrations = []string{
	`CREATE TABLE record (
		ns    TEXT NOT NULL,
		key   BLOB NOT NULL,
		value BLOB NOT NULL,
		seal  INTEGER,
		PRIMARY KEY (ns, key)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE root (
		id     INTEGER PRIMARY KEY CHECK (id = 1),
		sealed BLOB NOT NULL
	) STRICT;`,
}

// settings hold for every connection.
//
// Pages have the size of the blocks of the cipher: were they smaller, a torn
// write of one would take its neighbour along. In exclusive mode the index of
// the WAL is kept on the heap, without a file beside it. Freed records are
// overwritten where that costs no further page, for the sake of old keys.
const settings = `
	PRAGMA page_size = 4096;
	PRAGMA locking_mode = EXCLUSIVE;
	PRAGMA temp_store = memory;
	PRAGMA secure_delete = FAST;
	PRAGMA cache_size = -8192;
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = FULL;
	PRAGMA wal_autocheckpoint = 1000;
	PRAGMA journal_size_limit = 8388608;`

// database is the SQLite connection with everything prepared. It is used by one
// goroutine at a time.
type database struct {
	conn *sqlite3.Conn

	begin, commit, rollback *sqlite3.Stmt

	put, del, get, seal *sqlite3.Stmt
	scan                [2][2]*sqlite3.Stmt // [reverse][with an upper bound]
	secrets, spaces     *sqlite3.Stmt
	putRoot, getRoot    *sqlite3.Stmt
}

const scanColumns = `SELECT key, value, seal FROM record WHERE ns = ?1 AND key >= ?2`

// statements are prepared once; see database.
func (d *database) statements() map[**sqlite3.Stmt]string {
	return map[**sqlite3.Stmt]string{
		&d.begin:    `BEGIN IMMEDIATE`,
		&d.commit:   `COMMIT`,
		&d.rollback: `ROLLBACK`,

		&d.put: `INSERT INTO record (ns, key, value, seal) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT DO UPDATE SET value = excluded.value, seal = excluded.seal`,
		&d.del:  `DELETE FROM record WHERE ns = ?1 AND key = ?2`,
		&d.get:  `SELECT value, seal FROM record WHERE ns = ?1 AND key = ?2`,
		&d.seal: `SELECT seal, substr(value, -16) FROM record WHERE ns = ?1 AND key = ?2`,

		&d.scan[0][0]: scanColumns + ` ORDER BY key LIMIT ?3`,
		&d.scan[0][1]: scanColumns + ` AND key < ?4 ORDER BY key LIMIT ?3`,
		&d.scan[1][0]: scanColumns + ` ORDER BY key DESC LIMIT ?3`,
		&d.scan[1][1]: scanColumns + ` AND key < ?4 ORDER BY key DESC LIMIT ?3`,

		&d.secrets: `SELECT key, seal, substr(value, -16) FROM record WHERE ns = ?1 AND seal IS NOT NULL`,
		&d.spaces:  `SELECT DISTINCT ns FROM record WHERE seal IS NOT NULL`,
		&d.putRoot: `INSERT INTO root (id, sealed) VALUES (1, ?1) ON CONFLICT DO UPDATE SET sealed = excluded.sealed`,
		&d.getRoot: `SELECT sealed FROM root`,
	}
}

// vfsName is under what name the encryption over the system's files is known to
// SQLite.
const vfsName = "strata"

var registerVFS = sync.OnceFunc(func() { vfs.Register(vfsName, encrypted(vfs.Find(""))) })

// encrypted encrypts everything that is written to base.
func encrypted(base vfs.VFS) vfs.VFS { return &gatheringVFS{adiantum.Wrap(base, nil)} }

func openDatabase(path, vfs string, key []byte) (_ *database, err error) {
	registerVFS()
	if vfs == "" {
		vfs = vfsName
	}
	// SQLite creates files as the umask lets it. The main file is created
	// here with the right mode, the WAL takes its mode from there.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	address, err := databaseURI(path, vfs, key)
	if err != nil {
		return nil, err
	}
	d := &database{}
	if d.conn, err = sqlite3.Open(address); err != nil {
		return nil, fault(err)
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := d.conn.Exec(settings); err != nil {
		return nil, fault(err)
	}
	if err := d.migrate(migrations); err != nil {
		return nil, err
	}
	reserveWAL(path + "-wal")
	for stmt, sql := range d.statements() {
		if *stmt, _, err = d.conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return nil, fault(err)
		}
	}
	return d, nil
}

// walReserve is about what the WAL grows to before SQLite checkpoints it and
// begins again at its start (1000 pages), in bytes.
const walReserve = 4 << 20

// reserveWAL lengthens the WAL to the size it will have anyway. To force bytes to
// the disk that lie in a file already takes less than half the time of making
// the file longer, where the file system has to write its journal as well. What
// is behind the last frame is nothing to SQLite. It is no more than an
// acceleration, so a failure is none of ours.
func reserveWAL(path string) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() >= walReserve {
		return
	}
	from := (info.Size() + gatherBlock - 1) &^ (gatherBlock - 1)
	if _, err := f.WriteAt(make([]byte, walReserve-from), from); err != nil {
		_ = f.Truncate(info.Size())
		return
	}
	_ = f.Sync()
}

func databaseURI(path, vfs string, key []byte) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	path = filepath.ToSlash(path)
	u := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(path, "/")}
	u.RawQuery = url.Values{
		"vfs":    {vfs},
		"hexkey": {hex.EncodeToString(key)},
		"modeof": {path},
	}.Encode()
	return u.String(), nil
}

// migrate brings the schema to the version that this program knows.
func (d *database) migrate(migrations []string) error {
	version, err := d.version()
	if err != nil {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("%s: %w: schema %d, known is %d", databaseName, ErrVersion, version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		step := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT",
			strings.TrimSuffix(strings.TrimSpace(migrations[version]), ";"), version+1)
		if err := d.conn.Exec(step); err != nil {
			return fmt.Errorf("%s: migration to schema %d: %w", databaseName, version+1, fault(err))
		}
	}
	return nil
}

func (d *database) version() (int, error) {
	s, _, err := d.conn.Prepare(`PRAGMA user_version`)
	if err != nil {
		return 0, fault(err)
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt(0), fault(s.Err())
}

// undo ends a transaction that failed, if SQLite has not done so itself.
func (d *database) undo() {
	if !d.conn.GetAutocommit() {
		d.rollback.Exec()
	}
}

func (d *database) close() error {
	if d.conn == nil {
		return nil
	}
	for stmt := range d.statements() {
		if *stmt != nil {
			(*stmt).Close()
		}
	}
	return fault(d.conn.Close())
}

// fault gives the errors of SQLite that a caller can do something about their
// name.
func fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sqlite3.FULL), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, sqlite3.BUSY):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, sqlite3.NOTADB), errors.Is(err, sqlite3.CORRUPT):
		return fmt.Errorf("%s is damaged, or %s is not its key: %w", databaseName, keyName, err)
	}
	return err
}
