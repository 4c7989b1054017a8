package mvds

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

// deliver has the rig receive a message and take it, and returns its id.
func (r *rig) deliver(who layers.PublicKey, body string) datasync.MessageID {
	r.t.Helper()
	m := r.message(who, body)
	r.from(who, payload{messages: []wireMessage{m}}.encode())
	r.above(datasync.Taken{ID: m.id()})
	r.events()
	return m.id()
}

func TestMessageIsAcknowledgedOnlyWhenTaken(t *testing.T) {
	r := newNode(t, alice)
	m := r.message(bob, "hello")
	r.from(bob, payload{messages: []wireMessage{m}}.encode())
	got := r.received()
	if len(got) != 1 || got[0].ID != m.id() || got[0].From != bob || string(got[0].Body) != "hello" ||
		got[0].Protection != secure.Ratcheted || !got[0].Sent.Equal(t0) {
		t.Fatalf("received %+v", got)
	}
	r.pass(time.Hour)
	want(t, "acknowledgements before it is taken", len(r.acks()), 0)
	r.above(datasync.Taken{ID: m.id()})
	r.pass(19 * time.Millisecond)
	want(t, "acknowledgements before the delay", len(r.acks()), 0)
	r.pass(time.Millisecond)
	if got := r.acks(); !slices.Equal(got, []datasync.MessageID{m.id()}) {
		t.Errorf("acknowledged %x, want %x", got, m.id())
	}
	r.above(datasync.Taken{ID: m.id()})
	r.pass(time.Second)
	want(t, "acknowledgements of a repeated taken", len(r.acks()), 0)
}

// D1: a lost acknowledgement is repaired by the next copy, also after a restart.
func TestRepetitionIsAcknowledgedAgainAndNotReported(t *testing.T) {
	r := newNode(t, alice)
	m := r.message(bob, "hello")
	wire := payload{messages: []wireMessage{m}}.encode()
	r.deliver(bob, "hello")
	r.pass(time.Second)
	r.acks()
	for range 2 {
		r.from(bob, wire)
		r.pass(time.Second)
		want(t, "reported again", len(r.received()), 0)
		if got := r.acks(); !slices.Equal(got, []datasync.MessageID{m.id()}) {
			t.Errorf("acknowledged %x, want %x", got, m.id())
		}
		r.start()
	}
}

func TestHeldMessageIsReportedAgainUntilTaken(t *testing.T) {
	r := newNode(t, alice)
	m := r.message(bob, "hello")
	wire := payload{messages: []wireMessage{m, m}}.encode()
	r.from(bob, wire)
	r.from(bob, wire)
	want(t, "reported without being asked", len(r.received()), 1)
	r.above(datasync.Attach{})
	want(t, "reported to a new upper layer", len(r.received()), 1)
	r.begin()
	r.above(datasync.Attach{})
	wantEvents(t, r.events())
	r.below(secure.Ready{Info: info})
	want(t, "reported after a restart", len(r.received()), 1)
	r.above(datasync.Taken{ID: m.id()})
	r.above(datasync.Attach{})
	want(t, "reported after it is taken", len(r.received()), 0)
}

func TestAcknowledgementsTravelTogether(t *testing.T) {
	r := newNode(t, alice)
	for i := range 10 {
		r.deliver(bob, fmt.Sprint(i))
	}
	r.pass(time.Second)
	p := r.payloads()
	if len(p) != 1 || len(p[0].acks) != 10 {
		t.Errorf("sent %v, want ten acknowledgements in one", p)
	}
	r.deliver(bob, "with a message")
	r.publish(bob, "answer")
	p = r.payloads()
	if len(p) != 1 || len(p[0].acks) != 1 || len(p[0].messages) != 1 {
		t.Errorf("sent %v, want the acknowledgement with the message", p)
	}
	for i := range ackBatch {
		r.deliver(bob, fmt.Sprint("batch ", i))
	}
	want(t, "acknowledgements of a full batch at once", len(r.acks()), ackBatch)
}

