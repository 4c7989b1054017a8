package transporttest

import (
	"context"
	"errors"
	"fmt"
)

func processStarts(_ context.Context, b *bench) error {
	t, err := b.make(0)
	if err != nil {
		b.dead = fmt.Errorf("process.starts failed")
		return err
	}
	p, ok := t.(Process)
	if !ok {
		return skipped("the transport is not a process")
	}
	b.own = append(b.own, &node{bench: b, t: t, changed: make(chan struct{})})
	if p.PID() <= 0 {
		return fmt.Errorf("the process has the id %d", p.PID())
	}
	return nil
}

// ended opens a process and closes it.
func (b *bench) ended(ctx context.Context) (Process, error) {
	n, err := b.quiet(ctx)
	if err != nil {
		return nil, err
	}
	p, ok := n.t.(Process)
	if !ok {
		return nil, skipped("the transport is not a process")
	}
	n.start()
	return p, errors.Join(n.close(ctx), n.gone(ctx))
}

func processExits(ctx context.Context, b *bench) error {
	_, err := b.ended(ctx)
	return err
}

func processNoOrphan(ctx context.Context, b *bench) error {
	p, err := b.ended(ctx)
	if err != nil {
		return err
	}
	if alive(p.PID()) {
		return fmt.Errorf("the process %d is still there", p.PID())
	}
	return nil
}
