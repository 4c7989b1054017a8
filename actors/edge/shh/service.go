package shh

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/p2p/enode"
	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// service has the methods that clients call, as the JSON-RPC server wants them.
type service struct{ api *API }

// Version returns the version of the protocol as a text.
func (s *service) Version() string { return version }

// Info says how the node is doing.
func (s *service) Info(ctx context.Context) (Info, error) {
	state, err := s.api.describe(ctx)
	return Info{
		Memory: state.PooledBytes, Messages: s.api.inbox.len(),
		MinPoW: state.MinPoW, MaxMessageSize: uint32(min(state.MaxMessage, math.MaxUint32)),
	}, err
}

// maxMessage is the hard limit of the protocol for the size of a message, in bytes.
const maxMessage = 10 << 20

// SetMaxMessageSize sets the longest message that is taken, in bytes, until the
// node ends; so do the other settings.
func (s *service) SetMaxMessageSize(ctx context.Context, size uint32) (bool, error) {
	if size > maxMessage {
		return true, fmt.Errorf("message size too large [%d>%d]", size, maxMessage)
	}
	n := int(size)
	return true, s.set(ctx, transport.Set{MaxMessage: &n})
}

// SetMinPoW sets what peers are asked for, per byte and second.
func (s *service) SetMinPoW(ctx context.Context, pow float64) (bool, error) {
	if pow < 0 {
		return true, fmt.Errorf("invalid PoW: %f", pow)
	}
	return true, s.set(ctx, transport.Set{MinPoW: &pow})
}

// SetBloomFilter sets the interest that peers are told, 64 bytes.
func (s *service) SetBloomFilter(ctx context.Context, bloom hexutil.Bytes) (bool, error) {
	if len(bloom) != 64 {
		return true, fmt.Errorf("invalid bloom filter size: %d", len(bloom))
	}
	b := [64]byte(bloom)
	return true, s.set(ctx, transport.Set{Bloom: &b})
}

// MakeLightClient makes the node carry nothing for others.
func (s *service) MakeLightClient(ctx context.Context) (bool, error) { return s.light(ctx, true) }

// CancelLightClient makes the node carry envelopes for others again.
func (s *service) CancelLightClient(ctx context.Context) (bool, error) { return s.light(ctx, false) }

func (s *service) light(ctx context.Context, on bool) (bool, error) {
	return true, s.set(ctx, transport.Set{Light: &on})
}

func (s *service) set(ctx context.Context, c transport.Set) error {
	_, err := ask[transport.Done](ctx, s.api, func(r layers.Ref) transport.Command {
		c.Ref = r
		return c
	})
	if err == nil {
		s.api.settings.keep(c)
	}
	return err
}

// MarkTrustedPeer takes envelopes from a linked peer that nobody asked it for.
func (s *service) MarkTrustedPeer(ctx context.Context, url string) (bool, error) {
	if _, err := enode.Parse(enode.ValidSchemes, url); err != nil {
		return false, err
	}
	_, err := ask[transport.Done](ctx, s.api, func(r layers.Ref) transport.Command {
		return transport.Trust{Ref: r, Node: url}
	})
	return true, err
}

// NewKeyPair makes a key pair and returns its id.
func (s *service) NewKeyPair() (string, error) {
	key, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("shh: %w", err)
	}
	return s.api.keys.addPair(key)
}

// AddPrivateKey takes in a private key of 32 bytes and returns the id of the pair.
func (s *service) AddPrivateKey(secret hexutil.Bytes) (string, error) {
	key, err := parsePair(secret)
	if err != nil {
		return "", err
	}
	return s.api.keys.addPair(key)
}

// DeleteKeyPair forgets a key pair. Filters that have it go on.
func (s *service) DeleteKeyPair(id string) (bool, error) {
	if !s.api.keys.deletePair(id) {
		return false, fmt.Errorf("key pair %s not found", id)
	}
	return true, nil
}

// HasKeyPair reports whether there is such a key pair.
func (s *service) HasKeyPair(id string) bool {
	_, err := s.api.keys.pair(id)
	return err == nil
}

