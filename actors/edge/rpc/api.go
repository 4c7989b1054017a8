package rpc

import (
	"context"
	"encoding/hex"
	"runtime"
	"slices"
	"strings"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/secure"
)

// maxTrace bounds the steps of one answer to trace, and maxRelated the further
// messages it follows.
const (
	maxTrace   = 1000
	maxRelated = 32
)

// replaceWithin bounds a replacement: a plugin may take 10 s to start.
const replaceWithin = 20 * time.Second

// api holds the methods: strata_say and so on. Its exported methods are the
// whole API.
type api struct {
	server *Server
	of     *running
}

// Say writes text into a chat: the name of a public chat, or the public key of
// the other person. The answer means that the message is durable here and will
// be sent.
func (a *api) Say(ctx context.Context, chat payload.ChatID, text string) (payload.Message, error) {
	said, err := ask[payload.Said](ctx, a, a.server.payload, func(r layers.Ref) payload.Command {
		return payload.Say{Ref: r, Chat: chat, Text: text}
	})
	return said.Message, err
}

// Join opens a public chat.
func (a *api) Join(ctx context.Context, channel secure.Channel) error {
	_, err := ask[payload.Done](ctx, a, a.server.payload, func(r layers.Ref) payload.Command {
		return payload.Join{Ref: r, Channel: channel}
	})
	return err
}

// Leave closes a chat; its history stays.
func (a *api) Leave(ctx context.Context, chat payload.ChatID) error {
	_, err := ask[payload.Done](ctx, a, a.server.payload, func(r layers.Ref) payload.Command {
		return payload.Leave{Ref: r, Chat: chat}
	})
	return err
}

// Chats lists the chats, sorted by id.
func (a *api) Chats(ctx context.Context) ([]payload.Chat, error) {
	c, err := ask[payload.Chats](ctx, a, a.server.payload, listChats)
	return notNil(c.Chats), err
}

// History returns messages, newest first. Without a query it is that of all
// chats.
func (a *api) History(ctx context.Context, q *Query) (Page, error) {
	if q == nil {
		q = &Query{}
	}
	if q.Limit < 0 || q.Limit > 1000 {
		return Page{}, fault(CodeInvalid, "limit: %d is not between 0 and 1000", q.Limit)
	}
	p, err := ask[payload.Page](ctx, a, a.server.payload, func(r layers.Ref) payload.Command {
		return payload.History{Ref: r, Chat: q.Chat, Limit: q.Limit, Before: q.Before}
	})
	return Page{notNil(p.Messages), p.Next}, err
}

// Peers lists the live links and the nodes that are to be linked.
func (a *api) Peers(ctx context.Context) ([]overlay.PeerInfo, error) {
	l, err := ask[overlay.Listed](ctx, a, a.server.overlay, func(r layers.Ref) overlay.Command {
		return overlay.ListPeers{Ref: r}
	})
	return notNil(l.Peers), err
}

// AddPeer makes the node keep a link to a node, given by enode URL or ENR. A
// trusted one may connect beyond the peer limit.
func (a *api) AddPeer(ctx context.Context, node string, trusted *bool) error {
	_, err := ask[overlay.Done](ctx, a, a.server.overlay, func(r layers.Ref) overlay.Command {
		return overlay.AddPeer{Ref: r, Node: node, Trusted: trusted != nil && *trusted}
	})
	return err
}

// RemovePeer undoes AddPeer and ends the link.
func (a *api) RemovePeer(ctx context.Context, node string) error {
	_, err := ask[overlay.Done](ctx, a, a.server.overlay, func(r layers.Ref) overlay.Command {
		return overlay.RemovePeer{Ref: r, Node: node}
	})
	return err
}

// Identity says who this node is. Just after the start it waits for the layers
// to say so.
func (a *api) Identity(ctx context.Context) (Identity, error) { return a.server.Self(ctx) }

// Version says what program this node runs.
func (a *api) Version() Version { return a.server.node.Version }

