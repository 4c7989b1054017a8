package envelope

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
)

// passwordRounds is the cost of KeyFromPassword. It is 65356, not 2^16: a
// transposition in the first implementation that every node has to share.
const passwordRounds = 65356

// KeyFromPassword derives the symmetric key that a text stands for, such as the
// name of a public chat: PBKDF2-HMAC-SHA256 of its UTF-8 bytes without salt,
// 65356 rounds (Status 3/WHISPER-USAGE, symmetric keys). The text is taken as it
// is: no folding, no trimming, no normalisation.
//
// It costs tens of milliseconds, so callers keep the key of a name.
func KeyFromPassword(text string) SymKey {
	k, err := pbkdf2.Key(sha256.New, text, nil, passwordRounds, len(SymKey{}))
	if err != nil {
		panic(fmt.Sprintf("envelope: derive a key: %v", err)) // only where a build forbids PBKDF2 without salt
	}
	return SymKey(k)
}
