package rpc

import (
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
)

// hearPayload takes the events of the payload layer. It must not wait.
func (s *Server) hearPayload(e payload.Event) {
	switch e := e.(type) {
	case payload.Ready:
		s.know(func(i *Identity) { i.ChatKey = e.Self })
		s.payload.fence(listChats)
	case payload.Received:
		s.subscribers.publish(messages, Notice{Message: &e.Message})
	case payload.StatusChanged:
		c := StatusChange{e.ID, e.Chat, e.Status, e.Reason}
		s.subscribers.publish(statuses, Notice{Status: &c})
	case payload.Said:
		s.payload.answered(e.Ref, e)
	case payload.Done:
		s.payload.answered(e.Ref, e)
	case payload.Refused:
		s.payload.answered(e.Ref, e)
	case payload.Page:
		s.payload.answered(e.Ref, e)
	case payload.Chats:
		if !s.payload.passed(e.Ref, listChats) {
			s.payload.answered(e.Ref, e)
		}
	}
}

// hearOverlay takes the events of the overlay. It must not wait.
func (s *Server) hearOverlay(e overlay.Event) {
	switch e := e.(type) {
	case overlay.Ready:
		s.know(func(i *Identity) { i.Peer, i.Enode, i.ENR = e.ID.String(), e.Enode, e.ENR })
		s.known.Lock()
		clear(s.known.peers) // a Connected follows for every link that is alive
		s.known.Unlock()
		s.overlay.repeat() // harmless: adding, removing and listing can be done twice
	case overlay.Connected:
		s.known.Lock()
		s.known.peers[e.Peer] = true
		s.known.Unlock()
	case overlay.Disconnected:
		s.known.Lock()
		delete(s.known.peers, e.Peer)
		s.known.Unlock()
	case overlay.Done:
		s.overlay.answered(e.Ref, e)
	case overlay.Refused:
		s.overlay.answered(e.Ref, e)
	case overlay.Listed:
		s.overlay.answered(e.Ref, e)
	}
}

// hearTransport takes the events of the transport that answer calls. It must not
// wait.
func (s *Server) hearTransport(e transport.Event) {
	switch e := e.(type) {
	case transport.Ready:
		s.transport.repeat() // the same Ref is the same command, and all can be done twice
	case transport.History:
		s.fetching.add(e)
	case transport.Queried:
		s.transport.answered(e.Ref, fetched{e, s.fetching.take(e.Ref)})
	case transport.Described:
		s.transport.answered(e.Ref, e)
	case transport.Explained:
		s.transport.answered(e.Ref, e)
	case transport.Done:
		s.transport.answered(e.Ref, e)
	case transport.Refused:
		s.transport.answered(e.Ref, e)
	}
}

// hearEnvelope takes what the envelope layer tells of its catching up. It must
// not wait.
func (s *Server) hearEnvelope(e envelope.Event) {
	p, ok := e.(envelope.Progress)
	if !ok {
		return
	}
	h := historyOf(p)
	s.known.Lock()
	s.known.history = &h
	s.known.Unlock()
	s.subscribers.publish(progress, Notice{History: &h})
}
