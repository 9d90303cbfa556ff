package gramine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// load is a PT_LOAD of a made-up loader.
type load struct {
	vaddr, filesz, memsz uint64
	flags                uint32
}

// makeLoader is an ELF file with the given segments, filled from a seed.
func makeLoader(entry uint64, loads ...load) []byte {
	le := binary.LittleEndian
	head := make([]byte, 64+56*len(loads))
	copy(head, "\x7fELF\x02\x01\x01")
	le.PutUint16(head[16:], 3)
	le.PutUint16(head[18:], 62)
	le.PutUint32(head[20:], 1)
	le.PutUint64(head[24:], entry)
	le.PutUint64(head[32:], 64)
	le.PutUint16(head[52:], 64)
	le.PutUint16(head[54:], 56)
	le.PutUint16(head[56:], uint16(len(loads)))
	r := rand.New(rand.NewPCG(1, uint64(len(loads))))
	file := head
	for i, s := range loads {
		for uint64(len(file))%pageSize != s.vaddr%pageSize {
			file = append(file, byte(r.Uint32()))
		}
		p := head[64+56*i:]
		le.PutUint32(p, 1)
		le.PutUint32(p[4:], s.flags)
		le.PutUint64(p[8:], uint64(len(file)))
		le.PutUint64(p[16:], s.vaddr)
		le.PutUint64(p[32:], s.filesz)
		le.PutUint64(p[40:], s.memsz)
		copy(file, head)
		for range s.filesz {
			file = append(file, byte(r.Uint32()))
		}
	}
	copy(file, head)
	return file
}

// plainLoader is a usual one: code and data, with zeros behind.
func plainLoader() []byte {
	return makeLoader(0x1010, load{0, 0x2345, 0x2345, elfR | elfX}, load{0x3120, 0x400, 0x1800, elfR | elfW})
}

func manifestText(sgx string) []byte {
	return []byte("libos.entrypoint = \"/app\"\nloader.entrypoint.uri = \"file:l\"\nloader.entrypoint.sha256 = \"" + strings.Repeat("ab", 32) +
		"\"\nfs.mounts = []\n[sgx]\n" + sgx)
}

