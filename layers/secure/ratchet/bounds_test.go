package ratchet

import (
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	doubleratchet "github.com/status-im/doubleratchet"
	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/secure"
)

func TestInstallationsAndStrangersAreBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxStrangers = 20
	e := newEther(t)
	a, key := e.party("alice", cfg), testKey("bob")
	friend := e.party("friend", DefaultConfig())
	a.watched = secure.Watch{Contacts: []layers.PublicKey{key.Public(), friend.key.Public()}}
	a.command(a.watched)
	e.flow(0)
	for i := range 50 {
		e.now = e.now.Add(time.Minute)
		a.take(codePacket(key, signedBundle(key, e.now, entryOf(fmt.Sprintf("device-%d", i), fmt.Sprint(i), 1))))
	}
	if n := len(a.node.peers[key.Public()].installations); n != maxInstallations {
		t.Errorf("got %d installations, want %d", n, maxInstallations)
	}
	own := a.node.own
	for i := range 60 {
		e.now = e.now.Add(time.Second)
		stranger := testKey(fmt.Sprintf("stranger %d", i))
		prekey := own.prekeys[0].public
		s, err := initiateSession(a.random, stranger, sessionKey{a.key.Public(), prekey, own.installation}, flavour2020)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.seal(a.random, []byte("spam"))
		if err != nil {
			t.Fatal(err)
		}
		m := protocolMessage{installation: "i", direct: []directMessage{d}, bundles: []bundle{signedBundle(stranger, e.now, entryOf("i", "p", 1))}}
		a.take(packet{from: stranger.Public(), seal: envelope.Seal{
			Topic: envelope.TopicOf(partitioned(a.key.Public())), Key: envelope.Identity{Key: a.key.Public()}, Payload: m.encode(),
		}})
	}
	if len(a.got) != 60 {
		t.Errorf("got %d messages, want 60", len(a.got))
	}
	count := map[string]int{}
	for k := range snapshot(a.mem) {
		prefix, _, _ := strings.Cut(k, "/")
		count[prefix]++
	}
	if count["peer"] != 22 || count["session"] != 20 || a.node.strangers.Len() != 20 {
		t.Errorf("got %d peers, %d sessions, want 22 (two of them watched), 20", count["peer"], count["session"])
	}
	if a.node.peers[friend.key.Public()] == nil {
		t.Error("a watched contact was forgotten")
	}
	if n := len(a.filters); n > 4+2+20 {
		t.Errorf("got %d filters", n)
	}
	restarted := New(cfg, a.key, a.random, a.mem)
	if len(restarted.peers) != len(a.node.peers) || restarted.strangers.Len() != 20 {
		t.Errorf("after a restart: %d peers, want %d", len(restarted.peers), len(a.node.peers))
	}
}

func TestSessionsOfAStrangerAreBounded(t *testing.T) {
	e := newEther(t)
	a, stranger := e.party("alice", DefaultConfig()), testKey("stranger")
	for i := range 3 * strangerSessions {
		prekey := a.node.currentPrekey()
		s, err := initiateSession(a.random, stranger, sessionKey{a.key.Public(), prekey, a.node.own.installation}, flavour2020)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := s.seal(a.random, []byte("x"))
		m := protocolMessage{installation: fmt.Sprintf("ghost-%d", i), direct: []directMessage{d}}
		a.take(packet{from: stranger.Public(), seal: envelope.Seal{
			Topic: envelope.TopicOf(partitioned(a.key.Public())), Key: envelope.Identity{Key: a.key.Public()}, Payload: m.encode(),
		}})
	}
	sessions := 0
	for k := range snapshot(a.mem) {
		if strings.HasPrefix(k, keySession) {
			sessions++
		}
	}
	if len(a.got) != 3*strangerSessions || sessions != strangerSessions {
		t.Errorf("got %d messages, %d sessions, want %d, %d", len(a.got), sessions, 3*strangerSessions, strangerSessions)
	}
}