// Status describes the node. It asks no layer, so it answers when they do not.
func (a *api) Status() Status {
	s := a.server
	all := s.node.Layers()
	st := Status{
		Reasons:  reasonsOf(all),
		Started:  s.started,
		Version:  s.node.Version.Version,
		Identity: s.identity(),
		API: Usage{
			Calls: s.usage.calls.Load(), Busy: s.usage.busy.Load(),
			TimedOut: s.usage.timedOut.Load(), TurnedAway: s.usage.turnedAway.Load(),
		},
	}
	st.Healthy = len(st.Reasons) == 0
	st.Process = Process{runtime.NumGoroutine(), residentMemory()}
	st.API.Subscribers, st.API.CutOff = s.subscribers.count()
	s.known.Lock()
	st.Peers, st.History = len(s.known.peers), s.known.history
	s.known.Unlock()
	loads := map[string]actors.Load{}
	for _, l := range s.node.Loads() {
		loads[l.Name] = l
	}
	residents := map[string]Resident{}
	if s.node.Residents != nil {
		residents = s.node.Residents()
	}
	st.Layers = make([]Layer, 0, len(all))
	for _, l := range all {
		load := loads[l.Name]
		st.Peers += residents[l.Name].Peers
		st.Layers = append(st.Layers, Layer{l, residents[l.Name], load.Queue, load.Steps, load.Refused, load.Quarantined})
	}
	return st
}

// ReplaceLayer exchanges the resident of a slot for the one that the text of a
// layer configuration file describes; file is its name. A configuration can name
// programs to run, so this is only for those who can open the socket in the
// data folder. If the new one does not open, nothing has changed.
func (a *api) ReplaceLayer(ctx context.Context, slot, file, text string) error {
	if gethrpc.PeerInfoFromContext(ctx).Transport != "ipc" {
		return fault(CodeRefused, "a layer can be replaced only over the socket in the data folder")
	}
	if a.server.node.Replace == nil {
		return fault(CodeNoLayer, "this node has no layer that can be replaced")
	}
	ctx, cancel := context.WithTimeout(ctx, replaceWithin)
	defer cancel()
	if err := a.server.node.Replace(ctx, slot, file, []byte(text)); err != nil {
		return fault(CodeRefused, "%s not replaced: %v", slot, err)
	}
	return nil
}

// Quarantine lists the inputs that broke a layer and are refused since.
func (a *api) Quarantine() []actors.Quarantined { return notNil(a.server.node.Quarantined()) }

// Trace returns the life of a message or an envelope, given by its id in hex:
// the steps it took part in, and those of the envelopes it travelled in, in
// the order of time. Only the latest steps of the node are remembered.
func (a *api) Trace(id string) ([]actors.Step, error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(id), "0x"), "0X")
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) < 4 || len(b) > 65 {
		return nil, fault(CodeInvalid, "id: want 4 to 65 bytes in hex")
	}
	steps := a.server.node.Trace(b)
	steps = related(steps, hex.EncodeToString(b), a.server.node.Trace)
	return notNil(steps[:min(len(steps), maxTrace)]), nil
}

// related adds to steps those of the other messages named in them: what happens
// to an envelope later has another cause, but the same hash.
func related(steps []actors.Step, id string, find func([]byte) []actors.Step) []actors.Step {
	asked := map[string]bool{id: true}
	have := map[actors.Span]bool{}
	for _, s := range steps {
		have[s.Span] = true
	}
	for i, found := 0, len(steps); i < found; i++ {
		for _, other := range steps[i].Identity {
			b, err := hex.DecodeString(other)
			if err != nil || len(b) != 32 || asked[other] || len(asked) > maxRelated {
				continue
			}
			asked[other] = true
			more := find(b)
			more = slices.DeleteFunc(more, func(s actors.Step) bool { return have[s.Span] })
			for _, s := range more {
				have[s.Span] = true
			}
			steps = append(steps, more...)
		}
	}
	slices.SortStableFunc(steps, func(a, b actors.Step) int { return a.At.Compare(b.At) })
	return steps
}

// notNil makes the JSON of an empty list [] instead of null.
func notNil[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
