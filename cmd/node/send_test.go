package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/payload"
)

func TestSendWaitsUntilTheMessageHasComeFarEnough(t *testing.T) {
	other := payload.MessageID{1}
	path := []rpc.StatusChange{
		{ID: other, Status: payload.Failed, Reason: "of another message"},
		{ID: someID, Status: payload.Sent},
		{ID: someID, Status: payload.Relayed},
		{ID: other, Status: payload.Delivered},
		{ID: someID, Status: payload.Delivered},
	}
	failed := []rpc.StatusChange{{ID: someID, Status: payload.Sent}, {ID: someID, Status: payload.Failed, Reason: "no peer\x1b took it"}}
	for _, tt := range []struct {
		name    string
		changes []rpc.StatusChange
		wait    string
		want    payload.Status
		err     string
	}{
		{"sent", path, "sent", payload.Sent, ""},
		{"relayed", path, "relayed", payload.Relayed, ""},
		{"delivered", path, "delivered", payload.Delivered, ""},
		{"further than asked for", path[2:], "sent", payload.Relayed, ""},
		{"failed", failed, "delivered", payload.Failed, `the message has failed: no peer\x1b took it`},
		{"too late", path[:2], "delivered", payload.Sent, "the message is sent, not yet delivered: the time of 300ms is up"},
	} {
		dir := (&fakeNode{changes: tt.changes}).serve(t)
		r := strata(t, t.Context(), dir, "", "send", "--to", alice.String(), "--wait", tt.wait, "--timeout", "300ms", "hello")
		if want := someID.String() + " " + tt.want.String() + "\n"; r.out != want {
			t.Errorf("%s: printed %q, want %q", tt.name, r.out, want)
		}
		if got := errorText(r.err); got != tt.err || (r.code != 0) != (tt.err != "") {
			t.Errorf("%s: got %q, code %d, want %q", tt.name, got, r.code, tt.err)
		}
	}
}

func TestSendPrintsTheReasonOfAFailureAsJSON(t *testing.T) {
	n := &fakeNode{changes: []rpc.StatusChange{{ID: someID, Chat: "test", Status: payload.Failed, Reason: "why"}}}
	r := strata(t, t.Context(), n.serve(t), "", "send", "--channel", "test", "--wait", "relayed", "--json", "x")
	var got rpc.StatusChange
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got != n.changes[0] || r.code != exitFailed {
		t.Errorf("got %q, %v, code %d", r.out, err, r.code)
	}
}

func TestSendReadsStandardInput(t *testing.T) {
	for _, tt := range []struct {
		args        []string
		stdin, want string
	}{
		{nil, "two\nlines\n", "two\nlines"},
		{[]string{"-"}, "dash\r\n", "dash"},
		{[]string{"given"}, "ignored", "given"},
		{[]string{"a", "-"}, "ignored", "a -"},
		{[]string{"--", "--json"}, "", "--json"},
	} {
		n := new(fakeNode)
		r := strata(t, t.Context(), n.serve(t), tt.stdin, append([]string{"send", "--channel", "test"}, tt.args...)...)
		if want := []string{"say test " + tt.want}; r.err != nil || !slices.Equal(n.calls, want) {
			t.Errorf("%q: called %q, %v, want %q", tt.args, n.calls, r.err, want)
		}
	}
	r := strata(t, t.Context(), "/nowhere", strings.Repeat("x", maxStdin+1), "send", "--channel", "test")
	if r.code != exitMisused || !strings.Contains(errorText(r.err), "more than 1048576 bytes") {
		t.Errorf("endless input: got %v, code %d", r.err, r.code)
	}
}

func TestSendAcceptsACompressedKey(t *testing.T) {
	n := new(fakeNode)
	c := alice.Compressed()
	k, err := keyOf("--to", "0x"+strings.ToUpper(hex.EncodeToString(c[:])))
	if err != nil || k != alice {
		t.Fatalf("got %v, %v", k, err)
	}
	strata(t, t.Context(), n.serve(t), "", "send", "--to", hex.EncodeToString(c[:]), "x")
	if want := []string{"say " + alice.String() + " x"}; !slices.Equal(n.calls, want) {
		t.Errorf("called %q, want %q", n.calls, want)
	}
}

