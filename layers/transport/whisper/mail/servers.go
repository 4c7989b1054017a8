package mail

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/overlay"
	"github.com/stratanode/strata/layers/transport"
)

// maxKnown bounds the servers that are remembered: those of the configuration
// and as many that were named in queries.
const maxKnown = 2 * maxServers

// server is a node that is or was asked for history.
type server struct {
	id    overlay.PeerID
	key   layers.PublicKey // zero: only its id is known
	url   string           // as it was first given; empty: only its id is known
	kept  bool             // the overlay was asked to keep a link
	link  *link            // nil: none
	works *form            // of requests, that it last answered
	won   uint64           // turn at which it last answered; zero: never
	lost  uint64           // turn at which it last failed; zero: never
	queue []*query         // the first runs, if there is a link
}

// name returns how events call s.
func (s *server) name() string {
	if s.url != "" {
		return s.url
	}
	return s.id.String()
}

// server returns the server with this id, or nil.
func (p *Post) server(id overlay.PeerID) *server {
	for _, s := range p.servers {
		if s.id == id {
			return s
		}
	}
	return nil
}

// Servers returns the servers that can be asked now, the best first: that which
// answered last, then those not tried yet in the order of the configuration, then
// those that failed, the longest ago first.
func (p *Post) Servers() []string {
	var names []string
	for _, s := range p.ranked() {
		names = append(names, s.name())
	}
	return names
}

func (p *Post) ranked() []*server {
	var linked []*server
	for _, s := range p.servers {
		if s.link != nil && (s.kept || s.won > 0) {
			linked = append(linked, s)
		}
	}
	slices.SortStableFunc(linked, func(a, b *server) int {
		if c := cmp.Compare(a.class(), b.class()); c != 0 {
			return c
		}
		if a.class() == classGood {
			return cmp.Compare(b.won, a.won)
		}
		return cmp.Compare(a.lost, b.lost)
	})
	return linked
}

// Classes of servers by what came of the last query.
const (
	classGood = iota
	classNew
	classBad
)

func (s *server) class() int {
	switch {
	case s.lost > s.won:
		return classBad
	case s.won > 0:
		return classGood
	}
	return classNew
}

// best returns the server to ask if none is named, or nil.
func (p *Post) best() *server {
	if ranked := p.ranked(); len(ranked) > 0 {
		return ranked[0]
	}
	return nil
}

// find returns the server that a query names by its enode URL or peer id. An
// error says that there is none.
func (p *Post) find(name string) (*server, error) {
	id, named := parsePeer(name)
	var key layers.PublicKey
	if !named {
		var err error
		if id, key, err = parseEnode(name); err != nil {
			return nil, err
		}
	}
	if s := p.server(id); s != nil {
		if s.url == "" && !named {
			s.url, s.key = name, key
		}
		return s, nil
	}
	l := p.links[id]
	if l == nil && named {
		return nil, fmt.Errorf("mail: no link to %s, and no address of it", name)
	}
	if len(p.servers) >= maxKnown && !p.forget() {
		return nil, fmt.Errorf("mail: %d servers are known, and no more can be", maxKnown)
	}
	s := &server{id: id, key: key, link: l}
	if !named {
		s.url = name
	}
	p.servers = append(p.servers, s)
	return s, nil
}

// forget drops a server that is neither in the configuration nor in use.
func (p *Post) forget() bool {
	i := slices.IndexFunc(p.servers, func(s *server) bool { return !s.kept && len(s.queue) == 0 })
	if i >= 0 {
		p.servers = slices.Delete(p.servers, i, i+1)
		p.changed = true
	}
	return i >= 0
}

// linked begins with what waits for a server.
func (p *Post) linked(now time.Time, s *server, o *Out) {
	s.link = p.links[s.id]
	p.changed = true
	for _, q := range s.queue {
		q.due = time.Time{}
	}
	p.run(now, s, o)
}

// unlinked ends what runs at a server. What waits for it goes to another, unless
// it was meant for this one.
func (p *Post) unlinked(now time.Time, s *server, o *Out) {
	s.link = nil
	p.changed = true
	queue := s.queue
	s.queue = nil
	for _, q := range queue {
		switch {
		case q.running() && !q.Sync:
			p.turn++
			s.lost = p.turn
			q.answer(transport.QueryGone, nil, "the link ended", o)
		case q.named:
			q.answer(transport.QueryGone, nil, "the link ended", o)
		default:
			q.server = nil
			p.place(now, q, p.best(), o)
		}
	}
}

// announce says which servers there are, if others than before. Their order is
// no reason: it changes with every answer.
func (p *Post) announce(o *Out) {
	if !p.changed {
		return
	}
	p.changed = false
	names := p.Servers()
	sorted := slices.Sorted(slices.Values(names))
	if slices.Equal(sorted, p.announced) {
		return
	}
	p.announced = sorted
	o.Up = append(o.Up, transport.Archives{Servers: names})
}

// form is how a request is put.
type form struct {
	layout layout
	toKey  bool // sealed to the node key of the server instead of the password
}

// forms returns how a server can be asked, the likeliest first. What it answered
// before is likelier than what its name says.
func (p *Post) forms(s *server) []form {
	first, second := layoutRLP7, layoutRLP6
	if oldStatus(s.link.peer.Name) {
		first, second = second, first
	}
	var forms []form
	if p.sealer != nil && p.cfg.Password != "" {
		forms = append(forms, form{first, false}, form{second, false})
	}
	if p.sealer != nil && !s.key.IsZero() {
		forms = append(forms, form{first, true}, form{second, true})
	}
	forms = append(forms, form{layout: layoutPlain})
	if s.works != nil {
		if i := slices.Index(forms, *s.works); i > 0 {
			forms = slices.Insert(slices.Delete(forms, i, i+1), 0, *s.works)
		}
	}
	return forms
}

// isStrata says whether a client name is one of this program. Such a server
// narrows by topics, and sends a page while it reads it.
func isStrata(name string) bool { return strings.Contains(strings.ToLower(name), "strata") }

// oldStatus says whether a client name is that of a status-go before 0.40, which
// reads six items: "Statusd/v0.39.3/linux-amd64/go1.13".
func oldStatus(name string) bool {
	program, rest, _ := strings.Cut(strings.ToLower(name), "/")
	if !strings.Contains(program, "status") {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		a, b, found := strings.Cut(strings.TrimPrefix(part, "v"), ".")
		b = b[:digits(b)]
		major, err1 := strconv.Atoi(a)
		minor, err2 := strconv.Atoi(b)
		if found && err1 == nil && err2 == nil {
			return major == 0 && minor < 40
		}
	}
	return false
}

// digits returns how many digits s begins with.
func digits(s string) int {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		return i
	}
	return len(s)
}
