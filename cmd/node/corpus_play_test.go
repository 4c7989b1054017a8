package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	sealing "github.com/stratanode/strata/layers/envelope/whisper"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// What a node may suffer from the whole corpus.
const (
	corpusRestarts = 2               // of its layers, together
	honestWithin   = 2 * time.Second // from one client to the other, afterwards
	corpusEvery    = 60              // cases between two honest messages
)

// mailServerText is the configuration of a mail server at an address.
const mailServerText = `
store: {key: file}
layers:
  overlay: {use: devp2p, settings: {listen: "%s"}}
  transport: {use: whisper, settings: {interest: everything}}
  archive: {use: sqlite}
`

// mailClientText is that of a client of the mail server with an enode.
const mailClientText = `
store: {key: file}
api: {call_timeout: 30s}
layers:
  overlay: {use: devp2p, settings: {inbound: false}}
  transport: {use: whisper, settings: {interest: subscribed, mail_servers: ["%s"]}}
  envelope: {use: whisper}
  secure: {use: ratchet}
  datasync: {use: mvds, settings: {retransmit_after: 300ms, retransmit_max: 1s}}
  payload: {use: status}
`

// made returns the packet of a case, now, for a victim with an identity.
func (c hostileCase) made(now time.Time, victim layers.PublicKey, sealer *mailSealer) (packet, error) {
	switch {
	case c.Envelope != nil:
		data, err := c.Envelope.content(victim)
		if err != nil {
			return packet{}, err
		}
		return envelopes(c.Envelope.envelope(now, data)), nil
	case c.Request != nil:
		data, err := sealer.Seal(layers.PublicKey{}, c.Request)
		if err != nil {
			return packet{}, err
		}
		e := hostileEnvelope{TTL: 50}
		return packet{c.Code, e.envelope(now, data)}, nil
	}
	return packet{c.Code, c.Payload}, nil
}

func (e *hostileEnvelope) content(victim layers.PublicKey) ([]byte, error) {
	switch {
	case e.Secret != nil:
		var salt [12]byte
		rand.Read(salt[:])
		return sealing.SealSymmetric(channelKey, salt, e.Secret)
	case e.Sealed != nil:
		return shortSealed(victim, e.Sealed)
	case e.Fill > 0:
		return bytes.Repeat([]byte{0xab}, e.Fill), nil
	}
	return e.Data, nil
}

// channelKey takes tens of milliseconds to derive.
var channelKey = envelope.KeyFromPassword(channel)

// shortSealed is a body with a valid tag for the holder of a key, like
// sealing.SealAsymmetric, but of any length.
func shortSealed(to layers.PublicKey, body []byte) ([]byte, error) {
	ephemeral, err := layers.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	shared, err := ephemeral.Shared(to)
	if err != nil {
		return nil, err
	}
	keys := sha256.Sum256(append([]byte{0, 0, 0, 1}, shared[:]...))
	authentication := sha256.Sum256(keys[16:])
	mac := hmac.New(sha256.New, authentication[:])
	mac.Write(body)
	point := ephemeral.Public()
	return mac.Sum(append(point[:], body...)), nil
}

// envelope returns it with its proof of work, unless it is to have none or cannot.
func (e *hostileEnvelope) envelope(now time.Time, data []byte) []byte {
	d := whisper.Draft{
		Expiry: uint32(now.Unix() - e.Age + int64(e.TTL)), TTL: e.TTL, Data: data,
	}
	if e.Topic != "" {
		d.Topic = transport.TopicOf(e.Topic)
	}
	if e.Idle || e.TTL == 0 {
		return whisper.EncodeEnvelope(whisper.Envelope{Expiry: d.Expiry, TTL: d.TTL, Topic: d.Topic, Data: data})
	}
	search := whisper.NewSearch(d, 0.002)
	for from := uint64(0); ; from += 1 << 16 {
		if nonce, ok := search.Try(from, 1<<16); ok {
			raw, _ := search.Seal(nonce)
			return raw
		}
	}
}

// enemy sends cases to a node, over as many links as it ends, and knows of each
// whether the node has worked it off.
type enemy struct {
	t         *testing.T
	ctx       context.Context
	at        string
	greet     []byte
	link      *stranger
	links     int
	confirmed chan [32]byte
}

// send sends a case and behind it an honest packet. When that is confirmed, or
// the link is ended, the node is through with the case.
func (e *enemy) send(name string, p packet) {
	e.t.Helper()
	if e.link == nil || e.link.gone() {
		var err error
		if e.link, err = meet(e.ctx, e.at, e.greet, e.hear); err != nil {
			e.t.Fatalf("before %q: %v", name, err)
		}
		e.links++
	}
	probe := list(stamped(0, 40))
	if e.link.write(p.code, p.payload) == nil {
		_ = e.link.write(codeMessages, probe)
	}
	for want := layers.Keccak256(probe); ; {
		select {
		case got := <-e.confirmed:
			if got == want {
				return
			}
		case <-e.link.over:
			return
		case <-e.ctx.Done():
			e.t.Fatalf("%q: neither confirmed nor dropped", name)
		}
	}
}

func (e *enemy) hear(_ *stranger, code uint64, payload []byte) {
	var batch [32]byte
	if code == codeConfirmed && rlp.DecodeBytes(payload, &batch) == nil {
		select {
		case e.confirmed <- batch:
		case <-e.ctx.Done():
		}
	}
}

