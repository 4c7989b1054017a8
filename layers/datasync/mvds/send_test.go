package mvds

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

func TestMessageIsSentAtOnceAndReportedUntilDelivered(t *testing.T) {
	r := newNode(t, alice)
	ref := r.publish(bob, "hello")
	wantEvents(t, r.events(), datasync.Queued{Ref: ref})
	s := r.sends()
	if len(s) != 1 || s[0].To != bob {
		t.Fatalf("sent %v, want one datagram to bob", s)
	}
	p, _ := decode(s[0].Body)
	want(t, "body", string(p.messages[0].body), "hello")
	want(t, "timestamp", p.messages[0].timestamp, t0.Unix())

	r.below(secure.Accepted{Ref: s[0].Ref})
	r.below(secure.Relayed{Ref: s[0].Ref})
	r.from(bob, payload{acks: []datasync.MessageID{p.messages[0].id()}}.encode())
	wantEvents(t, r.events(), datasync.Sent{Ref: ref}, datasync.Relayed{Ref: ref}, datasync.Delivered{Ref: ref})

	r.pass(2 * time.Hour)
	want(t, "datagrams after the acknowledgement", len(r.sends()), 0)
}

func TestAcknowledgementCountsOnlyFromTheReceiver(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	id := r.payloads()[0].messages[0].id()
	r.events()
	r.from(carol, payload{acks: []datasync.MessageID{id}}.encode())
	wantEvents(t, r.events())
}

// D2: an id that is not known does not take the others with it.
func TestUnknownAcknowledgementDoesNotHideOthers(t *testing.T) {
	r := newNode(t, alice)
	ref := r.publish(bob, "hello")
	id := r.payloads()[0].messages[0].id()
	r.events()
	r.from(bob, payload{acks: []datasync.MessageID{{1}, id, {2}, id}}.encode())
	wantEvents(t, r.events(), datasync.Delivered{Ref: ref})
}

// transmissionTimes publishes at the given time and returns after which time each
// transmission came.
func transmissionTimes(t *testing.T, at time.Time, transmissions int) (after []time.Duration) {
	r := newNode(t, alice)
	r.pass(at.Sub(t0))
	r.publish(bob, "hello")
	r.payloads()
	for wakes := 0; len(after) < transmissions && wakes < 10*transmissions; wakes++ {
		r.pass(r.alarm.Sub(r.now))
		for range r.payloads() {
			after = append(after, r.now.Sub(at))
		}
	}
	return after
}

// D4: the pauses do not depend on how long the node lives.
func TestRetransmissionOfAnOldNodeIsThatOfAYoungOne(t *testing.T) {
	young := transmissionTimes(t, t0, 10)
	old := transmissionTimes(t, t0.Add(10*365*24*time.Hour), 10)
	if !slices.Equal(young, old) {
		t.Errorf("the old node sends after %v, the young one after %v", old, young)
	}
	s := time.Second
	if first := []time.Duration{5 * s, 15 * s, 35 * s, 75 * s, 155 * s, 315 * s, 635 * s, 1235 * s, 1835 * s, 2435 * s}; !slices.Equal(young, first) {
		t.Errorf("sends after %v, want %v", young, first)
	}
}

func TestFirstPauseCoversTheWayThereAndBack(t *testing.T) {
	r := newNode(t, alice)
	slow := info
	slow.Latency = time.Minute
	r.below(secure.Ready{Info: slow})
	r.publish(bob, "hello")
	r.payloads()
	r.pass(119 * time.Second)
	want(t, "datagrams before the way back can be over", len(r.payloads()), 0)
	r.pass(time.Second)
	want(t, "datagrams after", len(r.payloads()), 1)
}

func TestChanceOnlyLengthensAPause(t *testing.T) {
	r := newNode(t, alice)
	r.node.random = bytes.NewReader([]byte{255})
	r.publish(bob, "hello")
	r.payloads()
	r.pass(5 * time.Second)
	want(t, "datagrams at the bare pause", len(r.payloads()), 0)
	r.pass(1250 * time.Millisecond)
	want(t, "datagrams a quarter later", len(r.payloads()), 1)
}

