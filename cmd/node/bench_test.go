package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
	"github.com/stratanode/strata/layers/secure/ratchet"
	"github.com/stratanode/strata/layers/transport"
)

// The end-to-end figures of docs/benchmarks.md. Each reports the median and the
// 99th percentile of single messages, sent one after the other.

var benchLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// reportLatencies turns measurements into p50 and p99.
func reportLatencies(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[(len(all)-1)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// benchNode boots a node from a configuration text.
func benchNode(b *testing.B, name, text string) *node {
	b.Helper()
	dir := b.TempDir()
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, err := (&fileFlags{files: []string{file}, dataDir: filepath.Join(dir, "data")}).load()
	if err != nil {
		b.Fatal(err)
	}
	n, err := boot(cfg, store.FileKey(), benchLog, bootOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(n.close)
	return n
}

func newRef() (r layers.Ref) {
	_, _ = rand.Read(r[:])
	return r
}

// tap is an edge on one slot of a stack, for a measurement.
type tap struct{ opened chan struct{} }

func (t tap) Open() error { close(t.opened); return nil }
func (t tap) Close()      {}

// carrier is a bare relay with a tap on its transport.
type carrier struct {
	in     actors.Inlet[transport.Command]
	events chan transport.Event
	enode  chan string
}

func newCarrier(b *testing.B, static ...string) *carrier {
	b.Helper()
	quoted, err := json.Marshal(append([]string{}, static...))
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := loadText(b, fmt.Sprintf(`
data_dir: %s
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0", static_nodes: %s}}
  transport: {use: whisper, settings: {interest: everything}}
`, b.TempDir(), quoted))
	if err != nil {
		b.Fatal(err)
	}
	key, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	k := kernel.New(benchLog)
	s := actors.NewStack(k, nopStore(b), nil, benchLog)
	if err := fill(s, cfg, keys{node: key}, newResidents(cfg), benchLog); err != nil {
		b.Fatal(err)
	}
	c := &carrier{events: make(chan transport.Event, 16), enode: make(chan string, 16)}
	top := actors.NewTop(s, "tap")
	c.in = actors.Hear(top, transportSlot, func(e transport.Event) {
		switch e.(type) {
		case transport.Peers, transport.Received:
			select {
			case c.events <- e:
			default: // nobody waits for it
			}
		}
	})
	links := actors.Hear(top, overlaySlot, func(e overlay.Event) {
		if r, ok := e.(overlay.Ready); ok {
			select {
			case c.enode <- r.Enode:
			default:
			}
		}
	})
	t := tap{make(chan struct{})}
	top.Run(t)
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(k.Stop)
	links.Send(overlay.Attach{})
	return c
}

// next returns the next event of type E.
func next[E transport.Event](b *testing.B, c *carrier) E {
	b.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case e := <-c.events:
			if e, ok := e.(E); ok {
				return e
			}
		case <-limit:
			b.Fatal("no such event")
		}
	}
}

// BenchmarkWhisperHop is one hop over loopback RLPx: from Publish in one node to
// Received in its peer.
func BenchmarkWhisperHop(b *testing.B) {
	to := newCarrier(b)
	from := newCarrier(b, <-to.enode)
	topic := transport.TopicOf("bench")
	to.in.Send(transport.Subscribe{Topics: []transport.Topic{topic}})
	for next[transport.Peers](b, from).Count == 0 {
	}
	data := make([]byte, 540)
	var all []time.Duration
	for i := range b.N {
		data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
		begin := time.Now()
		from.in.Send(transport.Publish{Ref: newRef(), Topic: topic, Data: slices.Clone(data)})
		next[transport.Received](b, to)
		all = append(all, time.Since(begin))
	}
	reportLatencies(b, all)
}

const (
	benchRelay = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0"}}
  transport: {use: whisper, settings: {interest: everything}}
`
	benchClient = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {inbound: false, static_nodes: ["%s"]}}
  transport: {use: whisper}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds}
  payload: {use: status}
`
)

// BenchmarkPrivateMessage is a 1:1 message between two clients over a relay:
// from the call to say it until it is durable at its receiver and reported.
func BenchmarkPrivateMessage(b *testing.B) {
	relay := benchNode(b, "relay", benchRelay)
	id, err := relay.server.Self(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	alice := benchNode(b, "alice", fmt.Sprintf(benchClient, id.Enode))
	bob := benchNode(b, "bob", fmt.Sprintf(benchClient, id.Enode))
	caller, err := rpc.Dial(b.Context(), alice.server.IPCPath())
	if err != nil {
		b.Fatal(err)
	}
	defer caller.Close()
	listener, err := rpc.Dial(b.Context(), bob.server.IPCPath())
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	messages, err := listener.Messages(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	chat := payload.ChatID(bob.keys.identity.Public().String())
	var all []time.Duration
	for i := range b.N + 5 {
		text := fmt.Sprint("message ", i)
		begin := time.Now()
		if _, err := caller.Say(b.Context(), chat, text); err != nil {
			b.Fatal(err)
		}
		for arrived := false; !arrived; {
			notice, err := messages.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			arrived = notice.Message != nil && notice.Message.Text == text
		}
		if i >= 5 { // after first contact
			all = append(all, time.Since(begin))
		}
	}
	reportLatencies(b, all)
}

// BenchmarkRatchetDurable is encryption and decryption of a private message by
// two secure layers, running as actors on stores on disk: from Send to Received,
// with both states saved.
func BenchmarkRatchetDurable(b *testing.B) {
	alice, bob := newSecureEnd(b), newSecureEnd(b)
	alice.peer, bob.peer = bob, alice
	<-alice.listens
	<-bob.listens
	for i := range b.N + 5 {
		begin := time.Now()
		alice.in.Send(secure.Send{Ref: newRef(), To: bob.self.Public(), Body: make([]byte, 200)})
		<-bob.got
		if i >= 5 {
			alice.took = append(alice.took, time.Since(begin))
		} else {
			// Answers make it a session with a ratchet on both sides.
			bob.in.Send(secure.Send{Ref: newRef(), To: alice.self.Public(), Body: []byte("ack")})
			<-alice.got
		}
	}
	reportLatencies(b, alice.took)
}

// secureEnd is a secure layer on a wire to another one, without envelopes.
type secureEnd struct {
	self layers.PrivateKey
	in   actors.Inlet[secure.Command]
	out  actors.Outlet[envelope.Event]
	got  chan secure.Received
	peer *secureEnd
	took []time.Duration

	listens chan struct{} // closed when the first filters are set
	mu      sync.Mutex
	filters []envelope.Filter
}

func newSecureEnd(b *testing.B) *secureEnd {
	b.Helper()
	self, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	e := &secureEnd{self: self, got: make(chan secure.Received, 16), listens: make(chan struct{})}
	k := kernel.New(benchLog)
	s := actors.NewStack(k, nopStore(b), nil, benchLog)
	actors.StandEdge(s, envelopeSlot, func(out actors.Outlet[envelope.Event]) actors.Edge[envelope.Command] {
		e.out = out
		return e
	})
	actors.Stand(s, secureSlot, envelopeSlot, func(saved layers.Saved) *ratchet.Node {
		return ratchet.New(ratchet.DefaultConfig(), self, rand.Reader, saved)
	})
	top := actors.NewTop(s, "tap")
	e.in = actors.Hear(top, secureSlot, func(ev secure.Event) {
		if r, ok := ev.(secure.Received); ok {
			e.got <- r
		}
	})
	top.Run(tap{make(chan struct{})})
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(k.Stop)
	return e
}

// Open implements actors.Edge.
func (e *secureEnd) Open() error { return nil }

// Close implements actors.Edge.
func (e *secureEnd) Close() {}

// FromAbove implements actors.Edge: what is sealed here is opened over there.
func (e *secureEnd) FromAbove(c envelope.Command) {
	switch c := c.(type) {
	case envelope.Attach:
		e.out.Send(envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 19, MaxTTL: time.Hour, Latency: time.Second}})
	case envelope.Listen:
		e.mu.Lock()
		if e.filters == nil {
			close(e.listens)
		}
		e.filters = c.Filters
		e.mu.Unlock()
	case envelope.Seal:
		for _, f := range e.peer.listening(c.Topic) {
			e.peer.out.Send(envelope.Opened{
				Hash: layers.Keccak256(c.Ref[:]), Filter: f.ID, Topic: c.Topic, Payload: c.Payload,
				Signer: e.self.Public(), Sent: time.Now(),
			})
		}
		e.out.Send(envelope.Relayed{Ref: c.Ref})
	}
}

func (e *secureEnd) listening(t envelope.Topic) []envelope.Filter {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.filters), func(f envelope.Filter) bool { return f.Topic != t })
}

// nopStore is a store on disk in a folder of its own.
func nopStore(b *testing.B) actors.Store {
	b.Helper()
	s, err := store.Open(b.TempDir(), store.Options{Key: store.FileKey()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return actors.Durable(s)
}

func loadText(b *testing.B, text string) (kernel.Config, error) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "node.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return (&fileFlags{files: []string{file}}).load()
}
