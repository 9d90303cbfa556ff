package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// definedRoot computes the digest from the words of the package comment, without the package's own code.
func definedRoot(cells map[string]string) [32]byte {
	name := func(parts ...string) [32]byte {
		var b []byte
		for _, p := range append([]string{"hitoku-ledger/1"}, parts...) {
			b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
			b = append(b, p...)
		}
		return sha256.Sum256(b)
	}
	bit := func(key string, p int) byte {
		switch i, j := p/9, p%9; {
		case i >= len(key):
			return 0
		case j == 0:
			return 1
		default:
			return key[i] >> (8 - j) & 1
		}
	}
	var root func(keys []string) [32]byte
	root = func(keys []string) [32]byte {
		switch len(keys) {
		case 0:
			return name("EMPTY")
		case 1:
			return name("CELL", keys[0], cells[keys[0]])
		}
		for p := range 9 * MaxKey {
			var sides [2][]string
			for _, k := range keys {
				sides[bit(k, p)] = append(sides[bit(k, p)], k)
			}
			if len(sides[0]) > 0 && len(sides[1]) > 0 {
				left, right := root(sides[0]), root(sides[1])
				return name("BRANCH", string([]byte{byte(p >> 8), byte(p)}), string(left[:]), string(right[:]))
			}
		}
		panic("two equal keys")
	}
	return root(slices.Sorted(maps.Keys(cells)))
}

// TestVectors fixes the digest: these values were computed by another program from the package comment.
func TestVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cells [][2]string
		root  string
	}{
		{nil, "46159e1ea90da84ee9d28ac1105a337c71cd9b7b8d39b7a7184859c94e46bd14"},
		{[][2]string{{"a", "1"}}, "a94a70ae31bb5d4c15f655d7c1502e645215541435eaa8d6bec7e819a5b37207"},
		{[][2]string{{"a", "1"}, {"ab", "2"}, {"b", ""}, {"a\x00", "zero"}}, "91d5de7146c2264d0990960b6d3b7390f4bdfd0cb5dd0fce8a8f3bfc12d97c85"},
	} {
		tx := new(Tree).Begin()
		for _, cell := range c.cells {
			if err := tx.Set([]byte(cell[0]), []byte(cell[1])); err != nil {
				t.Fatal(err)
			}
		}
		root := tx.Commit().Root()
		if got := hex.EncodeToString(root[:]); got != c.root {
			t.Errorf("%q: root %s, want %s", c.cells, got, c.root)
		}
	}
}

// compare holds a tree against a map: every way of reading, the digest, and the digest of a tree built anew.
func compare(t *testing.T, tree *Tree, want map[string]string) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(want))
	if tree.Len() != len(keys) {
		t.Fatalf("Len %d, want %d", tree.Len(), len(keys))
	}
	var got []string
	tree.Scan(nil, func(key, value []byte) bool {
		got = append(got, string(key))
		if want[string(key)] != string(value) {
			t.Fatalf("scan: cell %q is %q, want %q", key, value, want[string(key)])
		}
		return true
	})
	if !slices.Equal(got, keys) {
		t.Fatalf("scan gave %q, want %q", got, keys)
	}
	for k, v := range want {
		if value, ok := tree.Get([]byte(k)); !ok || string(value) != v {
			t.Fatalf("cell %q is %q (%v), want %q", k, value, ok, v)
		}
	}
	if tree.Root() != definedRoot(want) {
		t.Fatalf("root %x is not the defined one %x", tree.Root(), definedRoot(want))
	}
	built, err := Build(func(yield func(k, v []byte) bool) {
		for _, k := range keys {
			if !yield([]byte(k), []byte(want[k])) {
				return
			}
		}
	})
	if err != nil || built.Root() != tree.Root() || built.Len() != tree.Len() {
		t.Fatalf("built anew: %v, the same root: %v", err, err == nil && built.Root() == tree.Root())
	}
}

// randomKey makes short keys of few letters, so that keys repeat and are beginnings of each other.
func randomKey(r *rand.Rand) []byte {
	key := make([]byte, 1+r.IntN(4))
	for i := range key {
		key[i] = []byte{0, 1, 'a', 0x80, 0xff}[r.IntN(5)]
	}
	return key
}

func TestAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 4))
			tree, model := new(Tree), map[string]string{}
			for range 8 {
				before, beforeModel := tree, maps.Clone(model)
				tx := tree.Begin()
				type savepoint struct {
					mark  Mark
					model map[string]string
				}
				var saved []savepoint
				for range r.IntN(60) {
					key := randomKey(r)
					switch r.IntN(12) {
					case 0:
						saved = append(saved, savepoint{tx.Mark(), maps.Clone(model)})
					case 1:
						if len(saved) > 0 {
							last := saved[len(saved)-1]
							saved = saved[:len(saved)-1]
							tx.Rollback(last.mark)
							model = last.model
						}
					case 2, 3, 4, 5:
						_, want := model[string(key)]
						if tx.Delete(key) != want {
							t.Fatalf("Delete(%q) is not %v", key, want)
						}
						delete(model, string(key))
					default:
						value := []byte(fmt.Sprint(r.IntN(3)))
						if err := tx.Set(key, value); err != nil {
							t.Fatal(err)
						}
						model[string(key)] = string(value)
					}
					if tx.Len() != len(model) {
						t.Fatalf("Len %d, want %d", tx.Len(), len(model))
					}
				}
				var changes []Change
				tx.Changes(func(c Change) bool { changes = append(changes, c); return true })
				tree = tx.Commit()
				compare(t, tree, model)
				compare(t, before, beforeModel)
				checkChanges(t, before, tree, changes, beforeModel, model)
			}
		})
	}
}

func checkChanges(t *testing.T, before, after *Tree, changes []Change, old, now map[string]string) {
	t.Helper()
	if !slices.IsSortedFunc(changes, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) }) {
		t.Fatal("changes are not in key order")
	}
	want := 0
	for k, v := range now {
		if o, ok := old[k]; !ok || o != v {
			want++
		}
	}
	for k := range old {
		if _, ok := now[k]; !ok {
			want++
		}
	}
	if len(changes) != want {
		t.Fatalf("%d changes, want %d", len(changes), want)
	}
	again, err := before.With(changes...)
	if err != nil || again.Root() != after.Root() || again.Len() != after.Len() {
		t.Fatalf("changes do not lead to the new tree: %v", err)
	}
	// A tree with the same cells that shares nothing with the old one differs by the same changes.
	built, err := Build(func(yield func(k, v []byte) bool) { after.Scan(nil, yield) })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	before.Diff(built, func(c Change) bool {
		if n >= len(changes) || !bytes.Equal(c.Key, changes[n].Key) || !bytes.Equal(c.Value, changes[n].Value) || c.Deleted != changes[n].Deleted {
			t.Fatalf("change %d without shared nodes is %+v", n, c)
		}
		n++
		return true
	})
	if n != len(changes) {
		t.Fatalf("%d changes without shared nodes, want %d", n, len(changes))
	}
}

func TestScanPrefixAndStop(t *testing.T) {
	t.Parallel()
	tx := new(Tree).Begin()
	for _, k := range []string{"a", "ab", "abc", "ac", "b", "ab\x00", "ab\xff"} {
		if err := tx.Set([]byte(k), []byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		prefix string
		stop   int
		want   []string
	}{
		{"ab", 9, []string{"ab", "ab\x00", "abc", "ab\xff"}},
		{"ab", 2, []string{"ab", "ab\x00"}},
		{"abc", 9, []string{"abc"}},
		{"abcd", 9, nil},
		{"c", 9, nil},
		{"", 1, []string{"a"}},
	} {
		var got []string
		tx.Scan([]byte(c.prefix), func(k, _ []byte) bool {
			got = append(got, string(k))
			return len(got) < c.stop
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("prefix %q: %q, want %q", c.prefix, got, c.want)
		}
	}
	new(Tree).Scan(nil, func(_, _ []byte) bool { t.Error("an empty tree has a cell"); return true })
}

func TestScanFrom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		tx, model := new(Tree).Begin(), map[string]bool{}
		for range r.IntN(30) {
			key := randomKey(r)
			model[string(key)] = true
			if err := tx.Set(key, nil); err != nil {
				t.Fatal(err)
			}
		}
		prefix, from, most := randomKey(r)[:1], randomKey(r), r.IntN(5)+1
		var want, got []string
		for _, k := range slices.Sorted(maps.Keys(model)) {
			if k[0] == prefix[0] && k >= string(from) && len(want) < most {
				want = append(want, k)
			}
		}
		tx.Commit().ScanFrom(prefix, from, func(k, _ []byte) bool {
			got = append(got, string(k))
			return len(got) < most
		})
		if !slices.Equal(got, want) {
			t.Fatalf("cells %q, prefix %q, from %q: %q, want %q", slices.Sorted(maps.Keys(model)), prefix, from, got, want)
		}
	}
}

