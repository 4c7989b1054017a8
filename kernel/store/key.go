package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/scrypt"
)

// Bounds of the scrypt cost N; r is 8 and p is 1, so N takes N KiB of memory.
const (
	MinScryptN     = 1 << 12 // 4 MiB, some 10 ms
	DefaultScryptN = 1 << 17 // 128 MiB, some 300 ms
	MaxScryptN     = 1 << 20 // 1 GiB: a damaged key file must not take all memory

	scryptR = 8
	scryptP = 1
)

const (
	keyVersion = 1
	keySize    = 32      // bytes of the database key
	saltSize   = 32      // bytes
	maxKeyFile = 4 << 10 // bytes; the file has some 400

	modePassphrase = "passphrase"
	modeFile       = "file"
)

// Key says how the database key of a folder is kept: PassphraseKey or FileKey.
// The zero Key is none.
type Key struct {
	mode       string
	passphrase []byte
}

// PassphraseKey is a key that is wrapped by a passphrase, which must not be
// empty: without it nobody can read the folder.
func PassphraseKey(passphrase []byte) Key {
	return Key{mode: modePassphrase, passphrase: bytes.Clone(passphrase)}
}

// FileKey is a key that lies unwrapped in the folder, for servers that start
// without anybody there and keep no user's secrets: it protects nothing but a
// disk that is thrown away without its db.key.
func FileKey() Key { return Key{mode: modeFile} }

// String names the way and not the passphrase.
func (k Key) String() string { return "store.Key(" + k.mode + ")" }

// GoString is String, so that %#v shows no passphrase either.
func (k Key) GoString() string { return k.String() }

func (k Key) validate() error {
	switch {
	case k.mode == "":
		return errors.New("no key is given: it is a passphrase or a file")
	case k.mode == modePassphrase && len(k.passphrase) == 0:
		return errors.New("the passphrase is empty")
	}
	return nil
}

func checkScryptN(n int) error {
	if n < MinScryptN || n > MaxScryptN || n&(n-1) != 0 {
		return fmt.Errorf("scrypt_n: %d is no power of two from %d to %d", n, MinScryptN, MaxScryptN)
	}
	return nil
}

