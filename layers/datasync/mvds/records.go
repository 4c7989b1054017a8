package mvds

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/secure"
)

// The records of this layer, by the beginning of their keys:
//
//	out/<message id>          a queued message, written once
//	try/<message id>          how often it was sent, and when it is due again
//	done/<ref>                the result of a message, for a bounded time
//	held/<sequence>           a message reported upwards and not yet taken
//	seen/<peer>/<message id>  when a message was taken, for a bounded time
//
// Ids and keys are in hex. Every value begins with recordVersion.
const (
	keyOut  = "out/"
	keyTry  = "try/"
	keyDone = "done/"
	keyHeld = "held/"
	keySeen = "seen/"

	recordVersion = 1
)

func outKey(id datasync.MessageID) string { return keyOut + hex.EncodeToString(id[:]) }
func tryKey(id datasync.MessageID) string { return keyTry + hex.EncodeToString(id[:]) }
func doneKey(ref layers.Ref) string       { return keyDone + hex.EncodeToString(ref[:]) }
func heldKey(sequence uint64) string      { return fmt.Sprintf("%s%016x", keyHeld, sequence) }

func seenKey(peer compressed, id datasync.MessageID) string {
	return keySeen + hex.EncodeToString(peer[:]) + "/" + hex.EncodeToString(id[:])
}

func (m *message) record() layers.Record {
	b := make([]byte, 0, 1+32+65+8+8+12+len(m.body))
	b = append(b, recordVersion)
	b = append(b, m.ref[:]...)
	b = append(b, m.peer.key[:]...)
	b = appendTime(b, m.created)
	b = binary.BigEndian.AppendUint64(b, uint64(m.timestamp))
	b = binary.BigEndian.AppendUint32(b, uint32(m.attempts))
	b = appendTime(b, m.retryAt)
	return layers.Record{Key: outKey(m.id), Value: append(b, m.body...)}
}

func (m *message) tryRecord() layers.Record {
	b := binary.BigEndian.AppendUint32([]byte{recordVersion}, uint32(m.attempts))
	b = appendTime(b, m.retryAt)
	return layers.Record{Key: tryKey(m.id), Value: append(b, byte(m.state))}
}

func (f *finished) record() layers.Record {
	b := append([]byte{recordVersion}, f.id[:]...)
	b = appendTime(b, f.at)
	b = append(b, byte(f.state))
	return layers.Record{Key: doneKey(f.ref), Value: append(b, f.reason...)}
}

func (h *held) record() layers.Record {
	b := append([]byte{recordVersion}, h.received.ID[:]...)
	b = append(b, h.received.From[:]...)
	b = append(b, byte(h.received.Protection))
	b = binary.BigEndian.AppendUint64(b, uint64(h.received.Sent.Unix()))
	return layers.Record{Key: heldKey(h.sequence), Value: append(b, h.received.Body...)}
}

func seenRecord(peer compressed, s seenID) layers.Record {
	return layers.Record{Key: seenKey(peer, s.id), Value: appendTime([]byte{recordVersion}, s.at)}
}

// load builds the state from what an earlier life saved. A record that cannot
// be read panics: going on would lose it silently.
func (n *Node) load(saved layers.Saved) {
	scan := func(prefix string, read func(key string, r *reader)) {
		from, to := layers.Prefix(prefix)
		for k, v := range saved.Scan(from, to, false) {
			r := &reader{rest: v}
			if r.byte() != recordVersion {
				r.bad = true
			} else {
				read(k[len(prefix):], r)
			}
			if r.bad {
				panic(fmt.Sprintf("mvds: record %q cannot be read", k))
			}
		}
	}
	scan(keyOut, n.loadMessage)
	scan(keyTry, n.loadTry)
	var results []*finished
	scan(keyDone, func(key string, r *reader) {
		f := &finished{ref: layers.Ref(r.hex(key))}
		f.id, f.at, f.state = datasync.MessageID(r.take(32)), r.time(), state(r.byte())
		f.reason = string(r.rest)
		results = append(results, f)
	})
	n.done.load(results)
	scan(keyHeld, n.loadHeld)
	var taken []seenLoaded
	scan(keySeen, func(key string, r *reader) {
		if len(key) != 66+1+64 {
			r.bad = true
			return
		}
		peer, _ := hex.DecodeString(key[:66])
		if len(peer) != 33 {
			r.bad = true
			return
		}
		taken = append(taken, seenLoaded{compressed(peer), seenID{datasync.MessageID(r.hex(key[67:])), r.time()}})
	})
	n.seen.load(taken)
}

func (n *Node) loadMessage(key string, r *reader) {
	m := &message{id: datasync.MessageID(r.hex(key))}
	m.ref = layers.Ref(r.take(32))
	peer := r.publicKey()
	m.created = r.time()
	m.timestamp = int64(r.uint64())
	m.attempts = int(r.uint32())
	m.retryAt = r.time()
	m.body = r.rest
	if r.bad {
		return
	}
	m.peer, m.saved = n.peerOf(peer), true
	n.enter(m)
}

func (n *Node) loadTry(key string, r *reader) {
	m := n.messages[datasync.MessageID(r.hex(key))]
	attempts, at, st := r.uint32(), r.time(), state(r.byte())
	if m == nil {
		r.bad = true
		return
	}
	m.attempts, m.retryAt, m.state = int(attempts), at, st // open arms it
}

func (n *Node) loadHeld(key string, r *reader) {
	h := &held{}
	if b, err := hex.DecodeString(key); err != nil || len(b) != 8 {
		r.bad = true
	} else {
		h.sequence = binary.BigEndian.Uint64(b)
	}
	h.received.ID = datasync.MessageID(r.take(32))
	h.received.From = r.publicKey()
	h.received.Protection = secure.Protection(r.byte())
	h.received.Sent = time.Unix(int64(r.uint64()), 0)
	h.received.Body = r.rest
	if r.bad {
		return
	}
	h.peer = n.peerOf(h.received.From)
	n.hold(h)
	n.sequence = h.sequence + 1
}

// reader takes a record apart. After a fault it is bad and gives zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.bad = true
		r.rest = nil
		return make([]byte, n)
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte      { return r.take(1)[0] }
func (r *reader) uint32() uint32  { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) time() time.Time { return time.Unix(0, int64(r.uint64())) }

func (r *reader) publicKey() layers.PublicKey {
	k, err := layers.ParsePublicKey(r.take(65))
	r.bad = r.bad || err != nil
	return k
}

func (r *reader) hex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		r.bad = true
		return make([]byte, 32)
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}
