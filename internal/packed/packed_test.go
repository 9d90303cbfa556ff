package packed

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

type file struct {
	Entry
	content string
}

func sample() []file {
	long := strings.Repeat("long/", 30)
	return []file{
		{Entry{Name: "a", Dir: true, Mode: 0o755}, ""},
		{Entry{Name: "a-b", Mode: 0o644}, "sorted between a and a/b"},
		{Entry{Name: "a/b", Mode: 0o755}, strings.Repeat("x", 512)},
		{Entry{Name: "a/caf\xe9", Mode: 0o600}, "not UTF-8"},
		{Entry{Name: long + "folder", Dir: true, Mode: 0o700}, ""},
		{Entry{Name: long + "folder/x", Mode: 0o444}, "y"},
		{Entry{Name: "z" + strings.Repeat("9", 98), Dir: true, Mode: 0o755}, ""}, // 100 bytes with its '/'
		{Entry{Name: "z" + strings.Repeat("9", 98) + "a", Mode: 0o644}, "exactly 100 bytes"},
	}
}

func pack(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := w.Add(f.Entry, strings.NewReader(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(b.Len()) {
		t.Errorf("size %d of %d", w.Size(), b.Len())
	}
	return b.Bytes()
}

func unpack(b []byte) (files []file, err error) {
	r := NewReader(bytes.NewReader(b))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return files, err
		}
		files = append(files, file{e, string(content)})
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range [][]file{nil, sample()} {
		b := pack(t, want)
		got, err := unpack(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d entries, wanted %d", len(got), len(want))
		}
		other := tar.NewReader(bytes.NewReader(b))
		for i, w := range want {
			w.Size = int64(len(w.content))
			if got[i] != w {
				t.Errorf("%+v, wanted %+v", got[i], w)
			}
			h, err := other.Next()
			if err != nil || h.Name != w.fullName() || h.Size != w.Size || h.Mode != int64(w.Mode) {
				t.Errorf("archive/tar reads %+v, %v", h, err)
			}
		}
	}
}

func TestSkippedContent(t *testing.T) {
	t.Parallel()
	r := NewReader(bytes.NewReader(pack(t, sample())))
	n := 0
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if _, err := r.Next(); n != len(sample()) || err != io.EOF {
		t.Errorf("%d entries, then %v", n, err)
	}
}

// TestFlipEveryByte: a changed byte of a header is refused; one of content is not
// this package's business, and everything that is accepted has these bytes alone.
func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	b := pack(t, sample())
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		files, err := unpack(c)
		if err != nil {
			continue
		}
		if again := pack(t, files); !bytes.Equal(again, c) {
			t.Fatalf("byte %d changed: accepted, and it packs to other bytes", i)
		}
	}
	for i := range len(b) {
		if _, err := unpack(b[:i]); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", i, len(b))
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	block := func(name string, kind byte, content string) []byte {
		h := header(name, kind, 0o644, int64(len(content)))
		out := append(h[:], content...)
		return append(out, make([]byte, padding(int64(len(content))))...)
	}
	end := make([]byte, 1024)
	long := strings.Repeat("n", 101)
	for want, b := range map[string][]byte{
		"not relative and clean":  append(block("../etc/passwd", '0', ""), end...),
		`"/etc/passwd" is not`:    append(block("/etc/passwd", '0', ""), end...),
		`"a/../../b" is not`:      append(block("a/../../b", '0', ""), end...),
		`"a//b" is not`:           append(block("a//b", '0', ""), end...),
		"type '2'":                append(block("link", '2', ""), end...),
		"type '1'":                append(block("link", '1', ""), end...),
		"type 'L'":                append(block("././@LongLink", 'L', long), end...),
		"type '3'":                append(block("device", '3', ""), end...),
		"without a final":         append(block("folder", '5', ""), end...),
		"a folder with content":   append(block("folder/", '5', "x"), end...),
		"sorted bytewise":         append(append(block("b", '0', ""), block("a", '0', "")...), end...),
		"a after a":               append(append(block("a", '0', ""), block("a", '0', "")...), end...),
		"wanted the one record":   append(append(block(extendedName, 'x', pathRecord("short")), block("short", '0', "")...), end...),
		"an extended header of":   append(block("other", 'x', pathRecord(long)), end...),
		"a header of another":     append(append(block(extendedName, 'x', pathRecord(long)), block("n", '0', "")...), end...),
		"extended header of size": append(block(extendedName, 'x', strings.Repeat("n", 5000)), end...),
		"wanted two":              append(append(block("a", '0', ""), end[:512]...), block("b", '0', "")...),
		"bytes after the end":     append(append(block("a", '0', ""), end...), 0),
		"unexpected EOF":          block("a", '0', ""),
		"an element of 256":       append(append(block(extendedName, 'x', pathRecord(strings.Repeat("n", 256))), block(strings.Repeat("n", 100), '0', "")...), end...),
	} {
		if _, err := unpack(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
	r := NewReader(bytes.NewReader(block("/x", '0', "")))
	_, first := r.Next()
	if _, again := r.Next(); again == nil || !errors.Is(again, first) {
		t.Errorf("goes on after %v: %v", first, again)
	}
}

func TestWriterRefuses(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Entry{
		"a name of 0 bytes":  {},
		"a name of 4097":     {Name: strings.Repeat("a/", 2048) + "b"},
		"has a zero byte":    {Name: "a\x00b"},
		"permission bits":    {Name: "a", Mode: 0o1755},
		"-1 bytes":           {Name: "a", Size: -1},
		"8589934592 bytes":   {Name: "a", Size: MaxFile + 1},
		"content of 1 bytes": {Name: "a", Size: 2},
	} {
		w := NewWriter(io.Discard)
		err := w.Add(e, strings.NewReader("x"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
		if again := w.Close(); again == nil {
			t.Errorf("%s: closed as if nothing were", want)
		}
	}
	w := NewWriter(io.Discard)
	if err := w.Add(Entry{Name: "a", Size: 1}, strings.NewReader("xy")); err == nil || !strings.Contains(err.Error(), "more than 1") {
		t.Error(err)
	}
	w = NewWriter(io.Discard)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if w.Close() == nil || w.Add(Entry{Name: "a"}, nil) == nil {
		t.Error("goes on after its end")
	}
	if err := NewWriter(full{}).Add(Entry{Name: "a"}, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzReader(f *testing.F) {
	f.Add(pack(f, sample()))
	f.Add(pack(f, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := unpack(b)
		if err != nil {
			return
		}
		if again := pack(t, files); !bytes.Equal(again, b) {
			t.Fatal("two archives of one tree")
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var files []file
	for i := range 10_000 {
		files = append(files, file{Entry{Name: fmt.Sprintf("usr/lib/node_modules/%06d", i), Mode: 0o644}, strings.Repeat("x", i%4096)})
	}
	data := pack(b, files)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r := NewReader(bytes.NewReader(data))
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
