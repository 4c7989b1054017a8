package status

import "time"

// The clock of a chat is a Lamport clock in milliseconds that follows the wall
// clock (Status 6/PAYLOADS, clock vs timestamp). Receivers refuse a message that
// is too far ahead, so somebody who writes just below that limit could make
// everybody's next message be refused. Hence three limits, each below the next:
// a received message raises the clock only so far, an own message is written
// with a little more, and both stay below what others accept.
const (
	maxClockRaise = 90_000  // ms ahead of now; above the 60 s by which clients of 2019 run ahead
	maxClockSaid  = 110_000 // ms ahead of now; leaves 10 s for skew and for whole seconds in envelopes
	maxClockRead  = 120_000 // ms ahead of now; the limit of the clients of 2020
)

// milliseconds returns t as a clock counts it. Times before 1970 count as 0.
func milliseconds(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// nextClock returns the clock of a message said now in a chat whose clock is
// last: now, or one more than last if that is not later. It never returns 0.
// After the wall clock was set back by more than the limit it returns the limit
// and does not grow until now has caught up, because others would refuse more.
func nextClock(last uint64, now time.Time) uint64 {
	ms := max(milliseconds(now), 1)
	if last < ms {
		return ms
	}
	return min(last+1, ms+maxClockSaid)
}

// raisedClock returns the clock of a chat after a message of somebody else.
func raisedClock(last, seen uint64, now time.Time) uint64 {
	return max(last, min(seen, milliseconds(now)+maxClockRaise))
}
