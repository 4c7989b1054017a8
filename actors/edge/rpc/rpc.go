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
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
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
	subscribers subscribers
	usage       usage

	known struct { // what the layers said of themselves
		sync.Mutex
		identity Identity
		whole    chan struct{}           // closed when every slot has told its part of identity
		peers    map[overlay.PeerID]bool // bounded by the overlay's peer limit
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
		credits: actors.NewCredits(int64(cfg.MaxCalls)),
		started: time.Now(),
		payload: newNeighbour[payload.Command]("payload"),
		overlay: newNeighbour[overlay.Command]("overlay"),
	}
	s.subscribers.buffer = cfg.SubscriberBuffer
	s.known.peers = map[overlay.PeerID]bool{}
	s.known.whole = make(chan struct{})
	return s
}

// Stand puts the API on the slots of the stack that are filled. A relay has no
// payload layer; calls that need one are then answered with ErrNoLayer.
func (s *Server) Stand(
	stack *actors.Stack,
	top actors.Slot[payload.Command, payload.Event],
	links actors.Slot[overlay.Command, overlay.Event],
) {
	t := actors.NewTop(stack, "rpc")
	if actors.Has(stack, top) {
		s.payload.send = actors.Hear(t, top, s.hearPayload).Send
	}
	if actors.Has(stack, links) {
		s.overlay.send = actors.Hear(t, links, s.hearOverlay).Send
	}
	t.Run(s)
	if s.payload.send == nil && s.overlay.send == nil {
		close(s.known.whole)
	}
}

// Open starts to listen. It implements actors.Life.
func (s *Server) Open() error {
	r := &running{rpc: gethrpc.NewServer(), addresses: map[string]string{}}
	r.life, r.stop = context.WithCancel(context.Background())
	r.rpc.SetBatchLimits(maxBatch, maxBatchResponse)
	r.rpc.SetHTTPBodyLimit(MaxBody)
	r.rpc.SetWebsocketReadLimit(MaxBody)
	err := r.rpc.RegisterName(namespace, &api{s, r})
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

// Address returns where the open server listens for "http" or "websocket". It is
// for after the start of the stack.
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

// hearPayload takes the events of the payload layer. It must not wait.
func (s *Server) hearPayload(e payload.Event) {
	switch e := e.(type) {
	case payload.Ready:
		s.know(func(i *Identity) { i.ChatKey = e.Self })
		s.payload.fence(listChats)
	case payload.Received:
		s.subscribers.publish(messages, Notice{Message: &e.Message})
	case payload.StatusChanged:
		c := StatusChange{e.ID, e.Chat, e.Status, e.Reason}
		s.subscribers.publish(statuses, Notice{Status: &c})
	case payload.Said:
		s.payload.answered(e.Ref, e)
	case payload.Done:
		s.payload.answered(e.Ref, e)
	case payload.Refused:
		s.payload.answered(e.Ref, e)
	case payload.Page:
		s.payload.answered(e.Ref, e)
	case payload.Chats:
		if !s.payload.passed(e.Ref, listChats) {
			s.payload.answered(e.Ref, e)
		}
	}
}

// hearOverlay takes the events of the overlay. It must not wait.
func (s *Server) hearOverlay(e overlay.Event) {
	switch e := e.(type) {
	case overlay.Ready:
		s.know(func(i *Identity) { i.Peer, i.Enode, i.ENR = e.ID.String(), e.Enode, e.ENR })
		s.known.Lock()
		clear(s.known.peers) // a Connected follows for every link that is alive
		s.known.Unlock()
		s.overlay.repeat() // harmless: adding, removing and listing can be done twice
	case overlay.Connected:
		s.known.Lock()
		s.known.peers[e.Peer] = true
		s.known.Unlock()
	case overlay.Disconnected:
		s.known.Lock()
		delete(s.known.peers, e.Peer)
		s.known.Unlock()
	case overlay.Done:
		s.overlay.answered(e.Ref, e)
	case overlay.Refused:
		s.overlay.answered(e.Ref, e)
	case overlay.Listed:
		s.overlay.answered(e.Ref, e)
	}
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
