package rpc

import (
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// gate is what a request over TCP has to pass. Any program of the machine, and
// any page in its browser, can send one.
type gate struct {
	of         *running
	token      [32]byte // SHA-256 of it
	free       bool     // none is needed
	rpc        http.Handler
	sockets    http.Handler
	http       bool
	websocket  bool
	turnedAway *atomic.Uint64
}

// openGate lets everybody of this machine in, to what needs no token.
func (r *running) openGate(s *Server) gate {
	return gate{
		of: r, free: true, turnedAway: &s.usage.turnedAway,
		rpc: r.open, sockets: r.open.WebsocketHandler([]string{"*"}),
	}
}

func (r *running) gate(s *Server, token string) gate {
	return gate{
		of: r, token: sha256.Sum256([]byte(token)), turnedAway: &s.usage.turnedAway,
		rpc:     r.rpc,
		sockets: r.rpc.WebsocketHandler([]string{"*"}), // the origin is checked here
	}
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if !g.of.begin() {
		http.Error(w, "the node is stopping", http.StatusServiceUnavailable)
		return
	}
	defer g.of.work.Done()
	socket := strings.EqualFold(q.Header.Get("Upgrade"), "websocket")
	switch {
	case !isLoopback(hostOf(q.Host)):
		// A page that has pointed its own name to this machine (DNS rebinding).
		g.refuse(w, "the Host header is not this machine", http.StatusForbidden)
	case !sameOrigin(q):
		g.refuse(w, "pages of other origins may not call", http.StatusForbidden)
	case !g.free && !g.authorised(q):
		w.Header().Set("WWW-Authenticate", "Bearer")
		g.refuse(w, "no valid bearer token", http.StatusUnauthorized)
	case socket && g.websocket:
		g.sockets.ServeHTTP(w, q)
	case socket || !g.http:
		g.refuse(w, "not served here", http.StatusNotFound)
	case q.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		g.refuse(w, "only POST", http.StatusMethodNotAllowed)
	default:
		g.rpc.ServeHTTP(w, q)
	}
}

func (g *gate) refuse(w http.ResponseWriter, why string, code int) {
	g.turnedAway.Add(1)
	http.Error(w, why, code)
}

// authorised compares the token in constant time, over hashes so that its length
// does not show either.
func (g *gate) authorised(q *http.Request) bool {
	scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	same := subtle.ConstantTimeCompare(given[:], g.token[:]) == 1
	return same && strings.EqualFold(scheme, "Bearer")
}

// hostOf cuts the port off.
func hostOf(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

// sameOrigin reports whether the request comes of no page or of one of the same
// address. Nothing is ever allowed to others, so there are no CORS headers.
func sameOrigin(q *http.Request) bool {
	origin := q.Header.Get("Origin")
	return origin == "" && q.Header.Get("Sec-Fetch-Site") != "cross-site" ||
		strings.EqualFold(origin, "http://"+q.Host)
}

// silent is a log for what net/http would write about what strangers do.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
