package ratchet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/secure"
)

// model drives parties over a channel that loses, repeats, reorders and damages
// envelopes, and crashes nodes at random commits. What must hold:
//
//   - no message key is ever used for two ciphertexts (checked by the ether);
//   - a ratcheted ciphertext is opened at most once by each device, also after
//     a restart;
//   - what is opened is what was said, from who said it;
//   - after the storm, everybody can still talk to everybody.
type model struct {
	*ether
	opened map[string]int              // device, packet -> times opened
	said   map[string]layers.PublicKey // body -> who said it
}

func TestSessionsSurviveLossDuplicationReorderingAndCrashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{ether: newEther(t), opened: map[string]int{}, said: map[string]layers.PublicKey{}}
		a, b := m.party("alice", DefaultConfig()), m.party("bob", DefaultConfig())
		c := m.device("bob2", b.key, DefaultConfig())
		if rapid.Bool().Draw(rt, "bundles known") {
			a.watch(nil, b)
			b.watch(nil, a)
			c.watch(nil, a)
			m.flow(0)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"alice says": func(rt *rapid.T) { m.say(a, b) },
			"bob says":   func(rt *rapid.T) { m.say(m.device2(rt, b, c), a) },
			"deliver":    func(rt *rapid.T) { m.deliver(rt, false) },
			"deliver some of the last": func(rt *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(rt, "n") {
					m.deliver(rt, false)
				}
			},
			"damage": func(rt *rapid.T) { m.deliver(rt, true) },
			"crash soon": func(rt *rapid.T) {
				rapid.SampledFrom(m.parties).Draw(rt, "who").crashAt(rapid.IntRange(1, 4).Draw(rt, "commit"))
			},
			"restart": func(rt *rapid.T) { rapid.SampledFrom(m.parties).Draw(rt, "who").start() },
			"time passes": func(rt *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(rt, "hours")) * time.Hour)
				for _, p := range m.parties {
					p.wake()
				}
			},
			"": func(rt *rapid.T) {
				for k, n := range m.opened {
					if n > 1 {
						rt.Fatalf("%s was opened %d times", k, n)
					}
				}
			},
		})
		m.heal(rt, a, b, c)
	})
}

func (m *model) device2(rt *rapid.T, b, c *party) *party {
	return rapid.SampledFrom([]*party{b, c}).Draw(rt, "device")
}

func (m *model) say(from, to *party) string {
	body := fmt.Sprintf("%s %d", from.name, len(m.said))
	m.said[body] = from.key.Public()
	from.say(to, body)
	return body
}

// deliver gives a packet, often one of the last, to a party.
func (m *model) deliver(rt *rapid.T, damaged bool) {
	if len(m.packets) == 0 {
		return
	}
	back := rapid.IntRange(0, min(len(m.packets)-1, 25)).Draw(rt, "back")
	k := m.packets[len(m.packets)-1-back]
	to := rapid.SampledFrom(m.parties).Draw(rt, "to")
	if damaged {
		k = m.damage(rt, k)
	}
	m.give(rt, to, k, damaged)
}

// damage changes what a sender cannot deny to have signed, but a ratchet must
// not be impressed by: headers and ciphertext.
func (m *model) damage(rt *rapid.T, k packet) packet {
	msg, err := decodeMessage(slices.Clone(k.seal.Payload))
	if err != nil || len(msg.direct) == 0 {
		return k
	}
	flip := func(b []byte) {
		if len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(rt, "at")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		}
	}
	what := rapid.IntRange(0, 3).Draw(rt, "what")
	for i := range msg.direct {
		d := &msg.direct[i]
		switch {
		case d.ratchet == nil || what == 0:
			flip(d.payload)
		case what == 1:
			flip(d.ratchet.key)
		case what == 2:
			d.ratchet.n += uint32(rapid.IntRange(1, 1<<20).Draw(rt, "n"))
		default:
			d.payload = d.payload[:rapid.IntRange(0, len(d.payload)-1).Draw(rt, "length")]
		}
	}
	k.seal.Payload = msg.encode()
	return k
}

func (m *model) give(rt interface{ Fatalf(string, ...any) }, to *party, k packet, damaged bool) {
	before := len(to.got)
	to.take(k)
	for _, r := range to.got[before:] {
		who, known := m.said[string(r.Body)]
		switch {
		case damaged:
			rt.Fatalf("%s opened a damaged message as %q", to.name, r.Body)
		case !known || who != r.From:
			rt.Fatalf("%s received %q from %v", to.name, r.Body, r.From)
		case r.Protection == secure.Ratcheted:
			m.opened[fmt.Sprintf("%s: packet %d", to.name, k.id)]++
		}
	}
}

// heal delivers without faults until sessions are as they should be, and then
// wants every message to arrive at every device at the first attempt.
func (m *model) heal(rt *rapid.T, a, b, c *party) {
	for _, p := range m.parties {
		p.mem.BeforeCommit = nil
	}
	m.now = m.now.Add(2 * time.Minute)
	exchange := func(from, to *party, receivers ...*party) {
		n := len(m.packets)
		body := m.say(from, to)
		for i := n; i < len(m.packets); i++ {
			for _, p := range m.parties {
				m.give(rt, p, m.packets[i], false)
			}
		}
		for _, r := range receivers {
			if !slices.Contains(r.bodies(), body) {
				rt.Fatalf("%s did not receive %q", r.name, body)
			}
		}
	}
	exchange(b, a)
	exchange(c, a)
	exchange(a, b)
	for range 3 {
		exchange(a, b, b, c)
		exchange(b, a, a)
		exchange(c, a, a)
	}
}

func TestCrashAtEveryCommitLosesNothingThatIsRepeated(t *testing.T) {
	crashes := 0
	for who := range 2 {
		for commit := 1; ; commit++ {
			e := newEther(t)
			parties := []*party{e.party("alice", DefaultConfig()), e.party("bob", DefaultConfig())}
			victim := parties[who]
			victim.crashAt(commit)
			converse(t, e, parties[0], parties[1])
			crashes += victim.crashes
			if victim.crashes == 0 {
				if commit < 10 {
					t.Errorf("only %d commits in the whole conversation", commit)
				}
				break
			}
		}
	}
	if crashes < 20 {
		t.Errorf("only %d crashes", crashes)
	}
}

// converse has a and b talk, every message said again until it has arrived, as
// the layer above does.
func converse(t *testing.T, e *ether, a, b *party) {
	t.Helper()
	a.watch([]secure.Channel{"status"}, b)
	b.watch(nil, a)
	e.flow(0)
	for i := range 12 {
		from, to := a, b
		if i%3 == 1 {
			from, to = b, a
		}
		if i == 4 || i == 9 {
			e.now = e.now.Add(25 * time.Hour)
		}
		body := fmt.Sprintf("message %d", i)
		for try := 0; !slices.Contains(to.bodies(), body); try++ {
			if try == 4 {
				t.Fatalf("%q did not arrive", body)
			}
			n := len(e.packets)
			from.say(to, body)
			e.flow(n)
			e.flow(n) // everything comes twice
		}
		count := 0
		for _, got := range to.got {
			if string(got.Body) == body && got.Protection == secure.Ratcheted {
				count++
			}
		}
		if count > 2 {
			t.Errorf("%q was received %d times", body, count)
		}
	}
}
