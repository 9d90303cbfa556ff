package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/state"
)

// million is a tree of 10⁶ cells: keys of 36 bytes, values of 16.
var million = sync.OnceValue(func() *state.Tree {
	tx := new(state.Tree).Begin()
	key, value := make([]byte, 36), make([]byte, 16)
	for i := range uint64(1_000_000) {
		binary.BigEndian.PutUint64(key[4:], i*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(value, i)
		if err := tx.Set(key, value); err != nil {
			panic(err)
		}
	}
	return tx.Commit()
})

func folder(b *testing.B) *disk.Dir {
	b.Helper()
	fs, err := disk.Folder(private(b))
	if err != nil {
		b.Fatal(err)
	}
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}

func BenchmarkMillionWrite(b *testing.B) {
	d := folder(b)
	if err := d.Begin(disk.Saved{Tree: million()}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() { // a base each, and the one before is removed
		if err := errors.Join(d.Rekey(), d.WriteRing(1, snapOf(1), nil), d.Settle()); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(d.Usage().BaseBytes)
}

func BenchmarkMillionLoad(b *testing.B) {
	fs, err := disk.Folder(private(b))
	if err != nil {
		b.Fatal(err)
	}
	o := disk.Options{FS: fs, Ledger: ledger, Random: random(1)}
	d, err := disk.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Begin(disk.Saved{Position: 1, Tree: million()}); err != nil {
		b.Fatal(err)
	}
	if err := d.WriteRing(1, snapOf(1), nil); err != nil {
		b.Fatal(err)
	}
	if err := d.Settle(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(d.Usage().BaseBytes)
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if d, err = disk.Open(o); err != nil {
			b.Fatal(err)
		}
		s, err := d.Load(1, snapOf(1))
		if err != nil || s.Tree.Len() != 1_000_000 {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMillionExportImport(b *testing.B) {
	e := disk.Exporter{Ledger: ledger, Random: random(1)}
	s := disk.Saved{Position: 1, Tree: million()}
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			if err := e.Export(io.Discard, 1, snapOf(1), s); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("import", func(b *testing.B) {
		var file bytes.Buffer
		if err := e.Export(&file, 1, snapOf(1), s); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(file.Len()))
		for b.Loop() {
			if _, _, err := disk.Import(bytes.NewReader(file.Bytes()), ledger, snapOf(1), 1<<40); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAppendSync writes a step of 32 changed cells in a tree of 10⁶, and makes it durable.
func BenchmarkAppendSync(b *testing.B) {
	tree := million()
	d := folder(b)
	if err := d.Begin(disk.Saved{Tree: tree}); err != nil {
		b.Fatal(err)
	}
	if err := d.WriteRing(1, snapOf(1), nil); err != nil {
		b.Fatal(err)
	}
	if err := d.Settle(); err != nil {
		b.Fatal(err)
	}
	key := make([]byte, 36)
	var i, p uint64
	for b.Loop() {
		b.StopTimer()
		tx := tree.Begin()
		for range 32 {
			i = (i + 7919) % 1_000_000
			binary.BigEndian.PutUint64(key[4:], i*0x9e3779b97f4a7c15)
			if err := tx.Set(key, binary.BigEndian.AppendUint64(nil, p)); err != nil {
				b.Fatal(err)
			}
		}
		tree = tx.Commit()
		p++
		b.StartTimer()
		if err := d.Append(disk.Saved{Position: p, Tree: tree}); err != nil {
			b.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}
