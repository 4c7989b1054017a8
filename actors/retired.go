package actors

import (
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/stratanode/strata/kernel"
)

// maxRetired bounds the tenants of a seat that are phased out at a time. Each
// costs what a transport costs; the oldest has had the most of its time.
const maxRetired = 4

// phased is a tenant that is being phased out.
type phased struct {
	tenant
	from  *producer
	timer *time.Timer
}

// exit says how a tenant is phased out; see Phase.
type exit struct {
	keep any // func(E) bool
	heed any // func(C) bool
	time time.Duration
}

// farewell ends the time of a retired tenant.
type farewell struct{ own }

// retire makes the tenant one of the past.
func (s *seat) retire(x exit) {
	s.tenant.retire(x)
	old, root, self := s.tenant, s.stack.kernel.System().Root, s.self
	timer := time.AfterFunc(x.time, func() { root.Send(self, farewell{own{old}}) })
	s.retired = append(s.retired, &phased{old, s.from, timer})
	if len(s.retired) > maxRetired {
		s.dismiss(s.retired[0], "too many are being phased out")
	}
}

// retiree returns the first retired tenant that fits, or nil.
func (s *seat) retiree(fits func(*phased) bool) *phased {
	if i := slices.IndexFunc(s.retired, fits); i >= 0 {
		return s.retired[i]
	}
	return nil
}

// retireeOf returns the retired tenant t, or nil if it is none.
func (s *seat) retireeOf(t tenant) *phased {
	return s.retiree(func(r *phased) bool { return r.tenant == t })
}

// toRetired hands a message to a retired tenant. If that breaks, it is gone a
// little earlier.
func (s *seat) toRetired(r *phased, m any) {
	defer func() {
		if reason := recover(); reason != nil {
			s.stack.log.Warn("replaced layer broke while it was being phased out", "layer", s.place.name, "reason", reason)
			s.dismiss(r, "")
		}
	}()
	r.hear(m)
}

// dismiss ends a retired tenant. The reason is logged, unless there is none
// because its time is over.
func (s *seat) dismiss(r *phased, reason string) {
	i := slices.Index(s.retired, r)
	if i < 0 {
		return
	}
	if reason != "" {
		s.stack.log.Info("replaced layer ends before its time", "layer", s.place.name, "reason", reason)
	}
	s.retired = slices.Delete(s.retired, i, i+1)
	r.timer.Stop()
	r.end()
	s.listen()
}

// dismissAll ends all retired tenants, because the seat itself ends.
func (s *seat) dismissAll() {
	for len(s.retired) > 0 {
		s.dismiss(s.retired[0], "")
	}
}

// listen makes the seat hear the slots that its tenants stand on, and no others.
func (s *seat) listen() {
	below := []string{s.from.below}
	for _, r := range s.retired {
		below = append(below, r.from.below)
	}
	s.stack.standsOnly(s.place, below)
}

// dismissal ends the time of the oldest retired edge early, and answers whether
// there was one. A layer has nothing that another tenant could be in want of.
type dismissal struct{ answer chan bool }

func (s *seat) makeRoom(d dismissal) {
	r := s.retiree(func(r *phased) bool { return r.from.below == "" })
	if r != nil {
		s.dismiss(r, "a new one did not open beside it")
	}
	d.answer <- r != nil
}

// recall brings the retired edge that a candidate was the resident with back into
// the seat: with its ports, and all that it still had to do.
type recall struct {
	n      *newcomer
	answer chan recalled // has room for the one answer
}

// recalled answers recall.
type recalled struct {
	there bool
	err   error // why it has not been brought back, though it is there
}

func (s *seat) recall(ctx actor.Context, m recall) {
	r := s.retiree(func(r *phased) bool { return r.from == m.n.from })
	if r == nil {
		m.answer <- recalled{}
		return
	}
	if !m.n.decide() {
		return
	}
	if err := s.tenant.settle(); err != nil {
		m.answer <- recalled{true, err}
		return
	}
	r.timer.Stop()
	s.retired = slices.DeleteFunc(s.retired, func(o *phased) bool { return o == r })
	s.retire(m.n.exit)
	s.tenant, s.from = r.tenant, r.from
	s.stack.moved(s.place, s.from)
	kernel.Announce(ctx, s.place.name)
	m.answer <- recalled{there: true} // should it break now, that is a matter of the kernel's
	s.tenant.comeBack(m.n.back)
}
