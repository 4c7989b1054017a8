package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	gethlog "github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// Packet codes (EIP-627 §Packet Codes; 11 and 12 are an extension of Status).
const (
	codeStatus    = 0
	codeMessages  = 1
	codePoW       = 2
	codeBloom     = 3
	codeConfirmed = 11
)

// packet is what a hostile peer writes.
type packet struct {
	code    uint64
	payload []byte
}

// greeting is a status packet of a relay that wants and confirms everything.
func greeting(t *testing.T) []byte {
	t.Helper()
	b, err := rlp.EncodeToBytes([]any{uint64(6), math.Float64bits(0), []byte{}, false, true, []uint64{0, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealed returns an envelope with a proof of work.
func sealed(topic transport.Topic, expiry, ttl uint32, data []byte) []byte {
	e := whisper.Envelope{Expiry: expiry, TTL: ttl, Topic: topic, Data: data}
	for ttl != 0 && e.PoW(0) < 0.002 {
		e.Nonce++
	}
	return whisper.EncodeEnvelope(e)
}

// idle returns an envelope without a proof of work.
func idle(topic transport.Topic, expiry, ttl uint32, data []byte) []byte {
	e := whisper.Envelope{Expiry: expiry, TTL: ttl, Topic: topic, Data: data}
	for e.PoW(0) >= 0.001 {
		e.Nonce++
	}
	return whisper.EncodeEnvelope(e)
}

// envelopes is the packet with some envelopes.
func envelopes(raw ...[]byte) packet {
	list := make([]rlp.RawValue, len(raw))
	for i, r := range raw {
		list[i] = r
	}
	b, err := rlp.EncodeToBytes(list)
	if err != nil {
		panic(err)
	}
	return packet{codeMessages, b}
}

// errDropped says that the node has ended the link.
var errDropped = errors.New("the link was ended")

// attack links to a node, writes the packets, and returns errDropped or, when
// the node has confirmed one more honest packet on the same link, nil.
func attack(t *testing.T, to string, packets []packet) error {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	node, err := enode.ParseV4(to)
	if err != nil {
		t.Fatal(err)
	}
	outcome := make(chan error, 1)
	// Short data on a topic of the node, so that it is told apart from nothing.
	topic, expiry := transport.TopicOf(channel), uint32(time.Now().Unix())+15
	probe := envelopes(sealed(topic, expiry, 15, crypto.FromECDSA(key)))
	confirmed := crypto.Keccak256(probe.payload)
	run := func(_ *p2p.Peer, rw p2p.MsgReadWriter) error {
		go func() {
			for _, w := range append(append([]packet{{codeStatus, greeting(t)}}, packets...), probe) {
				// A failure shows where it is read.
				if rw.WriteMsg(p2p.Msg{Code: w.code, Size: uint32(len(w.payload)), Payload: bytes.NewReader(w.payload)}) != nil {
					return
				}
			}
		}()
		for {
			m, err := rw.ReadMsg()
			if err != nil {
				outcome <- errDropped
				return err
			}
			body, err := io.ReadAll(m.Payload)
			if err != nil {
				outcome <- err
				return err
			}
			if m.Code == codeConfirmed && bytes.Contains(body, confirmed) {
				outcome <- nil
				return p2p.DiscQuitting
			}
		}
	}
	server := &p2p.Server{Config: p2p.Config{
		PrivateKey: key, Name: "hostile", MaxPeers: 5, NoDiscovery: true, StaticNodes: []*enode.Node{node},
		Logger:    gethlog.NewLogger(slog.NewTextHandler(io.Discard, nil)),
		Protocols: []p2p.Protocol{{Name: "shh", Version: 6, Length: 128, Run: run}},
	}}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	select {
	case err := <-outcome:
		return err
	case <-time.After(patience):
		return errors.New("neither confirmed nor dropped")
	}
}

func TestHostilePeerHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	alice := start(t, strings.Replace(clientText, `inbound: false, static_nodes: ["%s"]`, `listen: "127.0.0.1:0"`, 1), bootOptions{})
	bob := start(t, fmt.Sprintf(clientText, alice.enode(t)), bootOptions{})
	if err := errors.Join(alice.api.Join(t.Context(), channel), bob.api.Join(t.Context(), channel)); err != nil {
		t.Fatal(err)
	}
	alice.linked(t, 1)

	topic, everybody := transport.TopicOf(channel), transport.TopicOf("contact-discovery")
	now := uint32(time.Now().Unix())
	data := bytes.Repeat([]byte{0xab}, 300)
	good := sealed(topic, now+60, 60, data)
	hundred := make([][]byte, 100)
	for i := range hundred {
		hundred[i] = good
	}
	repeat := func(n int, p packet) (all []packet) {
		for range n {
			all = append(all, p)
		}
		return all
	}
	one := func(code uint64, payload ...byte) []packet { return []packet{{code, payload}} }
	var short []packet
	for n := range 16 {
		short = append(short, envelopes(sealed(everybody, now+60, 60, bytes.Repeat([]byte{4}, n)), sealed(topic, now+60, 60, bytes.Repeat([]byte{4}, n))))
	}
	nan, err := rlp.EncodeToBytes(math.Float64bits(math.NaN()))
	if err != nil {
		t.Fatal(err)
	}
	bloom, err := rlp.EncodeToBytes(make([]byte, 63))
	if err != nil {
		t.Fatal(err)
	}
	whole := envelopes(good).payload
	attacks := []struct {
		name    string
		packets []packet
		dropped bool
	}{
		{"no RLP", one(codeMessages, 0xff, 0xff, 0xff, 0xff), true},
		{"a text instead of a list", one(codeMessages, 0x83, 'a', 'b', 'c'), true},
		{"a list of texts", one(codeMessages, 0xc2, 0x61, 0x62), true},
		{"an envelope too short", one(codeMessages, 0xc2, 0xc1, 0x01), true},
		{"an empty packet", one(codeMessages), true},
		{"truncated", []packet{{codeMessages, whole[:len(whole)-7]}}, true},
		{"more than it says", []packet{{codeMessages, append(bytes.Clone(whole), 1, 2, 3)}}, true},
		{"oversized", []packet{{codeMessages, make([]byte, 1<<20+1)}}, true},
		{"oversized of unknown code", []packet{{99, make([]byte, 1<<20+1)}}, true},
		{"a requirement that is no number", []packet{{codePoW, nan}}, true},
		{"a bloom filter of 63 bytes", []packet{{codeBloom, bloom}}, true},
		{"no envelopes", one(codeMessages, 0xc0), false},
		{"10000 duplicates", repeat(100, envelopes(hundred...)), false},
		{"expired", []packet{envelopes(sealed(topic, now-1, 15, data), sealed(topic, now-3600, 15, data))}, false},
		{"from the future", []packet{envelopes(sealed(topic, now+3600, 15, data), sealed(topic, math.MaxUint32, 15, data))}, false},
		{"TTL 0", []packet{envelopes(sealed(topic, now+15, 0, data))}, false},
		{"huge TTL", []packet{envelopes(idle(topic, now+50*3600, 50*3600, data), idle(topic, math.MaxUint32, math.MaxUint32, data))}, false},
		{"low proof of work", []packet{envelopes(idle(topic, now+60, 60, data))}, false},
		{"bodies of 0 to 15 bytes", short, false},
		{"a second status", []packet{{codeStatus, greeting(t)}, {codeStatus, []byte{0xff}}}, false},
		{
			"unknown codes, and limits that are none",
			[]packet{{20, []byte{1}}, {99, nil}, {99, data}},
			false,
		},
		{"a sync request that is none", []packet{{123, data}}, true},
		{"a sync response that is none", []packet{{124, data}}, true},
		{"an end of a request that is none", []packet{{125, []byte{0xc0}}}, true},
		{"a mail request that is none", []packet{{126, data}}, true},
		{"direct messages that are none", []packet{{127, data}}, true},
	}
	for _, tt := range attacks {
		t.Run(tt.name, func(t *testing.T) {
			if err := attack(t, alice.enode(t), tt.packets); errors.Is(err, errDropped) != tt.dropped || err != nil && !tt.dropped {
				t.Errorf("the attack ends with %v, want the link dropped: %t", err, tt.dropped)
			}
			for _, m := range []struct{ chat, box payload.ChatID }{{alice.key(), bob.key()}, {channel, channel}} {
				text := "after " + tt.name
				if _, err := bob.api.Say(t.Context(), m.chat, text); err != nil {
					t.Fatal(err)
				}
				eventually(t, fmt.Sprintf("%q", text), func() bool {
					found, err := find(t.Context(), alice.api, m.box, text)
					return err == nil && len(found) == 1
				})
			}
			alice.healthy(t)
			for _, l := range alice.stack.Loads() {
				if l.Quarantined > 0 {
					t.Errorf("%s has %d inputs in quarantine", l.Name, l.Quarantined)
				}
			}
		})
	}
	bob.healthy(t)
	if n, err := alice.history(t.Context(), ""); err != nil || len(n) != 2*len(attacks) {
		t.Errorf("alice has %d messages, %v, want the %d of bob", len(n), err, 2*len(attacks))
	}
}
