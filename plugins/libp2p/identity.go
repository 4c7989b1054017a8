package libp2p

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/stratanode/strata/plugins/transport"
)

// keySize is the length of a secp256k1 private key in bytes.
const keySize = 32

// maxKeyFile bounds what is read of a key file, in bytes: 64 hex digits and
// some space.
const maxKeyFile = 256

// nodeKey returns the key that the peer id is made from: of the setting, of the
// key file, or a new one. A new one is kept in the file, unless there is no
// folder to keep it in. secp256k1 is used so that the node's other protocols
// can have the same key.
func nodeKey(c Config, dir string, random io.Reader) (crypto.PrivKey, error) {
	if c.Key != "" {
		return parseKey("key", c.Key)
	}
	path := c.KeyFile
	if !filepath.IsAbs(path) {
		if dir == "" {
			key, _, err := newKey(random)
			return key, err
		}
		path = filepath.Join(dir, path)
	}
	text, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, text, err := newKey(random)
		if err != nil {
			return nil, err
		}
		return key, writeKey(path, text)
	}
	if err != nil {
		return nil, transport.Invalid("key_file", "libp2p: %v", err)
	}
	return parseKey("key_file", text)
}

func readKey(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	return strings.TrimSpace(string(text)), err
}

// writeKey writes the file whole or not at all: half a key would lock the node
// out of its identity.
func writeKey(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return transport.Invalid("key_file", "libp2p: %v", err)
	}
	_, err = f.WriteString(text + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(transport.Invalid("key_file", "libp2p: %v", err), os.Remove(f.Name()))
	}
	return nil
}

// parseKey never repeats what it read: it is secret.
func parseKey(field, text string) (crypto.PrivKey, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != keySize {
		return nil, transport.Invalid(field, "libp2p: is not 32 bytes in hex")
	}
	if !validScalar(raw) {
		return nil, transport.Invalid(field, "libp2p: is not a secp256k1 key")
	}
	return crypto.UnmarshalSecp256k1PrivateKey(raw)
}

// order is that of the secp256k1 group, big-endian (SEC 2, 2.4.1).
var order = [keySize]byte{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
	0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
}

func validScalar(raw []byte) bool {
	return string(raw) != string(make([]byte, keySize)) && string(raw) < string(order[:])
}

// newKey draws a key and returns it with its text.
func newKey(random io.Reader) (crypto.PrivKey, string, error) {
	raw := make([]byte, keySize)
	for {
		if _, err := io.ReadFull(random, raw); err != nil {
			return nil, "", fmt.Errorf("libp2p: node key: %w", err)
		}
		if validScalar(raw) {
			break
		}
	}
	key, err := crypto.UnmarshalSecp256k1PrivateKey(raw)
	return key, hex.EncodeToString(raw), err
}
