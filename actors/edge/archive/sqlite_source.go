package archive

import "context"

// Until implements Store.
func (s *sqliteStore) Until(ctx context.Context, source string) (until uint32, has bool, err error) {
	err = s.read(ctx, func(r *sqliteReader) error {
		q, _, err := r.conn.Prepare(`SELECT until FROM source WHERE id = ?1`)
		if err != nil {
			return err
		}
		defer q.Close()
		if err := q.BindText(1, source); err != nil {
			return err
		}
		if has = q.Step(); has {
			until = uint32(q.ColumnInt64(0))
		}
		return q.Err()
	})
	return until, has, err
}

// SetUntil implements Store.
func (s *sqliteStore) SetUntil(ctx context.Context, source string, until, now uint32) error {
	return s.write(ctx, func(w *sqliteWriter) error {
		q, _, err := w.conn.Prepare(`INSERT INTO source (id, until) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE
			SET until = CASE WHEN source.until > ?3 THEN excluded.until ELSE max(source.until, excluded.until) END`)
		if err != nil {
			return err
		}
		defer q.Close()
		b := binder{stmt: q}
		b.text(source)
		b.number(int64(until))
		b.number(int64(now))
		return b.exec()
	})
}
