package mail

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

func TestSyncIsAskedForAsEveryServerTakesIt(t *testing.T) {
	s := newIdentity(t, 1)
	now := seconds(t0)
	for name, tt := range map[string]struct {
		server string
		change func(*transport.Query)
		want   SyncRequest
	}{
		"all":       {"Statusd/v0.40", func(q *transport.Query) {}, SyncRequest{Lower: now - 3600, Upper: now, Limit: pageLimit}},
		"of Strata": {"Strata/v1", func(q *transport.Query) {}, SyncRequest{Lower: now - 3600, Upper: now, Limit: transport.MaxPage}},
		"limit":     {"Strata/v1", func(q *transport.Query) { q.Limit = 7 }, SyncRequest{Lower: now - 3600, Upper: now, Limit: 7}},
		"until now": {"x", func(q *transport.Query) { q.To = time.Time{} }, SyncRequest{Lower: now - 3600, Upper: now, Limit: pageLimit}},
		"from the beginning": {"x", func(q *transport.Query) { q.From = time.Time{} },
			SyncRequest{Upper: now, Limit: pageLimit}},
		"to the end": {"x", func(q *transport.Query) { q.To = time.Unix(1<<40, 0) },
			SyncRequest{Lower: now - 3600, Upper: math.MaxUint32 - 1, Limit: pageLimit}},
		"cursor": {"x", func(q *transport.Query) { q.Cursor = bytes.Repeat([]byte{3}, cursorSize) },
			SyncRequest{Lower: now - 3600, Upper: now, Limit: pageLimit, Cursor: bytes.Repeat([]byte{3}, cursorSize)}},
		"topics": {"x", func(q *transport.Query) { q.Topics = []transport.Topic{chat} },
			SyncRequest{Lower: now - 3600, Upper: now, Limit: pageLimit, Bloom: bloomOf([]transport.Topic{chat})}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newClient(t, s)
			p.Connected(t0, s.connected(tt.server))
			q := syncFor(1, s)
			tt.change(&q)
			if tt.want.Bloom == nil {
				tt.want.Bloom = bytes.Repeat([]byte{0xff}, bloomSize)
			}
			got := sent(t, p.Query(t0, q)).(SyncRequest)
			tt.want.Bytes = got.Bytes
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("asked %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBadSyncIsRefusedAtOnce(t *testing.T) {
	s := newIdentity(t, 1)
	for name, tt := range map[string]struct {
		spoil func(*transport.Query)
		end   transport.QueryEnd
		want  string
	}{
		"server":        {func(q *transport.Query) { q.Server = "" }, transport.QueryRefused, "mail: server: a sync needs one"},
		"limit":         {func(q *transport.Query) { q.Limit = 1001 }, transport.QueryRefused, "mail: limit: 1001 is not within 0 and 1000"},
		"cursor":        {func(q *transport.Query) { q.Cursor = []byte{1} }, transport.QueryRefused, "mail: cursor: 1 bytes, want 36"},
		"range":         {func(q *transport.Query) { q.From = t0.Add(time.Second) }, transport.QueryRefused, "mail: from: 2020-01-01 00:00:01 +0000 UTC is after to"},
		"other server":  {func(q *transport.Query) { q.Server = "nobody" }, transport.QueryNobody, `mail: enode URL "nobody": does not begin with enode://`},
		"unknown peer":  {func(q *transport.Query) { q.Server = strings.Repeat("ab", 32) }, transport.QueryNobody, "mail: no link to " + strings.Repeat("ab", 32) + ", and no address of it"},
		"last second":   {func(q *transport.Query) { q.From, q.To = time.Unix(math.MaxUint32, 0), time.Unix(math.MaxUint32, 0) }, transport.QueryRefused, "mail: from: 2106-02-07 06:28:15 +0000 UTC is after to"},
		"negative size": {func(q *transport.Query) { q.Limit = -1 }, transport.QueryRefused, "mail: limit: -1 is not within 0 and 1000"},
	} {
		p := newClient(t, s)
		p.Connected(t0, s.connected("x"))
		q := syncFor(1, s)
		tt.spoil(&q)
		o := p.Query(t0, q)
		if e := only[transport.Queried](t, o); e.End != tt.end || e.Reason != tt.want || len(o.Packets) > 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
