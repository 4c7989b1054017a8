package archive

import (
	"context"
	"errors"
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

// finalize frees the statements of a connection, which cannot be closed before.
func finalize(statements map[**sqlite3.Stmt]string) {
	for stmt := range statements {
		(*stmt).Close() // reports what its last step did; nil is harmless
	}
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
		finalize(w.statements())
		conn.Close()
		return nil, err
	}
	return w, nil
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
		finalize(r.statements())
		errs = append(errs, r.conn.Close())
	}
	s.all = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer != nil {
		finalize(s.writer.statements())
		errs = append(errs, s.writer.conn.Close())
		s.writer = nil
	}
	return errors.Join(errs...)
}
