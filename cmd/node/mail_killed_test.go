package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rlp"

	"github.com/stratanode/strata/layers"
)

const (
	mailKills  = 50
	mailBatch  = 20 // envelopes in a packet
	mailWindow = 64 // packets that are not confirmed yet
)

// postman sends envelopes to a mail server and knows which it has confirmed.
type postman struct {
	mu        sync.Mutex
	pending   map[[32]byte][][32]byte // hashes of the envelopes, by that of their packet
	confirmed map[[32]byte]bool
	room      chan struct{}
}

// hear notes the confirmations. The postman's packets are never refused.
func (m *postman) hear(_ *stranger, code uint64, payload []byte) {
	var batch [32]byte
	if code != codeConfirmed || rlp.DecodeBytes(payload, &batch) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.pending[batch] {
		m.confirmed[h] = true
	}
	if m.pending[batch] != nil {
		delete(m.pending, batch)
		<-m.room
	}
}

// deliver sends until the context ends or the server dies.
func (m *postman) deliver(ctx context.Context, at string, greet []byte) error {
	m.pending, m.room = map[[32]byte][][32]byte{}, make(chan struct{}, mailWindow)
	s, err := meet(ctx, at, greet, m.hear)
	if err != nil {
		return err
	}
	defer s.leave()
	for n := uint64(0); ; n++ {
		var hashes [][32]byte
		var batch []byte
		for range mailBatch {
			raw := stamped(n, 540)
			hashes = append(hashes, layers.Keccak256(raw))
			batch = append(batch, raw...)
		}
		packet := list(batch)
		select {
		case m.room <- struct{}{}:
		case <-s.over:
			return nil
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		m.pending[layers.Keccak256(packet)] = hashes
		m.mu.Unlock()
		if s.write(codeMessages, packet) != nil {
			return nil
		}
	}
}

// everything asks a mail server for all it has, page by page, and returns the
// hashes.
func everything(ctx context.Context, at string, greet []byte) (map[[32]byte]int, error) {
	all := map[[32]byte]int{}
	var (
		cursor []byte
		next   = make(chan []byte, 1)
	)
	s, err := meet(ctx, at, greet, func(_ *stranger, code uint64, payload []byte) {
		switch code {
		case codeDirect:
			content, _, err := rlp.SplitList(payload)
			if kind, _, _, err2 := rlp.Split(content); err == nil && err2 == nil && kind != rlp.List {
				content = payload // a single envelope comes bare
			}
			for len(content) > 0 {
				_, _, rest, err := rlp.Split(content)
				if err != nil {
					return
				}
				all[layers.Keccak256(content[:len(content)-len(rest)])]++
				content = rest
			}
		case codeComplete:
			var b []byte
			_ = rlp.DecodeBytes(payload, &b)
			next <- b
		}
	})
	if err != nil {
		return nil, err
	}
	defer s.leave()
	for page := uint64(1); ; page++ {
		id := make([]byte, 32)
		id[31], id[30] = byte(page), byte(page>>8)
		if err := s.write(codeRequest, encodeRLP([]any{id, uint64(0), uint64(math.MaxUint32), uint64(1000), cursor, fullFilter()})); err != nil {
			return nil, err
		}
		select {
		case answer := <-next:
			if len(answer) < 64 || string(answer[:6]) == "ERROR=" {
				return nil, fmt.Errorf("page %d: %q", page, answer)
			}
			if cursor = answer[64:]; len(cursor) == 0 {
				return all, nil
			}
		case <-s.over:
			return nil, errDropped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TestMailServerKeepsWhatItConfirmed kills a mail server again and again while it
// is busy.
func TestMailServerKeepsWhatItConfirmed(t *testing.T) {
	t.Setenv(actEnv, actAsStrata)
	server := mailServer(t, newDemoNode(shortDir(t), "post"), "")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	greet := greeting(t)
	man := &postman{confirmed: map[[32]byte]bool{}}
	for kill := range mailKills {
		if err := server.start(ctx); err != nil {
			t.Fatalf("after %d kills: %v", kill, err)
		}
		life, end := context.WithTimeout(ctx, time.Duration(100+rand.IntN(700))*time.Millisecond)
		delivered := make(chan error, 1)
		go func() { delivered <- man.deliver(ctx, server.self.Enode, greet) }()
		<-life.Done()
		server.kill()
		end()
		if err := <-delivered; err != nil && kill > 0 {
			t.Logf("kill %d came before the handshake: %v", kill, err)
		}
	}
	if err := server.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	all, err := everything(ctx, server.self.Enode, greet)
	if err != nil {
		t.Fatal(err)
	}
	lost, doubled := 0, 0
	for h := range man.confirmed {
		if all[h] == 0 {
			lost++
		}
	}
	for _, copies := range all {
		if copies > 1 {
			doubled++
		}
	}
	report, err := server.client.MailVerify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d confirmed, %d in the archive; verify: %s", len(man.confirmed), len(all), report)
	if lost > 0 || doubled > 0 || len(man.confirmed) < mailKills*mailBatch {
		t.Errorf("%d of %d confirmed envelopes are lost, %d doubled", lost, len(man.confirmed), doubled)
	}
	var verified map[string]any
	if err := json.Unmarshal(report, &verified); err != nil || len(verified) == 0 {
		t.Errorf("verify says %s, %v", report, err)
	}
}
