package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/interop/rawpeer"
)

// linkTimeout is the time for one link of this program, and settleTimeout for
// what a node was given to be worked off.
const (
	linkTimeout   = 10 * time.Second
	settleTimeout = 30 * time.Second
)

// nothing is the bloom filter of a peer that wants no envelopes.
var nothing = make([]byte, 64)

// link connects this program to a node. A nil bloom wants everything.
func (s *scene) link(n *node, bloom []byte, confirms bool) (*rawpeer.Link, error) {
	ctx, cancel := context.WithTimeout(s.ctx, linkTimeout)
	defer cancel()
	l, err := rawpeer.Dial(ctx, n.enode, rawpeer.StatusOf(0, bloom, confirms))
	if err == nil {
		s.ends = append(s.ends, l.Close)
	}
	return l, err
}

// envelope makes an envelope of random data that begins with number.
func envelope(number uint64, size int, ttl uint32) []byte {
	data := make([]byte, size)
	_, _ = rand.Read(data)
	binary.BigEndian.PutUint64(data, number)
	return rawpeer.NewEnvelope([4]byte(data[size-4:]), data, ttl).Raw()
}

// bundles packs count envelopes into packets of at most per, numbered from 0.
func bundles(count, per, size int, ttl uint32) (payloads [][]byte) {
	for at := 0; at < count; at += per {
		var raws [][]byte
		for i := at; i < min(at+per, count); i++ {
			raws = append(raws, envelope(uint64(i), size, ttl))
		}
		payloads = append(payloads, rawpeer.List(raws...))
	}
	return payloads
}

// numbers reads the numbers of the envelopes in a packet. It is quick, because
// it shares the machine with what is measured.
func numbers(payload []byte, each func(uint64)) error {
	list, _, err := rlp.SplitList(payload)
	for err == nil && len(list) > 0 {
		var item, data []byte
		if item, list, err = rlp.SplitList(list); err != nil {
			break
		}
		for range 4 { // expiry, ttl, topic, data
			if _, data, item, err = rlp.Split(item); err != nil {
				return err
			}
		}
		if len(data) < 8 {
			return fmt.Errorf("envelope with %d bytes of data", len(data))
		}
		each(binary.BigEndian.Uint64(data))
	}
	return err
}

// feed sends packets of envelopes to a node and returns when all are worked
// off. Ours says so by a confirmation of each packet. The peer says nothing, so
// the link ends with a packet it drops the sender for: packets of one link are
// worked off in their order.
func (s *scene) feed(n *node, payloads [][]byte, before func() error) error {
	l, err := s.link(n, nothing, true)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := before(); err != nil {
		return err
	}
	settled := make(chan error, 1)
	go func() { settled <- settle(l, n.ours, len(payloads)) }()
	for _, p := range payloads {
		if err := l.Send(rawpeer.Messages, p); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	if !n.ours {
		if err := l.Send(rawpeer.PoW, []byte{0xc0}); err != nil {
			return err
		}
	}
	return <-settled
}

func settle(l *rawpeer.Link, confirmed bool, packets int) error {
	timer := time.NewTimer(settleTimeout)
	defer timer.Stop()
	for got := 0; !confirmed || got < packets; {
		select {
		case p := <-l.Packets():
			if p.Code == rawpeer.Acknowledged {
				got++
			}
		case <-l.Ended():
			if confirmed {
				return fmt.Errorf("link ended after %d confirmations of %d: %w", got, packets, l.Err())
			}
			return nil
		case <-timer.C:
			return errors.New("what was sent is not worked off")
		}
	}
	return nil
}

// markTopic is the topic of the envelope that ends what trace sends.
var markTopic = [4]byte{0xee, 0xdd, 0xcc, 0}

// trace sends packets of envelopes to a node and returns when all are worked
// off, which is told in the same way by both sides: a last envelope follows on
// the link, and a second link, which wants nothing but its topic, brings it.
// Packets of one link are worked off in their order. If the node is to confirm,
// the confirmations of all packets have come, too.
func (s *scene) trace(n *node, payloads [][]byte, confirms bool, before func() error) error {
	watch, err := s.link(n, rawpeer.BloomOf(markTopic), false)
	if err != nil {
		return err
	}
	defer watch.Close()
	l, err := s.link(n, nothing, confirms)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := before(); err != nil {
		return err
	}
	data := make([]byte, 100)
	_, _ = rand.Read(data)
	mark := binary.BigEndian.Uint64(data)
	last := rawpeer.NewEnvelope(markTopic, data, 600)
	payloads = append(payloads[:len(payloads):len(payloads)], rawpeer.List(last.Raw()))
	confirmations := 0
	if confirms {
		confirmations = len(payloads)
	}
	settled := make(chan error, 1)
	go func() { settled <- arrives(watch, l, mark, confirmations) }()
	for _, p := range payloads {
		if err := l.Send(rawpeer.Messages, p); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	if err := <-settled; err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// arrives waits until watch brings the envelope with this number and l has
// brought all confirmations. It wants none that was not asked for.
func arrives(watch, l *rawpeer.Link, mark uint64, confirmations int) error {
	timer := time.NewTimer(settleTimeout)
	defer timer.Stop()
	came, got := false, 0
	for !came || got < confirmations {
		select {
		case p := <-watch.Packets():
			if p.Code != rawpeer.Messages {
				continue
			}
			if err := numbers(p.Payload, func(n uint64) { came = came || n == mark }); err != nil {
				return err
			}
		case p := <-l.Packets():
			if p.Code != rawpeer.Acknowledged {
				continue
			}
			if got++; got > confirmations {
				return fmt.Errorf("confirmation %d of %d", got, confirmations)
			}
		case <-watch.Ended():
			return fmt.Errorf("link that watches ended: %w", watch.Err())
		case <-l.Ended():
			return fmt.Errorf("link ended after %d confirmations of %d: %w", got, confirmations, l.Err())
		case <-timer.C:
			return fmt.Errorf("what was sent is not worked off, %d confirmations of %d", got, confirmations)
		}
	}
	return nil
}
