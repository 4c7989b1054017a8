package archive

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// sqliteName is the file of the archive in the data folder; SQLite puts its log
// and an index of that beside it.
const sqliteName = "archive.db"

// sqliteMigrations bring a database forward, one version each. They are only
// ever appended to.
//
// The contents lie apart and in the order of arrival, so that the rows of
// envelope are short and those of one time lie together: scanning by time reads
// them and no contents. The index by topic holds all that a search by topic
// needs.
var sqliteMigrations = []string{
	`CREATE TABLE envelope (
		key     BLOB NOT NULL PRIMARY KEY,
		topic   INTEGER NOT NULL,
		span    INTEGER NOT NULL,
		ttl     INTEGER NOT NULL,
		arrived BLOB,
		form    INTEGER NOT NULL,
		size    INTEGER NOT NULL,
		content INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX envelope_by_topic ON envelope (span, topic, key);
	CREATE INDEX envelope_early ON envelope (arrived) WHERE arrived IS NOT NULL;
	CREATE TABLE content (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
	CREATE TABLE total (
		id   INTEGER PRIMARY KEY CHECK (id = 1),
		rows INTEGER NOT NULL,
		size INTEGER NOT NULL
	) STRICT;
	INSERT INTO total (id, rows, size) VALUES (1, 0, 0);`,
}

// sqliteSettings are those of the connection that writes. The log is long
// because the pages of the indexes that a second of traffic writes to are the
// same again in the next: the longer, the less often they go to the database.
const sqliteSettings = `
	PRAGMA page_size = 4096;
	PRAGMA auto_vacuum = INCREMENTAL;
	PRAGMA temp_store = memory;
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = FULL;
	PRAGMA cache_size = -32768;
	PRAGMA wal_autocheckpoint = 16384;
	PRAGMA journal_size_limit = 134217728;`

// sqliteReaderSettings are those of the connections that search.
const sqliteReaderSettings = `
	PRAGMA query_only = 1;
	PRAGMA temp_store = memory;
	PRAGMA cache_size = -%d;`

// Bounds of what the connections that search keep of the file, in KiB.
const (
	sqliteCache      = 24 << 10 // all of them together
	leastSQLiteCache = 1 << 10  // each
)

// sqliteStore is the archive in a file.
type sqliteStore struct {
	path   string
	topics topicSet

	mu     sync.Mutex // one writes at a time
	writer *sqliteWriter

	readers chan *sqliteReader
	all     []*sqliteReader
}

// sqliteWriter is the connection that writes.
type sqliteWriter struct {
	conn *sqlite3.Conn
	next int64 // id of the next content

	begin, commit, rollback   *sqlite3.Stmt
	put, putContent, addTotal *sqlite3.Stmt
	victims, drop, dropBytes  *sqlite3.Stmt
}

func (w *sqliteWriter) statements() map[**sqlite3.Stmt]string {
	return map[**sqlite3.Stmt]string{
		&w.begin:    `BEGIN IMMEDIATE`,
		&w.commit:   `COMMIT`,
		&w.rollback: `ROLLBACK`,
		&w.put: `INSERT INTO envelope (key, topic, span, ttl, arrived, form, size, content)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING`,
		&w.putContent: `INSERT INTO content (id, bytes) VALUES (?1, ?2)`,
		&w.addTotal:   `UPDATE total SET rows = rows + ?1, size = size + ?2`,
		&w.victims: `SELECT key FROM (
			SELECT * FROM (SELECT key, key AS age FROM envelope WHERE key < ?1 AND arrived IS NULL ORDER BY key LIMIT ?2)
			UNION ALL
			SELECT * FROM (SELECT key, arrived AS age FROM envelope WHERE arrived < ?1 ORDER BY arrived LIMIT ?2)
			) ORDER BY age LIMIT ?2`,
		&w.drop:      `DELETE FROM envelope WHERE key = ?1 RETURNING topic, size, content`,
		&w.dropBytes: `DELETE FROM content WHERE id = ?1`,
	}
}

func openSQLite(ctx context.Context, dir string, readers int) (_ *sqliteStore, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &sqliteStore{path: filepath.Join(dir, sqliteName), readers: make(chan *sqliteReader, readers)}
	// SQLite creates files as the umask lets it; those beside take their mode
	// from this one.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.writer, err = openSQLiteWriter(ctx, s.path); err != nil {
		return nil, err
	}
	for range readers {
		r, err := openSQLiteReader(s.path, max(sqliteCache/readers, leastSQLiteCache))
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, r)
		s.readers <- r
	}
	return s, nil
}

