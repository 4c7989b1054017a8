package devp2p

import (
	"github.com/ethereum/go-ethereum/p2p"
)

// cause is why a link ended; links are counted by it.
type cause int

const (
	none        cause = iota
	asked             // by Drop
	removed           // by RemovePeer
	tooLarge          // a packet is longer than the codec's limit
	badGreeting       // the first packet is no greeting
	noGreeting        // it did not come in time
	notGreeted        // our own greeting was not set in time
	badPacket         // the codec refused a packet
	broke             // the codec panicked
	writeFailed       // or took too long
	secondSend        // a fault of the sender above
	stopping          // the edge closes
	closed            // by the peer or the network
	causes
)

var causeNames = [causes]string{
	none:        "none",
	asked:       "asked",
	removed:     "removed",
	tooLarge:    "packet_too_large",
	badGreeting: "bad_greeting",
	noGreeting:  "no_greeting",
	notGreeted:  "not_ready",
	badPacket:   "bad_packet",
	broke:       "codec_broke",
	writeFailed: "write_failed",
	secondSend:  "second_send",
	stopping:    "stopping",
	closed:      "closed",
}

// String returns the cause as it is called in Stats.
func (c cause) String() string { return causeNames[c] }

// drop ends the link from outside its reader. Only the first call counts.
func (l *link) drop(c cause, reason string, disc p2p.DiscReason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stage == ended || !l.blame(c, reason, disc) {
		return
	}
	l.cancel()
	// Disconnect waits until the server takes notice. The reader cannot have
	// returned, so Close still waits for this goroutine.
	l.edge.wg.Go(func() { l.peer.Disconnect(disc) })
}

// fail ends the link from its reader, which returns the error to the server.
func (l *link) fail(c cause, disc p2p.DiscReason, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blame(c, reason, disc)
	return l.disc
}

// stopped is what the reader returns when its context has ended.
func (l *link) stopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == none {
		return p2p.DiscQuitting
	}
	return l.disc
}

// blame notes why the link ends, once. mu is held.
func (l *link) blame(c cause, reason string, disc p2p.DiscReason) bool {
	if l.cause != none {
		return false
	}
	l.cause, l.reason, l.disc = c, reason, disc
	return true
}
