package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/stratanode/strata/layers/transport"
)

// Prune implements Store.
func (s *sqliteStore) Prune(ctx context.Context, before uint32, limit int) (removed int, err error) {
	var gone []transport.Topic
	err = s.write(ctx, func(w *sqliteWriter) error {
		keys, err := w.oldest(before, limit)
		if err != nil || len(keys) == 0 {
			return err
		}
		var size int64
		for _, k := range keys {
			if err := w.remove(k, &gone, &size); err != nil {
				return err
			}
		}
		return w.add(-len(gone), -size)
	})
	if err != nil {
		return 0, err
	}
	for _, t := range gone {
		s.topics.add(t, -1)
	}
	return len(gone), s.shrink(ctx, len(gone))
}

func (w *sqliteWriter) oldest(before uint32, limit int) (keys []Key, err error) {
	b := binder{stmt: w.victims}
	b.blob(timeBytes(before))
	b.number(int64(limit))
	if b.err != nil {
		return nil, b.err
	}
	for w.victims.Step() {
		keys = append(keys, Key(w.victims.ColumnRawBlob(0)))
	}
	return keys, w.victims.Reset()
}

func (w *sqliteWriter) remove(k Key, gone *[]transport.Topic, size *int64) error {
	b := binder{stmt: w.drop}
	b.blob(k[:])
	if b.err != nil {
		return b.err
	}
	if !w.drop.Step() {
		return errors.Join(w.drop.Err(), w.drop.Reset())
	}
	*gone = append(*gone, topicOf(uint32(w.drop.ColumnInt64(0))))
	*size += w.drop.ColumnInt64(1)
	id := w.drop.ColumnInt64(2)
	w.drop.Step()
	if err := w.drop.Reset(); err != nil {
		return err
	}
	b = binder{stmt: w.dropBytes}
	b.number(id)
	return b.exec()
}

// shrink gives about as many pages back to the system as that many rows took, if
// much of the file is empty. The rest is for the rows to come.
func (s *sqliteStore) shrink(ctx context.Context, rows int) error {
	if rows == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return errClosed
	}
	pages, err := number64(s.writer.conn, `PRAGMA page_count`)
	if err != nil {
		return err
	}
	free, err := number64(s.writer.conn, `PRAGMA freelist_count`)
	if err != nil || free < pages/8 || ctx.Err() != nil {
		return err
	}
	return s.writer.conn.Exec(fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, max(rows/4, 64)))
}

// Contents implements Store.
func (s *sqliteStore) Contents(ctx context.Context) (c Contents, err error) {
	err = s.read(ctx, func(r *sqliteReader) error {
		rows, err := number64(r.conn, `SELECT rows FROM total`)
		if err != nil {
			return err
		}
		c.Envelopes = int(rows)
		if c.Bytes, err = number64(r.conn, `SELECT size FROM total`); err != nil || rows == 0 {
			return err
		}
		oldest, err := edge(r.oldest)
		if err != nil {
			return err
		}
		newest, err := edge(r.newest)
		c.Oldest, c.Newest = moment(oldest.Sent()), moment(newest.Sent())
		return err
	})
	if err != nil {
		return Contents{}, err
	}
	c.Topics = -1
	if s.topics.usable() {
		c.Topics, _ = s.topics.count()
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(s.path + suffix); err == nil {
			c.FileBytes += info.Size()
		}
	}
	return c, nil
}

// Load implements Store.
func (s *sqliteStore) Load(ctx context.Context) error {
	return s.read(ctx, func(r *sqliteReader) error {
		// From the moment the snapshot is taken the set hears of every insert.
		s.mu.Lock()
		s.topics.begin()
		_, err := edge(r.oldest)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		q, _, err := r.conn.Prepare(`SELECT topic FROM envelope INDEXED BY envelope_by_topic WHERE span >= 0`)
		if err != nil {
			return err
		}
		defer q.Close()
		for q.Step() {
			s.topics.add(topicOf(uint32(q.ColumnInt64(0))), 1)
		}
		if err := q.Err(); err != nil {
			return err
		}
		s.topics.ready()
		return nil
	})
}