func TestScanSeesTheCellsAtItsStart(t *testing.T) {
	t.Parallel()
	tx := new(Tree).Begin()
	for i := range byte(10) {
		if err := tx.Set([]byte{i}, nil); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	tx.Scan(nil, func(k, _ []byte) bool {
		seen++
		tx.Delete([]byte{k[0] + 1})
		return tx.Set([]byte{k[0], 1}, nil) == nil
	})
	if seen != 10 {
		t.Errorf("scan saw %d cells, want the 10 at its start", seen)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	tx := new(Tree).Begin()
	for _, c := range []struct {
		key, value int
		want       error
	}{
		{0, 1, ErrKeySize}, {MaxKey + 1, 1, ErrKeySize}, {1, MaxValue + 1, ErrValueSize}, {MaxKey, MaxValue, nil},
	} {
		key, value := make([]byte, c.key), make([]byte, c.value)
		if err := tx.Set(key, value); !errors.Is(err, c.want) {
			t.Errorf("key %d, value %d: %v, want %v", c.key, c.value, err, c.want)
		}
		if _, err := Build(func(yield func(k, v []byte) bool) { yield(key, value) }); !errors.Is(err, c.want) {
			t.Errorf("build of key %d, value %d: %v, want %v", c.key, c.value, err, c.want)
		}
		if _, err := new(Tree).With(Change{Key: key, Value: value}); !errors.Is(err, c.want) {
			t.Errorf("change of key %d, value %d: %v, want %v", c.key, c.value, err, c.want)
		}
	}
	if tx.Len() != 1 {
		t.Errorf("%d cells, want the one within the limits", tx.Len())
	}
}

func TestBuildRefusesDisorder(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{"b", "a"}, {"a", "a"}, {"ab", "a"}, {"a", "c", "b"}} {
		_, err := Build(func(yield func(k, v []byte) bool) {
			for _, k := range keys {
				if !yield([]byte(k), nil) {
					return
				}
			}
		})
		if !errors.Is(err, ErrOrder) {
			t.Errorf("%q: %v, want %v", keys, err, ErrOrder)
		}
	}
}

func TestValuesAreCopied(t *testing.T) {
	t.Parallel()
	key, value := []byte("k"), []byte("v")
	tx := new(Tree).Begin()
	if err := tx.Set(key, value); err != nil {
		t.Fatal(err)
	}
	key[0], value[0] = 'x', 'x'
	compare(t, tx.Commit(), map[string]string{"k": "v"})
	got, _ := tx.Get([]byte("k"))
	_ = append(got, "more"...)
	compare(t, tx.Commit(), map[string]string{"k": "v"})
}

// TestReadersBesideAWriter is for the race detector: old trees are hashed and scanned while new ones are made.
func TestReadersBesideAWriter(t *testing.T) {
	t.Parallel()
	tree := numbered(t, 2000)
	var readers sync.WaitGroup
	roots := make([][32]byte, 3)
	for i := range roots {
		readers.Go(func() {
			tree.Scan(nil, func(_, _ []byte) bool { return true })
			roots[i] = tree.Root()
		})
	}
	tx := tree.Begin()
	for i := range uint64(500) {
		if err := tx.Set(numberKey(i), []byte("new")); err != nil {
			t.Fatal(err)
		}
	}
	changed := tx.Commit().Root()
	readers.Wait()
	if roots[0] != roots[1] || roots[0] != roots[2] || roots[0] == changed {
		t.Errorf("roots %x, then %x", roots, changed)
	}
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("abcabcab"))
	f.Add([]byte{3, 0, 0, 1, 3, 0, 0, 2, 2, 0, 0, 0x83, 0, 0, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		tx, model := new(Tree).Begin(), map[string]string{}
		for len(script) > 1 {
			size, del := 1+int(script[0]&3), script[0]&0x80 != 0
			script = script[1:]
			size = min(size, len(script))
			key := script[:size]
			script = script[size:]
			if del {
				tx.Delete(key)
				delete(model, string(key))
			} else if err := tx.Set(key, key); err != nil {
				t.Fatal(err)
			} else {
				model[string(key)] = string(key)
			}
		}
		compare(t, tx.Commit(), model)
	})
}
