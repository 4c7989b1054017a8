package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stratanode/strata/layers/transport"
	"github.com/stratanode/strata/layers/transport/whisper"
)

// form is how the content of a row is written.
type form uint8

const (
	formWhisper form = iota // RLP of a Whisper envelope, which says everything
	formBare                // data only: the transport gave no envelope of its own
	formBoth                // length of the data as uvarint, data, envelope as the transport gave it
)

// rowCost is what a row takes beside its content, in bytes, measured with both
// databases: a row of the table and two entries in indexes.
const rowCost = 160

// Row is one stored envelope.
type Row struct {
	Key   Key
	Topic transport.Topic
	TTL   uint32 // seconds

	// Arrived takes the place of the time of sending for the retention, in unix
	// seconds. It is zero unless that lies far in the future.
	Arrived uint32

	Form    form
	Content []byte
}

// size is what the row counts for the bound on bytes.
func (r *Row) size() int { return len(r.Content) + rowCost }

// farFuture is how far ahead of its arrival an envelope may have been sent and
// still be kept by the time of sending: beyond it is no matter of clocks.
const farFuture = time.Hour

// rowOf returns the row of an envelope that arrived at a time.
func rowOf(e *transport.Envelope, now time.Time) Row {
	r := Row{Key: keyOf(seconds(e.Sent), e.Hash), Topic: e.Topic, TTL: uint32(min(max(e.TTL/time.Second, 0), math.MaxUint32))}
	if e.Sent.Sub(now) > farFuture {
		r.Arrived = seconds(now)
	}
	switch {
	case len(e.Raw) == 0:
		r.Form, r.Content = formBare, e.Data
	case saysAll(e, r.Key):
		r.Form, r.Content = formWhisper, e.Raw
	default:
		r.Form = formBoth
		r.Content = binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(e.Data)+len(e.Raw)), uint64(len(e.Data)))
		r.Content = append(append(r.Content, e.Data...), e.Raw...)
	}
	return r
}

// saysAll reports whether the envelope as the transport gave it is one of
// Whisper that agrees with the rest of e.
func saysAll(e *transport.Envelope, k Key) bool {
	w, err := whisper.DecodeEnvelope(e.Raw)
	return err == nil && keyOf(w.Sent(), w.Hash) == k && w.Topic == e.Topic && bytes.Equal(w.Data, e.Data) &&
		time.Duration(w.TTL)*time.Second == e.TTL
}

// seconds returns unix seconds, cut to what 32 bits can say.
func seconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// envelope returns what the row was made of.
func (r *Row) envelope() (transport.Envelope, error) {
	e := transport.Envelope{
		Hash: r.Key.Hash(), Topic: r.Topic, Sent: time.Unix(int64(r.Key.Sent()), 0), TTL: time.Duration(r.TTL) * time.Second,
	}
	switch r.Form {
	case formBare:
		e.Data = r.Content
	case formBoth:
		size, n := binary.Uvarint(r.Content)
		if n <= 0 || size > uint64(len(r.Content)-n) {
			return e, errors.New("content is cut short")
		}
		e.Data, e.Raw = r.Content[n:n+int(size)], r.Content[n+int(size):]
	case formWhisper:
		w, err := whisper.DecodeEnvelope(r.Content)
		if err != nil {
			return e, err
		}
		switch {
		case w.Hash != e.Hash:
			return e, fmt.Errorf("content has the hash %v", w.Hash)
		case w.Sent() != r.Key.Sent():
			return e, fmt.Errorf("content was sent at %d", w.Sent())
		case w.Topic != e.Topic:
			return e, fmt.Errorf("content has the topic %v, the row %v", w.Topic, e.Topic)
		case w.TTL != r.TTL:
			return e, fmt.Errorf("content has a time to live of %d s, the row %d s", w.TTL, r.TTL)
		}
		e.Data, e.Raw = w.Data, r.Content
	default:
		return e, fmt.Errorf("unknown form %d", r.Form)
	}
	return e, nil
}

func number(t transport.Topic) uint32 { return binary.BigEndian.Uint32(t[:]) }

func topicOf(n uint32) (t transport.Topic) {
	binary.BigEndian.PutUint32(t[:], n)
	return t
}
