package sgx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"
)

// stream writes SGXS records.
type stream struct{ bytes.Buffer }

func (s *stream) create(frame uint32, size uint64) *stream {
	b := make([]byte, 64)
	copy(b, "ECREATE")
	binary.LittleEndian.PutUint32(b[8:], frame)
	binary.LittleEndian.PutUint64(b[12:], size)
	s.Write(b)
	return s
}

func (s *stream) record(tag string, offset, flags uint64) *stream {
	b := make([]byte, 64)
	copy(b, tag)
	binary.LittleEndian.PutUint64(b[8:], offset)
	binary.LittleEndian.PutUint64(b[16:], flags)
	s.Write(b)
	return s
}

func (s *stream) data(fill byte) *stream {
	s.Write(bytes.Repeat([]byte{fill}, 256))
	return s
}

func sgxsSample() *stream {
	s := new(stream).create(1, 1<<16)
	s.record("EADD", 0x1000, 0x203).record("EEXTEND", 0x1000, 0).data(1).record("EEXTEND", 0x1f00, 0).data(2)
	return s.record("EADD", 0x3000, 0x100).record("EEXTEND", 0x3000, 0).data(3)
}

func TestMeasureSGXS(t *testing.T) {
	t.Parallel()
	plain := sgxsSample()
	s, err := MeasureSGXS(bytes.NewReader(plain.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if s.MRENCLAVE != sha256.Sum256(plain.Bytes()) || s.Size != 1<<16 || s.Pages != 2 || s.Threads != 1 || s.SSAFrame != 1 || s.Unmeasured != 0 {
		t.Errorf("%+v", s)
	}
	more := sgxsSample().record("UNMEASRD", 0x3100, 0).data(9)
	u, err := MeasureSGXS(bytes.NewReader(more.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if u.MRENCLAVE != s.MRENCLAVE || u.Unmeasured != 256 {
		t.Errorf("%+v: what is not measured changed the measurement", u)
	}
}

// TestSGXSEveryByte: no byte of what is measured can change without being refused or measured.
func TestSGXSEveryByte(t *testing.T) {
	t.Parallel()
	b := sgxsSample().Bytes()
	want := sha256.Sum256(b)
	whole := map[int]bool{128: true, 448: true, 768: true, 832: true} // between two records
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		if s, err := MeasureSGXS(bytes.NewReader(bad)); err == nil && s.MRENCLAVE == want {
			t.Errorf("byte %d changed, the measurement did not", i)
		}
		if _, err := MeasureSGXS(bytes.NewReader(b[:i])); (err == nil) != whole[i] {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestSGXSRefusals(t *testing.T) {
	t.Parallel()
	begin := func() *stream { return new(stream).create(1, 1<<16) }
	for name, s := range map[string]*stream{
		"empty":             {},
		"no ECREATE":        new(stream).record("EADD", 0, 0x203),
		"unsized":           new(stream).record("UNSIZED", 0, 0),
		"second ECREATE":    begin().create(1, 1<<16),
		"no power of two":   new(stream).create(1, 3<<16),
		"no SSA":            new(stream).create(0, 1<<16),
		"no page":           begin(),
		"EADD outside":      begin().record("EADD", 1<<16, 0x203),
		"EADD not a page":   begin().record("EADD", 0x1100, 0x203),
		"EEXTEND before":    begin().record("EEXTEND", 0x1000, 0).data(0),
		"EEXTEND elsewhere": begin().record("EADD", 0x1000, 0x203).record("EEXTEND", 0x2000, 0).data(0),
		"EEXTEND twice":     begin().record("EADD", 0x1000, 0x203).record("EEXTEND", 0x1000, 0).data(0).record("EEXTEND", 0x1000, 0).data(0),
		"EEXTEND unaligned": begin().record("EADD", 0x1000, 0x203).record("EEXTEND", 0x1080, 0).data(0),
		"not zero":          begin().record("EADD", 0x1000, 0x203).record("EEXTEND", 0x1000, 7).data(0),
		"unknown":           begin().record("EREMOVE", 0x1000, 0),
	} {
		if _, err := MeasureSGXS(bytes.NewReader(s.Bytes())); !errors.Is(err, ErrSGXS) {
			t.Errorf("%s: %v, wanted a refusal", name, err)
		}
	}
}

func FuzzMeasureSGXS(f *testing.F) {
	f.Add(sgxsSample().Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := MeasureSGXS(bytes.NewReader(b))
		if err == nil && s.Unmeasured == 0 && s.MRENCLAVE != sha256.Sum256(b) {
			t.Error("not the hash of the stream")
		}
	})
}
