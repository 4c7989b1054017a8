package rpc

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// listen opens all ways in that are configured. What it has opened when one
// fails, close closes.
func (r *running) listen(s *Server) error {
	l, err := listenIPC(s.IPCPath())
	if err != nil {
		return err
	}
	r.serveIPC(r.add(l, "ipc", s))
	if s.cfg.HTTP != "" || s.cfg.WebSocket != "" {
		token, err := openToken(s.cfg.tokenPath(s.dir))
		if err != nil {
			return fmt.Errorf("token_file: %w", err)
		}
		if err := r.listenTCP(s, "", s.cfg.HTTP, s.cfg.WebSocket, r.gate(s, token)); err != nil {
			return err
		}
	}
	return r.listenTCP(s, openPrefix, s.cfg.OpenHTTP, s.cfg.OpenWebSocket, r.openGate(s))
}

// openPrefix is before the names of the ways in that need no token.
const openPrefix = "open "

// listenTCP serves HTTP and WebSocket, each on its address if it has one. They
// may share it.
func (r *running) listenTCP(s *Server, prefix, http, websocket string, g gate) error {
	if http != "" {
		of := g
		of.http, of.websocket = true, http == websocket
		if err := r.serveTCP(s, prefix+"http", http, &of); err != nil {
			return err
		}
		if of.websocket {
			r.addresses[prefix+"websocket"] = r.addresses[prefix+"http"]
			return nil
		}
	}
	if websocket == "" {
		return nil
	}
	g.websocket = true
	return r.serveTCP(s, prefix+"websocket", websocket, &g)
}

// add takes l into this life.
func (r *running) add(l net.Listener, way string, s *Server) *listener {
	b := &listener{Listener: l, most: s.cfg.MaxConnections, open: map[net.Conn]bool{}, turnedAway: &s.usage.turnedAway}
	r.listeners = append(r.listeners, b)
	r.addresses[way] = l.Addr().String()
	return b
}

func (r *running) serveIPC(l *listener) {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		for {
			c, err := l.Accept()
			switch {
			case r.life.Err() != nil || errors.Is(err, net.ErrClosed):
				return
			case err != nil: // the client went away, or there are no descriptors left
				r.pause()
				continue
			case !r.begin():
				return
			}
			go func() {
				defer r.work.Done()
				r.rpc.ServeCodec(gethrpc.NewCodec(&measured{Conn: c}), 0)
			}()
		}
	}()
}

// pause keeps a loop that fails from spinning.
func (r *running) pause() {
	select {
	case <-time.After(acceptPause):
	case <-r.life.Done():
	}
}

func (r *running) serveTCP(s *Server, way, address string, g *gate) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s: %w", way, err)
	}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err != nil || !isLoopback(host) {
		l.Close()
		return fmt.Errorf("%s: %s leads to %s, which is not a loopback address", way, address, l.Addr())
	}
	b := r.add(l, way, s)
	server := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      s.cfg.CallTimeout + workTimeout + writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          silent(),
	}
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		server.Serve(b) // ends when the listener is closed
		server.Close()
	}()
	return nil
}

// listener is a net.Listener that bounds its connections and closes them with
// itself.
type listener struct {
	net.Listener
	most       int
	turnedAway *atomic.Uint64

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// Accept returns the next connection. It closes at once what is beyond the
// bound.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t := newTracked(c, l)
		if l.enter(t) {
			return t, nil
		}
		c.Close()
		l.turnedAway.Add(1)
	}
}

func (l *listener) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.most {
		return false
	}
	l.open[c] = true
	return true
}

// Close closes the listener and all its connections.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	open := l.open
	l.open = map[net.Conn]bool{}
	l.mu.Unlock()
	for c := range open {
		c.Close()
	}
	return err
}

// errTooLong ends a connection on which a request is longer than MaxBody.
var errTooLong = errors.New("rpc: request is longer than 5 MiB")

// measured is a stream of JSON values of which none may be longer than MaxBody:
// the codec would read one of any length into memory. It follows no more of
// JSON than is needed to see where a value ends.
type measured struct {
	net.Conn
	size    int // of the value being read
	depth   int
	quoted  bool
	escaped bool
}

// Read implements io.Reader.
func (m *measured) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	for _, c := range b[:n] {
		m.size++
		switch {
		case m.escaped:
			m.escaped = false
		case m.quoted:
			m.escaped = c == '\\'
			m.quoted = c != '"'
		case c == '"':
			m.quoted = true
		case c == '{', c == '[':
			m.depth++
		case c == '}', c == ']':
			if m.depth--; m.depth <= 0 {
				m.depth, m.size = 0, 0
			}
		}
	}
	if m.size > MaxBody {
		return 0, errTooLong
	}
	return n, err
}

// listenIPC opens the socket at path, for this user alone. What a process that
// is no more has left there is removed; the socket of a live one is not.
func listenIPC(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the socket is %d bytes long and the system takes %d: "+
			"choose a shorter data folder than %s", len(path), maxSocketPath, filepath.Dir(path))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := listenPrivate(path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale makes room for a socket at path.
func removeStale(path string) error {
	switch i, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case i.Mode().Type() != os.ModeSocket && !isSocket(i):
		return fmt.Errorf("%s is in the way and no socket", path)
	}
	c, err := net.DialTimeout("unix", path, headerTimeout)
	if err == nil {
		c.Close()
		return fmt.Errorf("another node is listening on %s", path)
	}
	if !nobodyListens(err) {
		return fmt.Errorf("who listens on %s: %w", path, err)
	}
	return os.Remove(path)
}
