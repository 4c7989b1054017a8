package transport

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// ability returns the transport as A, if it may be asked for.
func ability[A any](s *server) (A, error) {
	var none A
	t, err := s.opened()
	if err != nil {
		return none, err
	}
	if a, ok := t.(A); ok {
		return a, nil
	}
	return none, ErrUnsupported
}

// since2 refuses what version 1 does not have.
func (s *server) since2(method string) error {
	if s.version < Version2 {
		return status.Errorf(codes.Unimplemented, "transport: version %d has no %s", s.version, method)
	}
	return nil
}

// Query implements the RPC.
func (s *server) Query(ctx context.Context, q *transportpb.QueryRequest) (*transportpb.QueryReply, error) {
	if err := s.since2("Query"); err != nil {
		return nil, err
	}
	t, err := ability[Querier](s)
	if err != nil {
		return &transportpb.QueryReply{Error: toError(err)}, nil
	}
	query, err := fromQuery(q)
	if err != nil {
		return &transportpb.QueryReply{Error: toError(err)}, nil
	}
	page, err := pageThatFits(query, func(q Query) (Page, error) { return t.Query(ctx, q) })
	return toPage(page, err, s.version), nil
}

// pageThatFits asks for smaller pages until one fits into a frame. An author
// need not count bytes: a page of one envelope always fits.
func pageThatFits(q Query, ask func(Query) (Page, error)) (Page, error) {
	for {
		page, err := ask(q)
		if err != nil {
			return Page{}, err
		}
		if n := len(page.Envelopes); n > q.Limit {
			return Page{}, &Error{Code: CodeInternal, Reason: "a page had more envelopes than the limit"}
		} else if q.Limit == 1 || fitting(page.Envelopes, n) == n {
			return page, nil
		}
		q.Limit /= 2
	}
}

// Peers implements the RPC.
func (s *server) Peers(ctx context.Context, _ *transportpb.PeersRequest) (*transportpb.PeersReply, error) {
	if err := s.since2("Peers"); err != nil {
		return nil, err
	}
	t, err := ability[Peerer](s)
	if err != nil {
		return &transportpb.PeersReply{Error: toError(err)}, nil
	}
	peers, err := t.Peers(ctx)
	if err != nil {
		return &transportpb.PeersReply{Error: toError(err)}, nil
	}
	reply := new(transportpb.PeersReply)
	for _, p := range peers[:min(len(peers), MaxPeers)] {
		reply.Peers = append(reply.Peers, &transportpb.Peer{
			Id: Clean(p.ID, MaxText), Address: Clean(p.Address, MaxText), Inbound: p.Inbound,
		})
	}
	return reply, nil
}

// Stats implements the RPC.
func (s *server) Stats(ctx context.Context, _ *transportpb.StatsRequest) (*transportpb.StatsReply, error) {
	if err := s.since2("Stats"); err != nil {
		return nil, err
	}
	t, err := ability[Counter](s)
	if err != nil {
		return &transportpb.StatsReply{Error: toError(err)}, nil
	}
	stats, err := t.Stats(ctx)
	if err != nil {
		return &transportpb.StatsReply{Error: toError(err)}, nil
	}
	reply := new(transportpb.StatsReply)
	for _, c := range stats[:min(len(stats), MaxStats)] {
		reply.Stats = append(reply.Stats, &transportpb.Stat{Name: Clean(c.Name, MaxText), Value: c.Value})
	}
	return reply, nil
}