// sendCorpus sends all cases to a node. Now and then it calls pause.
func sendCorpus(t *testing.T, at string, victim layers.PublicKey, pause func(cases int)) {
	t.Helper()
	sealer := &mailSealer{password: whisper.DefaultConfig().Mail.Password}
	var err error
	if sealer.node, err = layers.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e := &enemy{t: t, ctx: ctx, at: at, greet: greeting(t), confirmed: make(chan [32]byte, 16)}
	all := readCorpus(t)
	for i, c := range all {
		p, err := c.made(time.Now(), victim, sealer)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		e.send(c.Name, p)
		if (i+1)%corpusEvery == 0 {
			pause(i + 1)
		}
	}
	e.link.leave()
	t.Logf("%d cases, for which the node ended %d links", len(all), e.links-1)
}

// unharmed fails the test if the corpus did more to a node than it may.
func (p *party) unharmed(t *testing.T, who string) {
	t.Helper()
	restarts := 0
	for _, s := range p.kernel.Status() {
		restarts += s.Restarts
		if s.Restarts > 0 {
			t.Logf("%s: %s restarted %d times: %s", who, s.Name, s.Restarts, s.Reason)
		}
	}
	if restarts > corpusRestarts {
		t.Errorf("%s: %d restarts, at most %d are allowed", who, restarts, corpusRestarts)
	}
}

// honest has one party say something in public and in private, and returns when
// the other has it.
func honest(t *testing.T, from, to *party, text string) (took time.Duration) {
	t.Helper()
	begin := time.Now()
	for _, m := range []struct{ chat, box payload.ChatID }{{to.key(), from.key()}, {channel, channel}} {
		if _, err := from.api.Say(t.Context(), m.chat, text); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("%q", text), func() bool {
			found, err := find(t.Context(), to.api, m.box, text)
			return err == nil && len(found) == 1
		})
	}
	return time.Since(begin)
}

func TestCorpusHarmsNoNode(t *testing.T) {
	roles := []struct {
		name string
		text string
	}{
		{"relay", relayText},
		{"mail server", mailServerText},
		{"client", strings.Replace(strings.Replace(clientText, `inbound: false, static_nodes: ["%s"]`, `listen: "%s"`, 1), "ttl: 2m", "ttl: 1m", 1)},
	}
	for _, role := range roles {
		t.Run(role.name, func(t *testing.T) {
			target := start(t, fmt.Sprintf(role.text, "127.0.0.1:0"), bootOptions{})
			clientOf := fmt.Sprintf(clientText, target.enode(t))
			alice, bob := start(t, clientOf, bootOptions{}), target
			if role.name != "client" {
				bob = start(t, clientOf, bootOptions{})
			}
			for _, p := range []*party{alice, bob} {
				if err := p.api.Join(t.Context(), channel); err != nil {
					t.Fatal(err)
				}
				p.linked(t, 1)
			}
			honest(t, alice, bob, "before")
			slowest := time.Duration(0)
			sendCorpus(t, target.enode(t), bob.keys.identity.Public(), func(cases int) {
				slowest = max(slowest, honest(t, alice, bob, fmt.Sprint("after ", cases)))
			})
			slowest = max(slowest, honest(t, alice, bob, "after all"))
			t.Logf("slowest honest message %v", slowest)
			if slowest > honestWithin {
				t.Errorf("an honest message took %v, want at most %v", slowest, honestWithin)
			}
			target.unharmed(t, role.name)
			alice.unharmed(t, "alice")
			bob.unharmed(t, "bob")
		})
	}
}

// TestCorpusIsHarmlessFromTheArchive sends the corpus to a mail server while its
// victim is away, who gets it from the archive.
func TestCorpusIsHarmlessFromTheArchive(t *testing.T) {
	server := start(t, fmt.Sprintf(mailServerText, "127.0.0.1:0"), bootOptions{})
	text := fmt.Sprintf(mailClientText, server.enode(t))
	alice := start(t, text, bootOptions{})
	dir := shortDir(t)
	bob := startIn(t, dir, text, bootOptions{})
	for _, p := range []*party{alice, bob} {
		if err := p.api.Join(t.Context(), channel); err != nil {
			t.Fatal(err)
		}
		p.linked(t, 1)
	}
	honest(t, alice, bob, "before")
	victim := bob.keys.identity.Public()
	bob.stop()
	said := 0
	sendCorpus(t, server.enode(t), victim, func(cases int) {
		if _, err := alice.api.Say(t.Context(), channel, fmt.Sprint("away ", cases)); err != nil {
			t.Fatal(err)
		}
		said++
	})
	stats, err := server.api.MailStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the archive: %s", stats)
	bob = startIn(t, dir, text, bootOptions{})
	eventually(t, "everything that was said meanwhile", func() bool {
		got, err := bob.texts(t.Context(), channel, false)
		n := 0
		for text, copies := range got {
			if strings.HasPrefix(text, "away ") && copies == 1 {
				n++
			}
		}
		return err == nil && n == said
	})
	if took := honest(t, alice, bob, "after all"); took > honestWithin {
		t.Errorf("an honest message took %v, want at most %v", took, honestWithin)
	}
	server.unharmed(t, "server")
	bob.unharmed(t, "bob")
}
