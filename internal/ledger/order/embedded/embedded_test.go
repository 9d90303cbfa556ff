package embedded

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// clock is a clock that jumps back and forth, as hosts' clocks do.
func clock() func() time.Time {
	var calls atomic.Int64
	return func() time.Time {
		n := calls.Add(1)
		return time.Unix(1_800_000_000+n-7*(n%3), 0)
	}
}

func options() Options { return Options{Now: clock(), Rand: rand.Reader, MaxRecord: 70000} }

func mustOpen(t *testing.T, folder string) *Log {
	t.Helper()
	l, err := Open(folder, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestConformance(t *testing.T) {
	t.Parallel()
	ordertest.Run(t, func(t *testing.T) ordertest.Place {
		folder := t.TempDir()
		return ordertest.Place{Open: func(t *testing.T) order.Log { return mustOpen(t, folder) }}
	})
}

// written makes a log of count records, one batch each, and returns its bytes and the ends of the batches.
func written(t *testing.T, count int) (data []byte, ends []int) {
	t.Helper()
	folder := t.TempDir()
	l := mustOpen(t, folder)
	ends = append(ends, headerSize)
	for n := range uint64(count) {
		if err := l.Submit(t.Context(), ordertest.Submission(1, n)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(l.end))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(folder, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	return data, ends
}

func openBytes(t *testing.T, data []byte) (*Log, error) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, LogFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(folder, options())
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

func TestTornTail(t *testing.T) {
	t.Parallel()
	data, ends := written(t, 4)
	for size := headerSize; size <= len(data); size++ {
		whole := 0
		for whole+1 < len(ends) && ends[whole+1] <= size {
			whole++
		}
		for name, tail := range map[string][]byte{"cut": data[:size], "zeros": append(bytes.Clone(data[:size]), make([]byte, len(data)-size)...)} {
			l, err := openBytes(t, tail)
			if err != nil {
				t.Fatalf("%s at byte %d: %v", name, size, err)
			}
			if position, _, _ := l.Head(t.Context()); position != uint64(whole) {
				t.Fatalf("%s at byte %d: %d positions, %d wanted", name, size, position, whole)
			}
			if err := l.Submit(t.Context(), ordertest.Submission(2, 0)); err != nil {
				t.Fatal(err)
			}
			if list, err := l.Read(t.Context(), uint64(whole), 1); err != nil || !bytes.Equal(list[0].Record, ordertest.Submission(2, 0).Record) {
				t.Fatalf("%s at byte %d: what was written behind the cut reads %v, %v", name, size, list, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if size == len(data) {
				break
			}
		}
	}
}

// TestDamage changes every byte before the last batch.
func TestDamage(t *testing.T) {
	t.Parallel()
	data, ends := written(t, 3)
	for i := range ends[2] {
		damaged := bytes.Clone(data)
		damaged[i] ^= 0x20
		_, err := openBytes(t, damaged)
		if i >= len(magic()) && i < headerSize {
			// Another id: then the file holds no batch of this log at all, and the tail is all of it.
			continue
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v, ErrCorrupt wanted", i, err)
		}
	}
	if _, err := openBytes(t, data[:headerSize-1]); err == nil {
		t.Fatal("a file shorter than its header was opened")
	}
}

func TestDamageWhileOpen(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	l := mustOpen(t, folder)
	if err := l.Submit(t.Context(), ordertest.Submission(1, 0)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(folder, LogFile), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'X'}, l.end-8); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := l.Read(t.Context(), 0, 1); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Read of a changed record: %v, ErrCorrupt wanted", err)
	}
}

func TestSecondOpener(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	l := mustOpen(t, folder)
	if _, err := Open(folder, options()); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second opener: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, folder)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	o := options()
	for _, n := range []int{-1, 4<<20 + 1} {
		o.MaxRecord = n
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("MaxRecord %d was taken", n)
		}
	}
}

// memory is a file in memory with a limit of size, failing fsync, and a gate before it.
type memory struct {
	mu       sync.Mutex
	b        []byte
	limit    int
	syncs    int
	failSync error
	gate     chan struct{}
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.NewReader(m.b).ReadAt(p, off)
}

var errNoSpace = errors.New("no space left on device")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	room := len(p)
	var err error
	if int(off)+room > m.limit {
		room, err = max(0, m.limit-int(off)), errNoSpace
	}
	m.b = append(m.b[:off], p[:room]...)
	return room, err
}

func (m *memory) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = m.b[:size]
	return nil
}

