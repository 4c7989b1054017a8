package ratchet

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	doubleratchet "github.com/status-im/doubleratchet"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

type scriptStep struct {
	Op, Of, To, From, Party, Message string
	Note                             string
	Bundle                           hexBytes   `json:"bundle_protobuf"`
	Keys                             []hexBytes `json:"keys_generated"`
	Plaintext                        hexBytes
	Wire                             hexBytes `json:"protocol_message"`
	Agreed                           bool     `json:"shared_secret_agreed"`
	Sender                           hexBytes `json:"sender_public_key"`
	Expect                           struct {
		OK        bool
		Plaintext hexBytes
	}
	State *scriptState `json:"receiver_state_after"`
}

type scriptState struct {
	MessageKeys []struct {
		DH  hexBytes
		Key hexBytes `json:"message_key"`
		N   uint
		Seq uint
	} `json:"message_keys"`
	Infos []struct {
		Prekey       hexBytes `json:"bundle_id"`
		Pending      hexBytes `json:"pending_ephemeral"`
		Identity     hexBytes `json:"their_identity"`
		Installation string   `json:"their_installation"`
	} `json:"ratchet_info"`
	Sessions []struct {
		DHr     hexBytes
		Private hexBytes `json:"dhs_private"`
		Public  hexBytes `json:"dhs_public"`
		Count   uint     `json:"keys_count"`
		PN      uint32
		Recv    hexBytes `json:"recv_chain_key"`
		RecvN   uint32   `json:"recv_n"`
		Root    hexBytes `json:"root_key"`
		Send    hexBytes `json:"send_chain_key"`
		SendN   uint32   `json:"send_n"`
		ID      hexBytes `json:"session_id"`
	}
}

type scriptParty struct {
	Identity     hexBytes `json:"identity_private"`
	Installation string   `json:"installation_id"`
	Prekeys      []struct {
		Private hexBytes
		Version uint32
	} `json:"signed_prekeys"`
}

// actor is a party of a script and what it has gone through.
type actor struct {
	scriptParty
	identity layers.PrivateKey
	random   *script
	memory   *layertest.Memory
	node     *Node
	bundles  int
	state    *scriptState       // the last one the script has shown
	used     map[skippedID]bool // keys of the messages it has opened
	opened   map[string]bool    // names of those messages
	cfg      Config
}

func newActor(t *testing.T, p scriptParty, legacy bool) *actor {
	a := &actor{
		scriptParty: p, identity: mustPrivate(t, p.Identity), random: &script{}, memory: layertest.NewMemory(),
		used: map[skippedID]bool{}, opened: map[string]bool{}, cfg: DefaultConfig(), state: &scriptState{},
	}
	a.cfg.Legacy2019 = legacy
	n := &Node{identity: a.identity, own: own{installation: p.Installation}}
	a.memory.Commit([]layers.Record{n.ownRecord()})
	a.install(t, 0)
	return a
}

// install makes the i-th prekey of the script the one in use.
func (a *actor) install(t *testing.T, i int) {
	p := prekey{version: a.Prekeys[i].Version, created: scriptEpoch, key: mustPrivate(t, a.Prekeys[i].Private)}
	a.memory.Commit([]layers.Record{p.record()})
	a.restart()
}

func (a *actor) restart() {
	a.node = New(a.cfg, a.identity, a.random, a.memory)
	a.node.derive = quickKey
	a.node.channels = []secure.Channel{"chat"}
}

// quickKey stands for the slow derivation where the key does not matter.
func quickKey(text string) envelope.SymKey {
	return envelope.SymKey(layers.Keccak256([]byte("quick"), []byte(text)))
}

// scriptEpoch is the creation time of the prekeys; no script lasts for a day.
var scriptEpoch time.Time

// scriptTime returns the time of the first bundle in a script.
func scriptTime(t *testing.T, steps []scriptStep) time.Time {
	for _, s := range steps {
		if s.Bundle != nil {
			if d, err := decodeBundle(s.Bundle); err == nil {
				return time.Unix(0, d.timestamp)
			}
		}
		if m, err := decodeMessage(s.Wire); err == nil && len(m.bundles) > 0 {
			return time.Unix(0, m.bundles[0].timestamp)
		}
	}
	t.Fatal("script without a bundle")
	return time.Time{}
}

// scriptVector replays a script twice: with the nodes as they run, and from the
// states it shows, each message from the state before it.
func scriptVector(t *testing.T, v layertest.Vector) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts=%v", restarts), func(t *testing.T) { replay(t, v, restarts) })
	}
}

