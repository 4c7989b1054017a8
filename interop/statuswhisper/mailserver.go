package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/status-im/whisper/whisperv6"
)

// The sealed forms of a request. A server of the time knows one of them, and
// go-ethereum's RLP decoder takes no other number of fields.
type (
	sealed6 struct {
		From, To uint32
		Bloom    []byte
		Limit    uint32
		Cursor   []byte
		Batch    bool
	}
	sealed7 struct {
		From, To uint32
		Bloom    []byte
		Topics   [][]byte
		Limit    uint32
		Cursor   []byte
		Batch    bool
	}
)

// defaultLimit is the size of a page for which no limit is asked, as in status-go.
const defaultLimit = 1000

// mailbox is a mail server in memory: oldest first, pages by cursor as status-go
// has them (sent time and hash, 36 bytes).
type mailbox struct {
	shh  *whisperv6.Whisper
	form string
	key  []byte

	mu   sync.Mutex
	kept []*whisperv6.Envelope // in order of arrival
}

var _ whisperv6.MailServer = (*mailbox)(nil)

func newMailbox(shh *whisperv6.Whisper, form, password string) (*mailbox, error) {
	if form != "rlp6" && form != "rlp7" {
		return nil, fmt.Errorf("-mail-server: %q is neither rlp6 nor rlp7", form)
	}
	b := &mailbox{shh: shh, form: form}
	id, err := shh.AddSymKeyFromPassword(password)
	if err != nil {
		return nil, fmt.Errorf("-mail-password: %w", err)
	}
	b.key, err = shh.GetSymKey(id)
	return b, err
}

// Archive implements whisperv6.MailServer.
func (b *mailbox) Archive(e *whisperv6.Envelope) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, e)
}

func (b *mailbox) all() []*whisperv6.Envelope {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*whisperv6.Envelope(nil), b.kept...)
}

// page returns what matches after the cursor, and the cursor for the next page:
// like status-go's, it is there whenever the page is full.
func (b *mailbox) page(from, to uint32, bloom []byte, limit uint32, cursor []byte) (page []*whisperv6.Envelope, next []byte) {
	if limit == 0 {
		limit = defaultLimit
	}
	past := len(cursor) == 0
	for _, e := range b.all() {
		at := cursorOf(e)
		if !past {
			past = bytes.Equal(at, cursor)
			continue
		}
		if sent := e.Expiry - e.TTL; sent < from || sent > to || !whisperv6.BloomFilterMatch(bloom, e.Bloom()) {
			continue
		}
		if page = append(page, e); uint32(len(page)) == limit {
			return page, at
		}
	}
	return page, nil
}

func cursorOf(e *whisperv6.Envelope) []byte {
	hash := e.Hash()
	return append(bigEndian(nil, e.Expiry-e.TTL), hash[:]...)
}

// Deliver implements whisperv6.MailServer: a plain request.
func (b *mailbox) Deliver(to *whisperv6.Peer, r whisperv6.MessagesRequest) {
	b.answer(to, common.BytesToHash(r.ID), sealed6{r.From, r.To, r.Bloom, r.Limit, r.Cursor, true})
}

// DeliverMail implements whisperv6.MailServer: a sealed request.
func (b *mailbox) DeliverMail(to *whisperv6.Peer, sealed *whisperv6.Envelope) {
	r, err := b.open(sealed)
	if err != nil {
		b.refuse(to, sealed.Hash(), err)
		return
	}
	b.answer(to, sealed.Hash(), r)
}

// open reads a request as a server of the time does: RLP of one form, or else
// what the oldest clients send.
func (b *mailbox) open(e *whisperv6.Envelope) (r sealed6, err error) {
	m, err := e.OpenSymmetric(b.key)
	if err != nil {
		return r, errors.New("failed to decrypt p2p request")
	}
	if !m.ValidateAndParse() || m.Src == nil {
		return r, errors.New("wrong signature of p2p request")
	}
	if b.form == "rlp6" {
		err = rlp.DecodeBytes(m.Payload, &r)
	} else {
		var seven sealed7
		err = rlp.DecodeBytes(m.Payload, &seven)
		r = sealed6{seven.From, seven.To, seven.Bloom, seven.Limit, seven.Cursor, seven.Batch}
	}
	if err == nil {
		return r, nil
	}
	const head = 8
	if len(m.Payload) < head+whisperv6.BloomFilterSize {
		return r, errors.New("Undersized p2p request")
	}
	r = sealed6{From: binary.BigEndian.Uint32(m.Payload), To: binary.BigEndian.Uint32(m.Payload[4:])}
	r.Bloom = m.Payload[head : head+whisperv6.BloomFilterSize]
	if rest := m.Payload[head+whisperv6.BloomFilterSize:]; len(rest) >= 4 {
		r.Limit = binary.BigEndian.Uint32(rest)
	}
	return r, nil
}

// answer sends packets 127, as a list or one by one, and then 125.
func (b *mailbox) answer(to *whisperv6.Peer, id common.Hash, r sealed6) {
	switch {
	case r.From > r.To:
		b.refuse(to, id, fmt.Errorf("query range is invalid: from > to (%d > %d)", r.From, r.To))
		return
	case len(r.Bloom) != whisperv6.BloomFilterSize:
		b.refuse(to, id, errors.New("request is invalid: bloom filter is empty"))
		return
	}
	page, next := b.page(r.From, r.To, r.Bloom, r.Limit, r.Cursor)
	var last common.Hash
	if len(page) > 0 {
		last = page[len(page)-1].Hash()
	}
	if r.Batch && len(page) > 0 {
		b.sent(b.shh.SendP2PDirect(to, page...))
	} else {
		for _, e := range page {
			b.sent(b.shh.SendP2PDirect(to, e))
		}
	}
	b.sent(b.shh.SendHistoricMessageResponse(to, whisperv6.CreateMailServerRequestCompletedPayload(id, last, next)))
}

func (b *mailbox) refuse(to *whisperv6.Peer, id common.Hash, why error) {
	b.sent(b.shh.SendHistoricMessageResponse(to, whisperv6.CreateMailServerRequestFailedPayload(id, why)))
}

func (b *mailbox) sent(err error) {
	if err != nil {
		log.Error("mail", "err", err)
	}
}

// SyncMail implements whisperv6.MailServer.
func (b *mailbox) SyncMail(to *whisperv6.Peer, r whisperv6.SyncMailRequest) error {
	page, next := b.page(r.Lower, r.Upper, r.Bloom, r.Limit, r.Cursor)
	if len(page) > 0 {
		if err := b.shh.SendSyncResponse(to, whisperv6.SyncResponse{Envelopes: page}); err != nil {
			return err
		}
	}
	return b.shh.SendSyncResponse(to, whisperv6.SyncResponse{Cursor: next, Final: true})
}
