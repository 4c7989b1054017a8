package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/payload"
)

func texts(messages []payload.Message) []string {
	var s []string
	for _, m := range messages {
		s = append(s, m.Text)
	}
	return s
}

func TestHistoryPagesNewestFirst(t *testing.T) {
	b := open(t, alice)
	for i := range byte(7) {
		chat := payload.ChatID("even")
		if i%2 == 1 {
			chat = "odd"
		}
		b.now = t0.Add(-time.Duration(i) * time.Second) // the wall runs backward: only the order counts
		b.said(i+1, chat, fmt.Sprint(i))
		if i%3 == 0 {
			b.restart()
		}
	}
	for _, tt := range []struct {
		chat  payload.ChatID
		limit int
		want  string
	}{
		{"", 3, "[6 5 4] [3 2 1] [0]"},
		{"", 7, "[6 5 4 3 2 1 0]"},
		{"", 0, "[6 5 4 3 2 1 0]"},
		{"odd", 1, "[5] [3] [1]"},
		{"odd", 2, "[5 3] [1]"},
		{"odd", 3, "[5 3 1]"},
	} {
		t.Run(fmt.Sprintf("%s/%d", tt.chat, tt.limit), func(t *testing.T) {
			b.t = t
			var pages []string
			before := ""
			for {
				p := only[payload.Page](t, b.above(payload.History{Ref: ref(9), Chat: tt.chat, Limit: tt.limit, Before: before}).Up)
				if p.Ref != ref(9) {
					t.Errorf("ref %v", p.Ref)
				}
				pages = append(pages, fmt.Sprint(texts(p.Messages)))
				if before = p.Next; before == "" {
					break
				}
			}
			if got := strings.Join(pages, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestHistoryRefusesBadQuestions(t *testing.T) {
	b := open(t, alice)
	for i := range byte(3) {
		b.said(i+1, "status", "x")
		b.said(i+11, "other", "x")
	}
	next := only[payload.Page](t, b.above(payload.History{Chat: "status", Limit: 1}).Up).Next
	global := only[payload.Page](t, b.above(payload.History{Limit: 1}).Up).Next
	if next == "" || global == "" {
		t.Fatal("no cursors")
	}
	for _, h := range []payload.History{
		{Limit: -1},
		{Limit: 1001},
		{Chat: "nobody-was-here"},
		{Chat: "#status"},
		{Chat: "status", Before: "x"},
		{Chat: "status", Before: next + "A"},
		{Chat: "status", Before: next[:len(next)-4]},
		{Chat: "status", Before: strings.Repeat("A", 1000)},
		{Chat: "status", Before: global},
		{Chat: "other", Before: next},
		{Before: next},
	} {
		b.refused(h)
	}
}

func TestPageIsBoundedInBytes(t *testing.T) {
	b := open(t, alice, func(c *Config) { c.MaxTextBytes = 1 << 19 })
	b.below(ready(1 << 20))
	for i := range byte(10) {
		b.said(i+1, "status", strings.Repeat("a", 1<<19))
	}
	p := only[payload.Page](t, b.above(payload.History{Chat: "status"}).Up)
	if len(p.Messages) != maxPageBytes>>19 || p.Next == "" {
		t.Errorf("%d messages of 512 KiB in a page, next %q", len(p.Messages), p.Next)
	}
	rest := only[payload.Page](t, b.above(payload.History{Chat: "status", Before: p.Next}).Up)
	if len(rest.Messages) != 10-len(p.Messages) || rest.Next != "" {
		t.Errorf("%d messages in the second page, next %q", len(rest.Messages), rest.Next)
	}
}
