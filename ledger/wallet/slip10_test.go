package wallet

import (
	"encoding/hex"
	"testing"

	"hitoku.dev/ledger"
)

// TestSLIP10Vectors are those of SLIP-0010 for hardened paths, with both cases in which a P-256 key has to
// be tried again.
func TestSLIP10Vectors(t *testing.T) {
	t.Parallel()
	const (
		one   = "000102030405060708090a0b0c0d0e0f"
		retry = "a7305bc8df8d0951f0cb224c0e95d7707cbdf2c6ce7e8d481fec69c7ff5e9446"
	)
	for _, v := range []struct {
		name       string
		scheme     uint8
		seed       string
		path       []uint32
		chain, key string
	}{
		{"m", ledger.SchemeEd25519, one, nil, "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb", "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7"},
		{"m/0'", ledger.SchemeEd25519, one, []uint32{0}, "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69", "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3"},
		{"m/0'/1'", ledger.SchemeEd25519, one, []uint32{0, 1}, "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14", "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2"},
		{"m/0'/1'/2'", ledger.SchemeEd25519, one, []uint32{0, 1, 2}, "2e69929e00b5ab250f49c3fb1c12f252de4fed2c1db88387094a0f8c4c9ccd6c", "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9"},
		{"m/0'/1'/2'/2'", ledger.SchemeEd25519, one, []uint32{0, 1, 2, 2}, "8f6d87f93d750e0efccda017d662a1b31a266e4a6f5993b15f5c1f07f74dd5cc", "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662"},
		{"m/0'/1'/2'/2'/1000000000'", ledger.SchemeEd25519, one, []uint32{0, 1, 2, 2, 1000000000}, "68789923a0cac2cd5a29172a475fe9e0fb14cd6adb5ad98a3fa70333e7afa230", "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793"},
		{"m", ledger.SchemeP256, one, nil, "beeb672fe4621673f722f38529c07392fecaa61015c80c34f29ce8b41b3cb6ea", "612091aaa12e22dd2abef664f8a01a82cae99ad7441b7ef8110424915c268bc2"},
		{"m/0'", ledger.SchemeP256, one, []uint32{0}, "3460cea53e6a6bb5fb391eeef3237ffd8724bf0a40e94943c98b83825342ee11", "6939694369114c67917a182c59ddb8cafc3004e63ca5d3b84403ba8613debc0c"},
		{"m/28578'", ledger.SchemeP256, one, []uint32{28578}, "e94c8ebe30c2250a14713212f6449b20f3329105ea15b652ca5bdfc68f6c65c2", "06f0db126f023755d0b8d86d4591718a5210dd8d024e3e14b6159d63f53aa669"},
		{"m of a seed that is tried again", ledger.SchemeP256, retry, nil, "", "3b8c18469a4634517d6d0b65448f8e6c62091b45540a1743c5846be55d47d88f"},
	} {
		seed, err := hex.DecodeString(v.seed)
		if err != nil {
			t.Fatal(err)
		}
		n := masterNode(v.scheme, seed).derive(v.path...)
		if got := hex.EncodeToString(n.key[:]); got != v.key {
			t.Errorf("scheme %d, %s: key %s, wanted %s", v.scheme, v.name, got, v.key)
		}
		if got := hex.EncodeToString(n.chain[:]); v.chain != "" && got != v.chain {
			t.Errorf("scheme %d, %s: chain code %s, wanted %s", v.scheme, v.name, got, v.chain)
		}
	}
}
