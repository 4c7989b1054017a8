package mail

import "github.com/stratanode/strata/layers/transport"

// bloom is a set of topics with false positives, 64 bytes (EIP-627 §Bloom
// filter). Whether an envelope is in it, the archive finds out.
type bloom []byte

// bloomOf returns a filter with all bits of the topics, which is never less than
// what servers look for. No topics mean all.
func bloomOf(topics []transport.Topic) bloom {
	b := make(bloom, bloomSize)
	for _, t := range topics {
		for j := range 3 {
			i := int(t[j]) + 256*int(t[3]>>j&1)
			b[i/8] |= 1 << (i % 8)
		}
	}
	if len(topics) == 0 {
		for i := range b {
			b[i] = 0xff
		}
	}
	return b
}

func (b bloom) full() bool {
	for _, x := range b {
		if x != 0xff {
			return false
		}
	}
	return true
}
