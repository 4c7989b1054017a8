package actors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stratanode/strata/layers"
)

// maxQuarantined bounds the inputs kept per layer; the oldest go first.
const maxQuarantined = 1000

// maxReason bounds the kept text of a panic, in bytes.
const maxReason = 4 << 10

var errQuarantined = errors.New("quarantined: this input has broken the layer before")

// Quarantined is what is kept of an input that broke a layer.
type Quarantined struct {
	Layer    string    `json:"layer"`
	Hash     string    `json:"hash"` // SHA-256 of type and identity, in hex
	Type     string    `json:"type"`
	Identity string    `json:"identity,omitempty"` // in hex, where the input has one
	Reason   string    `json:"reason"`             // what the layer panicked with
	At       time.Time `json:"at"`
}

// quarantine keeps the hashes of inputs that broke a layer, over restarts too.
// The usual case, none, costs one comparison per step.
type quarantine struct {
	records Records
	place   *place
	held    map[[32]byte]time.Time
}

// openQuarantine reads what is kept for a layer. What cannot be read is as good
// as not kept.
func openQuarantine(records Records, p *place) *quarantine {
	q := &quarantine{records: records, place: p, held: map[[32]byte]time.Time{}}
	for _, e := range readQuarantine(records) {
		var h [32]byte
		if n, err := hex.Decode(h[:], []byte(e.Hash)); err == nil && n == len(h) {
			q.held[h] = e.At
		}
	}
	p.held.Store(int64(len(q.held)))
	return q
}

func readQuarantine(records Records) []Quarantined {
	var all []Quarantined
	for r, err := range records.Scan("", "", false) {
		if err != nil {
			break
		}
		var e Quarantined
		if json.Unmarshal(r.Value, &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// holds reports whether input is to be refused unread.
func (q *quarantine) holds(input any) bool {
	if len(q.held) == 0 {
		return false
	}
	_, held := q.held[hashOf(input)]
	return held
}

// add keeps an input that broke the layer.
func (q *quarantine) add(input, reason any) {
	h := hashOf(input)
	e := Quarantined{
		Layer: q.place.name, Hash: hex.EncodeToString(h[:]), Type: typeName(input),
		Identity: hex.EncodeToString(identityOf(input)), Reason: fmt.Sprint(reason), At: now(),
	}
	e.Reason = e.Reason[:min(len(e.Reason), maxReason)]
	value, err := json.Marshal(e)
	if err != nil {
		return
	}
	records := []layers.Record{{Key: e.Hash, Value: value}}
	if len(q.held) >= maxQuarantined {
		old := q.oldest()
		delete(q.held, old)
		records = append(records, layers.Record{Key: hex.EncodeToString(old[:])})
	}
	q.held[h] = e.At
	q.place.held.Store(int64(len(q.held)))
	// If this fails the input is refused only until the next restart, which it
	// would cause again: no worse than without a quarantine.
	_ = q.records.Commit(records)
}

func (q *quarantine) oldest() [32]byte {
	var hash [32]byte
	var at time.Time
	for h, t := range q.held {
		if at.IsZero() || t.Before(at) {
			hash, at = h, t
		}
	}
	return hash
}

// Quarantined lists what the residents of the stack keep.
func (s *Stack) Quarantined() []Quarantined {
	var all []Quarantined
	for _, p := range s.order {
		all = append(all, readQuarantine(s.store.Namespace("quarantine/"+p.name))...)
	}
	return all
}

// hashOf names an input by its type and identity, or its whole value if it has
// no identity.
func hashOf(input any) [32]byte {
	id := identityOf(input)
	if id == nil {
		id = fmt.Appendf(nil, "%+v", input)
	}
	return sha256.Sum256(append([]byte(typeName(input)+"\x00"), id...))
}

func identityOf(m any) []byte {
	if i, ok := m.(layers.Identified); ok {
		return i.Identity()
	}
	return nil
}

// typeName is the name of a message in logs and traces.
func typeName(m any) string {
	if m == nil {
		return "wake"
	}
	return fmt.Sprintf("%T", m)
}

// isStorage reports whether a panic came from the store.
func isStorage(reason any) bool {
	err, ok := reason.(error)
	return ok && errors.Is(err, errStorage)
}
