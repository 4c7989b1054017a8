package shh

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// posting is a rig with keys, and a post that succeeds.
func posting(t *testing.T, change func(*Config)) (r *rig, c *gethrpc.Client, post obj) {
	r, c = running(t, change)
	return r, c, obj{
		"symKeyID": must[string](t, c, "shh_newSymKey"), "sig": must[string](t, c, "shh_newKeyPair"),
		"ttl": 20, "topic": "0xcd423760", "payload": "0x68656c6c6f", "powTime": 10, "powTarget": 0.002,
	}
}

func TestPostsAreRefusedInTheKnownWords(t *testing.T) {
	r, c, post := posting(t, nil)
	zero := must[string](t, c, "shh_addSymKey", hexOf("00", 32))
	public := must[string](t, c, "shh_getPublicKey", post["sig"])
	toAll := post.with("symKeyID", nil, "pubKey", public)
	for _, tt := range []struct {
		name string
		post obj
		want string
	}{
		{"no key", post.with("symKeyID", nil), "specify either a symmetric or an asymmetric key"},
		{"two keys", post.with("pubKey", public), "specify either a symmetric or an asymmetric key"},
		{"unknown signer", post.with("sig", "nobody"), "invalid id"},
		{"no topic", post.with("topic", nil), "missing topic(s)"},
		{"zero topic", post.with("topic", "0x00000000"), "missing topic(s)"},
		{"unknown symmetric key", post.with("symKeyID", "x"), "non-existent key ID"},
		{"zero symmetric key", post.with("symKeyID", zero), "invalid symmetric key"},
		{"public key off the curve", toAll.with("pubKey", "0x04"+strings.Repeat("01", 64)), "invalid public key"},
		{"compressed public key", toAll.with("pubKey", "0x02"+public[4:68]), "invalid public key"},
		{"signer before topic", post.with("sig", "nobody", "topic", nil), "invalid id"},
		{"topic before key", post.with("topic", nil, "symKeyID", "x"), "missing topic(s)"},
		{"no enode", post.with("targetPeer", "http://x"), "failed to parse target peer: missing 'enr:' prefix for base64-encoded record"},
		{"no proof of work", post.with("powTarget", nil), "message rejected, PoW too low"},
		{"little proof of work", post.with("powTarget", 0.0019), "message rejected, PoW too low"},
		{"proof of work by time alone", post.with("powTarget", -1), "message rejected, PoW too low"},
		{"no time for it", post.with("powTime", nil), "failed to reach the PoW target, specified pow time (0 seconds) was insufficient"},
		{"too little time for it", post.with("powTime", 1, "powTarget", 1e30), "failed to reach the PoW target, specified pow time (1 seconds) was insufficient"},
		{"too much time for it", post.with("powTime", 3601), "shh: powTime: 3601 seconds are more than 10m0s (max_pow_time)"},
		{"long life", post.with("ttl", 172801), "shh: ttl: 48h0m1s is more than 48h0m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) { fails(t, c, tt.want, "shh_post", tt.post) })
	}
	if got := len(of[transport.Publish](r.fake)) + len(of[transport.Direct](r.fake)); got != 0 {
		t.Errorf("%d envelopes went out", got)
	}
}

// A target that nobody reaches shows whether there was any mining.
func TestWhatIsRefusedAnywayIsNotMined(t *testing.T) {
	r, c, post := posting(t, nil)
	r.fake.change(func(f *fake) { f.state.MaxMessage = 1000; f.state.MinPoW = 1e300 })
	began := time.Now()
	fails(t, c, "message rejected, PoW too low", "shh_post", post.with("powTime", 600, "powTarget", 1e299))
	r.fake.change(func(f *fake) { f.state.MinPoW = 0 })
	err := c.CallContext(t.Context(), nil, "shh_post", post.with("powTime", 600, "powTarget", 1e300, "payload", hexOf("01", 1000)))
	if err == nil || !strings.HasPrefix(err.Error(), "huge messages are not allowed [") || len(err.Error()) != 31+65 {
		t.Errorf("got error %v", err)
	}
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("took %v of 10 minutes of mining", took)
	}
}

