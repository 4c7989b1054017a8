package mail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/layertest"
	"github.com/stratanode/strata/layers/transport"
)

// hexBytes is a byte string as the vectors write it.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(*s, "0x"))
	*h = append(hexBytes{}, raw...)
	return err
}

// vectorIn is the input of every vector of this group.
type vectorIn struct {
	PacketCode   uint64   `json:"packet_code"`
	EnvelopeRLP  hexBytes `json:"envelope_rlp"`
	SymKey       hexBytes `json:"symkey"`
	Password     string   `json:"password"`
	ServerKey    hexBytes `json:"mailserver_private_key"`
	Payload      hexBytes `json:"payload"`
	PacketRLP    hexBytes `json:"packet_rlp"`
	PayloadBytes hexBytes `json:"payload_bytes"`
	Now          int64    `json:"now"`
}

// vectorRequest is what a request says. Two of its fields may be words.
type vectorRequest struct {
	From   uint32          `json:"from"`
	To     json.RawMessage `json:"to"`
	Limit  json.RawMessage `json:"limit"`
	Bloom  hexBytes        `json:"bloom"`
	Cursor hexBytes        `json:"cursor"`
	Batch  *bool           `json:"batch"`
	ID     hexBytes        `json:"id"`
}

type vectorOut struct {
	vectorRequest
	Request   vectorRequest `json:"request"`
	RequestID hexBytes      `json:"request_id"`
	Contents  hexBytes      `json:"request_payload"`
	Signer    hexBytes      `json:"signer_public_key"`
	Topic     hexBytes      `json:"topic"`
	Server040 *struct {
		Topics []hexBytes
		Limit  *uint32
	} `json:"server_040"`
	Error    *string  `json:"error"`
	LastHash hexBytes `json:"last_envelope_hash"`
	Reject   bool     `json:"reject"`
	DBKey    hexBytes `json:"db_key"`
}

func TestGoldenVectors(t *testing.T) {
	ran := map[string]int{}
	layertest.RunVectors(t, "whisper", map[string]func(*testing.T, layertest.Vector){
		"mailserver": func(t *testing.T, v layertest.Vector) {
			var in vectorIn
			var out vectorOut
			layertest.Decode(t, v.In, &in)
			layertest.Decode(t, v.Out, &out)
			switch {
			case in.PacketCode == CodeRequest && in.EnvelopeRLP != nil:
				ran["sealed request"]++
				checkSealed(t, in, out)
			case in.PacketCode == CodeRequest:
				ran["plain request"]++
				checkPlain(t, in, out)
			case in.PacketCode == CodeComplete:
				ran["complete"]++
				checkComplete(t, in, out)
			case out.DBKey != nil:
				ran["cursor"]++
				checkCursor(t, in, out)
			default:
				t.Errorf("unknown kind of vector, packet %d", in.PacketCode)
			}
		},
		"pow":                  layertest.Elsewhere("layers/transport/whisper"),
		"packets":              layertest.Elsewhere("layers/transport/whisper"),
		"invalid":              layertest.Elsewhere("layers/transport/whisper"),
		"topics-and-keys":      layertest.Elsewhere("layers/transport/whisper"),
		"envelopes-symmetric":  layertest.Elsewhere("layers/envelope/whisper"),
		"envelopes-asymmetric": layertest.Elsewhere("layers/envelope/whisper"),
	})
	for _, kind := range []string{"sealed request", "plain request", "complete", "cursor"} {
		if !t.Failed() && ran[kind] == 0 {
			t.Errorf("no vector of kind %q", kind)
		}
	}
}

