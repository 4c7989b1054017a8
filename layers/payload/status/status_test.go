package status

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/payload"
)

var t0 = time.Date(2020, 2, 1, 12, 0, 0, 0, time.UTC)

var (
	alice   = testKey(1)
	bob     = testKey(2)
	mallory = testKey(3)
)

// testKey returns the n-th key of the tests.
func testKey(n byte) layers.PrivateKey {
	k, err := layers.GenerateKey(rand.NewChaCha8([32]byte{n}))
	if err != nil {
		panic(err)
	}
	return k
}

func chatOf(k layers.PrivateKey) payload.ChatID { return payload.ChatID(k.Public().String()) }

func ref(n byte) layers.Ref { return layers.Ref{n} }

// bench drives one node, with its records in memory.
type bench struct {
	t      testing.TB
	node   *Node
	cfg    Config
	key    layers.PrivateKey
	memory *layertest.Memory
	now    time.Time
}

// open returns a bench whose node is open on a data sync that is ready.
func open(t testing.TB, key layers.PrivateKey, change ...func(*Config)) *bench {
	t.Helper()
	cfg := DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	b := &bench{t: t, cfg: cfg, key: key, memory: layertest.NewMemory(), now: t0}
	b.restart()
	return b
}

// restart builds the node anew from its records.
func (b *bench) restart() output {
	b.t.Helper()
	b.node = New(b.cfg, b.key, b.memory)
	b.wake()
	return b.below(datasync.Ready{Info: datasync.Info{MaxBody: 100_000}})
}

func (b *bench) wake() output {
	out := b.node.Wake(b.now)
	b.memory.Commit(out.Save)
	return out
}

func (b *bench) above(c payload.Command) output {
	b.t.Helper()
	out, err := b.node.FromAbove(b.now, c)
	if err != nil {
		b.t.Fatalf("%T: %v", c, err)
	}
	b.memory.Commit(out.Save)
	return out
}

func (b *bench) below(e datasync.Event) output {
	b.t.Helper()
	out, err := b.node.FromBelow(b.now, e)
	if err != nil {
		b.t.Fatalf("%T: %v", e, err)
	}
	b.memory.Commit(out.Save)
	return out
}

// said says text and returns the message and the whole output.
func (b *bench) said(n byte, chat payload.ChatID, text string) (payload.Message, output) {
	b.t.Helper()
	out := b.above(payload.Say{Ref: ref(n), Chat: chat, Text: text})
	return only[payload.Said](b.t, out.Up).Message, out
}

func (b *bench) refused(c payload.Command) string {
	b.t.Helper()
	before := b.memory.Commits()
	out := b.above(c)
	if len(out.Down) > 0 || b.memory.Commits() != before {
		b.t.Errorf("%+v: refused, but sent %v or saved", c, out.Down)
	}
	return only[payload.Refused](b.t, out.Up).Reason
}

// only returns the one E in list and fails unless there is exactly one.
func only[E, M any](t testing.TB, list []M) E {
	t.Helper()
	found := all[E](list)
	if len(found) != 1 {
		t.Fatalf("got %d of %T in %+v, want 1", len(found), *new(E), list)
	}
	return found[0]
}

func all[E, M any](list []M) []E {
	var found []E
	for _, m := range list {
		if e, ok := any(m).(E); ok {
			found = append(found, e)
		}
	}
	return found
}

func TestFirstWakeOpens(t *testing.T) {
	n := New(DefaultConfig(), alice, layertest.NewMemory())
	out := n.Wake(t0)
	only[datasync.Attach](t, out.Down)
	if got := only[payload.Ready](t, out.Up).Self; got != alice.Public() {
		t.Errorf("ready as %v, want %v", got, alice.Public())
	}
	if out := n.Wake(t0); len(out.Down)+len(out.Up)+len(out.Save) != 0 {
		t.Errorf("second wake emits %+v", out)
	}
	out, _ = n.FromAbove(t0, payload.Attach{})
	only[payload.Ready](t, out.Up)
}

