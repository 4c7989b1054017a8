package archive

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stratanode/strata/layers/transport"
)

// Bounds of what one statement reads.
const (
	maxScan     = 1 << 13 // rows in the order of time
	maxProbes   = 1 << 12 // topics times spans, if it is more than one span
	firstProbes = 1 << 6  // the same of the first statement, which is to be the last
	firstSpans  = 8       // and its spans: a day and a half

	// fewTopics is how many topics are looked up without asking first whether
	// they are there: that would be a round trip of its own.
	fewTopics = 1 << 6
)

// Search implements Store. The statements need not see the same: each is about
// older keys than the one before.
func (s *postgresStore) Search(ctx context.Context, q Search) (found Found, err error) {
	known := &s.topics
	if n := len(q.Topics); n > 0 && n <= fewTopics {
		known = new(topicSet) // knows nothing, so all are looked up
	} else if err := s.refresh(ctx); err != nil {
		return Found{}, err
	}
	p := known.plan(&q)
	if p.way == nothing {
		return Found{}, nil
	}
	err = s.pool.with(ctx, func(c *pgx.Conn) error {
		if p.way == byTime {
			found, err = postgresByTime(ctx, c, &q, p.wanted)
			return err
		}
		found, err = postgresByTopic(ctx, c, &q, p.topics)
		return err
	})
	return found, err
}

// postgresByTime reads keys and topics from the newest to the oldest, first few
// at once and then more: what is asked for has to be read to the end.
func postgresByTime(ctx context.Context, c *pgx.Conn, q *Search, wanted func(transport.Topic) bool) (Found, error) {
	low, high := q.bounds()
	var keys []Key
	for scanned, chunk := 0, q.Limit+1; ; chunk = min(2*chunk, maxScan) {
		chunk = min(chunk, q.Budget-scanned)
		result, err := c.Query(ctx, `SELECT topic, key FROM archive_envelope WHERE key >= $1 AND key < $2 ORDER BY key DESC LIMIT $3`,
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

// byTopicSQL finds the newest keys of topics in the newest spans that are not
// above one. It returns the spans of the oldest and the newest row beside, and at
// least one row, so that a search takes one round trip if there is little.
const byTopicSQL = `WITH ends AS MATERIALIZED (SELECT
		(SELECT span FROM archive_envelope ORDER BY key LIMIT 1) AS oldest,
		(SELECT span FROM archive_envelope ORDER BY key DESC LIMIT 1) AS newest)
	SELECT ends.oldest, ends.newest, k.key FROM ends LEFT JOIN LATERAL (
		SELECT p.key FROM unnest($1::integer[]) AS t (topic)
		CROSS JOIN generate_series(greatest($2::integer, ends.oldest, least($3::integer, ends.newest) - $4::integer + 1),
			least($3::integer, ends.newest)) AS s (span)
		CROSS JOIN LATERAL (
			SELECT e.key FROM archive_envelope e
			WHERE e.span = s.span AND e.topic = t.topic AND e.key >= $5 AND e.key < $6 ORDER BY e.key DESC LIMIT $7
		) p ORDER BY p.key DESC LIMIT $7
	) k ON true`

// postgresByTopic looks for each topic in each span, the newest first, until
// there are enough.
func postgresByTopic(ctx context.Context, c *pgx.Conn, q *Search, topics []transport.Topic) (Found, error) {
	low, high := q.bounds()
	if !low.Less(high) {
		return Found{}, nil
	}
	numbers := make([]int32, len(topics))
	for i, t := range topics {
		numbers[i] = int32(number(t))
	}
	g := gathering{limit: q.Limit + 1}
	first, last := low.span(), high.spanBelow()
	for step := int64(min(firstSpans, firstProbes/len(topics))); last >= first; step *= 2 {
		step = max(1, min(step, int64(maxProbes/len(topics))))
		oldest, newest, err := g.collectPostgres(ctx, c, numbers, first, last, step, low, high)
		if err != nil {
			return Found{}, err
		}
		first, last = max(first, oldest), min(last, newest)
		from := max(first, last-step+1)
		g.scanned += len(topics) * int(max(0, last-from+1))
		if len(g.keys) >= g.limit || from <= first {
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

// collectPostgres takes the newest keys of topics in some spans up to last. They
// are older than those taken before. It returns the spans of the oldest and the
// newest row; without any, nothing is between them.
func (g *gathering) collectPostgres(ctx context.Context, c *pgx.Conn, topics []int32, first, last, spans int64, low, high Key) (oldest, newest int64, err error) {
	result, err := c.Query(ctx, byTopicSQL, topics, first, last, spans, low[:], high[:], g.limit)
	if err != nil {
		return 0, 0, err
	}
	newest = -1
	for result.Next() {
		switch raw := result.RawValues(); {
		case len(raw[0]) != 4 || len(raw[1]) != 4: // NULL
		case len(raw[2]) == len(Key{}):
			g.take(Key(raw[2]))
			fallthrough
		case raw[2] == nil:
			oldest, newest = int64(bigEndian(raw[0])), int64(bigEndian(raw[1]))
		default:
			result.Close()
			return 0, 0, fmt.Errorf("key of %d bytes", len(raw[2]))
		}
	}
	g.order()
	return oldest, newest, result.Err()
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

// fetchSQL returns the rows of the first keys, by their places: as many as have
// no more than some bytes of content together, but at least one. The length of
// all is returned beside; lengths are found without reading the contents.
const fetchSQL = `SELECT key, topic, ttl, form, arrived, content, place, whole FROM (
		SELECT e.key, e.topic, e.ttl, e.form, e.arrived, e.content, k.place, octet_length(e.content) AS length,
			sum(octet_length(e.content)) OVER (ORDER BY k.place) AS so_far, sum(octet_length(e.content)) OVER () AS whole
		FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, place) JOIN archive_envelope e ON e.key = k.key
	) f WHERE so_far <= $2 OR so_far = length ORDER BY place`

// Fetch implements Store.
func (s *postgresStore) Fetch(ctx context.Context, keys []Key, bytes int) (rows []Row, used int, err error) {
	wanted := make([][]byte, len(keys))
	for i := range keys {
		wanted[i] = keys[i][:]
	}
	err = s.pool.with(ctx, func(c *pgx.Conn) error {
		result, err := c.Query(ctx, fetchSQL, wanted, int64(bytes))
		if err != nil {
			return err
		}
		var p postgresRow
		var whole int64
		_, err = pgx.ForEachRow(result, append(p.into(), &used, &whole), func() error {
			r, err := p.row()
			rows = append(rows, r)
			return err
		})
		if whole <= int64(bytes) {
			used = len(keys)
		}
		return err
	})
	return rows, used, err
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
