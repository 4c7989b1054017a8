package shh

import (
	"sync"

	"github.com/stratanode/strata/layers/transport"
)

// watch tells the transport which topics the filters ask for, so that its peers
// send their envelopes. What was asked for once stays until the transport starts
// anew, as in go-ethereum.
type watch struct {
	mu    sync.Mutex
	known map[transport.Topic]bool
}

// repeat asks for all topics, after a Ready. Without any it asks for what the
// transport takes in anyway.
func (w *watch) repeat(topics func() []transport.Topic, send func(transport.Command)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = nil
	w.ask(topics(), send)
}

// grow asks for all topics if there are new ones among those of a filter that was
// just put in.
func (w *watch) grow(of []transport.Topic, topics func() []transport.Topic, send func(transport.Command)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range of {
		if !w.known[t] {
			w.ask(topics(), send)
			return
		}
	}
}

func (w *watch) ask(topics []transport.Topic, send func(transport.Command)) {
	w.known = make(map[transport.Topic]bool, len(topics))
	for _, t := range topics {
		w.known[t] = true
	}
	send(transport.Watch{Topics: topics})
}
