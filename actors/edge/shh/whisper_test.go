package shh

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/actortest"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// relay is an API on the real Whisper, with one peer that the test plays.
type relay struct {
	*testing.T
	floor  *actortest.Floor[overlay.Command, overlay.Event]
	codec  overlay.Codec
	stack  *actors.Stack
	api    *API
	client *gethrpc.Client
}

var peer = overlay.PeerID{1}

func onWhisper(t *testing.T, interest whisper.Interest) *relay {
	t.Helper()
	const overlaySlot = actors.Slot[overlay.Command, overlay.Event]("overlay")
	cfg := whisper.DefaultConfig()
	cfg.Interest = interest
	k := kernel.New(quiet)
	r := &relay{T: t, codec: whisper.NewCodec(cfg), api: New(DefaultConfig(), quiet)}
	r.stack = actors.NewStack(k, actortest.NewStore(), nil, quiet)
	r.floor = actortest.NewFloor(r.stack, overlaySlot)
	actors.Stand(r.stack, slot, overlaySlot, func(layers.Saved) *whisper.Node { return whisper.New(cfg) })
	r.api.Stand(r.stack, slot)
	if err := r.stack.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	server := gethrpc.NewServer()
	t.Cleanup(server.Stop)
	if err := server.RegisterName(Namespace, r.api.Service()); err != nil {
		t.Fatal(err)
	}
	r.client = gethrpc.DialInProc(server)
	t.Cleanup(r.client.Close)
	r.floor.Outlet().Send(overlay.Connected{Peer: peer, State: []overlay.Packet{whisper.Status{Bloom: whisper.FullBloom()}}})
	return r
}

// packets returns what went to the peer.
func (r *relay) packets() (all []overlay.Packet) {
	r.Helper()
	for _, c := range r.floor.Got() {
		send, ok := c.(overlay.Send)
		if !ok {
			continue
		}
		for _, o := range send.Packets {
			p, err := r.codec.Decode(time.Now(), o.Code, o.Payload)
			if err != nil {
				r.Fatal(err)
			}
			all = append(all, p)
		}
	}
	return all
}

// arrive sends an envelope as the peer does.
func (r *relay) arrive(raw []byte) {
	r.Helper()
	header := []byte{0xf9, byte(len(raw) >> 8), byte(len(raw))} // a list of one with 256 bytes or more
	packet, err := r.codec.Decode(time.Now(), 1, append(header, raw...))
	if err != nil {
		r.Fatal(err)
	}
	r.floor.Outlet().Send(overlay.Arrived{Peer: peer, Packet: packet})
}

// fresh is an envelope of now.
func fresh(l letter, payload string) []byte {
	data, err := l.seal([]byte(payload), nil)
	if err != nil {
		panic(err)
	}
	s := whisper.NewSearch(whisper.Draft{Expiry: uint32(time.Now().Unix()) + 60, TTL: 60, Topic: l.topic, Data: data}, 0.01)
	nonce, found := s.Try(0, 1<<24)
	if !found {
		panic("no nonce")
	}
	raw, _ := s.Seal(nonce)
	return raw
}

func TestPostedEnvelopesTravelByWhisper(t *testing.T) {
	r := onWhisper(t, whisper.Everything)
	sym := must[string](t, r.client, "shh_addSymKey", hexOf("01", 32))
	id := must[string](t, r.client, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	post := obj{"symKeyID": sym, "topic": "0xcd423760", "powTime": 20, "powTarget": 0.002, "payload": "0x01"}
	hash := must[string](t, r.client, "shh_post", post)
	if m := polled(t, r.client, id, 1)[0]; m.Hash.String() != hash || m.TTL != 50 {
		t.Errorf("the own filter has %+v, want %s", m, hash)
	}
	until(t, func() bool {
		for _, p := range r.packets() {
			if m, ok := p.(whisper.Messages); ok && len(m.Envelopes) == 1 && "0x"+hex.EncodeToString(m.Identity()) == hash {
				return true
			}
		}
		return false
	})
	if info := must[Info](t, r.client, "shh_info"); info.Memory < 300 || info.MinPoW != 0.001 || info.MaxMessageSize != 1<<20 {
		t.Errorf("info %+v", info)
	}
	must[bool](t, r.client, "shh_setMinPoW", 0.5)
	fails(t, r.client, "message rejected, PoW too low", "shh_post", post)
	hash = must[string](t, r.client, "shh_post", post.with("powTarget", 0.5))
	if m := polled(t, r.client, id, 1)[0]; m.Hash.String() != hash || m.PoW < 0.5 {
		t.Errorf("the own filter has %+v, want %s", m, hash)
	}
	err := r.client.CallContext(t.Context(), nil, "shh_post", post.with("targetPeer", someEnode))
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "could not find peer with id: ") {
		t.Errorf("to a stranger: got error %v", err)
	}
}

func TestFiltersOfAClientNodeAreHeardByItsPeers(t *testing.T) {
	r := onWhisper(t, whisper.Subscribed)
	told := func(topic transport.Topic) bool {
		for _, p := range r.packets() {
			if b, ok := p.(whisper.BloomFilter); ok && b.Bloom.Match(topic) {
				return true
			}
		}
		return false
	}
	sym := must[string](t, r.client, "shh_addSymKey", hexOf("01", 32))
	id := must[string](t, r.client, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0xcd423760"}})
	until(t, func() bool { return told(topicA) })
	for i := range 3 {
		r.arrive(fresh(letter{sym: symOf(1), topic: topicA}, fmt.Sprint(i)))
	}
	if got := polled(t, r.client, id, 3); string(got[2].Payload) != "2" {
		t.Errorf("got %+v", got)
	}
	// Other topics make the node watch again, and Whisper repeat what it holds.
	other := must[string](t, r.client, "shh_newMessageFilter", obj{"symKeyID": sym, "topics": []string{"0x01020304", "0xcd423760"}})
	r.arrive(fresh(letter{sym: symOf(1), topic: topicA}, "new"))
	for _, filter := range []string{id, other} {
		if m := polled(t, r.client, filter, 1)[0]; string(m.Payload) != "new" {
			t.Errorf("got %q again", m.Payload)
		}
	}
}
