package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stratanode/strata/layers/transport"
)

// remembered is for how many changes a topic that went is still noted, for
// servers that have not heard of it. One that is further behind reads all.
const remembered = 1 << 12

// Prune implements Store.
func (s *postgresStore) Prune(ctx context.Context, before uint32, limit int) (removed int, err error) {
	err = s.write(ctx, func(tx pgx.Tx, now *state) error {
		result, err := tx.Query(ctx, `DELETE FROM archive_envelope WHERE key IN (
			SELECT key FROM (
				(SELECT key, key AS age FROM archive_envelope WHERE key < $1 AND arrived IS NULL ORDER BY key LIMIT $2)
				UNION ALL
				(SELECT key, arrived AS age FROM archive_envelope WHERE arrived < $1 ORDER BY arrived LIMIT $2)
			) AS victim ORDER BY age LIMIT $2) RETURNING topic, octet_length(content)`, timeBytes(before), limit)
		if err != nil {
			return err
		}
		counts, size, n, err := sum(result)
		if err != nil {
			return err
		}
		removed = n
		now.rows -= int64(n)
		now.size -= size
		for t := range counts {
			counts[t] = -counts[t]
		}
		if n > 0 {
			err = countTopics(ctx, tx, now, counts)
		}
		if floor := now.version - remembered; err == nil && n < limit && floor > now.floor+remembered {
			now.floor = floor
			_, err = tx.Exec(ctx, `DELETE FROM archive_topic WHERE rows = 0 AND version <= $1`, floor)
		}
		return err
	})
	return removed, err
}

// Contents implements Store.
func (s *postgresStore) Contents(ctx context.Context) (c Contents, err error) {
	if err := s.refresh(ctx); err != nil {
		return Contents{}, err
	}
	err = s.pool.read(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT rows, size, pg_total_relation_size('archive_envelope') + pg_total_relation_size('archive_topic')
			FROM archive_state`).Scan(&c.Envelopes, &c.Bytes, &c.FileBytes)
		if err != nil || c.Envelopes == 0 {
			return err
		}
		oldest, newest, err := ends(ctx, tx)
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
	return c, nil
}

// Find implements Store.
func (s *postgresStore) Find(ctx context.Context, hash transport.Hash) (sent time.Time, found bool, err error) {
	err = s.pool.read(ctx, func(tx pgx.Tx) error {
		var raw []byte
		err := tx.QueryRow(ctx, `SELECT key FROM archive_envelope WHERE substring(key FROM 5) = $1 ORDER BY key DESC LIMIT 1`, hash[:]).Scan(&raw)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil && len(raw) == len(Key{}) {
			sent, found = moment(Key(raw).Sent()), true
		}
		return err
	})
	return sent, found, err
}

// Verify implements Store.
func (s *postgresStore) Verify(ctx context.Context, report func(done, total int)) (v Verified, err error) {
	err = s.pool.read(ctx, func(tx pgx.Tx) error {
		var rows, size int64
		if err := tx.QueryRow(ctx, `SELECT rows, size FROM archive_state`).Scan(&rows, &size); err != nil {
			return err
		}
		actual, err := verifyPostgres(ctx, tx, &v, func(done int) { report(done, max(done, int(rows))) })
		if err != nil {
			return err
		}
		if int64(v.Envelopes) != rows || actual != size {
			v.fault("the total is %d rows and %d bytes, but there are %d and %d", rows, size, v.Envelopes, actual)
		}
		return verifyPostgresIndexes(ctx, tx, &v)
	})
	return v, err
}

func verifyPostgres(ctx context.Context, tx pgx.Tx, v *Verified, report func(done int)) (size int64, err error) {
	result, err := tx.Query(ctx, `SELECT key, topic, ttl, form, arrived, content, span FROM archive_envelope ORDER BY key`)
	if err != nil {
		return 0, err
	}
	var p postgresRow
	var span int64
	_, err = pgx.ForEachRow(result, append(p.into(), &span), func() error {
		r, err := p.row()
		if err == nil {
			_, err = r.envelope()
		}
		if err == nil && r.Key.span() != span {
			err = fmt.Errorf("is indexed in span %d", span)
		}
		v.row(r.Key, err)
		size += int64(r.size())
		if v.Envelopes%verifyStep == 0 {
			report(v.Envelopes)
		}
		return nil
	})
	report(v.Envelopes)
	return size, err
}

// verifyPostgresIndexes checks what no single row shows.
func verifyPostgresIndexes(ctx context.Context, tx pgx.Tx, v *Verified) error {
	var places, topics int
	if err := tx.QueryRow(ctx, `SELECT count(span) FROM archive_envelope WHERE span >= 0`).Scan(&places); err != nil {
		return err
	}
	if places != v.Envelopes {
		v.fault("places in the index by topic: %d, but there are %d", places, v.Envelopes)
	}
	err := tx.QueryRow(ctx, `SELECT count(*) FROM (SELECT topic, count(*) AS n FROM archive_envelope GROUP BY topic) e
		FULL JOIN (SELECT topic, rows FROM archive_topic WHERE rows <> 0) t USING (topic) WHERE e.n IS DISTINCT FROM t.rows`).Scan(&topics)
	if err == nil && topics > 0 {
		v.fault("%d topics have another count of envelopes than they should", topics)
	}
	return err
}
