package main

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

// Limits of the hostile transports.
const (
	maxData = 1 << 16 // bytes
	maxTTL  = 10 * time.Minute
)

var errClosed = errors.New("closed")

// polite is a transport that keeps every rule and carries nothing. The hostile
// ones differ from it by one method.
type polite struct {
	options transport.Options

	once       sync.Once
	subscribed chan struct{} // closed at the first Subscribe with topics
	closed     chan struct{}
	hello      sync.Once

	mu     sync.Mutex
	topics []transport.Topic
}

// servePolite serves t, which embeds a polite.
func servePolite(t transport.Transport) {
	transport.Serve(func() transport.Transport { return t })
}

// Open implements transport.Transport.
func (p *polite) Open(_ context.Context, o transport.Options) (transport.Info, error) {
	p.options = o
	p.subscribed, p.closed = make(chan struct{}), make(chan struct{})
	return transport.Info{
		Name: "hostile", Version: "1", MaxData: maxData, MaxTTL: maxTTL, Latency: time.Second,
	}, nil
}

// Subscribe implements transport.Transport.
func (p *polite) Subscribe(_ context.Context, f transport.Filter) error {
	p.mu.Lock()
	p.topics = f.Topics
	p.mu.Unlock()
	if len(f.Topics) > 0 {
		p.once.Do(func() { close(p.subscribed) })
	}
	return nil
}

// Publish implements transport.Transport.
func (p *polite) Publish(context.Context, []transport.Envelope) []error { return nil }

// Receive implements transport.Transport.
func (p *polite) Receive(ctx context.Context) (r transport.Report, err error) {
	one := 1
	p.hello.Do(func() { r.Peers = &one })
	if r.Peers != nil {
		return r, nil
	}
	select {
	case <-p.closed:
		return r, errClosed
	case <-ctx.Done():
		return r, ctx.Err()
	}
}

// Close implements transport.Transport.
func (p *polite) Close(context.Context) error {
	if p.closed != nil {
		close(p.closed)
	}
	return nil
}

// awaitTopics waits for the first topics, and returns one of them.
func (p *polite) awaitTopics(ctx context.Context) (transport.Topic, error) {
	select {
	case <-p.subscribed:
	case <-p.closed:
		return transport.Topic{}, errClosed
	case <-ctx.Done():
		return transport.Topic{}, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topics[0], nil
}

// fresh returns an envelope that nobody has seen.
func fresh(t transport.Topic, size int) transport.Envelope {
	data := make([]byte, size)
	rand.Read(data)
	return transport.Envelope{Topic: t, Data: data, Sent: time.Now().UTC().Truncate(time.Second), TTL: time.Minute}
}

// pouring is a transport that reports batches of the envelopes that make makes
// as fast as it can.
type pouring struct {
	polite
	make func(topic transport.Topic) transport.Envelope
}

// Receive implements transport.Transport.
func (p *pouring) Receive(ctx context.Context) (transport.Report, error) {
	one := 1
	topic, err := p.awaitTopics(ctx)
	r := transport.Report{Peers: &one}
	for range transport.MaxBatch {
		r.Envelopes = append(r.Envelopes, p.make(topic))
	}
	return r, err
}

// pour serves a transport that reports the envelopes of make.
func pour(make func(topic transport.Topic) transport.Envelope) {
	servePolite(&pouring{make: make})
}