func replay(t *testing.T, v layertest.Vector, restarts bool) {
	var in struct{ Parties map[string]scriptParty }
	var steps []scriptStep
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Steps, &steps)
	now := scriptTime(t, steps)
	scriptEpoch = now
	legacy := isLegacy(t, steps)
	actors := map[string]*actor{}
	for _, name := range slices.Sorted(maps.Keys(in.Parties)) {
		actors[name] = newActor(t, in.Parties[name], legacy)
	}
	messages := map[string]hexBytes{}
	partial := len(v.ID) > 5 && v.ID[:5] == "skip-"
	checked := 0
	for i, s := range steps {
		now = now.Add(time.Millisecond)
		at := fmt.Sprintf("step %d %s %s", i, s.Op, s.Message)
		if s.Wire != nil {
			messages[s.Message] = s.Wire
		}
		switch s.Op {
		case "bundle":
			of := actors[s.Of]
			if of.bundles++; of.bundles > 1 && of.bundles <= len(of.Prekeys) {
				of.install(t, of.bundles-1)
			}
			wire := protocolMessage{installation: of.Installation}.encode()
			wire = appendMessage(wire, 3, s.Bundle)
			if _, err := actors[s.To].receive(now, of.identity.Public(), "code/x", wire); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
		case "send":
			checked++
			if !partial || s.Message == "a1" {
				actors[s.From].replaySend(t, at, now, s, actors[s.To].identity.Public())
			}
		case "receive":
			checked++
			to := actors[s.To]
			wire := s.Wire
			if wire == nil {
				wire = messages[s.Message]
			}
			to.replayState(t, at, s, wire)
			to.replayReceive(t, at, now, s, wire)
			if s.State != nil {
				to.state = s.State
				to.compare(t, at)
			}
			if restarts {
				to.restart()
			}
		case "confirm_processed":
			actors[s.Party].confirm(t, messages[s.Message])
		case "send_public", "send_bundle_advertisement", "note":
		default:
			t.Fatalf("%s: unknown operation", at)
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// isLegacy reports whether the ratchet keys of a script have 32 bytes.
func isLegacy(t *testing.T, steps []scriptStep) bool {
	for _, s := range steps {
		if m, err := decodeMessage(s.Wire); err == nil {
			for _, d := range m.direct {
				if d.ratchet != nil {
					return len(d.ratchet.key) == flavour2019.keyLen()
				}
			}
		}
	}
	t.Fatal("script without a ratchet")
	return false
}

// receive hands a message to the node and returns what it reports above.
func (a *actor) receive(now time.Time, from layers.PublicKey, filter envelope.FilterID, wire []byte) ([]secure.Event, error) {
	out, err := a.node.FromBelow(now, envelope.Opened{Filter: filter, Payload: wire, Signer: from})
	if err != nil {
		return nil, err
	}
	a.memory.Commit(out.Save)
	return out.Up, nil
}

func (a *actor) replaySend(t *testing.T, at string, now time.Time, s scriptStep, to layers.PublicKey) {
	want, err := decodeMessage(s.Wire)
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	for _, k := range s.Keys {
		a.random.given = append(a.random.given, k...)
	}
	for _, d := range want.direct {
		if d.dh != nil {
			a.random.given = append(a.random.given, d.payload[len(d.payload)-gcmNonce:]...)
		}
	}
	if p, known := a.node.peers[to]; known && isLegacySend(want) {
		for i := range p.installations {
			p.installations[i].legacy = true // the script begins with what a first message cannot know
		}
	}
	ref := layers.Ref(layers.Keccak256([]byte(at)))
	out, err := a.node.FromAbove(now, secure.Send{Ref: ref, To: to, Body: s.Plaintext})
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	a.memory.Commit(out.Save)
	if len(a.random.given) > 0 {
		t.Errorf("%s: %d bytes of the given keys were not drawn", at, len(a.random.given))
	}
	var seal envelope.Seal
	for _, c := range out.Down {
		if c, ok := c.(envelope.Seal); ok {
			seal = c
		}
	}
	got, err := decodeMessage(seal.Payload)
	if err != nil {
		t.Fatalf("%s: own message: %v, events %v", at, err, out.Up)
	}
	if len(got.direct) != len(want.direct) {
		t.Fatalf("%s: got %d devices, want %d", at, len(got.direct), len(want.direct))
	}
	for i := range want.direct {
		equal(t, at+": target", []byte(got.direct[i].target), []byte(want.direct[i].target))
		equal(t, at+": direct message", got.direct[i].encode(), want.direct[i].encode())
	}
	_, symmetric := seal.Key.(envelope.SymKey)
	if symmetric != s.Agreed {
		t.Errorf("%s: on the negotiated topic: got %v, want %v", at, symmetric, s.Agreed)
	}
}

func isLegacySend(m protocolMessage) bool {
	for _, d := range m.direct {
		if d.ratchet != nil && len(d.ratchet.key) == flavour2019.keyLen() {
			return true
		}
	}
	return false
}

func (a *actor) replayReceive(t *testing.T, at string, now time.Time, s scriptStep, wire []byte) {
	filter := envelope.FilterID("own/partitioned")
	m, err := decodeMessage(wire)
	if err == nil && len(m.direct) == 0 {
		filter = "channel/chat"
	}
	for _, k := range s.Keys {
		a.random.given = append(a.random.given, k...)
	}
	up, err := a.receive(now, mustPublic(t, s.Sender), filter, wire)
	a.random.given = nil
	name := s.Message
	if s.Expect.OK && a.opened[name] && hasRatchet(m) {
		// The reference opens a message again until the application confirms
		// it. This node erases the key at once and refuses.
		if err == nil {
			t.Errorf("%s: a message was opened twice: %v", at, up)
		}
		return
	}
	if !s.Expect.OK {
		if len(up) > 0 {
			t.Errorf("%s: got %v, want nothing", at, up)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	var body []byte
	for _, e := range up {
		body = e.(secure.Received).Body
	}
	equal(t, at+": plaintext", body, s.Expect.Plaintext)
	a.opened[name] = true
	if d, ok := a.forMe(m); ok && d.ratchet != nil {
		a.used[skippedID{string(d.ratchet.key), uint(d.ratchet.n)}] = true
	}
}

func hasRatchet(m protocolMessage) bool {
	return slices.ContainsFunc(m.direct, func(d directMessage) bool { return d.ratchet != nil })
}

func (a *actor) forMe(m protocolMessage) (directMessage, bool) {
	for _, d := range m.direct {
		if d.target == a.Installation {
			return d, true
		}
	}
	return directMessage{}, false
}

// compare checks the node against the state in the script. The keys of opened
// messages are not kept until they are confirmed.
func (a *actor) compare(t *testing.T, at string) {
	t.Helper()
	stored := map[skippedID]hexBytes{}
	for i, w := range a.state.Sessions {
		s := a.sessionOf(t, i)
		if s == nil {
			t.Fatalf("%s: no session %x", at, w.ID)
		}
		st := s.state
		equal(t, at+": DHr", st.DHr, w.DHr)
		equal(t, at+": own private", st.DHs.PrivateKey(), w.Private)
		equal(t, at+": own public", st.DHs.PublicKey(), w.Public)
		equal(t, at+": root", st.RootCh.CK, w.Root)
		equal(t, at+": sending chain", st.SendCh.CK, w.Send)
		equal(t, at+": receiving chain", st.RecvCh.CK, w.Recv)
		got, want := []uint{uint(st.SendCh.N), uint(st.RecvCh.N), uint(st.PN), st.KeysCount}, []uint{uint(w.SendN), uint(w.RecvN), uint(w.PN), w.Count}
		if !slices.Equal(got, want) {
			t.Errorf("%s: numbers: got %v, want %v", at, got, want)
		}
		for id, k := range s.skipped.keys {
			stored[id] = hexBytes(k.mk)
		}
		equal(t, at+": pending ephemeral key", s.pending, a.state.Infos[a.infoOf(t, i)].Pending)
	}
	want := map[skippedID]hexBytes{}
	for _, k := range a.state.MessageKeys {
		if id := (skippedID{string(k.DH), k.N}); !a.used[id] {
			want[id] = k.Key
		}
	}
	if !maps.EqualFunc(stored, want, func(a, b hexBytes) bool { return bytes.Equal(a, b) }) {
		t.Errorf("%s: stored keys: got %d, want %d", at, len(stored), len(want))
	}
}

func (a *actor) infoOf(t *testing.T, i int) int {
	t.Helper()
	id := a.state.Sessions[i].ID
	for k, info := range a.state.Infos {
		if bytes.Equal(id, append(bytes.Clone(info.Prekey), info.Installation...)) {
			return k
		}
	}
	t.Fatalf("session %x without ratchet info", []byte(id))
	return 0
}

func (a *actor) sessionOf(t *testing.T, i int) *session {
	t.Helper()
	info := a.state.Infos[a.infoOf(t, i)]
	p := a.node.peers[mustPublic(t, info.Identity)]
	if p == nil {
		return nil
	}
	return a.node.session(p, sessionRef{[33]byte(info.Prekey), info.Installation})
}

// replayState opens a message in a session made of the state the script shows
// before it, with all the message keys that the reference still keeps.
func (a *actor) replayState(t *testing.T, at string, s scriptStep, wire []byte) {
	m, err := decodeMessage(wire)
	d, ok := a.forMe(m)
	if err != nil || !ok || d.ratchet == nil || len(d.ratchet.prekey) != 33 {
		return
	}
	random := &script{}
	for _, k := range s.Keys {
		random.given = append(random.given, k...)
	}
	sess := a.sessionFrom(t, m.installation, d.ratchet.prekey, random)
	if sess == nil {
		sess = a.fresh(t, m, d, mustPublic(t, s.Sender), random)
	}
	if sess == nil {
		// The script shows states of receivers only: nothing yet of a party that
		// opened the session itself, and there is nothing to load.
		if shown := len(a.state.Sessions) > 0; shown && s.Expect.OK {
			t.Errorf("%s: neither a session nor a prekey", at)
		}
		return
	}
	body, err := sess.open(random, d.ratchet, d.payload)
	if (err == nil) != s.Expect.OK {
		t.Fatalf("%s: from the state: got %v, want ok = %v", at, err, s.Expect.OK)
	}
	equal(t, at+": plaintext from the state", body, s.Expect.Plaintext)
	if err == nil && s.State != nil {
		compareKeys(t, at, sess, s.State, d.ratchet.key)
	}
}

// compareKeys checks that the session has no other message keys than those
// shown, and all of those of one ratchet key.
func compareKeys(t *testing.T, at string, s *session, want *scriptState, ratchetKey []byte) {
	t.Helper()
	shown := map[skippedID]hexBytes{}
	for _, k := range want.MessageKeys {
		id := skippedID{string(k.DH), k.N}
		shown[id] = k.Key
		if _, kept := s.skipped.keys[id]; !kept && bytes.Equal(k.DH, ratchetKey) {
			t.Errorf("%s: from the state: message key %d is not kept", at, k.N)
		}
	}
	for id, k := range s.skipped.keys {
		equal(t, at+": message key from the state", k.mk, shown[id])
	}
}

func (a *actor) sessionFrom(t *testing.T, installation string, prekey []byte, random *script) *session {
	t.Helper()
	for i, w := range a.state.Sessions {
		info := a.state.Infos[a.infoOf(t, i)]
		if !bytes.Equal(info.Prekey, prekey) || info.Installation != installation {
			continue
		}
		s := &session{key: sessionKey{mustPublic(t, info.Identity), [33]byte(prekey), installation}}
		if len(w.Public) == flavour2019.keyLen() {
			s.flavour = flavour2019
		}
		st := doubleratchet.DefaultState(nil)
		st.DHr, st.DHs = doubleratchet.Key(w.DHr), pair{doubleratchet.Key(w.Private), doubleratchet.Key(w.Public)}
		st.RootCh.CK, st.SendCh.CK, st.RecvCh.CK = doubleratchet.Key(w.Root), doubleratchet.Key(w.Send), doubleratchet.Key(w.Recv)
		st.SendCh.N, st.RecvCh.N, st.PN, st.KeysCount = w.SendN, w.RecvN, w.PN, w.Count
		for _, k := range a.state.MessageKeys {
			s.skipped.Put(nil, doubleratchet.Key(k.DH), k.N, doubleratchet.Key(k.Key), k.Seq)
		}
		s.state = st
		if err := s.configured(random)(&s.state); err != nil {
			t.Fatal(err)
		}
		return s
	}
	return nil
}

func (a *actor) fresh(t *testing.T, m protocolMessage, d directMessage, from layers.PublicKey, random *script) *session {
	t.Helper()
	if d.x3dh == nil {
		return nil
	}
	prekey, ok := a.node.prekeyOf(d.x3dh.prekey)
	if !ok {
		return nil
	}
	f := flavour2020
	if len(d.ratchet.key) == flavour2019.keyLen() {
		f = flavour2019
	}
	key := sessionKey{from, [33]byte(d.x3dh.prekey), m.installation}
	s, err := respondSession(random, a.identity, prekey, key, d.x3dh.ephemeral, f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// confirm drops the key of a message from the shown state.
func (a *actor) confirm(t *testing.T, wire []byte) {
	t.Helper()
	m, err := decodeMessage(wire)
	d, ok := a.forMe(m)
	if err != nil || !ok {
		t.Fatalf("confirm: %v, %s", err, hex.EncodeToString(wire))
	}
	state := *a.state
	state.MessageKeys = slices.Clone(state.MessageKeys)
	for i, k := range state.MessageKeys {
		if bytes.Equal(k.DH, d.ratchet.key) && k.N == uint(d.ratchet.n) {
			state.MessageKeys = slices.Delete(state.MessageKeys, i, i+1)
			break
		}
	}
	a.state = &state
}
