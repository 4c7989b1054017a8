package interop

import (
	"context"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/interop/rawpeer"
)

// raw is a link whose packets the test writes itself.
type raw struct {
	*stage
	link *rawpeer.Link
}

func (s *stage) raw(enode string, status []byte) *raw {
	s.Helper()
	l, err := rawpeer.Dial(s.ctx, enode, status)
	s.must("raw link", err)
	s.Cleanup(l.Close)
	return &raw{s, l}
}

func (r *raw) send(code uint64, payload []byte) {
	r.Helper()
	r.must("write a packet", r.link.Send(code, payload))
}

// next returns the next packet with this code; others are passed over.
func (r *raw) next(code uint64) []byte {
	r.Helper()
	p, err := r.read(func(p rawpeer.Packet) bool { return p.Code == code })
	if err != nil {
		r.Fatalf("waiting for a packet %d: %v", code, err)
	}
	return p.Payload
}

// nextOf returns the next packet 1 with an envelope of a topic.
func (r *raw) nextOf(of topic) []byte {
	r.Helper()
	for {
		b := r.next(rawpeer.Messages)
		list, err := rawpeer.Envelopes(b)
		r.must("packet 1", err)
		for _, e := range list {
			if e.Topic == of {
				return b
			}
		}
	}
}

func (r *raw) read(match func(rawpeer.Packet) bool) (rawpeer.Packet, error) {
	for {
		select {
		case p := <-r.link.Packets():
			if match(p) {
				return p, nil
			}
		case <-r.link.Ended():
			return rawpeer.Packet{}, r.link.Err()
		case <-r.ctx.Done():
			return rawpeer.Packet{}, context.Cause(r.ctx)
		}
	}
}

// heard shows that the node still listens to this link and works: it confirms an
// envelope. It returns the packets that came before.
func (r *raw) heard() (before []rawpeer.Packet) {
	r.Helper()
	e := rawpeer.NewEnvelope([4]byte{9, 9, 9, 9}, []byte("are you there?"), statusTTL)
	e.Mine(statusPoW)
	packet := rawpeer.List(e.Raw())
	r.send(rawpeer.Messages, packet)
	want := string(encodeRLP(r.T, crypto.Keccak256(packet)))
	_, err := r.read(func(p rawpeer.Packet) bool {
		if p.Code == rawpeer.Acknowledged && string(p.Payload) == want {
			return true
		}
		before = append(before, p)
		return false
	})
	if err != nil {
		r.Fatalf("the node no longer listens: %v", err)
	}
	return before
}

func encodeRLP(t *testing.T, v any) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
