package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
	"github.com/stratanode/strata/layers/transport"
)

// awayText is mailClientText with envelopes of the shortest life there is.
var awayText = strings.Replace(mailClientText, "interest: subscribed,", "interest: subscribed, ttl: 10s,", 1)

// gone waits until a relay holds no envelope any more.
func gone(t *testing.T, relay *party) {
	t.Helper()
	eventually(t, "all envelopes to expire", func() bool {
		s, err := relay.api.Transport(t.Context())
		return err == nil && s.Pooled == 0
	})
}

// caughtUp waits until a client has fetched all it missed.
func caughtUp(t *testing.T, p *party) *rpc.History {
	t.Helper()
	var h *rpc.History
	eventually(t, "the client to have caught up", func() bool {
		s, err := p.api.Status(t.Context())
		h = s.History
		return err == nil && h != nil && h.State == "caught up"
	})
	return h
}

func TestArchivesOfBothKindsServeWhoWasAway(t *testing.T) {
	for _, use := range []string{useSQLite, usePostgres} {
		t.Run(use, func(t *testing.T) {
			t.Parallel()
			text := mailServerText
			if use == usePostgres {
				text = strings.Replace(text, "use: sqlite", fmt.Sprintf("use: postgres, settings: {database: %q}", postgres(t)), 1)
			}
			server := start(t, fmt.Sprintf(text, "127.0.0.1:0"), bootOptions{})
			clientOf := fmt.Sprintf(awayText, server.enode(t))
			room := payload.ChatID("room-" + strings.ToLower(rand.Text())) // a database may have those of earlier runs
			alice, dir := start(t, clientOf, bootOptions{}), shortDir(t)
			bob := startIn(t, dir, clientOf, bootOptions{})
			for _, p := range []*party{alice, bob} {
				if err := p.api.Join(t.Context(), secure.Channel(room)); err != nil {
					t.Fatal(err)
				}
				p.linked(t, 1)
			}
			self := bob.key()
			bob.stop()
			const texts = 12
			for i := range texts {
				for _, chat := range []payload.ChatID{self, room} {
					if _, err := alice.api.Say(t.Context(), chat, fmt.Sprint("text ", i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			eventually(t, "the mail server to confirm all", func() bool {
				all, err := alice.history(t.Context(), "")
				for _, m := range all {
					if m.Status < payload.Relayed {
						return false
					}
				}
				return err == nil && len(all) == 2*texts
			})
			her := alice.key()
			alice.stop()
			gone(t, server)
			bob = startIn(t, dir, clientOf, bootOptions{})
			for _, chat := range []payload.ChatID{her, room} {
				eventually(t, "every text, once", func() bool {
					got, err := bob.texts(t.Context(), chat, false)
					for text, n := range got {
						if n != 1 {
							t.Errorf("%q is there %d times", text, n)
						}
					}
					return err == nil && len(got) == texts
				})
			}
			if h := caughtUp(t, bob); h.Opened == 0 || len(h.Gaps) > 0 {
				t.Errorf("history %+v", h)
			}
			bob.healthy(t)
			server.healthy(t)
		})
	}
}

func TestMailCommandsTellOfTheArchive(t *testing.T) {
	server := start(t, fmt.Sprintf(mailServerText, "127.0.0.1:0"), bootOptions{})
	alice := start(t, fmt.Sprintf(mailClientText, server.enode(t)), bootOptions{})
	if err := alice.api.Join(t.Context(), channel); err != nil {
		t.Fatal(err)
	}
	alice.linked(t, 1)
	post := func(text string) string {
		code, out, errOut := command(t, "--data-dir", alice.config.DataDir, "shh", "post", "--channel", channel, "--sign", text)
		if code != exitOK || !strings.HasPrefix(out, "0x") || len(strings.TrimSpace(out)) != 66 {
			t.Fatalf("shh post: %d, %s%s", code, out, errOut)
		}
		return strings.TrimSpace(out)
	}
	hash := post("hello")
	post("again")
	at := []string{"--data-dir", server.config.DataDir}
	eventually(t, "the archive to have it", func() bool {
		_, out, _ := command(t, append(at, "explain", hash)...)
		return strings.Contains(out, string(transport.Archived))
	})
	if code, out, errOut := command(t, append(at, "explain", hash)...); code != exitOK || !strings.Contains(out, string(transport.Came)) {
		t.Errorf("explain: %d, %s%s", code, out, errOut)
	}
	if code, out, _ := command(t, "--data-dir", alice.config.DataDir, "explain", hash); code != exitOK ||
		!strings.Contains(out, string(transport.Published)) || !strings.Contains(out, string(transport.Confirmed)) {
		t.Errorf("explain, of the sender: %d, %s", code, out)
	}
	code, out, errOut := command(t, "--data-dir", alice.config.DataDir, "mail", "query", "--channel", channel, "--from", "1h", "--json")
	if code != exitOK || !strings.Contains(out, hash) {
		t.Errorf("mail query: %d, %s%s", code, out, errOut)
	}
	code, out, errOut = command(t, "--data-dir", alice.config.DataDir, "mail", "query", "--topic", "0x00000000", "--from", "1h")
	if code != exitOK || !strings.Contains(out, "0 envelopes in 1 pages") {
		t.Errorf("mail query of another topic: %d, %s%s", code, out, errOut)
	}
	code, out, errOut = command(t, append(at, "mail", "stats", "--json")...)
	var stats map[string]any
	if err := json.Unmarshal([]byte(out), &stats); code != exitOK || err != nil || len(stats) == 0 {
		t.Errorf("mail stats: %d, %v, %s%s", code, err, out, errOut)
	}
	if code, out, errOut := command(t, append(at, "transport")...); code != exitOK || !strings.Contains(out, "clocks of others") || !strings.Contains(out, "taken in") {
		t.Errorf("transport: %d, %s%s", code, out, errOut)
	}
	for _, args := range [][]string{{"mail", "verify"}, {"mail", "stats"}, {"mail", "prune", "--before", "1h"}} {
		if code, out, errOut := command(t, append(at, args...)...); code != exitOK || out == "" {
			t.Errorf("%v: %d, %s%s", args, code, out, errOut)
		}
	}
	if code, _, errOut := command(t, "--data-dir", alice.config.DataDir, "mail", "stats"); code == exitOK || !strings.Contains(errOut, "no archive") {
		t.Errorf("mail stats of a client: %d, %s", code, errOut)
	}
}
