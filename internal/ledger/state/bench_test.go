package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// numberKey looks like a key of an application's map of balances: a name and a hash.
func numberKey(i uint64) []byte {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
	return append([]byte("\x05erc20\x01\x08balances"), h[:]...)
}

func numbered(tb testing.TB, n int) *Tree {
	tb.Helper()
	tree, err := Build(sorted(n))
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

func sorted(n int) func(func(k, v []byte) bool) {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = numberKey(uint64(i))
	}
	slices.SortFunc(keys, slices.Compare)
	return func(yield func(k, v []byte) bool) {
		for _, k := range keys {
			if !yield(k, k[len(k)-8:]) {
				return
			}
		}
	}
}

const million = 1_000_000

func BenchmarkBuildMillion(b *testing.B) {
	cells := sorted(million)
	for b.Loop() {
		if _, err := Build(cells); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuildMillionAndRoot(b *testing.B) {
	cells := sorted(million)
	for b.Loop() {
		tree, err := Build(cells)
		if err != nil {
			b.Fatal(err)
		}
		tree.Root()
	}
}

func BenchmarkScanMillion(b *testing.B) {
	tree := numbered(b, million)
	for b.Loop() {
		tree.Scan(nil, func(_, _ []byte) bool { return true })
	}
}

func BenchmarkGetOfMillion(b *testing.B) {
	tree := numbered(b, million)
	keys := make([][]byte, 4096)
	for i := range keys {
		keys[i] = numberKey(uint64(i) * 200)
	}
	i := 0
	for b.Loop() {
		tree.Get(keys[i%len(keys)])
		i++
	}
}

// BenchmarkUpdateOfMillion is one block: so many cells are changed, and the root is computed.
func BenchmarkUpdateOfMillion(b *testing.B) {
	tree := numbered(b, million)
	tree.Root()
	for _, size := range []int{1, 100, 4096} {
		keys := make([][]byte, size)
		for i := range keys {
			keys[i] = numberKey(uint64(i) * 200)
		}
		for name, root := range map[string]bool{"set": false, "set-and-root": true} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				round := uint64(0)
				for b.Loop() {
					round++
					tx := tree.Begin()
					for _, k := range keys {
						if err := tx.Set(k, binary.BigEndian.AppendUint64(nil, round)); err != nil {
							b.Fatal(err)
						}
					}
					if t := tx.Commit(); root {
						t.Root()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/cell")
			})
		}
	}
}

// BenchmarkMemory reports what a cell of a 53-byte key and an 8-byte value takes.
func BenchmarkMemory(b *testing.B) {
	cells := sorted(million)
	var tree *Tree
	var before, after runtime.MemStats
	for b.Loop() {
		tree = nil
		runtime.GC()
		runtime.ReadMemStats(&before)
		tree, _ = Build(cells)
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(tree.Len()), "bytes/cell")
	runtime.KeepAlive(tree)
}
