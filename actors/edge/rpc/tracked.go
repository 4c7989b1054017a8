package rpc

import (
	"net"
	"sync"
)

const (
	// maxAhead is how much a client may ask, in bytes, beyond what it was answered
	// when it does not take the next answer. Each call takes a goroutine until it is
	// answered, some 10 KB for 40 bytes, so a client that asks and asks and reads
	// little would fill the memory.
	maxAhead = 64 << 10

	// maxAnswered is what one answer counts at most, in bytes: a long one is one
	// answer all the same.
	maxAnswered = 1 << 10
)

// tracked is a connection of a listener. It does not hear a client for long that
// does not listen, and ends when an answer cannot be written: what comes after a
// part of one makes no sense.
type tracked struct {
	net.Conn
	of *listener

	mu      sync.Mutex
	change  sync.Cond // writing or closed
	writing int       // answers under way
	ahead   int       // bytes read, less those that were answered
	closed  bool
}

func newTracked(c net.Conn, of *listener) *tracked {
	t := &tracked{Conn: c, of: of}
	t.change.L = &t.mu
	return t
}

// Read implements net.Conn.
func (t *tracked) Read(b []byte) (int, error) {
	t.mu.Lock()
	for t.writing > 0 && t.ahead >= maxAhead && !t.closed {
		t.change.Wait() // not for long: every write has a time limit
	}
	t.mu.Unlock()
	n, err := t.Conn.Read(b)
	t.mu.Lock()
	t.ahead += n
	t.mu.Unlock()
	return n, err
}

// Write implements net.Conn.
func (t *tracked) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.writing++
	t.mu.Unlock()
	n, err := t.Conn.Write(b)
	t.mu.Lock()
	t.writing--
	t.ahead = max(0, t.ahead-min(n, maxAnswered))
	t.change.Broadcast()
	t.mu.Unlock()
	if err != nil {
		t.Close()
	}
	return n, err
}

// Close implements net.Conn.
func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	t.mu.Lock()
	t.closed = true
	t.change.Broadcast()
	t.mu.Unlock()
	return t.Conn.Close()
}
