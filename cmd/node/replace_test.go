package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
)

// sections of the transport slot for a hub and two clients of it.
func whisperSection(interest string) string {
	return fmt.Sprintf("layers: {transport: {use: whisper, settings: {interest: %s, ttl: 2m}}}\n", interest)
}

func udpSection(process bool, listen string, peers ...string) string {
	return fmt.Sprintf("layers: {transport: {use: udp, settings: {process: %t, start_timeout: 30s, config: {listen: %q, peers: [%s]}}}}\n",
		process, listen, strings.Join(quoted(peers), ", "))
}

func quoted(all []string) []string {
	q := make([]string, len(all))
	for i, s := range all {
		q[i] = fmt.Sprintf("%q", s)
	}
	return q
}

// swap replaces the transport of a party by way of its API.
func (p *party) swap(t *testing.T, section string) {
	t.Helper()
	file := write(t, filepath.Join(t.TempDir(), "swap.yaml"), section)
	if err := p.api.ReplaceLayer(t.Context(), "transport", file, []byte(section)); err != nil {
		t.Fatal(err)
	}
}

// chatter says numbered texts from alice to bob and into the channel until it is
// stopped, and returns how many.
func (n trio) chatter(t *testing.T) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			chat := n.bob.key()
			if i%2 == 1 {
				chat = channel
			}
			if _, err := n.alice.api.Say(context.WithoutCancel(ctx), chat, fmt.Sprint("text ", i)); err != nil {
				t.Errorf("say %d: %v", i, err)
			}
			select {
			case <-pace.C:
			case <-ctx.Done():
				done <- i + 1
				return
			}
		}
	}()
	return func() int { cancel(); return <-done }
}

// arrived waits until bob has n texts, each once.
func (n trio) arrived(t *testing.T, texts int) {
	t.Helper()
	got := map[string]int{}
	defer func() {
		for i := range texts {
			if text := fmt.Sprint("text ", i); got[text] == 0 {
				t.Errorf("%q is lost (even ones are private)", text)
			}
		}
	}()
	eventually(t, "all texts", func() bool {
		clear(got)
		for _, chat := range []payload.ChatID{n.alice.key(), channel} {
			counts, err := n.bob.texts(context.Background(), chat, false)
			if err != nil {
				return false
			}
			for text, c := range counts {
				got[text] += c
			}
		}
		return len(got) >= texts
	})
	for text, c := range got {
		if c != 1 {
			t.Errorf("%q arrived %d times", text, c)
		}
	}
}

func TestTransportIsReplacedUnderLoadWithoutLoss(t *testing.T) {
	for _, use := range []string{"udp", "libp2p"} {
		for _, process := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, process %t", use, process), func(t *testing.T) {
				n := startTrio(t)
				stop := n.chatter(t)
				if use == "udp" {
					n.swapToUDP(t, process)
				} else {
					n.swapToLibp2p(t, process)
				}
				eventually(t, "envelopes by the other transport", func() bool {
					return n.bob.residents.plugin("transport").Describe().Counts.Received > 10
				})
				n.relay.swap(t, whisperSection("everything"))
				n.alice.swap(t, whisperSection("subscribed"))
				n.bob.swap(t, whisperSection("subscribed"))
				n.arrived(t, stop())
				for _, p := range []*party{n.relay, n.alice, n.bob} {
					p.healthy(t)
				}
			})
		}
	}
}

func (n trio) swapToUDP(t *testing.T, process bool) {
	relay, alice, bob := freeUDP(t), freeUDP(t), freeUDP(t)
	n.relay.swap(t, udpSection(process, relay, alice, bob))
	n.alice.swap(t, udpSection(process, alice, relay))
	n.bob.swap(t, udpSection(process, bob, relay))
}

func (n trio) swapToLibp2p(t *testing.T, process bool) {
	section := func(more string) string {
		return fmt.Sprintf("layers: {transport: {use: libp2p, settings: {process: %t, config: {listen: [/ip4/127.0.0.1/tcp/0], %s}}}}\n", process, more)
	}
	n.relay.swap(t, section("relay: true"))
	addresses := n.relay.residents.plugin("transport").Describe().Addresses
	if len(addresses) == 0 {
		t.Fatal("the relay tells no address")
	}
	for _, p := range []*party{n.alice, n.bob} {
		p.swap(t, section(fmt.Sprintf("peers: [%q]", addresses[0])))
	}
}

