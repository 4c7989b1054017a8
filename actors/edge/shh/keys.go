package shh

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/envelope"
)

var (
	errNoKeyPair = errors.New("invalid id")
	errNoSymKey  = errors.New("non-existent key ID")
)

// idLen is the length of the id of a key or filter, in hex digits.
const idLen = 64

// newID returns a random id.
func newID() string {
	var b [idLen / 2]byte
	rand.Read(b[:]) // never fails; it ends the process instead
	return hex.EncodeToString(b[:])
}

// keys are what the clients have made. They live as long as the node.
type keys struct {
	most int

	mu    *sync.Mutex
	pairs map[string]layers.PrivateKey
	syms  map[string]envelope.SymKey
}

func newKeys(most int) keys {
	return keys{most, &sync.Mutex{}, map[string]layers.PrivateKey{}, map[string]envelope.SymKey{}}
}

// full reports that there is no room for another key. The lock must be held.
func (k *keys) full() error {
	if len(k.pairs)+len(k.syms) < k.most {
		return nil
	}
	return fmt.Errorf("shh: there are %d keys already (keys)", k.most)
}

// addPair keeps a key pair under a random id, as go-ethereum does; the same one
// may be there several times.
func (k *keys) addPair(key layers.PrivateKey) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.full(); err != nil {
		return "", err
	}
	id := newID()
	k.pairs[id] = key
	return id, nil
}

// parsePair reads a private key. The errors are those that go-ethereum gives its
// clients; none of them quotes the key.
func parsePair(b []byte) (layers.PrivateKey, error) {
	if _, err := crypto.ToECDSA(b); err != nil {
		return layers.PrivateKey{}, err
	}
	return layers.ParsePrivateKey(b)
}

// ids returns under what a key pair is kept: the id itself, or in the form of
// Status, which has no other, all whose public key it is in hex with 0x. The
// lock must be held.
func (k *keys) ids(id string) []string {
	if _, ok := k.pairs[id]; ok {
		return []string{id}
	}
	if len(id) <= idLen {
		return nil
	}
	public, err := layers.ParsePublicKeyText(id)
	if err != nil {
		return nil
	}
	var ids []string
	for other, key := range k.pairs {
		if key.Public() == public {
			ids = append(ids, other)
		}
	}
	return ids
}

// pair returns a key pair, or errNoKeyPair.
func (k *keys) pair(id string) (layers.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := k.ids(id)
	if len(ids) == 0 {
		return layers.PrivateKey{}, errNoKeyPair
	}
	return k.pairs[ids[0]], nil
}

// deletePair reports whether there was such a key pair.
func (k *keys) deletePair(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := k.ids(id)
	for _, other := range ids {
		delete(k.pairs, other)
	}
	return len(ids) > 0
}

func (k *keys) addSym(key envelope.SymKey) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.full(); err != nil {
		return "", err
	}
	id := newID()
	k.syms[id] = key
	return id, nil
}

// room reports, ahead of work that takes long, that addSym would fail.
func (k *keys) room() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full()
}

// sym returns a symmetric key, or errNoSymKey.
func (k *keys) sym(id string) (envelope.SymKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.syms[id]
	if !ok {
		return envelope.SymKey{}, errNoSymKey
	}
	return key, nil
}

// deleteSym reports whether there was such a key.
func (k *keys) deleteSym(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.syms[id]
	delete(k.syms, id)
	return ok
}

// count returns how many keys there are.
func (k *keys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.pairs) + len(k.syms)
}
