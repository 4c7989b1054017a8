package mvds

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

var (
	t0    = time.Unix(1_571_000_000, 0)
	alice = keyOf("alice")
	bob   = keyOf("bob")
	carol = keyOf("carol")

	info = secure.Info{MaxBody: 10_000, Latency: time.Second, MaxTTL: time.Minute}
)

func keyOf(name string) layers.PublicKey {
	d := sha256.Sum256([]byte(name))
	k, err := layers.ParsePrivateKey(d[:])
	if err != nil {
		panic(err)
	}
	return k.Public()
}

func refOf(name string) layers.Ref { return sha256.Sum256([]byte(name)) }

// rig is a node with its records and an invented clock. It keeps what the node
// emitted until it is asked for.
type rig struct {
	t      testing.TB
	self   layers.PublicKey
	cfg    Config
	node   *Node
	memory *layertest.Memory
	now    time.Time
	alarm  time.Time
	up     []datasync.Event
	down   []secure.Command
}

// newNode returns an open node whose layer below is ready.
func newNode(t testing.TB, self layers.PublicKey) *rig {
	cfg := DefaultConfig()
	r := &rig{t: t, self: self, cfg: cfg, memory: layertest.NewMemory(), now: t0}
	r.start()
	return r
}

// start begins a life with what is in the memory.
func (r *rig) start() {
	r.begin()
	r.below(secure.Ready{Info: info})
	r.up, r.down = nil, nil
}

func (r *rig) begin() {
	r.node = New(r.cfg, r.self, nil, r.memory)
	r.alarm = time.Time{}
	r.take(r.node.Wake(r.now), nil)
}

func (r *rig) take(out output, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	r.memory.Commit(out.Save)
	r.up = append(r.up, out.Up...)
	r.down = append(r.down, out.Down...)
	if !out.Wake.IsZero() {
		r.alarm = out.Wake
	}
}

func (r *rig) above(c datasync.Command) { r.t.Helper(); r.take(r.node.FromAbove(r.now, c)) }
func (r *rig) below(e secure.Event)     { r.t.Helper(); r.take(r.node.FromBelow(r.now, e)) }

// pass lets time pass, with a wake-up whenever the node asked for one.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for range 1_000_000 {
		if r.alarm.IsZero() || r.alarm.After(end) {
			r.now = end
			return
		}
		if r.alarm.After(r.now) {
			r.now = r.alarm
		}
		r.alarm = time.Time{}
		r.take(r.node.Wake(r.now), nil)
	}
	r.t.Fatal("the node asks to be woken without end")
}

func (r *rig) from(who layers.PublicKey, body []byte) {
	r.t.Helper()
	r.below(secure.Received{From: who, Protection: secure.Ratcheted, Body: body, Sent: r.now})
}

// message is one of who to this node.
func (r *rig) message(who layers.PublicKey, body string) wireMessage {
	g := oneToOne(r.self, who)
	return wireMessage{g[:], r.now.Unix(), []byte(body)}
}

func (r *rig) publish(to layers.PublicKey, body string) layers.Ref {
	r.t.Helper()
	ref := refOf(body)
	r.above(datasync.Publish{Ref: ref, To: to, Body: []byte(body)})
	return ref
}

// events takes what went up.
func (r *rig) events() []datasync.Event {
	up := r.up
	r.up = nil
	return up
}

// received takes the messages that went up.
func (r *rig) received() (got []datasync.Received) {
	for _, e := range r.events() {
		if m, ok := e.(datasync.Received); ok {
			got = append(got, m)
		}
	}
	return got
}

// sends takes the datagrams that went down.
func (r *rig) sends() (got []secure.Send) {
	for _, c := range r.down {
		if s, ok := c.(secure.Send); ok {
			got = append(got, s)
		}
	}
	r.down = nil
	return got
}

// payloads takes the datagrams that went down, decoded, and has them relayed.
func (r *rig) payloads() (got []payload) {
	r.t.Helper()
	for _, s := range r.sends() {
		p, is := decode(s.Body)
		if !is {
			r.t.Fatalf("datagram %x is not MVDS", s.Body)
		}
		if len(s.Body) > info.MaxBody {
			r.t.Fatalf("datagram of %d bytes, the longest is %d", len(s.Body), info.MaxBody)
		}
		got = append(got, p)
		r.below(secure.Accepted{Ref: s.Ref})
		r.below(secure.Relayed{Ref: s.Ref})
	}
	if len(r.down) > 0 {
		got = append(got, r.payloads()...)
	}
	return got
}

func (r *rig) acks() (ids []datasync.MessageID) {
	r.t.Helper()
	for _, p := range r.payloads() {
		ids = append(ids, p.acks...)
	}
	return ids
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantEvents(t testing.TB, got []datasync.Event, want ...datasync.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("events %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("event %d: %v, want %v", i, got[i], want[i])
		}
	}
}
