package whisper

import "encoding/binary"

const (
	// blockSize is how much memory is taken at once for pooled envelopes, in bytes.
	blockSize = 64 << 10

	// aloneFrom is the length from which an envelope has a block to itself, in
	// bytes. Shorter ones leave no more than this at the end of a block.
	aloneFrom = blockSize / 8

	// recordHead is what stands before an envelope in its block, in bytes: its
	// position in the order of arrival, and its length.
	recordHead = 8 + 4

	// clutter is which part of the memory, one in so many, may be taken up by
	// envelopes that have left, besides one block.
	clutter = 16
)

// spot is where a pooled envelope is kept. The zero value is nowhere.
type spot struct{ block, at uint32 }

// block holds envelopes one after the other. It is only appended to and never
// used again, so that what was read from it stays as it was.
type block struct {
	bytes []byte
	dead  int // bytes of what was dropped
}

// blocks keep the RLP of pooled envelopes, in few and large pieces: the collector
// has little to look at, and nothing is lost to the size classes of the allocator.
type blocks struct {
	list []block  // by their numbers, with gaps; 0 is none
	free []uint32 // the gaps
	open uint32   // the one that is being filled, or 0
	used int      // bytes of all that was put
	dead int      // bytes of that which was dropped
}

// put copies an envelope.
func (b *blocks) put(seq uint64, raw []byte) spot {
	n := recordHead + len(raw)
	i := b.open
	switch {
	case n > aloneFrom:
		i = b.add(n)
	case i == 0 || len(b.list[i].bytes)+n > cap(b.list[i].bytes):
		b.open = b.add(blockSize)
		if i != 0 {
			b.releaseIfDead(i)
		}
		i = b.open
	}
	k := &b.list[i]
	s := spot{i, uint32(len(k.bytes))}
	k.bytes = binary.LittleEndian.AppendUint64(k.bytes, seq)
	k.bytes = binary.LittleEndian.AppendUint32(k.bytes, uint32(len(raw)))
	k.bytes = append(k.bytes, raw...)
	b.used += n
	return s
}

func (b *blocks) add(size int) uint32 {
	k := block{bytes: make([]byte, 0, size)}
	if n := len(b.free) - 1; n >= 0 {
		i := b.free[n]
		b.free = b.free[:n]
		b.list[i] = k
		return i
	}
	if len(b.list) == 0 {
		b.list = append(b.list, block{})
	}
	b.list = append(b.list, k)
	return uint32(len(b.list) - 1)
}

// raw returns what was put. It must not be changed, and who keeps it for long
// keeps the block.
func (b *blocks) raw(s spot) []byte {
	r := b.list[s.block].bytes[s.at:]
	n := recordHead + int(binary.LittleEndian.Uint32(r[8:]))
	return r[recordHead:n:n]
}

func (b *blocks) size(s spot) int {
	return int(binary.LittleEndian.Uint32(b.list[s.block].bytes[s.at+8:]))
}

// drop gives up an envelope. Its memory is free when the whole block is.
func (b *blocks) drop(s spot) {
	n := recordHead + b.size(s)
	b.list[s.block].dead += n
	b.dead += n
	if s.block != b.open {
		b.releaseIfDead(s.block)
	}
}

func (b *blocks) releaseIfDead(i uint32) {
	if k := &b.list[i]; k.dead == len(k.bytes) {
		b.release(i)
	}
}

func (b *blocks) release(i uint32) {
	k := &b.list[i]
	b.used -= len(k.bytes)
	b.dead -= k.dead
	*k = block{}
	b.free = append(b.free, i)
}

// worst is the block to be cleared next, or 0 if there is little to gain: that
// with the most bytes of what was dropped.
func (b *blocks) worst() (worst uint32) {
	if b.dead <= b.used/clutter+blockSize {
		return 0
	}
	for i := range b.list {
		if i := uint32(i); i != b.open && b.list[i].dead > b.list[worst].dead {
			worst = i
		}
	}
	return worst
}

// clear releases a block. What is in use of it is put elsewhere: owner returns
// where the spot of an envelope is noted, or nil if that has left.
func (b *blocks) clear(i uint32, owner func(seq uint64) *spot) {
	k := b.list[i]
	for at := uint32(0); int(at) < len(k.bytes); {
		var (
			s   = spot{i, at}
			raw = b.raw(s)
			seq = binary.LittleEndian.Uint64(k.bytes[at:])
		)
		if o := owner(seq); o != nil && *o == s {
			*o = b.put(seq, raw)
		}
		at += uint32(recordHead + len(raw))
	}
	b.release(i)
}
