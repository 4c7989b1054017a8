package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stratanode/strata/kernel"
	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/payload"
	"github.com/stratanode/strata/layers/transport"
)

// maxRepeats bounds how often one command is sent again. A layer that loses it
// more often breaks on it.
const maxRepeats = 3

// neighbour is a slot the API stands on, with the calls it has not answered.
//
// When the payload layer says Ready it has perhaps restarted, and then perhaps
// lost a command; but its mailbox survives, so most commands are still on their
// way. Sending all of them again at once could say a text twice, because a layer
// does not know the Ref of a command it has answered. So a fence is sent first,
// a harmless command. A layer answers in order: when the answer to the fence
// comes, whatever was sent before it and is unanswered is lost, and only that is
// sent again.
type neighbour[C any] struct {
	name string
	send func(C) // nil: the slot is empty

	mu      sync.Mutex
	waiting map[layers.Ref]*call[C] // bounded by the credits of the server
	sent    uint64
	fenced  layers.Ref // zero: no fence is out
	fenceAt uint64
}

// call is one command that waits for its answer.
type call[C any] struct {
	command C
	order   uint64 // of sending, the latest time
	repeats int
	answer  chan any // the event
}

func newNeighbour[C any](name string) *neighbour[C] {
	return &neighbour[C]{name: name, waiting: map[layers.Ref]*call[C]{}}
}

func newRef() layers.Ref {
	var r layers.Ref
	rand.Read(r[:]) // never fails; it ends the process instead
	return r
}

// ask sends a command. It returns where the answer will come and what forgets
// the call. Sending under the lock keeps the numbers in the order of the mailbox.
func (n *neighbour[C]) ask(command func(layers.Ref) C) (*call[C], func()) {
	ref := newRef()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	c := &call[C]{command: command(ref), order: n.sent, answer: make(chan any, 1)}
	n.waiting[ref] = c
	n.send(c.command)
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.waiting, ref)
	}
}

// answered hands the answer to the call with that Ref, if it is one of ours and
// still waits.
func (n *neighbour[C]) answered(ref layers.Ref, event any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.waiting[ref]; c != nil {
		delete(n.waiting, ref)
		c.answer <- event
	}
}

// fence sends a fence if a call is waiting.
func (n *neighbour[C]) fence(command func(layers.Ref) C) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.raise(command)
}

func (n *neighbour[C]) raise(command func(layers.Ref) C) {
	n.fenced = layers.Ref{}
	if len(n.waiting) == 0 {
		return
	}
	n.fenced, n.fenceAt = newRef(), n.sent
	n.send(command(n.fenced))
}

// passed reports whether ref is that of the fence, and if so sends again what
// was lost before it, with another fence behind.
func (n *neighbour[C]) passed(ref layers.Ref, command func(layers.Ref) C) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fenced == (layers.Ref{}) || ref != n.fenced {
		return false
	}
	n.fenced = layers.Ref{}
	if n.again(func(c *call[C]) bool { return c.order <= n.fenceAt }) {
		n.raise(command)
	}
	return true
}

// repeat sends again whatever is unanswered, for a neighbour to whom a command
// twice is as good as once.
func (n *neighbour[C]) repeat() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.again(func(*call[C]) bool { return true })
}

// again sends the commands of the calls for which lost is true, in the order
// they were sent in, and reports whether there were any.
func (n *neighbour[C]) again(lost func(*call[C]) bool) bool {
	var calls []*call[C]
	for _, c := range n.waiting {
		if lost(c) && c.repeats < maxRepeats {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b *call[C]) int { return cmp.Compare(a.order, b.order) })
	for _, c := range calls {
		c.repeats++
		n.sent++
		c.order = n.sent
		n.send(c.command)
	}
	return len(calls) > 0
}

// ask carries out one call: command goes to n, and its answer must be an E.
func ask[E, C any](ctx context.Context, a *api, n *neighbour[C], command func(layers.Ref) C) (E, error) {
	return askWithin[E](ctx, a, n, a.server.cfg.CallTimeout, command)
}

// askWithin is ask with a time limit of its own.
func askWithin[E, C any](ctx context.Context, a *api, n *neighbour[C], limit time.Duration, command func(layers.Ref) C) (E, error) {
	var none E
	a.server.usage.calls.Add(1)
	if n.send == nil {
		return none, fault(CodeNoLayer, "this node has no %s layer", n.name)
	}
	credit := a.server.credits.TryTake(1)
	if credit == nil {
		a.server.usage.busy.Add(1)
		return none, fault(CodeBusy, "busy: %d calls are waiting already (max_calls)", a.server.cfg.MaxCalls)
	}
	defer credit.Return()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	c, forget := n.ask(command)
	defer forget()
	select {
	case e := <-c.answer:
		switch e := e.(type) {
		case E:
			return e, nil
		case payload.Refused:
			return none, fault(CodeRefused, "%s", e.Reason)
		case overlay.Refused:
			return none, fault(CodeRefused, "%s", e.Reason)
		case transport.Refused:
			return none, fault(CodeRefused, "%s", e.Reason)
		default:
			return none, fmt.Errorf("rpc: %s answered with %T", n.name, e)
		}
	case <-a.of.life.Done():
		return none, fault(CodeStopping, "the node is stopping")
	case <-ctx.Done():
		a.server.usage.timedOut.Add(1)
		return none, fault(CodeTimeout, "no answer of the %s layer within %v: %s; it may still be carried out",
			n.name, limit, a.server.ailing())
	}
}

// ailing says in one line what is wrong with the layers.
func (s *Server) ailing() string {
	if reasons := reasonsOf(s.node.Layers()); len(reasons) > 0 {
		return strings.Join(reasons, "; ")
	}
	var queues []string
	for _, l := range s.node.Loads() {
		if l.Queue > 0 {
			queues = append(queues, fmt.Sprintf("%s has %d queued", l.Name, l.Queue))
		}
	}
	if len(queues) > 0 {
		return "all layers are running, but " + strings.Join(queues, ", ")
	}
	return "all layers are running; the command may be in quarantine"
}

// reasonsOf says why the node is not healthy, one line for each layer.
func reasonsOf(layers []kernel.Status) []string {
	var reasons []string
	for _, l := range layers {
		switch {
		case l.State != kernel.Running && l.Reason != "":
			reasons = append(reasons, fmt.Sprintf("%s is %s: %s", l.Name, l.State, l.Reason))
		case l.State != kernel.Running:
			reasons = append(reasons, fmt.Sprintf("%s is %s", l.Name, l.State))
		case l.Degraded:
			reasons = append(reasons, fmt.Sprintf("%s is degraded: %s", l.Name, l.Reason))
		}
	}
	return reasons
}