// Row 16: nothing is sent or kept for ever.
func TestMessageExpires(t *testing.T) {
	r := newNode(t, alice)
	ref := r.publish(bob, "hello")
	sent := 0
	for range 170 {
		sent += len(r.payloads())
		r.pass(time.Hour)
	}
	up := r.events()
	last, ok := up[len(up)-1].(datasync.Failed)
	if !ok || last.Ref != ref || last.Reason != "not acknowledged in 168h0m0s" {
		t.Errorf("last event %v, want that it is not acknowledged", up[len(up)-1])
	}
	if most := 168*6 + 10; sent < 10 || sent > most {
		t.Errorf("%d transmissions, want at most %d", sent, most)
	}
	r.pass(doneFor + time.Hour)
	want(t, "records left", r.memory.Len(), 0)
	want(t, "messages left", len(r.node.messages)+len(r.node.byRef)+r.node.schedule.Len()+r.node.done.len(), 0)
}

func TestExpiryNamesTheLastRefusal(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	r.below(secure.Refused{Ref: r.sends()[0].Ref, Reason: "no bundle"})
	r.events()
	r.pass(169 * time.Hour)
	up := r.events()
	if f, ok := up[len(up)-1].(datasync.Failed); !ok || !strings.Contains(f.Reason, "no bundle") {
		t.Errorf("last event %v, want the reason from below", up[len(up)-1])
	}
}

func TestRefusedOrExpiredDatagramIsSentAgainLater(t *testing.T) {
	for name, answer := range map[string]func(layers.Ref) secure.Event{
		"expired": func(r layers.Ref) secure.Event { return secure.Expired{Ref: r} },
		"refused": func(r layers.Ref) secure.Event { return secure.Refused{Ref: r, Reason: "no"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newNode(t, alice)
			r.publish(bob, "hello")
			first := r.sends()[0]
			r.events()
			r.below(answer(first.Ref))
			wantEvents(t, r.events())
			want(t, "datagrams at once", len(r.sends()), 0)
			r.pass(5 * time.Second)
			again := r.sends()
			if len(again) != 1 || again[0].Ref == first.Ref {
				t.Errorf("sent %v, want one of a new ref", again)
			}
		})
	}
}

func TestMessageIsNotSentTwiceWhileItIsOnItsWayOut(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	s := r.sends()
	r.pass(30 * time.Second)
	want(t, "datagrams while the first has no answer", len(r.sends()), 0)
	r.below(secure.Expired{Ref: s[0].Ref})
	r.pass(5 * time.Second)
	want(t, "datagrams after its answer", len(r.sends()), 1)
}

func TestForgottenDatagramIsGivenUp(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	r.sends()
	r.pass(time.Hour)
	if got := len(r.sends()); got < 2 || got > 6 {
		t.Errorf("%d datagrams in an hour without an answer, want some", got)
	}
}

func TestUnansweredIsOfferedAgainAfterReady(t *testing.T) {
	r := newNode(t, alice)
	r.above(datasync.Watch{Channels: []secure.Channel{"status"}, Contacts: []layers.PublicKey{bob}})
	r.above(datasync.Broadcast{Ref: refOf("public"), Channel: "status", Body: []byte("public")})
	r.publish(bob, "one")
	r.publish(carol, "two")
	s := r.sends()
	r.below(secure.Relayed{Ref: s[0].Ref})
	r.below(secure.Ready{Info: info})
	if len(r.down) != 3 {
		t.Fatalf("offered %v, want watch, broadcast and one datagram", r.down)
	}
	if w, ok := r.down[0].(secure.Watch); !ok || len(w.Channels) != 1 || len(w.Contacts) != 1 {
		t.Errorf("first %v, want the watch", r.down[0])
	}
	if b, ok := r.down[1].(secure.Broadcast); !ok || b.Ref != refOf("public") {
		t.Errorf("second %v, want the broadcast", r.down[1])
	}
	if again := r.sends(); again[0].Ref != s[1].Ref || !bytes.Equal(again[0].Body, s[1].Body) {
		t.Errorf("third %v, want the unanswered datagram", again)
	}
}

