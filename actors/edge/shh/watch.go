package shh

import (
	"fmt"
	"sync"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

const (
	// maxAsked is how many topics are asked for until the transport starts anew,
	// which remembers them all. Far below it every bloom filter is full.
	maxAsked = 1 << 16

	// askEvery is the least time between two Watch. Each makes the transport
	// report what it holds, and a client may make filters in a loop.
	askEvery = 250 * time.Millisecond
)

// watch tells the transport which topics the filters ask for, so that its peers
// send their envelopes. What was asked for once stays until the transport starts
// anew, as in go-ethereum.
type watch struct {
	send   func(transport.Command)
	topics func() []transport.Topic // of the filters there are

	mu    sync.Mutex
	asked map[transport.Topic]bool // since the transport started
	at    time.Time                // when it was told
	timer *time.Timer              // set: it will be told of the newest ones
	open  bool
}

// begin and end bound the time in which anything is sent.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = true
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = false
	w.cancel()
}

func (w *watch) cancel() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// repeat asks for all topics, after a Ready. Without any it asks for what the
// transport takes in anyway.
func (w *watch) repeat() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = nil
	if w.open {
		w.ask()
	}
}

// room reports that a filter would ask for too many topics.
func (w *watch) room(of []transport.Topic) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fresh := w.fresh(of); len(w.asked)+fresh > maxAsked {
		return fmt.Errorf("shh: %d topics were asked for already, %d more are too many", len(w.asked), fresh)
	}
	return nil
}

// grow asks for all topics if there are new ones among those of a filter that was
// just put in: at once, or when enough time has passed.
func (w *watch) grow(of []transport.Topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.open || w.timer != nil || w.fresh(of) == 0 {
		return
	}
	if wait := askEvery - time.Since(w.at); wait > 0 {
		w.timer = time.AfterFunc(wait, w.due)
		return
	}
	w.ask()
}

// fresh counts the topics that were not asked for. The lock must be held.
func (w *watch) fresh(of []transport.Topic) (n int) {
	for _, t := range of {
		if !w.asked[t] {
			n++
		}
	}
	return n
}

// due is called by the timer.
func (w *watch) due() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open && w.timer != nil {
		w.ask()
	}
}

// ask asks for the topics of the filters there are now. The lock must be held.
func (w *watch) ask() {
	w.cancel()
	w.at = time.Now()
	topics := w.topics()
	if w.asked == nil {
		w.asked = make(map[transport.Topic]bool, len(topics))
	}
	for _, t := range topics {
		w.asked[t] = true
	}
	w.send(transport.Watch{Topics: topics})
}