func TestSayIsDurableBeforeItIsSent(t *testing.T) {
	b := open(t, alice)
	m, out := b.said(1, chatOf(bob), "  hello\n")
	if len(out.Save) == 0 {
		t.Fatal("nothing saved")
	}
	p := only[datasync.Publish](t, out.Down)
	if p.To != bob.Public() || p.Ref != layers.Ref(m.ID) {
		t.Errorf("published to %v with ref %v, want %v and %v", p.To, p.Ref, bob.Public(), m.ID)
	}
	if m.Text != "hello" || m.Status != payload.Pending || !m.Own || m.Public || m.From != alice.Public() {
		t.Errorf("said %+v", m)
	}
	if want := messageID(alice.Public(), p.Body); m.ID != want {
		t.Errorf("id %v, want %v", m.ID, want)
	}
	d, f, err := decode(p.Body)
	if err != nil || f != format2020 {
		t.Fatalf("decode: format %v, %v", f, err)
	}
	want := chatMessage{
		clock: uint64(t0.UnixMilli()), timestamp: uint64(t0.UnixMilli()), text: "hello",
		chatID: bob.Public().String(), kind: typeOneToOne, content: contentText,
	}
	if d.author != alice.Public() || d.chatMessage != want {
		t.Errorf("sent %+v, want %+v", d, want)
	}
	if w := only[datasync.Watch](t, out.Down); !slices.Equal(w.Contacts, []layers.PublicKey{bob.Public()}) {
		t.Errorf("watches %v, want bob", w.Contacts)
	}
}

func TestSayInPublicChatJoinsAndBroadcasts(t *testing.T) {
	b := open(t, alice)
	m, out := b.said(1, "status", "hello")
	bc := only[datasync.Broadcast](t, out.Down)
	if bc.Channel != "status" || bc.Ref != layers.Ref(m.ID) || !m.Public || m.Protection != datasync.Public {
		t.Errorf("broadcast %+v of %+v", bc, m)
	}
	if w := only[datasync.Watch](t, out.Down); !slices.Equal(w.Channels, []datasync.Channel{"status"}) {
		t.Errorf("watches %v, want status", w.Channels)
	}
	if _, out := b.said(2, "status", "again"); len(all[datasync.Watch](out.Down)) != 0 {
		t.Error("watch repeated though nothing changed")
	}
}