// keyFile is the form of db.key.
type keyFile struct {
	Version int      `json:"version"`
	Mode    string   `json:"mode"`
	Note    string   `json:"note,omitempty"`
	N       int      `json:"scrypt_n,omitempty"`
	R       int      `json:"scrypt_r,omitempty"`
	P       int      `json:"scrypt_p,omitempty"`
	Salt    hexBytes `json:"salt,omitempty"`
	Nonce   hexBytes `json:"nonce,omitempty"`
	Key     hexBytes `json:"key"`
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// wrapLabel is authenticated with the wrapped key.
const wrapLabel = "strata database key 1"

// ChangePassphrase keeps the database key of dir in another way: under another
// passphrase, under a passphrase where it lay open, or the reverse. Only db.key
// is replaced, at once and wholly; the database stays as it is. scryptN is as
// in Options. The folder must not be open, else ErrLocked.
//
// Who has a copy of the old db.key and knows the old passphrase can still read
// the folder.
func ChangePassphrase(dir string, from, to Key, scryptN int) error {
	err := func() error {
		for _, o := range []Options{{Key: from}, {Key: to, ScryptN: scryptN}} {
			if err := o.validate(); err != nil {
				return err
			}
		}
		path := filepath.Join(dir, keyName)
		if _, err := os.Stat(path); err != nil {
			return err
		}
		lock, err := acquire(filepath.Join(dir, lockName))
		if err != nil {
			return err
		}
		defer lock.release()
		key, err := readKey(path, from)
		if err != nil {
			return err
		}
		defer clear(key)
		return writeKey(path, key, to, scryptN)
	}()
	if err != nil {
		return fmt.Errorf("store: change passphrase: %s: %w", dir, err)
	}
	return nil
}

// createKey makes a new database key and writes it to path.
func createKey(path string, k Key, scryptN int) ([]byte, error) {
	key := make([]byte, keySize)
	rand.Read(key)
	return key, writeKey(path, key, k, scryptN)
}

func writeKey(path string, key []byte, k Key, scryptN int) error {
	f := keyFile{Version: keyVersion, Mode: k.mode}
	switch k.mode {
	case modeFile:
		f.Note = "this key is not wrapped: who has this file can read the database"
		f.Key = key
	case modePassphrase:
		f.N, f.R, f.P = scryptN, scryptR, scryptP
		if f.N == 0 {
			f.N = DefaultScryptN
		}
		f.Salt = make([]byte, saltSize)
		f.Nonce = make([]byte, chacha20poly1305.NonceSizeX)
		rand.Read(f.Salt)
		rand.Read(f.Nonce)
		wrapping, err := scrypt.Key(k.passphrase, f.Salt, f.N, f.R, f.P, chacha20poly1305.KeySize)
		if err != nil {
			return err
		}
		aead, err := chacha20poly1305.NewX(wrapping)
		if err != nil {
			return err
		}
		f.Key = aead.Seal(nil, f.Nonce, key, []byte(wrapLabel))
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

// readKey returns the database key in path. An error that is fs.ErrNotExist
// means that there is no such file.
func readKey(path string, k Key) ([]byte, error) {
	f, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	if f.Mode != k.mode {
		return nil, fmt.Errorf("%w: %s says %q, asked for is %q (setting store.key)", ErrKeyMode, keyName, f.Mode, k.mode)
	}
	if k.mode == modeFile {
		if len(f.Key) != keySize {
			return nil, damagedKey(fmt.Errorf("key has %d bytes, not %d", len(f.Key), keySize))
		}
		return f.Key, nil
	}
	wrapping, err := scrypt.Key(k.passphrase, f.Salt, f.N, f.R, f.P, chacha20poly1305.KeySize)
	if err != nil {
		return nil, damagedKey(err)
	}
	aead, err := chacha20poly1305.NewX(wrapping)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, f.Nonce, f.Key, []byte(wrapLabel))
	if err != nil {
		// A changed file and a wrong passphrase look the same; the second
		// is what happens.
		return nil, ErrPassphrase
	}
	return key, nil
}

func readKeyFile(path string) (keyFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return keyFile{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return keyFile{}, err
	}
	if len(text) > maxKeyFile {
		return keyFile{}, damagedKey(fmt.Errorf("longer than %d bytes", maxKeyFile))
	}
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil {
		return keyFile{}, damagedKey(err)
	}
	return f, f.validate()
}

func (f keyFile) validate() error {
	if f.Version > keyVersion {
		return fmt.Errorf("%s: %w: version %d, known is %d", keyName, ErrVersion, f.Version, keyVersion)
	}
	if f.Version < 1 {
		return damagedKey(fmt.Errorf("version is %d", f.Version))
	}
	switch f.Mode {
	case modeFile:
		return nil
	case modePassphrase:
	default:
		return damagedKey(fmt.Errorf("mode is %q", f.Mode))
	}
	if err := checkScryptN(f.N); err != nil {
		return damagedKey(err)
	}
	if f.R != scryptR || f.P != scryptP {
		return damagedKey(fmt.Errorf("scrypt_r and scrypt_p are %d and %d, not %d and %d", f.R, f.P, scryptR, scryptP))
	}
	if len(f.Salt) != saltSize || len(f.Nonce) != chacha20poly1305.NonceSizeX || len(f.Key) != keySize+chacha20poly1305.Overhead {
		return damagedKey(errors.New("salt, nonce or key is too short or too long"))
	}
	return nil
}

// damagedKey says that the key file cannot be used. The file is never written
// in place, so this is no trace of a crash.
func damagedKey(reason error) error {
	return fmt.Errorf("%s is damaged (put back a copy of it): %w", keyName, reason)
}
