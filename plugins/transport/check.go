package transport

import (
	"math"
	"slices"
	"time"

	"github.com/stratanode/strata/plugins/transport/transportpb"
)

const (
	// maxName is the longest name of a transport or a counter, in bytes.
	maxName = 64

	// minMaxTTL is the least that Info.MaxTTL may be; the layers above need it
	// for one attempt.
	minMaxTTL = 10 * time.Second

	// maxSent is 2200-01-01 in Unix seconds: beyond it a time is nonsense.
	maxSent = 7258118400

	// maxPeerCount is the largest number of peers that is believed.
	maxPeerCount = 1 << 20
)

// offers reports whether an envelope may ask for the treatment p.
func (i Info) offers(p uint32) bool {
	return p == uint32(PrivacyNone) || p <= math.MaxUint8 && slices.Contains(i.Privacy, Privacy(p))
}

// fromInfo returns what a plugin says it is, or a *Breach.
func (r *Remote) fromInfo(w *transportpb.Info) (Info, error) {
	switch {
	case w == nil:
		return Info{}, breach(RuleInfoLimit, "Open returned neither an error nor an Info")
	case !named(w.Name, "-", maxName):
		return Info{}, breach(RuleInfoLimit, "name %q is not 1 to %d of a-z, 0-9 and -", Clean(w.Name, maxName), maxName)
	case w.MaxData < 1 || w.MaxData > MaxEnvelope:
		return Info{}, breach(RuleInfoLimit, "max_data %d is not 1 to %d", w.MaxData, MaxEnvelope)
	case w.MaxTtl < uint32(minMaxTTL/time.Second):
		return Info{}, breach(RuleInfoLimit, "max_ttl %d s is less than %v", w.MaxTtl, minMaxTTL)
	case w.Sender > uint32(AnonymityGlobal):
		return Info{}, breach(RuleInfoLimit, "sender %d is unknown", w.Sender)
	case w.Receiver > uint32(AnonymityGlobal):
		return Info{}, breach(RuleInfoLimit, "receiver %d is unknown", w.Receiver)
	case w.Ordering > uint32(OrderingSender):
		return Info{}, breach(RuleInfoLimit, "ordering %d is unknown", w.Ordering)
	case w.Storage > uint32(StorageLong):
		return Info{}, breach(RuleInfoLimit, "storage %d is unknown", w.Storage)
	}
	i := Info{
		Name:     w.Name,
		Version:  r.clean(w.Version, MaxText),
		MaxData:  int(w.MaxData),
		MaxTTL:   time.Duration(w.MaxTtl) * time.Second,
		Latency:  time.Duration(w.LatencyMs) * time.Millisecond,
		Sender:   Anonymity(w.Sender),
		Receiver: Anonymity(w.Receiver),
		Ordering: Ordering(w.Ordering),
		Storage:  Storage(w.Storage),
	}
	if r.version < Version2 {
		return i, nil
	}
	i.Receipts = w.Receipts
	i.Abilities = Abilities{Query: w.CanQuery, Peers: w.CanPeers, Stats: w.CanStats, Serve: w.CanServe}
	if len(w.Privacy) > int(PrivacyCover) {
		return Info{}, breach(RuleInfoLimit, "privacy has %d entries", len(w.Privacy))
	}
	if len(w.Addresses) > MaxAddresses {
		return Info{}, breach(RuleInfoLimit, "addresses has %d entries, more than %d", len(w.Addresses), MaxAddresses)
	}
	for _, a := range w.Addresses {
		i.Addresses = append(i.Addresses, r.clean(a, MaxText))
	}
	for _, p := range w.Privacy {
		if p < uint32(PrivacyStem) || p > uint32(PrivacyCover) || i.offers(p) {
			return Info{}, breach(RuleInfoLimit, "privacy %d is unknown or there twice", p)
		}
		i.Privacy = append(i.Privacy, Privacy(p))
	}
	return i, nil
}

// named reports whether text is 1 to max of a-z, 0-9 and more.
func named(text, more string, max int) bool {
	if len(text) < 1 || len(text) > max {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != more[0] {
			return false
		}
	}
	return true
}

// fromEnvelopes returns the envelopes that are worth anything. A wrong form is
// a *Breach; a wrong content is dropped and counted, since it may come from the
// network.
func (r *Remote) fromEnvelopes(ws []*transportpb.Envelope) ([]Envelope, error) {
	es := make([]Envelope, 0, len(ws))
	for _, w := range ws {
		switch {
		case len(w.Topic) != len(Topic{}):
			return nil, breach(RuleEnvelopeTopic, "a topic of %d bytes", len(w.Topic))
		case len(w.Data) < 1 || len(w.Data) > r.info.MaxData:
			return nil, breach(RuleEnvelopeData, "%d bytes are not 1 to %d", len(w.Data), r.info.MaxData)
		case w.Sent < 0 || w.Sent > maxSent:
			r.counts.time.Add(1)
			continue
		case w.Ttl < 1 || w.Ttl > seconds(r.info.MaxTTL):
			r.counts.ttl.Add(1)
			continue
		}
		e := fromEnvelope(w, r.version)
		e.ID, e.Privacy = 0, PrivacyNone // they mean nothing in a report
		es = append(es, e)
	}
	return es, nil
}

// fromError returns an error of the plugin, nil for none.
func (r *Remote) fromError(w *transportpb.Error) error {
	if w == nil {
		return nil
	}
	e := &Error{Field: r.clean(w.Field, MaxText), Reason: r.clean(w.Reason, MaxText)}
	if w.Code < uint32(len(codeNames)) {
		e.Code = Code(w.Code)
	}
	return e
}

// clean is Clean that counts.
func (r *Remote) clean(text string, max int) string {
	c := Clean(text, max)
	if c != text {
		r.counts.texts.Add(1)
	}
	return c
}
