package convert

import (
	"crypto/sha256"
	"hash"
	"io"
	"sync"
	"sync/atomic"
)

const (
	blockSize  = 128 << 10
	blockCount = 6 // blocks between two stages
)

// block is a buffer that goes round between a pump and its consumers.
type block struct {
	data []byte
	err  error
	refs atomic.Int32
	home chan *block
}

func (b *block) release() {
	if b.refs.Add(-1) == 0 {
		b.home <- b
	}
}

// pump reads a source in a goroutine of its own, so that what comes before and
// after it run at the same time. It is the reader of what it read; with a hash,
// a second goroutine hashes the same bytes.
type pump struct {
	out  chan *block
	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	cur  *block
	rest []byte
	err  error
}

// newPump starts reading src. The pump must be closed.
func newPump(src io.Reader, h hash.Hash) *pump {
	p := &pump{out: make(chan *block, blockCount), stop: make(chan struct{})}
	home := make(chan *block, blockCount)
	for range blockCount {
		home <- &block{data: make([]byte, blockSize), home: home}
	}
	outs := []chan *block{p.out}
	if h != nil {
		side := make(chan *block, blockCount)
		outs = append(outs, side)
		p.wg.Go(func() {
			for b := range side {
				h.Write(b.data)
				b.release()
			}
		})
	}
	p.wg.Go(func() {
		defer func() {
			for _, o := range outs {
				close(o)
			}
		}()
		for {
			var b *block
			select {
			case b = <-home:
			case <-p.stop:
				return
			}
			n, err := readSome(src, b.data[:blockSize])
			b.data, b.err = b.data[:n], err
			b.refs.Store(int32(len(outs)))
			for _, o := range outs {
				o <- b // never blocks: there are no more blocks than places
			}
			if err != nil {
				return
			}
		}
	})
	return p
}

// readSome fills buf as far as the source gives without an error.
func readSome(src io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = src.Read(buf[n:])
		n += m
	}
	return n, err
}

func (p *pump) Read(b []byte) (int, error) {
	if err := p.next(); err != nil {
		return 0, err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// ReadByte lets decompressors read without a buffer of their own.
func (p *pump) ReadByte() (byte, error) {
	if len(p.rest) == 0 {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	return c, nil
}

// next makes rest hold a byte, or gives the source's error.
func (p *pump) next() error {
	for len(p.rest) == 0 {
		if p.err != nil {
			return p.err
		}
		if p.cur != nil {
			p.cur.release()
			p.cur = nil
		}
		b, ok := <-p.out
		if !ok {
			p.err = io.ErrClosedPipe
			return p.err
		}
		p.cur, p.rest, p.err = b, b.data, b.err
	}
	return nil
}

// Close ends the goroutines. A source that blocks must be closed before.
func (p *pump) Close() error {
	p.once.Do(func() { close(p.stop) })
	p.wg.Wait()
	return nil
}

// wait returns when everything that was read has been hashed.
func (p *pump) wait() { p.wg.Wait() }

// segment is a piece of one file inside a batch.
type segment struct {
	ino  *inode
	end  int
	last bool // the file's hash is complete after it
}

type batch struct {
	buf  []byte
	segs []segment
}

// fileHasher computes SHA-256 of one file after the other in a goroutine of its own.
type fileHasher struct {
	todo chan *batch
	free chan *batch
	cur  *batch
	wg   sync.WaitGroup
}

func newFileHasher() *fileHasher {
	f := &fileHasher{todo: make(chan *batch, blockCount), free: make(chan *batch, blockCount)}
	for range blockCount {
		f.free <- &batch{buf: make([]byte, 0, blockSize)}
	}
	f.cur = <-f.free
	f.wg.Go(func() {
		h := sha256.New()
		for b := range f.todo {
			start := 0
			for _, s := range b.segs {
				h.Write(b.buf[start:s.end])
				start = s.end
				if s.last {
					h.Sum(s.ino.hash[:0])
					h.Reset()
				}
			}
			b.buf, b.segs = b.buf[:0], b.segs[:0]
			f.free <- b
		}
	})
	return f
}

// file reads all of r as the content of ino; tee, if not nil, gets a copy.
func (f *fileHasher) file(ino *inode, r io.Reader, tee io.Writer) error {
	for {
		if len(f.cur.buf) == cap(f.cur.buf) {
			f.flush()
		}
		b := f.cur
		start := len(b.buf)
		n, err := r.Read(b.buf[start:cap(b.buf)])
		b.buf = b.buf[:start+n]
		if tee != nil && n > 0 {
			if _, err := tee.Write(b.buf[start:]); err != nil {
				return err
			}
		}
		if n > 0 || err != nil {
			b.segs = append(b.segs, segment{ino, len(b.buf), err == io.EOF})
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

func (f *fileHasher) flush() {
	f.todo <- f.cur
	f.cur = <-f.free
}

// close hashes what is left and ends the goroutine.
func (f *fileHasher) close() {
	f.todo <- f.cur
	close(f.todo)
	f.wg.Wait()
}