func TestPostedEnvelopeIsWhatWasAskedFor(t *testing.T) {
	r, c, post := posting(t, nil)
	for _, tt := range []struct {
		name   string
		post   obj
		target float64
		size   int
		ttl    uint32
	}{
		{"usual", post, 0.002, 256 + 28, 20},
		{"no time to live", post.with("ttl", nil), 0.002, 256 + 28, 50},
		{"more proof of work", post.with("powTarget", 0.02), 0.02, 256 + 28, 20},
		{"own padding", post.with("padding", "0x010203"), 0.002, 1 + 1 + 5 + 3 + 65 + 28, 20},
		{"not signed, full", post.with("sig", nil, "payload", hexOf("01", 254)), 0.002, 512 + 28, 20},
		{"asymmetric without topic", post.with("symKeyID", nil, "topic", nil,
			"pubKey", must[string](t, c, "shh_getPublicKey", post["sig"])), 0.002, 256 + 113, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := time.Now().Unix()
			hash := must[string](t, c, "shh_post", tt.post)
			all := of[transport.Publish](r.fake)
			p := all[len(all)-1]
			e, err := whisper.DecodeEnvelope(p.Raw)
			if err != nil {
				t.Fatal(err)
			}
			if hash != e.Hash.String() || e.TTL != tt.ttl || len(e.Data) != tt.size {
				t.Errorf("hash %s and envelope %s, ttl %d, %d bytes", hash, e.Hash, e.TTL, len(e.Data))
			}
			if sent := int64(e.Sent()); sent < before || sent > time.Now().Unix() {
				t.Errorf("sent at %d, want from %d on", sent, before)
			}
			if pow := e.PoW(0); pow < tt.target {
				t.Errorf("proof of work %v, want %v", pow, tt.target)
			}
			if len(p.Data) != 0 || p.TTL != 0 {
				t.Errorf("published with %d bytes of data and ttl %v beside the envelope", len(p.Data), p.TTL)
			}
		})
	}
}

func TestDirectPostsGoToOnePeerOnly(t *testing.T) {
	r, c, post := posting(t, nil)
	post = post.with("targetPeer", someEnode, "powTarget", nil)
	hash := must[string](t, c, "shh_post", post)
	before := time.Now().Unix()
	best := must[string](t, c, "shh_post", post.with("powTarget", -1, "powTime", 2))
	d := of[transport.Direct](r.fake)
	if len(d) != 2 || len(of[transport.Publish](r.fake)) != 0 || d[0].Node != someEnode {
		t.Fatalf("sent %+v", d)
	}
	e, err := whisper.DecodeEnvelope(d[0].Raw)
	if err != nil || e.Hash.String() != hash || e.Nonce != 0 {
		t.Errorf("got %v with nonce %d, want %s without work: %v", e.Hash, e.Nonce, hash, err)
	}
	// The best of two seconds, which are added to its life.
	e, err = whisper.DecodeEnvelope(d[1].Raw)
	if err != nil || e.Hash.String() != best {
		t.Fatalf("got %v, want %s: %v", e.Hash, best, err)
	}
	if pow := e.PoW(0); pow < 0.1 {
		t.Errorf("proof of work %v after 2 seconds", pow)
	}
	if life := int64(e.Expiry) - before; e.TTL != 20 || life < 22 {
		t.Errorf("ttl %d, expires %d seconds after its post, want 22 at least", e.TTL, life)
	}
}

