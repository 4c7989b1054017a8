package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	doubleratchet "github.com/status-im/doubleratchet"

	"github.com/stratanode/strata/layers"
)

// The limits of the ratchet, those of the clients.
const (
	maxSkip   = 1000 // keys skipped in one chain for one message
	maxStored = 2000 // message keys stored in one session
	maxKeep   = 3000 // keys a stored key may lie behind the newest of its session

	// maxOpenings is how often one session may be opened again by its peer with
	// another ephemeral key, after it has lost its state. The used ephemeral
	// keys are remembered, so that an old opening cannot be replayed.
	maxOpenings = 8
)

// sessionKey names a session. The identity is part of it: nobody can take the
// place of another by using the same installation id.
type sessionKey struct {
	peer         layers.PublicKey
	prekey       [33]byte // the signed prekey it began with, of either side
	installation string   // of the peer
}

// session is a double ratchet with one installation of a peer.
type session struct {
	key     sessionKey
	flavour flavour
	state   doubleratchet.State
	skipped skippedKeys

	// pending is our ephemeral key of X3DH. It goes with every message until
	// the peer has answered in this session.
	pending []byte

	// openings are the peer's ephemeral keys that opened this session.
	openings [][33]byte
}

// initiateSession begins a session on a prekey of the peer.
func initiateSession(random io.Reader, identity layers.PrivateKey, key sessionKey, f flavour) (*session, error) {
	prekey, err := layers.ParsePublicKey(key.prekey[:])
	if err != nil {
		return nil, fmt.Errorf("signed prekey: %w", err)
	}
	ephemeral := mustGenerate(random)
	shared, err := initiate(identity, ephemeral, key.peer, prekey)
	if err != nil {
		return nil, err
	}
	c := ephemeral.Public().Compressed()
	s := &session{key: key, flavour: f, pending: c[:]}
	_, err = doubleratchet.NewWithRemoteKey(nil, shared[:], f.wireKey(prekey), s, s.configured(random))
	return s, err
}

// respondSession begins a session that the peer opened on our prekey. It counts
// only once a message was opened in it.
func respondSession(random io.Reader, identity, prekey layers.PrivateKey, key sessionKey, ephemeral []byte, f flavour) (*session, error) {
	theirs, err := layers.ParsePublicKey(ephemeral)
	if err != nil {
		return nil, fmt.Errorf("X3DH_header.key: %w", err)
	}
	shared, err := respond(identity, prekey, key.peer, theirs)
	if err != nil {
		return nil, err
	}
	s := &session{key: key, flavour: f, openings: [][33]byte{theirs.Compressed()}}
	_, err = doubleratchet.New(nil, shared[:], f.pair(prekey), s, s.configured(random))
	return s, err
}

// Save implements doubleratchet.SessionStorage. The library calls it after all
// else has succeeded.
func (s *session) Save(_ []byte, state *doubleratchet.State) error {
	s.state = *state
	return nil
}

// Load implements doubleratchet.SessionStorage with a copy, which the library
// may change freely: nothing of it counts before Save.
func (s *session) Load([]byte) (*doubleratchet.State, error) {
	state := s.state
	return &state, nil
}

func (s *session) load(random io.Reader) (doubleratchet.Session, error) {
	return doubleratchet.Load(nil, s, s.configured(random))
}

// configured is the one option given to the library: our suite, our key store,
// our limits.
func (s *session) configured(random io.Reader) func(*doubleratchet.State) error {
	return func(state *doubleratchet.State) error {
		return errors.Join(
			doubleratchet.WithCrypto(suite{s.flavour, random})(state),
			doubleratchet.WithKeysStorage(&s.skipped)(state),
			doubleratchet.WithMaxSkip(maxSkip)(state),
			doubleratchet.WithMaxKeep(maxKeep)(state),
			doubleratchet.WithMaxMessageKeysPerSession(maxStored)(state),
		)
	}
}

// seal encrypts body with the next message key, which is then gone.
func (s *session) seal(random io.Reader, body []byte) (directMessage, error) {
	lib, err := s.load(random)
	if err != nil {
		return directMessage{}, err
	}
	m, err := lib.RatchetEncrypt(body, nil)
	if err != nil {
		return directMessage{}, err
	}
	d := directMessage{
		target:  s.key.installation,
		ratchet: &ratchetHeader{key: m.Header.DH, n: m.Header.N, pn: m.Header.PN, prekey: s.key.prekey[:]},
		payload: m.Ciphertext,
	}
	if s.pending != nil {
		d.x3dh = &x3dhHeader{ephemeral: s.pending, prekey: s.key.prekey[:]}
	}
	return d, nil
}

var errSkip = errors.New("too many messages are missing before it")

// skips returns how many message keys have to be derived and stored before the
// one that h asks for, or an error if no genuine message is that far ahead.
func (s *session) skips(h *ratchetHeader) (int, error) {
	if _, stored, _ := s.skipped.Get(h.key, uint(h.n)); stored {
		return 0, nil
	}
	from, at := int64(0), int64(s.state.RecvCh.N)
	if bytes.Equal(h.key, s.state.DHr) {
		from, at = at, 0
	} else {
		at = int64(h.pn) - at
	}
	ahead := int64(h.n) - from
	if ahead > maxSkip || at > maxSkip {
		return 0, errSkip
	}
	return int(max(ahead, 0) + max(at, 0)), nil
}

// open decrypts a message. If it fails, the session is as before. The used
// message key stays in the session until forget.
func (s *session) open(random io.Reader, h *ratchetHeader, payload []byte) ([]byte, error) {
	if len(h.key) != s.flavour.keyLen() {
		return nil, fmt.Errorf("DR_header.key: %d bytes, want %d", len(h.key), s.flavour.keyLen())
	}
	if len(payload) < overhead {
		return nil, fmt.Errorf("payload: %d bytes, want at least %d", len(payload), overhead)
	}
	if _, err := s.skips(h); err != nil {
		return nil, err
	}
	lib, err := s.load(random)
	if err != nil {
		return nil, err
	}
	return lib.RatchetDecrypt(doubleratchet.Message{
		Header:     doubleratchet.MessageHeader{DH: bytes.Clone(h.key), N: h.n, PN: h.pn},
		Ciphertext: payload,
	}, nil)
}

// forget erases the key of an opened message. From then on the message cannot
// be opened again.
func (s *session) forget(h *ratchetHeader) {
	_ = s.skipped.DeleteMk(h.key, uint(h.n)) // ours: returns nil always
}

// openedBy reports whether an ephemeral key of the peer has opened s before.
func (s *session) openedBy(ephemeral []byte) bool {
	for _, e := range s.openings {
		if bytes.Equal(e[:], ephemeral) {
			return true
		}
	}
	return false
}
