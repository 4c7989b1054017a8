package ratchet

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	doubleratchet "github.com/status-im/doubleratchet"

	"github.com/stratanode/strata/layers"
)

// The records of this layer. Texts that others choose stand at the end of a
// key, behind hexadecimal digits of a fixed length.
const (
	keyOwn     = "own"      // identity and installation id
	keyStamp   = "stamp"    // timestamp of the last bundle that was sent
	keyCode    = "code"     // when the contact code was last published
	keyWatch   = "watch"    // what Watch asked for
	keyPrekey  = "prekey/"  // + version, 8 hex digits: own signed prekey, secret
	keyPeer    = "peer/"    // + identity: what is known of it
	keySession = "session/" // + identity / prekey / installation: ratchet, secret
	keySym     = "symkey/"  // + hash of the password: symmetric key, secret
)

// recordVersion is the first byte of every record.
const recordVersion = 1

var errRecord = errors.New("damaged record")

func peerRecord(k layers.PublicKey) string {
	c := k.Compressed()
	return keyPeer + hex.EncodeToString(c[:])
}

func (k sessionKey) record() string {
	c := k.peer.Compressed()
	return keySession + hex.EncodeToString(c[:]) + "/" + hex.EncodeToString(k.prekey[:]) + "/" + k.installation
}

// packer writes a record.
type packer struct{ b []byte }

func pack() *packer { return &packer{b: []byte{recordVersion}} }

func (p *packer) number(n uint64) { p.b = binary.AppendUvarint(p.b, n) }
func (p *packer) bytes(v []byte) {
	p.number(uint64(len(v)))
	p.b = append(p.b, v...)
}
func (p *packer) bool(v bool) {
	if v {
		p.number(1)
	} else {
		p.number(0)
	}
}

// unpacker reads a record. After the first fault all it yields is zero.
type unpacker struct {
	b   []byte
	err error
}

func unpack(b []byte) *unpacker {
	if len(b) == 0 || b[0] != recordVersion {
		return &unpacker{err: errRecord}
	}
	return &unpacker{b: b[1:]}
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.b)
	if size <= 0 {
		u.b, u.err = nil, errRecord
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) bool() bool { return u.number() == 1 }

// bytes returns the next byte string, nil if it is empty.
func (u *unpacker) bytes() []byte {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.b, u.err = nil, errRecord
		return nil
	}
	v := u.b[:n:n]
	u.b = u.b[n:]
	if n == 0 {
		return nil
	}
	return v
}

// fixed fills dst with the next byte string, which must be as long.
func (u *unpacker) fixed(dst []byte) {
	if v := u.bytes(); len(v) == len(dst) {
		copy(dst, v)
	} else {
		u.b, u.err = nil, errRecord
	}
}

// count returns the number of entries that follow, each of at least one byte.
func (u *unpacker) count() int {
	n := u.number()
	if n > uint64(len(u.b)) {
		u.b, u.err = nil, errRecord
		return 0
	}
	return int(n)
}

func (u *unpacker) done() error {
	if u.err == nil && len(u.b) > 0 {
		return errRecord
	}
	return u.err
}

// record returns the whole session, state and skipped keys together: a crash
// can never separate the two.
func (s *session) record() layers.Record {
	p := pack()
	p.b = append(make([]byte, 0, 320+len(s.skipped.keys)*40), p.b...)
	p.number(uint64(s.flavour))
	p.bytes(s.pending)
	p.number(uint64(len(s.openings)))
	for i := range s.openings {
		p.bytes(s.openings[i][:])
	}
	st := &s.state
	p.bytes(st.DHr)
	p.bytes(st.DHs.PrivateKey())
	p.bytes(st.DHs.PublicKey())
	p.bytes(st.RootCh.CK)
	p.bytes(st.SendCh.CK)
	p.number(uint64(st.SendCh.N))
	p.bytes(st.RecvCh.CK)
	p.number(uint64(st.RecvCh.N))
	p.number(uint64(st.PN))
	p.number(uint64(st.KeysCount))
	s.skipped.pack(p)
	return layers.Record{Key: s.key.record(), Value: p.b, Secret: true}
}

// pack writes the keys in their order, each ratchet key once for all that
// follow it.
func (s *skippedKeys) pack(p *packer) {
	p.number(uint64(len(s.keys)))
	last := ""
	for _, id := range s.order {
		if !s.holds(id) {
			continue
		}
		k := s.keys[id.skippedID]
		if id.key == last && last != "" {
			p.bytes(nil)
		} else {
			p.bytes([]byte(id.key))
			last = id.key
		}
		p.number(uint64(id.n))
		p.number(uint64(k.seq))
		p.bytes(k.mk)
	}
}

func decodeSession(key sessionKey, b []byte, random io.Reader) (*session, error) {
	u := unpack(b)
	s := &session{key: key, flavour: flavour(u.number()), pending: u.bytes()}
	for range u.count() {
		var e [33]byte
		u.fixed(e[:])
		s.openings = append(s.openings, e)
	}
	st := doubleratchet.DefaultState(nil)
	st.DHr = u.bytes()
	st.DHs = pair{private: u.bytes(), public: u.bytes()}
	st.RootCh.CK = u.bytes()
	st.SendCh.CK = u.bytes()
	st.SendCh.N = uint32(u.number())
	st.RecvCh.CK = u.bytes()
	st.RecvCh.N = uint32(u.number())
	st.PN = uint32(u.number())
	st.KeysCount = uint(u.number())
	ratchetKey := ""
	for range u.count() {
		if k := u.bytes(); k != nil {
			ratchetKey = string(k)
		}
		n, seq, mk := uint(u.number()), uint(u.number()), u.bytes()
		_ = s.skipped.Put(nil, []byte(ratchetKey), n, mk, seq)
	}
	if err := u.done(); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	s.state = st
	return s, s.configured(random)(&s.state)
}
