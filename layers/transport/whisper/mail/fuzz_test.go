package mail

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

var seedRequest = request{
	from: 1577750400, to: 1577836800, bloom: bloomOf([]transport.Topic{{1, 2, 3, 4}}), limit: 100,
	cursor: bytes.Repeat([]byte{5}, cursorSize), batch: true,
}

// reference is the request of status-go 0.40 as go-ethereum's decoder knows it.
type reference struct {
	Lower, Upper uint32
	Bloom        []byte
	Topics       [][]byte
	Limit        uint32
	Cursor       []byte
	Batch        bool
}

func FuzzDecodeRequest(f *testing.F) {
	for l := layoutRLP7; l <= layoutFixed; l++ {
		q := seedRequest
		q.layout = l
		f.Add(q.encode())
		q.bloom, q.cursor, q.topics = nil, nil, []transport.Topic{{1}, {2}}
		f.Add(q.encode())
	}
	f.Add(append(seedRequest.encode(), 0))
	f.Add([]byte{0xc5, 0x80, 0x80, 0x80, 0x80, 0x81, 0x01})
	f.Add(bytes.Repeat([]byte{0x5e}, fixedTopic))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		var want reference
		if known := rlp.DecodeBytes(b, &want) == nil; known && err != nil && !odd(want) {
			t.Fatalf("error %v for what status-go 0.40 reads", err)
		} else if known && err == nil && (q.layout != layoutRLP7 || q.from != want.Lower || q.to != want.Upper ||
			!bytes.Equal(q.bloom, want.Bloom) || q.limit != want.Limit || !bytes.Equal(q.cursor, want.Cursor) || q.batch != want.Batch) {
			t.Fatalf("decoded %+v, want %+v", q, want)
		}
		if err != nil {
			if q.bloom != nil || q.layout != 0 {
				t.Errorf("error and %+v", q)
			}
			return
		}
		again, err := decodeRequest(q.encode())
		if err != nil || !reflect.DeepEqual(again, q) {
			t.Errorf("%+v comes back as %+v (error %v)", q, again, err)
		}
		if isList(b) && !bytes.Equal(q.encode(), b) {
			t.Errorf("%x encodes to %x", b, q.encode())
		}
		q.fill(t0)
		if q.check() == nil {
			if a := q.asked(); a.Limit < 1 || a.Limit > transport.MaxPage || a.From.After(a.To) || len(a.Cursor) > transport.MaxCursor {
				t.Errorf("asked %+v", a)
			}
		}
	})
}

// odd says whether a request has topics that are none, or too many.
func odd(r reference) bool {
	for _, topic := range r.Topics {
		if len(topic) != 4 {
			return true
		}
	}
	return len(r.Topics) > maxTopics
}

func FuzzDecodePlainRequest(f *testing.F) {
	f.Add(PlainRequest{ID: transport.Hash{1}, From: 2, To: 3, Limit: 4, Cursor: []byte{5}, Bloom: bloomOf(nil)}.Encode().Payload)
	f.Add(PlainRequest{}.Encode().Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePlainRequest(b)
		if err != nil {
			checkError(t, err, "mail: plain request: ")
			return
		}
		encoded := p.Encode().Payload
		again, err := DecodePlainRequest(encoded)
		again.Bytes = p.Bytes
		if err != nil || !reflect.DeepEqual(again, p) || !bytes.HasPrefix(b, encoded) {
			t.Errorf("%+v comes back as %+v (error %v)", p, again, err)
		}
	})
}

func FuzzDecodeSyncRequest(f *testing.F) {
	f.Add(SyncRequest{Lower: 1, Upper: 2, Bloom: bloomOf(nil), Limit: 3, Cursor: bytes.Repeat([]byte{4}, 36)}.Encode().Payload)
	f.Add(SyncRequest{}.Encode().Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSyncRequest(b)
		if err != nil {
			checkError(t, err, "mail: sync request: ")
			return
		}
		encoded := s.Encode().Payload
		again, err := DecodeSyncRequest(encoded)
		again.Bytes = s.Bytes
		if err != nil || !reflect.DeepEqual(again, s) || !bytes.HasPrefix(b, encoded) {
			t.Errorf("%+v comes back as %+v (error %v)", s, again, err)
		}
	})
}

func FuzzDecodeSyncResponse(f *testing.F) {
	f.Add(SyncResponse{Envelopes: []transport.Envelope{made(transport.Topic{1}, t0, "a"), made(transport.Topic{2}, t0, "b")}}.Encode().Payload)
	f.Add(SyncResponse{Cursor: bytes.Repeat([]byte{4}, 36), Final: true}.Encode().Payload)
	f.Add(SyncResponse{Error: "no"}.Encode().Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSyncResponse(b, parseList)
		if err != nil {
			checkError(t, err, "mail: sync response: ")
			return
		}
		encoded := s.Encode().Payload
		again, err := DecodeSyncResponse(encoded, parseList)
		again.Bytes = s.Bytes
		if err != nil || !reflect.DeepEqual(again, s) || !bytes.HasPrefix(b, encoded) {
			t.Errorf("%+v comes back as %+v (error %v)", s, again, err)
		}
	})
}

func FuzzDecodeComplete(f *testing.F) {
	f.Add(Complete{Request: transport.Hash{1}, Last: transport.Hash{2}, Cursor: bytes.Repeat([]byte{3}, cursorSize)}.Encode().Payload)
	f.Add(Complete{Request: transport.Hash{1}}.Encode().Payload)
	f.Add(Complete{Request: transport.Hash{1}, Failed: true, Reason: "rate limit exceeded"}.Encode().Payload)
	f.Add(rlpwrite.String(nil, []byte("ERROR=short, but as long as an id is")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeComplete(b)
		if err != nil {
			checkError(t, err, "mail: complete: ")
			return
		}
		again, err := DecodeComplete(c.Encode().Payload)
		again.Bytes = c.Bytes
		if !bytes.HasPrefix(c.Request[:], failure) && (err != nil || !reflect.DeepEqual(again, c)) {
			t.Errorf("%+v comes back as %+v (error %v)", c, again, err)
		}
		if len(c.Cursor) != 0 && len(c.Cursor) != cursorSize {
			t.Errorf("cursor of %d bytes", len(c.Cursor))
		}
	})
}

func FuzzParseEnode(f *testing.F) {
	f.Add(newIdentity(f, 1).url)
	f.Add(newIdentity(f, 2).url + "?discport=0")
	f.Add(strings.Replace(newIdentity(f, 3).url, "127.0.0.1", "[::1]", 1))
	f.Add("enode://00@:0")
	f.Fuzz(func(t *testing.T, url string) {
		id, key, err := parseEnode(url)
		if err != nil {
			checkError(t, err, "mail: enode URL ")
			if !key.IsZero() {
				t.Error("an error and a key")
			}
			return
		}
		again, _, err := parseEnode("enode://" + key.String()[4:] + "@127.0.0.1:1")
		if err != nil || again != id {
			t.Errorf("the key of %s is of node %v (error %v), want %v", url, again, err, id)
		}
	})
}

func checkError(t *testing.T, err error, prefix string) {
	t.Helper()
	if !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("error %q does not begin with %q", err, prefix)
	}
	if errors.Unwrap(err) == nil && strings.HasSuffix(err.Error(), ": ") {
		t.Errorf("error %q says nothing", err)
	}
}
