package status

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/datasync"
	"github.com/stratanode/strata/layers/payload"
)

// The bounds of chats.
const (
	maxChannelName = 64     // bytes; what is longer is a key
	maxOpenChats   = 10_000 // opened by the user; each costs the layers below a key and a topic
)

// strangerMessages is how many messages are kept of somebody this node never
// wrote to, so that no stranger fills the disk.
const strangerMessages = 1000

// chat is a public chat or a conversation with a person.
type chat struct {
	id       payload.ChatID
	person   layers.PublicKey // zero: public
	open     bool             // joined, or not left since the last message
	answered bool             // joined, or written to by this identity
	clock    uint64
	count    int // messages kept
}

func (c *chat) public() bool { return c.person.IsZero() }

// stranger reports whether c is open only because somebody wrote to us.
func (c *chat) stranger() bool { return c.open && !c.answered }

// parseChat reads the name of a chat and returns it as it is kept: the name of a
// public chat, or 0x04… in lower case and the person whose key that is.
func parseChat(s payload.ChatID) (payload.ChatID, layers.PublicKey, error) {
	name := string(s)
	keyLike := len(name) >= 4 && strings.EqualFold(name[:4], "0x04")
	if keyLike || len(name) == 130 {
		key, err := layers.ParsePublicKeyText(name)
		if err != nil {
			return "", key, fmt.Errorf("chat: looks like a public key, but is none: %w", err)
		}
		return payload.ChatID(key.String()), key, nil
	}
	if err := checkChannel(name); err != nil {
		return "", layers.PublicKey{}, err
	}
	return s, layers.PublicKey{}, nil
}

// checkChannel reports why name cannot be that of a public chat: 1 to 64 of
// [a-z0-9-], and neither a public key nor a topic that the protocol uses itself.
func checkChannel(name string) error {
	switch {
	case name == "":
		return errors.New("chat: the name is empty")
	case name[0] == '#':
		return errors.New("chat: the # is not part of the name; leave it out")
	case len(name) > maxChannelName:
		return fmt.Errorf("chat: the name has %d bytes, the limit is %d", len(name), maxChannelName)
	case strings.HasPrefix(name, "0x04"):
		return errors.New("chat: the name begins like a public key")
	case name == "contact-discovery" || strings.HasPrefix(name, "contact-discovery-"):
		return errors.New("chat: the name is one the protocol uses for contact discovery")
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			if r >= 'A' && r <= 'Z' {
				return fmt.Errorf("chat: the name has the capital %q; public chats are in lower case", r)
			}
			return fmt.Errorf("chat: the name has %q; only a-z, 0-9 and - are allowed", r)
		}
	}
	return nil
}

// find returns the chat of that name, or a new one that is not yet opened.
func (n *Node) find(id payload.ChatID, person layers.PublicKey) *chat {
	if c := n.chats[id]; c != nil {
		return c
	}
	return &chat{id: id, person: person}
}

// enter opens c because the user wants it and reports whether that changes what
// is watched. The caller saves c.
func (n *Node) enter(c *chat) (changed bool) {
	if c.open && c.answered {
		return false
	}
	if c.stranger() {
		n.strangers--
	}
	c.open, c.answered = true, true
	n.chats[c.id] = c
	return true
}

// mayEnter reports why c cannot be opened.
func (n *Node) mayEnter(c *chat) error {
	if c.open && c.answered {
		return nil
	}
	open := 0
	for _, c := range n.chats {
		if c.open && c.answered {
			open++
		}
	}
	if open >= maxOpenChats {
		return fmt.Errorf("chat: %d are open, which is the limit; leave one", maxOpenChats)
	}
	return nil
}

func (n *Node) join(out *output, j payload.Join) error {
	name := string(j.Channel)
	if err := checkChannel(name); err != nil {
		return err
	}
	c := n.find(payload.ChatID(name), layers.PublicKey{})
	if err := n.mayEnter(c); err != nil {
		return err
	}
	if n.enter(c) {
		out.Save = append(out.Save, c.record())
		n.watchAgain(out)
	}
	out.Up = append(out.Up, payload.Done{Ref: j.Ref})
	return nil
}

func (n *Node) leave(out *output, l payload.Leave) error {
	id, _, err := parseChat(l.Chat)
	if err != nil {
		return err
	}
	c := n.chats[id]
	if c == nil {
		return fmt.Errorf("chat: there is no %s", id)
	}
	if c.open {
		if c.stranger() {
			n.strangers--
		}
		c.open = false
		out.Save = append(out.Save, c.record())
		n.watchAgain(out)
	}
	out.Up = append(out.Up, payload.Done{Ref: l.Ref})
	return nil
}

// list returns the open chats, sorted by id.
func (n *Node) list() []payload.Chat {
	chats := make([]payload.Chat, 0, len(n.chats))
	for _, c := range n.chats {
		if c.open {
			chats = append(chats, payload.Chat{ID: c.id, Public: c.public(), Clock: c.clock})
		}
	}
	slices.SortFunc(chats, func(a, b payload.Chat) int { return cmp.Compare(a.ID, b.ID) })
	return chats
}

// watch returns the public chats and people of interest. Strangers are not among
// them: following somebody costs a key derivation, and their devices are known
// from their messages until they are answered.
func (n *Node) watch() datasync.Watch {
	var w datasync.Watch
	for _, c := range n.chats {
		switch {
		case !c.open || !c.answered:
		case c.public():
			w.Channels = append(w.Channels, datasync.Channel(c.id))
		default:
			w.Contacts = append(w.Contacts, c.person)
		}
	}
	slices.Sort(w.Channels)
	slices.SortFunc(w.Contacts, func(a, b layers.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	return w
}

// watchAgain repeats watch after a change. Before data sync is ready it is not
// needed.
func (n *Node) watchAgain(out *output) {
	if n.ready {
		out.Down = append(out.Down, n.watch())
	}
}
