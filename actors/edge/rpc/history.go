package rpc

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// fetchWithin bounds one page of history: an archive may be tried in several
// forms, each of which may take its time limit.
const fetchWithin = 2 * time.Minute

// Past asks for one page of envelopes of the past.
type Past struct {
	From   time.Time `json:"from"`             // when they were sent, included
	To     time.Time `json:"to,omitzero"`      // included; zero: now
	Topics []string  `json:"topics,omitempty"` // 4 bytes in hex each; none: all
	Limit  int       `json:"limit,omitempty"`  // at most 1000; zero leaves it to the transport
	Cursor string    `json:"cursor,omitempty"` // of the page before
	Server string    `json:"server,omitempty"` // whom to ask: an enode URL; empty: the best
}

// PastPage is the answer. The layers of the node have been handed the envelopes
// too, and opened those they have keys for.
type PastPage struct {
	Server    string    `json:"server"`
	Count     int       `json:"count"`            // envelopes that came
	Cursor    string    `json:"cursor,omitempty"` // for the next page; empty at the end
	End       string    `json:"end"`              // "done", or how it failed
	Reason    string    `json:"reason,omitempty"`
	Envelopes []Fetched `json:"envelopes"`
}

// Fetched is one envelope of the past.
type Fetched struct {
	Hash  string        `json:"hash"`
	Topic string        `json:"topic"`
	Sent  time.Time     `json:"sent"`
	TTL   time.Duration `json:"ttl_ns"`
	Size  int           `json:"size"` // of the data, in bytes
}

// fetching gathers the envelopes of the queries of the API.
type fetching struct {
	mu sync.Mutex
	by map[layers.Ref][]Fetched // of the queries that are under way
}

func (f *fetching) begin(ref layers.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.by[ref] = []Fetched{}
}

func (f *fetching) add(h transport.History) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, ours := f.by[h.Ref]
	if !ours {
		return
	}
	for _, e := range h.Envelopes[:min(len(h.Envelopes), 2*transport.MaxPage-len(all))] {
		all = append(all, Fetched{e.Hash.String(), "0x" + e.Topic.String(), e.Sent, e.TTL, len(e.Data)})
	}
	f.by[h.Ref] = all
}

func (f *fetching) take(ref layers.Ref) []Fetched {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.by[ref]
	delete(f.by, ref)
	return all
}

// fetched is the answer to a query, put together.
type fetched struct {
	transport.Queried
	envelopes []Fetched
}

// Fetch asks an archive for one page of envelopes of the past.
func (a *api) Fetch(ctx context.Context, p Past) (PastPage, error) {
	q := transport.Query{From: p.From, To: p.To, Limit: p.Limit, Server: p.Server}
	if p.Limit < 0 || p.Limit > transport.MaxPage {
		return PastPage{}, fault(CodeInvalid, "limit: %d is not between 0 and %d", p.Limit, transport.MaxPage)
	}
	if !p.To.IsZero() && p.To.Before(p.From) {
		return PastPage{}, fault(CodeInvalid, "to: %v is before from, %v", p.To, p.From)
	}
	var err error
	if q.Cursor, err = hex.DecodeString(strings.TrimPrefix(p.Cursor, "0x")); err != nil || len(q.Cursor) > transport.MaxCursor {
		return PastPage{}, fault(CodeInvalid, "cursor: want at most %d bytes in hex", transport.MaxCursor)
	}
	for _, text := range p.Topics {
		t, err := parseTopic(text)
		if err != nil {
			return PastPage{}, fault(CodeInvalid, "topics: %v", err)
		}
		q.Topics = append(q.Topics, t)
	}
	defer func() { a.server.fetching.take(q.Ref) }()
	f, err := askWithin[fetched](ctx, a, a.server.transport, fetchWithin, func(r layers.Ref) transport.Command {
		q.Ref = r
		a.server.fetching.begin(r)
		return q
	})
	if err != nil {
		if a.server.transport.send != nil && q.Ref != (layers.Ref{}) {
			a.server.transport.send(transport.Cancel{Ref: q.Ref})
		}
		return PastPage{}, err
	}
	return PastPage{
		Server: f.Server, Count: f.Count, Cursor: hex.EncodeToString(f.Cursor),
		End: f.End.String(), Reason: f.Reason, Envelopes: notNil(f.envelopes),
	}, nil
}

func parseTopic(text string) (t transport.Topic, err error) {
	b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(b) != len(t) {
		return t, fmt.Errorf("%q is not %d bytes in hex", text, len(t))
	}
	return transport.Topic(b), nil
}

// Transport tells how the transport is doing.
func (a *api) Transport(ctx context.Context) (transport.State, error) {
	d, err := ask[transport.Described](ctx, a, a.server.transport, func(r layers.Ref) transport.Command {
		return transport.Describe{Ref: r}
	})
	return d.State, err
}

// Explain tells what the node has done with an envelope, given by its hash, and
// why.
func (a *api) Explain(ctx context.Context, hash string) ([]transport.Fact, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(hash, "0x"))
	if err != nil || len(b) != len(transport.Hash{}) {
		return nil, fault(CodeInvalid, "hash: want %d bytes in hex", len(transport.Hash{}))
	}
	e, err := ask[transport.Explained](ctx, a, a.server.transport, func(r layers.Ref) transport.Command {
		return transport.Explain{Ref: r, Hash: transport.Hash(b)}
	})
	if err != nil {
		return nil, err
	}
	facts := e.Facts
	told := slices.ContainsFunc(facts, func(f transport.Fact) bool { return f.Deed == transport.Archived })
	if archive := a.server.node.Archive; archive != nil && !told {
		at, found, err := archive.Find(ctx, transport.Hash(b))
		if err != nil {
			return nil, err
		}
		if found {
			facts = append(facts[:len(facts):len(facts)], transport.Fact{At: at, Deed: transport.Archived, Detail: "the time is that of its sending"})
		}
	}
	return notNil(facts), nil
}

// Progress subscribes to how the node catches up with what it missed.
func (a *api) Progress(ctx context.Context) (*gethrpc.Subscription, error) {
	return a.subscribe(ctx, progress)
}

// History tells how a node catches up with what was sent while it was away.
type History struct {
	State     string    `json:"state"`
	From      time.Time `json:"from,omitzero"` // the window that is asked for, or was
	To        time.Time `json:"to,omitzero"`
	Server    string    `json:"server,omitempty"`
	Pages     int       `json:"pages"`
	Envelopes int       `json:"envelopes"` // that came
	Opened    int       `json:"opened"`    // of them, for the first time
	Gaps      []Gap     `json:"gaps,omitempty"`
}

// Gap is a window of which envelopes may be missing.
type Gap struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Server  string    `json:"server,omitempty"`  // that failed, or lacked what another had
	Missing int       `json:"missing,omitempty"` // envelopes the server lacked
	Reason  string    `json:"reason,omitempty"`
}

func historyOf(p envelope.Progress) History {
	h := History{
		State: p.State.String(), From: p.From, To: p.To, Server: p.Server,
		Pages: p.Pages, Envelopes: p.Envelopes, Opened: p.Opened,
	}
	for _, g := range p.Gaps {
		h.Gaps = append(h.Gaps, Gap(g))
	}
	return h
}
