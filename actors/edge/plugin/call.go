package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stratanode/strata/plugins/transport"
)

// errOver is what call returns when the life is over: nothing that came of the
// call means anything.
var errOver = errors.New("the life of the transport is over")

// callSlack is how much later than the deadline a process is given up. What
// carries the calls to it keeps the deadlines itself, and knows better what was
// missed.
const callSlack = time.Second

// forever is how long one may look at a breakpoint.
const forever = 1000 * time.Hour

// call makes one call of the transport. A panic in it, and a deadline that is
// missed, end the life.
func (e *Edge) call(method string, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := e.timed(limit)
	defer cancel()
	late := func() { e.fail(fmt.Errorf("%s did not return within %v", method, limit)) }
	patience := limit
	switch {
	case isPatient(e.running):
		patience = forever
	case apart(e.running):
		patience += callSlack
	}
	watchdog := time.AfterFunc(patience, late) // f may ignore its context
	defer watchdog.Stop()
	err := guarded(method, func() error { return f(ctx) })
	if _, ok := errors.AsType[*panicked](err); ok {
		e.fail(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		late()
	}
	if ctx.Err() != nil || e.ctx.Err() != nil {
		return errOver
	}
	return err
}

// timed returns a context that ends with the life, and after limit if it is for
// a transport in this process.
func (e *Edge) timed(limit time.Duration) (context.Context, context.CancelFunc) {
	if apart(e.running) {
		return context.WithCancel(e.ctx)
	}
	return context.WithTimeout(e.ctx, limit)
}

func guarded(method string, f func() error) (err error) {
	defer recovered(&err, method)
	return f()
}

// panicked is a panic of a transport that is compiled in.
type panicked struct {
	method string
	value  string
	stack  string
}

// Error implements error.
func (p *panicked) Error() string { return p.method + " panicked: " + p.value }

// recovered is deferred around calls of the transport.
func recovered(err *error, method string) {
	if r := recover(); r != nil {
		*err = &panicked{method, clean(fmt.Sprint(r)), string(debug.Stack())}
	}
}

// ended says why a Running is done.
func ended(r Running) error {
	err := r.Err()
	if err == nil {
		return errors.New("ended")
	}
	return fmt.Errorf("ended: %s", words(err))
}

// untyped is the code of an error that is not an *Error. It is none of the
// contract's.
const untyped transport.Code = 255

// typedError returns an error of the transport as one that can be relied upon:
// with a clean text, and never nil inside. It runs code of the transport.
func typedError(err error) *transport.Error {
	if err == nil {
		return nil
	}
	if t := (*transport.Error)(nil); errors.As(err, &t) && t != nil {
		return &transport.Error{Code: t.Code, Field: clean(t.Field), Reason: clean(t.Reason)}
	}
	return &transport.Error{Code: untyped, Reason: words(err)}
}

// words returns the text of an error of the transport, fit for logs and people.
func words(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "an error without a text"
		}
	}()
	return clean(err.Error())
}

// clean returns a text of the transport with at most MaxText bytes and nothing
// in it that could do harm in a terminal or a log.
func clean(s string) string {
	s = s[:min(len(s), transport.MaxText)]
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// checkInfo returns what is believed of an Info.
func checkInfo(i transport.Info) (transport.Info, error) {
	switch {
	case i.MaxData < 1:
		return i, fmt.Errorf("Open: Info.MaxData: %d is below 1", i.MaxData)
	case i.MaxTTL < leastMaxTTL:
		return i, fmt.Errorf("Open: Info.MaxTTL: %v is below %v", i.MaxTTL, leastMaxTTL)
	}
	i.Name, i.Version = clean(i.Name), clean(i.Version)
	i.MaxData = min(i.MaxData, transport.MaxEnvelope)
	i.MaxTTL = min(i.MaxTTL, maxTTLOfAll).Truncate(time.Second)
	i.Latency = max(0, min(i.Latency, maxLatency))
	i.Privacy = i.Privacy[:min(len(i.Privacy), maxPrivacy):min(len(i.Privacy), maxPrivacy)]
	i.Addresses = slices.Clone(i.Addresses[:min(len(i.Addresses), transport.MaxAddresses)])
	for n, a := range i.Addresses {
		i.Addresses[n] = clean(a)
	}
	return i, nil
}

const (
	leastMaxTTL = 10 * time.Second // the contract's
	maxLatency  = time.Hour        // beyond it nobody waits for an answer
	maxPrivacy  = 8                // there are three, and a few may be added
)