func TestSkippedKeysAreBoundedPerSenderAndMinute(t *testing.T) {
	e, a, b := talk(t)
	var far []packet
	for i := range 4 * maxSkip {
		k := a.say(b, "x")[0]
		if i%maxSkip == maxSkip-1 {
			far = append(far, k)
		}
	}
	opened := 0
	for _, k := range far {
		if b.take(k) == nil {
			opened++
		}
	}
	if opened != 3 {
		t.Errorf("%d jumps over %d messages in one minute, want 3", opened, maxSkip)
	}
	s := b.node.session(b.node.peers[a.key.Public()], b.node.peers[a.key.Public()].sessions[0])
	if n := len(s.skipped.keys); n > maxStored {
		t.Errorf("%d keys stored, want at most %d", n, maxStored)
	}
	e.now = e.now.Add(time.Minute)
	if err := b.take(far[3]); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestUnknownDeviceIsToldOurBundleOncePerTwoHours(t *testing.T) {
	e, a, b := talk(t)
	wrong := func() packet {
		return altered(t, a.say(b, "x")[0], func(m *protocolMessage) { m.direct[0].target = "another device" })
	}
	answers := 0
	for range 5 {
		n := len(e.packets)
		k := wrong()
		n++
		b.take(k)
		for _, r := range e.packets[n:] {
			answers++
			m := message(t, r)
			if len(m.direct) != 1 || m.direct[0].target != dhOnlyTarget || len(m.bundles) != 1 {
				t.Errorf("got %+v, want a DH-only message with a bundle", m)
			}
			a.got = nil
			if err := a.take(r); err != nil || len(a.got) != 0 {
				t.Errorf("alice: %v, %q, want nothing passed up", err, a.bodies())
			}
		}
		e.now = e.now.Add(30 * time.Minute)
	}
	if answers != 2 {
		t.Errorf("got %d answers in two hours and a half, want 2", answers)
	}
	if len(b.got) != 0 {
		t.Errorf("bob passed up %q", b.bodies())
	}
	n := len(e.packets)
	b.start()
	b.take(wrong())
	if len(e.packets) != n+1 {
		t.Error("after a restart the answer was given again")
	}
}

func TestStrangersCannotMakeUsDeriveKeysWithoutEnd(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	derived := 0
	a.node.derive = func(text string) envelope.SymKey { derived++; return quickKey(text) }
	prekey := a.node.currentPrekey()
	for i := range 2 * derivePerMinute {
		stranger := testKey(fmt.Sprint("deriver ", i))
		s, err := initiateSession(a.random, stranger, sessionKey{a.key.Public(), prekey, a.node.own.installation}, flavour2020)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := s.seal(a.random, []byte("x"))
		m := protocolMessage{installation: "i", direct: []directMessage{d}, bundles: []bundle{signedBundle(stranger, e.now, entryOf("i", "p", 1))}}
		a.take(packet{from: stranger.Public(), seal: envelope.Seal{
			Topic: envelope.TopicOf(partitioned(a.key.Public())), Key: envelope.Identity{Key: a.key.Public()}, Payload: m.encode(),
		}})
	}
	if len(a.got) != 2*derivePerMinute || derived != derivePerMinute {
		t.Errorf("got %d messages, %d keys derived, want %d, %d", len(a.got), derived, 2*derivePerMinute, derivePerMinute)
	}
}

func TestSkippedKeysBehaveAsTheLibrarysOwn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var (
			ours   skippedKeys
			theirs doubleratchet.KeysStorageInMemory
			seq    uint
			key    = rapid.SampledFrom([]string{"first", "second", "third"})
		)
		both := func(f func(s doubleratchet.KeysStorage) error) {
			if err1, err2 := f(&ours), f(&theirs); err1 != nil || err2 != nil {
				rt.Fatalf("got %v and %v", err1, err2)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				k := key.Draw(rt, "key")
				both(func(s doubleratchet.KeysStorage) error {
					return s.Put(nil, []byte(k), seq/3, []byte{byte(seq), k[0]}, seq)
				})
				seq++
			},
			"delete": func(rt *rapid.T) {
				k, n := key.Draw(rt, "key"), uint(rapid.IntRange(0, int(seq)/3).Draw(rt, "n"))
				both(func(s doubleratchet.KeysStorage) error { return s.DeleteMk([]byte(k), n) })
			},
			"truncate": func(rt *rapid.T) {
				most := rapid.IntRange(0, 40).Draw(rt, "most")
				both(func(s doubleratchet.KeysStorage) error { return s.TruncateMks(nil, most) })
			},
			"delete old": func(rt *rapid.T) {
				until := uint(rapid.IntRange(0, int(seq)).Draw(rt, "until"))
				if seq > 20 {
					until = min(until, seq-20)
				}
				both(func(s doubleratchet.KeysStorage) error { return s.DeleteOldMks(nil, until) })
			},
			"": func(rt *rapid.T) {
				got, _ := ours.All()
				want, _ := theirs.All()
				for k, keys := range want { // the library names them in hexadecimal, twice, and keeps empty maps
					name, _ := hex.DecodeString(k) // of the text of the key
					name, _ = hex.DecodeString(string(name))
					if !maps.EqualFunc(got[string(name)], keys, func(a, b doubleratchet.Key) bool { return string(a) == string(b) }) {
						rt.Fatalf("keys of %q: got %v, want %v", name, got[string(name)], keys)
					}
					count, _ := ours.Count(name)
					if int(count) != len(keys) {
						rt.Fatalf("count of %q: got %d, want %d", name, count, len(keys))
					}
				}
				if len(ours.order) > 2*len(ours.keys)+17 {
					rt.Fatalf("%d names for %d keys", len(ours.order), len(ours.keys))
				}
				p := pack()
				ours.pack(p)
				if u := unpack(p.b); u.count() != len(ours.keys) {
					rt.Fatal("packed a different number")
				}
			},
		})
	})
}

