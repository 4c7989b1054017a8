package whisper

// peerSet is a set of peers by their slots.
type peerSet struct {
	low  [2]uint64
	more *[]uint64 // slots from 128 on
}

func (s *peerSet) has(slot int) bool {
	if slot < 128 {
		return s.low[slot/64]>>(slot%64)&1 != 0
	}
	slot -= 128
	return s.more != nil && slot/64 < len(*s.more) && (*s.more)[slot/64]>>(slot%64)&1 != 0
}

func (s *peerSet) set(slot int) {
	if slot < 128 {
		s.low[slot/64] |= 1 << (slot % 64)
		return
	}
	slot -= 128
	if s.more == nil {
		s.more = new([]uint64)
	}
	for slot/64 >= len(*s.more) {
		*s.more = append(*s.more, 0)
	}
	(*s.more)[slot/64] |= 1 << (slot % 64)
}

func (s *peerSet) clear(slot int) {
	if slot < 128 {
		s.low[slot/64] &^= 1 << (slot % 64)
	} else if slot -= 128; s.more != nil && slot/64 < len(*s.more) {
		(*s.more)[slot/64] &^= 1 << (slot % 64)
	}
}
