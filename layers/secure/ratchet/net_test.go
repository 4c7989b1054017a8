package ratchet

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

// packet is a sealed envelope on its way.
type packet struct {
	id   int
	from layers.PublicKey
	seal envelope.Seal
}

// ether carries packets between parties and watches what they contain.
type ether struct {
	t       testing.TB
	now     time.Time
	parties []*party
	packets []packet
	keys    map[string][]byte // message key of every ciphertext ever emitted -> the ciphertext
}

// party is a node with a store below, an application above, and a random source
// that goes on over restarts.
type party struct {
	*ether
	name    string
	key     layers.PrivateKey
	cfg     Config
	mem     *layertest.Memory
	random  *script
	node    *Node
	inbox   []envelope.Event // not yet handed up by the layer below
	filters []envelope.Filter
	got     []secure.Received
	finals  map[layers.Ref][]secure.Event
	waiting []secure.Command // unanswered, by the layer above
	watched secure.Watch
	ready   int
	alarm   time.Time
	mute    bool // the layer below does not answer
	crashes int
}

// GoString keeps the logs of rapid short.
func (p *party) GoString() string { return p.name }

func newEther(t testing.TB) *ether {
	return &ether{t: t, now: t0, keys: map[string][]byte{}}
}

func testKey(name string) layers.PrivateKey {
	h := layers.Keccak256([]byte("identity of " + name))
	k, err := layers.ParsePrivateKey(h[:])
	if err != nil {
		panic(err)
	}
	return k
}

func (e *ether) party(name string, cfg Config) *party {
	return e.device(name, testKey(name), cfg)
}

func (e *ether) device(name string, key layers.PrivateKey, cfg Config) *party {
	seed := layers.Keccak256([]byte("seed of " + name))
	p := &party{
		ether: e, name: name, key: key, cfg: cfg, mem: layertest.NewMemory(), finals: map[layers.Ref][]secure.Event{},
		random: &script{given: seed[:16], count: uint64(seed[0])<<24 | uint64(seed[1])<<16},
	}
	e.parties = append(e.parties, p)
	p.start()
	return p
}

// start makes the node from what is saved and lets everything repeat itself.
func (p *party) start() {
	p.inbox, p.alarm = nil, time.Time{}
	p.node = New(p.cfg, p.key, p.random, p.mem)
	p.node.derive = quickKey
	if !p.step(func() (output, error) { return p.node.Wake(p.now), nil }) {
		return
	}
	p.settle()
}

// step runs one step, commits and carries out. A panic in the store is a crash:
// the node is started again. It reports whether the node lived on.
func (p *party) step(f func() (output, error)) (alive bool) {
	defer func() {
		if r := recover(); r != nil {
			if r != errCrash {
				panic(r)
			}
			p.crashes++
			p.start()
			alive = false
		}
	}()
	out, err := f()
	if err != nil {
		return true
	}
	p.mem.Commit(out.Save)
	for _, c := range out.Down {
		p.carry(c)
	}
	for _, ev := range out.Up {
		p.hear(ev)
	}
	if !out.Wake.IsZero() {
		p.alarm = out.Wake
	}
	return true
}

var errCrash = fmt.Errorf("crash")

// crashAt makes the store crash before the n-th commit from now.
func (p *party) crashAt(n int) {
	at := p.mem.Commits() + n
	p.mem.BeforeCommit = func(k int) {
		if k == at {
			panic(errCrash)
		}
	}
}

func (p *party) carry(c envelope.Command) {
	switch c := c.(type) {
	case envelope.Attach:
		p.inbox = append(p.inbox, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20, Latency: time.Second, MaxTTL: time.Hour}})
	case envelope.Listen:
		p.filters = c.Filters
	case envelope.Seal:
		p.inspect(c)
		p.packets = append(p.packets, packet{len(p.packets), p.key.Public(), c})
		if !p.mute {
			p.inbox = append(p.inbox, envelope.Relayed{Ref: c.Ref})
		}
	}
}

// inspect fails if a message key was used for two different ciphertexts.
func (p *party) inspect(s envelope.Seal) {
	m, err := decodeMessage(s.Payload)
	if err != nil {
		return
	}
	for _, d := range m.direct {
		if d.ratchet == nil {
			continue
		}
		name := fmt.Sprintf("%s %x %x %d", d.target, d.ratchet.prekey, d.ratchet.key, d.ratchet.n)
		if old, used := p.keys[name]; used && !bytes.Equal(old, d.payload) {
			p.t.Fatalf("%s: message key %s used twice", p.name, name)
		}
		p.keys[name] = d.payload
	}
}

