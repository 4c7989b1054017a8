package mail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// shelf is an archive in the order that it answers in. The key of an envelope is
// when it was sent and its hash; a cursor is the key of the last one sent.
type shelf []transport.Envelope

func keyOf(e transport.Envelope) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(e.Sent.Unix())), e.Hash[:]...)
}

// newShelf has n envelopes, one per second, up to t0, and some outside of that.
func newShelf(n int, newestFirst bool) (all shelf, wanted []transport.Envelope) {
	for i := -10; i < n+10; i++ {
		e := worth(t0.Add(time.Duration(i-n+1)*time.Second), fmt.Sprintf("%*d", 100+i%50, i))
		if all = append(all, e); i >= 0 && i < n {
			wanted = append(wanted, e)
		}
	}
	slices.SortFunc(all, func(a, b transport.Envelope) int {
		if newestFirst {
			a, b = b, a
		}
		return bytes.Compare(keyOf(a), keyOf(b))
	})
	return all, wanted
}

// page answers an ask, step envelopes at a time, and goes on after each Taken.
func (s shelf) pages(a transport.Asked, step int) (pages []transport.Page) {
	rest := slices.DeleteFunc(slices.Clone(s), func(e transport.Envelope) bool {
		return e.Sent.Before(a.From) || e.Sent.After(a.To)
	})
	if len(a.Cursor) > 0 {
		i := slices.IndexFunc(rest, func(e transport.Envelope) bool { return bytes.Equal(keyOf(e), a.Cursor) })
		rest = rest[i+1:]
	}
	taken := rest[:min(a.Limit, len(rest))]
	for part := range slices.Chunk(taken, step) {
		pages = append(pages, transport.Page{Ask: a.Ask, Envelopes: part})
	}
	end := transport.Page{Ask: a.Ask, Last: true}
	if len(taken) < len(rest) {
		end.Cursor = keyOf(taken[len(taken)-1])
	}
	return append(pages, end)
}

func TestSyncOfSeveralPagesBringsTheWholeArchive(t *testing.T) {
	for _, newestFirst := range []bool{false, true} {
		for _, limit := range []int{1, 7, 50, 100} {
			t.Run(fmt.Sprintf("newest first %v, %d at a time", newestFirst, limit), func(t *testing.T) {
				archive, wanted := newShelf(50, newestFirst)
				got, pages := syncAll(t, archive, limit)
				byKey := func(a, b transport.Envelope) int { return bytes.Compare(keyOf(a), keyOf(b)) }
				slices.SortFunc(got, byKey)
				slices.SortFunc(wanted, byKey)
				if !equalHashes(got, wanted) {
					t.Errorf("%d envelopes, want %d", len(got), len(wanted))
				}
				if want := max(1, (len(wanted)+limit-1)/limit); pages != want {
					t.Errorf("%d pages, want %d", pages, want)
				}
			})
		}
	}
}

// syncAll lets one Post ask another until there is no cursor.
func syncAll(t *testing.T, archive shelf, limit int) (got []transport.Envelope, pages int) {
	t.Helper()
	s, c := newIdentity(t, 1), newIdentity(t, 2)
	server, client := newServer(t, s), newClient(t)
	server.Connected(t0, c.connected("Strata/v1"))
	client.Connected(t0, s.connected("Strata/v1"))
	q := transport.Query{From: t0.Add(-49 * time.Second), To: t0, Server: s.id.String(), Sync: true, Limit: limit}
	for pages < 1000 {
		pages++
		q.Ref = ref(byte(pages))
		e, envelopes := syncOnce(t, server, client, s, c, archive, q)
		if e.End != transport.QueryDone || e.Count != len(envelopes) || e.Ref != q.Ref {
			t.Fatalf("ended %+v with %d envelopes", e, len(envelopes))
		}
		got = append(got, envelopes...)
		if q.Cursor = e.Cursor; len(q.Cursor) == 0 {
			return got, pages
		}
	}
	t.Fatal("it does not end")
	return nil, 0
}

func syncOnce(t *testing.T, server, client *Post, s, c identity, archive shelf, q transport.Query) (end transport.Queried, got []transport.Envelope) {
	t.Helper()
	asked := only[transport.Asked](t, server.Packet(t0, c.id, sent(t, client.Query(t0, q))))
	if !asked.Sync || asked.Limit != q.Limit || asked.Bloom != nil || !bytes.Equal(asked.Cursor, q.Cursor) {
		t.Fatalf("asked %+v for %+v", asked, q)
	}
	for i, page := range archive.pages(asked, 3) {
		o := server.Page(t0, page)
		for _, a := range o.Packets {
			o := client.Packet(t0, s.id, decode(t, a.Packet))
			for _, h := range all[transport.History](o) {
				if h.Ref != q.Ref || h.Server != s.id.String() {
					t.Fatalf("history of %v by %s", h.Ref, h.Server)
				}
				got = append(got, h.Envelopes...)
			}
			for _, e := range all[transport.Queried](o) {
				end = e
			}
		}
		if taken := all[transport.Taken](server.Written(t0, c.id)); !page.Last && len(taken) != 1 {
			t.Fatalf("page %d is not taken", i)
		}
	}
	return end, got
}

func BenchmarkSync(b *testing.B) {
	s := newIdentity(b, 1)
	p := newClient(b, s)
	p.Connected(t0, s.connected("x"))
	var m SyncResponse
	for i := range transport.MaxPage {
		m.Envelopes = append(m.Envelopes, worth(t0.Add(-time.Minute), fmt.Sprintf("%500d", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Query(t0, syncFor(1, s))
		if o := p.Packet(t0, s.id, m); len(o.Up) != 1 {
			b.Fatal(o.Up)
		}
		p.Packet(t0, s.id, SyncResponse{Final: true})
	}
	b.ReportMetric(float64(b.N*transport.MaxPage)/b.Elapsed().Seconds(), "envelopes/s")
}
