package rpc

import (
	"context"
	"time"

	"github.com/stratanode/strata/layers/transport"
)

// archiveWithin bounds what is done to an archive at a user's request.
const archiveWithin = 30 * time.Minute

// Archive is what the API needs of the archive of a mail server. What Stats and
// Verify return is written as JSON.
type Archive interface {
	Stats(ctx context.Context) (any, error)
	Prune(ctx context.Context, before time.Time) (removed int, err error)
	Verify(ctx context.Context) (any, error)
	Find(ctx context.Context, h transport.Hash) (at time.Time, found bool, err error)

	// Sync takes over what another mail server has.
	Sync(ctx context.Context, r Takeover) (any, error)
}

// Takeover says what to take over from another mail server.
type Takeover struct {
	Server string    `json:"server"`      // its enode URL
	From   time.Time `json:"from"`        // when envelopes were sent, included
	To     time.Time `json:"to,omitzero"` // included; zero: now
}

// MailStats describes the archive.
func (a *api) MailStats(ctx context.Context) (any, error) {
	return onArchive(ctx, a, func(ctx context.Context, x Archive) (any, error) { return x.Stats(ctx) })
}

// MailPrune removes from the archive what was sent before a time, and returns how
// many envelopes that were.
func (a *api) MailPrune(ctx context.Context, before time.Time) (int, error) {
	if !before.Before(time.Now()) {
		return 0, fault(CodeInvalid, "before: %v is not in the past", before)
	}
	return onArchive(ctx, a, func(ctx context.Context, x Archive) (int, error) { return x.Prune(ctx, before) })
}

// MailVerify checks every envelope in the archive.
func (a *api) MailVerify(ctx context.Context) (any, error) {
	return onArchive(ctx, a, func(ctx context.Context, x Archive) (any, error) { return x.Verify(ctx) })
}

// MailSync takes over what another mail server has. It answers when everything is
// in the archive; what was taken over before an error is, too.
func (a *api) MailSync(ctx context.Context, r Takeover) (any, error) {
	switch {
	case r.Server == "":
		return nil, fault(CodeInvalid, "server: missing")
	case !r.To.IsZero() && r.To.Before(r.From):
		return nil, fault(CodeInvalid, "to: %v is before from, %v", r.To, r.From)
	}
	return onArchive(ctx, a, func(ctx context.Context, x Archive) (any, error) { return x.Sync(ctx, r) })
}

func onArchive[T any](ctx context.Context, a *api, do func(context.Context, Archive) (T, error)) (T, error) {
	a.server.usage.calls.Add(1)
	var none T
	if a.server.node.Archive == nil {
		return none, fault(CodeNoLayer, "this node has no archive")
	}
	ctx, cancel := context.WithTimeout(ctx, archiveWithin)
	defer cancel()
	defer context.AfterFunc(a.of.life, cancel)()
	return do(ctx, a.server.node.Archive)
}
