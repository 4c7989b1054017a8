package layers_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/stratanode/strata/layers"
	"github.com/stratanode/strata/layers/layertest"
)

const abandon = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func TestGoldenVectors(t *testing.T) {
	const ratchet = "layers/secure/ratchet"
	layertest.RunVectors(t, "topics", map[string]func(*testing.T, layertest.Vector){
		"account":           runAccount,
		"public_chat":       layertest.Elsewhere(ratchet),
		"identity_topics":   layertest.Elsewhere(ratchet),
		"negotiated":        layertest.Elsewhere(ratchet),
		"generic_discovery": layertest.Elsewhere(ratchet),
	})
}

type accountKey struct{ Address, Compressed, Private, Public string }

func runAccount(t *testing.T, v layertest.Vector) {
	var in struct{ Mnemonic, Password string }
	var out struct {
		Seed   string     `json:"bip39_seed"`
		Chat   accountKey `json:"chat_m_43_60_1581_0_0"`
		Wallet accountKey `json:"wallet_m_44_60_0_0_0"`
	}
	layertest.Decode(t, v.In, &in)
	layertest.Decode(t, v.Out, &out)
	seed, err := layers.SeedFromMnemonic(in.Mnemonic, in.Password)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(seed); got != out.Seed {
		t.Errorf("seed: got %s, want %s", got, out.Seed)
	}
	for path, want := range map[string]accountKey{layers.ChatKeyPath: out.Chat, layers.WalletKeyPath: out.Wallet} {
		k, err := layers.DeriveKey(seed, path)
		if err != nil {
			t.Fatal(err)
		}
		public, compressed := k.Public(), k.Public().Compressed()
		got := accountKey{
			Address:    crypto.PubkeyToAddress(*public.ECDSA()).Hex(),
			Compressed: hex.EncodeToString(compressed[:]),
			Private:    hex.EncodeToString(k.Secret()),
			Public:     hex.EncodeToString(public[:]),
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

// The test vectors 1 to 3 of BIP32, private keys. Vector 3 has a master key that
// begins with a zero byte, which has to be kept.
func TestKeysAreTheOnesOfBIP32(t *testing.T) {
	for _, tt := range []struct {
		seed string
		keys map[string]string
	}{
		{"000102030405060708090a0b0c0d0e0f", map[string]string{
			"m":                      "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35",
			"m/0'":                   "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea",
			"m/0h/1":                 "3c6cb8d0f6a264c91ea8b5030fadaa8e538b020f0a387421a12de9319dc93368",
			"m/0'/1/2h":              "cbce0d719ecf7431d88e6a89fa1483e02e35092af60c042b1df2ff59fa424dca",
			"m/0'/1/2'/2":            "0f479245fb19a38a1954c5c7c0ebab2f9bdfd96a17563ef28a6a4b1a2a764ef4",
			"m/0'/1/2'/2/1000000000": "471b76e389e528d6de6d816857e012c5455051cad6660850e58372a6c3e6e7c8",
		}},
		{"fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542", map[string]string{
			"m":                               "4b03d6fc340455b363f51020ad3ecca4f0850280cf436c70c727923f6db46c3e",
			"m/0":                             "abe74a98f6c7eabee0428f53798f0ab8aa1bd37873999041703c742f15ac7e1e",
			"m/0/2147483647'":                 "877c779ad9687164e9c2f4f0f4ff0340814392330693ce95a58fe18fd52e6e93",
			"m/0/2147483647'/1":               "704addf544a06e5ee4bea37098463c23613da32020d604506da8c0518e1da4b7",
			"m/0/2147483647'/1/2147483646'":   "f1c7c871a54a804afe328b4c83a1c33b8e5ff48f5087273f04efa83b247d6a2d",
			"m/0/2147483647'/1/2147483646'/2": "bb7d39bdb83ecf58f2fd82b6d918341cbef428661ef01ab97c28a4842125ac23",
		}},
		{"4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be", map[string]string{
			"m":    "00ddb80b067e0d4993197fe10f2657a844a384589847602d56f0c629c81aae32",
			"m/0'": "491f7a2eebc7b57028e0d3faa0acda02e75c33b03c48fb288c41e2ea44e1daef",
		}},
	} {
		seed, err := hex.DecodeString(tt.seed)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range tt.keys {
			k, err := layers.DeriveKey(seed, path)
			if got := hex.EncodeToString(k.Secret()); err != nil || got != want {
				t.Errorf("%s: got %s and error %v, want %s", path, got, err, want)
			}
		}
	}
}

func TestEqualPhrasesGiveEqualSeeds(t *testing.T) {
	const word = "\u00e9tude" // composed
	decomposed := "e\u0301tude"
	phrase := func(separator, w string) string { return strings.Repeat(w+separator, 11) + w }
	want, err := layers.SeedFromMnemonic(phrase(" ", word), "caf\u00e9")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string][2]string{
		"decomposed":        {phrase(" ", decomposed), "cafe\u0301"},
		"ideographic space": {phrase("\u3000", word), "caf\u00e9"},
		"lines":             {"  " + phrase("\n", word) + "\n", "caf\u00e9"},
	} {
		got, err := layers.SeedFromMnemonic(p[0], p[1])
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: got %v and error %v, want %v", name, got, err, want)
		}
	}
	for name, p := range map[string][2]string{
		"password":       {phrase(" ", word), "cafe"},
		"capital letter": {strings.ToUpper(phrase(" ", word)), "caf\u00e9"},
	} {
		if got, err := layers.SeedFromMnemonic(p[0], p[1]); err != nil || string(got) == string(want) {
			t.Errorf("another %s: got %v and error %v, want another seed", name, got, err)
		}
	}
}

func TestWhatIsNoPhraseIsRefusedWithoutQuotingIt(t *testing.T) {
	for _, tt := range []struct {
		name, phrase, password string
	}{
		{"empty", "", ""},
		{"white space", " \n\t", ""},
		{"1 word", "abandon", ""},
		{"11 words", strings.TrimSuffix(abandon, " about"), ""},
		{"13 words", abandon + " abandon", ""},
		{"27 words", strings.Repeat("abandon ", 27), ""},
		{"no UTF-8", abandon[:20] + "\xff" + abandon[20:], ""},
		{"password of no UTF-8", abandon, "abandon\xff"},
		{"endless", strings.Repeat("abandon", 1000), ""},
		{"endless password", abandon, strings.Repeat("abandon", 1000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seed, err := layers.SeedFromMnemonic(tt.phrase, tt.password)
			if !errors.Is(err, layers.ErrMnemonic) || len(seed) != 0 {
				t.Fatalf("got %v and error %v, want ErrMnemonic", seed, err)
			}
			if strings.Contains(err.Error(), "abandon") {
				t.Errorf("the error quotes the phrase: %v", err)
			}
		})
	}
	for _, n := range []int{12, 15, 18, 21, 24} {
		if _, err := layers.SeedFromMnemonic(strings.Repeat("word ", n), ""); err != nil {
			t.Errorf("%d words: %v", n, err)
		}
	}
}

func TestBadPathsAreRefused(t *testing.T) {
	seed := layers.Seed(make([]byte, 64))
	for _, path := range []string{
		"", "/", "0", "M/0", "m/", "m//0", "m/0/", "/m/0", "m/x", "m/-1", "m/+1", "m/ 1", "m/1 ", "m/0x1", "m/1_0", "m/'", "m/h",
		"m/0''", "m/0'h", "m/00", "m/01'", "m/2147483648", "m/2147483648'", "m/99999999999999999999", "m/0'/\u0661",
		"m" + strings.Repeat("/0", 256), "m" + strings.Repeat("/0", 100000),
	} {
		k, err := layers.DeriveKey(seed, path)
		if !errors.Is(err, layers.ErrKeyPath) || !k.IsZero() {
			t.Errorf("%.40q: got %v and error %v, want ErrKeyPath", path, k, err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.40q: the error has %d bytes", path, len(err.Error()))
		}
	}
	for _, path := range []string{"m", "m/0", "m/2147483647'", "m" + strings.Repeat("/0", 255)} {
		if _, err := layers.DeriveKey(seed, path); err != nil {
			t.Errorf("%.40q: %v", path, err)
		}
	}
}

func TestSeedHasItsSize(t *testing.T) {
	for _, n := range []int{0, 15, 65, 1000} {
		if k, err := layers.DeriveKey(make(layers.Seed, n), "m"); !errors.Is(err, layers.ErrSeed) || !k.IsZero() {
			t.Errorf("%d bytes: got %v and error %v, want ErrSeed", n, k, err)
		}
	}
}

func TestSeedIsNeverPrinted(t *testing.T) {
	seed := layers.Seed("the secret of the seed")
	j, err := json.Marshal(map[string]any{"seed": seed})
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		fmt.Sprintf("%v %+v %#v %s %x %X %q %d %o %b", seed, seed, seed, seed, seed, seed, seed, seed, seed, seed),
		fmt.Sprint(seed.LogValue()), string(j), fmt.Sprint([]layers.Seed{seed}),
	} {
		for _, leak := range []string{"secret", "736563726574", "115 101 99", "c2VjcmV0"} {
			if strings.Contains(printed, leak) {
				t.Errorf("%s holds %q", printed, leak)
			}
		}
	}
	if got := fmt.Sprint(layers.Seed(nil)); got != "seed(none)" {
		t.Errorf("no seed: got %s", got)
	}
}

func FuzzDeriveKey(f *testing.F) {
	seed := layers.Seed(make([]byte, 32))
	f.Add(layers.ChatKeyPath)
	f.Add(layers.WalletKeyPath)
	f.Add("m/0h/2147483647")
	f.Fuzz(func(t *testing.T, path string) {
		k, err := layers.DeriveKey(seed, path)
		if err != nil {
			if !errors.Is(err, layers.ErrKeyPath) {
				t.Fatalf("error %v, want ErrKeyPath", err)
			}
			return
		}
		again, err := layers.DeriveKey(seed, strings.ReplaceAll(path, "h", "'"))
		if err != nil || again.Public() != k.Public() {
			t.Fatalf("%q: got %v and error %v, want %v", path, again, err, k)
		}
	})
}
