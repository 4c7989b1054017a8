package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"github.com/stratanode/strata/layers/transport"
)

// sqliteReader is a connection that searches, used by one at a time.
type sqliteReader struct {
	conn *sqlite3.Conn

	begin, end     *sqlite3.Stmt
	scan, byTopic  *sqlite3.Stmt
	fetch          *sqlite3.Stmt
	oldest, newest *sqlite3.Stmt
}

func (r *sqliteReader) statements() map[**sqlite3.Stmt]string {
	return map[**sqlite3.Stmt]string{
		&r.begin: `BEGIN`,
		&r.end:   `COMMIT`,
		&r.scan:  `SELECT topic, key FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key DESC`,
		&r.byTopic: `SELECT key FROM envelope INDEXED BY envelope_by_topic
			WHERE span = ?1 AND topic = ?2 AND key >= ?3 AND key < ?4 ORDER BY key DESC LIMIT ?5`,
		&r.fetch: `SELECT e.topic, e.ttl, e.form, e.arrived, c.bytes
			FROM envelope e CROSS JOIN content c ON c.id = e.content WHERE e.key = ?1`,
		&r.oldest: `SELECT key FROM envelope ORDER BY key LIMIT 1`,
		&r.newest: `SELECT key FROM envelope ORDER BY key DESC LIMIT 1`,
	}
}

func openSQLiteReader(path string, cache int) (*sqliteReader, error) {
	conn, err := connect(path, fmt.Sprintf(sqliteReaderSettings, cache))
	if err != nil {
		return nil, err
	}
	r := &sqliteReader{conn: conn}
	if err := prepare(conn, r.statements()); err != nil {
		finalize(r.statements())
		conn.Close()
		return nil, err
	}
	return r, nil
}

