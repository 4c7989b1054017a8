package whisper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper/internal/rlpwrite"
	"github.com/stratanode/strata/layers/transport/whisper/mail"
)

// Known defects of the deployed nodes (go-ethereum's Whisper v6 and its fork in
// Status), and what shows that they are not here:
//
//   - a backlog in one packet: TestLateJoinerGetsThePoolInSplitBundles
//   - refusals that lie: TestBadEnvelopesAreRefusedAndTheNextHonestOneArrives
//   - known sets that grow for ever: TestExpiredEnvelopesLeaveNoMemoryBehind
//   - TTL 0 as infinite proof of work, no longest TTL: as the refusals
//   - bloom bits that wipe each other: TestTopicMatchesAsTheDeployedNodesHaveIt
//   - tolerance of everything after a change: TestFirstInterestLetsNothingElseIn
//   - clients that get nothing: the model test, half of it clients
//   - a minimum of work that is none: TestMinimumOfWorkChangesAtOnceAndTheFormerIsToleratedFor10s
//   - light clients that forward: TestLightClientGetsItsEnvelopesAndForwardsOnlyItsOwn
//   - confirmed and lost: TestConfirmationWaitsUntilAllOfThePacketIsKept, the model test
//   - packets ahead of the status: TestNothingIsSentToAPeerBeforeItsLinkIsComplete
//   - races: TestCodecMayBeUsedByManyAtOnce; all else is one step at a time
//   - unbounded pool and queues: TestFullPoolKeepsWhatIsWorthMost, TestConfirmations…
//   - duplicates at full price: TestDuplicateIsRefusedByHashBeforeAnyWork
//   - links dropped for skewed clocks: as the refusals
//   - checks after mining: TestLongestDataFitsAPacketAndLongerIsRefused
//   - two confirmations of every packet, even empty: TestEmptyPacketIsNotConfirmed,
//     TestEnvelopeIsForwardedAtOnceAndNotEchoed

func TestBadEnvelopesAreRefusedAndTheNextHonestOneArrives(t *testing.T) {
	now := uint32(t0.Unix())
	raw := func(expiry, ttl uint32, data string) []byte { return mined(0.002, expiry, ttl, chat, []byte(data)) }
	unsealed := func(expiry, ttl uint32, size int) []byte {
		e := Envelope{Expiry: expiry, TTL: ttl, Topic: chat, Data: make([]byte, size)}
		for e.PoW(0) >= 0.001 && ttl != 0 {
			e.Nonce++
		}
		return EncodeEnvelope(e)
	}
	tests := []struct {
		name     string
		envelope []byte
		want     verdict
	}{
		{"TTL 0 is no infinite proof of work", unsealed(now, 0, 100), endless},
		{"TTL 0 with much work", raw(now, 0, "x"), endless},
		{"TTL above max_ttl", raw(now+50*3600, 50*3600, "x"), tooLong},
		{"TTL that wraps", unsealed(now+50, math.MaxUint32-15, 100), fromFuture},
		{"from the future", raw(now+11+10, 10, "x"), fromFuture},
		{"far future", raw(math.MaxUint32, 10, "x"), fromFuture},
		{"expired long ago", raw(now-21, 10, "x"), veryOld},
		{"expiry 0", raw(0, 10, "x"), fromFuture},
		{"just expired", raw(now-1, 10, "x"), late},
		{"low PoW", unsealed(now+15, 15, 1000), lowPoW},
		{"huge", unsealed(now+15, 15, 1<<20), huge},
		{"last second", raw(now, 10, "x"), admitted},
		{"10 s early", raw(now+20, 10, "x"), admitted},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := opened(t, nil)
			connect(t, n, t0, alice)
			connect(t, n, t0, bob)
			above(t, n, t0, transport.Subscribe{Topics: []transport.Topic{chat}})
			out := below(t, n, t0, arrival(t, alice, tt.envelope))
			if got := n.Counts()[tt.want.String()]; got != 1 {
				t.Errorf("counts %v, want %q", n.Counts(), tt.want)
			}
			response := sends(out)[alice][codeResponse]
			if (response != nil) != tt.want.refused() {
				t.Errorf("message response %x", response)
			}
			if response != nil {
				want := []Refusal{{hashOf(tt.envelope), 37, tt.want.String()}}
				if m, err := decodeResponse(response); err != nil || m.Refusals[0] != want[0] || m.Batch != hashOf(payloadOf(tt.envelope)) {
					t.Errorf("message response %+v, %v, want %+v", m, err, want)
				}
				if order := out.Down[0].(overlay.Send).Packets; order[0].Code != codeResponse || order[1].Code != codeAcknowledged {
					t.Errorf("codes %d, %d, want the response first", order[0].Code, order[1].Code)
				}
			}
			for _, c := range out.Down {
				if d, ok := c.(overlay.Drop); ok {
					t.Errorf("the link is dropped: %v", d)
				}
			}
			if (tt.want == admitted) != (len(hashes(t, out, bob)) == 1) {
				t.Errorf("forwarded %v", hashes(t, out, bob))
			}
			honest := sealed(t0, 15, chat, fmt.Sprint("honest", i))
			out = below(t, n, t0, arrival(t, alice, tt.envelope, honest))
			if got := ups[transport.Received](out); len(got) != 1 || got[0].Envelopes[0].Hash != hashOf(honest) {
				t.Errorf("the honest envelope: %v", out.Up)
			}
		})
	}
}

