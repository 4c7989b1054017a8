package ratchet

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/secure"
)

var _ layers.Protocol[secure.Command, secure.Event, envelope.Command, envelope.Event] = (*Node)(nil)

func TestFirstWakeAttachesAndReadyListensAndPublishesTheContactCode(t *testing.T) {
	n := New(DefaultConfig(), testKey("alice"), &script{}, layertest.NewMemory())
	n.derive = quickKey
	out := n.Wake(t0)
	if len(out.Down) != 1 || out.Down[0] != (envelope.Attach{}) || len(out.Up) != 0 {
		t.Fatalf("got %v, %v, want one Attach", out.Down, out.Up)
	}
	out, err := n.FromBelow(t0, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20, Latency: time.Second}})
	if err != nil || len(out.Down) != 2 || len(out.Up) != 1 {
		t.Fatalf("got %v, %v, %v, want Listen and Seal, and Ready", out.Down, out.Up, err)
	}
	var ids []string
	for _, f := range out.Down[0].(envelope.Listen).Filters {
		ids = append(ids, string(f.ID))
	}
	if want := []string{"own/contact-code", "own/generic", "own/partitioned", "own/personal"}; !slices.Equal(ids, want) {
		t.Errorf("filters: got %q, want %q", ids, want)
	}
	seal := out.Down[1].(envelope.Seal)
	if seal.Topic != envelope.TopicOf(contactCode(n.self)) || seal.Key != quickKey(contactCode(n.self)) {
		t.Error("the first Seal is not for the contact code topic")
	}
	m, err := decodeMessage(seal.Payload)
	if err != nil || len(m.bundles) != 1 || m.hasPublic || len(m.direct) != 0 {
		t.Errorf("contact code: got %+v, %v, want one bundle", m, err)
	}
	if got := out.Up[0].(secure.Ready).Info; got.MaxBody != maxBody(1<<20) || got.Latency != time.Second {
		t.Errorf("info: got %+v", got)
	}
}

func TestContactCodeIsPublishedEverySixHoursAndSoonerAfterFailure(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	codes := func() int {
		n := 0
		for _, k := range e.packets {
			if k.seal.Topic == envelope.TopicOf(contactCode(a.key.Public())) {
				n++
			}
		}
		return n
	}
	if codes() != 1 || !a.alarm.Equal(t0.Add(6*time.Hour)) {
		t.Fatalf("got %d codes, alarm at %v, want 1, 6 h later", codes(), a.alarm)
	}
	e.now = t0.Add(5 * time.Hour)
	a.wake()
	a.start()
	if codes() != 1 {
		t.Fatalf("after an early wake-up and a restart: got %d codes, want 1", codes())
	}
	e.now = t0.Add(6 * time.Hour)
	a.mute = true
	a.wake()
	ref := e.packets[len(e.packets)-1].seal.Ref
	a.step(func() (output, error) { return a.node.FromBelow(e.now, envelope.Expired{Ref: ref}) })
	if codes() != 2 || !a.alarm.Equal(e.now.Add(codeRetry)) {
		t.Fatalf("after a failure: got %d codes, alarm at %v, want 2, %v later", codes(), a.alarm, codeRetry)
	}
	e.now = e.now.Add(codeRetry)
	a.wake()
	if codes() != 3 {
		t.Errorf("after the retry: got %d codes, want 3", codes())
	}
	if len(a.finals) != 0 {
		t.Errorf("answers to own messages were passed up: %v", a.finals)
	}
}