func TestMiningFindsTheSmallestNonceOnAnyNumberOfCores(t *testing.T) {
	draft := whisper.Draft{Expiry: 1_577_836_800, TTL: 50, Topic: transport.Topic{1}, Data: make([]byte, 400)}
	want, found := whisper.NewSearch(draft, 2).Try(0, 1<<24)
	if !found || want < 2*block {
		t.Fatalf("nonce %d, %v: no good example", want, found)
	}
	for _, cores := range []int{1, 2, 3, 8} {
		for range 5 {
			got, found := mine(t.Context(), whisper.NewSearch(draft, 2), cores)
			if got != want || !found {
				t.Errorf("%d cores: nonce %d, %v, want %d", cores, got, found, want)
			}
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, found := mine(over, whisper.NewSearch(draft, 2), 2); found {
		t.Error("found a nonce in no time")
	}
}

func TestMiningStopsWhenTheClientGoesAway(t *testing.T) {
	r, _, post := posting(t, func(c *Config) { c.Posts = 1; c.PoWCores = 1 })
	body, err := json.Marshal(post)
	if err != nil {
		t.Fatal(err)
	}
	var m NewMessage
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	m.PoWTime, m.PoWTarget = 600, math.MaxFloat64
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.api.post(ctx, &m)
		done <- err
	}()
	until(t, func() bool { return len(r.api.mining) == 1 })
	busy := m
	if _, err := r.api.post(t.Context(), &busy); err == nil || !strings.Contains(err.Error(), "1 posts are looking for a proof of work already (posts)") {
		t.Errorf("a second post: got error %v", err)
	}
	leave()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
	case <-time.After(within):
		t.Fatal("it mines on")
	}
	if len(r.api.mining) != 0 || len(of[transport.Publish](r.fake)) != 0 {
		t.Error("the place is not free, or something was published")
	}
}

func TestStoppingNodeEndsMiningAndWaiting(t *testing.T) {
	r, c, post := posting(t, nil)
	errs := make(chan error, 2)
	go func() {
		errs <- c.CallContext(t.Context(), nil, "shh_post", post.with("powTime", 600, "powTarget", 1e300))
	}()
	until(t, func() bool { return len(r.api.mining) == 1 })
	r.fake.change(func(f *fake) { f.silent = true })
	go func() { errs <- c.CallContext(t.Context(), nil, "shh_info") }()
	until(t, func() bool { return waitingCalls(r.api) == 1 })
	r.kernel.Stop()
	for range 2 {
		select {
		case err := <-errs:
			if err == nil || err.Error() != errStopping.Error() {
				t.Errorf("got error %v, want %v", err, errStopping)
			}
		case <-time.After(within):
			t.Fatal("a call still waits")
		}
	}
	fails(t, c, errStopping.Error(), "shh_info")
	fails(t, c, errStopping.Error(), "shh_newMessageFilter", obj{"symKeyID": post["symKeyID"]})
}

func waitingCalls(a *API) int {
	a.calls.mu.Lock()
	defer a.calls.mu.Unlock()
	return len(a.calls.waiting)
}

func TestUnansweredCommandsAreRepeatedWhenTheTransportIsReadyAgain(t *testing.T) {
	r, c, post := posting(t, nil)
	r.fake.change(func(f *fake) { f.silent = true })
	errs := make(chan error, 1)
	go func() { errs <- c.CallContext(t.Context(), nil, "shh_post", post) }()
	first := wait[transport.Describe](t, r.fake, 1)[0]
	r.fake.change(func(f *fake) { f.silent = false })
	r.fake.up(transport.Ready{Info: r.fake.info})
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	again := of[transport.Describe](r.fake)
	if len(again) != 2 || again[1].Ref != first.Ref {
		t.Errorf("asked %+v, want the same twice", again)
	}
}

func TestSilentTransportIsNotWaitedForLong(t *testing.T) {
	r, c, _ := posting(t, func(c *Config) { c.PostTimeout = 20 * time.Millisecond })
	r.fake.change(func(f *fake) { f.silent = true })
	fails(t, c, "shh: no answer of the transport within 20ms; it may still be carried out", "shh_info")
	if n := waitingCalls(r.api); n != 0 {
		t.Errorf("%d calls are still remembered", n)
	}
}

func TestAnswersToOthersAreNobodysHere(t *testing.T) {
	r, c, _ := posting(t, nil)
	for _, e := range []transport.Event{
		transport.Accepted{}, transport.Relayed{}, transport.Expired{}, transport.Refused{}, transport.Done{},
		transport.Described{Ref: layers.Ref{1}}, transport.Explained{}, transport.Queried{}, transport.Archives{},
		transport.Asked{}, transport.Taken{}, transport.Abandoned{}, transport.Peers{}, transport.Received{},
	} {
		r.fake.up(e)
	}
	must[Info](t, c, "shh_info")
}
