// Package rpc is the API of a node, as an edge that stands on the payload and
// the overlay slot, and the Go client for it.
//
// It speaks JSON-RPC 2.0 in the namespace strata: over a socket in the data
// folder, which only the user can open, and if the configuration says so over
// HTTP and WebSocket on this machine, with a token.
//
// # Calls
//
// A call becomes a command with a random Ref and waits for the event that
// answers it. If the payload layer restarts meanwhile, what got lost with it is
// asked again with the same Ref; see neighbour. A call that ran into its time
// limit may still be carried out: a text that was not confirmed is to be looked
// for in the history before it is said again.
//
// # Subscriptions
//
// strata_subscribe "messages" brings every message the node receives, and
// "statuses" how own messages move on. Each notice is a Notice. To miss nothing
// and see nothing twice: subscribe, then read the history, then take from the
// subscription what the history did not have. Messages are ordered by their
// stored time, which history and subscription share, and told apart by their id.
// A subscriber that does not keep up gets what fitted into its buffer, a last
// notice that says it was cut off, and nothing more.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
)

// namespace is the prefix of all methods.
const namespace = "strata"

// SocketName is the name of the socket in the data folder.
const SocketName = "strata.ipc"

// Node is what the API tells about the node it belongs to. The functions are
// called from many goroutines and must not wait long.
type Node struct {
	Version     Version
	Layers      func() []kernel.Status
	Loads       func() []actors.Load
	Quarantined func() []actors.Quarantined
	Trace       func(id []byte) []actors.Step

	// Residents describes who fills the slots, by slot.
	Residents func() map[string]Resident

	// Replace exchanges the resident of a slot; it may take a while. The text is
	// that of a layer configuration file, and file its name.
	Replace func(ctx context.Context, slot, file string, text []byte) error

	// Archive is the archive of the node, nil if it has none.
	Archive Archive

	// Services are further APIs by their namespaces, which are also served on the
	// addresses that need no token.
	Services map[string]any
}

// Server is the API edge. It is made by New, put on a stack by Stand, and then
// opened and closed by it.
type Server struct {
	cfg     Config
	dir     string
	node    Node
	credits *actors.Credits
	started time.Time

	payload     *neighbour[payload.Command]
	overlay     *neighbour[overlay.Command]
	transport   *neighbour[transport.Command]
	fetching    fetching
	subscribers subscribers
	usage       usage

	known struct { // what the layers said of themselves
		sync.Mutex
		identity Identity
		whole    chan struct{}           // closed when every slot has told its part of identity
		peers    map[overlay.PeerID]bool // bounded by the overlay's peer limit
		history  *History                // nil before the first word of it
	}

	running *running // nil while closed
}

// usage counts what the API did.
type usage struct {
	calls, busy, timedOut, turnedAway atomic.Uint64
}

// running is one life of the server, from Open to Close.
type running struct {
	rpc       *gethrpc.Server
	open      *gethrpc.Server // has what needs no token
	listeners []*listener
	life      context.Context // ends when the server closes
	stop      context.CancelFunc
	work      sync.WaitGroup // listeners, connections, subscriptions
	addresses map[string]string

	mu      sync.Mutex
	stopped bool
}

// New returns an API for the node whose data folder is dir. The configuration
// must be valid.
func New(cfg Config, dir string, node Node) *Server {
	s := &Server{
		cfg: cfg, dir: dir, node: node,
		credits:   actors.NewCredits(int64(cfg.MaxCalls)),
		started:   time.Now(),
		payload:   newNeighbour[payload.Command]("payload"),
		overlay:   newNeighbour[overlay.Command]("overlay"),
		transport: newNeighbour[transport.Command]("transport"),
	}
	s.fetching.by = map[layers.Ref][]Fetched{}
	s.subscribers.buffer = cfg.SubscriberBuffer
	s.known.peers = map[overlay.PeerID]bool{}
	s.known.whole = make(chan struct{})
	return s
}

// Slots are those that the API stands on if they are filled.
type Slots struct {
	Payload   actors.Slot[payload.Command, payload.Event]
	Envelope  actors.Slot[envelope.Command, envelope.Event]
	Transport actors.Slot[transport.Command, transport.Event]
	Overlay   actors.Slot[overlay.Command, overlay.Event]
}

