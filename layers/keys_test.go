package layers_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/stratanode/strata/layers"
)

var curve = crypto.S256().Params()

// scalar returns the private key of a small number.
func scalar(t testing.TB, d int64) layers.PrivateKey {
	t.Helper()
	k, err := layers.ParsePrivateKey(big.NewInt(d).FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func randomKey(t testing.TB, seed byte) layers.PrivateKey {
	t.Helper()
	k, err := layers.GenerateKey(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestScalarOneIsTheBasePoint(t *testing.T) {
	got := scalar(t, 1).Public()
	want := append([]byte{4}, append(curve.Gx.FillBytes(make([]byte, 32)), curve.Gy.FillBytes(make([]byte, 32))...)...)
	if !bytes.Equal(got[:], want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestDegeneratePublicKeysAreRefused(t *testing.T) {
	good := scalar(t, 5).Public()
	compressed := good.Compressed()
	field := curve.P.Bytes()
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"infinity", []byte{0}},
		{"32 bytes", good[:32]},
		{"64 bytes", good[1:]},
		{"66 bytes", append(good[:], 0)},
		{"zero", make([]byte, 65)},
		{"zero point", append([]byte{4}, make([]byte, 64)...)},
		{"zero, compressed", make([]byte, 33)},
		{"x = 0, compressed", append([]byte{2}, make([]byte, 32)...)},
		{"off the curve", changed(good[:], func(b []byte) { b[64] ^= 1 })},
		{"coordinates swapped", slices.Concat([]byte{4}, good[33:], good[1:33])},
		{"x beyond the field", changed(good[:], func(b []byte) { copy(b[1:33], field) })},
		{"y beyond the field", changed(good[:], func(b []byte) { copy(b[33:], field) })},
		{"x beyond the field, compressed", changed(compressed[:], func(b []byte) { copy(b[1:], field) })},
		{"x of no point, compressed", append([]byte{2}, big.NewInt(5).FillBytes(make([]byte, 32))...)},
		{"compressed mark on 65 bytes", changed(good[:], func(b []byte) { b[0] = 2 })},
		{"hybrid", changed(good[:], func(b []byte) { b[0] = 6 + b[64]&1 })},
		{"uncompressed mark on 33 bytes", changed(compressed[:], func(b []byte) { b[0] = 4 })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if k, err := layers.ParsePublicKey(tt.b); !errors.Is(err, layers.ErrPublicKey) || !k.IsZero() {
				t.Errorf("got %v and error %v, want ErrPublicKey", k, err)
			}
		})
	}
}

// A coordinate that fits into 32 bytes twice, as itself and with the field's
// size added, has one valid form only: identities are compared bytewise.
func TestPublicKeyHasOneForm(t *testing.T) {
	k := layers.PublicKey{}
	for d := int64(1); k.IsZero(); d++ { // x small enough to add P: 2^256 - P is 2^32 + 977
		x := big.NewInt(d).FillBytes(make([]byte, 32))
		if p, err := layers.ParsePublicKey(append([]byte{2}, x...)); err == nil {
			k = p
		}
	}
	x := k.X()
	beyond := new(big.Int).Add(new(big.Int).SetBytes(x[:]), curve.P).FillBytes(make([]byte, 32))
	if got, err := layers.ParsePublicKey(slices.Concat([]byte{4}, beyond, k[33:])); err == nil {
		t.Errorf("uncompressed: got %v for the second form of %v", got, k)
	}
	if got, err := layers.ParsePublicKey(append([]byte{2}, beyond...)); err == nil {
		t.Errorf("compressed: got %v for the second form of %v", got, k)
	}
}

func changed(b []byte, change func([]byte)) []byte {
	b = slices.Clone(b)
	change(b)
	return b
}

func TestPublicKeyFormsLeadBackToTheKey(t *testing.T) {
	for seed := range byte(20) {
		want := randomKey(t, seed).Public()
		compressed := want.Compressed()
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var fromText layers.PublicKey
		if err := fromText.UnmarshalText(text); err != nil || fromText != want {
			t.Errorf("text: got %v and error %v, want %v", fromText, err, want)
		}
		x := want.X()
		for name, parse := range map[string]func() (layers.PublicKey, error){
			"uncompressed": func() (layers.PublicKey, error) { return layers.ParsePublicKey(want[:]) },
			"compressed":   func() (layers.PublicKey, error) { return layers.ParsePublicKey(compressed[:]) },
			"0x":           func() (layers.PublicKey, error) { return layers.ParsePublicKeyText(want.String()) },
			"0X, capitals": func() (layers.PublicKey, error) { return layers.ParsePublicKeyText(strings.ToUpper(want.String())) },
			"bare hex":     func() (layers.PublicKey, error) { return layers.ParsePublicKeyText(hex.EncodeToString(compressed[:])) },
		} {
			if got, err := parse(); err != nil || got != want {
				t.Errorf("%s: got %v and error %v, want %v", name, got, err, want)
			}
		}
		if e := want.ECDSA(); !bytes.Equal(e.X.FillBytes(make([]byte, 32)), x[:]) {
			t.Errorf("X: got %x, want %x", x, e.X)
		}
	}
}

func TestNobodyIsTheEmptyText(t *testing.T) {
	text, err := layers.PublicKey{}.MarshalText()
	if err != nil || len(text) != 0 {
		t.Errorf("got %q and error %v, want nothing", text, err)
	}
	k := scalar(t, 1).Public()
	if err := k.UnmarshalText(nil); err != nil || !k.IsZero() {
		t.Errorf("got %v and error %v, want nobody", k, err)
	}
}

func TestBadTextChangesNoKey(t *testing.T) {
	want := scalar(t, 1).Public()
	for _, text := range []string{"0x", "x", "0x04", "zz", "0x0" + want.String()[2:], want.String() + "00", " " + want.String()} {
		k := want
		if err := k.UnmarshalText([]byte(text)); !errors.Is(err, layers.ErrPublicKey) || k != want {
			t.Errorf("%q: got %v and error %v, want ErrPublicKey and no change", text, k, err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	k := scalar(f, 3).Public()
	c := k.Compressed()
	f.Add(k[:])
	f.Add(c[:])
	f.Add([]byte{4})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := layers.ParsePublicKey(b)
		if err != nil {
			if !errors.Is(err, layers.ErrPublicKey) || !k.IsZero() {
				t.Fatalf("got %v and error %v", k, err)
			}
			return
		}
		c := k.Compressed()
		if !bytes.Equal(b, k[:]) && !bytes.Equal(b, c[:]) {
			t.Fatalf("%x is neither form of %v", b, k)
		}
		if again, err := layers.ParsePublicKey(c[:]); err != nil || again != k {
			t.Fatalf("%v came back as %v, error %v", k, again, err)
		}
	})
}

func TestBadScalarsAreRefusedWithoutQuotingThem(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"31 bytes":        bytes.Repeat([]byte{0xab}, 31),
		"33 bytes":        bytes.Repeat([]byte{0xab}, 33),
		"zero":            make([]byte, 32),
		"the order":       curve.N.Bytes(),
		"above the order": bytes.Repeat([]byte{0xff}, 32),
	} {
		k, err := layers.ParsePrivateKey(b)
		if !errors.Is(err, layers.ErrPrivateKey) || !k.IsZero() {
			t.Errorf("%s: got %v and error %v, want ErrPrivateKey", name, k, err)
		}
		if err != nil && len(b) > 0 && strings.Contains(err.Error(), hex.EncodeToString(b[:4])) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
	largest := new(big.Int).Sub(curve.N, big.NewInt(1)).Bytes()
	if k, err := layers.ParsePrivateKey(largest); err != nil || !bytes.Equal(k.Secret(), largest) {
		t.Errorf("the largest scalar: got error %v", err)
	}
}

func TestGenerateKeyUsesTheReaderAndNothingElse(t *testing.T) {
	secret := randomKey(t, 1).Secret()
	unusable := bytes.Repeat([]byte{0xff}, 32)
	k, err := layers.GenerateKey(bytes.NewReader(slices.Concat(unusable, make([]byte, 32), secret)))
	if err != nil || !bytes.Equal(k.Secret(), secret) {
		t.Errorf("got %v and error %v, want the key of the third draw", k, err)
	}
	if k, err := layers.GenerateKey(bytes.NewReader(secret[:31])); err == nil {
		t.Errorf("got %v from a reader that ran dry, want an error", k)
	}
}

func TestSharedIsTheXCoordinateOfTheProduct(t *testing.T) {
	for seed := range byte(10) {
		a, b := randomKey(t, 2*seed), randomKey(t, 2*seed+1)
		// (a·b mod N)·G, without any point multiplication by a or b.
		product := new(big.Int).Mul(a.ECDSA().D, b.ECDSA().D)
		reference, err := layers.ParsePrivateKey(product.Mod(product, curve.N).FillBytes(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		want := reference.Public().X()
		for _, pair := range [][2]layers.PrivateKey{{a, b}, {b, a}} {
			if got, err := pair[0].Shared(pair[1].Public()); err != nil || got != want {
				t.Errorf("got %x and error %v, want %x", got, err, want)
			}
		}
	}
}

func TestSharedKeepsLeadingZeros(t *testing.T) {
	one := scalar(t, 1)
	for d := int64(1); ; d++ {
		public := scalar(t, d).Public()
		x := public.X()
		if x[0] != 0 {
			continue
		}
		if got, err := one.Shared(public); err != nil || got != x {
			t.Errorf("got %x and error %v, want %x", got, err, x)
		}
		return
	}
}

func TestNothingIsSharedWithNobody(t *testing.T) {
	if got, err := scalar(t, 1).Shared(layers.PublicKey{}); !errors.Is(err, layers.ErrPublicKey) || got != [32]byte{} {
		t.Errorf("got %x and error %v, want ErrPublicKey", got, err)
	}
}

func TestSignatureLeadsBackToTheSigner(t *testing.T) {
	k := randomKey(t, 1)
	digest := layers.Keccak256([]byte("message"))
	sig := k.Sign(digest)
	if len(sig) != 65 || sig[64] > 1 {
		t.Fatalf("signature: %d bytes, v = %d", len(sig), sig[len(sig)-1])
	}
	if !bytes.Equal(sig, k.Sign(digest)) {
		t.Errorf("two signatures of one digest differ")
	}
	if got, err := layers.Recover(digest, sig); err != nil || got != k.Public() {
		t.Errorf("got %v and error %v, want %v", got, err, k.Public())
	}
	if got, err := layers.Recover(layers.Keccak256([]byte("other")), sig); err == nil && got == k.Public() {
		t.Errorf("the signature holds for another message")
	}
	// The mirror image is accepted too: a signature is no identity of a message.
	mirror := slices.Clone(sig)
	new(big.Int).Sub(curve.N, new(big.Int).SetBytes(sig[32:64])).FillBytes(mirror[32:64])
	mirror[64] ^= 1
	if got, err := layers.Recover(digest, mirror); err != nil || got != k.Public() {
		t.Errorf("mirror: got %v and error %v, want %v", got, err, k.Public())
	}
}

func TestBadSignaturesAreRefused(t *testing.T) {
	digest := layers.Keccak256([]byte("message"))
	sig := randomKey(t, 1).Sign(digest)
	bad := map[string][]byte{
		"nothing":         nil,
		"64 bytes":        sig[:64],
		"66 bytes":        append(slices.Clone(sig), 0),
		"all zero":        make([]byte, 65),
		"r = 0":           changed(sig, func(b []byte) { clear(b[:32]) }),
		"s = 0":           changed(sig, func(b []byte) { clear(b[32:64]) }),
		"r = N":           changed(sig, func(b []byte) { copy(b, curve.N.Bytes()) }),
		"s = N":           changed(sig, func(b []byte) { copy(b[32:], curve.N.Bytes()) }),
		"r of no point":   changed(sig, func(b []byte) { copy(b, big.NewInt(5).FillBytes(make([]byte, 32))) }),
		"r overflows not": changed(sig, func(b []byte) { b[64] += 2 }),
	}
	for v := 4; v < 256; v++ {
		bad[fmt.Sprint("v = ", v)] = changed(sig, func(b []byte) { b[64] = byte(v) })
	}
	for name, b := range bad {
		if got, err := layers.Recover(digest, b); err == nil || !got.IsZero() {
			t.Errorf("%s: got %v and error %v, want an error", name, got, err)
		}
	}
}

func TestPrivateKeyIsNeverPrinted(t *testing.T) {
	k := randomKey(t, 1)
	type holder struct {
		Key    layers.PrivateKey
		hidden layers.PrivateKey
		Ptr    *layers.PrivateKey
	}
	h := holder{k, k, &k}
	var printed []string
	for verb := range 128 {
		if verb >= 'A' && verb != '%' {
			for _, flags := range []string{"", "+", "#", " ", "-20", ".3"} {
				printed = append(printed, fmt.Sprintf("%"+flags+string(rune(verb)), k), fmt.Sprintf("%"+flags+string(rune(verb)), h),
					fmt.Sprintf("%"+flags+string(rune(verb)), []layers.PrivateKey{k}), fmt.Sprintf("%"+flags+string(rune(verb)), &k))
			}
		}
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("key", "key", k, "pointer", &k, "holder", h, "group", slog.GroupValue(slog.Any("k", k)))
	}
	j, err := json.Marshal(map[string]any{"key": k, "holder": h, "list": []layers.PrivateKey{k}})
	if err != nil {
		t.Fatal(err)
	}
	printed = append(printed, log.String(), string(j), fmt.Sprint(errors.Join(fmt.Errorf("%w", layers.ErrPrivateKey), fmt.Errorf("key %v", k))))

	d := k.ECDSA().D
	secrets := []string{
		hex.EncodeToString(k.Secret())[:12], d.String()[:12], strings.ToUpper(hex.EncodeToString(k.Secret()))[:12],
		fmt.Sprint(k.Secret())[1:20], fmt.Sprint(d.Bits()[0]), fmt.Sprintf("%#x", d.Bits()[0]),
	}
	for _, p := range printed {
		for _, s := range secrets {
			if strings.Contains(p, s) {
				t.Fatalf("%.200q holds %q", p, s)
			}
		}
	}
	if got := fmt.Sprint(k); !strings.HasPrefix(got, "private(") || got == fmt.Sprint(randomKey(t, 2)) {
		t.Errorf("fingerprint: got %s", got)
	}
	if got := fmt.Sprint(layers.PrivateKey{}); got != "private(none)" {
		t.Errorf("no key: got %s", got)
	}
}

func BenchmarkShared(b *testing.B) {
	k, p := randomKey(b, 1), randomKey(b, 2).Public()
	for b.Loop() {
		if _, err := k.Shared(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecover(b *testing.B) {
	digest := layers.Keccak256(nil)
	sig := randomKey(b, 1).Sign(digest)
	for b.Loop() {
		if _, err := layers.Recover(digest, sig); err != nil {
			b.Fatal(err)
		}
	}
}