// connect opens a connection and prepares its statements.
func connect(path, settings string) (*sqlite3.Conn, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	absolute = filepath.ToSlash(absolute)
	u := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(absolute, "/")}
	u.RawQuery = url.Values{"modeof": {absolute}}.Encode()
	conn, err := sqlite3.Open(u.String())
	if err != nil {
		return nil, err
	}
	if err = conn.BusyTimeout(busyTimeout); err == nil {
		err = conn.Exec(settings)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func prepare(conn *sqlite3.Conn, statements map[**sqlite3.Stmt]string) (err error) {
	for stmt, sql := range statements {
		if *stmt, _, err = conn.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return err
		}
	}
	return nil
}

func openSQLiteWriter(ctx context.Context, path string) (*sqliteWriter, error) {
	conn, err := connect(path, sqliteSettings)
	if err != nil {
		return nil, err
	}
	w := &sqliteWriter{conn: conn}
	conn.SetInterrupt(ctx)
	defer conn.SetInterrupt(context.Background())
	if err = migrateSQLite(conn, sqliteMigrations); err == nil {
		if w.next, err = number64(conn, `SELECT coalesce(max(id), 0) + 1 FROM content`); err == nil {
			err = prepare(conn, w.statements())
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return w, nil
}

func migrateSQLite(conn *sqlite3.Conn, migrations []string) error {
	// What is read must not be old news when it is written: another process
	// may be about the same.
	if err := conn.Exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	version, err := number64(conn, `PRAGMA user_version`)
	if err == nil && version > int64(len(migrations)) {
		err = fmt.Errorf("%s was written by a newer version: schema %d, known is %d", sqliteName, version, len(migrations))
	}
	for ; err == nil && version < int64(len(migrations)); version++ {
		err = conn.Exec(fmt.Sprintf("%s; PRAGMA user_version = %d", strings.TrimSuffix(migrations[version], ";"), version+1))
	}
	if err != nil {
		return errors.Join(err, conn.Exec(`ROLLBACK`))
	}
	return conn.Exec(`COMMIT`)
}

// number64 returns the one number that a statement is about.
func number64(conn *sqlite3.Conn, sql string) (int64, error) {
	s, _, err := conn.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if !s.Step() {
		return 0, errors.Join(errors.New("no row"), s.Err())
	}
	return s.ColumnInt64(0), nil
}

// Insert implements Store.
func (s *sqliteStore) Insert(ctx context.Context, rows []Row) (added int, err error) {
	var fresh []int
	err = s.write(ctx, func(w *sqliteWriter) error {
		size, next := int64(0), w.next
		for i := range rows {
			r := &rows[i]
			is, err := w.insert(r, next)
			if err != nil {
				return err
			}
			if is {
				fresh = append(fresh, i)
				size += int64(r.size())
				next++
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		return w.add(len(fresh), size)
	})
	if err != nil {
		return 0, err
	}
	for _, i := range fresh {
		s.topics.add(rows[i].Topic, 1)
	}
	return len(fresh), nil
}

// write runs f as one transaction.
func (s *sqliteStore) write(ctx context.Context, f func(*sqliteWriter) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writer
	if w == nil {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.conn.SetInterrupt(ctx)
	defer w.conn.SetInterrupt(context.Background())
	err := w.begin.Exec()
	if err == nil {
		// Another process may have written: the command line.
		if w.next, err = number64(w.conn, `SELECT coalesce(max(id), 0) + 1 FROM content`); err == nil {
			err = f(w)
		}
	}
	if err == nil {
		err = w.commit.Exec()
	}
	if err != nil && !w.conn.GetAutocommit() {
		w.conn.SetInterrupt(context.Background())
		w.rollback.Exec()
	}
	return err
}

// insert stores one row, unless it is there already.
func (w *sqliteWriter) insert(r *Row, id int64) (fresh bool, err error) {
	q := w.put
	b := binder{stmt: q}
	b.blob(r.Key[:])
	b.number(int64(number(r.Topic)))
	b.number(r.Key.span())
	b.number(int64(r.TTL))
	if r.Arrived == 0 {
		b.null()
	} else {
		b.blob(timeBytes(r.Arrived))
	}
	b.number(int64(r.Form))
	b.number(int64(r.size()))
	b.number(id)
	if err := b.exec(); err != nil || w.conn.Changes() == 0 {
		return false, err
	}
	b = binder{stmt: w.putContent}
	b.number(id)
	b.blob(r.Content)
	return true, b.exec()
}

func (w *sqliteWriter) add(rows int, size int64) error {
	b := binder{stmt: w.addTotal}
	b.number(int64(rows))
	b.number(size)
	return b.exec()
}

// Close implements Store.
func (s *sqliteStore) Close() error {
	var errs []error
	for range s.all {
		r := <-s.readers // whoever has it returns it
		errs = append(errs, r.conn.Close())
	}
	s.all = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer != nil {
		errs = append(errs, s.writer.conn.Close())
		s.writer = nil
	}
	return errors.Join(errs...)
}