func (p *party) hear(ev secure.Event) {
	final := func(ref layers.Ref) {
		p.finals[ref] = append(p.finals[ref], ev)
		p.waiting = slices.DeleteFunc(p.waiting, func(c secure.Command) bool { return refOf(c) == ref })
	}
	switch ev := ev.(type) {
	case secure.Ready:
		p.ready++
		p.step(func() (output, error) { return p.node.FromAbove(p.now, p.watched) })
		for _, c := range slices.Clone(p.waiting) {
			p.step(func() (output, error) { return p.node.FromAbove(p.now, c) })
		}
	case secure.Received:
		p.got = append(p.got, ev)
	case secure.Relayed:
		final(ev.Ref)
	case secure.Expired:
		final(ev.Ref)
	case secure.Refused:
		final(ev.Ref)
	}
}

func refOf(c secure.Command) layers.Ref {
	switch c := c.(type) {
	case secure.Send:
		return c.Ref
	case secure.Broadcast:
		return c.Ref
	}
	return layers.Ref{}
}

// settle hands up what waits in the layer below.
func (p *party) settle() {
	for len(p.inbox) > 0 {
		ev := p.inbox[0]
		p.inbox = p.inbox[1:]
		p.step(func() (output, error) { return p.node.FromBelow(p.now, ev) })
	}
}

func (p *party) watch(channels []secure.Channel, contacts ...*party) {
	p.watched = secure.Watch{Channels: channels}
	for _, c := range contacts {
		p.watched.Contacts = append(p.watched.Contacts, c.key.Public())
	}
	p.command(p.watched)
	for p.node.behind {
		p.wake()
	}
}

func (p *party) wake() {
	p.step(func() (output, error) { return p.node.Wake(p.now), nil })
	p.settle()
}

func (p *party) command(c secure.Command) {
	p.step(func() (output, error) {
		out, err := p.node.FromAbove(p.now, c)
		if err != nil {
			p.t.Errorf("%s: %T: %v", p.name, c, err)
		}
		return out, err
	})
	p.settle()
}

var sends int

// say sends body to an identity and returns the packets that came of it.
func (p *party) say(to *party, body string) []packet {
	before := len(p.packets)
	sends++
	c := secure.Send{Ref: layers.Ref(layers.Keccak256(fmt.Appendf(nil, "%s %d", p.name, sends))), To: to.key.Public(), Body: []byte(body)}
	p.waiting = append(p.waiting, c)
	p.command(c)
	return slices.Clone(p.packets[before:])
}

// take gives p an envelope through every filter that opens it, and returns the
// first refusal.
func (p *party) take(k packet) (refusal error) {
	for _, f := range slices.Clone(p.filters) {
		if f.Topic != k.seal.Topic || f.Key != k.seal.Key {
			continue
		}
		p.step(func() (output, error) {
			out, err := p.node.FromBelow(p.now, envelope.Opened{
				Hash: [32]byte{byte(k.id), byte(k.id >> 8), byte(k.id >> 16)}, Filter: f.ID, Topic: f.Topic, Payload: k.seal.Payload, Signer: k.from,
			})
			if err != nil && refusal == nil {
				refusal = err
			}
			return out, err
		})
		p.settle()
	}
	return refusal
}

// flow delivers every packet from the i-th on to all other parties, and those
// that come of it.
func (e *ether) flow(i int) {
	for ; i < len(e.packets); i++ {
		for _, p := range e.parties {
			p.take(e.packets[i])
		}
	}
}

// bodies returns what p has received, as text.
func (p *party) bodies() []string {
	var s []string
	for _, r := range p.got {
		s = append(s, string(r.Body))
	}
	return s
}

// pairUp returns two parties that know each other's bundles.
func pairUp(t testing.TB) (*ether, *party, *party) {
	e := newEther(t)
	a, b := e.party("alice", DefaultConfig()), e.party("bob", DefaultConfig())
	a.watch(nil, b)
	b.watch(nil, a)
	e.flow(0)
	return e, a, b
}

// talk opens a session in both directions.
func talk(t testing.TB) (*ether, *party, *party) {
	e, a, b := pairUp(t)
	for i, s := range []*party{a, b, a} {
		other := map[*party]*party{a: b, b: a}[s]
		n := len(e.packets)
		s.say(other, fmt.Sprintf("hello %d", i))
		e.flow(n)
	}
	a.got, b.got = nil, nil
	return e, a, b
}

func message(t testing.TB, k packet) protocolMessage {
	t.Helper()
	m, err := decodeMessage(k.seal.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// altered returns k with its message changed.
func altered(t testing.TB, k packet, change func(m *protocolMessage)) packet {
	t.Helper()
	m, err := decodeMessage(bytes.Clone(k.seal.Payload))
	if err != nil {
		t.Fatal(err)
	}
	change(&m)
	k.seal.Payload = m.encode()
	return k
}

func wantBodies(t *testing.T, p *party, want ...string) {
	t.Helper()
	if got := p.bodies(); !slices.Equal(got, want) {
		t.Errorf("%s received %q, want %q", p.name, got, want)
	}
}
