package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// The flood: what honest peers do, and what the others do meanwhile.
const (
	floodTakes   = 30 * time.Second
	honestRate   = 50 // envelopes a second, each in a packet of its own
	hostileTimes = 10 // as many packets as the honest peer
	askers       = 100
	floodPrefill = 20_000    // envelopes in the archive before it begins
	floodBatch   = 100       // of them in a packet
	floodMemory  = 512 << 20 // as configs/mailserver.yaml has it
	floodSlack   = 60        // goroutines: connections that come and go, connections of the API
)

// mailFloodText is the configuration of the mail server that is flooded, with a
// cap on its memory.
const mailFloodText = `
process: {memory_bytes: %d}
`

const mailFloodTransport = `  overlay: {use: devp2p, settings: {listen: "127.0.0.1:0", max_peers: 200}}
  transport: {use: whisper, settings: {interest: everything}}
  archive: {use: sqlite}
`

// stamped returns an envelope with a proof of work and a number in its data.
func stamped(n uint64, size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	binary.BigEndian.PutUint64(data, n)
	var topic transport.Topic
	rand.Read(topic[:])
	const ttl = 60
	search := whisper.NewSearch(whisper.Draft{Expiry: uint32(time.Now().Unix()) + ttl, TTL: ttl, Topic: topic, Data: data}, 0.002)
	nonce, _ := search.Try(0, 1<<32)
	raw, _ := search.Seal(nonce)
	return raw
}

// honestPair are two peers of a relay: what one sends should come to the other.
type honestPair struct {
	from, to *stranger
	sent     atomic.Int64
	mu       sync.Mutex
	got      map[uint64]bool
}

// marked is what the numbers of honest envelopes begin with.
const marked = uint64(0x5eed) << 48

func meetPair(ctx context.Context, at string, greet []byte) (*honestPair, error) {
	h := &honestPair{got: map[uint64]bool{}}
	var err error
	if h.from, err = meet(ctx, at, greet, nil); err != nil {
		return nil, err
	}
	h.to, err = meet(ctx, at, greet, func(_ *stranger, code uint64, payload []byte) {
		if code != codeMessages {
			return
		}
		var all []struct {
			Expiry, TTL uint32
			Topic       [4]byte
			Data        []byte
			Nonce       uint64
		}
		if rlp.DecodeBytes(payload, &all) != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range all {
			if len(e.Data) >= 8 && binary.BigEndian.Uint64(e.Data)>>48 == marked>>48 {
				h.got[binary.BigEndian.Uint64(e.Data)] = true
			}
		}
	})
	return h, err
}

func (h *honestPair) arrived() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.got))
}

// run sends at the honest rate until the context ends.
func (h *honestPair) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second / honestRate)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := h.from.write(codeMessages, list(stamped(marked|uint64(h.sent.Load()), 300))); err != nil {
			return fmt.Errorf("the honest peer was cut off after %d envelopes: %w", h.sent.Load(), err)
		}
		h.sent.Add(1)
	}
}

// flood sends what is of no use, ten times as much as the honest peer, on one link
// after the other.
func flood(ctx context.Context, at string, greet []byte) (packets int) {
	tick := time.NewTicker(time.Second / honestRate / hostileTimes)
	defer tick.Stop()
	full := encodeRLP(fullFilter())
	double := list(stamped(0, 300))
	junk := func(ttl uint32) []byte {
		data := make([]byte, 1000)
		rand.Read(data)
		return whisper.EncodeEnvelope(whisper.Envelope{Expiry: uint32(time.Now().Unix()) + 60, TTL: ttl, Data: data})
	}
	var s *stranger
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if s != nil {
				s.leave()
			}
			return packets
		}
		if s == nil || s.gone() {
			if s, _ = meet(ctx, at, greet, nil); s == nil {
				continue
			}
		}
		switch i % 4 {
		case 0:
			_ = s.write(codeMessages, list(append(junk(60), junk(60)...))) // no work
		case 1:
			_ = s.write(codeMessages, list(junk(0))) // a time to live of 0
		case 2:
			_ = s.write(codeMessages, double)
		case 3:
			_ = s.write(codeBloom, full)
		}
		packets++
	}
}

