package archive

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stratanode/strata/layers/transport"
)

// Bounds of what one statement reads.
const (
	maxScan   = 1 << 13 // rows in the order of time
	maxProbes = 1 << 12 // topics times spans, if it is more than one span
)

// Search implements Store.
func (s *postgresStore) Search(ctx context.Context, q Search) (found Found, err error) {
	if err := s.refresh(ctx); err != nil {
		return Found{}, err
	}
	p := s.topics.plan(&q)
	if p.way == nothing {
		return Found{}, nil
	}
	err = s.pool.read(ctx, func(tx pgx.Tx) error {
		if p.way == byTime {
			found, err = postgresByTime(ctx, tx, &q, p.wanted)
			return err
		}
		found, err = postgresByTopic(ctx, tx, &q, p.topics)
		return err
	})
	return found, err
}

// postgresByTime reads keys and topics from the newest to the oldest, first few
// at once and then more: what is asked for has to be read to the end.
func postgresByTime(ctx context.Context, tx pgx.Tx, q *Search, wanted func(transport.Topic) bool) (Found, error) {
	low, high := q.bounds()
	var keys []Key
	for scanned, chunk := 0, q.Limit+1; ; chunk = min(2*chunk, maxScan) {
		chunk = min(chunk, q.Budget-scanned)
		result, err := tx.Query(ctx, `SELECT topic, key FROM archive_envelope WHERE key >= $1 AND key < $2 ORDER BY key DESC LIMIT $3`,
			low[:], high[:], chunk)
		if err != nil {
			return Found{}, err
		}
		n := 0
		for ; result.Next(); n++ {
			raw := result.RawValues()
			if len(raw[0]) != 4 || len(raw[1]) != len(Key{}) {
				result.Close()
				return Found{}, fmt.Errorf("topic of %d bytes, key of %d", len(raw[0]), len(raw[1]))
			}
			high = Key(raw[1])
			if len(keys) <= q.Limit && (wanted == nil || wanted(topicOf(bigEndian(raw[0])))) {
				keys = append(keys, high)
			}
		}
		if err := result.Err(); err != nil {
			return Found{}, err
		}
		switch scanned += n; {
		case len(keys) > q.Limit || n < chunk:
			return q.finish(keys, scanned), nil
		case scanned >= q.Budget:
			return Found{Keys: keys, Next: &high, Scanned: scanned}, nil
		}
	}
}

// pgtypeBytes takes bytes over without a copy; they hold until the next row.
type pgtypeBytes []byte

// ScanBytes implements pgtype.BytesScanner.
func (b *pgtypeBytes) ScanBytes(v []byte) error {
	*b = v
	return nil
}

// postgresByTopic looks for each topic in each span, the newest first, until
// there are enough.
func postgresByTopic(ctx context.Context, tx pgx.Tx, q *Search, topics []transport.Topic) (Found, error) {
	low, high := q.bounds()
	oldest, newest, err := ends(ctx, tx)
	if err != nil || !low.Less(high) {
		return Found{}, err
	}
	numbers := make([]int32, len(topics))
	for i, t := range topics {
		numbers[i] = int32(number(t))
	}
	g := gathering{limit: q.Limit + 1}
	first, last := max(low.span(), oldest.span()), min(high.spanBelow(), newest.span())
	for step := int64(1); last >= first; step *= 2 {
		step = max(1, min(step, int64(maxProbes/len(topics))))
		from := max(first, last-step+1)
		if err := g.collectPostgres(ctx, tx, numbers, from, last, low, high); err != nil {
			return Found{}, err
		}
		if len(g.keys) >= g.limit || from == first {
			break
		}
		if g.scanned >= q.Budget {
			next := spanStart(from)
			return Found{Keys: g.keys, Next: &next, Scanned: g.scanned}, nil
		}
		last = from - 1
	}
	return q.finish(g.keys, g.scanned), nil
}

