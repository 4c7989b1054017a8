package store

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
)

// guard is what the root record says about all secret records: the highest
// counter that was given out, and of each namespace that ever had a secret
// record the number and the sum of the live ones.
type guard struct {
	counter uint64
	spaces  map[string]tally
}

// tally counts and sums the marks of the live secret records of one namespace.
// A sum modulo 2^256 of pseudorandom numbers tells sets of them apart, and
// takes a record in or out without the others.
type tally struct {
	count uint64
	sum   sum
}

// sum is a number of 256 bits, the lowest word first.
type sum [4]uint64

func readSum(b []byte) (s sum) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s
}

func (s sum) add(t sum) (r sum) {
	var c uint64
	for i := range r {
		r[i], c = bits.Add64(s[i], t[i], c)
	}
	return r
}

func (s sum) sub(t sum) (r sum) {
	var c uint64
	for i := range r {
		r[i], c = bits.Sub64(s[i], t[i], c)
	}
	return r
}

func (g guard) clone() guard { return guard{g.counter, maps.Clone(g.spaces)} }

// next returns a counter that was never used.
func (g *guard) next() uint64 {
	g.counter++
	return g.counter
}

func (g *guard) add(ns string, mark sum) {
	t := g.spaces[ns]
	g.spaces[ns] = tally{t.count + 1, t.sum.add(mark)}
}

func (g *guard) remove(ns string, mark sum) {
	t := g.spaces[ns]
	g.spaces[ns] = tally{t.count - 1, t.sum.sub(mark)}
}

const rootLabel = "strata root 1"

