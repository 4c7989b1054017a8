package rpc

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// mailbox is a payload layer as the API sees it: commands are worked off in
// order, answers are heard in order, and a break loses the command at hand.
type mailbox struct {
	server   *Server
	commands []payload.Command
	events   []payload.Event
	said     map[layers.Ref]int
}

func newMailbox() *mailbox {
	m := &mailbox{server: New(DefaultConfig(), "", Node{}), said: map[layers.Ref]int{}}
	m.server.payload.send = func(c payload.Command) { m.commands = append(m.commands, c) }
	return m
}

func (m *mailbox) say() (*call[payload.Command], layers.Ref) {
	c, _ := m.server.payload.ask(func(r layers.Ref) payload.Command { return payload.Say{Ref: r, Text: "x"} })
	return c, c.command.(payload.Say).Ref
}

// work works off the next command.
func (m *mailbox) work() {
	if len(m.commands) == 0 {
		return
	}
	switch c := m.commands[0].(type) {
	case payload.Say:
		m.said[c.Ref]++
		m.events = append(m.events, payload.Said{Ref: c.Ref})
	case payload.ListChats:
		m.events = append(m.events, payload.Chats{Ref: c.Ref})
	}
	m.commands = m.commands[1:]
}

// lose breaks the layer on the next command.
func (m *mailbox) lose() {
	if len(m.commands) > 0 {
		m.commands = m.commands[1:]
	}
	m.restart()
}

func (m *mailbox) restart() { m.events = append(m.events, payload.Ready{Self: self}) }

// hear lets the API hear the next event.
func (m *mailbox) hear() {
	if len(m.events) > 0 {
		e := m.events[0]
		m.events = m.events[1:]
		m.server.hearPayload(e)
	}
}

func (m *mailbox) drain() {
	for len(m.commands)+len(m.events) > 0 {
		m.work()
		m.hear()
	}
}

func TestLostCommandIsSentAgain(t *testing.T) {
	m := newMailbox()
	c, ref := m.say()
	m.lose()
	m.drain()
	if m.said[ref] != 1 || len(c.answer) != 1 {
		t.Errorf("said %d times and answered %d times, want once", m.said[ref], len(c.answer))
	}
}

func TestQueuedCommandIsNotSaidTwice(t *testing.T) {
	m := newMailbox()
	c, ref := m.say()
	m.restart() // while the command is in the mailbox, which survives
	m.hear()
	m.drain()
	if m.said[ref] != 1 || len(c.answer) != 1 {
		t.Errorf("said %d times and answered %d times, want once", m.said[ref], len(c.answer))
	}
}

func TestCommandThatIsAlwaysLostIsGivenUp(t *testing.T) {
	m := newMailbox()
	m.say()
	sent := 0
	for range 100 {
		if len(m.commands) == 0 {
			break
		}
		if _, ok := m.commands[0].(payload.Say); ok {
			sent++
			m.lose()
		} else {
			m.work()
		}
		for len(m.events) > 0 {
			m.hear()
		}
	}
	if want := 1 + maxRepeats; sent != want || len(m.commands) != 0 {
		t.Errorf("sent %d times with %d commands left, want %d and none", sent, len(m.commands), want)
	}
}

func TestEveryCommandIsSaidOnceWhateverRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMailbox()
		calls := map[layers.Ref]*call[payload.Command]{}
		losses := 0
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"say", "work", "hear", "lose", "restart"}).Draw(t, "step") {
			case "say":
				c, ref := m.say()
				calls[ref] = c
			case "work":
				m.work()
			case "hear":
				m.hear()
			case "lose":
				// A command lost more often than it is repeated stays lost.
				if losses < maxRepeats {
					losses++
					m.lose()
				}
			case "restart":
				m.restart()
			}
		}
		m.drain()
		for ref, c := range calls {
			if m.said[ref] != 1 || len(c.answer) != 1 {
				t.Fatalf("said %d times and answered %d times, want once", m.said[ref], len(c.answer))
			}
		}
	})
}
