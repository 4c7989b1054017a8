package history

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// The records. Topics that were fetched to the same second share two: their
// list, which seldom changes, and the second, which often does.
const (
	keyTopics = "history/topics/" // + number of the group, 8 hex digits: 4 bytes per topic
	keyUntil  = "history/until/"  // + the same number: 8 bytes, seconds since 1970

	recordVersion = 1 // the first byte of each record
)

const (
	maxGroups = 32 // so many records of each kind at most

	// maxTopics is how many topics are asked for. More make no sense: the bloom
	// filter of a query is full with some hundreds.
	maxTopics = 1 << 17
)

// marks knows until when each topic was fetched, in seconds since 1970.
type marks struct {
	until  map[transport.Topic]int64
	groups map[uint32]group // as they are saved
}

type group struct {
	until  int64
	topics []transport.Topic // sorted
}

// loadMarks reads the records. A damaged one is as good as none: its topics are
// asked for as if for the first time.
func loadMarks(saved layers.Saved) *marks {
	m := &marks{until: map[transport.Topic]int64{}, groups: map[uint32]group{}}
	if saved == nil {
		return m
	}
	from, to := layers.Prefix(keyTopics)
	for key, value := range saved.Scan(from, to, false) {
		id, err := strconv.ParseUint(strings.TrimPrefix(key, keyTopics), 16, 32)
		if err != nil || len(m.groups) == maxGroups {
			continue
		}
		second, _ := saved.Get(untilKey(uint32(id)))
		g, ok := decodeGroup(value, second)
		m.groups[uint32(id)] = g // a damaged one is there to be replaced
		if !ok {
			continue
		}
		for _, t := range g.topics {
			if before, known := m.until[t]; !known || g.until < before {
				m.until[t] = g.until
			}
		}
	}
	return m
}

func topicsKey(id uint32) string { return fmt.Sprintf("%s%08x", keyTopics, id) }
func untilKey(id uint32) string  { return fmt.Sprintf("%s%08x", keyUntil, id) }

func decodeGroup(topics, until []byte) (group, bool) {
	const size = len(transport.Topic{})
	if len(until) != 9 || until[0] != recordVersion ||
		len(topics) < 1+size || topics[0] != recordVersion || (len(topics)-1)%size != 0 {
		return group{}, false
	}
	g := group{until: int64(binary.BigEndian.Uint64(until[1:]))}
	for b := range slices.Chunk(topics[1:], size) {
		g.topics = append(g.topics, transport.Topic(b))
	}
	return g, slices.IsSortedFunc(g.topics, compareTopics)
}

func encodeTopics(topics []transport.Topic) []byte {
	b := []byte{recordVersion}
	for _, t := range topics {
		b = append(b, t[:]...)
	}
	return b
}

func encodeUntil(until int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{recordVersion}, uint64(until))
}

func compareTopics(a, b transport.Topic) int { return bytes.Compare(a[:], b[:]) }

// reach notes that a topic was fetched to a second. A mark in the future is of a
// clock that was wrong, and counts for nothing.
func (m *marks) reach(t transport.Topic, second, now int64) {
	if before, known := m.until[t]; !known || before < second || before > now {
		m.until[t] = second
	}
}

// begin notes that a topic is to be asked for from first on, unless it was before
// and is not to be asked for again. It reports whether that changes anything.
func (m *marks) begin(t transport.Topic, first, now int64, again bool) bool {
	before, known := m.until[t]
	if known && before <= now && (!again || before <= first) {
		return false
	}
	m.until[t] = first
	return true
}

// forget drops topics that nobody wants any more once their marks say nothing,
// and the oldest of them if there are too many. Those of lately stay: a set of
// topics may come in parts after a start.
func (m *marks) forget(wanted map[transport.Topic]uint64, horizon int64) {
	var left []transport.Topic
	for t, second := range m.until {
		if _, ok := wanted[t]; ok {
			continue
		}
		if second < horizon {
			delete(m.until, t)
		} else {
			left = append(left, t)
		}
	}
	if len(left) <= maxTopics {
		return
	}
	slices.SortFunc(left, func(a, b transport.Topic) int {
		return cmp.Or(cmp.Compare(m.until[a], m.until[b]), compareTopics(a, b))
	})
	for _, t := range left[:len(left)-maxTopics] {
		delete(m.until, t)
	}
}

// records returns what has changed since it was last asked. Steps commit all of
// it or nothing.
func (m *marks) records() []layers.Record {
	want := m.partition()
	var out []layers.Record
	next := make(map[uint32]group, len(want))
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[id]
		if second, ok := m.same(g, want); ok {
			if second != g.until {
				out = append(out, layers.Record{Key: untilKey(id), Value: encodeUntil(second)})
			}
			next[id] = group{second, g.topics}
			delete(want, second)
			continue
		}
		out = append(out, layers.Record{Key: topicsKey(id)}, layers.Record{Key: untilKey(id)})
	}
	var id uint32
	for _, second := range slices.Sorted(maps.Keys(want)) {
		for taken := true; taken; id++ {
			_, old := m.groups[id]
			_, new := next[id]
			taken = old || new
		}
		g := group{second, want[second]}
		next[id-1] = g
		out = append(out,
			layers.Record{Key: topicsKey(id - 1), Value: encodeTopics(g.topics)},
			layers.Record{Key: untilKey(id - 1), Value: encodeUntil(second)})
	}
	m.groups = next
	return out
}

// same finds the set of topics in want that g has, and nothing else.
func (m *marks) same(g group, want map[int64][]transport.Topic) (int64, bool) {
	if len(g.topics) == 0 {
		return 0, false
	}
	second, known := m.until[g.topics[0]]
	return second, known && slices.Equal(want[second], g.topics)
}

// partition sorts the topics by their marks. If there are too many different
// ones, the oldest become one: the oldest of them, which only means that more is
// fetched again.
func (m *marks) partition() map[int64][]transport.Topic {
	distinct := map[int64]bool{}
	for _, second := range m.until {
		distinct[second] = true
	}
	seconds := slices.Sorted(maps.Keys(distinct))
	if extra := len(seconds) - maxGroups; extra > 0 {
		for t, second := range m.until {
			if second <= seconds[extra] {
				m.until[t] = seconds[0]
			}
		}
	}
	want := map[int64][]transport.Topic{}
	for t, second := range m.until {
		want[second] = append(want[second], t)
	}
	for _, topics := range want {
		slices.SortFunc(topics, compareTopics)
	}
	return want
}