// byTheBook computes MRENCLAVE again as the description of the algorithm has it, a page at a
// time, with the whole enclave's layout in a map.
func byTheBook(manifest, file []byte, size uint64, threads int, edmm bool) [32]byte {
	le := binary.LittleEndian
	var records bytes.Buffer
	record := func(name string, fields ...uint64) {
		b := make([]byte, 64)
		copy(b, name)
		for i, f := range fields {
			le.PutUint64(b[8+8*i:], f)
		}
		records.Write(b)
	}
	create := make([]byte, 64)
	copy(create, "ECREATE")
	le.PutUint32(create[8:], 4)
	le.PutUint64(create[12:], size)
	records.Write(create)
	measured := func(at, flags uint64, page []byte) {
		record("EADD", at, flags)
		for c := range 16 {
			record("EEXTEND", at+uint64(c)*256)
			records.Write(page[c*256 : c*256+256])
		}
	}
	top := size
	take := func(n uint64) uint64 { top -= (n + 0xfff) / 0x1000 * 0x1000; return top }
	text := append(bytes.Clone(manifest), 0)
	n := uint64(threads)
	man := take(uint64(len(text)))
	ssa, tcs, tls := take(n*0x8000), take(n*0x1000), take(n*0x1000)
	var stacks, sigs []uint64
	for range n {
		stacks = append(stacks, take(0x40000))
	}
	for range n {
		sigs = append(sigs, take(0x10000))
	}
	phnum := int(le.Uint16(file[56:]))
	seg := func(i int) (flags uint32, off, vaddr, filesz, memsz uint64) {
		p := file[64+56*i:]
		return le.Uint32(p[4:]), le.Uint64(p[8:]), le.Uint64(p[16:]), le.Uint64(p[32:]), le.Uint64(p[40:])
	}
	_, _, v, _, mem := seg(phnum - 1)
	pal := take(v + mem)
	pages := func(at uint64, content []byte, flags uint64) {
		for len(content)%0x1000 != 0 {
			content = append(content, 0)
		}
		for i := 0; i < len(content); i += 0x1000 {
			measured(at+uint64(i), flags, content[i:i+0x1000])
		}
	}
	pages(man, text, 0x201)
	pages(ssa, make([]byte, n*0x8000), 0x203)
	for t := range n {
		p := make([]byte, 0x1000)
		le.PutUint64(p[0x10:], ssa+t*0x8000)
		le.PutUint32(p[0x1c:], 2)
		le.PutUint64(p[0x20:], pal+le.Uint64(file[24:]))
		le.PutUint64(p[0x38:], tls+t*0x1000)
		le.PutUint32(p[0x40:], 0xfff)
		le.PutUint32(p[0x44:], 0xfff)
		measured(tcs+t*0x1000, 0x100, p)
	}
	for t := range n {
		p := make([]byte, 0x1000)
		for _, f := range [][2]uint64{
			{0, tls + t*0x1000},
			{8, 0xbadbadbadbad},
			{0x110, size},
			{0x118, tcs + t*0x1000},
			{0x120, stacks[t] + 0x40000},
			{0x130, sigs[t]},
			{0x138, sigs[t] + 0x10000},
			{0x148, ssa + t*0x8000},
			{0x150, ssa + t*0x8000 + 0x4000 - 0xb8},
			{0x1a0, uint64(len(text))},
			{0x1a8, 0x10000},
			{0x1b0, pal},
		} {
			le.PutUint64(p[f[0]:], f[1])
		}
		measured(tls+t*0x1000, 0x203, p)
	}
	for _, s := range stacks {
		pages(s, make([]byte, 0x40000), 0x203)
	}
	for _, s := range sigs {
		pages(s, make([]byte, 0x10000), 0x203)
	}
	for i := range phnum {
		flags, off, vaddr, filesz, memsz := seg(i)
		content := make([]byte, vaddr%0x1000+memsz)
		copy(content[vaddr%0x1000:], file[off:off+filesz])
		sec := uint64(0x200) | uint64(flags&4>>2) | uint64(flags&2) | uint64(flags&1<<2)
		pages(pal+vaddr/0x1000*0x1000, content, sec)
	}
	if !edmm {
		for at := uint64(0x10000); at < pal; at += 0x1000 {
			record("EADD", at, 0x207)
		}
	}
	return sha256.Sum256(records.Bytes())
}

func TestByTheBook(t *testing.T) {
	t.Parallel()
	var many []load
	for i := range uint64(16) {
		many = append(many, load{i * 0x3000, 0x1234 + i, 0x1300 + i*8, uint32(4 | i%4)})
	}
	many[5].filesz = 0
	loaders := map[string][]byte{
		"usual": plainLoader(), "sixteen segments with gaps": makeLoader(0x20, many...),
		"one page": makeLoader(0, load{0x10, 1, 1, elfR}),
	}
	for name, file := range loaders {
		l := loaderOf(t, file)
		for _, c := range []struct {
			size    string
			bytes   uint64
			threads int
			edmm    bool
		}{
			{"4M", 4 << 20, 4, false},
			{"8388608", 8 << 20, 1, false},
			{"16384K", 16 << 20, 13, false},
			{"256M", 256 << 20, 300, false},
			{"1G", 1 << 30, 4, true},
			{"1024G", 1 << 40, 3, true},
			{"64M", 64 << 20, 7, true},
		} {
			t.Run(fmt.Sprintf("%s/%s-%d-%v", name, c.size, c.threads, c.edmm), func(t *testing.T) {
				t.Parallel()
				pads := []int{0, 3000, 3840, 9000}
				if c.threads > 100 { // each costs a quarter of a gigabyte of records
					pads = pads[:1]
				}
				for _, pad := range pads {
					m := manifestText(fmt.Sprintf("enclave_size = %q\nmax_threads = %d\nedmm_enable = %v\n#%s\n", c.size, c.threads, c.edmm, strings.Repeat("x", pad)))
					got, err := Measure(t.Context(), m, l)
					if err != nil {
						t.Fatal(err)
					}
					if want := byTheBook(m, file, c.bytes, c.threads, c.edmm); got.MRENCLAVE != want {
						t.Errorf("manifest of %d bytes: %x, wanted %x", len(m), got.MRENCLAVE, want)
					}
				}
			})
		}
	}
}