// Row 17: a message for a group that is not that of its sender and us is neither
// reported nor acknowledged nor offered to anybody.
func TestStrangerIsRefused(t *testing.T) {
	r := newNode(t, alice)
	bobs, ours := oneToOne(alice, bob), oneToOne(carol, bob)
	for _, g := range [][]byte{bobs[:], ours[:], bobs[:31], append(bobs[:], 0), nil} {
		r.from(carol, payload{messages: []wireMessage{{g, t0.Unix(), []byte("from bob, really")}}}.encode())
	}
	r.pass(time.Hour)
	wantEvents(t, r.events())
	want(t, "commands", len(r.down), 0)
	want(t, "records", r.memory.Len(), 0)
}

func TestOtherMessagesOfTheSamePayloadCount(t *testing.T) {
	r := newNode(t, alice)
	r.from(bob, payload{messages: []wireMessage{{[]byte("?"), 1, []byte("x")}, r.message(bob, "hello")}}.encode())
	want(t, "received", len(r.received()), 1)
}

// D6: nothing is answered to an acknowledgement or to an empty payload.
func TestEmptyPayloadIsNeitherSentNorReported(t *testing.T) {
	r := newNode(t, alice)
	r.from(bob, nil)
	r.from(bob, payload{acks: []datasync.MessageID{{1}}}.encode())
	r.from(bob, payload{requests: []datasync.MessageID{{1}}}.encode())
	r.pass(time.Hour)
	wantEvents(t, r.events())
	want(t, "commands", len(r.down), 0)
}

// D3: an offer can be repeated, in one payload and in many.
func TestRepeatedOfferIsHarmless(t *testing.T) {
	r := newNode(t, alice)
	id := datasync.MessageID{1}
	wire := payload{offers: []datasync.MessageID{id, id, id}}.encode()
	r.from(bob, wire)
	r.from(bob, wire)
	r.pass(time.Second)
	p := r.payloads()
	if len(p) != 1 || !slices.Equal(p[0].requests, []datasync.MessageID{id}) {
		t.Errorf("sent %v, want one request", p)
	}
	r.pass(time.Hour)
	want(t, "datagrams later", len(r.payloads()), 0)
	want(t, "records", r.memory.Len(), 0)
}

func TestKnownOfferIsAcknowledged(t *testing.T) {
	r := newNode(t, alice)
	id := r.deliver(bob, "hello")
	r.pass(time.Second)
	r.acks()
	r.from(bob, payload{offers: []datasync.MessageID{id}}.encode())
	r.pass(time.Second)
	if got := r.acks(); !slices.Equal(got, []datasync.MessageID{id}) {
		t.Errorf("acknowledged %x, want %x", got, id)
	}
	r.from(carol, payload{offers: []datasync.MessageID{id}}.encode())
	r.pass(time.Second)
	want(t, "acknowledgements to somebody else", len(r.acks()), 0)
}

func TestOfferOfAHeldMessageIsSilent(t *testing.T) {
	r := newNode(t, alice)
	m := r.message(bob, "hello")
	r.from(bob, payload{messages: []wireMessage{m}}.encode())
	r.from(bob, payload{offers: []datasync.MessageID{m.id()}}.encode())
	r.pass(time.Hour)
	want(t, "datagrams", len(r.payloads()), 0)
}

// Row 21: what is not known does not end the list; row 15: nothing stays due.
func TestRequestedMessageIsSent(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	id := r.payloads()[0].messages[0].id()
	ask := payload{requests: []datasync.MessageID{{1}, id, {2}, id}}.encode()
	r.from(bob, ask)
	want(t, "datagrams within a second of the last", len(r.payloads()), 0)
	r.pass(requestGap)
	r.from(carol, ask)
	want(t, "datagrams to somebody else", len(r.payloads()), 0)
	r.from(bob, ask)
	r.from(bob, ask)
	p := r.payloads()
	if len(p) != 1 || len(p[0].messages) != 1 || p[0].messages[0].id() != id {
		t.Errorf("sent %v, want the message once", p)
	}
}

