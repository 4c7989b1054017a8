package main

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/envelope"
)

// keyWatch looks into what bob's envelope layer opens: no message key may ever
// be used for two messages.
type keyWatch struct {
	mu    sync.Mutex
	used  map[string][]byte // ciphertext by session, ratchet key and number
	again int               // the same ciphertext came again
	bad   []string
}

func (w *keyWatch) stand(s *actors.Stack) {
	top := actors.NewTop(s, "key watch")
	actors.Hear(top, envelopeSlot, func(e envelope.Event) {
		if o, ok := e.(envelope.Opened); ok {
			w.look(o.Payload)
		}
	})
	top.Run(nothing{})
}

// nothing is an edge that does not wait for anything.
type nothing struct{}

func (nothing) Open() error { return nil }
func (nothing) Close()      {}

// Field numbers of ProtocolMessage and of what is in it (Status 5/SECURE-TRANSPORT).
const (
	fieldDirectMessages = 101 // map: 2 is the DirectMessageProtocol
	fieldHeader         = 2   // DRHeader: 1 key, 2 n, 4 id
	fieldCiphertext     = 3
)

// look notes the message keys of one ProtocolMessage.
func (w *keyWatch) look(message []byte) {
	for _, entry := range protoFields(message)[fieldDirectMessages] {
		for _, direct := range protoFields(entry)[2] {
			parts := protoFields(direct)
			if len(parts[fieldHeader]) != 1 || len(parts[fieldCiphertext]) != 1 {
				continue // first contact without a session
			}
			header := protoFields(parts[fieldHeader][0])
			name := fmt.Sprintf("session %x, ratchet key %x, number %x", header[4], header[1], header[2])
			w.note(name, parts[fieldCiphertext][0])
		}
	}
}

func (w *keyWatch) note(name string, ciphertext []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, used := w.used[name]
	switch {
	case !used:
		w.used[name] = bytes.Clone(ciphertext)
	case bytes.Equal(old, ciphertext):
		w.again++
	default:
		w.bad = append(w.bad, name)
	}
}

func (w *keyWatch) report(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d message keys seen, %d ciphertexts came again", len(w.used), w.again)
	for _, name := range w.bad {
		t.Errorf("a message key was used twice: %s", name)
	}
	if len(w.used) < 100 {
		t.Errorf("%d message keys seen: the watch does not see them all", len(w.used))
	}
}

// protoFields returns the values of the fields of a protobuf message by number:
// the content of those with a length, the encoding of the others.
func protoFields(b []byte) map[protowire.Number][][]byte {
	fields := map[protowire.Number][][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			return nil
		}
		value := b[:n]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		fields[number] = append(fields[number], value)
		b = b[n:]
	}
	return fields
}

func TestKeyWatchSeesAKeyThatIsUsedTwice(t *testing.T) {
	message := func(n uint64, ciphertext string) []byte {
		var header []byte
		header = protowire.AppendBytes(protowire.AppendTag(header, 1, protowire.BytesType), []byte("key"))
		header = protowire.AppendVarint(protowire.AppendTag(header, 2, protowire.VarintType), n)
		header = protowire.AppendBytes(protowire.AppendTag(header, 4, protowire.BytesType), []byte("id"))
		var direct []byte
		direct = protowire.AppendBytes(protowire.AppendTag(direct, fieldHeader, protowire.BytesType), header)
		direct = protowire.AppendBytes(protowire.AppendTag(direct, fieldCiphertext, protowire.BytesType), []byte(ciphertext))
		var entry []byte
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 1, protowire.BytesType), []byte("installation"))
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), direct)
		return protowire.AppendBytes(protowire.AppendTag(nil, fieldDirectMessages, protowire.BytesType), entry)
	}
	w := &keyWatch{used: map[string][]byte{}}
	w.look(message(1, "one"))
	w.look(message(2, "two"))
	w.look(message(1, "one"))
	if len(w.used) != 2 || w.again != 1 || len(w.bad) != 0 {
		t.Fatalf("%d keys, %d again, %q", len(w.used), w.again, w.bad)
	}
	if w.look(message(2, "other")); len(w.bad) != 1 {
		t.Error("a second message under one key was not noticed")
	}
}