func TestEmptyPacketIsNotConfirmed(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	if out := below(t, n, t0, arrival(t, alice)); len(out.Down) != 0 {
		t.Errorf("answer %v", out.Down)
	}
}

func TestFullPoolKeepsWhatIsWorthMost(t *testing.T) {
	n := opened(t, func(c *Config) {
		c.PoolBytes, c.MaxMessageSize, c.BundleBytes = 1<<20, 1<<18, 1<<18
		c.PoW, c.MinPoW = 0, 0
	})
	connect(t, n, t0, alice)
	data := make([]byte, 1<<14)
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			binary.BigEndian.PutUint32(data, uint32(i))
			e := Envelope{Expiry: uint32(t0.Unix()) + 3600, TTL: 3600, Topic: other, Data: data}
			below(t, n, t0, arrival(t, alice, EncodeEnvelope(e)))
			if n.pool.bytes > n.cfg.PoolBytes {
				t.Fatalf("%d bytes in the pool, want at most %d", n.pool.bytes, n.cfg.PoolBytes)
			}
		}
	}
	flood(0, 200)
	better := sealed(t0, 3600, chat, "better")
	below(t, n, t0, arrival(t, alice, better))
	flood(200, 600)
	if n.pool.byHash(hashOf(better)) == nil {
		t.Error("the better envelope was refused or evicted")
	}
	if n.Counts()[admitted.String()] == 601 || n.Counts()[poolFull.String()] == 0 {
		t.Errorf("counts %v: nothing was refused", n.Counts())
	}
	if live := n.pool.len(); len(n.pool.log) > 2*live+compactAfter+1 || len(n.pool.due) > len(n.pool.log) || len(n.pool.worth) > len(n.pool.log) {
		t.Errorf("%d pooled, log of %d, heaps of %d and %d", live, len(n.pool.log), len(n.pool.due), len(n.pool.worth))
	}
}

func TestEvictionThatDoesNotSufficeEvictsNothing(t *testing.T) {
	p := newPool(3 * (1000 + entryCost))
	for i := range 3 {
		p.add(&Envelope{Hash: transport.Hash{byte(i)}, raw: make([]byte, 1000)}, float64(1+i), t0, false)
	}
	if _, ok := p.add(&Envelope{Hash: transport.Hash{9}, raw: make([]byte, 3000)}, 2, t0, false); ok || p.len() != 3 {
		t.Errorf("added %v, %d left, want 3", ok, p.len())
	}
	if _, ok := p.add(&Envelope{Hash: transport.Hash{9}, raw: make([]byte, 2000)}, 2, t0, false); !ok || p.len() != 2 {
		t.Errorf("added %v, %d left, want 2", ok, p.len())
	}
	if p.byHash(transport.Hash{2}) == nil {
		t.Error("the best was evicted")
	}
}

