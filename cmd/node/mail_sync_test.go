package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/archive"
)

// syncKills is how often the follower is killed, and syncLoad how many envelopes
// it has to take over at least: some forty pages.
const (
	syncKills = 10
	syncLoad  = 10_000
)

// TestMailServerCompletesItsArchiveThoughItIsKilled starts a mail server that was
// not there when another one took in its envelopes, and kills it while it takes
// them over.
func TestMailServerCompletesItsArchiveThoughItIsKilled(t *testing.T) {
	t.Setenv(actEnv, actAsStrata)
	dir, greet := shortDir(t), greeting(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	first := mailServer(t, newDemoNode(dir, "first"), "")
	if err := first.start(ctx); err != nil {
		t.Fatal(err)
	}
	man := &postman{confirmed: map[[32]byte]bool{}}
	busy, enough := context.WithCancel(ctx)
	delivered := make(chan error, 1)
	go func() { delivered <- man.deliver(busy, first.self.Enode, greet) }()
	eventually(t, "enough envelopes", func() bool {
		man.mu.Lock()
		defer man.mu.Unlock()
		return len(man.confirmed) >= syncLoad
	})
	enough()
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	// Its pool ends with it, so that nothing of it is forwarded.
	first.kill()
	if err := first.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer first.stop()
	want, err := everything(ctx, first.self.Enode, greet)
	if err != nil {
		t.Fatal(err)
	}

	second := mailServer(t, newDemoNode(dir, "second"), fmt.Sprintf(", sync: [%q], sync_every: 0s", first.self.Enode))
	for range syncKills {
		if err := second.start(ctx); err != nil {
			t.Fatal(err)
		}
		life, end := context.WithTimeout(ctx, time.Duration(50+rand.IntN(300))*time.Millisecond)
		<-life.Done()
		end()
		second.kill()
	}
	if err := second.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer second.stop()
	var stats archive.Stats
	eventually(t, "the end of the sync", func() bool {
		raw, err := second.client.MailStats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &stats); err != nil || len(stats.Sources) != 1 {
			t.Fatalf("stats %s, %v", raw, err)
		}
		return !stats.Sources[0].Running && !stats.Sources[0].Until.IsZero()
	})
	got, err := everything(ctx, second.self.Enode, greet)
	if err != nil {
		t.Fatal(err)
	}
	lost, doubled := 0, 0
	for h := range want {
		if got[h] == 0 {
			lost++
		}
	}
	for _, copies := range got {
		if copies > 1 {
			doubled++
		}
	}
	t.Logf("%d to take over, %d in the archive; the last life took over %+v", len(want), len(got), stats.Counts.Sync)
	if lost > 0 || doubled > 0 || len(want) < syncLoad {
		t.Errorf("%d of %d are lost, %d doubled", lost, len(want), doubled)
	}
}

// mailServer configures a mail server; more settings of the archive may follow.
func mailServer(t *testing.T, n *demoNode, more string) *demoNode {
	t.Helper()
	if err := n.configure(demoRelay, fmt.Sprintf(`  overlay: {use: devp2p, settings: {listen: %q}}
  transport: {use: whisper, settings: {interest: everything, pool_bytes: 268435456}}
  archive: {use: sqlite, settings: {rows_per_second: 1000000, burst_rows: 10000000%s}}
`, freeAddress(t), more)); err != nil {
		t.Fatal(err)
	}
	return n
}
