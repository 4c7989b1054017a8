package layers

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/crypto"
	"golang.org/x/text/unicode/norm"
)

// Where the identity stands in the tree of a mnemonic (Status 2/ACCOUNT).
const (
	// ChatKeyPath is the path of the chat key since 2020 (EIP-1581).
	ChatKeyPath = "m/43'/60'/1581'/0'/0"

	// WalletKeyPath is the path of the first wallet address, which was the chat
	// key too before accounts had more than one key.
	WalletKeyPath = "m/44'/60'/0'/0/0"
)

const (
	mnemonicRounds = 2048 // BIP39 §From mnemonic to seed
	maxMnemonic    = 4096 // bytes of a phrase or password: 24 words of any list fit
	minSeed        = 16   // BIP32 §Master key generation, bytes
	maxSeed        = 64
	maxPathDepth   = 255 // BIP32 §Serialization format gives the depth one byte
	hardened       = 1 << 31
)

var (
	// ErrMnemonic reports a text that is no mnemonic phrase. The errors that wrap
	// it never quote the phrase.
	ErrMnemonic = errors.New("no mnemonic phrase")

	// ErrKeyPath reports a path that cannot be followed.
	ErrKeyPath = errors.New("no key path")

	// ErrSeed reports a seed that has no keys.
	ErrSeed = errors.New("no seed")
)

// Seed is the root of a tree of keys, 16 to 64 bytes (BIP32). It prints as a
// fingerprint.
type Seed []byte

// String returns a fingerprint of the seed.
func (s Seed) String() string {
	if len(s) == 0 {
		return "seed(none)"
	}
	h := crypto.Keccak256(s)
	return "seed(" + hex.EncodeToString(h[:4]) + ")"
}

// Format keeps every verb from printing the seed.
func (s Seed) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Seed) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler with the fingerprint.
func (s Seed) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SeedFromMnemonic returns the seed of a phrase of 12, 15, 18, 21 or 24 words,
// 64 bytes, under a password, which may be empty (BIP39). Any white space
// separates words.
//
// The checksum in the last word is not checked, because that needs the word list
// of the phrase's language: a misspelt word gives another seed, not an error.
func SeedFromMnemonic(phrase, password string) (Seed, error) {
	phrase, err := normalised("phrase", phrase)
	if err != nil {
		return nil, err
	}
	password, err = normalised("password", password)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(phrase)
	if n := len(words); n < 12 || n > 24 || n%3 != 0 {
		return nil, fmt.Errorf("%w: %d words, want 12, 15, 18, 21 or 24", ErrMnemonic, n)
	}
	seed, err := pbkdf2.Key(sha512.New, strings.Join(words, " "), []byte("mnemonic"+password), mnemonicRounds, maxSeed)
	if err != nil {
		panic(fmt.Sprintf("layers: derive a seed: %v", err)) // only where a build forbids the parameters
	}
	return seed, nil
}

// normalised returns the decomposed form (NFKD) that BIP39 asks for.
func normalised(field, text string) (string, error) {
	if len(text) > maxMnemonic {
		return "", fmt.Errorf("%w: %s: %d bytes, the limit is %d", ErrMnemonic, field, len(text), maxMnemonic)
	}
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("%w: %s: no UTF-8", ErrMnemonic, field)
	}
	return norm.NFKD.String(text), nil
}

// DeriveKey returns the key at a path below a seed (BIP32), for example at
// ChatKeyPath. A path is m and then, after a slash each, decimal numbers below
// 2^31, followed by ' or h if hardened. The errors wrap ErrSeed or ErrKeyPath.
func DeriveKey(seed Seed, path string) (PrivateKey, error) {
	if len(seed) < minSeed || len(seed) > maxSeed {
		return PrivateKey{}, fmt.Errorf("%w: %d bytes, want %d to %d", ErrSeed, len(seed), minSeed, maxSeed)
	}
	steps, err := parseKeyPath(path)
	if err != nil {
		return PrivateKey{}, err
	}
	node, err := masterKey(hmacSHA512([]byte("Bitcoin seed"), seed))
	if err != nil {
		return PrivateKey{}, err
	}
	for _, i := range steps {
		if node, err = node.child(i); err != nil {
			return PrivateKey{}, fmt.Errorf("%w: %q: %w", ErrKeyPath, path, err)
		}
	}
	return node.key, nil
}

// parseKeyPath returns the child numbers of a path, hardened ones with bit 31.
func parseKeyPath(path string) ([]uint32, error) {
	parts := strings.SplitN(path, "/", maxPathDepth+2)
	if parts[0] != "m" {
		return nil, fmt.Errorf("%w: %.80q does not begin with m", ErrKeyPath, path)
	}
	parts = parts[1:]
	if len(parts) > maxPathDepth {
		return nil, fmt.Errorf("%w: more than %d steps", ErrKeyPath, maxPathDepth)
	}
	steps := make([]uint32, len(parts))
	for i, part := range parts {
		digits := strings.TrimSuffix(part, "'")
		if digits == part {
			digits = strings.TrimSuffix(part, "h")
		}
		// ParseUint takes a sign in no base; a leading zero is refused, because
		// elsewhere it means octal.
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || len(digits) > 1 && digits[0] == '0' {
			return nil, fmt.Errorf("%w: step %d: %.20q is no number below 2^31", ErrKeyPath, i+1, part)
		}
		steps[i] = uint32(n)
		if digits != part {
			steps[i] |= hardened
		}
	}
	return steps, nil
}

// extendedKey is a private key and the chain code that its children need.
type extendedKey struct {
	key   PrivateKey
	chain [32]byte
}

// masterKey splits a hash into key and chain code. One hash in 2^127 gives no
// key, and then the seed is of no use.
func masterKey(hash [64]byte) (extendedKey, error) {
	key, err := ParsePrivateKey(hash[:32])
	if err != nil {
		return extendedKey{}, fmt.Errorf("%w: its master key is zero or too large", ErrSeed)
	}
	return extendedKey{key, [32]byte(hash[32:])}, nil
}

// child returns the private child of number i (BIP32 §Private parent key →
// private child key).
func (e extendedKey) child(i uint32) (extendedKey, error) {
	data := make([]byte, 0, 37)
	if i >= hardened {
		data = append(append(data, 0), e.key.Secret()...)
	} else {
		public := e.key.Public().Compressed()
		data = append(data, public[:]...)
	}
	data = binary.BigEndian.AppendUint32(data, i)
	return e.add(hmacSHA512(e.chain[:], data))
}

// add returns the child whose hash is given. One hash in 2^127 gives no key, and
// then the path has to avoid this child.
func (e extendedKey) add(hash [64]byte) (extendedKey, error) {
	order := crypto.S256().Params().N
	sum := new(big.Int).SetBytes(hash[:32])
	if sum.Cmp(order) >= 0 {
		return extendedKey{}, errors.New("the child does not exist")
	}
	sum.Add(sum, new(big.Int).SetBytes(e.key.Secret()))
	sum.Mod(sum, order)
	var secret [32]byte
	key, err := ParsePrivateKey(sum.FillBytes(secret[:])) // refuses zero
	if err != nil {
		return extendedKey{}, errors.New("the child does not exist")
	}
	return extendedKey{key, [32]byte(hash[32:])}, nil
}

func hmacSHA512(key, data []byte) [64]byte {
	h := hmac.New(sha512.New, key)
	h.Write(data)
	return [64]byte(h.Sum(nil))
}
