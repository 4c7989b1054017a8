// Package layertest runs pure protocols without actors: records in memory,
// layers put on top of each other in one goroutine, time invented by the test.
package layertest

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stratanode/strata/layers"
)

// Memory is a layers.Saved in memory. The zero value is not ready; use
// NewMemory.
type Memory struct {
	records map[string][]byte

	// BeforeCommit, if set, is called before the n-th commit (from 1) of at
	// least one record. A test panics in it to crash the node there.
	BeforeCommit func(n int)
	commits      int
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{records: map[string][]byte{}} }

// Commit makes records durable: all of them or, if BeforeCommit panics, none.
func (m *Memory) Commit(records []layers.Record) {
	if len(records) == 0 {
		return
	}
	m.commits++
	if m.BeforeCommit != nil {
		m.BeforeCommit(m.commits)
	}
	for _, r := range records {
		if r.Value == nil {
			delete(m.records, r.Key)
		} else {
			m.records[r.Key] = slices.Clone(r.Value)
		}
	}
}

// Commits returns how many commits there were.
func (m *Memory) Commits() int { return m.commits }

// Clone returns an independent copy of the records.
func (m *Memory) Clone() *Memory { return &Memory{records: maps.Clone(m.records)} }

// Len returns the number of records.
func (m *Memory) Len() int { return len(m.records) }

// Get implements layers.Saved.
func (m *Memory) Get(key string) ([]byte, bool) {
	v, ok := m.records[key]
	return slices.Clone(v), ok
}

// Scan implements layers.Saved.
func (m *Memory) Scan(from, to string, reverse bool) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		keys := slices.SortedFunc(maps.Keys(m.records), strings.Compare)
		if reverse {
			slices.Reverse(keys)
		}
		for _, k := range keys {
			if k < from || to != "" && k >= to {
				continue
			}
			if !yield(k, slices.Clone(m.records[k])) {
				return
			}
		}
	}
}

// Keep returns p as it looks once its records are taken care of: every Save is
// committed to m before the output is handed on.
func Keep[C, E, BC, BE any](p layers.Protocol[C, E, BC, BE], m *Memory) layers.Protocol[C, E, BC, BE] {
	return kept[C, E, BC, BE]{p, m}
}

type kept[C, E, BC, BE any] struct {
	layers.Protocol[C, E, BC, BE]
	memory *Memory
}

func (k kept[C, E, BC, BE]) FromAbove(now time.Time, c C) (layers.Output[E, BC], error) {
	out, err := k.Protocol.FromAbove(now, c)
	return k.commit(out, err)
}

func (k kept[C, E, BC, BE]) FromBelow(now time.Time, e BE) (layers.Output[E, BC], error) {
	out, err := k.Protocol.FromBelow(now, e)
	return k.commit(out, err)
}

func (k kept[C, E, BC, BE]) Wake(now time.Time) layers.Output[E, BC] {
	out, _ := k.commit(k.Protocol.Wake(now), nil)
	return out
}

func (k kept[C, E, BC, BE]) commit(out layers.Output[E, BC], err error) (layers.Output[E, BC], error) {
	if err == nil {
		k.memory.Commit(out.Save)
	}
	out.Save = nil
	return out, err
}

// Over puts upper on top of lower; the two together are a protocol again. Both
// must be kept (see Keep) if they save. An error of the half that did not get
// the input from outside is passed to Refused, if that is set.
func Over[C, E, MC, ME, BC, BE any](
	upper layers.Protocol[C, E, MC, ME], lower layers.Protocol[MC, ME, BC, BE],
) *Pair[C, E, MC, ME, BC, BE] {
	return &Pair[C, E, MC, ME, BC, BE]{upper: upper, lower: lower}
}

// Pair is two layers that act as one.
type Pair[C, E, MC, ME, BC, BE any] struct {
	Refused func(input any, err error)

	upper      layers.Protocol[C, E, MC, ME]
	lower      layers.Protocol[MC, ME, BC, BE]
	upperAlarm time.Time
	lowerAlarm time.Time
}

// FromAbove implements layers.Protocol.
func (p *Pair[C, E, MC, ME, BC, BE]) FromAbove(now time.Time, c C) (out layers.Output[E, BC], err error) {
	u, err := p.upper.FromAbove(now, c)
	if err != nil {
		return out, err
	}
	p.afterUpper(now, u, &out)
	return p.alarmed(out), nil
}

// FromBelow implements layers.Protocol.
func (p *Pair[C, E, MC, ME, BC, BE]) FromBelow(now time.Time, e BE) (out layers.Output[E, BC], err error) {
	l, err := p.lower.FromBelow(now, e)
	if err != nil {
		return out, err
	}
	p.afterLower(now, l, &out)
	return p.alarmed(out), nil
}

// Wake implements layers.Protocol: it wakes both.
func (p *Pair[C, E, MC, ME, BC, BE]) Wake(now time.Time) (out layers.Output[E, BC]) {
	if !now.Before(p.lowerAlarm) {
		p.lowerAlarm = time.Time{}
		p.afterLower(now, p.lower.Wake(now), &out)
	}
	if !now.Before(p.upperAlarm) {
		p.upperAlarm = time.Time{}
		p.afterUpper(now, p.upper.Wake(now), &out)
	}
	return p.alarmed(out)
}

func (p *Pair[C, E, MC, ME, BC, BE]) afterUpper(now time.Time, u layers.Output[E, MC], out *layers.Output[E, BC]) {
	out.Up = append(out.Up, u.Up...)
	if !u.Wake.IsZero() {
		p.upperAlarm = u.Wake
	}
	for _, c := range u.Down {
		l, err := p.lower.FromAbove(now, c)
		if err != nil {
			p.refused(c, err)
			continue
		}
		p.afterLower(now, l, out)
	}
}

func (p *Pair[C, E, MC, ME, BC, BE]) afterLower(now time.Time, l layers.Output[ME, BC], out *layers.Output[E, BC]) {
	out.Down = append(out.Down, l.Down...)
	if !l.Wake.IsZero() {
		p.lowerAlarm = l.Wake
	}
	for _, e := range l.Up {
		u, err := p.upper.FromBelow(now, e)
		if err != nil {
			p.refused(e, err)
			continue
		}
		p.afterUpper(now, u, out)
	}
}

func (p *Pair[C, E, MC, ME, BC, BE]) refused(input any, err error) {
	if p.Refused != nil {
		p.Refused(input, err)
	}
}

// alarmed sets the wake time of the pair to the earlier one of its halves.
func (p *Pair[C, E, MC, ME, BC, BE]) alarmed(out layers.Output[E, BC]) layers.Output[E, BC] {
	out.Wake = time.Time{}
	out.WakeAt(p.upperAlarm)
	out.WakeAt(p.lowerAlarm)
	return out
}
