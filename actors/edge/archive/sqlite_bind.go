package archive

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// busyTimeout is how long a connection waits for another process that writes.
const busyTimeout = 10 * time.Second

var errClosed = errors.New("archive: store is closed")

// binder gives a statement its parameters, one after the other.
type binder struct {
	stmt *sqlite3.Stmt
	n    int
	err  error
}

func (b *binder) blob(v []byte) {
	if b.n++; b.err == nil {
		if v == nil {
			v = []byte{} // nil would be NULL
		}
		b.err = b.stmt.BindBlob(b.n, v)
	}
}

func (b *binder) text(v string) {
	if b.n++; b.err == nil {
		b.err = b.stmt.BindText(b.n, v)
	}
}

func (b *binder) number(v int64) {
	if b.n++; b.err == nil {
		b.err = b.stmt.BindInt64(b.n, v)
	}
}

func (b *binder) null() {
	if b.n++; b.err == nil {
		b.err = b.stmt.BindNull(b.n)
	}
}

// exec runs a statement that returns nothing.
func (b *binder) exec() error {
	if b.err != nil {
		return b.err
	}
	return b.stmt.Exec()
}

// timeBytes writes unix seconds in the same order as keys have.
func timeBytes(sent uint32) []byte { return binary.BigEndian.AppendUint32(nil, sent) }