// Rows 11 and 12: payloads are split by size, nothing is in one twice, and one
// peer does not keep another waiting.
func TestBacklogIsSplitAndStarvesNobody(t *testing.T) {
	r := newNode(t, alice)
	body := strings.Repeat("x", 900)
	for i := range 100 {
		r.publish(bob, body+string(rune('A'+i)))
	}
	first := r.sends()
	want(t, "datagrams before one has left", len(first), maxUnaccepted)
	r.publish(carol, "hello")
	if s := r.sends(); len(s) != 1 || s[0].To != carol {
		t.Fatalf("sent %v, want one datagram to carol", s)
	}
	ids := map[datasync.MessageID]int{}
	datagrams := 0
	count := func(p payload) {
		datagrams++
		for _, m := range p.messages {
			ids[m.id()]++
		}
	}
	for _, s := range first {
		p, _ := decode(s.Body)
		count(p)
	}
	r.below(secure.Accepted{Ref: first[0].Ref})
	for _, p := range r.payloads() {
		count(p)
	}
	want(t, "messages", len(ids), 100)
	for id, k := range ids {
		want(t, "times of "+string(id[:2]), k, 1)
	}
	if datagrams > 20 {
		t.Errorf("%d datagrams for 100 messages, want them gathered", datagrams)
	}
}

func TestLongestBodyFitsOneDatagram(t *testing.T) {
	r := newNode(t, alice)
	longest := r.node.maxBody()
	r.publish(bob, strings.Repeat("x", longest))
	want(t, "datagrams", len(r.payloads()), 1)
	r.events()
	r.publish(bob, strings.Repeat("x", longest+1))
	f, ok := r.events()[0].(datasync.Failed)
	if !ok || f.Reason != "body of 9936 bytes, the longest is 9935" {
		t.Errorf("got %v, want the reason", f)
	}
	want(t, "datagrams of a body that is too long", len(r.payloads()), 0)
}

func TestMessageTooLongForTheNewTransportFails(t *testing.T) {
	r := newNode(t, alice)
	ref := r.publish(bob, strings.Repeat("x", 5000))
	r.below(secure.Expired{Ref: r.sends()[0].Ref})
	small := info
	small.MaxBody = 1000
	r.events()
	r.below(secure.Ready{Info: small})
	wantEvents(t, r.events(), datasync.Ready{Info: datasync.Info{MaxBody: 1000 - wireOverhead}})
	r.pass(5 * time.Second)
	wantEvents(t, r.events(), datasync.Failed{Ref: ref, Reason: "body of 5000 bytes, the longest is 935"})
}

func TestPublishWithoutReceiverOrBodyFails(t *testing.T) {
	r := newNode(t, alice)
	r.above(datasync.Publish{Ref: refOf("1"), Body: []byte("x")})
	r.above(datasync.Publish{Ref: refOf("2"), To: bob})
	wantEvents(t, r.events(), datasync.Failed{Ref: refOf("1"), Reason: "no receiver"}, datasync.Failed{Ref: refOf("2"), Reason: "empty body"})
}

func TestFullQueueFails(t *testing.T) {
	r := newNode(t, alice)
	r.node.cfg.MaxQueued = 1
	r.publish(bob, "one")
	ref := r.publish(bob, "two")
	up := r.events()
	if f, ok := up[1].(datasync.Failed); !ok || f.Ref != ref || !strings.HasPrefix(f.Reason, "max_queued: ") {
		t.Errorf("got %v, want that the queue is full", up[1])
	}
}

func TestRepeatedPublishIsTheSameMessage(t *testing.T) {
	r := newNode(t, alice)
	ref := r.publish(bob, "hello")
	p := r.payloads()
	r.events()
	r.publish(bob, "hello")
	wantEvents(t, r.events(), datasync.Queued{Ref: ref}, datasync.Relayed{Ref: ref})
	r.from(bob, payload{acks: []datasync.MessageID{p[0].messages[0].id()}}.encode())
	r.events()
	r.publish(bob, "hello")
	wantEvents(t, r.events(), datasync.Queued{Ref: ref}, datasync.Delivered{Ref: ref})
	want(t, "datagrams of the repetitions", len(r.sends()), 0)
}

