package mvds

import (
	"container/heap"
	"time"
)

// timer is a place in the schedule. Exactly one of message and peer is set.
type timer struct {
	at      time.Time
	pos     int // index in the heap plus one; zero: not in it
	message *message
	peer    *peer // acknowledgements are to be sent
}

// schedule is a heap of timers, the next one first.
type schedule []*timer

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].pos, s[j].pos = i+1, j+1
}

// Push implements heap.Interface.
func (s *schedule) Push(x any) {
	t := x.(*timer)
	*s = append(*s, t)
	t.pos = len(*s)
}

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	old := *s
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	t.pos = 0
	return t
}

func (s *schedule) arm(t *timer, at time.Time) {
	t.at = at
	if t.pos == 0 {
		heap.Push(s, t)
	} else {
		heap.Fix(s, t.pos-1)
	}
}

func (s *schedule) disarm(t *timer) {
	if t.pos > 0 {
		heap.Remove(s, t.pos-1)
	}
}

// due takes the next timer out if its time has come.
func (s *schedule) due(now time.Time) *timer {
	if len(*s) == 0 || (*s)[0].at.After(now) {
		return nil
	}
	return heap.Pop(s).(*timer)
}

// firstWait is how long a first transmission waits for its acknowledgement.
func (n *Node) firstWait() time.Duration {
	return min(max(n.cfg.RetransmitAfter, 2*n.info.Latency), n.cfg.RetransmitMax)
}

// wait is how long the given transmission, counted from 1, waits for its
// acknowledgement. It depends on nothing but the count and the configuration,
// so the schedule of an old node is that of a young one. A quarter is left to
// chance, so that nodes that lost the network together do not return together.
func (n *Node) wait(attempt int) time.Duration {
	d := n.plainWait(attempt)
	var b [1]byte
	if n.random != nil {
		if _, err := n.random.Read(b[:]); err != nil {
			b[0] = 0 // without chance the schedule is still right
		}
	}
	return d + d/4*time.Duration(b[0])/256
}

// plainWait is wait without chance.
func (n *Node) plainWait(attempt int) time.Duration {
	d := n.firstWait()
	for i := 1; i < attempt && d < n.cfg.RetransmitMax; i++ {
		d *= 2
	}
	return min(d, n.cfg.RetransmitMax)
}

// patience is how long a datagram may be without an answer from below before
// it is taken for forgotten there.
func (n *Node) patience() time.Duration {
	return max(n.info.MaxTTL, n.cfg.RetransmitMax) + 2*n.firstWait()
}

// expiry is when m is given up.
func (n *Node) expiry(m *message) time.Time { return m.created.Add(n.cfg.ExpireAfter) }

// arm makes m due at the given time, or when it expires if that is earlier.
func (n *Node) arm(m *message, at time.Time) {
	if e := n.expiry(m); at.After(e) {
		at = e
	}
	n.schedule.arm(&m.timer, at)
}

// alarmed adds to out when this node wants to be woken, if that has changed.
func (n *Node) alarmed(out output) output {
	var o output
	if len(n.schedule) > 0 {
		o.WakeAt(n.schedule[0].at)
	}
	if d := n.unanswered.oldest(); d != nil {
		o.WakeAt(d.at.Add(n.patience()))
	}
	o.WakeAt(n.seen.sweepAt())
	o.WakeAt(n.done.sweepAt())
	if !o.Wake.Equal(n.alarm) {
		n.alarm = o.Wake
		out.Wake = o.Wake
	}
	return out
}
