package shh

import (
	"crypto/rand"
	"sync"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// settings are what clients have set of the transport. It forgets them when it
// starts anew, as it does after a fault, and is told again.
type settings struct {
	mu  sync.Mutex
	set []transport.Set // of one setting each, in the order of the last times
}

// keep notes one setting, which replaces what was noted of the same.
func (s *settings) keep(c transport.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.set[:0:0]
	for _, o := range s.set {
		if !sameSetting(o, c) {
			kept = append(kept, o)
		}
	}
	s.set = append(kept, c)
}

func sameSetting(a, b transport.Set) bool {
	return (a.MinPoW != nil) == (b.MinPoW != nil) && (a.Bloom != nil) == (b.Bloom != nil) &&
		(a.MaxMessage != nil) == (b.MaxMessage != nil) && (a.Light != nil) == (b.Light != nil)
}

// repeat tells the transport everything. What another one refuses, it does not
// have; the client was answered long ago.
func (s *settings) repeat(send func(transport.Command)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.set {
		c.Ref = layers.Ref(randomRef())
		send(c)
	}
}

func randomRef() (b [32]byte) {
	rand.Read(b[:]) // which never fails
	return b
}
