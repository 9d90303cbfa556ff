package gramine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Sizes and addresses of Gramine's enclaves, in bytes (pal_linux_defs.h, sgx_arch.h, pal_arch.h).
const (
	lowest       = 0x10000 // nothing lies below
	ssaFrame     = 0x4000
	ssaFrames    = 2
	stackSize    = 0x40000
	sigStackSize = 0x10000
	gprSize      = 0xb8
	canary       = 0xbadbadbadbad
)

// SECINFO flags (Intel SDM vol. 3D, table 36-10).
const (
	secR   = 1
	secW   = 2
	secX   = 4
	secTCS = 0x100
	secREG = 0x200
)

// Measurement is what SGX hardware will measure of an enclave, and what decides it.
type Measurement struct {
	Manifest    *Manifest
	MRENCLAVE   [32]byte
	EnclaveSize uint64 // bytes
	Threads     int
	EDMM        bool
	Pages       uint64 // that are in the enclave when it starts
}

// area is a range of pages with the same flags.
type area struct {
	name        string
	addr, size  uint64
	flags       uint64
	fill        func(page uint64, out []byte) error // nil: zeros; page counts from 0
	notMeasured bool
}

// Measure computes MRENCLAVE of the enclave that starts with the bytes of NAME.manifest.sgx
// and the loader l. The manifest is parsed and checked first; see [Manifest.Check]. Memory
// does not grow with the enclave.
func Measure(ctx context.Context, manifest []byte, l *LoaderFile) (*Measurement, error) {
	m, err := Parse(manifest)
	if err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	size, err := m.EnclaveSize()
	if err != nil {
		return nil, err
	}
	out := &Measurement{Manifest: m, EnclaveSize: size, Threads: m.Threads(), EDMM: m.SGX.EDMM}
	areas, err := layout(manifest, l, out)
	if err != nil {
		return nil, err
	}
	d := newDigest(size)
	for i := range areas {
		a := &areas[i]
		if err := d.area(ctx, a); err != nil {
			return nil, fmt.Errorf("measure %s: %w", a.name, err)
		}
		out.Pages += a.size / pageSize
	}
	d.flush()
	d.sum.Sum(out.MRENCLAVE[:0])
	return out, nil
}

// layout places the areas downwards from the top, in the order in which they are measured.
func layout(manifest []byte, l *LoaderFile, m *Measurement) ([]area, error) {
	threads := uint64(m.Threads)
	length := uint64(len(manifest)) + 1 // with the zero byte that the loader appends
	type wanted struct {
		area
		count uint64
	}
	rw := uint64(secREG | secR | secW)
	list := []wanted{
		{area{name: "manifest", size: length, flags: secREG | secR}, 1},
		{area{name: "ssa", size: threads * ssaFrame * ssaFrames, flags: rw}, 1},
		{area{name: "tcs", size: threads * pageSize, flags: secTCS}, 1},
		{area{name: "tls", size: threads * pageSize, flags: rw}, 1},
		{area{name: "stack", size: stackSize, flags: rw}, threads},
		{area{name: "sig_stack", size: sigStackSize, flags: rw}, threads},
		{area{name: "pal", size: l.size()}, 1},
	}
	var areas []area
	first := map[string]uint64{} // the address of an area, of several the first
	at := m.EnclaveSize
	for _, w := range list {
		size := roundUp(w.size)
		for range w.count {
			if at < lowest+size {
				return nil, &Error{
					Key: "sgx.enclave_size", Seen: fmt.Sprintf("%d bytes with %d threads", m.EnclaveSize, m.Threads),
					Wanted: "room for manifest, threads and loader above " + fmt.Sprintf("%#x", lowest), Advice: "make the enclave larger or take fewer threads",
				}
			}
			at -= size
			a := w.area
			a.addr, a.size = at, size
			if _, ok := first[a.name]; !ok {
				first[a.name] = at
			}
			areas = append(areas, a)
		}
	}
	pal := first["pal"]
	areas = areas[:len(areas)-1]
	for i := range areas {
		switch a := &areas[i]; a.name {
		case "manifest":
			a.fill = func(page uint64, out []byte) error {
				clear(out)
				if from := page * pageSize; from < uint64(len(manifest)) {
					copy(out, manifest[from:])
				}
				return nil
			}
		case "tcs":
			a.fill = func(t uint64, out []byte) error { tcs(out, t, first, pal+l.entry); return nil }
		case "tls":
			a.fill = func(t uint64, out []byte) error { tls(out, t, first, m.EnclaveSize, length); return nil }
		}
	}
	for i := range l.segments {
		s := &l.segments[i]
		flags := uint64(secREG)
		for _, b := range [][2]uint64{{elfR, secR}, {elfW, secW}, {elfX, secX}} {
			if uint64(s.flags)&b[0] != 0 {
				flags |= b[1]
			}
		}
		areas = append(areas, area{
			name: fmt.Sprintf("libpal.so segment %d", i), addr: pal + s.first(), size: s.past() - s.first(), flags: flags,
			fill: func(page uint64, out []byte) error { return l.page(s, s.first()+page*pageSize, out) },
		})
	}
	if !m.EDMM && pal > lowest {
		areas = append(areas, area{name: "free", addr: lowest, size: pal - lowest, flags: secREG | secR | secW | secX, notMeasured: true})
	}
	return areas, nil
}