func TestSayIsRefusedWithReason(t *testing.T) {
	b := open(t, alice, func(c *Config) { c.MaxTextBytes = 256 })
	upper := payload.ChatID("0X" + chatOf(bob)[2:])
	for _, tt := range []struct {
		name, want string
		chat       payload.ChatID
		text       string
	}{
		{"blank", "text: blank", "status", " \n\t "},
		{"no UTF-8", "text: not valid UTF-8", "status", "a\xff"},
		{"too long", "text: 257 bytes, the limit is 256 (max_text_bytes)", "status", string(bytes.Repeat([]byte("a"), 257))},
		{"own key", "chat: this is the own key; messages to oneself have nobody to acknowledge them", chatOf(alice), "x"},
		{"hash", "chat: the # is not part of the name; leave it out", "#status", "x"},
		{"empty", "chat: the name is empty", "", "x"},
		{"capital", `chat: the name has the capital 'S'; public chats are in lower case`, "Status", "x"},
		{"space", `chat: the name has ' '; only a-z, 0-9 and - are allowed`, "a b", "x"},
		{"slash", `chat: the name has '/'; only a-z, 0-9 and - are allowed`, "a/b", "x"},
		{"65 bytes", "chat: the name has 65 bytes, the limit is 64", payload.ChatID(bytes.Repeat([]byte("a"), 65)), "x"},
		{"reserved", "chat: the name is one the protocol uses for contact discovery", "contact-discovery-7", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := b.refused(payload.Say{Ref: ref(1), Chat: tt.chat, Text: tt.text}); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	b.refused(payload.Say{Ref: ref(1), Chat: "0x04abc", Text: "x"})
	b.refused(payload.Say{Chat: "status", Text: "no ref"})
	if m, _ := b.said(1, upper, "x"); m.Chat != chatOf(bob) {
		t.Errorf("chat %v, want the key in lower case", m.Chat)
	}
}

func TestTextThatDoesNotFitBelowIsRefused(t *testing.T) {
	b := open(t, alice)
	b.below(datasync.Ready{Info: datasync.Info{MaxBody: 400}})
	long := string(bytes.Repeat([]byte("a"), 400))
	got := b.refused(payload.Say{Ref: ref(1), Chat: "status", Text: long})
	want := "text: 400 bytes, the limit in this chat is 299: the layers below carry messages of 400 bytes"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.said(1, "status", long[:299])
}

func TestSameTextTwiceIsTwoMessages(t *testing.T) {
	b := open(t, alice)
	one, _ := b.said(1, "status", "x")
	two, _ := b.said(2, "status", "x")
	if one.ID == two.ID || two.Clock != one.Clock+1 {
		t.Errorf("ids %v and %v, clocks %d and %d", one.ID, two.ID, one.Clock, two.Clock)
	}
}

func TestRepeatedRefIsTheSameMessage(t *testing.T) {
	b := open(t, alice)
	one, _ := b.said(1, "status", "x")
	for _, restarted := range []bool{false, true} {
		if restarted {
			b.restart()
		}
		two, out := b.said(1, "status", "x")
		if two != one || len(out.Down) != 0 || len(out.Save) != 0 {
			t.Errorf("restarted %v: repeated as %+v, sent %v", restarted, two, out.Down)
		}
	}
	for i := range maxSaid {
		r := layers.Ref{2, byte(i), byte(i >> 8)}
		out := b.above(payload.Say{Ref: r, Chat: chatOf(bob), Text: "y"})
		id := only[payload.Said](t, out.Up).Message.ID
		b.below(datasync.Queued{Ref: layers.Ref(id)})
	}
	if len(b.node.said.ids) != maxSaid {
		t.Errorf("%d refs kept, want %d", len(b.node.said.ids), maxSaid)
	}
	b.restart()
	if len(b.node.said.ids) != maxSaid || b.node.said.next != maxSaid+1 {
		t.Errorf("%d refs, count %d after restart", len(b.node.said.ids), b.node.said.next)
	}
}

func TestPendingMessagesAreBounded(t *testing.T) {
	b := open(t, alice, func(c *Config) { c.MaxPending = 2 })
	b.said(1, "status", "x")
	m, _ := b.said(2, chatOf(bob), "x")
	b.refused(payload.Say{Ref: ref(3), Chat: "status", Text: "x"})
	b.below(datasync.Queued{Ref: layers.Ref(m.ID)})
	b.said(3, "status", "x")
}

func TestStatusMovesOnlyForward(t *testing.T) {
	sent := func(r layers.Ref) datasync.Event { return datasync.Sent{Ref: r} }
	relayed := func(r layers.Ref) datasync.Event { return datasync.Relayed{Ref: r} }
	delivered := func(r layers.Ref) datasync.Event { return datasync.Delivered{Ref: r} }
	failed := func(r layers.Ref) datasync.Event { return datasync.Failed{Ref: r, Reason: "no"} }
	queued := func(r layers.Ref) datasync.Event { return datasync.Queued{Ref: r} }
	type event = func(layers.Ref) datasync.Event
	for _, tt := range []struct {
		name   string
		chat   payload.ChatID
		events []event
		want   []payload.Status
	}{
		{"all", chatOf(bob), []event{queued, sent, relayed, delivered}, []payload.Status{2, 3, 4}},
		{"repeated", chatOf(bob), []event{queued, queued, sent, sent, delivered, delivered}, []payload.Status{2, 4}},
		{"backward", chatOf(bob), []event{queued, relayed, sent, delivered, relayed}, []payload.Status{3, 4}},
		{"failed", chatOf(bob), []event{queued, sent, failed, delivered, failed}, []payload.Status{2, 5}},
		{"failed at once", chatOf(bob), []event{failed, sent}, []payload.Status{5}},
		{"delivered is the end", chatOf(bob), []event{queued, delivered, failed}, []payload.Status{4}},
		{"public", "status", []event{sent, relayed, sent, failed, delivered}, []payload.Status{2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, alice)
			m, _ := b.said(1, tt.chat, "x")
			var got []payload.Status
			for _, e := range tt.events {
				for _, c := range all[payload.StatusChanged](b.below(e(layers.Ref(m.ID))).Up) {
					if c.ID != m.ID || c.Chat != m.Chat {
						t.Errorf("changed %+v, want that of %v", c, m.ID)
					}
					got = append(got, c.Status)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			b.restart()
			page := only[payload.Page](t, b.above(payload.History{Chat: tt.chat}).Up)
			if s := page.Messages[0].Status; s != tt.want[len(tt.want)-1] {
				t.Errorf("after restart %v, want %v", s, tt.want[len(tt.want)-1])
			}
			if len(b.node.outbox.byID) != 0 {
				t.Error("still pending")
			}
		})
	}
	b := open(t, alice)
	for _, e := range []event{queued, sent, relayed, delivered, failed} {
		if _, err := b.node.FromBelow(t0, e(ref(9))); err == nil {
			t.Errorf("%T of an unknown message is accepted", e(ref(9)))
		}
	}
}

func TestReadyRepeatsWhatIsUnanswered(t *testing.T) {
	b := open(t, alice)
	queued, _ := b.said(1, chatOf(bob), "queued")
	b.below(datasync.Queued{Ref: layers.Ref(queued.ID)})
	waiting, _ := b.said(2, chatOf(mallory), "not queued")
	public, first := b.said(3, "status", "public")
	relayed, _ := b.said(4, "status", "relayed")
	b.below(datasync.Relayed{Ref: layers.Ref(relayed.ID)})
	b.above(payload.Join{Ref: ref(5), Channel: "a-chat"})

	check := func(out output) {
		t.Helper()
		w := only[datasync.Watch](t, out.Down)
		if !slices.Equal(w.Channels, []datasync.Channel{"a-chat", "status"}) || len(w.Contacts) != 2 {
			t.Errorf("watches %v", w)
		}
		if bytes.Compare(w.Contacts[0][:], w.Contacts[1][:]) >= 0 {
			t.Error("contacts are not sorted")
		}
		if p := only[datasync.Publish](t, out.Down); p.Ref != layers.Ref(waiting.ID) {
			t.Errorf("published %v again, want %v", p.Ref, waiting.ID)
		}
		bc := only[datasync.Broadcast](t, out.Down)
		if bc.Ref != layers.Ref(public.ID) || !bytes.Equal(bc.Body, only[datasync.Broadcast](t, first.Down).Body) {
			t.Errorf("broadcast %v again, want %v with the same bytes", bc.Ref, public.ID)
		}
	}
	check(b.below(datasync.Ready{Info: datasync.Info{MaxBody: 100_000}}))
	check(b.restart())
}

func TestNothingIsSentBeforeReady(t *testing.T) {
	b := open(t, alice)
	b.node = New(b.cfg, b.key, b.memory)
	b.wake()
	m, out := b.said(1, "status", "x")
	if len(out.Down) != 0 {
		t.Errorf("sent %v before data sync is ready", out.Down)
	}
	out = b.below(datasync.Ready{Info: datasync.Info{MaxBody: 1000}})
	if bc := only[datasync.Broadcast](t, out.Down); bc.Ref != layers.Ref(m.ID) {
		t.Errorf("broadcast %v, want %v", bc.Ref, m.ID)
	}
}

func TestUnsentPublicMessageIsOfferedAgainAndThenFails(t *testing.T) {
	b := open(t, alice)
	m, _ := b.said(1, "status", "x")
	r := layers.Ref(m.ID)
	var pauses []time.Duration
	for {
		out := b.below(datasync.Failed{Ref: r, Reason: "nobody took it"})
		if c := all[payload.StatusChanged](out.Up); len(c) > 0 {
			if want := "not sent within 10m0s (public_retry_for): nobody took it"; c[0].Status != payload.Failed || c[0].Reason != want {
				t.Errorf("got %v %q, want failed %q", c[0].Status, c[0].Reason, want)
			}
			break
		}
		if out := b.below(datasync.Failed{Ref: r, Reason: "twice"}); len(out.Up)+len(out.Down)+len(out.Save) != 0 {
			t.Errorf("second answer changed something: %+v", out)
		}
		if !out.Wake.After(b.now) {
			t.Fatalf("wake at %v, now %v", out.Wake, b.now)
		}
		b.now = b.now.Add(time.Second)
		if out := b.below(datasync.Failed{Ref: r, Reason: "twice"}); !out.Wake.IsZero() {
			t.Error("second answer puts the next attempt off")
		}
		if early := b.wake(); len(early.Down) != 0 {
			t.Fatal("offered again too early")
		}
		if early := b.below(datasync.Ready{Info: datasync.Info{MaxBody: 100_000}}); len(all[datasync.Broadcast](early.Down)) != 0 {
			t.Fatal("offered again too early by Ready")
		}
		b.now = b.now.Add(-time.Second)
		pauses = append(pauses, out.Wake.Sub(b.now))
		b.now = out.Wake
		if bc := only[datasync.Broadcast](t, b.wake().Down); bc.Ref != r {
			t.Errorf("offered %v, want %v", bc.Ref, r)
		}
	}
	if !slices.IsSorted(pauses) || pauses[0] != firstRetry || pauses[len(pauses)-1] != lastRetry {
		t.Errorf("pauses %v", pauses)
	}
	if age := b.now.Sub(t0); age > b.cfg.PublicRetryFor {
		t.Errorf("offered until %v", age)
	}
	if b.node.outbox.len() != 0 {
		t.Error("still pending")
	}
}

func TestOldPublicMessageFailsAfterRestart(t *testing.T) {
	b := open(t, alice)
	m, _ := b.said(1, "status", "x")
	b.now = b.now.Add(b.cfg.PublicRetryFor)
	b.node = New(b.cfg, b.key, b.memory)
	c := only[payload.StatusChanged](t, b.wake().Up)
	if c.ID != m.ID || c.Status != payload.Failed || c.Reason == "" {
		t.Errorf("got %+v, want failed with a reason", c)
	}
	if out := b.restart(); len(all[datasync.Broadcast](out.Down)) != 0 {
		t.Error("offered after it failed")
	}
}

func TestPendingMessageTooLongForNewInfoFails(t *testing.T) {
	b := open(t, alice)
	m, _ := b.said(1, chatOf(bob), string(bytes.Repeat([]byte("a"), 1000)))
	out := b.below(datasync.Ready{Info: datasync.Info{MaxBody: 500}})
	if c := only[payload.StatusChanged](t, out.Up); c.ID != m.ID || c.Status != payload.Failed {
		t.Errorf("got %+v, want failed", c)
	}
	if len(all[datasync.Publish](out.Down)) != 0 {
		t.Error("published all the same")
	}
}

func TestJoinAndLeave(t *testing.T) {
	b := open(t, alice)
	out := b.above(payload.Join{Ref: ref(1), Channel: "status"})
	only[payload.Done](t, out.Up)
	only[datasync.Watch](t, out.Down)
	if out := b.above(payload.Join{Ref: ref(2), Channel: "status"}); len(out.Down)+len(out.Save) != 0 {
		t.Errorf("second join changed something: %+v", out)
	}
	m, _ := b.said(3, "status", "x")
	out = b.above(payload.Leave{Ref: ref(4), Chat: "status"})
	if w := only[datasync.Watch](t, out.Down); len(w.Channels) != 0 {
		t.Errorf("watches %v after leaving", w.Channels)
	}
	b.restart()
	if got := only[payload.Chats](t, b.above(payload.ListChats{}).Up).Chats; len(got) != 0 {
		t.Errorf("chats %v after leaving", got)
	}
	page := only[payload.Page](t, b.above(payload.History{Chat: "status"}).Up)
	if len(page.Messages) != 1 || page.Messages[0] != m {
		t.Errorf("history %+v after leaving, want %+v", page.Messages, m)
	}
	only[payload.Done](t, b.above(payload.Leave{Ref: ref(5), Chat: "status"}).Up)
	if got := b.refused(payload.Leave{Ref: ref(6), Chat: "never"}); got != "chat: there is no never" {
		t.Errorf("refused with %q", got)
	}
	b.refused(payload.Join{Ref: ref(7), Channel: datasync.Channel(chatOf(bob))})
	b.refused(payload.Join{Ref: ref(8), Channel: "#status"})
}

func TestOpenChatsAreBounded(t *testing.T) {
	b := open(t, alice)
	for i := range maxOpenChats {
		id := payload.ChatID("c-" + hex16(uint64(i)))
		b.node.chats[id] = &chat{id: id, open: true, answered: true}
	}
	b.refused(payload.Join{Ref: ref(1), Channel: "one-more"})
	b.refused(payload.Say{Ref: ref(1), Chat: "one-more", Text: "x"})
	b.said(2, "c-0000000000000001", "x")
}

func TestChatsSurviveRestartSorted(t *testing.T) {
	b := open(t, alice)
	for i, c := range []datasync.Channel{"zoo", "ant", "bee"} {
		b.above(payload.Join{Ref: ref(byte(i)), Channel: c})
	}
	m, _ := b.said(9, chatOf(bob), "x")
	want := []payload.Chat{{ID: chatOf(bob), Clock: m.Clock}, {ID: "ant", Public: true}, {ID: "bee", Public: true}, {ID: "zoo", Public: true}}
	for range 2 {
		if got := only[payload.Chats](t, b.above(payload.ListChats{}).Up).Chats; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		b.restart()
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := Config{}.Validate()
	want := "public_retry_for: 0s is not within 1s and 24h0m0s\nmax_text_bytes: 0 is not within 256 and 524288\n" +
		"max_messages: 0 is below 1\nmax_strangers: 0 is below 1\nmax_pending: 0 is below 1"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
}