func TestStrangersTalkWithoutABundleFirstThenInSessions(t *testing.T) {
	e := newEther(t)
	a, b := e.party("alice", DefaultConfig()), e.party("bob", DefaultConfig())
	start := len(e.packets)
	first := a.say(b, "one")[0]
	if first.seal.Topic != envelope.TopicOf(partitioned(b.key.Public())) || message(t, first).direct[0].target != dhOnlyTarget {
		t.Error("the first message is not DH-only on the partitioned topic")
	}
	e.flow(start)
	second := b.say(a, "two")[0]
	if d := message(t, second).direct[0]; d.x3dh == nil || d.ratchet == nil || d.target != a.node.own.installation {
		t.Error("the answer does not open a session")
	}
	e.flow(second.id)
	third := a.say(b, "three")[0]
	if d := message(t, third).direct[0]; d.x3dh != nil || !bytes.Equal(d.ratchet.prekey, message(t, second).direct[0].ratchet.prekey) {
		t.Error("the third message is not in the session of the second")
	}
	if _, symmetric := third.seal.Key.(envelope.SymKey); !symmetric || third.seal.Topic != a.node.peers[b.key.Public()].topic {
		t.Error("the third message is not on the negotiated topic")
	}
	e.flow(third.id)
	wantBodies(t, b, "one", "three")
	wantBodies(t, a, "two")
	if b.got[0].Protection != secure.Static || b.got[1].Protection != secure.Ratcheted || a.got[0].Protection != secure.Ratcheted {
		t.Errorf("protection: got %v, %v, %v", b.got[0].Protection, b.got[1].Protection, a.got[0].Protection)
	}
	if b.got[0].From != a.key.Public() || b.got[0].Channel != "" {
		t.Errorf("got %v in %q", b.got[0].From, b.got[0].Channel)
	}
}

func TestX3DHHeaderIsRepeatedUntilThePeerAnswersInTheSession(t *testing.T) {
	e, a, b := pairUp(t)
	for range 3 {
		k := a.say(b, "x")[0]
		if message(t, k).direct[0].x3dh == nil {
			t.Fatal("no X3DH header before an answer")
		}
		b.take(k)
	}
	e.flow(b.say(a, "y")[0].id)
	if message(t, a.say(b, "z")[0]).direct[0].x3dh != nil {
		t.Error("X3DH header after an answer")
	}
}

func TestConcurrentOpeningsAreAcceptedBothWays(t *testing.T) {
	e, a, b := pairUp(t)
	ka, kb := a.say(b, "from a")[0], b.say(a, "from b")[0]
	e.flow(ka.id)
	next := a.say(b, "again")[0]
	if got, want := message(t, next).direct[0].ratchet.prekey, message(t, ka).direct[0].ratchet.prekey; !bytes.Equal(got, want) {
		t.Errorf("a went on in session %x, want its own %x", got, want)
	}
	e.flow(next.id)
	e.flow(b.say(a, "and again")[0].id)
	wantBodies(t, b, "from a", "again")
	wantBodies(t, a, "from b", "and again")
	if kb.seal.Ref == ka.seal.Ref {
		t.Error("the same ref twice")
	}
}

func TestEveryActiveDeviceGetsTheMessageAndAtMostThree(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	key := testKey("bob")
	var devices []*party
	for i := range 4 {
		e.now = e.now.Add(time.Minute)
		devices = append(devices, e.device(fmt.Sprintf("bob%d", i), key, DefaultConfig()))
	}
	a.watch(nil, devices[0])
	e.flow(0)
	k := a.say(devices[0], "to all")[0]
	if n := len(message(t, k).direct); n != maxActive {
		t.Fatalf("got %d ciphertexts, want %d", n, maxActive)
	}
	e.flow(k.id)
	for i, d := range devices {
		want := []string{"to all"}
		if i == 0 {
			want = nil // the one longest not heard of
		}
		wantBodies(t, d, want...)
	}
	if got := a.node.peers[key.Public()].installations; len(got) != 4 {
		t.Errorf("got %d installations, want 4", len(got))
	}
}

func TestPrekeyRotatesAfterADayAndOpensANewSession(t *testing.T) {
	e, a, b := talk(t)
	before := b.node.currentPrekey()
	old := message(t, a.say(b, "old")[0]).direct[0].ratchet.prekey
	e.now = e.now.Add(24*time.Hour + time.Minute)
	n := len(e.packets)
	b.say(a, "rotated")
	if b.node.currentPrekey() == before || b.node.own.prekeys[1].version != 2 {
		t.Fatal("the prekey was not rotated")
	}
	e.flow(n)
	k := a.say(b, "new")[0]
	if bytes.Equal(message(t, k).direct[0].ratchet.prekey, old) {
		t.Error("a still sends in the session on the old prekey")
	}
	e.flow(k.id)
	wantBodies(t, b, "new")
	wantBodies(t, a, "rotated")
}

