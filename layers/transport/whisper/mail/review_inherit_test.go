package mail

import (
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// An archive that still works on an ask of the node before must not answer one of
// its heir.
func TestAsksOfAnHeirHaveOtherNumbersThoughTheClockWasSetBack(t *testing.T) {
	s := newIdentity(t, 1)
	asked := func(p *Post, now time.Time) uint64 {
		p.Serve()
		p.Connected(now, s.connected("x"))
		request := SyncRequest{Lower: seconds(t0.Add(-time.Hour)), Upper: seconds(t0), Limit: 10}
		return only[transport.Asked](t, p.Packet(now, s.id, request)).Ask
	}
	before := newClient(t)
	before.Open(t0)
	first := asked(before, t0)
	for _, now := range []time.Time{t0.Add(time.Second), t0.Add(-time.Hour)} {
		p := newClient(t)
		p.Open(now)
		p.Inherit(before)
		p.OverlayReady(now)
		if got := asked(p, now); got <= first {
			t.Errorf("at %v: ask %d after %d", now.Sub(t0), got, first)
		}
	}
}
