package store

import "fmt"

// Record is one durable fact. Keys are ordered bytewise. A nil Value deletes
// the record; an empty one is a value.
type Record struct {
	Key    string
	Value  []byte
	Secret bool // sealed again at rest, and guarded against being rolled back
}

// Bounds of what may be stored.
const (
	MaxNamespace = 64       // bytes
	MaxKey       = 1 << 10  // bytes: four fit on a page, which an index needs
	MaxValue     = 16 << 20 // bytes: one message with an attachment and to spare
)

// Bounds of what shares one transaction, so that no commit waits long for the
// others.
const (
	maxBatch      = 64      // commits
	maxBatchBytes = 4 << 20 // bytes
)

// commit is one call of Commit on its way to the disk.
type commit struct {
	ns      string
	records []Record
	bytes   int

	err  error
	lead chan bool // false: written, see err; true: it is your turn to write
}

// Commit stores records, all or none. When it returns nil they are on the disk
// and will be there after a crash. Later records win over earlier ones of the
// same key.
//
// ErrFull says that there is no room; as soon as there is, Commit works again.
// A key or value that is too long, and ErrClosed, are the other errors that do
// not mean a broken disk.
//
// Calls at the same time are written together. Commit keeps nothing of records.
func (n *Namespace) Commit(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	c := &commit{ns: n.name, records: records}
	err := c.validate()
	if err == nil {
		err = n.store.commit(c)
	}
	if err != nil {
		return fmt.Errorf("store: commit to %s: %w", n.name, err)
	}
	return nil
}

func (c *commit) validate() error {
	if err := checkNamespace(c.ns); err != nil {
		return err
	}
	for _, r := range c.records {
		if len(r.Key) > MaxKey {
			return fmt.Errorf("key %.32q… has %d bytes, more than %d", r.Key, len(r.Key), MaxKey)
		}
		if len(r.Value) > MaxValue {
			return fmt.Errorf("value of %q has %d bytes, more than %d", r.Key, len(r.Value), MaxValue)
		}
		c.bytes += len(r.Key) + len(r.Value)
	}
	return nil
}

func checkNamespace(ns string) error {
	if ns == "" || len(ns) > MaxNamespace {
		return fmt.Errorf("namespace has %d bytes, not 1 to %d", len(ns), MaxNamespace)
	}
	return nil
}

// commit queues c. Who finds nobody writing writes what is queued, itself
// first, and hands the pen to the first who came meanwhile.
func (s *Store) commit(c *commit) error {
	s.queue.Lock()
	if s.queue.closed {
		s.queue.Unlock()
		return ErrClosed
	}
	lead := !s.queue.leading
	if lead {
		s.queue.leading = true
	} else {
		c.lead = make(chan bool, 1)
	}
	s.queue.waiting = append(s.queue.waiting, c)
	s.queue.Unlock()

	if !lead && !<-c.lead {
		return c.err
	}
	batch := s.takeBatch()
	s.write(batch)
	s.handOver()
	for _, other := range batch[1:] {
		other.lead <- false
	}
	return c.err
}

// takeBatch takes the first commits from the queue. The caller's is the first
// of them.
func (s *Store) takeBatch() []*commit {
	s.queue.Lock()
	defer s.queue.Unlock()
	q := s.queue.waiting
	n, size := 1, q[0].bytes
	for n < min(len(q), maxBatch) && size+q[n].bytes <= maxBatchBytes {
		size += q[n].bytes
		n++
	}
	batch := q[:n:n]
	if s.queue.waiting = q[n:]; len(q) == n {
		s.queue.waiting = nil
	}
	return batch
}

func (s *Store) handOver() {
	s.queue.Lock()
	defer s.queue.Unlock()
	if len(s.queue.waiting) == 0 {
		s.queue.leading = false
		return
	}
	s.queue.waiting[0].lead <- true
}

// write writes batch in one transaction, and sets the outcome of each. If that
// fails, each is tried alone, so that none suffers from another.
func (s *Store) write(batch []*commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.transact(batch)
	if err == nil || len(batch) == 1 {
		for _, c := range batch {
			c.err = err
		}
		return
	}
	for i, c := range batch {
		c.err = s.transact(batch[i : i+1])
	}
}

// transact makes the records of batch durable in one transaction.
func (s *Store) transact(batch []*commit) error {
	if s.db == nil {
		return ErrClosed
	}
	t := transaction{Store: s, before: s.guard}
	err := t.run(batch)
	if err != nil {
		s.db.undo()
		s.guard = t.before
		return fault(err)
	}
	if t.touched {
		s.putGeneration()
	}
	return nil
}

// transaction is one transaction under way.
type transaction struct {
	*Store
	before  guard // what holds again if it fails
	touched bool  // a secret record was written or removed
}

func (t *transaction) run(batch []*commit) error {
	if err := t.db.begin.Exec(); err != nil {
		return err
	}
	for _, c := range batch {
		for _, r := range c.records {
			if err := t.apply(c.ns, r); err != nil {
				return err
			}
		}
	}
	if t.touched {
		if err := t.putRoot(); err != nil {
			return err
		}
	}
	return t.db.commit.Exec()
}

func (t *transaction) apply(ns string, r Record) error {
	if err := t.forget(ns, r.Key); err != nil {
		return err
	}
	if r.Value == nil {
		q := t.db.del
		if err := bindName(q, ns, r.Key); err != nil {
			return err
		}
		return q.Exec()
	}
	q := t.db.put
	if err := bindName(q, ns, r.Key); err != nil {
		return err
	}
	value := r.Value
	if r.Secret {
		t.touch()
		counter := t.guard.next()
		value = t.seal.record(ns, r.Key, counter, value)
		t.guard.add(ns, t.seal.markOf(ns, r.Key, counter, tagOf(value)))
		if err := q.BindInt64(4, int64(counter)); err != nil {
			return err
		}
	} else if err := q.BindNull(4); err != nil {
		return err
	}
	if err := q.BindBlob(3, value); err != nil {
		return err
	}
	return q.Exec()
}

// forget takes the secret record that is about to be replaced or removed out of
// the sum. Where there is no secret record nothing is looked up.
func (t *transaction) forget(ns, key string) error {
	if t.guard.spaces[ns].count == 0 {
		return nil
	}
	q := t.db.seal
	defer q.Reset()
	if err := bindName(q, ns, key); err != nil {
		return err
	}
	if !q.Step() {
		return q.Err()
	}
	counter := uint64(q.ColumnInt64(0))
	if counter == 0 { // NULL: not secret
		return nil
	}
	t.touch()
	t.guard.next() // a removal is a change of its own
	t.guard.remove(ns, t.seal.markOf(ns, key, counter, q.ColumnRawBlob(1)))
	return nil
}

// touch is called before the guard changes.
func (t *transaction) touch() {
	if !t.touched {
		t.touched = true
		t.guard = t.guard.clone()
	}
}