func TestOldPrivatePrekeysAreErased(t *testing.T) {
	e, a, b := talk(t)
	first := slices.Clone(b.node.own.prekeys[0].key.Secret())
	for range 16 {
		e.now = e.now.Add(25 * time.Hour)
		b.say(a, "daily")
	}
	for _, key := range allRecords(b.mem) {
		if v, _ := b.mem.Get(key); bytes.Contains(v, first) {
			t.Errorf("record %.20s still holds the first private prekey", key)
		}
	}
	if n := len(b.node.own.prekeys); n < 13 || n > 16 {
		t.Errorf("got %d prekeys kept, want those of 14 days", n)
	}
	restarted := New(b.cfg, b.key, b.random, b.mem)
	if len(restarted.own.prekeys) != len(b.node.own.prekeys) || restarted.currentPrekey() != b.node.currentPrekey() {
		t.Error("prekeys differ after a restart")
	}
}

func allRecords(m *layertest.Memory) []string {
	var keys []string
	for k := range m.Scan("", "", false) {
		keys = append(keys, k)
	}
	return keys
}

func TestSecretsAreSavedInSecretRecords(t *testing.T) {
	e := newEther(t)
	secret := map[string]bool{}
	n := New(DefaultConfig(), testKey("alice"), &script{}, layertest.NewMemory())
	n.derive = quickKey
	b := e.party("bob", DefaultConfig())
	collect := func(out output, err error) output {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Save {
			secret[strings.SplitAfter(r.Key, "/")[0]] = r.Secret
		}
		return out
	}
	collect(n.Wake(t0), nil)
	collect(n.FromBelow(t0, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20}}))
	collect(n.FromAbove(t0, secure.Watch{Contacts: []layers.PublicKey{b.key.Public()}}))
	collect(n.FromBelow(t0, envelope.Opened{Filter: "code/x", Payload: e.packets[0].seal.Payload, Signer: b.key.Public()}))
	collect(n.FromAbove(t0, secure.Send{Ref: layers.Ref{1}, To: b.key.Public(), Body: []byte("x")}))
	for prefix, want := range map[string]bool{keyPrekey: true, keySession: true, keySym: true, keyPeer: false, keyOwn: false, keyWatch: false} {
		if got, saved := secret[prefix]; !saved || got != want {
			t.Errorf("%s: saved %v, secret %v, want %v", prefix, saved, got, want)
		}
	}
}

func TestSendRefusesWhatItCannotCarry(t *testing.T) {
	e, a, b := talk(t)
	long := make([]byte, a.node.ready().Info.MaxBody+1)
	for _, tt := range []struct {
		name    string
		command secure.Command
		reason  string
	}{
		{"nobody", secure.Send{Ref: layers.Ref{1}, Body: []byte("x")}, "no receiver"},
		{"self", secure.Send{Ref: layers.Ref{2}, To: a.key.Public(), Body: []byte("x")}, "paired"},
		{"long", secure.Send{Ref: layers.Ref{3}, To: b.key.Public(), Body: long}, "too long"},
		{"long broadcast", secure.Broadcast{Ref: layers.Ref{4}, Channel: "c", Body: long}, "too long"},
		{"no channel", secure.Broadcast{Ref: layers.Ref{5}, Body: []byte("x")}, "no channel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := len(e.packets)
			a.command(tt.command)
			got := a.finals[refOf(tt.command)]
			if len(got) != 1 || len(e.packets) != n {
				t.Fatalf("got %v and %d packets, want one answer and none", got, len(e.packets)-n)
			}
			if r, ok := got[0].(secure.Refused); !ok || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("got %+v, want a Refused with %q", got[0], tt.reason)
			}
		})
	}
}

