package archive

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Until implements Store.
func (s *postgresStore) Until(ctx context.Context, source string) (until uint32, has bool, err error) {
	err = s.pool.with(ctx, func(c *pgx.Conn) error {
		var n int64
		err := c.QueryRow(ctx, `SELECT until FROM archive_source WHERE id = $1`, source).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		until, has = uint32(n), err == nil
		return err
	})
	return until, has, err
}

// SetUntil implements Store.
func (s *postgresStore) SetUntil(ctx context.Context, source string, until, now uint32) error {
	return s.pool.with(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, `INSERT INTO archive_source AS s (id, until) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE
			SET until = CASE WHEN s.until > $3 THEN excluded.until ELSE greatest(s.until, excluded.until) END`,
			source, int64(until), int64(now))
		return err
	})
}
