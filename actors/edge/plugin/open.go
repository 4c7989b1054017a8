package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Open implements actors.Edge: it starts the transport, opens it, and reports
// Ready.
func (e *Edge) Open() error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.StartTimeout)
	defer cancel()
	info, err := e.open(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", e.home.name, err)
		e.home.broke(err)
		e.mu.Lock()
		e.end()
		e.mu.Unlock()
		go e.giveUp(false) // the kernel may wait a minute before it calls Close
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.info = info
	e.home.opened(begun)
	e.answerLeft()
	e.ready()
	e.work()
	return nil
}

func (e *Edge) open(ctx context.Context) (info transport.Info, err error) {
	settings, err := e.cfg.settings()
	if err != nil {
		return info, err
	}
	running, err := e.start(ctx)
	if err != nil {
		return info, err
	}
	e.mu.Lock()
	e.running = running
	e.mu.Unlock()
	options := transport.Options{Config: settings, Dir: e.cfg.Dir, Log: e.log, Now: time.Now, Rand: rand.Reader}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	type opened struct {
		info transport.Info
		err  error
	}
	got := make(chan opened, 1)
	go func() {
		var o opened
		defer func() { got <- o }()
		defer recovered(&o.err, "Open")
		if o.info, o.err = running.Open(ctx, options); o.err != nil {
			o.err = openError(o.err)
		}
	}()
	select {
	case o := <-got:
		if o.err != nil && isBroken(running) && wait(running.Done(), killLimit) {
			return info, ended(running) // how it crashed says more than that it is gone
		}
		if o.err != nil {
			return info, o.err
		}
		return checkInfo(o.info)
	case <-running.Done():
		return info, ended(running)
	case <-ctx.Done():
		return info, errors.New("Open did not return in time")
	}
}

// start runs the opener. A transport that comes to life too late is ended.
func (e *Edge) start(ctx context.Context) (Running, error) {
	type started struct {
		running Running
		err     error
	}
	got := make(chan started)
	go func() {
		var s started
		func() {
			defer recovered(&s.err, "start")
			s.running, s.err = e.home.open(ctx)
		}()
		select {
		case got <- s:
		case <-ctx.Done():
			if s.running != nil {
				s.running.Kill()
			}
		}
	}()
	select {
	case s := <-got:
		if s.err == nil && s.running == nil {
			s.err = errors.New("nothing was started")
		}
		if s.err != nil {
			return nil, fmt.Errorf("start: %w", s.err)
		}
		return s.running, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("start: not done within start_timeout, %v", e.cfg.StartTimeout)
	}
}

// openError makes the fault of a setting one of the configuration file.
func openError(err error) error {
	bad := typedError(err)
	if bad.Code == transport.CodeInvalid && bad.Field != "" {
		return fmt.Errorf("config.%s: %s", bad.Field, bad.Reason)
	}
	return fmt.Errorf("Open: %s", words(err))
}

// work starts the goroutines. mu is held.
func (e *Edge) work() {
	calls := 1
	if p, ok := e.running.(pipelined); ok {
		calls = max(1, min(p.PublishCalls(), maxCalls))
	}
	for range calls {
		e.workers.Go(e.publisher)
	}
	e.workers.Go(e.subscriber)
	e.workers.Go(e.receiver)
	e.workers.Go(e.pinger)
	if counter, ok := e.running.(transport.Counter); ok && e.info.Abilities.Stats {
		e.workers.Go(func() { e.poll(counter) })
	}
	idle := make(chan struct{})
	e.idle = idle
	go func() {
		e.workers.Wait()
		close(idle)
	}()
}