// Stand puts the API on the slots of the stack that are filled. A relay has no
// payload layer; calls that need one are then answered with ErrNoLayer.
func (s *Server) Stand(stack *actors.Stack, on Slots) {
	t := actors.NewTop(stack, "rpc")
	if actors.Has(stack, on.Payload) {
		s.payload.send = actors.Hear(t, on.Payload, s.hearPayload).Send
	}
	if actors.Has(stack, on.Envelope) {
		actors.Hear(t, on.Envelope, s.hearEnvelope)
	}
	if actors.Has(stack, on.Transport) {
		s.transport.send = actors.Hear(t, on.Transport, s.hearTransport).Send
	}
	if actors.Has(stack, on.Overlay) {
		s.overlay.send = actors.Hear(t, on.Overlay, s.hearOverlay).Send
	}
	t.Run(s)
	if s.payload.send == nil && s.overlay.send == nil {
		close(s.known.whole)
	}
}

// Open starts to listen. It implements actors.Life.
func (s *Server) Open() error {
	r := &running{rpc: newRPC(), open: newRPC(), addresses: map[string]string{}}
	r.life, r.stop = context.WithCancel(context.Background())
	err := r.rpc.RegisterName(namespace, &api{s, r})
	for _, name := range slices.Sorted(maps.Keys(s.node.Services)) {
		err = errors.Join(err, r.rpc.RegisterName(name, s.node.Services[name]), r.open.RegisterName(name, s.node.Services[name]))
	}
	if err == nil {
		err = r.listen(s)
	}
	if err != nil {
		r.close()
		return fmt.Errorf("rpc: %w", err)
	}
	s.running = r
	// The layers below may have opened long ago, before anybody heard it.
	if s.payload.send != nil {
		s.payload.send(payload.Attach{})
	}
	if s.overlay.send != nil {
		s.overlay.send(overlay.Attach{})
	}
	return nil
}

func newRPC() *gethrpc.Server {
	r := gethrpc.NewServer()
	r.SetBatchLimits(maxBatch, maxBatchResponse)
	r.SetHTTPBodyLimit(MaxBody)
	r.SetWebsocketReadLimit(MaxBody)
	return r
}

// Close ends all calls, subscriptions and connections and returns when nothing
// of them is left. It implements actors.Life.
func (s *Server) Close() {
	if s.running != nil {
		s.running.close()
		s.running = nil
	}
}

// IPCPath returns the path of the socket.
func (s *Server) IPCPath() string { return filepath.Join(s.dir, SocketName) }

// Address returns where the open server listens for "http" or "websocket", or for
// "open http" or "open websocket" without a token. It is for after the start of
// the stack.
func (s *Server) Address(way string) string {
	if s.running == nil {
		return ""
	}
	return s.running.addresses[way]
}

func (r *running) close() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.stop() // ends waiting calls and subscriptions
	for _, l := range r.listeners {
		l.Close() // and all its connections, so that no write is stuck
	}
	r.rpc.Stop()
	r.open.Stop()
	r.work.Wait()
}

// begin counts in a goroutine of this life; it returns false if it is over.
func (r *running) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.work.Add(1)
	return true
}

func listChats(r layers.Ref) payload.Command { return payload.ListChats{Ref: r} }

func (s *Server) know(f func(*Identity)) {
	s.known.Lock()
	defer s.known.Unlock()
	f(&s.known.identity)
	i := s.known.identity
	if s.payload.send != nil && i.ChatKey.IsZero() || s.overlay.send != nil && i.Peer == "" {
		return
	}
	select {
	case <-s.known.whole:
	default:
		close(s.known.whole)
	}
}

// Self returns who the node is. Right after the start it waits until the layers
// have said so, at most as long as a call.
func (s *Server) Self(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	select {
	case <-s.known.whole:
		return s.identity(), nil
	case <-ctx.Done():
		return s.identity(), fmt.Errorf("rpc: who the node is: %w: %s", ctx.Err(), s.ailing())
	}
}

func (s *Server) identity() Identity {
	s.known.Lock()
	defer s.known.Unlock()
	return s.known.identity
}