// checkSealed opens and reads a request, and lets a server take it.
func checkSealed(t *testing.T, in vectorIn, out vectorOut) {
	e, err := parse(in.EnvelopeRLP)
	if err != nil {
		t.Fatal(err)
	}
	s := &sealer{node: key(t, 1), random: newEntropy(1)}
	if in.ServerKey != nil {
		if s.node, err = layers.ParsePrivateKey(in.ServerKey); err != nil {
			t.Fatal(err)
		}
	} else {
		s.password = passwordKey
		if in.Password != password {
			s.password = envelope.KeyFromPassword(in.Password)
		}
		if !bytes.Equal(s.password[:], in.SymKey) {
			t.Errorf("key of the password: %x, want %x", s.password[:], []byte(in.SymKey))
		}
	}
	contents, signer, err := s.Open(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(contents, out.Contents) || !bytes.Equal(signer[:], out.Signer) {
		t.Errorf("opened %x of %v, want %x of %x", contents, signer, []byte(out.Contents), []byte(out.Signer))
	}
	if !bytes.Equal(e.Hash[:], out.RequestID) || !bytes.Equal(e.Topic[:], out.Topic) {
		t.Errorf("id %v, topic %v; want %x, %x", e.Hash, e.Topic, []byte(out.RequestID), []byte(out.Topic))
	}
	q, err := decodeRequest(contents)
	if err != nil {
		t.Fatal(err)
	}
	if q.layout != layoutFixed || len(contents) == fixedTimes || len(contents) == fixedCursor {
		if got := q.encode(); !bytes.Equal(got, contents) {
			t.Errorf("encodes to %x, want %x", got, contents)
		}
	}
	checkRequest(t, q, out, contents)

	// A server on the same day takes every one of them.
	p := New(DefaultConfig(), settings(), s, newEntropy(2))
	p.Serve()
	now := time.Unix(in.Now, 0)
	p.Open(now)
	client := newIdentity(t, 3)
	p.Connected(now, client.connected("Statusd/v0.39.0"))
	e.PoW = 1
	asked := only[transport.Asked](t, p.Packet(now, client.id, Request{e, len(in.EnvelopeRLP)}))
	if asked.From.Unix() != int64(q.from) || asked.Limit < 1 || asked.Limit > transport.MaxPage || asked.To.Before(asked.From) {
		t.Errorf("asked %+v", asked)
	}
}

func checkRequest(t *testing.T, q request, out vectorOut, contents []byte) {
	t.Helper()
	want := out.Request
	to, limit := word(want.To), word(want.Limit)
	wantCursor := []byte(want.Cursor)
	if q.layout == layoutFixed && len(contents) >= fixedCursor {
		// The vector has what status-go 0.40 makes of it, for which only one length
		// is right. Clients before May 2019 wrote 36 bytes; the topic in a cursor of
		// 40 says nothing that the hash does not.
		wantCursor = contents[fixedLimit:fixedCursor]
	}
	bloomIs := bytes.Equal(q.bloom, want.Bloom) || len(q.bloom) == 0 && bloom(want.Bloom).full()
	if q.from != want.From || q.to != to || q.limit != limit || !bloomIs || !bytes.Equal(q.cursor, wantCursor) {
		t.Errorf("got %+v, want %+v", q, want)
	}
	if want.Batch != nil && q.batch != *want.Batch {
		t.Errorf("batch %v, want %v", q.batch, *want.Batch)
	}
	if out.Server040 != nil && q.layout == layoutRLP7 {
		if len(q.topics) != len(out.Server040.Topics) {
			t.Fatalf("%d topics, want %d", len(q.topics), len(out.Server040.Topics))
		}
		for i, topic := range q.topics {
			if !bytes.Equal(topic[:], out.Server040.Topics[i]) {
				t.Errorf("topic %d is %v", i, topic)
			}
		}
	}
}

// word reads a number; a text stands for zero, which the server replaces.
func word(raw json.RawMessage) (x uint32) {
	if json.Unmarshal(raw, &x) != nil {
		return 0
	}
	return x
}

func checkPlain(t *testing.T, in vectorIn, out vectorOut) {
	p, err := DecodePlainRequest(in.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.ID[:], out.ID) || p.From != out.From || p.To != word(out.To) || p.Limit != word(out.Limit) ||
		!bytes.Equal(p.Cursor, out.Cursor) || !bytes.Equal(p.Bloom, out.Bloom) {
		t.Errorf("got %+v, want %+v", p, out)
	}
	if got := p.Encode(); !bytes.Equal(got.Payload, in.Payload) || got.Code != in.PacketCode {
		t.Errorf("encodes to %x", got.Payload)
	}
}

func checkComplete(t *testing.T, in vectorIn, out vectorOut) {
	c, err := DecodeComplete(in.PacketRLP)
	if out.Reject {
		if err == nil {
			t.Errorf("decoded to %+v, want an error", c)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Request[:], out.RequestID) || c.Failed != (out.Error != nil) {
		t.Errorf("got %+v, want %+v", c, out)
	}
	if c.Failed {
		if c.Reason != *out.Error {
			t.Errorf("reason %q, want %q", c.Reason, *out.Error)
		}
	} else if !bytes.Equal(c.Last[:], out.LastHash) || !bytes.Equal(c.Cursor, out.Cursor) {
		t.Errorf("got %+v, want %+v", c, out)
	}
	whole := len(in.PayloadBytes) == 64 || len(in.PayloadBytes) == maxComplete || c.Failed
	if got := c.Encode(); whole && (!bytes.Equal(got.Payload, in.PacketRLP) || got.Code != CodeComplete) {
		t.Errorf("encodes to %x", got.Payload)
	}
}

// checkCursor checks what a cursor is made of, as far as this package sees it.
func checkCursor(t *testing.T, in vectorIn, out vectorOut) {
	e, err := parse(in.EnvelopeRLP)
	if err != nil {
		t.Fatal(err)
	}
	sec := seconds(e.Sent)
	cursor := append([]byte{byte(sec >> 24), byte(sec >> 16), byte(sec >> 8), byte(sec)}, e.Hash[:]...)
	if len(cursor) != cursorSize || !bytes.Equal(cursor, out.vectorRequest.Cursor) || !bytes.Equal(append(cursor, e.Topic[:]...), out.DBKey) {
		t.Errorf("cursor %x, want %x", cursor, []byte(out.vectorRequest.Cursor))
	}
}
