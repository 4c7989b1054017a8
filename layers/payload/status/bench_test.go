package status

import (
	"iter"
	"slices"
	"sort"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/payload"
)

// ordered is a layers.Saved that scans as a store does: it goes to the first key
// and reads on. It takes all its records at once.
type ordered struct {
	keys   []string
	values map[string][]byte
}

func newOrdered(records []layers.Record) *ordered {
	o := &ordered{values: map[string][]byte{}}
	for _, r := range records {
		o.values[r.Key] = r.Value
	}
	for k := range o.values {
		o.keys = append(o.keys, k)
	}
	slices.Sort(o.keys)
	return o
}

func (o *ordered) Get(key string) ([]byte, bool) {
	v, ok := o.values[key]
	return v, ok
}

func (o *ordered) Scan(from, to string, reverse bool) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		i, j := sort.SearchStrings(o.keys, from), len(o.keys)
		if to != "" {
			j = sort.SearchStrings(o.keys, to)
		}
		for ; i < j; i, j = i+1, j-1 {
			if reverse {
				if k := o.keys[j-1]; !yield(k, o.values[k]) {
					return
				}
				i-- // only j moves
			} else {
				if k := o.keys[i]; !yield(k, o.values[k]) {
					return
				}
				j++ // only i moves
			}
		}
	}
}

func BenchmarkSay(b *testing.B) {
	n := New(DefaultConfig(), alice, layertest.NewMemory())
	n.Wake(t0)
	if _, err := n.FromBelow(t0, ready(10_000)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.outbox = newOutbox() // as if each were taken at once
		out, err := n.FromAbove(t0, payload.Say{Ref: layers.Ref{1, byte(i), byte(i >> 8), byte(i >> 16)}, Chat: chatOf(bob), Text: "hello, how are you?"})
		if err != nil || len(all[payload.Said](out.Up)) != 1 {
			b.Fatal(err, out.Up)
		}
		n.chats[chatOf(bob)].count = 0
	}
}

func BenchmarkReceived(b *testing.B) {
	n := New(DefaultConfig(), bob, layertest.NewMemory())
	n.Wake(t0)
	e := private(1, alice, signed(alice, chatTo(chatOf(bob))))
	b.ReportAllocs()
	for b.Loop() {
		out, err := n.FromBelow(t0, e)
		if err != nil || len(out.Up) != 1 {
			b.Fatal(err, out.Up)
		}
		n.chats[chatOf(alice)].count = 0
	}
}

func BenchmarkReceivedAgain(b *testing.B) {
	e := private(1, alice, signed(alice, chatTo(chatOf(bob))))
	first, err := New(DefaultConfig(), bob, layertest.NewMemory()).FromBelow(t0, e)
	if err != nil {
		b.Fatal(err)
	}
	n := New(DefaultConfig(), bob, newOrdered(first.Save))
	b.ReportAllocs()
	for b.Loop() {
		if out, err := n.FromBelow(t0, e); err != nil || len(out.Up) != 0 || len(all[datasync.Taken](out.Down)) != 1 {
			b.Fatal(err, out)
		}
	}
}

// history100k returns a node with that many messages in a chat.
func history100k(b *testing.B) *Node {
	b.Helper()
	n := New(DefaultConfig(), alice, layertest.NewMemory())
	c := n.find("status", layers.PublicKey{})
	n.enter(c)
	var out output
	for i := range 100_000 {
		n.store(&out, c, payload.Message{
			ID: layers.Keccak256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}), Chat: "status", From: bob.Public(),
			Text: "hello", Clock: uint64(i + 1), Timestamp: t0, Stored: t0, Public: true,
		})
	}
	return New(DefaultConfig(), alice, newOrdered(out.Save))
}

func BenchmarkHistoryOf100k(b *testing.B) {
	n := history100k(b)
	for _, bm := range []struct {
		name string
		chat payload.ChatID
	}{{"chat", "status"}, {"all", ""}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			before := ""
			for b.Loop() {
				out, err := n.FromAbove(t0, payload.History{Chat: bm.chat, Before: before})
				if err != nil {
					b.Fatal(err)
				}
				p := only[payload.Page](b, out.Up)
				if len(p.Messages) != defaultPage {
					b.Fatalf("%d messages", len(p.Messages))
				}
				before = p.Next
			}
		})
	}
}
