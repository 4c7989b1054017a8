package mvds

import "time"

// What a stranger, a silent receiver or a wrong transport can make this node
// keep or send. None of it is a matter of taste for an operator, so none of it
// is in Config.
const (
	// A payload of a 2019 client holds everything due to a peer without a
	// limit; more than this in one list is not looked at and comes again.
	maxPayloadIDs      = 8192
	maxPayloadMessages = 1024

	// Messages reported upwards and not yet taken. A dropped one is not
	// acknowledged, so its sender offers it again.
	maxHeld          = 8192
	maxHeldBytes     = 64 << 20
	maxHeldPeer      = 1024
	maxHeldPeerBytes = 8 << 20 // several of the largest envelopes

	// Ids of taken messages, to know a repetition. The time is twice the usual
	// expiry of a sender.
	seenFor     = 14 * 24 * time.Hour
	maxSeenPeer = 10_000
	maxSeen     = 200_000 // some 20 MB
	maxSwept    = 512     // records removed in one step, to keep a commit short

	// Results that the layer above may have missed in a crash.
	doneFor = 7 * 24 * time.Hour
	maxDone = 8192

	// Peers without anything pending, of whom only rates are remembered.
	maxPeers = 4096

	// Bodies of all queued messages.
	maxQueuedBytes = 256 << 20

	// Datagrams and broadcasts not yet answered from below. The oldest datagram
	// is forgotten beyond it, and its messages become due again.
	maxUnanswered      = 8192
	maxUnansweredBytes = 64 << 20
	maxBroadcasts      = 1024
	maxBroadcastBytes  = 64 << 20

	// A peer's datagrams that have not left the node yet. With this many, what
	// comes next is gathered into a larger one.
	maxUnaccepted = 4

	// What is gathered in one datagram: proof of work grows with the size, so
	// that beyond this nothing is gained.
	maxGathered         = 64 << 10
	maxGatheredMessages = 256

	ackBatch        = 64  // acknowledgements that do not wait for more
	maxAcksWaiting  = 256 // per peer, while nothing can be sent
	maxRequestsPeer = 64  // requests waiting, per peer

	// Answers that cost the asker nothing new: acknowledgements of repetitions
	// and requests for what is offered. Burst and refill per second.
	peerAnswers, peerAnswersRate = 512, 2
	allAnswers, allAnswersRate   = 4096, 50

	// A message asked for is sent again at most this often.
	requestGap = time.Second

	// A peer heard of after this many first waits is back, and gets what waits
	// for him within hurryWithin, some messages at a time.
	silentWaits = 3
	hurryWithin = 200 * time.Millisecond
	hurryEvery  = time.Second
	maxHurried  = 128

	// movedAfter leaves an acknowledgement that is under way the time to come
	// before its message is sent again because the transport was replaced.
	movedAfter = 300 * time.Millisecond

	maxDuePerWake = 4096 // timers served in one step
)

// bucket is a token bucket; the zero value is full.
type bucket struct {
	used float64
	at   time.Time
}

// take spends a token and reports whether there was one.
func (b *bucket) take(now time.Time, burst, perSecond float64) bool {
	if passed := now.Sub(b.at); passed > 0 {
		b.used = max(0, b.used-passed.Seconds()*perSecond)
		b.at = now
	}
	if b.used+1 > burst {
		return false
	}
	b.used++
	return true
}
