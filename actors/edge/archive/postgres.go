package archive

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"

	"github.com/stratanode/strata/layers/transport"
)

//go:embed migrations/*.sql
var postgresMigrations embed.FS

// postgresVersion is the table that says which migrations were made.
const postgresVersion = "archive_version"

// postgresStore is the archive in a database that other servers may share.
type postgresStore struct {
	pool   *pool
	topics topicSet

	mu      sync.Mutex // guards the rest, and what is learnt of topics
	version int64      // of the topics that are known
}

// openPostgres connects to a database with up to conns connections for searches
// and one to write.
func openPostgres(ctx context.Context, database string, conns int) (*postgresStore, error) {
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	// A plan that reads the whole table, or all rows of a topic to sort them, is
	// never the right one here, whatever the statistics say of a young table.
	// So one plan does for all parameters, and none need be made for each statement.
	for k, v := range map[string]string{
		"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan",
	} {
		if _, set := cfg.RuntimeParams[k]; !set {
			cfg.RuntimeParams[k] = v
		}
	}
	s := &postgresStore{pool: newPool(cfg, conns+1)}
	if err := s.pool.with(ctx, func(c *pgx.Conn) error { return migratePostgres(ctx, c) }); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.pool.warm(ctx)
	return s, nil
}

// migratePostgres brings the database forward. Several servers may do so at the
// same time: each waits for the one before.
func migratePostgres(ctx context.Context, c *pgx.Conn) error {
	m, err := migrate.NewMigrator(ctx, c, postgresVersion)
	if err != nil {
		return err
	}
	files, err := fs.Sub(postgresMigrations, "migrations")
	if err != nil {
		return err
	}
	if err := m.LoadMigrations(files); err != nil {
		return err
	}
	return m.Migrate(ctx)
}

// state is the row that who writes holds.
type state struct{ rows, size, version, floor int64 }

// write runs f as one transaction that no other server writes beside.
func (s *postgresStore) write(ctx context.Context, f func(pgx.Tx, *state) error) error {
	return s.pool.with(ctx, func(c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			var now state
			err := tx.QueryRow(ctx, `SELECT rows, size, version, floor FROM archive_state FOR UPDATE`).
				Scan(&now.rows, &now.size, &now.version, &now.floor)
			if err != nil {
				return err
			}
			before := now
			if err := f(tx, &now); err != nil || now == before {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE archive_state SET rows = $1, size = $2, version = $3, floor = $4`,
				now.rows, now.size, now.version, now.floor)
			return err
		})
	})
}

// Insert implements Store.
func (s *postgresStore) Insert(ctx context.Context, rows []Row) (added int, err error) {
	var c columns
	for i := range rows {
		c.add(&rows[i])
	}
	err = s.write(ctx, func(tx pgx.Tx, now *state) error {
		result, err := tx.Query(ctx, `INSERT INTO archive_envelope (key, topic, span, ttl, arrived, form, content)
			SELECT * FROM unnest($1::bytea[], $2::integer[], $3::integer[], $4::bigint[], $5::bytea[], $6::smallint[], $7::bytea[])
			ON CONFLICT DO NOTHING RETURNING topic, octet_length(content)`,
			c.keys, c.topics, c.spans, c.ttls, c.arrived, c.forms, c.contents)
		if err != nil {
			return err
		}
		counts, size, n, err := sum(result)
		if err != nil || n == 0 {
			return err
		}
		added = n
		now.rows += int64(n)
		now.size += size
		return countTopics(ctx, tx, now, counts)
	})
	return added, err
}

// columns are rows turned on their side.
type columns struct {
	keys, contents, arrived [][]byte
	topics, spans           []int32
	ttls                    []int64
	forms                   []int16
}

func (c *columns) add(r *Row) {
	c.keys = append(c.keys, r.Key[:])
	c.topics = append(c.topics, int32(number(r.Topic)))
	c.spans = append(c.spans, int32(r.Key.span()))
	c.ttls = append(c.ttls, int64(r.TTL))
	var arrived []byte
	if r.Arrived != 0 {
		arrived = timeBytes(r.Arrived)
	}
	c.arrived = append(c.arrived, arrived)
	c.forms = append(c.forms, int16(r.Form))
	content := r.Content
	if content == nil {
		content = []byte{} // nil would be NULL
	}
	c.contents = append(c.contents, content)
}

// sum counts the rows of a result, each a topic and the length of its content.
func sum(result pgx.Rows) (topics map[int32]int64, size int64, n int, err error) {
	topics = map[int32]int64{}
	var topic, length int32
	_, err = pgx.ForEachRow(result, []any{&topic, &length}, func() error {
		topics[topic]++
		size += int64(length) + rowCost
		n++
		return nil
	})
	return topics, size, n, err
}

// countTopics adds to the counts of topics, or takes from them.
func countTopics(ctx context.Context, tx pgx.Tx, now *state, counts map[int32]int64) error {
	topics, rows := make([]int32, 0, len(counts)), make([]int64, 0, len(counts))
	for t, n := range counts {
		topics, rows = append(topics, t), append(rows, n)
	}
	now.version++
	_, err := tx.Exec(ctx, `INSERT INTO archive_topic AS t (topic, rows, version)
		SELECT topic, n, $3 FROM unnest($1::integer[], $2::bigint[]) AS u (topic, n)
		ON CONFLICT (topic) DO UPDATE SET rows = t.rows + excluded.rows,
		version = CASE WHEN (t.rows = 0) = (t.rows + excluded.rows = 0) THEN t.version ELSE excluded.version END`,
		topics, rows, now.version)
	return err
}

// Load implements Store.
func (s *postgresStore) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = 0
	s.topics.begin()
	if err := s.learn(ctx); err != nil {
		return err
	}
	s.topics.ready()
	return nil
}

// refresh learns what topics have come and gone since the last time.
func (s *postgresStore) refresh(ctx context.Context) error {
	if !s.topics.usable() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.learn(ctx)
}

func (s *postgresStore) learn(ctx context.Context) error {
	return s.pool.read(ctx, func(tx pgx.Tx) error {
		var version, floor int64
		if err := tx.QueryRow(ctx, `SELECT version, floor FROM archive_state`).Scan(&version, &floor); err != nil || version == s.version {
			return err
		}
		if s.version < floor && s.version > 0 {
			s.topics.begin()
			s.version = 0
			defer s.topics.ready()
		}
		result, err := tx.Query(ctx, `SELECT topic, rows FROM archive_topic WHERE version > $1`, s.version)
		if err != nil {
			return err
		}
		var topic int32
		var rows int64
		_, err = pgx.ForEachRow(result, []any{&topic, &rows}, func() error {
			s.learnt(topicOf(uint32(topic)), rows)
			return nil
		})
		if err == nil {
			s.version = version
		}
		return err
	})
}

// learnt notes whether a topic is there. Its count is that of when it came.
func (s *postgresStore) learnt(t transport.Topic, rows int64) {
	switch has := s.topics.has(t); {
	case rows > 0 && !has:
		s.topics.add(t, int(min(rows, 1<<31)))
	case rows <= 0 && has:
		s.topics.add(t, -1<<31)
	}
}

// Close implements Store.
func (s *postgresStore) Close() error { return s.pool.close() }
