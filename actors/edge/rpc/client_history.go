package rpc

import (
	"context"
	"encoding/json"
	"time"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers/transport"
)

// Fetch asks an archive for one page of envelopes of the past.
func (c *Client) Fetch(ctx context.Context, p Past) (PastPage, error) {
	return invoke[PastPage](ctx, c, "fetch", p)
}

// Transport tells how the transport is doing.
func (c *Client) Transport(ctx context.Context) (transport.State, error) {
	return invoke[transport.State](ctx, c, "transport")
}

// Explain tells what the node has done with an envelope, and why.
func (c *Client) Explain(ctx context.Context, hash string) ([]transport.Fact, error) {
	return invoke[[]transport.Fact](ctx, c, "explain", hash)
}

// MailStats describes the archive of the node.
func (c *Client) MailStats(ctx context.Context) (json.RawMessage, error) {
	return invoke[json.RawMessage](ctx, c, "mailStats")
}

// MailPrune removes from the archive what was sent before a time.
func (c *Client) MailPrune(ctx context.Context, before time.Time) (int, error) {
	return invoke[int](ctx, c, "mailPrune", before)
}

// MailVerify checks every envelope in the archive.
func (c *Client) MailVerify(ctx context.Context) (json.RawMessage, error) {
	return invoke[json.RawMessage](ctx, c, "mailVerify")
}

// MailSync takes over into the archive what another mail server has.
func (c *Client) MailSync(ctx context.Context, r Takeover) (json.RawMessage, error) {
	return invoke[json.RawMessage](ctx, c, "mailSync", r)
}

// Progress subscribes to how the node catches up with what it missed.
func (c *Client) Progress(ctx context.Context) (*Subscription, error) {
	return c.subscribe(ctx, progress)
}

// Raw is the connection itself, for the other services of the node.
func (c *Client) Raw() *gethrpc.Client { return c.rpc }