func TestContactNoLongerWatchedBecomesAStranger(t *testing.T) {
	_, a, b := talk(t)
	k := b.key.Public()
	if a.node.peers[k].stranger != nil || a.node.strangers.Len() != 0 {
		t.Fatal("a watched contact is among the strangers")
	}
	a.watch(nil)
	if a.node.peers[k].stranger == nil || a.node.strangers.Len() != 1 {
		t.Error("the contact is not among the strangers")
	}
	for _, f := range a.filters {
		if f.Topic == envelope.TopicOf(contactCode(k)) {
			t.Error("its contact code is still listened to")
		}
	}
	a.watch(nil, b)
	if a.node.peers[k].stranger != nil || a.node.strangers.Len() != 0 {
		t.Error("the contact is still among the strangers")
	}
}

func TestKeysOfChannelsLongLeftAreErased(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	stored := func() (n int) {
		for k := range snapshot(a.mem) {
			if strings.HasPrefix(k, keySym) {
				n++
			}
		}
		return n
	}
	for i := range spareKeys + 2 {
		a.watch([]secure.Channel{secure.Channel(fmt.Sprint("channel-", i))})
	}
	if n := stored(); n > spareKeys+2 || n != len(a.node.keys) {
		t.Errorf("got %d keys stored and %d known, want at most %d", n, len(a.node.keys), spareKeys+2)
	}
	if a.node.symKey("channel-257", new(output)) != quickKey("channel-257") {
		t.Error("wrong key")
	}
}

func TestUnansweredMessagesAreBounded(t *testing.T) {
	_, a, b := talk(t)
	a.mute = true
	body := make([]byte, 300<<10)
	refused := 0
	for i := range maxUnansweredBytes/len(body) + 5 {
		ref := layers.Ref{1, byte(i), byte(i >> 8)}
		a.step(func() (output, error) {
			return a.node.FromAbove(a.now, secure.Send{Ref: ref, To: b.key.Public(), Body: body})
		})
		refused += len(a.finals[ref])
		a.packets = a.packets[:2]
	}
	if refused < 5 || a.node.bytes > maxUnansweredBytes+len(body) {
		t.Errorf("%d refused, %d bytes wait, want some and at most %d", refused, a.node.bytes, maxUnansweredBytes)
	}
}

func TestBundleIsSignedAnewAfterAMinuteOrANewPrekey(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	var out output
	first := a.node.attach(e.now, &out)
	if again := a.node.attach(e.now.Add(bundleReuse-1), &out); again.timestamp != first.timestamp {
		t.Error("signed anew within the minute")
	}
	later := a.node.attach(e.now.Add(bundleReuse), &out)
	if later.timestamp <= first.timestamp {
		t.Errorf("timestamp %d after %d, want a later one", later.timestamp, first.timestamp)
	}
	rotated := a.node.attach(e.now.Add(bundleReuse+DefaultConfig().PrekeyRotation), &out)
	if rotated.prekeys[0].version != first.prekeys[0].version+1 {
		t.Errorf("prekey version %d, want the one after %d", rotated.prekeys[0].version, first.prekeys[0].version)
	}
}