func TestSameWordsTwiceInASecondAreTwoMessages(t *testing.T) {
	r := newNode(t, alice)
	for _, ref := range []string{"1", "2"} {
		r.above(datasync.Publish{Ref: refOf(ref), To: bob, Body: []byte("hi")})
	}
	p := r.payloads()
	if a, b := p[0].messages[0].id(), p[1].messages[0].id(); a == b {
		t.Errorf("both have id %x", a)
	}
}

// Row 25: what is published before anything below is ready is sent then.
func TestMessagePublishedBeforeReadyIsSentThen(t *testing.T) {
	r := newNode(t, alice)
	r.begin()
	if len(r.down) != 1 || r.down[0] != (secure.Command)(secure.Attach{}) {
		t.Errorf("the first wake sends %v, want attach", r.down)
	}
	r.down = nil
	ref := r.publish(bob, "hello")
	wantEvents(t, r.events(), datasync.Queued{Ref: ref})
	want(t, "datagrams before ready", len(r.sends()), 0)
	r.below(secure.Ready{Info: secure.Info{}})
	want(t, "datagrams while nothing can be carried", len(r.sends()), 0)
	r.below(secure.Ready{Info: info})
	want(t, "datagrams at ready", len(r.sends()), 1)
}

func TestQueueSurvivesARestart(t *testing.T) {
	r := newNode(t, alice)
	one, two := r.publish(bob, "one"), r.publish(bob, "two")
	p := r.payloads()
	r.pass(5 * time.Second)
	second := r.payloads()
	r.from(bob, payload{acks: []datasync.MessageID{p[0].messages[0].id()}}.encode())
	r.events()
	r.start()
	want(t, "datagrams at the restart", len(r.sends()), 0)
	r.above(datasync.Attach{})
	wantEvents(t, r.events(), datasync.Ready{Info: datasync.Info{MaxBody: r.node.maxBody()}},
		datasync.Queued{Ref: two}, datasync.Relayed{Ref: two}, datasync.Delivered{Ref: one})
	r.pass(10*time.Second - 1)
	want(t, "datagrams before the second pause is over", len(r.sends()), 0)
	r.pass(1)
	again := r.payloads()
	if len(again) != 1 || len(second) != 1 || again[0].messages[0].id() != p[1].messages[0].id() {
		t.Errorf("sent %v, want message two", again)
	}
}

func TestClockThatWentBackDoesNotStopAMessage(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	r.now = t0.Add(-365 * 24 * time.Hour)
	r.start()
	r.pass(10 * time.Minute)
	want(t, "datagrams", len(r.payloads()), 1)
}

func TestReturningPeerGetsWhatWaitsSoon(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "hello")
	for range 12 {
		r.payloads()
		r.pass(10 * time.Minute)
	}
	r.payloads()
	for range 700 { // until just after a transmission
		if r.pass(time.Second); len(r.payloads()) > 0 {
			break
		}
	}
	r.pass(time.Minute)
	want(t, "datagrams on the long pause", len(r.payloads()), 0)
	r.from(bob, []byte(`["~#c4"]`))
	r.pass(time.Second)
	want(t, "datagrams after he was heard", len(r.payloads()), 1)
	for range 20 {
		r.pass(200 * time.Millisecond)
		r.from(bob, []byte(`["~#c4"]`))
	}
	want(t, "datagrams while he talks on", len(r.payloads()), 0)
}

func TestPeerWhoTalksButNeverAcknowledgesIsNotFlooded(t *testing.T) {
	r := newNode(t, alice)
	for i := range 50 {
		r.publish(bob, "hello "+string(rune('A'+i)))
	}
	r.payloads()
	r.pass(20 * time.Minute)
	r.payloads()
	transmitted := 0
	for range 180 { // an hour
		r.from(bob, []byte(`["~#c4"]`))
		r.pass(20 * time.Second)
		for _, p := range r.payloads() {
			transmitted += len(p.messages)
		}
	}
	if transmitted > 50*25 {
		t.Errorf("%d transmissions of 50 messages in an hour", transmitted)
	}
}

