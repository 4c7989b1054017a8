package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/actors/edge/plugin"
	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// benchProgram builds the program as it is installed, and returns its path and
// checksum.
func benchProgram(b *testing.B) (path, sum string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "strata")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(program))/(1<<20), "program-MiB")
	hash := sha256.Sum256(program)
	return path, hex.EncodeToString(hash[:])
}

// BenchmarkPluginStart is from the start of a process until the transport in it
// has accepted a first envelope: the program as it is installed, its checksum
// pinned, confined, with TLS. UDP and libp2p in turns.
func BenchmarkPluginStart(b *testing.B) {
	const rounds = 10
	path, sum := benchProgram(b)
	kinds := []string{"udp", "libp2p"}
	homes, took := map[string]*plugin.Resident{}, map[string][]time.Duration{}
	for name, settings := range map[string]string{
		"udp":    `{"listen": "127.0.0.1:0"}`,
		"libp2p": `{"listen": ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]}`,
	} {
		c := plugin.DefaultConfig()
		c.Command, c.SHA256 = []string{path, "plugin", "serve", name}, sum
		c.Config, c.Dir = settingsOf(b, settings), b.TempDir()
		homes[name] = plugin.NewResident(name, c, plugin.Process(name, c, c.Command, benchLog), benchLog)
	}
	for i := range 1 + rounds { // the first time the program is not in memory yet
		for _, name := range kinds {
			if d := firstAccepted(b, homes[name]); i > 0 {
				took[name] = append(took[name], d)
			}
		}
	}
	reportLoad(b)
	for _, name := range kinds {
		b.ReportMetric(quantile(took[name], .5).Seconds()*1e3, name+"-p50-ms")
		b.ReportMetric(quantile(took[name], 1).Seconds()*1e3, name+"-max-ms")
	}
}

// firstAccepted runs one life of a transport.
func firstAccepted(b *testing.B, home *plugin.Resident) time.Duration {
	b.Helper()
	answers := make(chan transport.Event, 4)
	begin := time.Now()
	edge := home.Edge(hearer{b, func(e transport.Event) {
		switch e.(type) {
		case transport.Accepted, transport.Refused, transport.Expired:
			answers <- e
		}
	}})
	defer edge.Close()
	if err := edge.Open(); err != nil {
		b.Fatal(err)
	}
	edge.FromAbove(publication(uint64(time.Now().UnixNano())))
	select {
	case e := <-answers:
		if _, ok := e.(transport.Accepted); !ok {
			b.Fatalf("the first publication got %T %+v", e, e)
		}
	case <-time.After(patience):
		b.Fatal("no answer to the first publication")
	}
	return time.Since(begin)
}

// publisher is the layers above a transport that is killed: it publishes at a
// steady rate, and again after each Ready what has had no final answer.
type publisher struct {
	in actors.Inlet[transport.Command]

	mu       sync.Mutex
	open     map[layers.Ref]transport.Publish
	lives    int // Ready, but for answers to Attach
	killed   time.Time
	accepted chan time.Duration // since it was killed
	refused  int
}

func (p *publisher) hear(e transport.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case transport.Ready:
		p.lives++
		for _, c := range p.open {
			p.in.Send(c)
		}
	case transport.Accepted:
		if p.lives > 1 && !p.killed.IsZero() {
			p.accepted <- time.Since(p.killed)
			p.killed = time.Time{}
		}
	case transport.Relayed:
		delete(p.open, e.Ref)
	case transport.Refused:
		p.refused++
		delete(p.open, e.Ref)
	case transport.Expired:
		p.refused++
		delete(p.open, e.Ref)
	}
}

func (p *publisher) publish(number uint64) {
	c := publication(number)
	c.TTL = 20 * time.Second
	p.mu.Lock()
	p.open[c.Ref] = c
	p.mu.Unlock()
	p.in.Send(c)
}

