package archive

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// pool lends connections, made when they are first wanted and again when they
// broke.
type pool struct {
	cfg  *pgx.ConnConfig
	free chan *pgx.Conn // nil: to be made
}

func newPool(cfg *pgx.ConnConfig, size int) *pool {
	p := &pool{cfg, make(chan *pgx.Conn, size)}
	for range size {
		p.free <- nil
	}
	return p
}

// with lends a connection to f.
func (p *pool) with(ctx context.Context, f func(*pgx.Conn) error) (err error) {
	var c *pgx.Conn
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.free <- c }()
	if c != nil && c.IsClosed() {
		c = nil
	}
	if c == nil {
		if c, err = pgx.ConnectConfig(ctx, p.cfg); err != nil {
			c = nil
			return err
		}
	}
	return f(c)
}

// read runs f within one snapshot.
func (p *pool) read(ctx context.Context, f func(pgx.Tx) error) error {
	return p.with(ctx, func(c *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
	})
}

// closeTimeout is how long a database may take to be told good-bye.
const closeTimeout = 2 * time.Second

// close waits until all connections are back.
func (p *pool) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for range cap(p.free) {
		if c := <-p.free; c != nil && !c.IsClosed() {
			errs = append(errs, c.Close(ctx))
		}
	}
	for range cap(p.free) {
		p.free <- nil
	}
	return errors.Join(errs...)
}