func TestReplacementThatDoesNotOpenIsRefusedAndChangesNothing(t *testing.T) {
	n := startTrio(t)
	taken := freeUDP(t)
	n.relay.swap(t, udpSection(false, taken))
	defer n.relay.swap(t, whisperSection("everything"))
	for _, tt := range []struct{ name, slot, text, want string }{
		{"no such program", "transport", "layers: {transport: {use: plugin, settings: {command: [./none]}}}", "none"},
		{"a program that is no plugin", "transport", "layers: {transport: {use: plugin, settings: {command: [/bin/true]}}}", "without a handshake line"},
		{"port is taken", "transport", udpSection(false, taken), "address already in use"},
		{"port is taken for a process", "transport", udpSection(true, taken), "address already in use"},
		{"setting of the transport", "transport", "layers: {transport: {use: udp, settings: {config: {lisn: x}}}}", "lisn"},
		{"setting", "transport", "layers: {transport: {use: udp, settings: {comand: [x]}}}", "swap.yaml:1:43: layers.transport.settings.comand: is no known key"},
		{"unknown transport", "transport", "layers: {transport: {use: pigeon}}", `unknown protocol "pigeon"`},
		{"size of Whisper's messages", "transport", "layers: {transport: {use: whisper, settings: {max_message_size_bytes: 2097152}}}", "that takes a restart"},
		{"no section", "transport", "layers: {secure: {use: ratchet}}", "has no section layers.transport"},
		{"another slot", "secure", "layers: {secure: {use: ratchet}}", "the slot that can be replaced is transport"},
		{"no YAML", "transport", "layers: [", "swap.yaml:1"},
	} {
		err := n.alice.api.ReplaceLayer(t.Context(), tt.slot, "swap.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if use := jsonOf[[]rpc.Layer](t, n.alice, "layers", "--json"); len(use) == 0 || use[len(use)-2].Use != "whisper" {
		t.Errorf("layers: %+v, want Whisper in the transport slot", use)
	}
	n.alice.healthy(t)
}

func TestReplacementIsNotForTheNetwork(t *testing.T) {
	text := strings.Replace(relayText, "layers:", "api: {http: \"127.0.0.1:0\"}\nlayers:", 1)
	p := start(t, fmt.Sprintf(text, freeAddress(t)), bootOptions{})
	token := readToken(t, p)
	c, err := rpc.DialURL(t.Context(), "http://"+p.server.Address("http"), token)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatalf("the token does not do: %v", err)
	}
	err = c.ReplaceLayer(t.Context(), "transport", "x.yaml", []byte(whisperSection("everything")))
	if err == nil || !strings.Contains(err.Error(), "only over the socket") {
		t.Errorf("over HTTP: %v, want a refusal", err)
	}
}

func TestLayerIsReplacedFromTheCommandLine(t *testing.T) {
	p := start(t, fmt.Sprintf(relayText, freeAddress(t)), bootOptions{})
	file := write(t, filepath.Join(t.TempDir(), "udp.yaml"), udpSection(true, freeUDP(t)))
	at := []string{"--data-dir", p.config.DataDir}
	code, out, errOut := command(t, append(at, "layer", "replace", "transport", "-c", file)...)
	if code != exitOK || !strings.HasPrefix(out, "transport replaced in ") {
		t.Fatalf("code %d: %s%s", code, out, errOut)
	}
	code, out, _ = command(t, append(at, "layers")...)
	for _, want := range []string{"transport  udp", "overlay    devp2p", "confinement", "addresses"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("layers: code %d, want %q in\n%s", code, want, out)
		}
	}
	for _, args := range [][]string{{"layer", "replace", "transport"}, {"layer", "replace", "transport", "-c", "none.yaml"}, {"layer", "replace", "-c", file}} {
		if code, _, errOut := command(t, append(at, args...)...); code != exitMisused || errOut == "" {
			t.Errorf("%q: code %d, %s, want misuse", args, code, errOut)
		}
	}
}

// readToken returns what the HTTP interface of a party asks for.
func readToken(t *testing.T, p *party) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.config.DataDir, "*token*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("token files %q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// freeUDP returns an address that a transport can be given.
func freeUDP(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}