func TestWhatIsNotSynchronisedPassesUnchanged(t *testing.T) {
	r := newNode(t, alice)
	raw := []byte(`["~#c4",["x"]]`)
	mvds := payload{messages: []wireMessage{r.message(bob, "hello")}}.encode()
	r.from(bob, raw)
	r.below(secure.Received{From: bob, Channel: "status", Body: mvds, Sent: r.now})
	got := r.received()
	if len(got) != 2 || !bytes.Equal(got[0].Body, raw) || !bytes.Equal(got[1].Body, mvds) || got[1].Channel != "status" {
		t.Fatalf("received %v", got)
	}
	for _, g := range got {
		want(t, "id", g.ID, datasync.MessageID{})
	}
	want(t, "records", r.memory.Len(), 0)
}

func TestOwnDevicesSynchronise(t *testing.T) {
	phone, laptop := newNode(t, alice), newNode(t, alice)
	ref := phone.publish(alice, "note")
	wire := phone.sends()[0].Body
	phone.events()
	phone.from(alice, wire)
	laptop.from(alice, wire)
	want(t, "received of itself", len(phone.received()), 0)
	got := laptop.received()
	want(t, "received by the other", len(got), 1)
	laptop.above(datasync.Taken{ID: got[0].ID})
	laptop.pass(time.Second)
	phone.from(alice, laptop.sends()[0].Body)
	wantEvents(t, phone.events(), datasync.Delivered{Ref: ref})
	phone.from(alice, wire)
	phone.pass(time.Minute)
	want(t, "received of itself after delivery", len(phone.received()), 0)
}

func TestSendersTimeCannotBeLaterThanItsEnvelope(t *testing.T) {
	g := oneToOne(alice, bob)
	for stamp, wantTime := range map[int64]time.Time{
		t0.Unix() - 60: t0.Add(-time.Minute), t0.Unix() + 60: t0, 0: t0, -1: t0, 1 << 62: t0, 1571000000123: t0,
	} {
		r := newNode(t, alice)
		r.from(bob, payload{messages: []wireMessage{{g[:], stamp, []byte("x")}}}.encode())
		if got := r.received()[0].Sent; !got.Equal(wantTime) {
			t.Errorf("sent %v for %d, want %v", got, stamp, wantTime)
		}
	}
}

func TestNobodyIsRefused(t *testing.T) {
	r := newNode(t, alice)
	if _, err := r.node.FromBelow(t0, secure.Received{Body: []byte("x")}); err == nil || !strings.HasPrefix(err.Error(), "mvds: ") {
		t.Errorf("got %v, want an error of mvds", err)
	}
}

// Row 16: a sender cannot fill the store.
func TestUntakenMessagesAreBounded(t *testing.T) {
	r := newNode(t, alice)
	for i := range maxHeldPeer + 100 {
		r.from(bob, payload{messages: []wireMessage{r.message(bob, fmt.Sprint(i))}}.encode())
	}
	want(t, "held of bob", len(r.received()), maxHeldPeer)
	want(t, "records", r.memory.Len(), maxHeldPeer)
	r.from(carol, payload{messages: []wireMessage{r.message(carol, "hello")}}.encode())
	want(t, "held of carol", len(r.received()), 1)
	large := strings.Repeat("x", 1<<20)
	n := 0
	for i := range 20 {
		r.from(carol, payload{messages: []wireMessage{r.message(carol, large+fmt.Sprint(i))}}.encode())
		n += len(r.received())
	}
	want(t, "large ones held of carol", n, maxHeldPeerBytes>>20-1)
}

func TestRepetitionsAreAnsweredAtABoundedRate(t *testing.T) {
	r := newNode(t, alice)
	m := r.message(bob, "hello")
	wire := payload{messages: []wireMessage{m}}.encode()
	r.deliver(bob, "hello")
	answers := 0
	for range 10_000 {
		r.from(bob, wire)
		r.pass(21 * time.Millisecond)
		answers += len(r.payloads())
	}
	if most := peerAnswers + 210*peerAnswersRate + 1; answers > most || answers < peerAnswers {
		t.Errorf("%d answers in 210 s, want at most %d", answers, most)
	}
}