// Find implements Store.
func (s *sqliteStore) Find(ctx context.Context, hash transport.Hash) (sent time.Time, found bool, err error) {
	err = s.read(ctx, func(r *sqliteReader) error {
		q, _, err := r.conn.Prepare(`SELECT key FROM envelope WHERE substr(key, 5) = ?1 ORDER BY key DESC LIMIT 1`)
		if err != nil {
			return err
		}
		defer q.Close()
		if err := q.BindBlob(1, hash[:]); err != nil {
			return err
		}
		if found = q.Step(); found {
			sent = moment(Key(q.ColumnRawBlob(0)).Sent())
		}
		return q.Err()
	})
	return sent, found, err
}

// Verify implements Store.
func (s *sqliteStore) Verify(ctx context.Context, report func(done, total int)) (v Verified, err error) {
	err = s.read(ctx, func(r *sqliteReader) error {
		total, err := number64(r.conn, `SELECT rows FROM total`)
		if err != nil {
			return err
		}
		size, err := r.verifyRows(&v, int(total), report)
		if err != nil {
			return err
		}
		return r.verifyWhole(&v, size)
	})
	return v, err
}

// verifyRows reads every row and its content, in the order of keys.
func (r *sqliteReader) verifyRows(v *Verified, total int, report func(done, total int)) (size int64, err error) {
	q, _, err := r.conn.Prepare(`SELECT e.topic, e.ttl, e.form, e.arrived, c.bytes, e.key, e.span, e.size
		FROM envelope e LEFT JOIN content c ON c.id = e.content ORDER BY e.key`)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	for q.Step() {
		v.verify(q)
		size += q.ColumnInt64(7)
		if v.Envelopes%verifyStep == 0 {
			report(v.Envelopes, total)
		}
	}
	report(v.Envelopes, max(total, v.Envelopes))
	return size, q.Err()
}

// verifyStep is after how many rows Verify reports.
const verifyStep = 10_000

func (v *Verified) verify(q *sqlite3.Stmt) {
	raw := q.ColumnRawBlob(5)
	if len(raw) != len(Key{}) {
		v.row(Key{}, fmt.Errorf("key of %d bytes", len(raw)))
		return
	}
	k := Key(raw)
	row := rowAt(k, q)
	_, err := row.envelope()
	switch {
	case q.ColumnType(4) == sqlite3.NULL:
		err = errors.New("has no content")
	case q.ColumnInt64(6) != k.span():
		err = fmt.Errorf("is indexed in span %d", q.ColumnInt64(6))
	case q.ColumnInt64(7) != int64(row.size()):
		err = fmt.Errorf("counts %d bytes instead of %d", q.ColumnInt64(7), row.size())
	}
	v.row(k, err)
}

// verifyWhole checks what no single row shows.
func (r *sqliteReader) verifyWhole(v *Verified, size int64) error {
	for _, check := range []struct {
		what, sql string
		want      int64
	}{
		{"rows in the total", `SELECT rows FROM total`, int64(v.Envelopes)},
		{"bytes in the total", `SELECT size FROM total`, size},
		{"places in the index by topic", `SELECT count(*) FROM envelope INDEXED BY envelope_by_topic WHERE span >= 0`, int64(v.Envelopes)},
		{"contents", `SELECT count(*) FROM content`, int64(v.Envelopes)},
	} {
		got, err := number64(r.conn, check.sql)
		if err != nil {
			return err
		}
		if got != check.want {
			v.fault("%s: %d, but there are %d", check.what, got, check.want)
		}
	}
	q, _, err := r.conn.Prepare(fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxFaults))
	if err != nil {
		return err
	}
	defer q.Close()
	for q.Step() {
		if text := q.ColumnText(0); text != "ok" {
			v.fault("%s", text)
		}
	}
	return q.Err()
}
