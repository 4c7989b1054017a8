package status

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/payload"
)

// The number of messages in a Page.
const (
	defaultPage = 100
	maxPage     = 1000

	maxPageBytes = 4 << 20 // of text; a page ends early rather than be larger
)

// history reads one page, newest first: of a chat in the order of its clock, of
// all chats in the order in which the messages became durable.
func (n *Node) history(out *output, h payload.History) error {
	limit := h.Limit
	switch {
	case limit == 0:
		limit = defaultPage
	case limit < 0 || limit > maxPage:
		return fmt.Errorf("limit: %d is not within 1 and %d", limit, maxPage)
	}
	prefix := prefixSeq
	if h.Chat != "" {
		id, _, err := parseChat(h.Chat)
		if err != nil {
			return err
		}
		if n.chats[id] == nil {
			return fmt.Errorf("chat: there is no %s", id)
		}
		prefix = orderPrefix(id)
	}
	from, to := layers.Prefix(prefix)
	if h.Before != "" {
		before, err := parseCursor(prefix, h.Before)
		if err != nil {
			return err
		}
		to = before
	}
	page := payload.Page{Ref: h.Ref, Messages: []payload.Message{}}
	last, size := "", 0
	for key, id := range n.saved.Scan(from, to, true) {
		if len(page.Messages) == limit || size >= maxPageBytes {
			page.Next = cursor(prefix, last)
			break
		}
		last = key
		if len(id) != len(payload.MessageID{}) {
			broken(key, fmt.Errorf("%d bytes, want 32", len(id)))
		}
		m, ok := n.message(payload.MessageID(id))
		if !ok {
			broken(key, errors.New("no such message"))
		}
		page.Messages = append(page.Messages, m.Message)
		size += len(m.Text)
	}
	out.Up = append(out.Up, page)
	return nil
}

// A cursor is the place of the last message of a page in its order, behind a
// mark of that order so that it is not used for another chat.

func cursorMark(prefix string) []byte {
	h := layers.Keccak256([]byte("cursor of " + prefix))
	return h[:4]
}

func cursor(prefix, key string) string {
	b := append(cursorMark(prefix), strings.TrimPrefix(key, prefix)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

var errCursor = errors.New("before: not the next of a page of this chat")

func parseCursor(prefix, text string) (key string, err error) {
	if len(text) > 256 {
		return "", errCursor
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < 4 || string(b[:4]) != string(cursorMark(prefix)) {
		return "", errCursor
	}
	place := string(b[4:])
	first, rest, nested := strings.Cut(place, "/")
	if prefix == prefixSeq && nested || prefix != prefixSeq && !nested {
		return "", errCursor
	}
	if !isHex(first, 16) || nested && !isHex(rest, 64) {
		return "", errCursor
	}
	return prefix + place, nil
}

// isHex reports whether s is that many lower-case hex digits.
func isHex(s string, digits int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(s) == digits && hex.EncodeToString(b) == s
}
