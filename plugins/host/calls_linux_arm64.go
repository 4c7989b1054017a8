package host

// oldCalls are those of the marking calls that newer processors do without.
var oldCalls []uint32
