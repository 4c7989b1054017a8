package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

// enodeN is the URL of a mail server; its key is that of the number.
func enodeN(n int) string {
	key, err := crypto.ToECDSA(binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n+1)))
	if err != nil {
		panic(err)
	}
	point := crypto.FromECDSAPub(&key.PublicKey)[1:]
	return fmt.Sprintf("enode://%s@%s", hex.EncodeToString(point), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(30000+n)))
}

func idN(n int) string {
	id, err := enodeID(enodeN(n))
	if err != nil {
		panic(err)
	}
	return id
}

// sentAt is a Whisper envelope that was sent at a time.
func sentAt(at time.Time, n int) transport.Envelope {
	return sealed(int(at.Unix()-t0.Unix()), topicN(n), n)
}

// elsewhere is another mail server, as a transport shows it.
type elsewhere struct {
	list        []transport.Envelope
	oldestFirst bool
}

// page answers a query: some envelopes, and where to go on.
func (o *elsewhere) page(q transport.Query) (list []transport.Envelope, cursor []byte) {
	key := func(e transport.Envelope) []byte { k := keyOf(seconds(e.Sent), e.Hash); return k[:] }
	all := slices.Clone(o.list)
	slices.SortFunc(all, func(a, b transport.Envelope) int {
		if o.oldestFirst {
			a, b = b, a
		}
		return bytes.Compare(key(b), key(a))
	})
	begun := len(q.Cursor) == 0
	for _, e := range all {
		if e.Sent.Before(q.From) || e.Sent.After(q.To) {
			continue
		}
		if begun {
			if len(list) == q.Limit {
				return list, key(list[len(list)-1])
			}
			list = append(list, e)
		}
		begun = begun || bytes.Equal(key(e), q.Cursor)
	}
	return list, nil
}

// link is a transport without actors. It is ready when it is attached to, and
// answers queries as it is told to.
type link struct {
	archive *Archive
	answer  func(l *link, q transport.Query) // nil: not at all

	mu      sync.Mutex
	queries []transport.Query
	at      []time.Time
	heard   []transport.Command // other commands
	news    chan struct{}
}

// linked returns an archive that stands on a link. It is not open.
func linked(dir string, change func(*Config), answer func(*link, transport.Query)) *link {
	cfg := DefaultConfig()
	cfg.Sync = []string{enodeN(0)}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	n := &link{archive: New(cfg, dir, slog.New(slog.NewTextHandler(io.Discard, nil))), answer: answer, news: make(chan struct{}, 1)}
	n.archive.send[near] = n.send
	return n
}

// open opens the archive until the test ends.
func (n *link) open(t testing.TB) *link {
	if err := n.archive.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.archive.Close)
	return n
}

func (n *link) send(c transport.Command) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch c := c.(type) {
	case transport.Attach:
		go n.archive.hear(near, transport.Ready{}, nil)
	case transport.Query:
		n.queries = append(n.queries, c)
		n.at = append(n.at, time.Now())
		if n.answer != nil {
			go n.answer(n, c)
		}
	default:
		n.heard = append(n.heard, c)
	}
	signal(n.news)
}

// asked returns the queries so far and when they came.
func (n *link) asked() ([]transport.Query, []time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.queries), slices.Clone(n.at)
}

// give answers a query with envelopes and a cursor.
func (n *link) give(q transport.Query, list []transport.Envelope, cursor []byte) {
	for part := range slices.Chunk(list, 100) {
		n.archive.hear(near, transport.History{Ref: q.Ref, Server: q.Server, Envelopes: part}, nil)
	}
	n.end(q, transport.QueryDone, cursor, "")
}

func (n *link) end(q transport.Query, end transport.QueryEnd, cursor []byte, reason string) {
	n.archive.hear(near, transport.Queried{Ref: q.Ref, Server: q.Server, Cursor: cursor, End: end, Reason: reason}, nil)
}

// honest answers as another mail server does.
func honest(o *elsewhere) func(*link, transport.Query) {
	return func(n *link, q transport.Query) {
		list, cursor := o.page(q)
		n.give(q, list, cursor)
	}
}

// spread is some envelopes sent between two times, evenly.
func spread(from, to time.Time, count int) (list []transport.Envelope) {
	for i := range count {
		at := from.Add(time.Duration(float64(to.Sub(from)) * float64(i) / float64(count)))
		list = append(list, sentAt(at, i))
	}
	return list
}

// has reports how many of some envelopes an archive has.
func (n *link) has(t testing.TB, list []transport.Envelope) (count int) {
	t.Helper()
	keys := make([]Key, len(list))
	for i, e := range list {
		keys[i] = keyOf(seconds(e.Sent), e.Hash)
	}
	err := n.archive.with(t.Context(), func(ctx context.Context, s Store) error {
		rows, used, err := s.Fetch(ctx, keys, 1<<30)
		if err == nil && used != len(keys) {
			t.Errorf("%d keys of %d were looked up", used, len(keys))
		}
		count = len(rows)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// source is what is told of the first server that is followed.
func (n *link) source() SourceState { return n.archive.Describe().Sources[0] }

// caughtUp reports whether the first server was asked for everything.
func (n *link) caughtUp() bool {
	s := n.source()
	return !s.Running && !s.Tried.IsZero() && s.Fault == "" && !s.Until.Before(s.Tried.Truncate(time.Second))
}

// borrowed returns a credit and a function that reports whether it is back.
func borrowed(t testing.TB) (*actors.Credit, func() bool) {
	t.Helper()
	credits := actors.NewCredits(1)
	c, err := credits.Take(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return c, func() bool {
		again := credits.TryTake(1)
		again.Return()
		return again != nil
	}
}
