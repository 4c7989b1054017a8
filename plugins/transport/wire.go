package transport

import (
	"math"
	"slices"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

// envelopeFrame is the most that stands around the Data of an envelope on the
// wire, in bytes: tags and lengths, id, topic, times.
const envelopeFrame = 64

// fitting returns how many of the envelopes, at most max, fit into one frame.
// One always does.
func fitting(es []Envelope, max int) int {
	max = min(max, len(es), MaxBatch)
	size := envelopeFrame
	for i := range max {
		size += envelopeFrame + len(es[i].Data)
		if size > MaxFrame && i > 0 {
			return i
		}
	}
	return max
}

// toBatch returns the envelopes as they travel. Data is shared. There is one
// allocation for all rather than three for each.
func toBatch(es []Envelope, version int) *transportpb.Batch {
	type part struct {
		topic    Topic
		envelope transportpb.Envelope
	}
	parts := make([]part, len(es))
	out := make([]*transportpb.Envelope, len(es))
	for i := range es {
		e, p := &es[i], &parts[i]
		p.topic = e.Topic
		w := &p.envelope
		w.Id, w.Topic, w.Data = e.ID, p.topic[:], e.Data
		w.Sent, w.Ttl = e.Sent.Unix(), seconds(e.TTL)
		if version >= Version2 {
			w.Privacy = uint32(e.Privacy)
		}
		out[i] = w
	}
	return &transportpb.Batch{Envelopes: out}
}

// fromEnvelope returns an envelope of the wire; whoever calls has checked that
// its topic is 4 bytes long. Data is shared.
func fromEnvelope(w *transportpb.Envelope, version int) Envelope {
	e := Envelope{
		ID:    w.Id,
		Topic: Topic(w.Topic),
		Data:  w.Data,
		Sent:  time.Unix(w.Sent, 0).UTC(),
		TTL:   time.Duration(w.Ttl) * time.Second,
	}
	if version >= Version2 && w.Privacy <= math.MaxUint8 {
		e.Privacy = Privacy(w.Privacy)
	}
	return e
}

// seconds returns d in whole seconds, within what the wire can carry.
func seconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 0), math.MaxUint32))
}

func toError(err error) *transportpb.Error {
	e := ErrorOf(err)
	if e == nil {
		return nil
	}
	return &transportpb.Error{
		Code:   uint32(e.Code),
		Field:  Clean(e.Field, MaxText),
		Reason: Clean(e.Reason, MaxText),
	}
}

func toInfo(i Info, version int) *transportpb.Info {
	w := &transportpb.Info{
		Name:      i.Name,
		Version:   Clean(i.Version, MaxText),
		MaxData:   uint32(min(max(i.MaxData, 0), math.MaxUint32)),
		MaxTtl:    seconds(i.MaxTTL),
		LatencyMs: uint32(min(max(i.Latency.Milliseconds(), 0), math.MaxUint32)),
		Sender:    uint32(i.Sender),
		Receiver:  uint32(i.Receiver),
		Ordering:  uint32(i.Ordering),
		Storage:   uint32(i.Storage),
	}
	if version >= Version2 {
		w.Receipts = i.Receipts
		for _, p := range i.Privacy {
			w.Privacy = append(w.Privacy, uint32(p))
		}
		for _, a := range i.Addresses[:min(len(i.Addresses), MaxAddresses)] {
			w.Addresses = append(w.Addresses, Clean(a, MaxText))
		}
		w.CanQuery, w.CanPeers, w.CanStats = i.Abilities.Query, i.Abilities.Peers, i.Abilities.Stats
		w.CanServe = i.Abilities.Serve
	}
	return w
}

func toFilter(f Filter) *transportpb.SubscribeRequest {
	w := &transportpb.SubscribeRequest{Topics: make([]byte, 0, len(f.Topics)*len(Topic{})), All: f.All}
	for _, t := range f.Topics {
		w.Topics = append(w.Topics, t[:]...)
	}
	return w
}

func fromFilter(w *transportpb.SubscribeRequest) (Filter, error) {
	topics := w.GetTopics()
	n := len(topics) / len(Topic{})
	if len(topics)%len(Topic{}) != 0 || n > MaxTopics {
		return Filter{}, Invalid("topics", "%d bytes are not 0 to %d topics", len(topics), MaxTopics)
	}
	f := Filter{All: w.GetAll(), Topics: make([]Topic, 0, n)}
	for t := range slices.Chunk(topics, len(Topic{})) {
		f.Topics = append(f.Topics, Topic(t))
	}
	return f, nil
}