func (g guard) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, g.counter)
	for _, ns := range slices.Sorted(maps.Keys(g.spaces)) {
		t := g.spaces[ns]
		b = append(b, byte(len(ns)))
		b = append(b, ns...)
		b = binary.BigEndian.AppendUint64(b, t.count)
		for _, w := range t.sum {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return b
}

var errRoot = errors.New("root record is malformed")

func decodeGuard(b []byte) (guard, error) {
	const tallySize = 8 + 32
	if len(b) < 8 {
		return guard{}, errRoot
	}
	g := guard{binary.BigEndian.Uint64(b), map[string]tally{}}
	for b = b[8:]; len(b) > 0; {
		n := int(b[0])
		if len(b) < 1+n+tallySize {
			return guard{}, errRoot
		}
		ns, t := string(b[1:1+n]), b[1+n:]
		g.spaces[ns] = tally{binary.BigEndian.Uint64(t), readSum(t[8:])}
		b = t[tallySize:]
	}
	return g, nil
}

// openGuard reads the root and the generation file and checks all secret
// records against them. A new store gets a root.
func (s *Store) openGuard(accept bool) (err error) {
	if s.side, err = os.OpenFile(filepath.Join(s.dir, generationName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	generation := s.generation()
	root, found, err := s.root()
	if err == nil && found {
		err = s.checkGuard(root, generation)
	} else if err == nil {
		root = guard{spaces: map[string]tally{}}
		var spaces []string
		if spaces, err = s.db.secretSpaces(); err == nil && (len(spaces) > 0 || generation > 0) {
			err = fmt.Errorf("%w: there is no root record, but the generation is %d and %d namespaces have secret records",
				ErrRolledBack, generation, len(spaces))
		}
	}
	switch {
	case err == nil && found:
		s.guard = root
		return nil
	case err == nil:
		s.guard = root
	case accept && errors.Is(err, ErrRolledBack):
		if s.guard, err = s.takeForTruth(root.counter, generation); err != nil {
			return err
		}
	default:
		return err
	}
	if err := s.putRoot(); err != nil {
		return err
	}
	s.putGeneration()
	return nil
}

// checkGuard compares what is there with what the root says, and names the
// first thing that disagrees.
func (s *Store) checkGuard(root guard, generation uint64) error {
	if root.counter < generation {
		return fmt.Errorf("%w: the database is at generation %d, the file %s at %d",
			ErrRolledBack, root.counter, generationName, generation)
	}
	for _, ns := range slices.Sorted(maps.Keys(root.spaces)) {
		want := root.spaces[ns]
		got, highest, err := s.tally(ns)
		if err != nil {
			return err
		}
		switch {
		case highest > root.counter:
			return fmt.Errorf("%w: namespace %s has a record of generation %d, the root record is of %d",
				ErrRolledBack, ns, highest, root.counter)
		case got.count != want.count:
			return fmt.Errorf("%w: namespace %s has %d secret records, the root record says %d",
				ErrRolledBack, ns, got.count, want.count)
		case got.sum != want.sum:
			return fmt.Errorf("%w: namespace %s has %d secret records as it should, but not of the same time",
				ErrRolledBack, ns, got.count)
		}
	}
	return nil
}

// takeForTruth sums up what is there, under a counter that was never used.
func (s *Store) takeForTruth(counters ...uint64) (guard, error) {
	g := guard{slices.Max(counters), map[string]tally{}}
	spaces, err := s.db.secretSpaces()
	if err != nil {
		return guard{}, err
	}
	for _, ns := range spaces {
		t, highest, err := s.tally(ns)
		if err != nil {
			return guard{}, err
		}
		g.spaces[ns] = t
		g.counter = max(g.counter, highest)
	}
	g.counter++
	return g, nil
}

// tally sums up the secret records of ns, and finds their highest counter.
func (s *Store) tally(ns string) (t tally, highest uint64, err error) {
	q := s.db.secrets
	defer q.Reset()
	if err := q.BindText(1, ns); err != nil {
		return tally{}, 0, fault(err)
	}
	for q.Step() {
		key, counter, tag := string(q.ColumnRawBlob(0)), uint64(q.ColumnInt64(1)), q.ColumnRawBlob(2)
		t.count++
		t.sum = t.sum.add(s.seal.markOf(ns, key, counter, tag))
		highest = max(highest, counter)
	}
	return t, highest, fault(q.Err())
}

func (d *database) secretSpaces() (spaces []string, err error) {
	defer d.spaces.Reset()
	for d.spaces.Step() {
		spaces = append(spaces, d.spaces.ColumnText(0))
	}
	return spaces, fault(d.spaces.Err())
}

// root reads the root record, and says whether there is one.
func (s *Store) root() (guard, bool, error) {
	q := s.db.getRoot
	defer q.Reset()
	if !q.Step() {
		return guard{}, false, fault(q.Err())
	}
	plain, err := s.seal.unbox([]byte(rootLabel), q.ColumnRawBlob(0))
	if err != nil {
		return guard{}, true, fmt.Errorf("%w: the root record %w", ErrRolledBack, err)
	}
	g, err := decodeGuard(plain)
	return g, true, err
}

func (s *Store) putRoot() error {
	if err := s.db.putRoot.BindBlob(1, s.seal.box([]byte(rootLabel), s.guard.encode())); err != nil {
		return err
	}
	return s.db.putRoot.Exec()
}

// generationSize is the size of the generation file in bytes: the counter and
// its MAC. It is less than a sector, so it is seldom torn, and harmless if so.
const generationSize = 8 + 32

// generation returns the counter in the generation file; 0 if the file is
// empty, torn or of another key, which is no error.
func (s *Store) generation() uint64 {
	var b [generationSize]byte
	if n, err := s.side.ReadAt(b[:], 0); n != len(b) || err != nil && err != io.EOF {
		return 0
	}
	s.seal.side.Reset()
	s.seal.side.Write(b[:8])
	if !hmac.Equal(s.seal.side.Sum(nil), b[8:]) {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}

// putGeneration remembers the counter outside the database. The database is
// durable already: what is lost here weakens only the notice of a rollback.
func (s *Store) putGeneration() {
	var b [generationSize]byte
	binary.BigEndian.PutUint64(b[:], s.guard.counter)
	s.seal.side.Reset()
	s.seal.side.Write(b[:8])
	s.seal.side.Sum(b[:8])
	s.side.WriteAt(b[:], 0)
}
