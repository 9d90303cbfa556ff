package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// TestMerge merges trees of all sizes, whose keys are prefixes of one another too.
func TestMerge(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) map[string]string {
		m := map[string]string{}
		for range n {
			key := make([]byte, 1+rng.IntN(4))
			for i := range key {
				key[i] = byte(rng.IntN(5)) * 63
			}
			m[string(key)] = fmt.Sprint(rng.IntN(3))
		}
		return m
	}
	tree := func(m map[string]string) *Tree {
		tx := new(Tree).Begin()
		for k, v := range m {
			if err := tx.Set([]byte(k), []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		return tx.Commit()
	}
	for range 2000 {
		a, b := draw(rng.IntN(40)), draw(rng.IntN(40))
		ta, tb := tree(a), tree(b)
		got, rootA, rootB := ta.Merge(tb), ta.Root(), tb.Root()
		all := maps.Clone(a)
		maps.Copy(all, b)
		if got.Root() != definedRoot(all) || got.Len() != len(all) {
			t.Fatalf("%q over %q: %d cells, wanted %d, or another digest", b, a, got.Len(), len(all))
		}
		if ta.Root() != rootA || tb.Root() != rootB || ta.Root() != definedRoot(a) || tb.Root() != definedRoot(b) {
			t.Fatal("a merge has changed what it was made of")
		}
	}
}