// TestEveryByte: each byte of the loader changes the measurement exactly when it is loaded.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	file := makeLoader(0x10, load{0, 0x180, 0x180, elfR | elfX}, load{0x1200, 0x40, 0x900, elfR | elfW})
	m := manifestText("edmm_enable = true\nmax_threads = 1\n")
	first, err := Measure(t.Context(), m, loaderOf(t, file))
	if err != nil {
		t.Fatal(err)
	}
	loaded := func(i int) bool { // by the two program headers
		at := []uint64{binary.LittleEndian.Uint64(file[72:]), binary.LittleEndian.Uint64(file[128:])}
		return uint64(i) >= at[0] && uint64(i) < at[0]+0x180 || uint64(i) >= at[1] && uint64(i) < at[1]+0x40
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		l, err := ReadLoader(bytes.NewReader(bad), int64(len(bad)))
		if err != nil {
			if i >= 64+56*2 {
				t.Fatalf("byte %d: %v", i, err)
			}
			continue
		}
		got, err := Measure(t.Context(), m, l)
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		if changed := got.MRENCLAVE != first.MRENCLAVE; i >= 64+56*2 && changed != loaded(i) {
			t.Errorf("byte %d: changed %v, loaded %v", i, changed, loaded(i))
		}
	}
}

func TestLoaderRefusals(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	for name, change := range map[string]func(b []byte) []byte{
		"short":               func(b []byte) []byte { return b[:63] },
		"no ELF":              func(b []byte) []byte { b[0] = 0; return b },
		"32 bits":             func(b []byte) []byte { b[4] = 1; return b },
		"program":             func(b []byte) []byte { le.PutUint16(b[16:], 2); return b },
		"machine":             func(b []byte) []byte { le.PutUint16(b[18:], 183); return b },
		"header size":         func(b []byte) []byte { le.PutUint16(b[54:], 32); return b },
		"headers outside":     func(b []byte) []byte { le.PutUint64(b[32:], 1<<60); return b },
		"many headers":        func(b []byte) []byte { le.PutUint16(b[56:], 60000); return b },
		"nothing to load":     func(b []byte) []byte { le.PutUint32(b[64:], 6); le.PutUint32(b[120:], 6); return b },
		"first page":          func(b []byte) []byte { le.PutUint32(b[64:], 6); return b },
		"file part too large": func(b []byte) []byte { le.PutUint64(b[64+32:], 1<<40); return b },
		"offset":              func(b []byte) []byte { le.PutUint64(b[64+8:], ^uint64(0)); return b },
		"not aligned":         func(b []byte) []byte { le.PutUint64(b[64+8:], le.Uint64(b[64+8:])+1); return b },
		"memory":              func(b []byte) []byte { le.PutUint64(b[64+40:], ^uint64(0)); return b },
		"flags":               func(b []byte) []byte { b[64+4] |= 8; return b },
		"overlap":             func(b []byte) []byte { le.PutUint64(b[120+16:], 0x120); return b },
		"entry":               func(b []byte) []byte { le.PutUint64(b[24:], 1<<30); return b },
		"seventeen": func([]byte) []byte {
			var l []load
			for i := range uint64(17) {
				l = append(l, load{i * 0x1000, 1, 1, elfR})
			}
			return makeLoader(0, l...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := change(plainLoader())
			if _, err := ReadLoader(bytes.NewReader(b), int64(len(b))); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzReadLoader(f *testing.F) {
	f.Add(plainLoader())
	f.Add(makeLoader(0, load{0x10, 1, 1, elfR}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ReadLoader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if l.size() > 1<<20 {
			return
		}
		if _, err := Measure(t.Context(), manifestText("edmm_enable = true\nmax_threads = 1\n"), l); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkMeasure compares a 64 GiB enclave with SHA-256 over as many bytes as its records have.
func BenchmarkMeasure(b *testing.B) {
	m := manifestText("enclave_size = \"64G\"\nmax_threads = 16\n")
	file := plainLoader()
	l, err := ReadLoader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("measure", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Measure(b.Context(), m, l); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sha256", func(b *testing.B) {
		measured := uint64(16*90 + 1 + 6)
		records := 64 + measured*5184 + ((64<<30-lowest)/pageSize-measured)*64
		buf := make([]byte, 64<<10)
		for b.Loop() {
			h := sha256.New()
			for n := records; n > 0; n -= min(n, uint64(len(buf))) {
				h.Write(buf[:min(n, uint64(len(buf)))])
			}
		}
	})
}
