package wallet_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/ledger/wallet"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestWordList compares with the SHA-256 that BIP-39's English list has everywhere.
func TestWordList(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("english.txt")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda" {
		t.Errorf("the list has SHA-256 %s", got)
	}
	if words := strings.Fields(string(b)); len(words) != 2048 || !slices.IsSorted(words) {
		t.Errorf("%d words, wanted 2048 in ascending order", len(words))
	}
}

// TestMnemonicVectors are BIP-39's own, with entropy of 16 and 32 bytes. The seeds are those with
// the passphrase TREZOR.
func TestMnemonicVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ entropy, words, seed string }{
		{
			"00000000000000000000000000000000", "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about",
			"c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04",
		},
		{
			"7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f", "legal winner thank year wave sausage worth useful legal winner thank yellow",
			"2e8905819b8723fe2c1d161860e5ee1830318dbf49a83bd451cfb8440c28bd6fa457fe1296106559a3c80937a1c1069be3a3a5bd381ee6260e8d9739fce1f607",
		},
		{
			"80808080808080808080808080808080", "letter advice cage absurd amount doctor acoustic avoid letter advice cage above",
			"d71de856f81a8acc65e6fc851a38d4d7ec216fd0796d0a6827a3ad6ed5511a30fa280f12eb2e47ed2ac03b5c462a0358d18d69fe4f985ec81778c1b370b652a8",
		},
		{
			"ffffffffffffffffffffffffffffffff", "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
			"ac27495480225222079d7be181583751e86f571027b0497b5b5d11218e0a8a13332572917f0f8e5a589620c6f15b11c61dee327651a14c34e18231052e48c069",
		},
		{
			"7dce4ed2284c9134d026608ab684c05c", "lava include region explain simple omit dog slot melt reflect copy reward",
			"",
		},
		{
			"00641669f095b433a304ed0f953f28eb", "about camera omit thrive forget border metal oval auto prepare sketch stomach",
			"",
		},
		{
			"8080808080808080808080808080808080808080808080808080808080808080",
			"letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
			"c0c519bd0e91a2ed54357d9d1ebef6f5af218a153624cf4f2da911a0ed8f7a09e2ef61af0aca007096df430022f7a2b6fb91661a9589097069720d015e4e982f",
		},
		{
			"00ac97c48106f0aeb8ba061e0250a559b3251dc35854e694780ba51d53a50120",
			"absent gorilla van acoustic humor firm title dolphin bulk barely citizen recall crane moment aspect appear track phrase actual enforce steel spoon afraid benefit",
			"",
		},
		{
			"911fec0fbd88029f6fa99164896c18d898c9232af18bdcca3e42d53b86493104",
			"much youth advance kitchen lens exile salt cram goose enter alert raise milk muscle profit cousin system faint mouse price reveal cause series long",
			"",
		},
	} {
		words, err := wallet.Mnemonic(unhex(t, v.entropy))
		if err != nil || words != v.words {
			t.Errorf("words of %s: %q, %v", v.entropy, words, err)
		}
		for _, text := range []string{v.words, strings.ToUpper(v.words), "  " + strings.ReplaceAll(v.words, " ", "\n\t") + "\r\n"} {
			entropy, err := wallet.ParseMnemonic(text)
			if err != nil || hex.EncodeToString(entropy) != v.entropy {
				t.Errorf("entropy of %q: %x, %v", text, entropy, err)
			}
		}
		seed, err := wallet.Seed(v.words, "TREZOR")
		if err != nil || v.seed != "" && hex.EncodeToString(seed) != v.seed {
			t.Errorf("seed of %q: %x, %v", v.words, seed, err)
		}
	}
	seed, err := wallet.Seed("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about", "")
	if want := "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc19a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"; err != nil || hex.EncodeToString(seed) != want {
		t.Errorf("seed without a passphrase: %x, %v", seed, err)
	}
}

func TestBadMnemonics(t *testing.T) {
	t.Parallel()
	good := "legal winner thank year wave sausage worth useful legal winner thank yellow"
	for name, text := range map[string]string{
		"none": "", "eleven words": strings.TrimSuffix(good, " yellow"), "thirteen words": good + " legal", "fifteen words": strings.Repeat("zoo ", 15),
		"unknown word": strings.Replace(good, "wave", "waves", 1), "swapped": strings.Replace(good, "winner thank", "thank winner", 1),
		"wrong checksum": strings.Replace(good, "yellow", "year", 1), "beginning of a word": strings.Replace(good, "sausage", "saus", 1),
	} {
		if _, err := wallet.ParseMnemonic(text); !errors.Is(err, wallet.ErrMnemonic) {
			t.Errorf("%s: %v, wanted ErrMnemonic", name, err)
		}
	}
	for _, n := range []int{0, 15, 17, 20, 24, 33} {
		if _, err := wallet.Mnemonic(make([]byte, n)); err == nil {
			t.Errorf("entropy of %d bytes was taken", n)
		}
	}
	if _, err := wallet.Seed(good, "schön"); err == nil {
		t.Error("a passphrase that would need normalisation was taken")
	}
}

// TestOneWrongWord: of 2048 words in the last place, 128 have the checksum of twelve words' entropy.
func TestOneWrongWord(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("english.txt")
	if err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, w := range strings.Fields(string(b)) {
		if _, err := wallet.ParseMnemonic(strings.Repeat("abandon ", 11) + w); err == nil {
			good++
		}
	}
	if good != 128 {
		t.Errorf("%d last words pass, wanted 128", good)
	}
}

func FuzzParseMnemonic(f *testing.F) {
	f.Add("zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong")
	f.Add("abandon")
	f.Add(strings.Repeat("zoo ", 23) + "vote")
	f.Fuzz(func(t *testing.T, text string) {
		entropy, err := wallet.ParseMnemonic(text)
		if err != nil {
			return
		}
		words, err := wallet.Mnemonic(entropy)
		if err != nil || words != strings.Join(strings.Fields(strings.ToLower(text)), " ") {
			t.Errorf("%q came back as %q, %v", text, words, err)
		}
	})
}
