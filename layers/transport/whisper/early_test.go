package whisper

import (
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

func TestEnvelopeThatComesBeforeItsLinkIsReportedIsNotLost(t *testing.T) {
	n := opened(t, nil)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	if got := ups[transport.Received](below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, "a")))); got != nil {
		t.Fatalf("received %v by a link that there is not", got)
	}
	below(t, n, t0, arrival(t, bob, sealed(t0, 60, chat, "b")))
	got := ups[transport.Received](connect(t, n, t0.Add(time.Second), alice))
	if len(got) != 1 || len(got[0].Envelopes) != 1 || string(got[0].Envelopes[0].Data) != "a" {
		t.Errorf("received %v, want what came by the link to alice", got)
	}
	below(t, n, t0, overlay.Disconnected{Peer: bob})
	if got := ups[transport.Received](connect(t, n, t0.Add(time.Second), bob)); got != nil || len(n.early) != 0 {
		t.Errorf("received %v by a link that had ended", got)
	}
}

func TestWhatWaitsForItsLinkIsBounded(t *testing.T) {
	n := opened(t, nil)
	above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
	for range 100 {
		below(t, n, t0, arrival(t, alice, sealed(t0, 60, chat, string(make([]byte, 100_000)))))
	}
	size := 0
	for _, k := range n.early {
		size += k.size
	}
	if size > maxEarly || size < maxEarly/2 {
		t.Errorf("%d bytes wait, at most %d may", size, maxEarly)
	}
	late := t0.Add(earlyFor + time.Second)
	if got := ups[transport.Received](connect(t, n, late, alice)); got != nil || len(n.early) != 0 {
		t.Errorf("received %v after %v", got, earlyFor)
	}
}
