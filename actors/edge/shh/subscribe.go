package shh

import (
	"context"
	"fmt"
	"slices"

	gethrpc "github.com/ethereum/go-ethereum/rpc"

	"github.com/stratanode/strata/layers/envelope"
	"github.com/stratanode/strata/layers/transport"
)

// asks says in which words a filter or a subscription is refused: go-ethereum has
// others for each.
type asks struct {
	topics bool  // a symmetric key needs a topic
	noPair error // the key pair is not there
}

var (
	toPoll      = asks{noPair: errNoKeyPair}
	toSubscribe = asks{topics: true, noPair: errPublicKey}
)

// newFilter puts a filter in that takes what c describes.
func (a *API) newFilter(c *Criteria, as asks, fresh chan struct{}) (*filter, error) {
	f := &filter{minPoW: c.MinPoW, direct: c.AllowP2P, fresh: fresh}
	if (c.SymKeyID != "") == (c.PrivateKeyID != "") {
		return nil, errSymAsym
	}
	var err error
	if sig := deref(c.Sig); len(sig) > 0 {
		if f.from, err = parsePublic(sig); err != nil {
			return nil, errSigningKey
		}
	}
	key, err := a.keyOf(c, as)
	if err != nil {
		return nil, err
	}
	if len(c.Topics) > maxTopics {
		return nil, fmt.Errorf("shh: %d topics are more than %d", len(c.Topics), maxTopics)
	}
	for _, t := range c.Topics {
		if topic := transport.Topic(t); !slices.Contains(f.topics, topic) {
			f.topics = append(f.topics, topic)
		}
	}
	if err := a.watch.room(f.topics); err != nil {
		return nil, err
	}
	if err := a.filters.add(f, key); err != nil {
		return nil, err
	}
	a.watch.grow(f.topics)
	return f, nil
}

// keyOf returns the key that c names.
func (a *API) keyOf(c *Criteria, as asks) (k keyed, err error) {
	if c.SymKeyID == "" {
		if k.private, err = a.keys.pair(c.PrivateKeyID); err != nil {
			return k, as.noPair
		}
		return k, nil
	}
	if as.topics && len(c.Topics) == 0 {
		return k, errNoTopics
	}
	if k.sym, err = a.keys.sym(c.SymKeyID); err != nil {
		return k, err
	}
	if k.sym == (envelope.SymKey{}) {
		return k, errSymKey
	}
	return k, nil
}

// subscribe makes a filter whose messages are pushed until the subscription, its
// connection or the node ends.
func (a *API) subscribe(ctx context.Context, c *Criteria) (*gethrpc.Subscription, error) {
	notifier, ok := gethrpc.NotifierFromContext(ctx)
	if !ok {
		return nil, gethrpc.ErrNotificationsUnsupported
	}
	f, err := a.newFilter(c, toSubscribe, make(chan struct{}, 1))
	if err != nil {
		return nil, err
	}
	client, _ := gethrpc.ClientFromContext(ctx)
	of := notifier.CreateSubscription()
	if !a.begin(func(life context.Context) {
		defer a.filters.end(f)
		if err := a.feed(life, f, notifier, of); err != nil && client != nil {
			client.Close() // a notice was written in part: nothing readable can follow
		}
	}) {
		a.filters.end(f)
		return nil, errStopping
	}
	return of, nil
}

// feed writes what the filter takes to the client. If the client is slow, the
// filter drops the oldest.
func (a *API) feed(life context.Context, f *filter, to *gethrpc.Notifier, of *gethrpc.Subscription) error {
	for {
		select {
		case <-f.fresh:
			for _, m := range a.filters.drain(f) {
				if err := to.Notify(of.ID, m); err != nil {
					return err
				}
			}
		case <-of.Err():
			return nil
		case <-life.Done():
			return nil
		}
	}
}
