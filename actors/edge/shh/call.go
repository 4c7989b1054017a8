package shh

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// calls are the commands that the transport has not answered yet.
type calls struct {
	send func(transport.Command)

	mu      sync.Mutex
	waiting map[layers.Ref]*call // up to maxWaiting
	sent    uint64
}

// call is one command that waits for its answer.
type call struct {
	command transport.Command
	order   uint64 // in which it was sent
	answer  chan transport.Event
}

func newCalls(send func(transport.Command)) calls {
	return calls{send: send, waiting: map[layers.Ref]*call{}}
}

// begin sends a command. It returns where the answer will come and what forgets
// the call.
func (c *calls) begin(command func(layers.Ref) transport.Command) (*call, func(), error) {
	var ref layers.Ref
	rand.Read(ref[:]) // never fails; it ends the process instead
	one := &call{command: command(ref), answer: make(chan transport.Event, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxWaiting {
		return nil, nil, fmt.Errorf("shh: busy: %d calls are waiting already", maxWaiting)
	}
	c.sent++
	one.order = c.sent
	c.waiting[ref] = one
	c.send(one.command)
	return one, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, ref)
	}, nil
}

// answered hands the answer to the call with that Ref, if it is one of ours and
// still waits.
func (c *calls) answered(ref layers.Ref, e transport.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.waiting[ref]; one != nil {
		delete(c.waiting, ref)
		one.answer <- e
	}
}

// repeat sends all unanswered commands again, in their order: a transport that
// was started anew has perhaps lost them. With the same Ref they are the same
// commands, and each of them may be carried out twice.
func (c *calls) repeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*call, 0, len(c.waiting))
	for _, one := range c.waiting {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *call) int { return cmp.Compare(a.order, b.order) })
	for _, one := range all {
		c.send(one.command)
	}
}

// ask sends a command and waits for its answer, which must be an E. A refusal is
// an error with the text of the transport, without the name of the layer.
func ask[E transport.Event](ctx context.Context, a *API, command func(layers.Ref) transport.Command) (E, error) {
	var none E
	e, err := a.answerTo(ctx, command)
	if err != nil {
		return none, err
	}
	switch e := e.(type) {
	case E:
		return e, nil
	case transport.Refused:
		return none, refusal(e)
	}
	return none, fmt.Errorf("shh: the transport answered with %T", e)
}

// answerTo sends a command and waits for whatever answers it.
func (a *API) answerTo(ctx context.Context, command func(layers.Ref) transport.Command) (transport.Event, error) {
	l, err := a.alive()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PostTimeout)
	defer cancel()
	one, forget, err := a.calls.begin(command)
	if err != nil {
		return nil, err
	}
	defer forget()
	select {
	case e := <-one.answer:
		return e, nil
	case <-l.ctx.Done():
		return nil, errStopping
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("shh: no answer of the transport within %v; it may still be carried out", a.cfg.PostTimeout)
	}
}

// refusal makes the reason of the transport the text that clients know.
func refusal(r transport.Refused) error {
	return errors.New(strings.TrimPrefix(r.Reason, "whisper: "))
}
