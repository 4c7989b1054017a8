package ratchet

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/stratanode/strata/layers"
)

// maxPrekeys is how many own prekeys are kept, whatever their age: rotated once
// a day, more than the retention needs.
const maxPrekeys = 32

// protocolVersion is what we announce: partitioned and negotiated topics.
const protocolVersion = 1

// prekey is an own signed prekey.
type prekey struct {
	version uint32
	created time.Time
	key     layers.PrivateKey
	public  [33]byte
}

// own is what is durable of this installation itself.
type own struct {
	installation string
	saved        bool
	prekeys      []prekey // ascending by version; the last one is in use
	stamp        int64    // timestamp of the last bundle, nanoseconds
	attached     bundle   // the last bundle
	attachedAt   time.Time
	published    time.Time
}

func (p prekey) record() layers.Record {
	b := pack()
	b.number(uint64(p.created.UnixNano()))
	b.bytes(p.key.Secret())
	return layers.Record{Key: prekeyRecord(p.version), Value: b.b, Secret: true}
}

func prekeyRecord(version uint32) string { return fmt.Sprintf("%s%08x", keyPrekey, version) }

func decodePrekey(key string, b []byte) (prekey, error) {
	version, err := strconv.ParseUint(key[len(keyPrekey):], 16, 32)
	if err != nil {
		return prekey{}, fmt.Errorf("prekey: %w", errRecord)
	}
	u := unpack(b)
	p := prekey{version: uint32(version), created: time.Unix(0, int64(u.number())).UTC()}
	secret := u.bytes()
	if err := u.done(); err != nil {
		return prekey{}, fmt.Errorf("prekey: %w", err)
	}
	if p.key, err = layers.ParsePrivateKey(secret); err != nil {
		return prekey{}, fmt.Errorf("prekey: %w", errRecord)
	}
	p.public = p.key.Public().Compressed()
	return p, nil
}

// loadOwn reads what saved says about this installation, or draws a new
// installation id.
func (n *Node) loadOwn() error {
	if b, ok := n.saved.Get(keyOwn); ok {
		u := unpack(b)
		identity, id := u.bytes(), u.bytes()
		if err := u.done(); err != nil {
			return fmt.Errorf("own: %w", err)
		}
		if c := n.identity.Public().Compressed(); string(identity) != string(c[:]) {
			return fmt.Errorf("own: the saved state belongs to another identity")
		}
		n.own.installation, n.own.saved = string(id), true
	} else {
		n.own.installation = newInstallation(n.random)
	}
	from, to := layers.Prefix(keyPrekey)
	for key, b := range n.saved.Scan(from, to, false) {
		p, err := decodePrekey(key, b)
		if err != nil {
			return err
		}
		n.own.prekeys = append(n.own.prekeys, p)
	}
	n.own.stamp = n.loadNumber(keyStamp)
	if at := n.loadNumber(keyCode); at != 0 {
		n.own.published = time.Unix(0, at)
	}
	return nil
}

func (n *Node) loadNumber(key string) int64 {
	b, _ := n.saved.Get(key)
	u := unpack(b)
	at := int64(u.number())
	if u.done() != nil {
		return 0
	}
	return at
}

func numberRecord(key string, v int64) layers.Record {
	p := pack()
	p.number(uint64(v))
	return layers.Record{Key: key, Value: p.b}
}

func (n *Node) ownRecord() layers.Record {
	c := n.identity.Public().Compressed()
	p := pack()
	p.bytes(c[:])
	p.bytes([]byte(n.own.installation))
	return layers.Record{Key: keyOwn, Value: p.b}
}

// newInstallation draws a UUID of version 4.
func newInstallation(random interface{ Read([]byte) (int, error) }) string {
	var b [16]byte
	mustRead(random, b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// currentPrekey returns the prekey in use.
func (n *Node) currentPrekey() [33]byte {
	if len(n.own.prekeys) == 0 {
		return [33]byte{}
	}
	return n.own.prekeys[len(n.own.prekeys)-1].public
}

// prekeyOf returns the private half of an own prekey that is still kept.
func (n *Node) prekeyOf(public []byte) (layers.PrivateKey, bool) {
	for i := len(n.own.prekeys) - 1; i >= 0; i-- {
		if p := &n.own.prekeys[i]; string(p.public[:]) == string(public) {
			return p.key, true
		}
	}
	return layers.PrivateKey{}, false
}

// rotate draws a new prekey if there is none or it is too old, and erases those
// that were replaced too long ago.
func (n *Node) rotate(now time.Time, out *output) {
	keys := n.own.prekeys
	if last := len(keys) - 1; last < 0 || now.Sub(keys[last].created) >= n.cfg.PrekeyRotation {
		p := prekey{version: 1, created: now.UTC(), key: mustGenerate(n.random)}
		if last >= 0 {
			p.version = keys[last].version + 1
		}
		p.public = p.key.Public().Compressed()
		n.own.prekeys = append(n.own.prekeys, p)
		out.Save = append(out.Save, p.record())
	}
	n.erasePrekeys(now, out)
}

// erasePrekeys erases replaced prekeys: with them gone, a first message that
// was recorded on its way can no longer be opened by whoever gets this device.
func (n *Node) erasePrekeys(now time.Time, out *output) {
	keys := n.own.prekeys
	for len(keys) > 1 && (len(keys) > maxPrekeys || now.Sub(keys[1].created) > n.cfg.PrekeyRetention) {
		out.Save = append(out.Save, layers.Record{Key: prekeyRecord(keys[0].version), Secret: true})
		keys = keys[1:]
	}
	n.own.prekeys = keys
}

// bundleReuse is how long a signed bundle is attached again as it is: in a
// conversation the signature and its record would be half of a message's cost,
// and who has the bundle passes over it either way.
const bundleReuse = time.Minute

// attach returns the own bundle, signed with a timestamp later than any before
// it, so that those who have it know that it is no older one sent again.
func (n *Node) attach(now time.Time, out *output) bundle {
	n.rotate(now, out)
	p := n.own.prekeys[len(n.own.prekeys)-1]
	if b, age := n.own.attached, now.Sub(n.own.attachedAt); b.signature != nil && age >= 0 && age < bundleReuse &&
		b.prekeys[0].installation == n.own.installation && b.prekeys[0].version == p.version {
		return b
	}
	if n.own.stamp > now.Add(maxAhead).UnixNano() {
		n.own.stamp = 0 // the clock was far ahead; nobody believed those bundles
	}
	n.own.stamp = max(now.UnixNano(), n.own.stamp+1)
	out.Save = append(out.Save, numberRecord(keyStamp, n.own.stamp))
	b := bundle{timestamp: n.own.stamp, prekeys: []bundleEntry{{
		installation: n.own.installation, prekey: p.public[:],
		version: p.version, protocolVersion: protocolVersion,
	}}}
	b.sign(n.identity)
	n.own.attached, n.own.attachedAt = b, now
	return b
}