func TestOffersAreAnsweredAtABoundedRate(t *testing.T) {
	r := newNode(t, alice)
	asked := 0
	for i := range 100 {
		var p payload
		for j := range 1000 {
			p.offers = append(p.offers, datasync.MessageID{byte(i), byte(j), byte(j >> 8), 1})
		}
		r.from(bob, p.encode())
		r.pass(time.Second)
		for _, p := range r.payloads() {
			asked += len(p.requests)
		}
	}
	if most := peerAnswers + 100*peerAnswersRate; asked > most || asked < maxRequestsPeer {
		t.Errorf("asked for %d of 100000 offers, want at most %d", asked, most)
	}
}

func TestSeenIDsAreBoundedPerPeerAndInTime(t *testing.T) {
	s := newSeenIDs()
	memory := map[string]bool{}
	keep := func(records []layers.Record) {
		for _, r := range records {
			if r.Value == nil {
				delete(memory, r.Key)
			} else {
				memory[r.Key] = true
			}
		}
	}
	id := func(i int) datasync.MessageID {
		return datasync.MessageID{byte(i), byte(i >> 8), byte(i >> 16)}
	}
	for i := range maxSeenPeer + 5 {
		keep(s.add(compressed{1}, id(i), t0))
	}
	want(t, "ids of one peer", len(s.byID), maxSeenPeer)
	want(t, "records", len(memory), maxSeenPeer)
	want(t, "the oldest is known", s.has(compressed{1}, id(0)), false)
	want(t, "the newest is known", s.has(compressed{1}, id(maxSeenPeer)), true)
	want(t, "by somebody else", s.has(compressed{2}, id(maxSeenPeer)), false)
	for now := s.sweepAt(); len(s.byID) > 0; {
		records := s.sweep(now)
		if len(records) == 0 || len(records) > maxSwept {
			t.Fatalf("swept %d, want up to %d", len(records), maxSwept)
		}
		keep(records)
	}
	want(t, "records after their time", len(memory), 0)
	want(t, "peers after their time", len(s.peers)+s.order.Len(), 0)
}

func TestLongestSilentPeerIsForgottenFirst(t *testing.T) {
	s := newSeenIDs()
	number := 0
	add := func(peer byte, count int) {
		for range count {
			number++
			s.add(compressed{peer}, datasync.MessageID{byte(number), byte(number >> 8), byte(number >> 16)}, t0)
		}
	}
	for peer := range byte(maxSeen / maxSeenPeer) {
		add(peer, maxSeenPeer)
	}
	add(0, 1) // bob is active: one of his own goes
	want(t, "ids", len(s.byID), maxSeen)
	add(200, 5)
	want(t, "ids with a new peer", len(s.byID), maxSeen)
	want(t, "of the silent one", len(s.peers[compressed{1}].Value.(*seenPeer).ids), maxSeenPeer-5)
}

func TestPeersAreBounded(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	r.payloads()
	wire := payload{acks: []datasync.MessageID{{1}}}.encode()
	for i := range maxPeers + 50 {
		r.from(keyOf(fmt.Sprint(i)), wire)
	}
	want(t, "peers", len(r.node.peers), maxPeers)
	if r.node.peers[bob] == nil {
		t.Error("the peer with a message is forgotten")
	}
}

func TestUnreadableRecordIsNotPassedOver(t *testing.T) {
	for _, key := range []string{keyOut, keyTry, keyDone, keyHeld, keySeen} {
		r := newNode(t, alice)
		r.memory.Commit([]layers.Record{{Key: key + "00", Value: []byte{recordVersion, 1}}})
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), key) {
					t.Errorf("%s: got %v, want a panic that names it", key, v)
				}
			}()
			New(r.cfg, alice, nil, r.memory)
		}()
	}
}