func TestLongestBodyFitsTheEnvelopeForThreeDevices(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	key := testKey("bob")
	var device *party
	for i := range 3 {
		device = e.device(fmt.Sprintf("bob%d", i), key, DefaultConfig())
		device.node.own.installation = strings.Repeat(string(rune('a'+i)), maxInstallation)
		device.packets = nil
	}
	e.packets = nil
	for _, d := range e.parties[1:] {
		var out output
		d.node.own.published, d.node.publishing, d.node.retryCode = time.Time{}, false, time.Time{}
		d.node.publishCode(e.now, &out)
		for _, c := range out.Down {
			d.carry(c)
		}
	}
	a.watch(nil, device)
	a.node.own.installation = strings.Repeat("z", maxInstallation)
	e.flow(0)
	limit := 1 << 20
	body := make([]byte, a.node.ready().Info.MaxBody)
	k := a.say(device, string(body))[0]
	if n := len(message(t, k).direct); n != 3 {
		t.Fatalf("got %d devices, want 3", n)
	}
	if len(k.seal.Payload) > limit || len(k.seal.Payload) < limit-1000 {
		t.Errorf("got a payload of %d bytes, want at most %d and close to it", len(k.seal.Payload), limit)
	}
}

func TestRepeatedSendIsTheSameCommand(t *testing.T) {
	e, a, b := talk(t)
	a.mute = true
	k := a.say(b, "once")
	a.command(a.waiting[0])
	if n := len(e.packets) - k[0].id; n != 1 {
		t.Fatalf("got %d packets, want 1", n)
	}
	a.step(func() (output, error) {
		return a.node.FromBelow(e.now, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20}})
	})
	again := e.packets[len(e.packets)-1]
	if again.id == k[0].id || again.seal.Ref != k[0].seal.Ref || !bytes.Equal(again.seal.Payload, k[0].seal.Payload) {
		t.Error("Ready did not repeat the unanswered Seal as it was")
	}
	out, err := a.node.FromBelow(e.now, envelope.Accepted{Ref: k[0].seal.Ref})
	if err != nil || len(out.Up) != 1 || out.Up[0] != (secure.Accepted{Ref: k[0].seal.Ref}) {
		t.Errorf("Accepted: got %v, %v", out.Up, err)
	}
	out, err = a.node.FromAbove(e.now, secure.Attach{})
	if err != nil || len(out.Up) != 1 || out.Up[0] != (a.node.ready()) {
		t.Errorf("Attach: got %v, %v, want Ready", out.Up, err)
	}
	a.step(func() (output, error) { return a.node.FromBelow(e.now, envelope.Expired{Ref: k[0].seal.Ref}) })
	a.step(func() (output, error) { return a.node.FromBelow(e.now, envelope.Relayed{Ref: k[0].seal.Ref}) })
	if got := a.finals[k[0].seal.Ref]; len(got) != 1 || got[0] != (secure.Expired{Ref: k[0].seal.Ref}) {
		t.Errorf("answers: got %v, want one Expired", got)
	}
	a.command(secure.Send{Ref: k[0].seal.Ref, To: b.key.Public(), Body: []byte("once")})
	if last := e.packets[len(e.packets)-1]; bytes.Equal(last.seal.Payload, again.seal.Payload) {
		t.Error("a repetition after the answer was not encrypted anew")
	}
}

func TestPublicMessagesTravelRawAndAreUnderstoodInBothForms(t *testing.T) {
	e := newEther(t)
	a, b := e.party("alice", DefaultConfig()), e.party("bob", DefaultConfig())
	b.watch([]secure.Channel{"status"})
	n := len(e.packets)
	a.command(secure.Broadcast{Ref: layers.Ref{9}, Channel: "status", Body: []byte("\x0a\x01xhi")})
	k := e.packets[n]
	if string(k.seal.Payload) != "\x0a\x01xhi" || k.seal.Topic != envelope.TopicOf("status") || k.seal.Key != quickKey("status") {
		t.Errorf("got %q on %x", k.seal.Payload, k.seal.Topic)
	}
	e.flow(n)
	wrapped := protocolMessage{installation: "phone", bundles: message(t, e.packets[0]).bundles, public: []byte("of 2019"), hasPublic: true}
	k.seal.Payload = wrapped.encode()
	b.take(k)
	wantBodies(t, b, "\x0a\x01xhi", "of 2019")
	for _, r := range b.got {
		if r.Protection != secure.Public || r.Channel != "status" || r.From != a.key.Public() {
			t.Errorf("got %+v", r)
		}
	}
	if p := b.node.peers[a.key.Public()]; p == nil || len(p.installations) != 1 {
		t.Error("the bundle of the public message was not learned")
	}
	if b.say(a, "now with a session"); message(t, e.packets[len(e.packets)-1]).direct[0].x3dh == nil {
		t.Error("the next message does not use the bundle")
	}
}

