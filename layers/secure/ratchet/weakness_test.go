package ratchet

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

// snapshot returns all records.
func snapshot(m *layertest.Memory) map[string]string {
	s := map[string]string{}
	for k, v := range m.Scan("", "", false) {
		s[k] = string(v)
	}
	return s
}

func wantUnchanged(t *testing.T, p *party, before map[string]string) {
	t.Helper()
	if !maps.Equal(snapshot(p.mem), before) {
		t.Errorf("%s: records have changed", p.name)
	}
}

// signedBundle returns a bundle of key.
func signedBundle(key layers.PrivateKey, at time.Time, entries ...bundleEntry) bundle {
	d := bundle{timestamp: at.UnixNano(), prekeys: entries}
	slices.SortFunc(d.prekeys, func(a, b bundleEntry) int { return bytes.Compare([]byte(a.installation), []byte(b.installation)) })
	d.sign(key)
	return d
}

func entryOf(installation, prekey string, version uint32) bundleEntry {
	c := testKey(prekey).Public().Compressed()
	return bundleEntry{installation: installation, prekey: c[:], version: version, protocolVersion: 1}
}

// codePacket carries a bundle on the contact code topic of key.
func codePacket(key layers.PrivateKey, d bundle) packet {
	text := contactCode(key.Public())
	return packet{from: key.Public(), seal: envelope.Seal{
		Topic: envelope.TopicOf(text), Key: quickKey(text), Payload: protocolMessage{bundles: []bundle{d}}.encode(),
	}}
}