func TestListenFilters(t *testing.T) {
	private := payload.Message{ID: someID, Chat: payload.ChatID(alice.String()), From: alice, Text: "private", Stored: someTime}
	elsewhere := payload.Message{ID: someID, Chat: "other", Text: "elsewhere", Stored: someTime, Public: true}
	// A private chat cannot pass for a public one of the same name.
	fake := payload.Message{ID: someID, Chat: "test", Text: "fake", Stored: someTime}
	all := []payload.Message{elsewhere, fake, private, hers}
	for _, tt := range []struct {
		args []string
		want []string // texts
	}{
		{[]string{"--count", "4"}, []string{"elsewhere", "fake", "private", evil}},
		{[]string{"--count", "2"}, []string{"elsewhere", "fake"}},
		{[]string{"--count", "1", "--channel", "#test"}, []string{evil}},
		{[]string{"--count", "2", "--from", alice.String()}, []string{"private", evil}},
		{[]string{"--count", "1", "--from", alice.String(), "--channel", "test"}, []string{evil}},
	} {
		r := strata(t, t.Context(), (&fakeNode{incoming: all}).serve(t), "", append([]string{"listen", "--json"}, tt.args...)...)
		var got []string
		for line := range strings.Lines(r.out) {
			var m payload.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Errorf("%q: %q: %v", tt.args, line, err)
			}
			got = append(got, m.Text)
		}
		if r.err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, %v, want %q", tt.args, got, r.err, tt.want)
		}
	}
}

func TestListenPrintsOneLineAMessage(t *testing.T) {
	r := strata(t, t.Context(), (&fakeNode{incoming: []payload.Message{hers}}).serve(t), "", "listen", "--count", "1", "--channel", "test")
	key := alice.String()
	want := "2019-08-01 12:00:00 #test " + key[:10] + "…" + key[len(key)-4:] + ": " + tame + "\n"
	if r.err != nil || r.out != want {
		t.Errorf("got %q, %v, want %q", r.out, r.err, want)
	}
	if want := "strata: test is not joined, so nothing will arrive; see strata join\n"; r.errOut != want {
		t.Errorf("warned %q, want %q", r.errOut, want)
	}
}

func TestListenPrintsStatusChanges(t *testing.T) {
	n := &fakeNode{changes: []rpc.StatusChange{{ID: someID, Chat: "test", Status: payload.Failed, Reason: "too\x1blate"}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &until{text: "late\n", done: cancel}
	c, err := rpc.Dial(ctx, n.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := (&listening{status: true}).run(ctx, c, w, w); err != nil {
		t.Errorf("after an interrupt: %v, want a good end", err)
	}
	if want := someID.String() + ` failed: too\x1blate` + "\n"; w.got != want {
		t.Errorf("got %q, want %q", w.got, want)
	}
}

// until is a writer that calls done when text was written.
type until struct {
	got, text string
	done      func()
}

func (u *until) Write(b []byte) (int, error) {
	if u.got += string(b); strings.HasSuffix(u.got, u.text) {
		u.done()
	}
	return len(b), nil
}

func TestListenFailsWhenItsSubscriptionEnds(t *testing.T) {
	n := &fakeNode{incoming: []payload.Message{hers}, ends: "cut off: too slow"}
	r := strata(t, t.Context(), n.serve(t), "", "listen", "--json")
	if r.code != exitFailed || errorText(r.err) != "cut off: too slow" || strings.Count(r.out, "\n") != 1 {
		t.Errorf("got %q, %v, code %d, want the message and then the reason", r.out, r.err, r.code)
	}
}

func TestPrintableShowsWhatATerminalWouldObey(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain, ünï 世界 👩‍👩‍👧":        "plain, ünï 世界 👩‍👩‍👧",
		evil:                         tame,
		"\x00\x7f\u0085\u009f":       `\x00\x7f\x85\x9f`,
		"\t\r\n":                     `\t\x0d\n`,
		"\u2066a\u2069\u200f\u061cb": `\u{2066}a\u{2069}\u{200f}\u{61c}b`,
		"\u2028\u2029\ufeff":         `\u{2028}\u{2029}\u{feff}`,
		"\U000e0041":                 `\u{e0041}`,
		"bad\xff\xfe":                `bad\xff\xfe`,
		"\uFFFD":                     "\uFFFD",
		`C:\x1b`:                     `C:\x1b`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintJSONIsHarmlessAndKeepsTheText(f *testing.F) {
	f.Add(evil)
	f.Add("\U000e0041\u2028\\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		var b strings.Builder
		if err := printJSON(&b, map[string]string{text: text}); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal([]byte(b.String()), &got); err != nil || got[text] != text {
			t.Errorf("%q became %q, %v", text, b.String(), err)
		}
		if strings.ContainsFunc(strings.TrimSuffix(b.String(), "\n"), hidden) || strings.ContainsFunc(printable(text), hidden) {
			t.Errorf("%q is not harmless", text)
		}
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
