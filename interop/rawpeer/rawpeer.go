// Package rawpeer speaks Whisper packets by hand over go-ethereum v1.9.20's
// RLPx: what is sent and received is exactly the bytes that the caller gives and
// gets. It knows no rules, so it can break them.
package rawpeer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Packet codes (EIP-627; 11, 12 and 123 to 125 are of status-im/whisper; 123 to 127 are for mail
// servers).
const (
	Status       = 0
	Messages     = 1
	PoW          = 2
	Bloom        = 3
	Acknowledged = 11
	Response     = 12
	SyncRequest  = 123
	SyncResponse = 124
	Complete     = 125
	Request      = 126
	Direct       = 127
)

const (
	protocolLength = 128 // packet codes of Whisper (EIP-627)
	waiting        = 256 // packets that may wait for the reader; then the node waits
)

// Packet is one devp2p message of Whisper.
type Packet struct {
	Code    uint64
	Payload []byte // one RLP value
}

// Link is one connection to a node, made by an identity of its own.
type Link struct {
	Key    *ecdsa.PrivateKey // of the node that this link pretends to be
	Status []byte            // of the other side, as it came

	server  *p2p.Server
	rw      p2p.MsgReadWriter
	packets chan Packet
	open    chan struct{}
	quit    chan struct{}
	closing sync.Once
	done    chan struct{}
	err     error // why it ended; read it after done
}

// Dial connects to a node and exchanges status packets.
func Dial(ctx context.Context, url string, status []byte) (*Link, error) {
	node, err := enode.ParseV4(url)
	if err != nil {
		return nil, err
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	l := &Link{
		Key: key, packets: make(chan Packet, waiting),
		open: make(chan struct{}), quit: make(chan struct{}), done: make(chan struct{}),
	}
	quiet := log.New()
	quiet.SetHandler(log.DiscardHandler())
	var once sync.Once
	l.server = &p2p.Server{Config: p2p.Config{
		Name: "rawpeer", PrivateKey: key, MaxPeers: 1, NoDiscovery: true, Logger: quiet,
		Protocols: []p2p.Protocol{{
			Name: "shh", Version: 6, Length: protocolLength,
			Run: func(_ *p2p.Peer, rw p2p.MsgReadWriter) error {
				again := true
				once.Do(func() { again = false })
				if again {
					return errors.New("rawpeer: a link is made once")
				}
				l.rw = rw
				l.err = l.run(status)
				close(l.done)
				return l.err
			},
		}},
	}}
	if err := l.server.Start(); err != nil {
		return nil, err
	}
	l.server.AddPeer(node)
	select {
	case <-l.open:
		return l, nil
	case <-l.done:
		err = l.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.Close()
	return nil, fmt.Errorf("rawpeer: no link to %s: %w", url, err)
}

// run is the life of the connection.
func (l *Link) run(status []byte) error {
	sent := make(chan error, 1)
	go func() { sent <- l.Send(Status, status) }()
	first, err := l.read()
	if err != nil {
		return err
	}
	if first.Code != Status {
		return fmt.Errorf("first packet has code %d, want 0", first.Code)
	}
	if err := <-sent; err != nil {
		return err
	}
	l.Status = first.Payload
	close(l.open)
	for {
		p, err := l.read()
		if err != nil {
			return err
		}
		select {
		case l.packets <- p:
		case <-l.quit:
			return errors.New("closed")
		}
	}
}

func (l *Link) read() (Packet, error) {
	m, err := l.rw.ReadMsg()
	if err != nil {
		return Packet{}, err
	}
	payload, err := io.ReadAll(m.Payload)
	return Packet{m.Code, payload}, err
}

// Send writes one packet. It returns when the packet is with the system.
func (l *Link) Send(code uint64, payload []byte) error {
	return l.rw.WriteMsg(p2p.Msg{Code: code, Size: uint32(len(payload)), Payload: bytes.NewReader(payload)})
}

// Packets brings what the node sends after its status.
func (l *Link) Packets() <-chan Packet { return l.packets }

// Ended is closed when the connection has ended.
func (l *Link) Ended() <-chan struct{} { return l.done }

// Err says why the connection has ended.
func (l *Link) Err() error { return l.err }

// Close ends the connection and waits until it is gone.
func (l *Link) Close() {
	l.closing.Do(func() {
		close(l.quit)
		l.server.Stop()
	})
}
