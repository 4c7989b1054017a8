package history

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

const (
	maxFailures = 2               // of one page at one server, then the next is asked
	again       = 2 * time.Second // before a page is asked for again
	patience    = 2 * time.Minute // with a transport that does not say that a server is silent

	// maxPages is how many pages one window may have at one server: with the
	// smallest that servers are known to give, 100 envelopes, more in a day than
	// the network of Status ever carried.
	maxPages = 1 << 14

	// maxBarren is how many pages in a row may bring nothing new. Servers that
	// bound what they read for one page may give some.
	maxBarren = 100

	maxSeen    = 1 << 16 // hashes kept per leg, at about 40 bytes
	maxServers = 64      // the best are kept

	// spread is how long an envelope may take from one server to another: what is
	// younger is not compared.
	spread = 60 // seconds
)

// leg is the way through one window at one server.
type leg struct {
	server   string
	ref      layers.Ref
	asked    bool      // a page is on its way
	at       time.Time // asked: when it is given up; else: when it is asked for
	cursor   []byte
	pages    int
	failures int // of this page
	fresh    int // envelopes of this page that were not seen before
	barren   int // pages without any
	seen     map[short]bool
	overflow bool // seen was full
	done     bool
}

// Archives is called with the servers that can be asked, the best first.
func (d *Driver) Archives(now time.Time, servers []string) Output {
	if !d.cfg.Enabled {
		return Output{}
	}
	before := d.servers
	d.servers, d.sure = nil, true
	for _, s := range servers {
		if s != "" && len(d.servers) < maxServers && !slices.Contains(d.servers, s) {
			d.servers = append(d.servers, s)
		}
	}
	for s := range d.faults {
		if !slices.Contains(d.servers, s) {
			delete(d.faults, s)
		}
	}
	news := slices.ContainsFunc(d.servers, func(s string) bool { return !slices.Contains(before, s) })
	if news && !d.retryAt.IsZero() {
		d.retryAt = earliest(d.retryAt, latest(now, d.started.Add(newcomer)))
	}
	return d.drive(now, Output{})
}

// History is called with envelopes of the past and how many of them were opened
// for the first time. Those that nobody here asked for are passed over.
func (d *Driver) History(now time.Time, h transport.History, opened int) Output {
	l := d.leg(h.Ref)
	if l == nil {
		return Output{}
	}
	r := d.run
	for _, e := range h.Envelopes {
		sent := e.Sent.Unix()
		if sent < r.start || sent > r.end {
			continue // a server that sends just anything makes no progress by it
		}
		k := shorten(e.Hash)
		if _, known := l.seen[k]; known {
			continue
		}
		l.fresh++
		if len(l.seen) == maxSeen {
			l.overflow = true
			continue
		}
		// By the bloom filter some come that were not asked for: not from all.
		l.seen[k] = sent <= r.to-spread && contains(r.series[0].topics, e.Topic)
	}
	l.at = now.Add(patience)
	d.progress.Envelopes += len(h.Envelopes)
	d.progress.Opened += opened
	return d.drive(now, Output{})
}

// leg finds the one whose page is on its way.
func (d *Driver) leg(ref layers.Ref) *leg {
	if d.run != nil {
		for _, l := range d.run.legs {
			if l.asked && l.ref == ref {
				return l
			}
		}
	}
	return nil
}

// Queried is called at the end of a query. Those of others are passed over.
func (d *Driver) Queried(now time.Time, q transport.Queried) Output {
	l := d.leg(q.Ref)
	if l == nil {
		return Output{}
	}
	var out Output
	l.asked = false
	d.progress.Server = l.server
	switch q.End {
	case transport.QueryDone:
		d.turn(now, l, q.Cursor, &out)
		d.progress.Pages++
		d.report(&out)
	case transport.QueryRefused, transport.QueryNobody:
		d.dismiss(now, l, reason(q), &out)
	default:
		d.failed(now, l, reason(q), &out)
	}
	return d.drive(now, out)
}

func reason(q transport.Queried) string {
	if q.Reason == "" {
		return q.End.String()
	}
	return brief(q.Reason)
}