func fullFilter() []byte {
	b := make([]byte, 64)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// askAll asks the mail server for everything, again and again.
func askAll(ctx context.Context, at string, greet []byte, asked, answered *atomic.Int64) {
	done := make(chan struct{}, 1)
	var s *stranger
	for ctx.Err() == nil {
		if s == nil || s.gone() {
			var err error
			if s, err = meet(ctx, at, greet, func(_ *stranger, code uint64, _ []byte) {
				if code == codeComplete {
					answered.Add(1)
					select {
					case done <- struct{}{}:
					default:
					}
				}
			}); err != nil {
				continue
			}
		}
		id := make([]byte, 32)
		rand.Read(id)
		request := encodeRLP([]any{id, uint64(0), uint64(math.MaxUint32), uint64(1000), []byte{}, fullFilter()})
		if s.write(codeRequest, request) == nil {
			asked.Add(1)
		}
		select {
		case <-done:
		case <-s.over:
		case <-time.After(200 * time.Millisecond): // it does not even wait for the answer
		case <-ctx.Done():
		}
	}
	if s != nil {
		s.leave()
	}
}

// TestFloodLeavesHonestPeersAlone has a node under everything that costs the
// sender nothing, for half a minute.
func TestFloodLeavesHonestPeersAlone(t *testing.T) {
	t.Setenv(actEnv, actAsStrata) // the node is a process of its own, for the sake of its memory
	server := newDemoNode(shortDir(t), "post")
	if err := server.configure(fmt.Sprintf(mailFloodText, floodMemory)+demoRelay, mailFloodTransport); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := server.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	at, greet := server.self.Enode, greeting(t)

	honest, err := meetPair(ctx, at, greet)
	if err != nil {
		t.Fatal(err)
	}
	for range floodPrefill / floodBatch {
		var batch []byte
		for range floodBatch {
			batch = append(batch, stamped(0, 540)...)
		}
		if err := honest.from.write(codeMessages, list(batch)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the archive to be filled", func() bool {
		s, err := server.client.Transport(ctx)
		return err == nil && s.Admitted >= floodPrefill
	})

	begin := time.Now()
	during, end := context.WithTimeout(ctx, floodTakes)
	defer end()
	var (
		group           sync.WaitGroup
		asked, answered atomic.Int64
		packets         int
		cutOff          error
		early, later    int // goroutines at most, in the first half and after it
		memory          uint64
	)
	group.Go(func() { packets = flood(during, at, greet) })
	for range askers {
		group.Go(func() { askAll(during, at, greet, &asked, &answered) })
	}
	eventually(t, "all attackers to be linked", func() bool {
		st, err := server.client.Status(ctx)
		return err == nil && st.Peers >= askers
	})
	group.Go(func() { cutOff = honest.run(during) })
	for look := time.NewTicker(500 * time.Millisecond); during.Err() == nil; {
		st, err := server.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if time.Since(begin) < floodTakes/2 {
			early = max(early, st.Process.Goroutines)
		} else {
			later = max(later, st.Process.Goroutines)
		}
		memory = max(memory, st.Process.Memory)
		select {
		case <-look.C:
		case <-during.Done():
		}
	}
	group.Wait()
	if cutOff != nil {
		t.Error(cutOff)
	}
	sent := honest.sent.Load()
	enough := sent - sent/100
	eventually(t, "what is under way", func() bool { return honest.arrived() >= enough })
	t.Logf("honest: %d of %d arrived; hostile: %d packets, %d requests of which %d answered; %d MiB of memory; goroutines %d, later %d",
		honest.arrived(), sent, packets, asked.Load(), answered.Load(), memory>>20, early, later)
	if memory > floodMemory {
		t.Errorf("%d bytes of memory, the cap is %d", memory, floodMemory)
	}
	if later > early+floodSlack {
		t.Errorf("%d goroutines and later %d", early, later)
	}
	if sent < int64(floodTakes/time.Second)*honestRate/2 {
		t.Errorf("the honest peer could send only %d envelopes", sent)
	}
	honest.from.leave()
	honest.to.leave()
}