func TestForgedBundleIsRefusedBeforeAnythingIsStored(t *testing.T) {
	_, a, b := talk(t)
	before := snapshot(a.mem)
	forged := signedBundle(b.key, t0.Add(time.Hour), entryOf(b.node.own.installation, "attacker", 99))
	zero := forged
	zero.signature = make([]byte, 65)
	other := signedBundle(testKey("mallory"), t0.Add(time.Hour), forged.prekeys...)
	c := b.key.Public().Compressed()
	other.identity = c[:]
	for name, d := range map[string]bundle{"zero signature": zero, "signed by another": other} {
		if err := a.take(codePacket(b.key, d)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	wantUnchanged(t, a, before)
	if d := message(t, a.say(b, "x")[0]).direct[0]; bytes.Equal(d.ratchet.prekey, entryOf("", "attacker", 1).prekey) {
		t.Error("the next message uses the attacker's prekey")
	}
}

func TestBundleOfAnotherPersonIsNotStored(t *testing.T) {
	_, a, b := talk(t)
	genuine := signedBundle(b.key, t0.Add(time.Minute), entryOf(b.node.own.installation, "new prekey", 2))
	k := codePacket(b.key, genuine)
	k.from = testKey("mallory").Public()
	before := snapshot(a.mem)
	a.take(k)
	wantUnchanged(t, a, before)
}

func TestShortRatchetPayloadIsRefused(t *testing.T) {
	_, a, b := talk(t)
	k := a.say(b, "x")[0]
	for n := range overhead {
		short := altered(t, k, func(m *protocolMessage) { m.direct[0].payload = m.direct[0].payload[:n] })
		if err := b.take(short); err == nil {
			t.Errorf("%d bytes were accepted", n)
		}
	}
	b.take(k)
	wantBodies(t, b, "x")
}

func TestCleartextOnAPrivateTopicIsMarked(t *testing.T) {
	_, a, b := pairUp(t)
	k := a.say(b, "x")[0]
	k.seal.Payload = []byte(`["~#c4",["bare transit"]]`)
	b.take(k)
	k.seal.Payload = protocolMessage{installation: "i", public: []byte("public in private"), hasPublic: true}.encode()
	b.take(k)
	wantBodies(t, b, `["~#c4",["bare transit"]]`, "public in private")
	for _, r := range b.got {
		if r.Protection != secure.Cleartext || r.Channel != "" {
			t.Errorf("got %v in %q, want Cleartext in none", r.Protection, r.Channel)
		}
	}
}

func TestUnsignedEnvelopeIsRefused(t *testing.T) {
	_, a, b := talk(t)
	k := a.say(b, "x")[0]
	k.from = layers.PublicKey{}
	if err := b.take(k); err == nil || len(b.got) != 0 {
		t.Errorf("got %v and %q, want a refusal", err, b.bodies())
	}
}

func TestSameInstallationIDOfAnotherIdentityHasItsOwnSession(t *testing.T) {
	e, a, b := talk(t)
	m := e.device("mallory", testKey("mallory"), DefaultConfig())
	m.node.own.installation = a.node.own.installation
	b.watch(nil, a, m)
	m.watch(nil, b)
	e.flow(0)
	b.got = nil
	e.flow(m.say(b, "in the name of nobody")[0].id)
	e.flow(a.say(b, "still here")[0].id)
	wantBodies(t, b, "in the name of nobody", "still here")
}

func TestContactWithOurInstallationIDGetsASession(t *testing.T) {
	e := newEther(t)
	a, b := e.party("alice", DefaultConfig()), e.party("bob", DefaultConfig())
	n := len(e.packets)
	b.node.own.installation = a.node.own.installation
	b.node.own.published, b.node.retryCode = time.Time{}, time.Time{}
	b.wake()
	a.watch(nil, b)
	e.flow(n)
	k := a.say(b, "x")[0]
	if message(t, k).direct[0].ratchet == nil {
		t.Fatal("no session")
	}
	b.take(k)
	wantBodies(t, b, "x")
}

func TestWhatCannotBeOpenedChangesNothing(t *testing.T) {
	_, a, b := pairUp(t)
	first := a.say(b, "first")[0]
	hostile := map[string]func(m *protocolMessage){
		"mac":               func(m *protocolMessage) { m.direct[0].payload[len(m.direct[0].payload)-1] ^= 1 },
		"iv":                func(m *protocolMessage) { m.direct[0].payload[0] ^= 1 },
		"n":                 func(m *protocolMessage) { m.direct[0].ratchet.n++ },
		"n far":             func(m *protocolMessage) { m.direct[0].ratchet.n = 1 << 31 },
		"n last":            func(m *protocolMessage) { m.direct[0].ratchet.n = 1<<32 - 1 },
		"pn":                func(m *protocolMessage) { m.direct[0].ratchet.pn = 1000 },
		"pn last":           func(m *protocolMessage) { m.direct[0].ratchet.pn = 1<<32 - 1 },
		"key off the curve": func(m *protocolMessage) { m.direct[0].ratchet.key = append([]byte{2}, make([]byte, 32)...) },
		"key of x beyond p": func(m *protocolMessage) {
			m.direct[0].ratchet.key = append([]byte{2}, bytes.Repeat([]byte{255}, 32)...)
		},
		"other key":            func(m *protocolMessage) { m.direct[0].ratchet.key = entryOf("", "other", 1).prekey },
		"key uncompressed":     func(m *protocolMessage) { k := testKey("other").Public(); m.direct[0].ratchet.key = k[:] },
		"key empty":            func(m *protocolMessage) { m.direct[0].ratchet.key = nil },
		"ephemeral":            func(m *protocolMessage) { m.direct[0].x3dh.ephemeral = entryOf("", "other", 1).prekey },
		"ephemeral bad":        func(m *protocolMessage) { m.direct[0].x3dh.ephemeral = make([]byte, 33) },
		"no header":            func(m *protocolMessage) { m.direct[0].ratchet, m.direct[0].x3dh = nil, nil },
		"installation strange": func(m *protocolMessage) { m.installation = "a\x00/b" },
		"session id short":     func(m *protocolMessage) { m.direct[0].ratchet.prekey = []byte{2} },
	}
	try := func(k packet, names map[string]func(m *protocolMessage)) {
		for name, change := range names {
			before := snapshot(b.mem)
			bad := altered(t, k, change)
			if bad.seal.Payload == nil {
				continue
			}
			if err := b.take(bad); err == nil {
				t.Errorf("%s: accepted", name)
			}
			if len(b.got) != 0 {
				t.Fatalf("%s: got %q", name, b.bodies())
			}
			wantUnchanged(t, b, before)
		}
	}
	try(first, hostile)
	b.take(first)
	wantBodies(t, b, "first")
	b.got = nil
	// Now in a session that exists; a forged opening must not touch it.
	// The X3DH header is of no use any more, so it does no harm either.
	for _, name := range []string{"ephemeral", "ephemeral bad"} {
		delete(hostile, name)
	}
	hostile["installation"] = func(m *protocolMessage) { m.installation = "other" }
	try(a.say(b, "second")[0], hostile)
	b.take(a.say(b, "third")[0])
	wantBodies(t, b, "third")
}

func TestResplitBundleIsNotStored(t *testing.T) {
	const genuineID, tail = "2f0f5a52-2f3c-4c6f-9d0b-0d2f6d1f8a11", "0f5a52-2f3c-4c6f-9d0b-0d2f6d1f8a11"
	at := t0
	for _, tt := range []struct {
		name    string
		genuine bundle
		alter   func(d *bundle)
	}{
		{"digits of the timestamp become the version's", signedBundle(testKey("bob"), at, entryOf("inst-1", "p", 1)), func(d *bundle) {
			s := fmt.Sprint(d.timestamp)
			d.prekeys[0].version = 11
			if s[0] != '1' {
				t.Fatal("timestamp does not begin with 1")
			}
			fmt.Sscan(s[1:], &d.timestamp)
		}},
		{"digits of an id become the version's", signedBundle(testKey("bob"), at, entryOf("1first", "p", 1), entryOf(genuineID, "q", 1)), func(d *bundle) {
			d.prekeys[0].version, d.prekeys[1].installation = 12, "f"+tail
		}},
		{"digits of a version become an id's", signedBundle(testKey("bob"), at, entryOf("1first", "p", 12), entryOf(genuineID, "q", 1)), func(d *bundle) {
			d.prekeys[0].version, d.prekeys[1].installation = 1, "2"+genuineID
		}},
		{"digits of a version become a word's", signedBundle(testKey("bob"), at, entryOf("1first", "p", 12), entryOf("phone", "q", 1)), func(d *bundle) {
			d.prekeys[0].version, d.prekeys[1].installation = 1, "2phone"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.genuine.verify(); err != nil {
				t.Fatal(err)
			}
			if err := tt.genuine.plausible(at); err != nil {
				t.Fatalf("the genuine bundle: %v", err)
			}
			d, err := decodeBundle(tt.genuine.encode())
			if err != nil {
				t.Fatal(err)
			}
			tt.alter(&d)
			if _, err := d.verify(); err != nil {
				t.Fatalf("the altered bundle does not have the signature of the genuine one: %v", err)
			}
			if err := d.plausible(at); err == nil {
				t.Error("the altered bundle is plausible")
			}
		})
	}
}

func TestOldBundleSentAgainChangesNothing(t *testing.T) {
	e, a, b := talk(t)
	old := e.packets[1] // bob's first contact code
	if old.from != b.key.Public() {
		t.Fatal("not bob's")
	}
	e.now = e.now.Add(25 * time.Hour)
	e.flow(b.say(a, "rotated")[0].id)
	p := a.node.peers[b.key.Public()]
	rotated, before := p.installations[0], snapshot(a.mem)
	a.take(old)
	if got := p.installations[0]; got != rotated || got.version != 2 {
		t.Errorf("got %+v, want %+v", got, rotated)
	}
	wantUnchanged(t, a, before)
}

func TestBundleRules(t *testing.T) {
	for _, tt := range []struct {
		name    string
		at      time.Time
		prekey  string
		version uint32
		stored  bool
	}{
		{"later", t0.Add(time.Minute), "two", 6, true},
		{"same time", t0, "two", 6, false},
		{"earlier", t0.Add(-time.Minute), "two", 6, false},
		{"version goes back", t0.Add(time.Minute), "two", 4, false},
		{"same prekey, other version", t0.Add(time.Minute), "one", 6, false},
		{"same version, other prekey", t0.Add(time.Minute), "two", 5, true},
		{"from the future", t0.Add(48 * time.Hour), "two", 6, false},
		{"from the past of all", time.Unix(1, 0), "two", 6, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEther(t)
			a, key := e.party("alice", DefaultConfig()), testKey("bob")
			a.command(secure.Watch{Contacts: []layers.PublicKey{key.Public()}})
			a.take(codePacket(key, signedBundle(key, t0, entryOf("i", "one", 5))))
			a.take(codePacket(key, signedBundle(key, tt.at, entryOf("i", tt.prekey, tt.version))))
			got := a.node.peers[key.Public()].installations[0]
			if stored := got.prekey == [33]byte(entryOf("", "two", 1).prekey) || got.version != 5; stored != tt.stored {
				t.Errorf("stored %v, want %v", stored, tt.stored)
			}
		})
	}
}

func TestFutureTimestampDoesNotPinADevice(t *testing.T) {
	e := newEther(t)
	a, key := e.party("alice", DefaultConfig()), testKey("bob")
	a.command(secure.Watch{Contacts: []layers.PublicKey{key.Public()}})
	for i := range 3 {
		a.take(codePacket(key, signedBundle(key, t0.Add(20*time.Hour), entryOf(fmt.Sprintf("ghost-%d", i), fmt.Sprint(i), 1))))
	}
	e.now = t0.Add(time.Hour)
	a.take(codePacket(key, signedBundle(key, e.now, entryOf("genuine", "p", 1))))
	if first := a.node.peers[key.Public()].active()[0]; first.id != "genuine" {
		t.Errorf("first is %q, want the one heard of last", first.id)
	}
}

func TestMessageOfASessionWeLostIsAnsweredWithOurBundle(t *testing.T) {
	e, a, b := talk(t)
	for _, k := range allRecords(b.mem) {
		if strings.HasPrefix(k, keySession) || strings.HasPrefix(k, keyPrekey) {
			b.mem.Commit([]layers.Record{{Key: k}})
		}
	}
	e.now = e.now.Add(time.Minute)
	b.start()
	n := len(e.packets)
	a.say(b, "lost")
	e.flow(n)
	e.now = e.now.Add(time.Minute)
	e.flow(a.say(b, "found")[0].id)
	wantBodies(t, b, "found")
}

func TestDuplicateIsNotOpenedTwice(t *testing.T) {
	e, a, b := pairUp(t)
	var sent []packet
	for i := range 5 {
		sent = append(sent, a.say(b, fmt.Sprint(i))[0])
	}
	for _, i := range []int{3, 0, 3, 4, 0, 2, 1, 4, 3} {
		b.take(sent[i])
	}
	wantBodies(t, b, "3", "0", "4", "2", "1")
	b.start()
	for _, k := range sent {
		b.take(k)
	}
	wantBodies(t, b, "3", "0", "4", "2", "1")
	e.flow(b.say(a, "x")[0].id)
	wantBodies(t, a, "x")
}

func TestKeyOfAnOpenedMessageIsErased(t *testing.T) {
	_, a, b := talk(t)
	sa := a.node.session(a.node.peers[b.key.Public()], a.node.peers[b.key.Public()].sessions[0])
	chain := sa.state.SendCh.CK
	var keys [][]byte // message keys and the chain keys before them
	for range 4 {
		next, mk := suite{}.KdfCK(chain)
		keys = append(keys, chain, mk)
		chain = next
	}
	var sent []packet
	for i := range 4 {
		sent = append(sent, a.say(b, fmt.Sprint(i))[0])
	}
	found := func() (n int) {
		for _, v := range snapshot(b.mem) {
			for _, k := range keys {
				n += bytes.Count([]byte(v), k)
			}
		}
		return n
	}
	b.take(sent[3])
	if n := found(); n != 3 {
		t.Errorf("after the last message: %d keys stored, want the 3 skipped", n)
	}
	for i, k := range sent[:3] {
		b.take(k)
		if n := found(); n != 2-i {
			t.Errorf("after message %d: %d keys stored, want %d", i, n, 2-i)
		}
	}
	wantBodies(t, b, "3", "0", "1", "2")
	for _, v := range snapshot(a.mem) {
		for i, k := range keys {
			if bytes.Contains([]byte(v), k) {
				t.Errorf("the sender still has key %d", i)
			}
		}
	}
}

func TestPeerThatLostItsStateOpensAgainAndItsOldOpeningCannotBeReplayed(t *testing.T) {
	_, a, b := pairUp(t)
	first := a.say(b, "first")[0]
	b.take(first)
	p := a.node.peers[b.key.Public()]
	for _, r := range p.sessions {
		a.mem.Commit([]layers.Record{{Key: p.sessionKey(r).record()}})
	}
	p.sessions = nil
	a.mem.Commit([]layers.Record{p.record()})
	a.start()
	a.take(b.packets[1])
	again := a.say(b, "again")[0]
	if d := message(t, again).direct[0]; d.x3dh == nil || bytes.Equal(d.x3dh.ephemeral, message(t, first).direct[0].x3dh.ephemeral) {
		t.Fatal("alice did not open the session anew")
	}
	b.take(again)
	if err := b.take(first); err == nil {
		t.Error("the old opening was accepted again")
	}
	b.take(a.say(b, "and on")[0])
	wantBodies(t, b, "first", "again", "and on")
}

func TestRatchetOf2019IsSpokenOnlyWhenAllowedAndMarked(t *testing.T) {
	legacy := DefaultConfig()
	legacy.Legacy2019 = true
	e := newEther(t)
	a, b, c := e.party("alice", legacy), e.party("bob", legacy), e.party("carol", DefaultConfig())
	a.watch(nil, b, c)
	b.watch(nil, a)
	c.watch(nil, a)
	e.flow(0)
	for _, p := range a.node.peers {
		p.installations[0].legacy = true
	}
	k := a.say(b, "old ratchet")[0]
	if n := len(message(t, k).direct[0].ratchet.key); n != 32 {
		t.Fatalf("ratchet key of %d bytes, want 32", n)
	}
	b.take(k)
	wantBodies(t, b, "old ratchet")
	e.flow(b.say(a, "same to you")[0].id)
	wantBodies(t, a, "same to you")
	if a.got[0].Protection != secure.Static || b.got[0].Protection != secure.Static {
		t.Errorf("protection: got %v, %v, want Static", a.got[0].Protection, b.got[0].Protection)
	}
	if err := c.take(a.say(c, "unwanted")[0]); err == nil || len(c.got) != 0 {
		t.Errorf("carol: got %v, %q, want a refusal", err, c.bodies())
	}
}

func TestGenericDiscoveryIsForDevicesBeforePartitions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		generic  bool
		protocol uint32
		want     string
	}{
		{"old device", true, 0, genericDiscovery},
		{"new device", true, 1, ""},
		{"old device, switched off", false, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.GenericDiscovery = tt.generic
			e := newEther(t)
			a, b := e.party("alice", cfg), e.party("bob", DefaultConfig())
			a.watch(nil, b)
			entry := entryOf("i", "p", 1)
			entry.protocolVersion = tt.protocol
			a.take(codePacket(b.key, signedBundle(b.key, t0, entry)))
			want := tt.want
			if want == "" {
				want = partitioned(b.key.Public())
			}
			if k := a.say(b, "x")[0]; k.seal.Topic != envelope.TopicOf(want) || k.seal.Key != (envelope.Identity{Key: b.key.Public()}) {
				t.Errorf("got topic %x, want that of %q", k.seal.Topic, want)
			}
		})
	}
}
