package libp2p

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/plugins/transport"
)

func TestBusyQueueSaysSo(t *testing.T) {
	a := start(t, settings{"queue": 16})
	for i := range 16 {
		a.say(t, uint64(i+1), topic, fmt.Sprint(i))
	}
	if err := a.try(envelope(17, topic, "one too many")); !errors.Is(err, transport.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	b := start(t, settings{"peers": a.Addrs()})
	b.subscribe(t, topic)
	b.awaitEnvelopes(t, 16)
	a.awaitReceipt(t, 16, transport.OutcomeRelayed)
	a.say(t, 18, topic, "there is room again")
	b.awaitEnvelopes(t, 17)
}

func TestBurstOfThousandsIsDelivered(t *testing.T) {
	const hosts, many = 8, 3000
	nodes := []*node{start(t, nil)}
	for i := 1; i < hosts; i++ {
		peers := nodes[0].Addrs()
		if i > 1 {
			peers = append(peers, nodes[i-1].Addrs()...)
		}
		if i > 2 {
			peers = append(peers, nodes[i/2].Addrs()...)
		}
		nodes = append(nodes, start(t, settings{"peers": peers}))
	}
	for _, n := range nodes {
		n.subscribe(t, topic)
	}
	nodes[0].awaitPeers(t, hosts-1)
	text := string(make([]byte, 256))
	began := time.Now()
	var sent sync.WaitGroup
	for part := range 2 { // two senders at opposite ends
		n := nodes[part*(hosts-1)]
		sent.Go(func() {
			for i := range many / 2 {
				if err := n.try(envelope(uint64(i+1), topic, fmt.Sprint(part, i, text))); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
			}
		})
	}
	sent.Wait()
	for i, n := range nodes {
		want := many
		if i == 0 || i == hosts-1 {
			want = many / 2
		}
		n.awaitEnvelopes(t, want)
	}
	took := time.Since(began)
	var copies, delivered, drops float64
	for _, n := range nodes {
		for text, k := range n.got() {
			if k != 1 {
				t.Errorf("%.10q came %d times", text, k)
			}
		}
		c := n.counts(t)
		copies, delivered, drops = copies+c["copies_total"], delivered+c["delivered_total"], drops+c["queue_drops_total"]+c["validation_drops_total"]
	}
	t.Logf("%d envelopes to %d nodes in %v: %.0f/s delivered, %.2f copies each, %v drops",
		many, hosts, took, delivered/took.Seconds(), copies/delivered, drops)
}
