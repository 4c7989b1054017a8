package rpc

import (
	"context"
	"fmt"
	"sync"

	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// kind is what a subscription is about.
type kind string

const (
	messages kind = "messages"
	statuses kind = "statuses"
	progress kind = "progress"
)

// subscribers are those who want to hear what happens. A publisher never waits
// for them.
type subscribers struct {
	buffer int

	mu  sync.Mutex
	all map[*subscriber]bool
	cut uint64
}

type subscriber struct {
	kind  kind
	queue chan Notice // closed when the subscriber is cut off
	ended string      // set before queue is closed
}

// add returns a new subscriber, or nil if there are too many.
func (s *subscribers) add(k kind) *subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSubscribers {
		return nil
	}
	if s.all == nil {
		s.all = map[*subscriber]bool{}
	}
	sub := &subscriber{kind: k, queue: make(chan Notice, s.buffer)}
	s.all[sub] = true
	return sub
}

func (s *subscribers) remove(sub *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sub)
}

// publish hands n to all subscribers of its kind. One whose buffer is full has a
// gap from here on, so it is cut off instead.
func (s *subscribers) publish(k kind, n Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.all {
		if sub.kind != k {
			continue
		}
		select {
		case sub.queue <- n:
		default:
			delete(s.all, sub)
			s.cut++
			sub.ended = fmt.Sprintf("cut off: more than %d notices were waiting to be read; "+
				"read what is missing from the history and subscribe again", s.buffer)
			close(sub.queue)
		}
	}
}

// count returns how many there are, and how many were cut off.
func (s *subscribers) count() (int, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all), s.cut
}

// Messages subscribes to the messages the node receives.
func (a *api) Messages(ctx context.Context) (*gethrpc.Subscription, error) {
	return a.subscribe(ctx, messages)
}

// Statuses subscribes to the changes of own messages.
func (a *api) Statuses(ctx context.Context) (*gethrpc.Subscription, error) {
	return a.subscribe(ctx, statuses)
}

func (a *api) subscribe(ctx context.Context, k kind) (*gethrpc.Subscription, error) {
	notifier, ok := gethrpc.NotifierFromContext(ctx)
	if !ok {
		return nil, gethrpc.ErrNotificationsUnsupported
	}
	if a.server.payload.send == nil {
		return nil, fault(CodeNoLayer, "this node has no payload layer")
	}
	sub := a.server.subscribers.add(k)
	if sub == nil {
		return nil, fault(CodeBusy, "busy: there are %d subscriptions already", maxSubscribers)
	}
	if !a.of.begin() {
		a.server.subscribers.remove(sub)
		return nil, fault(CodeStopping, "the node is stopping")
	}
	client, _ := gethrpc.ClientFromContext(ctx)
	of := notifier.CreateSubscription()
	go func() {
		defer a.of.work.Done()
		defer a.server.subscribers.remove(sub)
		if err := sub.feed(a.of.life, notifier, of); err != nil && client != nil {
			client.Close() // a notice was written in part: nothing readable can follow
		}
	}()
	return of, nil
}

// feed writes what is in the queue to the client, until either has enough.
func (s *subscriber) feed(life context.Context, to *gethrpc.Notifier, of *gethrpc.Subscription) error {
	for {
		select {
		case n, open := <-s.queue:
			if !open {
				return to.Notify(of.ID, Notice{Ended: s.ended})
			}
			if err := to.Notify(of.ID, n); err != nil {
				return err
			}
		case <-of.Err():
			return nil
		case <-life.Done():
			return nil
		}
	}
}
