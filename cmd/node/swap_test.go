package main

import (
	"fmt"
	"testing"
	"time"
)

// swapping replaces the transports of a trio, the relay's first.
type swapping struct {
	trio
	use     string
	process bool
	same    bool // the settings are the same each time
	turn    int
	ports   [3]string
}

// away replaces Whisper by the other transport.
func (s *swapping) away(t *testing.T) {
	s.turn++
	if s.use == "libp2p" {
		s.libp2p(t)
		return
	}
	if s.ports[0] == "" || !s.same {
		s.ports = [3]string{freeUDP(t), freeUDP(t), freeUDP(t)}
	}
	relay, alice, bob := s.ports[0], s.ports[1], s.ports[2]
	s.relay.swap(t, udpSection(s.process, relay, alice, bob))
	s.alice.swap(t, udpSection(s.process, alice, relay))
	s.bob.swap(t, udpSection(s.process, bob, relay))
}

func (s *swapping) libp2p(t *testing.T) {
	section := func(more string) string {
		return fmt.Sprintf("layers: {transport: {use: libp2p, settings: {process: %t, start_timeout: 30s, ttl: %v, config: {listen: [/ip4/127.0.0.1/tcp/0], %s}}}}\n",
			s.process, s.ttl(), more)
	}
	s.relay.swap(t, section("relay: true"))
	addresses := s.relay.residents.plugin("transport").Describe().Addresses
	if len(addresses) == 0 {
		t.Fatal("the relay tells no address")
	}
	for _, p := range []*party{s.alice, s.bob} {
		p.swap(t, section(fmt.Sprintf("peers: [%q]", addresses[0])))
	}
}

// back replaces the other transport by Whisper.
func (s *swapping) back(t *testing.T) {
	s.turn++
	section := func(interest string) string {
		return fmt.Sprintf("layers: {transport: {use: whisper, settings: {interest: %s, ttl: %v}}}\n", interest, s.ttl())
	}
	s.relay.swap(t, section("everything"))
	s.alice.swap(t, section("subscribed"))
	s.bob.swap(t, section("subscribed"))
}

func (s *swapping) ttl() time.Duration {
	if s.same {
		return 2 * time.Minute
	}
	return 2*time.Minute + time.Duration(s.turn)*time.Second
}

// slowEnd is logged if the machine has too much to do to end a process in time.
const slowEnd = "a call of the transport does not return, its goroutine is left behind"

func TestReplacementsInARowLoseNothing(t *testing.T) {
	for _, use := range []string{"udp", "libp2p"} {
		for _, process := range []bool{false, true} {
			for _, same := range []bool{true, false} {
				if process && !same {
					continue // what is different about a process is that it comes back
				}
				t.Run(fmt.Sprintf("%s, process %t, same settings %t", use, process, same), func(t *testing.T) {
					s := swapping{trio: startTrio(t, slowEnd), use: use, process: process, same: same}
					stop := s.chatter(t)
					for range 2 {
						s.away(t)
						s.back(t)
					}
					s.arrived(t, stop())
					for _, p := range []*party{s.relay, s.alice, s.bob} {
						p.healthy(t)
					}
				})
			}
		}
	}
}
