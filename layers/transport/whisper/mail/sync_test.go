package mail

import (
	"bytes"
	"testing"

	"github.com/stratanode/strata/layers/transport"
)

func TestSyncIsAnsweredByPartsAndAnEnd(t *testing.T) {
	p, client := serving(t)
	q := good()
	s := SyncRequest{Lower: q.from, Upper: q.to, Bloom: q.bloom, Limit: 5, Cursor: bytes.Repeat([]byte{1}, cursorSize)}
	a := only[transport.Asked](t, p.Packet(t0, client.id, s))
	if !a.Sync || a.Limit != 5 || !bytes.Equal(a.Cursor, s.Cursor) || a.Bloom == nil {
		t.Errorf("asked %+v", a)
	}
	envelopes := []transport.Envelope{made(chat, t0, "1"), made(chat, t0, "2")}
	cursor := bytes.Repeat([]byte{2}, cursorSize)
	o := p.Page(t0, transport.Page{Ask: a.Ask, Envelopes: envelopes, Last: true, Cursor: cursor})
	part, end := decode(t, o.Packets[0].Packet).(SyncResponse), decode(t, o.Packets[1].Packet).(SyncResponse)
	if !equalHashes(part.Envelopes, envelopes) || part.Final || part.Cursor != nil || part.Error != "" {
		t.Errorf("part %+v", part)
	}
	if len(end.Envelopes) != 0 || !end.Final || !bytes.Equal(end.Cursor, cursor) || end.Error != "" {
		t.Errorf("end %+v", end)
	}
}

func TestBadSyncIsToldWhyAndNotDropped(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*SyncRequest)
		want  string
	}{
		"no limit": {func(s *SyncRequest) { s.Limit = 0 }, "request is invalid: invalid 'Limit' value, expected value greater than 0"},
		"limit":    {func(s *SyncRequest) { s.Limit = 1001 }, "request is invalid: limit exceeds the maximum allowed value"},
		"range":    {func(s *SyncRequest) { s.Lower = s.Upper + 1 }, "request is invalid: query range is invalid: lower > upper (1577836801 > 1577836800)"},
		"bloom":    {func(s *SyncRequest) { s.Bloom = []byte{1} }, "request is invalid: bloom filter has 1 bytes, want 64"},
		"cursor":   {func(s *SyncRequest) { s.Cursor = []byte{1} }, "request is invalid: cursor has 1 bytes, want 36"},
	} {
		p, client := serving(t)
		s := SyncRequest{Lower: 1, Upper: seconds(t0), Limit: 1}
		tt.spoil(&s)
		o := p.Packet(t0, client.id, s)
		if r := sent(t, o).(SyncResponse); r.Error != tt.want || r.Final || len(o.Down) > 0 || len(o.Up) > 0 {
			t.Errorf("%s: answered %+v", name, r)
		}
	}
}