// GetPublicKey returns 65 bytes beginning with 4.
func (s *service) GetPublicKey(id string) (hexutil.Bytes, error) {
	key, err := s.api.keys.pair(id)
	if err != nil {
		return nil, err
	}
	public := key.Public()
	return public[:], nil
}

// GetPrivateKey gives the secret to the client, who may have made it elsewhere.
func (s *service) GetPrivateKey(id string) (hexutil.Bytes, error) {
	key, err := s.api.keys.pair(id)
	if err != nil {
		return nil, err
	}
	return key.Secret(), nil
}

// NewSymKey makes a random symmetric key and returns its id.
func (s *service) NewSymKey() (string, error) {
	var key envelope.SymKey
	draw(key[:])
	return s.api.keys.addSym(key)
}

// AddSymKey takes in a symmetric key of 32 bytes and returns its id.
func (s *service) AddSymKey(key hexutil.Bytes) (string, error) {
	if len(key) != len(envelope.SymKey{}) {
		return "", fmt.Errorf("wrong key size: %d", len(key))
	}
	return s.api.keys.addSym(envelope.SymKey(key))
}

// GenerateSymKeyFromPassword makes the key that a text stands for and returns its
// id; see envelope.KeyFromPassword.
// One is worked on at a time: that takes some hundredth of a second of a core,
// and a client may ask for thousands.
func (s *service) GenerateSymKeyFromPassword(ctx context.Context, password string) (string, error) {
	l, err := s.api.alive()
	if err != nil {
		return "", err
	}
	select {
	case s.api.deriving <- struct{}{}:
		defer func() { <-s.api.deriving }()
	case <-ctx.Done():
		return "", ctx.Err()
	case <-l.ctx.Done():
		return "", errStopping
	}
	if err := s.api.keys.room(); err != nil {
		return "", err
	}
	return s.api.keys.addSym(envelope.KeyFromPassword(password))
}

// HasSymKey reports whether there is such a symmetric key.
func (s *service) HasSymKey(id string) bool {
	_, err := s.api.keys.sym(id)
	return err == nil
}

// GetSymKey returns 32 bytes.
func (s *service) GetSymKey(id string) (hexutil.Bytes, error) {
	key, err := s.api.keys.sym(id)
	if err != nil {
		return nil, err
	}
	return key[:], nil
}

// DeleteSymKey reports whether there was such a key, which it forgets. Filters
// that have it go on.
func (s *service) DeleteSymKey(id string) bool { return s.api.keys.deleteSym(id) }

// Post returns the hash of the envelope once the transport carries it.
func (s *service) Post(ctx context.Context, m NewMessage) (hexutil.Bytes, error) {
	hash, err := s.api.post(ctx, &m)
	if err != nil {
		return nil, err
	}
	return hash[:], nil
}

// NewMessageFilter makes a filter that is polled and returns its id.
func (s *service) NewMessageFilter(c Criteria) (string, error) {
	if _, err := s.api.alive(); err != nil {
		return "", err
	}
	f, err := s.api.newFilter(&c, toPoll, nil)
	if err != nil {
		return "", err
	}
	return f.id, nil
}

// GetFilterMessages returns what has come since the last call.
func (s *service) GetFilterMessages(id string) ([]*Message, error) {
	messages, ok := s.api.filters.poll(id)
	if !ok {
		return nil, errNoFilter
	}
	if messages == nil {
		messages = []*Message{} // [], not null
	}
	return messages, nil
}

// DeleteMessageFilter ends a filter that is polled.
func (s *service) DeleteMessageFilter(id string) (bool, error) {
	if !s.api.filters.remove(id) {
		return true, errNotSubscribed
	}
	return true, nil
}

// UninstallFilter is the same without a result, as Status has it.
func (s *service) UninstallFilter(id string) { s.api.filters.remove(id) }

// Messages is the subscription "messages".
func (s *service) Messages(ctx context.Context, c Criteria) (*gethrpc.Subscription, error) {
	return s.api.subscribe(ctx, &c)
}