// tcs fills the TCS page of thread t (Intel SDM vol. 3D, table 36-3; sgx_sign.py).
func tcs(out []byte, t uint64, at map[string]uint64, entry uint64) {
	clear(out)
	le := binary.LittleEndian
	le.PutUint64(out[0x10:], at["ssa"]+t*ssaFrame*ssaFrames) // OSSA
	le.PutUint32(out[0x1c:], ssaFrames)                      // NSSA
	le.PutUint64(out[0x20:], entry)                          // OENTRY
	le.PutUint64(out[0x38:], at["tls"]+t*pageSize)           // OGSBASE
	le.PutUint32(out[0x40:], 0xfff)                          // FSLIMIT
	le.PutUint32(out[0x44:], 0xfff)                          // GSLIMIT
}

// tls fills Gramine's own block of thread t (pal_tcb.h, sgx_sign.py).
func tls(out []byte, t uint64, at map[string]uint64, enclave, manifest uint64) {
	clear(out)
	put := func(offset int, v uint64) { binary.LittleEndian.PutUint64(out[offset:], v) }
	stack := at["stack"] - t*stackSize
	sig := at["sig_stack"] - t*sigStackSize
	ssa := at["ssa"] + t*ssaFrame*ssaFrames
	put(0x0, at["tls"]+t*pageSize)
	put(0x8, canary)
	put(0x110, enclave)
	put(0x118, at["tcs"]+t*pageSize)
	put(0x120, stack+stackSize)
	put(0x130, sig)
	put(0x138, sig+sigStackSize)
	put(0x148, ssa)
	put(0x150, ssa+ssaFrame-gprSize)
	put(0x1a0, manifest)
	put(0x1a8, lowest)
	put(0x1b0, at["pal"])
}

const (
	recordSize = 64
	chunkSize  = 256 // bytes that one EEXTEND measures
	// pageRecords is an EADD and its EEXTENDs with what they measure, in bytes.
	pageRecords = recordSize + pageSize/chunkSize*(recordSize+chunkSize)
	batch       = 1024 // records that are hashed at once
)

// digest hashes the records of ECREATE, EADD and EEXTEND (Intel SDM vol. 3D, chapter 38).
type digest struct {
	sum    hash.Hash
	pages  []byte // room for one measured page
	adds   []byte // EADDs of pages that are not measured
	filled int    // bytes of adds
}

func newDigest(size uint64) *digest {
	d := &digest{sum: sha256.New(), pages: make([]byte, pageRecords), adds: make([]byte, batch*recordSize)}
	var create [recordSize]byte
	copy(create[:], "ECREATE\x00")
	binary.LittleEndian.PutUint32(create[8:], ssaFrame/pageSize)
	binary.LittleEndian.PutUint64(create[12:], size)
	d.sum.Write(create[:])
	for i := range batch {
		copy(d.adds[i*recordSize:], "EADD\x00\x00\x00\x00")
	}
	copy(d.pages, "EADD\x00\x00\x00\x00")
	for i := recordSize; i < pageRecords; i += recordSize + chunkSize {
		copy(d.pages[i:], "EEXTEND\x00")
	}
	return d
}

func (d *digest) area(ctx context.Context, a *area) error {
	if a.notMeasured {
		return d.added(ctx, a)
	}
	d.flush()
	le := binary.LittleEndian
	content := make([]byte, pageSize)
	le.PutUint64(d.pages[16:], a.flags)
	for p := range a.size / pageSize {
		if p%batch == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if a.fill != nil {
			if err := a.fill(p, content); err != nil {
				return err
			}
		}
		at := a.addr + p*pageSize
		le.PutUint64(d.pages[8:], at)
		for c := range uint64(pageSize / chunkSize) {
			r := d.pages[recordSize+c*(recordSize+chunkSize):]
			le.PutUint64(r[8:], at+c*chunkSize)
			if a.fill != nil || p == 0 {
				copy(r[recordSize:recordSize+chunkSize], content[c*chunkSize:])
			}
		}
		d.sum.Write(d.pages)
	}
	return nil
}

// added hashes the EADDs of pages that the enclave gets without measuring their content.
func (d *digest) added(ctx context.Context, a *area) error {
	le := binary.LittleEndian
	for at := a.addr; at < a.addr+a.size; at += pageSize {
		r := d.adds[d.filled:]
		le.PutUint64(r[8:], at)
		le.PutUint64(r[16:], a.flags)
		if d.filled += recordSize; d.filled == len(d.adds) {
			d.flush()
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *digest) flush() {
	d.sum.Write(d.adds[:d.filled])
	d.filled = 0
}
