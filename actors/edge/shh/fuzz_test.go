package shh

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stratanode/strata/layers/transport"
)

// again checks that what was read is written so that it reads the same.
func again[M any](t *testing.T, b []byte) (m M, ok bool) {
	if json.Unmarshal(b, &m) != nil {
		return m, false
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatalf("%+v cannot be written: %v", m, err)
	}
	var n M
	if err := json.Unmarshal(text, &n); err != nil {
		t.Fatalf("%s cannot be read: %v", text, err)
	}
	if second, err := json.Marshal(n); err != nil || string(second) != string(text) {
		t.Fatalf("%s became %s, error %v", text, second, err)
	}
	return m, true
}

// What clients send is read and acted on without a panic, whatever it is.
func FuzzParameters(f *testing.F) {
	f.Add([]byte(`{"symKeyID":"s","topics":["0x01020304"],"minPow":0.1,"allowP2P":true,"sig":null}`))
	f.Add([]byte(`{"symKeyID":"s","topic":"0x01020304","payload":"0x00","padding":"0x01","ttl":10,"powTarget":0}`))
	f.Add([]byte(`{"pubKey":"0x04","sig":"x","targetPeer":"enode://x","powTime":1,"powTarget":-1}`))
	f.Add([]byte(`{"topics":null,"pubKey":"","sig":"0x"}`))
	f.Add([]byte(`[{"topics":[null]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := DefaultConfig()
		a := New(cfg, quiet)
		a.keys.syms["s"] = symOf(1)
		a.keys.pairs["p"] = alice
		defer a.filters.unwind()
		if c, ok := again[Criteria](t, b); ok {
			for _, as := range []asks{toPoll, toSubscribe} {
				if f, err := a.newFilter(&c, as, nil); err == nil && len(f.topics) > len(c.Topics) {
					t.Fatalf("%d topics of %d", len(f.topics), len(c.Topics))
				}
			}
		}
		if m, ok := again[NewMessage](t, b); ok {
			if l, err := a.address(&m); err == nil {
				if _, err := a.draft(&l, &m); err != nil {
					t.Fatalf("%s is addressed but cannot be sealed: %v", b, err)
				}
			}
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"ttl":50,"timestamp":1,"topic":"0x01020304","payload":"0x","padding":"0x00","pow":0.2,"hash":"0x01"}`))
	f.Add([]byte(`{"sig":"0x04","recipientPublicKey":"0x05","hash":null}`))
	f.Fuzz(func(t *testing.T, b []byte) { again[Message](t, b) })
}

// No envelope ends the goroutine that opens them, even if a key opens it.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{1}, []byte{}, true)
	f.Add([]byte{5, 0, 0}, []byte{0xc0}, false)
	f.Fuzz(func(t *testing.T, plaintext, raw []byte, direct bool) {
		a := New(DefaultConfig(), quiet)
		defer a.filters.unwind()
		got := &filter{direct: true}
		if err := a.filters.add(got, keyed{sym: symOf(1)}); err != nil {
			t.Fatal(err)
		}
		l := (keyed{sym: symOf(1)}).open()
		salt := make([]byte, 12)
		data := append(l.aead.Seal(nil, salt, plaintext, nil), salt...)
		o := opener{api: a}
		m, to := o.match(&waiting{transport.Envelope{Data: data, Raw: raw}, direct}, []*filter{got})
		o.open(&waiting{transport.Envelope{Data: raw, Raw: data}, direct})
		if m == nil {
			return
		}
		if !reflect.DeepEqual(to, []*filter{got}) || len(m.Payload)+len(m.Padding) >= len(plaintext) {
			t.Fatalf("%x made %+v for %d filters", plaintext, m, len(to))
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again[Message](t, text)
	})
}
