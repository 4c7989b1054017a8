package transport

import (
	"net/netip"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// check refuses a Query beyond the limits.
func (q Query) check() error {
	switch {
	case q.Limit < 1 || q.Limit > MaxBatch:
		return Invalid("limit", "%d is not 1 to %d", q.Limit, MaxBatch)
	case len(q.Cursor) > MaxText:
		return Invalid("cursor", "longer than %d bytes", MaxText)
	case len(q.Filter.Topics) > MaxTopics:
		return Invalid("topics", "%d of them, at most %d are allowed", len(q.Filter.Topics), MaxTopics)
	}
	return nil
}

func toQuery(q Query) *transportpb.QueryRequest {
	return &transportpb.QueryRequest{
		Filter: toFilter(q.Filter),
		From:   q.From.Unix(),
		To:     q.To.Unix(),
		Limit:  uint32(q.Limit),
		Cursor: q.Cursor,
	}
}

// fromQuery returns a Query of the wire, or an *Error with CodeInvalid.
func fromQuery(w *transportpb.QueryRequest) (Query, error) {
	f, err := fromFilter(w.GetFilter())
	if err != nil {
		return Query{}, err
	}
	q := Query{
		Filter: f,
		From:   time.Unix(w.GetFrom(), 0).UTC(),
		To:     time.Unix(w.GetTo(), 0).UTC(),
		Limit:  int(min(w.GetLimit(), MaxBatch+1)),
		Cursor: w.GetCursor(),
	}
	return q, q.check()
}

// toPage returns the answer to a Query as it travels.
func toPage(p Page, err error, version int) *transportpb.QueryReply {
	if err != nil {
		return &transportpb.QueryReply{Error: toError(err)}
	}
	return &transportpb.QueryReply{Envelopes: toBatch(p.Envelopes, version).Envelopes, Cursor: p.Cursor}
}

// toAddress returns the bytes of an address, none if there is none.
func toAddress(a netip.Addr) []byte { return a.Unmap().AsSlice() }

// fromAddress returns the address that the bytes are, or the zero one.
func fromAddress(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}
