package main

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/stratanode/strata/kernel/store"
	"github.com/stratanode/strata/layers"
)

// The node's own records in the store, beside those of the layers.
const (
	keysNamespace = "node"
	identityKey   = "identity" // the chat key
	nodeKey       = "node_key" // the devp2p key
)

// errIdentityExists says that a data folder has a chat key already. It is not
// replaced: sessions and history belong to it.
var errIdentityExists = errors.New("this data folder has a chat key already; use another data_dir for a new one")

// loadKeys returns the keys of a data folder. Missing ones are drawn and saved;
// fresh reports that the chat key is new.
func loadKeys(s *store.Store, wantIdentity bool) (k keys, fresh bool, err error) {
	if k.node, _, err = loadKey(s, nodeKey, true); err != nil {
		return k, false, err
	}
	k.identity, fresh, err = loadKey(s, identityKey, wantIdentity)
	return k, fresh, err
}

// loadKey returns a key of the store, drawing it if there is none and draw is
// set.
func loadKey(s *store.Store, name string, draw bool) (key layers.PrivateKey, fresh bool, err error) {
	value, ok, err := s.Namespace(keysNamespace).Get(name)
	if err != nil {
		return key, false, err
	}
	if ok {
		key, err = layers.ParsePrivateKey(value)
		if err != nil {
			return key, false, fmt.Errorf("record %s of the store: %w", name, err)
		}
		return key, false, nil
	}
	if !draw {
		return key, false, nil
	}
	if key, err = layers.GenerateKey(rand.Reader); err != nil {
		return key, false, err
	}
	return key, true, saveKey(s, name, key)
}

func saveKey(s *store.Store, name string, key layers.PrivateKey) error {
	return s.Namespace(keysNamespace).Commit([]store.Record{{Key: name, Value: key.Secret(), Secret: true}})
}

// setIdentity gives a data folder its chat key, once.
func setIdentity(s *store.Store, key layers.PrivateKey) error {
	had, _, err := loadKey(s, identityKey, false)
	switch {
	case err != nil:
		return err
	case !had.IsZero() && had.Public() != key.Public():
		return errIdentityExists
	}
	return saveKey(s, identityKey, key)
}
