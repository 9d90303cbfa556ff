package merkle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"hitoku.dev/internal/ledger/merkle"
)

func leaves(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Append(nil, "leaf ", i)
	}
	return out
}

// TestKnownRoots compares with the roots that Certificate Transparency's reference tests give for
// the leaves "", 00, 10, 2021, 3031, 40414243, 5051525354555657, 606162636465666768696a6b6c6d6e6f.
func TestKnownRoots(t *testing.T) {
	t.Parallel()
	var data [][]byte
	for _, s := range []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b)
	}
	for i, want := range []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	} {
		if got := merkle.Root(data[:i]); hex.EncodeToString(got[:]) != want {
			t.Errorf("root of %d leaves is %x, wanted %s", i, got, want)
		}
	}
}

// TestProofs proves every leaf of trees up to 40 leaves, and refuses every other claim.
func TestProofs(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 40; n++ {
		data := leaves(n)
		root := merkle.Root(data)
		for i := range n {
			proof := merkle.Proof(data, i)
			if !merkle.Verify(root, data[i], uint32(i), uint32(n), proof) {
				t.Fatalf("proof of leaf %d of %d does not hold", i, n)
			}
			for name, bad := range map[string]bool{
				"other leaf":    merkle.Verify(root, []byte("another"), uint32(i), uint32(n), proof),
				"other root":    merkle.Verify(merkle.Hash{}, data[i], uint32(i), uint32(n), proof),
				"beyond count":  merkle.Verify(root, data[i], uint32(n), uint32(n), proof),
				"no count":      merkle.Verify(root, data[i], 0, 0, proof),
				"longer":        merkle.Verify(root, data[i], uint32(i), uint32(n), append(slices.Clone(proof), root)),
				"shorter":       len(proof) > 0 && merkle.Verify(root, data[i], uint32(i), uint32(n), proof[:len(proof)-1]),
				"other index":   n > 1 && merkle.Verify(root, data[i], uint32((i+1)%n), uint32(n), proof),
				"leaf as inner": merkle.Verify(merkle.LeafHash(data[i]), data[i], uint32(i), uint32(n), proof) && n > 1,
			} {
				if bad {
					t.Errorf("%s: proof of leaf %d of %d holds", name, i, n)
				}
			}
			for k := range proof {
				for b := range proof[k] {
					changed := slices.Clone(proof)
					changed[k][b] ^= 1
					if merkle.Verify(root, data[i], uint32(i), uint32(n), changed) {
						t.Fatalf("proof of leaf %d of %d holds with byte %d of hash %d changed", i, n, b, k)
					}
				}
			}
		}
	}
}

func TestNoLeaf(t *testing.T) {
	t.Parallel()
	if merkle.Root(nil) != sha256.Sum256(nil) {
		t.Error("the root of nothing is not the hash of nothing")
	}
	if merkle.Proof(leaves(3), 3) != nil || merkle.Proof(leaves(3), -1) != nil {
		t.Error("a proof for a leaf that is not there")
	}
}

// TestTree holds the tree with all its hashes against the functions that the definition gives.
func TestTree(t *testing.T) {
	t.Parallel()
	var leaves [][]byte
	for n := range 70 {
		tree := merkle.NewTree(leaves)
		if tree.Root() != merkle.Root(leaves) {
			t.Fatalf("root of %d leaves", n)
		}
		for i := -1; i <= n; i++ {
			if !slices.Equal(tree.Proof(i), merkle.Proof(leaves, i)) {
				t.Fatalf("proof of leaf %d of %d", i, n)
			}
		}
		leaves = append(leaves, []byte{byte(n)})
	}
}