func (m *memory) Sync() error {
	if m.gate != nil {
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs++
	return m.failSync
}

func (m *memory) Close() error { return nil }

func inMemory(t *testing.T, m *memory) *Log {
	t.Helper()
	if m.b == nil {
		m.b = append(magic(), bytes.Repeat([]byte{7}, idSize)...)
	}
	l, err := start(m, int64(len(m.b)), options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	m := &memory{limit: 1000}
	l := inMemory(t, m)
	taken := uint64(0)
	for {
		if err := l.Submit(t.Context(), ordertest.Submission(1, taken)); err != nil {
			if !errors.Is(err, errNoSpace) {
				t.Fatal(err)
			}
			break
		}
		taken++
	}
	if int64(len(m.b)) != l.end {
		t.Fatalf("%d bytes of a refused record are left", int64(len(m.b))-l.end)
	}
	if list, err := l.Read(t.Context(), 0, 1000); err != nil || uint64(len(list)) != taken {
		t.Fatalf("%d of %d records are there, %v", len(list), taken, err)
	}
	m.mu.Lock()
	m.limit = 1 << 20
	m.mu.Unlock()
	if err := l.Submit(t.Context(), ordertest.Submission(1, taken)); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	again := inMemory(t, &memory{b: bytes.Clone(m.b)})
	if position, _, _ := again.Head(t.Context()); position != taken+1 {
		t.Fatalf("%d positions after opening again, %d wanted", position, taken+1)
	}
}

func TestFailedSync(t *testing.T) {
	t.Parallel()
	m := &memory{limit: 1 << 20}
	l := inMemory(t, m)
	if err := l.Submit(t.Context(), ordertest.Submission(1, 0)); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	m.failSync = errors.New("input/output error")
	m.mu.Unlock()
	if err := l.Submit(t.Context(), ordertest.Submission(1, 1)); err == nil {
		t.Fatal("a record whose fsync failed was acknowledged")
	}
	m.mu.Lock()
	m.failSync = nil
	m.mu.Unlock()
	if err := l.Submit(t.Context(), ordertest.Submission(1, 2)); err == nil || !strings.Contains(err.Error(), "opened again") {
		t.Fatalf("after a failed fsync: %v", err)
	}
	if position, _, _ := l.Head(t.Context()); position != 1 {
		t.Fatalf("position %d, 1 wanted", position)
	}
}

// TestGroupCommit lets submissions gather before a fsync that is held.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	m := &memory{limit: 1 << 20, gate: make(chan struct{})}
	l := inMemory(t, m)
	const count = 50
	var wg sync.WaitGroup
	submit := func(n uint64) {
		wg.Go(func() {
			if err := l.Submit(t.Context(), ordertest.Submission(byte(n), n)); err != nil {
				t.Error(err)
			}
		})
	}
	submit(0)
	for written := 0; written == 0; {
		m.mu.Lock()
		written = len(m.b) - headerSize
		m.mu.Unlock()
	}
	for n := range uint64(count) {
		submit(n + 1)
	}
	for len(l.queue) < count {
		runtime.Gosched()
	}
	close(m.gate)
	wg.Wait()
	if m.syncs != 2 {
		t.Fatalf("%d fsyncs for %d records that waited together, 2 wanted", m.syncs, count+1)
	}
}

func FuzzScan(f *testing.F) {
	head := append(magic(), bytes.Repeat([]byte{7}, idSize)...)
	b := make([]byte, batchHeaderSize)
	b = appendFrame(b, 1, 5, []byte("one"))
	b = appendFrame(b, 2, 6, []byte("two"))
	putBatchHeader(b, fileID(head[len(magic()):]), 1, 2)
	f.Add(head)
	f.Add(append(bytes.Clone(head), b...))
	f.Add(append(append(bytes.Clone(head), b[:40]...), b...))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, list, end, err := scan(bytes.NewReader(data), int64(len(data)), 1000)
		if err != nil {
			return
		}
		last := uint64(0)
		for _, fr := range list {
			if fr.time < last || fr.offset+int64(fr.length)+frameOverhead > end {
				t.Fatalf("frame %+v before byte %d", fr, end)
			}
			last = fr.time
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, q := range []request{
		{kind: 'h', version: 1}, {kind: 'q'}, {kind: 'w', after: 7}, {kind: 'r', after: 1, limit: 9},
		{kind: 's', submission: order.Submission{Record: []byte("r"), N: 3}},
	} {
		f.Add(q.bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseRequest(b); err == nil && !bytes.Equal(q.bytes(), b) {
			t.Fatalf("%x reads as %x", b, q.bytes())
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add(entriesReply([]order.Entry{{Position: 1, Time: 2, Record: []byte("r")}, {Position: 2, Time: 2, Record: []byte("s")}}), byte('e'))
	f.Add(errorReply(order.ErrTooLarge), byte('k'))
	f.Add(headReply(1, 2), byte('q'))
	f.Add(helloReply(fileID{1}, 9), byte('h'))
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		rest, err := parseReply(b, kind)
		if err != nil {
			return
		}
		if list, err := parseEntries(rest, 0, 10, 100); err == nil {
			if len(list) > 10 || !bytes.Equal(entriesReply(list)[1:], rest) {
				t.Fatal("entries do not encode to what they were")
			}
		}
		if p, at, err := parseHead(rest); err == nil && p != binary.BigEndian.Uint64(rest) {
			t.Fatal(p, at)
		}
		_, _, _ = parseHello(rest)
	})
}
