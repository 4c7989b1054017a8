package ratchet

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/secure"
)

// genericDiscovery is the topic of all first messages before partitions.
const genericDiscovery = "contact-discovery"

// partitions is the number of partitioned discovery topics.
const partitions = 5000

// contactCode returns the text that is topic and password of k's contact code.
func contactCode(k layers.PublicKey) string { return k.String() + "-contact-code" }

// partitioned returns the text of the discovery topic that k shares with one in
// 5000 identities.
func partitioned(k layers.PublicKey) string {
	return genericDiscovery + "-" + strconv.Itoa(partition(k))
}

// partition returns the X coordinate of k modulo 5000.
func partition(k layers.PublicKey) int {
	x := k.X()
	rest := uint64(0)
	for i := 0; i < len(x); i += 4 {
		rest = (rest<<32 | uint64(binary.BigEndian.Uint32(x[i:]))) % partitions
	}
	return int(rest)
}

// personal returns the text of the discovery topic that is k's alone.
func personal(k layers.PublicKey) string { return genericDiscovery + "-" + hex.EncodeToString(k[:]) }

// negotiated returns the text that is topic and password between two
// identities: their static Diffie-Hellman product in hexadecimal.
func negotiated(own layers.PrivateKey, theirs layers.PublicKey) (string, error) {
	s, err := own.Shared(theirs)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(s[:]), nil
}

// channelText returns the text that is topic and password of a public chat.
func channelText(c secure.Channel) string { return string(c) }