// collectPostgres takes the newest keys of topics in some spans. They are older
// than those taken before.
func (g *gathering) collectPostgres(ctx context.Context, tx pgx.Tx, topics []int32, from, last int64, low, high Key) error {
	result, err := tx.Query(ctx, `SELECT k.key FROM unnest($1::integer[]) AS t (topic)
		CROSS JOIN generate_series($2::integer, $3::integer) AS s (span)
		CROSS JOIN LATERAL (
			SELECT key FROM archive_envelope e
			WHERE e.span = s.span AND e.topic = t.topic AND e.key >= $4 AND e.key < $5 ORDER BY e.key DESC LIMIT $6
		) k ORDER BY k.key DESC LIMIT $6`, topics, from, last, low[:], high[:], g.limit)
	if err != nil {
		return err
	}
	var raw []byte
	g.scanned += len(topics) * int(last-from+1)
	_, err = pgx.ForEachRow(result, []any{(*pgtypeBytes)(&raw)}, func() error {
		g.take(Key(raw))
		return nil
	})
	g.order()
	return err
}

// ends returns the oldest and the newest key, zero if there are none.
func ends(ctx context.Context, tx pgx.Tx) (oldest, newest Key, err error) {
	var a, b []byte
	err = tx.QueryRow(ctx, `SELECT (SELECT key FROM archive_envelope ORDER BY key LIMIT 1),
		(SELECT key FROM archive_envelope ORDER BY key DESC LIMIT 1)`).Scan(&a, &b)
	if err != nil || a == nil {
		return oldest, newest, err
	}
	if len(a) != len(Key{}) || len(b) != len(Key{}) {
		return oldest, newest, fmt.Errorf("keys of %d and %d bytes", len(a), len(b))
	}
	return Key(a), Key(b), nil
}

// Fetch implements Store.
func (s *postgresStore) Fetch(ctx context.Context, keys []Key, bytes int) (rows []Row, used int, err error) {
	err = s.pool.read(ctx, func(tx pgx.Tx) error {
		wanted := make([][]byte, len(keys))
		for i := range keys {
			wanted[i] = keys[i][:]
		}
		if used, err = affordable(ctx, tx, wanted, bytes); err != nil {
			return err
		}
		rows, err = fetchPostgres(ctx, tx, wanted[:used])
		return err
	})
	return rows, used, err
}

// affordable returns how many of keys have no more than some bytes of content
// together. The lengths are found without reading the contents.
func affordable(ctx context.Context, tx pgx.Tx, keys [][]byte, bytes int) (used int, err error) {
	result, err := tx.Query(ctx, `SELECT k.place, octet_length(e.content)
		FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, place) JOIN archive_envelope e ON e.key = k.key ORDER BY k.place`, keys)
	if err != nil {
		return 0, err
	}
	var place, length, size, n int
	used = len(keys)
	_, err = pgx.ForEachRow(result, []any{&place, &length}, func() error {
		if size += length; size > bytes && n > 0 {
			used = min(used, place-1)
		}
		n++
		return nil
	})
	return used, err
}

func fetchPostgres(ctx context.Context, tx pgx.Tx, keys [][]byte) (rows []Row, err error) {
	result, err := tx.Query(ctx, `SELECT e.key, e.topic, e.ttl, e.form, e.arrived, e.content
		FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, place) JOIN archive_envelope e ON e.key = k.key ORDER BY k.place`, keys)
	if err != nil {
		return nil, err
	}
	var p postgresRow
	_, err = pgx.ForEachRow(result, p.into(), func() error {
		r, err := p.row()
		rows = append(rows, r)
		return err
	})
	return rows, err
}

// postgresRow takes a row over.
type postgresRow struct {
	key, arrived, content []byte
	topic                 int32
	ttl                   int64
	form                  int16
}

// into lists where key, topic, ttl, form, arrived and content go.
func (p *postgresRow) into() []any {
	return []any{&p.key, &p.topic, &p.ttl, &p.form, &p.arrived, &p.content}
}

func (p *postgresRow) row() (Row, error) {
	r := Row{Topic: topicOf(uint32(p.topic)), TTL: uint32(p.ttl), Form: form(p.form), Content: p.content}
	p.content = nil // the next row must not reuse it
	if len(p.arrived) == 4 {
		r.Arrived = bigEndian(p.arrived)
	}
	if len(p.key) != len(r.Key) {
		return r, fmt.Errorf("key of %d bytes", len(p.key))
	}
	r.Key = Key(p.key)
	return r, nil
}
