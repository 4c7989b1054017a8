package status

import (
	"math"
	"testing"
	"time"

	"github.com/stratanode/strata/layers/datasync"
)

func TestClockFollowsTheWallAndNeverStands(t *testing.T) {
	ms := uint64(t0.UnixMilli())
	for _, tt := range []struct {
		name       string
		last, want uint64
		now        time.Time
	}{
		{"new chat", 0, ms, t0},
		{"behind", ms - 1, ms, t0},
		{"same", ms, ms + 1, t0},
		{"ahead", ms + 500, ms + 501, t0},
		{"wall set back", ms + 3_600_000, ms + maxClockSaid, t0},
		{"largest", math.MaxUint64 - 1, ms + maxClockSaid, t0},
		{"before 1970", 0, 1, time.Unix(-5, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := nextClock(tt.last, tt.now); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestAnswerComesAfterWhatItAnswers(t *testing.T) {
	b := open(t, bob)
	c := chatTo(chatOf(bob), func(c *chatMessage) { c.clock += 60_000 })
	b.below(private(1, alice, signed(alice, c)))
	b.restart()
	if m, _ := b.said(1, chatOf(alice), "x"); m.Clock != c.clock+1 {
		t.Errorf("answered with clock %d, want %d", m.Clock, c.clock+1)
	}
}

func TestClockAtTheLimitDoesNotSpoilTheNextMessage(t *testing.T) {
	a := open(t, alice)
	a.said(1, "status", "first")
	b := open(t, bob)
	b.said(1, "status", "first")
	poison := chatMessage{
		clock: milliseconds(t0) + maxClockRead, timestamp: 1, text: "poison",
		chatID: "status", kind: typePublic, content: contentText,
	}
	a.below(datasync.Received{From: mallory.Public(), Channel: "status", Body: wrap(mallory, typeChatMessage, poison.encode())})
	last := uint64(0)
	for i := range byte(100) {
		m, out := a.said(10+i, "status", "same text")
		if m.Clock <= last {
			t.Fatalf("clock %d after %d", m.Clock, last)
		}
		last = m.Clock
		e := datasync.Received{From: alice.Public(), Channel: "status", Body: only[datasync.Broadcast](t, out.Down).Body}
		if _, err := b.node.FromBelow(t0.Add(-5*time.Second), e); err != nil {
			t.Fatalf("message %d is refused by one whose clock is 5 s behind: %v", i, err)
		}
	}
}

func TestIDsDifferAlsoWhenTheWallWasSetBack(t *testing.T) {
	b := open(t, alice)
	b.now = t0.Add(24 * time.Hour)
	b.said(1, "status", "x")
	b.now = t0
	seen := map[string]bool{}
	for i := range byte(5) {
		m, out := b.said(10+i, "status", "x")
		if seen[m.ID.String()] {
			t.Fatalf("id %v twice", m.ID)
		}
		seen[m.ID.String()] = true
		if d, _, err := decode(only[datasync.Broadcast](t, out.Down).Body); err != nil || d.clock > milliseconds(t0)+maxClockRead {
			t.Errorf("clock %d would be refused, %v", d.clock, err)
		}
	}
}
