package whisper

import "github.com/stratanode/strata/layers/transport"

// BloomSize is the length of a bloom filter in bytes (EIP-627 §Bloom filter).
const BloomSize = 64

// Bloom is a set of topics in which a node is interested, with false positives
// (EIP-627). Bit i is the bit of value 1<<(i%8) in byte i/8.
type Bloom [BloomSize]byte

// FullBloom returns the filter that matches every topic.
func FullBloom() Bloom {
	var b Bloom
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// TopicBloom returns the filter of one topic as the deployed nodes compute it:
// each of the three bits is assigned to its byte, so a later bit wipes an
// earlier one of the same byte. It is what an envelope is matched by.
func TopicBloom(t transport.Topic) Bloom {
	var b Bloom
	for _, i := range topicBits(t) {
		b[i/8] = 1 << (i % 8)
	}
	return b
}

// topicBits returns the three bit positions of a topic, 0 to 511. The last byte
// of the topic says which of the others count from 256.
func topicBits(t transport.Topic) (bits [3]int) {
	for j := range bits {
		bits[j] = int(t[j]) + 256*int(t[3]>>j&1)
	}
	return bits
}

// Add puts a topic into b with all of its bits. That is never less than what
// the deployed nodes look for, and usually the same.
func (b *Bloom) Add(t transport.Topic) {
	for _, i := range topicBits(t) {
		b[i/8] |= 1 << (i % 8)
	}
}

// Merge puts into b all that is in o.
func (b *Bloom) Merge(o Bloom) {
	for i := range b {
		b[i] |= o[i]
	}
}

// Match reports whether the filter b lets envelopes of topic t through: whether
// it holds all of TopicBloom(t).
func (b *Bloom) Match(t transport.Topic) bool {
	bits := topicBits(t)
	for j, i := range bits {
		wiped := false
		for _, later := range bits[j+1:] {
			wiped = wiped || later/8 == i/8
		}
		if !wiped && b[i/8]&(1<<(i%8)) == 0 {
			return false
		}
	}
	return true
}

// Full reports whether b matches every topic.
func (b *Bloom) Full() bool { return *b == FullBloom() }