func TestLargeBacklogOfAReturningPeerIsSentInParts(t *testing.T) {
	r := newNode(t, alice)
	for i := range 3 * maxHurried {
		r.publish(bob, "hello "+string(rune('A'+i)))
	}
	r.payloads()
	for range 12 {
		r.pass(11 * time.Minute)
		r.payloads()
	}
	waiting := map[datasync.MessageID]bool{}
	for id := range r.node.messages {
		waiting[id] = true
	}
	var acks []datasync.MessageID
	for second := 0; second < 10 && len(waiting) > 0; second++ {
		r.from(bob, payload{acks: append(acks, datasync.MessageID{1})}.encode())
		acks = nil
		r.pass(time.Second)
		for _, p := range r.payloads() {
			for _, m := range p.messages {
				acks = append(acks, m.id())
				delete(waiting, m.id())
			}
		}
		if len(acks) > 2*maxHurried {
			t.Errorf("%d messages in one second", len(acks))
		}
	}
	want(t, "messages not sent in ten seconds", len(waiting), 0)
}

func TestBroadcastIsAnsweredOnce(t *testing.T) {
	ref := refOf("public")
	c := datasync.Broadcast{Ref: ref, Channel: "status", Body: []byte("public")}
	for name, tt := range map[string]struct {
		answer secure.Event
		want   datasync.Event
	}{
		"relayed": {secure.Relayed{Ref: ref}, datasync.Relayed{Ref: ref}},
		"expired": {secure.Expired{Ref: ref}, datasync.Failed{Ref: ref, Reason: expiredBelow}},
		"refused": {secure.Refused{Ref: ref, Reason: "no"}, datasync.Failed{Ref: ref, Reason: "no"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newNode(t, alice)
			r.above(c)
			r.above(c)
			want(t, "commands", len(r.down), 1)
			r.below(secure.Accepted{Ref: ref})
			r.below(tt.answer)
			r.below(tt.answer)
			wantEvents(t, r.events(), datasync.Sent{Ref: ref}, tt.want)
			want(t, "broadcasts left", r.node.broadcasts.len(), 0)
		})
	}
}

func TestBroadcastsAreBounded(t *testing.T) {
	r := newNode(t, alice)
	for i := range maxBroadcasts + 1 {
		r.above(datasync.Broadcast{Ref: layers.Ref{byte(i), byte(i >> 8)}, Channel: "status", Body: []byte("x")})
	}
	want(t, "commands", len(r.down), maxBroadcasts)
	want(t, "failed", len(r.events()), 1)
}

// Row 14: an idle node neither writes nor wakes.
func TestIdleNodeIsStill(t *testing.T) {
	r := newNode(t, alice)
	if !r.alarm.IsZero() {
		t.Errorf("asks to be woken at %v, want never", r.alarm)
	}
	r.from(bob, payload{messages: []wireMessage{r.message(bob, "hi")}}.encode())
	r.above(datasync.Taken{ID: r.received()[0].ID})
	r.pass(time.Second)
	commits := r.memory.Commits()
	r.payloads()
	r.pass(24 * time.Hour)
	want(t, "commits in a day", r.memory.Commits()-commits, 0)
	want(t, "datagrams in a day", len(r.sends()), 0)
}

func TestWhatWasJustSentIsSentAgainWhenTheTransportIsReplaced(t *testing.T) {
	r := newNode(t, alice)
	r.publish(bob, "long ago")
	r.payloads()
	r.pass(4 * time.Minute) // on a long pause by now
	r.payloads()
	r.publish(bob, "just now")
	r.payloads()
	r.below(secure.Ready{Info: info}) // a restart of the same one
	r.pass(time.Second)
	want(t, "datagrams after a restart below", len(r.payloads()), 0)
	other := info
	other.Latency += time.Second
	r.below(secure.Ready{Info: other})
	want(t, "datagrams at once", len(r.payloads()), 0)
	r.pass(time.Second)
	p := r.payloads()
	if len(p) != 1 || len(p[0].messages) != 1 || string(p[0].messages[0].body) != "just now" {
		t.Errorf("sent %v, want the message that was just sent", p)
	}
}
