package whisper

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
)

// MessageResponse confirms a packet of envelopes except for those it lists.
type MessageResponse struct {
	Batch    transport.Hash
	Refusals []Refusal
	size     int
}

// Refusal is one envelope that a peer did not take. The codes in use are
// ambiguous; the text says more.
type Refusal struct {
	Hash transport.Hash
	Code uint64
	Text string
}

// Size implements overlay.Packet.
func (m MessageResponse) Size() int { return m.size }

func encodeResponse(batch transport.Hash, refusals []Refusal) overlay.Outgoing {
	var errs []byte
	for _, r := range refusals[:min(len(refusals), maxRefusals)] {
		item := rlpwrite.String(nil, r.Hash[:])
		item = rlp.AppendUint64(item, r.Code)
		item = rlpwrite.String(item, []byte(r.Text))
		errs = rlpwrite.List(errs, item)
	}
	body := rlpwrite.List(rlpwrite.String(nil, batch[:]), errs)
	return overlay.Outgoing{
		Code:    codeResponse,
		Payload: rlpwrite.List(nil, rlpwrite.List(rlp.AppendUint64(nil, responseVersion), body)),
	}
}

// errIgnored stands for a packet that is well formed but says nothing to this
// version.
var errIgnored = errors.New("whisper: message response is of another version")

// decodeResponse reads a message response. Like the deployed nodes it wants the
// outer form to be right, and ignores a body that it cannot read.
func decodeResponse(payload []byte) (MessageResponse, error) {
	m := MessageResponse{size: len(payload)}
	outer, _, err := rlp.SplitList(payload)
	if err != nil {
		return m, fmt.Errorf("whisper: message response: %w", err)
	}
	v, outer, err := rlp.SplitUint64(outer)
	if err != nil {
		return m, fmt.Errorf("whisper: message response version: %w", err)
	}
	_, _, rest, err := rlp.Split(outer)
	if err != nil {
		return m, fmt.Errorf("whisper: message response body: %w", err)
	}
	if len(rest) > 0 {
		return m, errors.New("whisper: message response: more than two items")
	}
	if v != responseVersion {
		return m, errIgnored
	}
	if m.Batch, m.Refusals, err = decodeResponseBody(outer); err != nil {
		return m, errIgnored
	}
	return m, nil
}

func decodeResponseBody(b []byte) (batch transport.Hash, refusals []Refusal, err error) {
	b, _, err = rlp.SplitList(b)
	if err != nil {
		return batch, nil, err
	}
	if batch, b, err = splitHash(b); err != nil {
		return batch, nil, err
	}
	list, b, err := rlp.SplitList(b)
	if err != nil {
		return batch, nil, err
	}
	if len(b) > 0 {
		return batch, nil, errors.New("more than two items")
	}
	for len(list) > 0 {
		var r Refusal
		if r, list, err = splitRefusal(list); err != nil {
			return batch, nil, err
		}
		if len(refusals) == maxEnvelopes {
			return batch, nil, fmt.Errorf("more than %d refusals", maxEnvelopes)
		}
		refusals = append(refusals, r)
	}
	return batch, refusals, nil
}

func splitRefusal(b []byte) (r Refusal, rest []byte, err error) {
	item, rest, err := rlp.SplitList(b)
	if err != nil {
		return r, nil, err
	}
	if r.Hash, item, err = splitHash(item); err != nil {
		return r, nil, err
	}
	if r.Code, item, err = rlp.SplitUint64(item); err != nil {
		return r, nil, err
	}
	text, item, err := rlp.SplitString(item)
	if err != nil {
		return r, nil, err
	}
	if len(item) > 0 {
		return r, nil, errors.New("refusal: more than three items")
	}
	r.Text = string(text)
	return r, rest, nil
}