// turn goes from one page to the next. Nothing is inferred from times: servers
// send the oldest first, the newest first or as it comes.
func (d *Driver) turn(now time.Time, l *leg, cursor []byte, out *Output) {
	l.pages++
	l.barren++
	if l.fresh > 0 {
		l.barren = 0
	}
	l.fresh, l.failures = 0, 0
	switch {
	case len(cursor) == 0:
		l.done = true
		delete(d.faults, l.server)
	case len(cursor) > transport.MaxCursor:
		d.dismiss(now, l, fmt.Sprintf("its cursor has %d bytes", len(cursor)), out)
	case bytes.Equal(cursor, l.cursor):
		d.dismiss(now, l, "its cursor leads to itself", out)
	case l.barren == maxBarren:
		d.dismiss(now, l, fmt.Sprintf("%d pages without anything new", maxBarren), out)
	case l.pages == maxPages:
		d.dismiss(now, l, fmt.Sprintf("%d pages and no end", maxPages), out)
	default:
		l.cursor = bytes.Clone(cursor)
		d.ask(now, l, out)
	}
}

// failed has a page asked for again in a moment, unless that has failed too.
func (d *Driver) failed(now time.Time, l *leg, why string, out *Output) {
	if l.failures++; l.failures < maxFailures {
		l.at = now.Add(again)
		return
	}
	d.dismiss(now, l, why, out)
}

// dismiss gives a server up for this run, and lets another take its place.
func (d *Driver) dismiss(now time.Time, l *leg, why string, out *Output) {
	r := d.run
	r.failed[l.server] = why
	d.faults[l.server]++
	d.progress.Server = l.server
	r.legs = slices.DeleteFunc(r.legs, func(x *leg) bool { return x == l })
	d.hire(now, out)
}

// hire asks one server more, if there is one: the best of those that have failed
// least.
func (d *Driver) hire(now time.Time, out *Output) {
	r := d.run
	best := ""
	for _, s := range d.servers {
		if _, failed := r.failed[s]; failed || slices.ContainsFunc(r.legs, func(l *leg) bool { return l.server == s }) {
			continue
		}
		if best == "" || d.faults[s] < d.faults[best] {
			best = s
		}
	}
	if best == "" {
		return
	}
	l := &leg{server: best, seen: map[short]bool{}}
	r.legs = append(r.legs, l)
	d.progress.Server = best
	d.ask(now, l, out)
}

// tend sees to what is due on the legs.
func (d *Driver) tend(now time.Time, out *Output) {
	for _, l := range slices.Clone(d.run.legs) {
		switch {
		case l.done || !reached(now, l.at):
		case l.asked:
			l.asked = false
			out.Down = append(out.Down, transport.Cancel{Ref: l.ref})
			d.failed(now, l, transport.QueryTimeout.String(), out)
		default:
			d.ask(now, l, out)
		}
	}
}

// ask asks for the next page, or for the same again.
func (d *Driver) ask(now time.Time, l *leg, out *Output) {
	l.ref, l.asked = d.refs.next(), true
	d.repeat(now, l, out)
}

func (d *Driver) repeat(now time.Time, l *leg, out *Output) {
	l.at = now.Add(patience)
	r := d.run
	out.Down = append(out.Down, transport.Query{
		Ref: l.ref, From: time.Unix(r.start, 0).UTC(), To: time.Unix(r.end, 0).UTC(), Topics: r.series[0].topics,
		Limit: d.cfg.Page, Cursor: l.cursor, Server: l.server,
	})
}

// refs makes the names of queries. They differ between the lives of a layer: the
// transport may still be busy with a query of the life before, and would take one
// of the same name for it.
type refs struct {
	random io.Reader
	life   [16]byte
	count  uint64
}

func (r *refs) next() layers.Ref {
	if r.count == 0 {
		if _, err := io.ReadFull(r.random, r.life[:]); err != nil {
			panic(fmt.Sprintf("history: random source: %v", err))
		}
	}
	r.count++
	ref := layers.Ref(layers.Keccak256(binary.BigEndian.AppendUint64(r.life[:], r.count)))
	return ref
}