func TestExpiredEnvelopesLeaveNoMemoryBehind(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW = 0 })
	for i := range 4 {
		connect(t, n, t0, overlay.PeerID{byte(i + 1)}, Status{Bloom: FullBloom()})
	}
	round := func(r int) {
		now := t0.Add(time.Duration(r) * 20 * time.Second)
		for i := range 20 {
			var batch [][]byte
			for j := range 250 {
				e := Envelope{Expiry: uint32(now.Unix()) + 10, TTL: 10, Topic: chat, Data: make([]byte, 540)}
				binary.BigEndian.PutUint32(e.Data, uint32(r<<16+i<<8+j))
				batch = append(batch, EncodeEnvelope(e))
			}
			below(t, n, now, arrival(t, alice, batch...))
			for i := range 4 {
				below(t, n, now, overlay.Written{Peer: overlay.PeerID{byte(i + 1)}})
			}
		}
		n.Wake(now.Add(11 * time.Second))
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round(0)
	before := heap()
	for r := 1; r < 5; r++ {
		round(r)
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n.pool.len() != 0 || n.pool.bytes != 0 {
		t.Errorf("%d envelopes left", n.pool.len())
	}
	runtime.KeepAlive(n)
}

func TestConfirmationsForAPeerThatDoesNotReadAreBounded(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice)
	bad := EncodeEnvelope(Envelope{Expiry: uint32(t0.Unix()), Topic: chat})
	for i := range 40_000 {
		bad[len(bad)-3] = byte(i) // the topic
		below(t, n, t0, arrival(t, alice, bad))
	}
	p := n.peers[alice]
	total := 0
	for _, c := range p.confirmations {
		total += len(c.Payload)
	}
	if total != p.waiting || total > maxConfirmations {
		t.Errorf("%d bytes wait (counted %d), want at most %d", total, p.waiting, maxConfirmations)
	}
}

func TestPeerThatNeverConfirmsHoldsABoundedNumberOfBatches(t *testing.T) {
	n := opened(t, func(c *Config) { c.MinPoW, c.PoW = 0, 0 })
	connect(t, n, t0, alice)
	for i := range maxAwaited + 100 {
		p := transport.Publish{Topic: chat, TTL: time.Hour}
		binary.BigEndian.PutUint32(p.Ref[:], uint32(i))
		p.Data = p.Ref[:4]
		above(t, n, t0, p)
		below(t, n, t0, overlay.Written{Peer: alice})
	}
	if got := len(n.peers[alice].awaited); got != maxAwaited {
		t.Errorf("%d batches awaited, want %d", got, maxAwaited)
	}
}

func TestBloomChurnDoesNotScanThePoolEachTime(t *testing.T) {
	n := opened(t, nil)
	connect(t, n, t0, alice, Status{})
	below(t, n, t0, incoming(t, alice, codeBloomFilter, encodeBloom(Bloom{1}).Payload))
	for i := range 1000 {
		n.peers[alice].cursor = 77 // any other than the beginning
		out := below(t, n, t0.Add(500*time.Millisecond), incoming(t, alice, codeBloomFilter, encodeBloom(Bloom{byte(i)}).Payload))
		if n.peers[alice].cursor == 0 || len(n.rescans) != 1 {
			t.Fatalf("change %d: scanned again, %d waiting", i, len(n.rescans))
		}
		if !out.Wake.Equal(t0.Add(rescanAfter)) {
			t.Fatalf("wake at %v", out.Wake)
		}
	}
	below(t, n, t0, overlay.Disconnected{Peer: alice})
	if out := n.Wake(t0.Add(rescanAfter)); len(n.rescans) != 0 || !out.Wake.IsZero() {
		t.Error("the peer that left is still to be scanned for")
	}
}

