package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/rlpx"
	"github.com/ethereum/go-ethereum/rlp"
)

// Of the devp2p base protocol (version 5).
const (
	devp2pHello      = 0
	devp2pDisconnect = 1
	devp2pPing       = 2
	devp2pPong       = 3
	devp2pBase       = 16 // codes of the base protocol; those of shh begin there
)

// stranger is a peer that keeps to the handshake and to nothing else. It has no
// server behind it, so hundreds of them are cheap.
type stranger struct {
	conn *rlpx.Conn
	mu   sync.Mutex // held while writing

	reading sync.WaitGroup
	over    chan struct{} // closed when the link is
}

// meet links to a node, greets it with the payload of a status packet, and calls
// heard, which may be nil, with every packet of shh that comes, until the end.
func meet(ctx context.Context, at string, status []byte, heard func(s *stranger, code uint64, payload []byte)) (*stranger, error) {
	node, err := enode.ParseV4(at)
	if err != nil {
		return nil, err
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(node.IPAddr().String(), fmt.Sprint(node.TCP()))
	fd, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &stranger{conn: rlpx.NewConn(fd, node.Pubkey()), over: make(chan struct{})}
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.conn.SetDeadline(deadline)
	}
	if _, err := s.conn.Handshake(key); err != nil {
		fd.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	hello, err := rlp.EncodeToBytes([]any{
		uint64(5), "stranger", []any{[]any{"shh", uint64(6)}}, uint64(0), crypto.FromECDSAPub(&key.PublicKey)[1:],
	})
	if err != nil {
		return nil, err
	}
	_, err = s.conn.Write(devp2pHello, hello)
	code, payload, _, readErr := s.conn.Read()
	if err = errors.Join(err, readErr); err != nil || code != devp2pHello {
		fd.Close()
		return nil, fmt.Errorf("hello answered with code %d, %x: %w", code, payload, err)
	}
	s.conn.SetSnappy(true)
	_ = s.conn.SetDeadline(time.Time{})
	s.reading.Go(func() { s.read(heard) })
	return s, s.write(codeStatus, status)
}

// read takes what comes until the link ends.
func (s *stranger) read(heard func(s *stranger, code uint64, payload []byte)) {
	defer close(s.over)
	defer s.conn.Close()
	for {
		code, payload, _, err := s.conn.Read()
		switch {
		case err != nil || code == devp2pDisconnect:
			return
		case code == devp2pPing:
			s.mu.Lock()
			_, _ = s.conn.Write(devp2pPong, []byte{0xc0})
			s.mu.Unlock()
		case code >= devp2pBase && heard != nil:
			heard(s, code-devp2pBase, bytes.Clone(payload))
		}
	}
}

// write sends a packet of shh. It waits as long as the node reads slowly.
func (s *stranger) write(code uint64, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(devp2pBase+code, payload)
	return err
}

// gone reports whether the node has ended the link.
func (s *stranger) gone() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// leave ends the link.
func (s *stranger) leave() {
	s.conn.Close()
	s.reading.Wait()
}