// waiting is how many have no final answer.
func (p *publisher) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// BenchmarkPluginKilled is the time from SIGKILL of a plugin process until the
// next one has accepted an envelope, while 1000 a second are published. Each
// kill is the first one of its kernel, since the second within a minute costs a
// back-off. What every envelope is answered with is counted too, and how many
// have not arrived at another node.
func BenchmarkPluginKilled(b *testing.B) {
	const rounds = 5
	var took []time.Duration
	lost, refused, published := 0, 0, 0
	for range rounds {
		d, r := killOne(b)
		took, lost, refused, published = append(took, d), lost+r.lost, refused+r.refused, published+r.published
	}
	reportLoad(b)
	b.ReportMetric(quantile(took, .5).Seconds()*1e3, "accepted-again-p50-ms")
	b.ReportMetric(quantile(took, 1).Seconds()*1e3, "accepted-again-max-ms")
	b.ReportMetric(float64(published), "published")
	b.ReportMetric(float64(refused), "refused")
	b.ReportMetric(float64(lost), "lost-below-data-sync")
}

type killResult struct{ published, refused, lost int }

func killOne(b *testing.B) (time.Duration, killResult) {
	at := freeUDPs(b, 2)
	var mu sync.Mutex
	arrived := 0
	other := openEdge(b, benchResident(b, compiledIn, "udp", settingsOf(b, `{"listen": "`+at[1]+`"}`)), func(e transport.Event) {
		if r, ok := e.(transport.Received); ok {
			mu.Lock()
			arrived += len(r.Envelopes)
			mu.Unlock()
		}
	})
	defer other.Close()
	other.FromAbove(transport.Subscribe{All: true})

	home := benchResident(b, asProcess, "udp", settingsOf(b, `{"listen": "`+at[0]+`", "peers": ["`+at[1]+`"]}`))
	k := kernel.New(benchLog)
	s := actors.NewStack(k, nopStore(b), nil, benchLog)
	actors.StandEdge(s, transportSlot, func(out actors.Outlet[transport.Event]) actors.Edge[transport.Command] {
		return home.Edge(out)
	})
	p := &publisher{open: map[layers.Ref]transport.Publish{}, accepted: make(chan time.Duration, 1)}
	top := actors.NewTop(s, "tap")
	p.in = actors.Hear(top, transportSlot, p.hear)
	top.Run(tap{make(chan struct{})})
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	defer k.Stop()

	took, n := p.killUnderLoad(b, home)
	eventually(b, "the answers", func() bool { return p.waiting() == 0 })
	all := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return arrived >= n-p.refused
	}
	for limit := time.After(5 * time.Second); !all(); { // or what is left is lost
		select {
		case <-limit:
			return took, killResult{n, p.refused, n - p.refused - arrived}
		case <-time.After(lookEvery):
		}
	}
	return took, killResult{n, p.refused, 0}
}

// killUnderLoad publishes for a second, kills, and goes on for a second after
// the next accepted envelope. It returns how long that took, and how many were
// published.
func (p *publisher) killUnderLoad(b *testing.B, home *plugin.Resident) (took time.Duration, n int) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	kill, end := time.After(time.Second), (<-chan time.Time)(nil)
	limit := time.After(patience)
	begin := time.Now()
	for {
		select {
		case <-pace.C:
			for ; n < int(time.Since(begin).Milliseconds()); n++ { // a ticker drops what is late
				p.publish(uint64(n))
			}
		case <-kill:
			process, err := os.FindProcess(home.Describe().PID)
			if err != nil {
				b.Fatal(err)
			}
			p.mu.Lock()
			p.killed = time.Now()
			p.lives = 1
			p.mu.Unlock()
			if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				b.Fatal(err)
			}
		case took = <-p.accepted:
			end = time.After(time.Second)
		case <-end:
			return took, n
		case <-limit:
			b.Fatal("nothing was accepted after the kill")
		}
	}
}