func TestNewPeerDoesNotInheritWhatTheLastHolderOfItsSlotKnew(t *testing.T) {
	for _, slot := range []int{0, 127, 128, 300} {
		n := opened(t, nil)
		for i := range slot + 1 {
			connect(t, n, t0, overlay.PeerID{1, byte(i), byte(i >> 8)}, Status{})
		}
		last := overlay.PeerID{1, byte(slot), byte(slot >> 8)}
		raw := sealed(t0, 15, chat, "x")
		below(t, n, t0, arrival(t, last, raw))
		below(t, n, t0, overlay.Disconnected{Peer: last})
		if got := hashes(t, connect(t, n, t0, bob), bob); len(got) != 1 || n.peers[bob].slot != slot {
			t.Errorf("slot %d (%d): sent %v, want the envelope", slot, n.peers[bob].slot, got)
		}
	}
}

func TestDamagedPacketsDropThePeer(t *testing.T) {
	codec := NewCodec(DefaultConfig())
	good := sealed(t0, 15, chat, "x")
	tests := []struct {
		name    string
		code    uint64
		payload []byte
	}{
		{"packet above the limit", codeMessages, make([]byte, 1<<20+1)},
		{"unknown packet above the limit", 99, make([]byte, 1<<20+1)},
		{"no list", codeMessages, []byte{0x80}},
		{"bytes after the list", codeMessages, append(payloadOf(good), 0)},
		{"claimed length beyond the packet", codeMessages, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"one bad among good", codeMessages, payloadOf(good, []byte{0xc0}, good)},
		{"too many envelopes", codeMessages, payloadOf(bytes.Repeat([]byte{0xc0}, maxEnvelopes+1))},
		{"NaN", codePoWRequirement, encodePoW(math.NaN()).Payload},
		{"Inf", codePoWRequirement, encodePoW(math.Inf(1)).Payload},
		{"negative", codePoWRequirement, encodePoW(-1).Payload},
		{"long bloom", codeBloomFilter, rlpwrite.String(nil, make([]byte, 65))},
		{"short batch", codeAcknowledged, rlpwrite.String(nil, make([]byte, 31))},
		{"response of three", codeResponse, []byte{0xc3, 2, 2, 2}},
		{"sync request of four", mail.CodeSyncRequest, []byte{0xc4, 1, 2, 0x80, 3}},
		{"sync response with a bad envelope", mail.CodeSyncResponse, []byte{0xc5, 0xc1, 0xc0, 0x80, 1, 0x80}},
		{"short completion", mail.CodeComplete, rlpwrite.String(nil, make([]byte, 31))},
		{"long completion", mail.CodeComplete, rlpwrite.String(nil, make([]byte, 101))},
		{"request that is neither", mail.CodeRequest, []byte{0xc5, 1, 2, 3, 4, 5}},
		{"delivery that is neither", mail.CodeDelivery, []byte{0xc5, 1, 2, 3, 4, 5}},
		{"delivery of a string", mail.CodeDelivery, []byte{0x80}},
		{"delivery of too many", mail.CodeDelivery, payloadOf(bytes.Repeat([]byte{0xc0}, maxEnvelopes+1))},
		{"one bad among delivered", mail.CodeDelivery, payloadOf(good, []byte{0xc0})},
	}
	for _, tt := range tests {
		if p, err := codec.Decode(t0, tt.code, tt.payload); err == nil || p != nil {
			t.Errorf("%s: %v, %v, want an error", tt.name, p, err)
		}
	}
	for _, code := range []uint64{0, 4, 20, 99} {
		if p, err := codec.Decode(t0, code, []byte{0xc0}); p != nil || err != nil {
			t.Errorf("code %d: %v, %v, want it ignored", code, p, err)
		}
	}
	if _, err := codec.Greeting(t0, codeMessages, payloadOf(good)); err == nil {
		t.Error("a link begins without a status")
	}
}
