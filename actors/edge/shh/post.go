package shh

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// What clients of go-ethereum are told.
var (
	errSymAsym       = errors.New("specify either a symmetric or an asymmetric key")
	errSymKey        = errors.New("invalid symmetric key")
	errPublicKey     = errors.New("invalid public key")
	errSigningKey    = errors.New("invalid signing public key")
	errLowPoW        = errors.New("message rejected, PoW too low")
	errNoTopics      = errors.New("missing topic(s)")
	errNotAdded      = errors.New("failed to add envelope")
	errNoFilter      = errors.New("filter not found")
	errNotSubscribed = errors.New("Unsubscribe: Invalid ID") //nolint:revive,staticcheck // the text clients know
)

// defaultTTL is that of a post that gives none, in seconds.
const defaultTTL = 50

// nominalHeader is what Whisper counts for all of an envelope but its data, in
// bytes, in its limit of the size.
const nominalHeader = 20

// letter is a post of which everything was found.
type letter struct {
	from  layers.PrivateKey // zero: not signed
	sym   envelope.SymKey   // zero: to is set
	to    layers.PublicKey
	topic transport.Topic
}

// address finds the keys of a post. The checks are in the order of go-ethereum.
func (a *API) address(m *NewMessage) (l letter, err error) {
	to := deref(m.PubKey)
	if (m.SymKeyID != "") == (len(to) > 0) {
		return l, errSymAsym
	}
	if m.Sig != "" {
		if l.from, err = a.keys.pair(m.Sig); err != nil {
			return l, err
		}
	}
	if m.Topic != nil {
		l.topic = transport.Topic(*m.Topic)
	}
	if m.SymKeyID == "" {
		if l.to, err = parsePublic(to); err != nil {
			return l, errPublicKey
		}
		return l, nil
	}
	if l.topic == (transport.Topic{}) {
		return l, errNoTopics
	}
	if l.sym, err = a.keys.sym(m.SymKeyID); err != nil {
		return l, err
	}
	if l.sym == (envelope.SymKey{}) {
		return l, errSymKey
	}
	return l, nil
}

// parsePublic reads a public key in its uncompressed form, the only one there is
// in this API.
func parsePublic(b []byte) (layers.PublicKey, error) {
	if len(b) != len(layers.PublicKey{}) {
		return layers.PublicKey{}, layers.ErrPublicKey
	}
	return layers.ParsePublicKey(b)
}

// post carries out shh_post and returns the hash of the envelope.
func (a *API) post(ctx context.Context, m *NewMessage) (transport.Hash, error) {
	var none transport.Hash
	l, err := a.address(m)
	if err != nil {
		return none, err
	}
	if m.TargetPeer != "" {
		if _, err := enode.Parse(enode.ValidSchemes, m.TargetPeer); err != nil {
			return none, fmt.Errorf("failed to parse target peer: %w", err)
		}
	}
	if most := a.cfg.MaxPoWTime; time.Duration(m.PoWTime)*time.Second > most {
		return none, fmt.Errorf("shh: powTime: %d seconds are more than %v (max_pow_time)", m.PoWTime, most)
	}
	draft, err := a.draft(&l, m)
	if err != nil {
		return none, err
	}
	search := whisper.NewSearch(draft, max(m.PoWTarget, 0))
	if m.TargetPeer == "" {
		if err := a.admissible(ctx, m, draft, search); err != nil {
			return none, err
		}
	}
	nonce, err := a.work(ctx, search, m)
	if err != nil {
		return none, err
	}
	raw, hash := search.Seal(nonce)
	if m.TargetPeer != "" {
		_, err := ask[transport.Done](ctx, a, func(r layers.Ref) transport.Command {
			return transport.Direct{Ref: r, Node: m.TargetPeer, Raw: raw}
		})
		return hash, err
	}
	return hash, a.publish(ctx, raw)
}

// draft signs, pads and encrypts.
func (a *API) draft(l *letter, m *NewMessage) (d whisper.Draft, err error) {
	d = whisper.Draft{TTL: m.TTL, Topic: l.topic}
	if d.TTL == 0 {
		d.TTL = defaultTTL
	}
	life := time.Duration(d.TTL) * time.Second
	if m.PoWTarget < 0 { // how long it takes is known, so that it need not be lost
		life += time.Duration(m.PoWTime) * time.Second
	}
	if info := a.info.Load(); info != nil && info.MaxTTL > 0 && life > info.MaxTTL {
		return d, fmt.Errorf("shh: ttl: %v is more than %v", life, info.MaxTTL)
	}
	d.Expiry = uint32(time.Now().Add(life).Unix())
	d.Data, err = l.seal(deref(m.Payload), deref(m.Padding))
	return d, err
}

// seal makes the data of the envelope. Padding that is given is taken as it is.
func (l *letter) seal(payload, padding []byte) ([]byte, error) {
	if len(padding) == 0 {
		padding = make([]byte, sealing.PaddingLen(len(payload), !l.from.IsZero()))
		draw(padding)
	}
	plaintext, err := sealing.BuildPlaintext(payload, padding, l.from)
	if err != nil {
		return nil, fmt.Errorf("shh: %w", err)
	}
	if !l.to.IsZero() {
		ephemeral, err := layers.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("shh: %w", err)
		}
		var iv [16]byte
		draw(iv[:])
		return sealing.SealAsymmetric(l.to, ephemeral, iv, plaintext)
	}
	var salt [12]byte
	draw(salt[:])
	return sealing.SealSymmetric(l.sym, salt, plaintext)
}

// draw fills b with random bytes. Only zeros where that cannot be chance mean
// that the source is broken; the secrets made of it would be none.
func draw(b []byte) {
	rand.Read(b) // never fails; it ends the process instead
	if len(b) >= 12 && len(bytes.Trim(b, "\x00")) == 0 {
		panic("shh: the random source gives only zeros")
	}
}

// admissible makes the checks of the transport that need no nonce, so that
// nobody mines in vain.
func (a *API) admissible(ctx context.Context, m *NewMessage, d whisper.Draft, s *whisper.Search) error {
	state, err := a.describe(ctx)
	if err != nil {
		return err
	}
	if m.PoWTarget < state.MinPoW {
		return errLowPoW
	}
	if state.MaxMessage > 0 && nominalHeader+len(d.Data) > state.MaxMessage {
		_, hash := s.Seal(0)
		return fmt.Errorf("huge messages are not allowed [%x]", hash[:])
	}
	return nil
}

func (a *API) describe(ctx context.Context) (transport.State, error) {
	e, err := ask[transport.Described](ctx, a, func(r layers.Ref) transport.Command {
		return transport.Describe{Ref: r}
	})
	return e.State, err
}

// publish hands a whole envelope to the transport, and returns when that carries
// it. What becomes of it then nobody waits for.
func (a *API) publish(ctx context.Context, raw []byte) error {
	e, err := a.answerTo(ctx, func(r layers.Ref) transport.Command {
		return transport.Publish{Ref: r, Raw: raw}
	})
	if err != nil {
		return err
	}
	switch e := e.(type) {
	case transport.Accepted, transport.Relayed:
		return nil
	case transport.Expired:
		return errNotAdded // it was over before it was taken
	case transport.Refused:
		return refusal(e)
	}
	return fmt.Errorf("shh: the transport answered with %T", e)
}
