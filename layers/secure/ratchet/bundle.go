package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/stratanode/strata/layers"
)

// Bundle timestamps outside of this window are not believed. All of the window
// has 19 decimal digits, see plausible.
var earliestBundle = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)

// maxAhead is how far the clock of a bundle's signer may be ahead of ours.
const maxAhead = 24 * time.Hour

var (
	errSignature   = errors.New("signature is not of the identity")
	errImplausible = errors.New("not plausible")
)

// material returns what is signed of a bundle: for each installation in the
// order of ids its id, prekey and version, and then the timestamp unless it is
// zero. Numbers are decimal text, and nothing stands between the parts.
func (d bundle) material() []byte {
	var b []byte
	for _, e := range d.prekeys {
		b = append(b, e.installation...)
		b = append(b, e.prekey...)
		b = strconv.AppendUint(b, uint64(e.version), 10)
	}
	if d.timestamp != 0 {
		b = strconv.AppendInt(b, d.timestamp, 10)
	}
	return b
}

// sign fills in identity and signature.
func (d *bundle) sign(identity layers.PrivateKey) {
	c := identity.Public().Compressed()
	d.identity = c[:]
	d.signature = identity.Sign(layers.Keccak256(d.material()))
}

// verify returns whose bundle d is. It says nothing about its age.
func (d bundle) verify() (layers.PublicKey, error) {
	if len(d.identity) != 33 {
		return layers.PublicKey{}, fmt.Errorf("identity: %d bytes, want 33", len(d.identity))
	}
	identity, err := layers.ParsePublicKey(d.identity)
	if err != nil {
		return layers.PublicKey{}, fmt.Errorf("identity: %w", err)
	}
	if len(d.signature) != 65 || d.signature[64] > 1 {
		return layers.PublicKey{}, fmt.Errorf("signature: %w", errSignature)
	}
	signer, err := layers.Recover(layers.Keccak256(d.material()), d.signature)
	if err != nil || signer != identity {
		return layers.PublicKey{}, fmt.Errorf("signature: %w", errSignature)
	}
	return identity, nil
}

// plausible reports whether a verified bundle can be read in one way only and
// was signed at a believable time.
//
// The parts of the signed material are not separated, so a signature also fits
// other splits of it. A prekey is 33 bytes of which the first is 2 or 3, and no
// id contains such a byte; so prekeys stay where they are, and what can move
// are decimal digits: between the last version and the timestamp, or between a
// version and the id after it. The first is excluded by the window, in which
// every timestamp has 19 digits; the second by the form of the ids.
func (d bundle) plausible(now time.Time) error {
	if d.timestamp < earliestBundle.UnixNano() || d.timestamp > now.Add(maxAhead).UnixNano() {
		return fmt.Errorf("timestamp: %w", errImplausible)
	}
	for i, e := range d.prekeys {
		if !validInstallation(e.installation) {
			return fmt.Errorf("installation id: %w", errImplausible)
		}
		if i > 0 && movable(e.installation) {
			return fmt.Errorf("installation id: %w after another", errImplausible)
		}
		if e.version == 0 {
			return fmt.Errorf("version: %w", errImplausible)
		}
		if key, err := layers.ParsePublicKey(e.prekey); err != nil || len(e.prekey) != 33 || key.IsZero() {
			return fmt.Errorf("signed prekey: %w", errImplausible)
		}
	}
	return nil
}

// validInstallation reports whether id is visible ASCII of a bounded length.
func validInstallation(id string) bool {
	if id == "" || len(id) > maxInstallation || id == dhOnlyTarget {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// movable reports whether digits at the beginning of id may have been part of
// the version before it, or the reverse. A whole UUID has a fixed length, so
// nothing can have moved; what remains of a UUID after losing digits has its
// tail; anything else must not begin with a digit.
func movable(id string) bool {
	const (
		uuid = 36
		tail = len("-0000-0000-0000-000000000000")
	)
	if isUUID(id) {
		return false
	}
	if '0' <= id[0] && id[0] <= '9' {
		return true
	}
	return len(id) >= tail && len(id) < uuid && isUUID("00000000"+id[len(id)-tail:])
}

// isUUID reports whether id has the form of RFC 9562, in either case.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return false
			}
		}
	}
	return true
}

// of returns the entry of an installation.
func (d bundle) of(installation string) (bundleEntry, bool) {
	for _, e := range d.prekeys {
		if e.installation == installation {
			return e, true
		}
	}
	return bundleEntry{}, false
}

// accept stores what is new in the verified and plausible bundle d of p. It
// reports whether p is worth being saved for it.
//
// A bundle is genuine news of an installation only if it was signed later than
// the last one: an old bundle that is sent again changes nothing. A version
// never goes back, and the same prekey never gets another version.
func (p *peer) accept(now time.Time, d bundle) (changed bool) {
	for _, e := range d.prekeys {
		seen := min(d.timestamp, now.UnixNano()) // a clock ahead does not put a device first
		i := p.find(e.installation)
		if i < 0 {
			changed = p.add(installation{
				id: e.installation, prekey: [33]byte(e.prekey), version: e.version,
				protocol: e.protocolVersion, signed: d.timestamp, seen: seen,
			}) || changed
			continue
		}
		known := &p.installations[i]
		same := bytes.Equal(known.prekey[:], e.prekey)
		if d.timestamp <= known.signed || e.version < known.version || same && e.version != known.version {
			continue
		}
		// The time alone is saved only now and then: it orders devices, and a
		// bundle that is older than this but newer than the saved one says the same.
		changed = changed || !same || e.protocolVersion != known.protocol || d.timestamp-known.saved > int64(time.Hour)
		known.prekey, known.version, known.protocol = [33]byte(e.prekey), e.version, e.protocolVersion
		known.signed, known.seen = d.timestamp, seen
	}
	return changed
}
