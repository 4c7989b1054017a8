package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/status-im/whisper/whisperv6"
)

// adminAPI is the part of go-ethereum's admin_* that the tests use.
type adminAPI struct{ net *p2p.Server }

// Peers implements admin_peers.
func (a *adminAPI) Peers() []*p2p.PeerInfo { return a.net.PeersInfo() }

// AddPeer implements admin_addPeer.
func (a *adminAPI) AddPeer(url string) (bool, error) {
	node, err := enode.ParseV4(url)
	if err != nil {
		return false, err
	}
	a.net.AddPeer(node)
	return true, nil
}

// mailAPI is what the library offers to programs and not over JSON-RPC.
type mailAPI struct {
	shh *whisperv6.Whisper
	key *ecdsa.PrivateKey // of the node
	box *mailbox          // nil if this is no mail server
}

// Request says what is asked of a mail server, and how.
type Request struct {
	Server   string        `json:"server"`   // enode URL
	Form     string        `json:"form"`     // plain, rlp6, rlp7 or fixed
	Password string        `json:"password"` // of a sealed form; empty: sealed for the node key of the server
	From     uint32        `json:"from"`     // seconds
	To       uint32        `json:"to"`
	Bloom    hexutil.Bytes `json:"bloom"`
	Limit    uint32        `json:"limit"`
	Cursor   hexutil.Bytes `json:"cursor"`
}

// Ask implements mail_ask. It returns the id of the request.
func (m *mailAPI) Ask(r Request) (id hexutil.Bytes, err error) {
	server, err := enode.ParseV4(r.Server)
	if err != nil {
		return nil, err
	}
	if r.Form == "plain" {
		id = make([]byte, common.HashLength)
		if _, err := rand.Read(id); err != nil {
			return nil, err
		}
		return id, m.shh.SendMessagesRequest(server.ID().Bytes(), whisperv6.MessagesRequest{
			ID: id, From: r.From, To: r.To, Limit: r.Limit, Cursor: r.Cursor, Bloom: r.Bloom,
		})
	}
	payload, err := r.payload()
	if err != nil {
		return nil, err
	}
	e, err := m.seal(payload, server, r.Password)
	if err != nil {
		return nil, err
	}
	return e.Hash().Bytes(), m.shh.RequestHistoricMessages(server.ID().Bytes(), e)
}

// payload returns what is sealed (Status 4/WHISPER-MAILSERVER and its
// implementations).
func (r Request) payload() ([]byte, error) {
	switch r.Form {
	case "rlp6":
		return rlp.EncodeToBytes(sealed6{r.From, r.To, r.Bloom, r.Limit, r.Cursor, true})
	case "rlp7":
		return rlp.EncodeToBytes(sealed7{r.From, r.To, r.Bloom, [][]byte{}, r.Limit, r.Cursor, true})
	case "fixed":
		b := bigEndian(bigEndian(nil, r.From), r.To)
		return append(bigEndian(append(b, r.Bloom...), r.Limit), r.Cursor...), nil
	}
	return nil, fmt.Errorf("form: %q is not plain, rlp6, rlp7 or fixed", r.Form)
}