// read runs f within one snapshot. It ends early with the context.
func (s *sqliteStore) read(ctx context.Context, f func(*sqliteReader) error) error {
	var r *sqliteReader
	select {
	case r = <-s.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.readers <- r }()
	r.conn.SetInterrupt(ctx)
	defer r.conn.SetInterrupt(context.Background())
	err := r.begin.Exec()
	if err == nil {
		err = f(r)
	}
	if !r.conn.GetAutocommit() {
		r.conn.SetInterrupt(context.Background())
		r.end.Exec()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Search implements Store.
func (s *sqliteStore) Search(ctx context.Context, q Search) (found Found, err error) {
	p := s.topics.plan(&q)
	if p.way == nothing {
		return Found{}, nil
	}
	err = s.read(ctx, func(r *sqliteReader) error {
		if p.way == byTime {
			found, err = r.searchByTime(&q, p.wanted)
			return err
		}
		found, err = r.searchByTopic(&q, p.topics)
		return err
	})
	return found, err
}

// searchByTime reads keys and topics from the newest to the oldest.
func (r *sqliteReader) searchByTime(q *Search, wanted func(transport.Topic) bool) (Found, error) {
	low, high := q.bounds()
	b := binder{stmt: r.scan}
	b.blob(low[:])
	b.blob(high[:])
	if b.err != nil {
		return Found{}, b.err
	}
	defer r.scan.Reset()
	keys, scanned := []Key(nil), 0
	for r.scan.Step() {
		scanned++
		if wanted == nil || wanted(topicOf(uint32(r.scan.ColumnInt64(0)))) {
			if keys = append(keys, Key(r.scan.ColumnRawBlob(1))); len(keys) > q.Limit {
				break
			}
		}
		if scanned >= q.Budget {
			next := Key(r.scan.ColumnRawBlob(1))
			return Found{Keys: keys, Next: &next, Scanned: scanned}, r.scan.Err()
		}
	}
	return q.finish(keys, scanned), r.scan.Err()
}

// searchByTopic looks for each topic in each span, the newest first, until there
// are enough.
func (r *sqliteReader) searchByTopic(q *Search, topics []transport.Topic) (Found, error) {
	low, high := q.bounds()
	oldest, err := edge(r.oldest)
	if err != nil {
		return Found{}, err
	}
	newest, err := edge(r.newest)
	if err != nil || !low.Less(high) {
		return Found{}, err
	}
	g := gathering{limit: q.Limit + 1}
	first, last := max(low.span(), oldest.span()), min(high.spanBelow(), newest.span())
	for span := last; span >= first; span-- {
		for _, t := range topics {
			if err := r.collect(&g, span, t, low, high); err != nil {
				return Found{}, err
			}
		}
		if g.scanned >= q.Budget && span > first && len(g.keys) < g.limit {
			g.order()
			next := spanStart(span)
			return Found{Keys: g.keys, Next: &next, Scanned: g.scanned}, nil
		}
		if len(g.keys) >= g.limit {
			break
		}
	}
	g.order()
	return q.finish(g.keys, g.scanned), nil
}

// collect takes the newest keys of one topic in one span.
func (r *sqliteReader) collect(g *gathering, span int64, t transport.Topic, low, high Key) error {
	low = g.above(low)
	b := binder{stmt: r.byTopic}
	b.number(span)
	b.number(int64(number(t)))
	b.blob(low[:])
	b.blob(high[:])
	b.number(int64(g.limit))
	if b.err != nil {
		return b.err
	}
	g.scanned++
	for r.byTopic.Step() {
		g.take(Key(r.byTopic.ColumnRawBlob(0)))
	}
	return r.byTopic.Reset()
}

// edge returns the one key a statement is about, zero if there is none.
func edge(s *sqlite3.Stmt) (k Key, err error) {
	if s.Step() {
		k = Key(s.ColumnRawBlob(0))
	}
	return k, errors.Join(s.Err(), s.Reset())
}

// gathering collects the newest keys of several lists. It holds up to twice as
// many as are wanted.
type gathering struct {
	limit   int
	keys    []Key
	floor   *Key // what is not above it is not wanted any more
	scanned int
}

func (g *gathering) take(k Key) {
	g.scanned++
	if g.keys = append(g.keys, k); len(g.keys) >= 2*g.limit {
		g.order()
	}
}

// above raises the lower bound of a list to where it is of use.
func (g *gathering) above(low Key) Key {
	if g.floor != nil && low.Less(*g.floor) {
		return *g.floor
	}
	return low
}

// order brings the newest first and forgets what is beyond the limit.
func (g *gathering) order() {
	slices.SortFunc(g.keys, func(a, b Key) int { return slices.Compare(b[:], a[:]) })
	if len(g.keys) >= g.limit {
		g.keys = g.keys[:g.limit]
		floor := g.keys[g.limit-1]
		g.floor = &floor
	}
}

// Fetch implements Store.
func (s *sqliteStore) Fetch(ctx context.Context, keys []Key, bytes int) (rows []Row, used int, err error) {
	err = s.read(ctx, func(r *sqliteReader) error {
		for size := 0; used < len(keys); used++ {
			n := len(rows)
			if err := r.fetchOne(keys[used], &rows); err != nil {
				return err
			}
			if len(rows) == n {
				continue
			}
			if size += len(rows[n].Content); size > bytes && n > 0 {
				rows = rows[:n]
				return nil
			}
		}
		return nil
	})
	return rows, used, err
}

func (r *sqliteReader) fetchOne(k Key, rows *[]Row) error {
	b := binder{stmt: r.fetch}
	b.blob(k[:])
	if b.err != nil {
		return b.err
	}
	if r.fetch.Step() {
		*rows = append(*rows, rowAt(k, r.fetch))
	}
	return r.fetch.Reset()
}

// rowAt reads the row a statement stands at: topic, ttl, form, arrived, bytes.
func rowAt(k Key, s *sqlite3.Stmt) Row {
	row := Row{
		Key: k, Topic: topicOf(uint32(s.ColumnInt64(0))), TTL: uint32(s.ColumnInt64(1)), Form: form(s.ColumnInt64(2)),
		Content: s.ColumnBlob(4, nil),
	}
	if b := s.ColumnRawBlob(3); len(b) == 4 {
		row.Arrived = bigEndian(b)
	}
	return row
}