func TestOwnMessagesComingBackAreDropped(t *testing.T) {
	e, a, b := talk(t)
	k := a.say(b, "hello")[0]
	if _, symmetric := k.seal.Key.(envelope.SymKey); !symmetric {
		t.Fatal("not on the negotiated topic")
	}
	before := a.mem.Commits()
	if err := a.take(k); err != nil || len(a.got) != 0 || a.mem.Commits() != before {
		t.Errorf("got %v, %q and %d commits, want nothing", err, a.bodies(), a.mem.Commits()-before)
	}
	e.flow(k.id)
	wantBodies(t, b, "hello")
}

func TestOtherOwnDevicesAreKnownButNotWrittenTo(t *testing.T) {
	e := newEther(t)
	key := testKey("alice")
	a, other := e.device("alice1", key, DefaultConfig()), e.device("alice2", key, DefaultConfig())
	e.flow(0)
	p := a.node.peers[key.Public()]
	if p == nil || len(p.installations) != 1 || p.installations[0].id != other.node.own.installation {
		t.Fatalf("got %+v, want the other device", p)
	}
	m := protocolMessage{}
	d := a.node.attach(e.now, new(output))
	m.bundles = []bundle{d}
	if len(d.prekeys) != 1 {
		t.Errorf("own bundle lists %d devices, want 1 before pairing", len(d.prekeys))
	}
}

func TestWatchIsRememberedOverARestart(t *testing.T) {
	e, a, b := talk(t)
	a.watch([]secure.Channel{"one", "two"}, b)
	filters := a.filters
	a.node = New(a.cfg, a.key, a.random, a.mem)
	a.node.derive = func(text string) envelope.SymKey {
		t.Errorf("key of a text of %d bytes was derived again", len(text))
		return quickKey(text)
	}
	a.node.Wake(e.now)
	out, err := a.node.FromBelow(e.now, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	got := out.Down[0].(envelope.Listen).Filters
	if !slices.Equal(got, filters) {
		t.Errorf("got %d filters, want the %d of before", len(got), len(filters))
	}
	if _, err := a.node.FromAbove(e.now, secure.Watch{Channels: []secure.Channel{""}}); err == nil {
		t.Error("an empty channel name was accepted")
	}
}

func TestManyContactsAreDerivedAFewPerStep(t *testing.T) {
	n := New(DefaultConfig(), testKey("alice"), &script{}, layertest.NewMemory())
	derived := 0
	n.derive = func(text string) envelope.SymKey { derived++; return quickKey(text) }
	n.Wake(t0)
	if _, err := n.FromBelow(t0, envelope.Ready{Info: envelope.Info{MaxPayload: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	var w secure.Watch
	for i := range 50 {
		w.Contacts = append(w.Contacts, testKey(fmt.Sprint(i)).Public())
	}
	before := derived
	out, err := n.FromAbove(t0, w)
	for steps := 0; ; steps++ {
		if err != nil || derived-before > derivePerStep {
			t.Fatalf("got %v, %d keys in one step, want at most %d", err, derived-before, derivePerStep)
		}
		if !n.behind {
			break
		}
		if out.Wake != t0 || steps > 50 {
			t.Fatalf("alarm at %v after %d steps, want at once and an end", out.Wake, steps)
		}
		before = derived
		out = n.Wake(t0)
	}
	if got := len(out.Down[len(out.Down)-1].(envelope.Listen).Filters); got != 54 {
		t.Errorf("got %d filters, want 54", got)
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := Config{}.Validate()
	for _, field := range []string{"prekey_rotation", "prekey_retention", "contact_code_interval", "answer_interval", "max_strangers"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is missing in: %v", field, err)
		}
	}
}

func TestSavedStateOfAnotherIdentityIsRefused(t *testing.T) {
	e := newEther(t)
	a := e.party("alice", DefaultConfig())
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "another identity") {
			t.Errorf("got %v, want a panic that names the reason", r)
		}
	}()
	New(DefaultConfig(), testKey("bob"), &script{}, a.mem)
}
