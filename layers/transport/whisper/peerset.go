package whisper

// peerSet is a set of peers by their slots. A node with the default limits has
// no more than the 64 that it takes no memory for.
type peerSet struct {
	low  uint64
	more *[]uint64 // slots from 64 on
}

func (s *peerSet) has(slot int) bool {
	if slot < 64 {
		return s.low>>slot&1 != 0
	}
	slot -= 64
	return s.more != nil && slot/64 < len(*s.more) && (*s.more)[slot/64]>>(slot%64)&1 != 0
}

func (s *peerSet) set(slot int) {
	if slot < 64 {
		s.low |= 1 << slot
		return
	}
	slot -= 64
	if s.more == nil {
		s.more = new([]uint64)
	}
	for slot/64 >= len(*s.more) {
		*s.more = append(*s.more, 0)
	}
	(*s.more)[slot/64] |= 1 << (slot % 64)
}

func (s *peerSet) clear(slot int) {
	if slot < 64 {
		s.low &^= 1 << slot
	} else if slot -= 64; s.more != nil && slot/64 < len(*s.more) {
		(*s.more)[slot/64] &^= 1 << (slot % 64)
	}
}
