package transport

import (
	"context"
	"math"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// Query implements Querier, and may run several times at once. It returns
// ErrUnsupported if the plugin did not declare the ability.
func (r *Remote) Query(ctx context.Context, q Query) (Page, error) {
	if !r.Info().Abilities.Query {
		return Page{}, r.unsupported("Query")
	}
	if err := q.check(); err != nil {
		return Page{}, err
	}
	if err := r.usable(); err != nil {
		return Page{}, err
	}
	ctx, cancel := r.deadline(ctx, QueryTimeout)
	defer cancel()
	reply, err := r.client.Query(ctx, toQuery(q), r.options...)
	switch {
	case err != nil:
		return Page{}, r.failed(ctx, "Query", err)
	case reply.Error != nil:
		return Page{}, r.fromError(reply.Error)
	case len(reply.Envelopes) > q.Limit:
		return Page{}, r.fail(breach(RuleReplyLimit, "Query: %d envelopes, %d were asked for", len(reply.Envelopes), q.Limit))
	case len(reply.Cursor) > MaxText:
		return Page{}, r.fail(breach(RuleReplyLimit, "Query: a cursor of %d bytes", len(reply.Cursor)))
	}
	es, err := r.fromEnvelopes(reply.Envelopes)
	if err != nil {
		return Page{}, r.fail(err)
	}
	page := Page{Envelopes: es}
	if len(reply.Cursor) > 0 {
		page.Cursor = reply.Cursor
	}
	return page, nil
}

// Peers implements Peerer. It returns ErrUnsupported if the plugin did not
// declare the ability.
func (r *Remote) Peers(ctx context.Context) ([]Peer, error) {
	if !r.Info().Abilities.Peers {
		return nil, r.unsupported("Peers")
	}
	if err := r.usable(); err != nil {
		return nil, err
	}
	ctx, cancel := r.deadline(ctx, ListTimeout)
	defer cancel()
	reply, err := r.client.Peers(ctx, &transportpb.PeersRequest{}, r.options...)
	if err != nil {
		return nil, r.failed(ctx, "Peers", err)
	}
	if reply.Error != nil {
		return nil, r.fromError(reply.Error)
	}
	n := min(len(reply.Peers), MaxPeers)
	r.counts.peers.Add(uint64(len(reply.Peers) - n))
	peers := make([]Peer, 0, n)
	for _, p := range reply.Peers[:n] {
		peers = append(peers, Peer{r.clean(p.Id, MaxText), r.clean(p.Address, MaxText), p.Inbound})
	}
	return peers, nil
}

// Stats implements Counter. It returns ErrUnsupported if the plugin did not
// declare the ability. Counters that are badly named or no numbers are left out.
func (r *Remote) Stats(ctx context.Context) ([]Stat, error) {
	if !r.Info().Abilities.Stats {
		return nil, r.unsupported("Stats")
	}
	if err := r.usable(); err != nil {
		return nil, err
	}
	ctx, cancel := r.deadline(ctx, ListTimeout)
	defer cancel()
	reply, err := r.client.Stats(ctx, &transportpb.StatsRequest{}, r.options...)
	if err != nil {
		return nil, r.failed(ctx, "Stats", err)
	}
	if reply.Error != nil {
		return nil, r.fromError(reply.Error)
	}
	stats := make([]Stat, 0, min(len(reply.Stats), MaxStats))
	for _, s := range reply.Stats {
		if len(stats) == MaxStats || !named(s.Name, "_", maxName) || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
			r.counts.stats.Add(1)
			continue
		}
		stats = append(stats, Stat{s.Name, s.Value})
	}
	return stats, nil
}

// unsupported is the answer for an ability that was not declared.
func (r *Remote) unsupported(method string) error {
	if err := r.usable(); err != nil {
		return err
	}
	return &Error{CodeUnsupported, method, "not declared by the transport"}
}
