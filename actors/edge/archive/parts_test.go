package archive

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

func TestConfigurationNamesEveryFault(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := Config{Database: "mysql://user:secret@host", Retention: 1, MaxBytes: 1, MaxWindow: 1, BurstRows: 1,
		Sync: []string{"enode://no", enodeN(1), enodeN(1)}, SyncEvery: 1, SyncOverlap: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, key := range []string{
		"database", "retention", "max_bytes", "max_window", "batch", "queue_bytes", "rows_per_second", "burst_rows", "concurrent", "waiting",
		"sync: server 1", "sync: server 3", "sync_every", "sync_window", "sync_overlap",
	} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s is not named in:\n%v", key, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in:\n%v", err)
	}
}

func TestPasswordIsInNoError(t *testing.T) {
	const database = "postgres://user:secret@127.0.0.1:1/archive"
	cfg := DefaultConfig()
	cfg.Database = database
	_, err := OpenStore(t.Context(), cfg, "")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("opened with %v", err)
	}
	if err := withoutPassword(errors.New("cannot reach "+database), database); strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestTopicSetCountsAsAMapDoes(t *testing.T) {
	var s topicSet
	s.begin()
	s.ready()
	want, rows := map[transport.Topic]int{}, 0
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		topic, n := topicN(r.IntN(500)), r.IntN(7)-3
		if want[topic] == 0 && n <= 0 {
			n = 1
		}
		n = max(n, -want[topic])
		s.add(topic, n)
		rows += n
		if want[topic] += n; want[topic] == 0 {
			delete(want, topic)
		}
	}
	if distinct, all := s.count(); distinct != len(want) || all != rows {
		t.Errorf("%d topics and %d rows, want %d and %d", distinct, all, len(want), rows)
	}
	full := whisper.FullBloom()
	topics, all, complete := s.match(&full, 1000)
	if len(topics) != len(want) || all != rows || !complete {
		t.Errorf("%d match with %d rows, complete %v", len(topics), all, complete)
	}
	for _, topic := range topics {
		if want[topic] == 0 || !s.has(topic) {
			t.Errorf("%v is not to be there", topic)
		}
	}
	if topics, all, complete = s.match(&full, 10); len(topics) != 10 || all != rows || complete {
		t.Errorf("bounded: %d match with %d rows, complete %v", len(topics), all, complete)
	}
}

func TestTooManyTopicsAreNotKeptInMemory(t *testing.T) {
	var s topicSet
	s.begin()
	s.ready()
	for i := range maxTopics {
		s.add(topicN(i), 1)
	}
	if !s.usable() {
		t.Fatal("not usable at the bound")
	}
	s.add(topicN(maxTopics), 1)
	if s.usable() || s.lists != nil {
		t.Error("still in memory above the bound")
	}
	b := whisper.TopicBloom(topicN(1))
	if p := s.plan(&Search{Bloom: &b, Limit: 1}); p.way != byTime || !p.wanted(topicN(1)) {
		t.Errorf("a bloom is answered by %v", p.way)
	}
}

func TestAccountsFillAgainAndAreBounded(t *testing.T) {
	l := newLimits(Config{RowsPerSecond: 10, BurstRows: 100})
	home := netip.MustParseAddr("192.0.2.1")
	if !l.allow(t0, "a", home) {
		t.Fatal("a new peer is refused")
	}
	l.pay(t0, "a", home, 150)
	for after, want := range map[time.Duration]bool{0: false, 4 * time.Second: false, 6 * time.Second: true} {
		copied := *l.peers.of(t0, "a")
		if got := l.allow(t0.Add(after), "a", netip.Addr{}); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
		*l.peers.of(t0, "a") = copied
	}
	for i := range 3 * maxAccounts {
		l.allow(t0, fmt.Sprint("peer ", i), home)
	}
	if n := len(l.peers.young) + len(l.peers.old); n > 2*maxAccounts {
		t.Errorf("%d accounts", n)
	}
	for _, test := range []struct{ address, want string }{
		{"192.0.2.77", "192.0.2.0/24"}, {"::ffff:192.0.2.77", "192.0.2.0/24"}, {"2001:db8:1:2:3::4", "2001:db8:1:2::/64"}, {"fe80::1%eth0", "fe80::/64"},
	} {
		if p, known := rangeOf(netip.MustParseAddr(test.address)); !known || p.String() != test.want {
			t.Errorf("%s is in %v, want %s", test.address, p, test.want)
		}
	}
}

func TestRowThatIsDamagedIsAnError(t *testing.T) {
	good := row(1, topicN(1), 1)
	for what, change := range map[string]func(*Row){
		"cut":           func(r *Row) { r.Content = r.Content[:len(r.Content)-1] },
		"another time":  func(r *Row) { r.Key[0]++ },
		"another hash":  func(r *Row) { r.Key[9]++ },
		"another topic": func(r *Row) { r.Topic[0]++ },
		"another ttl":   func(r *Row) { r.TTL++ },
		"unknown form":  func(r *Row) { r.Form = 9 },
		"cut length":    func(r *Row) { r.Form, r.Content = formBoth, []byte{0xff} },
		"long length":   func(r *Row) { r.Form, r.Content = formBoth, []byte{5, 1} },
	} {
		r := good
		change(&r)
		if e, err := r.envelope(); err == nil {
			t.Errorf("%s: taken for %+v", what, e)
		}
	}
}

func FuzzRowContent(f *testing.F) {
	e := sealed(1, topicN(1), 1)
	f.Add(uint8(formWhisper), e.Raw)
	f.Add(uint8(formBare), e.Data)
	f.Add(uint8(formBoth), []byte{2, 1, 2, 3})
	f.Fuzz(func(t *testing.T, kind uint8, content []byte) {
		r := Row{Key: keyOf(uint32(e.Sent.Unix()), e.Hash), Topic: e.Topic, TTL: 15, Form: form(kind), Content: content}
		got, err := r.envelope()
		if err != nil {
			return
		}
		back := rowOf(&got, got.Sent)
		again, err := back.envelope()
		if err != nil || string(again.Data) != string(got.Data) || string(again.Raw) != string(got.Raw) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}
