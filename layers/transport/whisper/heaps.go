package whisper

// dueHeap has the envelope that expires first on top. Entries do not know their
// places in either heap: what leaves by another way stays until it is on top or
// the heap is cleared.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(*entry)) }
func (h *dueHeap) Pop() any          { return pop((*[]*entry)(h)) }

func (x *entry) before(y *entry) bool {
	if x.expiry != y.expiry {
		return x.expiry < y.expiry
	}
	return x.seq < y.seq
}

// worthHeap has the envelope on top that is worth least: that with the least
// proof of work per byte and second, the oldest of those. Own ones are not evicted.
type worthHeap []*entry

func (h worthHeap) Len() int { return len(h) }
func (h worthHeap) Less(i, j int) bool {
	if h[i].pow != h[j].pow {
		return h[i].pow < h[j].pow
	}
	return h[i].seq < h[j].seq
}

func (h worthHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *worthHeap) Push(x any)   { *h = append(*h, x.(*entry)) }
func (h *worthHeap) Pop() any     { return pop((*[]*entry)(h)) }

func pop(h *[]*entry) *entry {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return x
}
