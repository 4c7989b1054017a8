package shh

import (
	"fmt"
	"testing"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/transport"
)

// BenchmarkOpen is what an envelope of 540 bytes costs the goroutine that opens,
// with the filters of many clients.
func BenchmarkOpen(b *testing.B) {
	ours := letter{sym: symOf(1), topic: topicA}
	toBob := letter{to: bob.Public(), topic: topicA}
	for _, bb := range []struct {
		name   string
		letter letter
		keys   func(i int) keyed
	}{
		{"the same symmetric key", ours, func(int) keyed { return keyed{sym: symOf(1)} }},
		{"other symmetric keys", ours, func(i int) keyed { return keyed{sym: symOf(byte(2 + i))} }},
		{"the same key pair", toBob, func(int) keyed { return keyed{private: bob} }},
		{"not for the key pair", letter{to: alice.Public(), topic: topicA}, func(int) keyed { return keyed{private: bob} }},
	} {
		for _, filters := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", bb.name, filters), func(b *testing.B) {
				a := New(DefaultConfig(), quiet)
				defer a.filters.unwind()
				for i := range filters {
					if err := a.filters.add(&filter{topics: []transport.Topic{topicA}, direct: true}, bb.keys(i)); err != nil {
						b.Fatal(err)
					}
				}
				e := sealedWith(bb.letter, string(make([]byte, 200)), 0)
				b.SetBytes(int64(len(e.Raw)))
				b.ReportAllocs()
				o := opener{api: a}
				for i := 0; b.Loop(); i++ {
					e.Hash = transport.Hash(layers.Keccak256([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
					o.open(&waiting{e, true})
				}
			})
		}
	}
}
