package mail

import (
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// FuzzAskedSync lets a server answer a sync with a packet 124 of any kind, twice,
// and then end it. Nothing is passed on but what was asked for and could have
// been relayed, and nothing is asked of other layers.
func FuzzAskedSync(f *testing.F) {
	f.Add(part(made(chat, t0, "a"), made(chat, t0, "b")).Encode().Payload, true)
	f.Add(part(made(chat, t0.Add(-2*time.Hour), "old"), made(chat, t0.Add(time.Hour), "new")).Encode().Payload, false)
	f.Add(SyncResponse{Final: true, Cursor: []byte{1}}.Encode().Payload, true)
	f.Add(SyncResponse{Error: "no"}.Encode().Payload, true)
	f.Add(SyncResponse{Envelopes: []transport.Envelope{made(chat, t0, "a")}, Final: true, Error: "no"}.Encode().Payload, true)
	f.Fuzz(func(t *testing.T, payload []byte, worth bool) {
		m, err := DecodeSyncResponse(payload, parseList)
		if err != nil {
			return
		}
		for i := range m.Envelopes {
			if m.Envelopes[i].PoW = 0.0019; worth && i%3 < 2 {
				m.Envelopes[i].PoW = 0.002
			}
		}
		p, s := syncing(t)
		seen := map[transport.Hash]bool{}
		ends := 0
		for _, m := range []SyncResponse{m, m, {Final: true}} {
			o := p.Packet(t0, s.id, m)
			if len(o.Packets)+len(o.Down) > 0 {
				t.Errorf("%+v makes the node do %+v", m, o)
			}
			for _, h := range all[transport.History](o) {
				if h.Ref != ref(1) || ends > 0 {
					t.Errorf("history %+v after %d ends", h, ends)
				}
				for _, e := range h.Envelopes {
					if e.PoW < 0.002 || e.TTL <= 0 || e.TTL > time.Hour || len(e.Raw) == 0 || seen[e.Hash] ||
						e.Sent.Before(t0.Add(-time.Hour-tolerance)) || e.Sent.After(t0.Add(10*time.Second)) {
						t.Errorf("passed on %+v", e)
					}
					seen[e.Hash] = true
				}
			}
			for _, e := range all[transport.Queried](o) {
				if ends++; e.Count != len(seen) || len(e.Cursor) != 0 && len(e.Cursor) != cursorSize || (e.End == transport.QueryDone) != (e.Reason == "") {
					t.Errorf("ended %+v with %d envelopes", e, len(seen))
				}
			}
		}
		if ends != 1 {
			t.Errorf("%d ends", ends)
		}
	})
}
