package ratchet

import (
	"slices"

	doubleratchet "github.com/status-im/doubleratchet"
)

// skippedID names a message key within a session.
type skippedID struct {
	key string // the ratchet key it belongs to, as on the wire
	n   uint
}

type skippedKey struct {
	mk  doubleratchet.Key
	seq uint // the number of the key among all of the session
}

// skippedKeys implements doubleratchet.KeysStorage for one session, in memory.
// Every operation takes time in proportion to what it changes.
type skippedKeys struct {
	keys  map[skippedID]skippedKey
	order []skippedName // by seq, ascending; may name keys that are gone
}

// skippedName is where a key has its place in the order. A key that was deleted
// and put again has another seq, so its old name is that of a key that is gone.
type skippedName struct {
	skippedID
	seq uint
}

// holds reports whether the key with that name is still there.
func (s *skippedKeys) holds(name skippedName) bool {
	k, known := s.keys[name.skippedID]
	return known && k.seq == name.seq
}

// Get implements doubleratchet.KeysStorage.
func (s *skippedKeys) Get(key doubleratchet.Key, n uint) (doubleratchet.Key, bool, error) {
	k, ok := s.keys[skippedID{string(key), n}]
	return k.mk, ok, nil
}

// Put implements doubleratchet.KeysStorage. Keys are put in the order of seq.
func (s *skippedKeys) Put(_ []byte, key doubleratchet.Key, n uint, mk doubleratchet.Key, seq uint) error {
	id := skippedID{string(key), n}
	if s.keys == nil {
		s.keys = map[skippedID]skippedKey{}
	}
	s.keys[id] = skippedKey{mk, seq}
	s.order = append(s.order, skippedName{id, seq})
	s.compact()
	return nil
}

// DeleteMk implements doubleratchet.KeysStorage.
func (s *skippedKeys) DeleteMk(key doubleratchet.Key, n uint) error {
	id := skippedID{string(key), n}
	if _, known := s.keys[id]; !known {
		return nil
	}
	delete(s.keys, id)
	if last := len(s.order) - 1; s.order[last].skippedID == id { // the common case: in order
		s.order = s.order[:last]
	}
	s.compact()
	return nil
}

// TruncateMks implements doubleratchet.KeysStorage: the oldest go first.
func (s *skippedKeys) TruncateMks(_ []byte, most int) error {
	for len(s.keys) > most {
		s.dropOldest()
	}
	return nil
}

// DeleteOldMks implements doubleratchet.KeysStorage.
func (s *skippedKeys) DeleteOldMks(_ []byte, until uint) error {
	for len(s.order) > 0 {
		if s.holds(s.order[0]) && s.order[0].seq > until {
			break
		}
		s.dropOldest()
	}
	return nil
}

// Count implements doubleratchet.KeysStorage. The library never calls it.
func (s *skippedKeys) Count(key doubleratchet.Key) (uint, error) {
	count := uint(0)
	for id := range s.keys {
		if id.key == string(key) {
			count++
		}
	}
	return count, nil
}

// All implements doubleratchet.KeysStorage. The library never calls it.
func (s *skippedKeys) All() (map[string]map[uint]doubleratchet.Key, error) {
	all := map[string]map[uint]doubleratchet.Key{}
	for id, k := range s.keys {
		if all[id.key] == nil {
			all[id.key] = map[uint]doubleratchet.Key{}
		}
		all[id.key][id.n] = k.mk
	}
	return all, nil
}

func (s *skippedKeys) dropOldest() {
	if s.holds(s.order[0]) {
		delete(s.keys, s.order[0].skippedID)
	}
	s.order = s.order[1:]
}

// compact keeps the names of gone keys below half of the order.
func (s *skippedKeys) compact() {
	if len(s.order) > 2*len(s.keys)+16 {
		s.order = slices.DeleteFunc(s.order, func(name skippedName) bool { return !s.holds(name) })
	}
}
