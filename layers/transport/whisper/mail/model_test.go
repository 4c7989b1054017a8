package mail

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers/transport"
)

// TestEveryQueryAndAskEndsOnce drives a client and two servers through any order
// of queries, packets, breaks and silences.
func TestEveryQueryAndAskEndsOnce(t *testing.T) {
	var history, done, asks, synced int
	ids := [3]identity{newIdentity(t, 10), newIdentity(t, 11), newIdentity(t, 20)}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, t, ids)
		anyServer := rapid.SampledFrom(w.servers)
		anyNode := rapid.SampledFrom(append([]*node{w.client}, w.servers...))
		arrive := func(rt *rapid.T) { w.arrive(anyNode.Draw(rt, "who")) }
		flow := func(*rapid.T) {
			for range 20 {
				for _, n := range append([]*node{w.client}, w.servers...) {
					w.arrive(n)
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"link":     func(rt *rapid.T) { w.link(anyServer.Draw(rt, "server")) },
			"query":    func(*rapid.T) { w.query(false) },
			"ask":      func(*rapid.T) { w.query(false) },
			"sync":     func(*rapid.T) { w.query(true) },
			"arrive 1": arrive, "arrive 2": arrive, "arrive 3": arrive,
			"flow 1": flow, "flow 2": flow, "flow 3": flow,
			"break":  func(rt *rapid.T) { w.unlink(anyServer.Draw(rt, "server")) },
			"cancel": func(*rapid.T) { w.cancel() },
			"lose": func(rt *rapid.T) { // a server that does not answer
				if n := anyNode.Draw(rt, "who"); len(w.queue[n]) > 0 && w.queue[n][0].packet != nil {
					w.queue[n] = w.queue[n][1:]
				}
			},
			"pass": func(rt *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 15).Draw(rt, "s")) * time.Second) },
			"restart": func(*rapid.T) {
				for _, s := range w.servers {
					w.linked[s], w.queue[s] = false, nil
					w.take(s, s.post.Disconnected(w.now, w.client.id))
				}
				w.queue[w.client] = nil
				w.take(w.client, w.client.post.OverlayReady(w.now))
			},
			"replace": func(*rapid.T) { w.replace(t) },
			"push": func(rt *rapid.T) { // what nobody has asked for
				if s := anyServer.Draw(rt, "server"); w.linked[s] {
					e := made(chat, t0.Add(-time.Second), "pushed")
					w.take(w.client, w.client.post.Packet(w.now, s.id, Delivery{Envelopes: []transport.Envelope{e}}))
				}
			},
			"": func(rt *rapid.T) {
				for _, s := range w.servers {
					if len(s.post.asks) > s.post.cfg.Asks || len(s.post.held) > 1 {
						rt.Fatalf("%d asks, %d of one peer wait", len(s.post.asks), len(s.post.held))
					}
				}
			},
		})
		w.finish()
		history, asks, synced = history+w.history, asks+w.asks, synced+w.synced
		done += int(w.client.post.turn)
	})
	t.Logf("%d histories, %d answered queries, %d syncs, %d asks", history, done, synced, asks)
	if history == 0 || done == 0 || asks == 0 || synced == 0 {
		t.Errorf("%d histories, %d answered queries, %d syncs, %d asks: the model tests nothing", history, done, synced, asks)
	}
}

// finish lets all that waits come to its end.
func (w *world) finish() {
	for range 200 {
		w.pass(10 * time.Second)
	}
	if left := len(w.client.unanswered); left > 0 {
		// Each of a full queue may wait for all forms to be tried.
		for range 64 * 60 {
			w.pass(10 * time.Second)
		}
	}
	// The links may last, so that all packets come through; or they break.
	if rapid.Bool().Draw(w.t, "links last") {
		for range 1000 {
			for _, n := range append([]*node{w.client}, w.servers...) {
				w.arrive(n)
			}
		}
		w.pass(patience)
		for range 1000 {
			w.arrive(w.servers[0])
			w.arrive(w.servers[1])
		}
	} else {
		w.unlink(w.servers[0])
		w.unlink(w.servers[1])
	}
	for _, s := range w.servers {
		for number := range s.asked {
			w.t.Errorf("ask %d has not ended", number)
		}
		if len(s.post.asks)+len(s.post.held) > 0 {
			w.t.Errorf("%d asks are left, %d wait", len(s.post.asks), len(s.post.held))
		}
	}
	for r := range w.client.unanswered {
		w.t.Errorf("query %v has not ended", r)
	}
}

// replace puts another Post in the place of the client's, which takes over its
// links. What was asked before is not answered any more; the packets are under
// way all the same.
func (w *world) replace(t *testing.T) {
	before := w.client.post
	heir := newClient(t, w.servers[0].identity, w.servers[1].identity)
	heir.random, heir.sealer = before.random, before.sealer
	w.client.post, w.client.wake = heir, time.Time{}
	clear(w.client.unanswered)
	linked := w.linked
	w.linked = map[*node]bool{}
	w.take(w.client, heir.Open(w.now))
	heir.Inherit(before)
	w.take(w.client, heir.OverlayReady(w.now))
	for _, s := range w.servers {
		if w.linked[s] = linked[s]; linked[s] {
			w.take(w.client, heir.Connected(w.now, s.connected("Strata/v1")))
		}
	}
}