func bigEndian(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// seal makes the envelope of a request, signed by the node key as status-go does.
func (m *mailAPI) seal(payload []byte, server *enode.Node, password string) (*whisperv6.Envelope, error) {
	p := &whisperv6.MessageParams{
		Src: m.key, Payload: payload, PoW: m.shh.MinPow(), WorkTime: 5, TTL: whisperv6.DefaultTTL,
	}
	if password == "" {
		p.Dst = server.Pubkey()
	} else {
		id, err := m.shh.AddSymKeyFromPassword(password)
		if err != nil {
			return nil, err
		}
		if p.KeySym, err = m.shh.GetSymKey(id); err != nil {
			return nil, err
		}
	}
	message, err := whisperv6.NewSentMessage(p)
	if err != nil {
		return nil, err
	}
	return message.Wrap(p, time.Now())
}

// Archived implements mail_archived: the envelopes that were kept, oldest first.
func (m *mailAPI) Archived() ([]hexutil.Bytes, error) {
	if m.box == nil {
		return nil, errors.New("this peer is no mail server")
	}
	var raws []hexutil.Bytes
	for _, e := range m.box.all() {
		raw, err := rlp.EncodeToBytes(e)
		if err != nil {
			return nil, err
		}
		raws = append(raws, raw)
	}
	return raws, nil
}

// Direct implements mail_direct: envelopes straight to a peer, in packet 127.
func (m *mailAPI) Direct(to string, raws []hexutil.Bytes) (bool, error) {
	node, err := enode.ParseV4(to)
	if err != nil {
		return false, err
	}
	var all []*whisperv6.Envelope
	for _, raw := range raws {
		e := new(whisperv6.Envelope)
		if err := rlp.DecodeBytes(raw, e); err != nil {
			return false, err
		}
		all = append(all, e)
	}
	return true, m.shh.SendP2PMessage(node.ID().Bytes(), all...)
}

// Sync implements mail_sync: it asks another mail server for its archive.
func (m *mailAPI) Sync(server string, from, to uint32, bloom hexutil.Bytes, limit uint32) (bool, error) {
	node, err := enode.ParseV4(server)
	if err != nil {
		return false, err
	}
	if err := m.shh.AllowP2PMessagesFromPeer(node.ID().Bytes()); err != nil {
		return false, err
	}
	return true, m.shh.SyncMessages(node.ID().Bytes(), whisperv6.SyncMailRequest{Lower: from, Upper: to, Bloom: bloom, Limit: limit})
}

// happening is one event of the library.
type happening struct {
	Event  whisperv6.EventType `json:"event"`
	Hash   common.Hash         `json:"hash"` // of an envelope, or the id of a request
	Batch  common.Hash         `json:"batch"`
	Peer   enode.ID            `json:"peer"`
	Errors []envelopeError     `json:"errors"` // of packet 12
	Cursor hexutil.Bytes       `json:"cursor"` // of packets 124 and 125
	Last   common.Hash         `json:"last"`
	Error  string              `json:"error"`
}

type envelopeError struct {
	Hash common.Hash `json:"hash"`
	Code uint        `json:"code"`
	Text string      `json:"text"`
}

func happeningOf(e whisperv6.EnvelopeEvent) happening {
	h := happening{Event: e.Event, Hash: e.Hash, Batch: e.Batch, Peer: e.Peer}
	switch d := e.Data.(type) {
	case []whisperv6.EnvelopeError:
		for _, e := range d {
			h.Errors = append(h.Errors, envelopeError{e.Hash, e.Code, e.Description})
		}
	case *whisperv6.MailServerResponse:
		h.Cursor, h.Last = d.Cursor, d.LastEnvelopeHash
		if d.Error != nil {
			h.Error = d.Error.Error()
		}
	case whisperv6.SyncEventResponse:
		h.Cursor, h.Error = d.Cursor, d.Error
	}
	return h
}

// Events implements the subscription mail_subscribe "events".
func (m *mailAPI) Events(ctx context.Context) (*rpc.Subscription, error) {
	notifier, ok := rpc.NotifierFromContext(ctx)
	if !ok {
		return nil, rpc.ErrNotificationsUnsupported
	}
	sub := notifier.CreateSubscription()
	in := make(chan whisperv6.EnvelopeEvent, 1024)
	feed := m.shh.SubscribeEnvelopeEvents(in)
	go func() {
		defer feed.Unsubscribe()
		for {
			select {
			case e := <-in:
				_ = notifier.Notify(sub.ID, happeningOf(e))
			case <-sub.Err():
				return
			case <-notifier.Closed():
				return
			}
		}
	}()
	return sub, nil
}
