package archive

import (
	"context"
	"errors"
	"sync"
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

// mostWarm is how many connections are made before they are wanted.
const mostWarm = 8

// warm makes connections and has the database plan there what peers wait for:
// the first time that takes longer than all the rest. What fails is made again
// when it is wanted.
func (p *pool) warm(ctx context.Context) {
	var all sync.WaitGroup
	for range min(cap(p.free), mostWarm) {
		c := <-p.free
		all.Go(func() {
			defer func() { p.free <- c }()
			if c == nil {
				made, err := pgx.ConnectConfig(ctx, p.cfg)
				if err != nil {
					return
				}
				c = made
			}
			var b pgx.Batch
			b.Queue(byTopicSQL, []int32{0}, 0, 0, 1, []byte{}, []byte{}, 1)
			b.Queue(fetchSQL, [][]byte{{}}, int64(0))
			c.SendBatch(ctx, &b).Close() // an error comes again where it matters
		})
	}
	all.Wait()
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
