package whisper

// farPeers are sets of those peers whose slots are not below 64: for the others,
// and with the default limits there are no more, an entry has room of its own.
type farPeers [][]uint64 // by entry.far; 0 is the empty set

// has reports whether a peer is in the set of x.
func (f farPeers) has(x *entry, slot int) bool {
	if slot < 64 {
		return x.known>>slot&1 != 0
	}
	slot -= 64
	return x.far != 0 && slot/64 < len(f[x.far]) && f[x.far][slot/64]>>(slot%64)&1 != 0
}

func (f *farPeers) set(x *entry, slot int) {
	if slot < 64 {
		x.known |= 1 << slot
		return
	}
	slot -= 64
	if x.far == 0 {
		*f = append(*f, make([][]uint64, 2-min(len(*f), 1))...)
		x.far = uint32(len(*f) - 1)
	}
	set := &(*f)[x.far]
	for slot/64 >= len(*set) {
		*set = append(*set, 0)
	}
	(*set)[slot/64] |= 1 << (slot % 64)
}

func (f farPeers) clear(x *entry, slot int) {
	if slot < 64 {
		x.known &^= 1 << slot
	} else if slot -= 64; x.far != 0 && slot/64 < len(f[x.far]) {
		f[x.far][slot/64] &^= 1 << (slot % 64)
	}
}

// keep drops all sets but those of the given entries.
func (f *farPeers) keep(list []*entry) {
	if len(*f) == 0 {
		return
	}
	kept := farPeers{nil}
	for _, x := range list {
		if x.far != 0 {
			kept = append(kept, (*f)[x.far])
			x.far = uint32(len(kept) - 1)
		}
	}
	*f = kept
}
