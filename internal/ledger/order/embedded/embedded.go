// Package embedded is the order of records in one file of one process, and a
// socket (server.go, client.go) through which other processes use it.
//
// A record is acknowledged when it lies on the disk: submissions that come
// together share one write and one fsync. A crash can only tear what was not
// acknowledged; opening cuts that off. Damage before the end is refused, never
// skipped. A disk that is full refuses records and harms nothing; after a failed
// fsync nothing more is taken, since the kernel may have dropped what it held.
//
// It trusts its disk and its operator: who holds the file can show different
// readers different logs, so the assurance is "operator". It does not look
// into records, and it does not refuse repetitions. Each position costs 24 bytes of memory.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// DefaultMaxRecord is the longest record in bytes where the options name none.
const DefaultMaxRecord = 1 << 20

// LogFile is the name of the log in its folder.
const LogFile = "order.log"

// readBytes bounds the bytes of records that one Read returns beyond its first.
const readBytes = 4 << 20

// Options are what a log takes from outside.
type Options struct {
	Now       func() time.Time // the clock; required
	Rand      io.Reader        // for the id of a new log; required
	MaxRecord int              // bytes; 0 is DefaultMaxRecord, at most 4 MiB
}

// file is what a log needs of its file.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Log is an open log; it implements order.Log.
type Log struct {
	now       func() time.Time
	maxRecord int
	id        fileID
	file      file
	release   func() error // of the lock
	queue     chan *waiting
	stop      chan struct{} // closed by Close
	done      chan struct{} // closed when the writer has ended

	closing sync.Once
	closed  error

	mu     sync.Mutex
	frames []frame
	end    int64         // where the next batch goes
	grown  chan struct{} // closed, and made anew, at each growth
	broken error         // why nothing more is taken
}

type waiting struct {
	record []byte
	done   chan error
}

// Open opens the log in a folder, and makes both if they are not there. The log stays locked until Close.
func Open(folder string, o Options) (*Log, error) {
	if o.MaxRecord == 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MaxRecord < 1 || o.MaxRecord > 4<<20 {
		return nil, fmt.Errorf("embedded: records of %d bytes at most; 1 to %d wanted", o.MaxRecord, 4<<20)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("embedded: make the folder of the log: %w", err)
	}
	guard, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded: open the lock: %w", err)
	}
	if err := lock(guard); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: the log in %s is open in another process; stop that one, or use its socket (%w)", folder, err), guard.Close())
	}
	path := filepath.Join(folder, LogFile)
	f, err := openFile(folder, path, o.Rand)
	if err != nil {
		return nil, errors.Join(err, guard.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: %w", err), f.Close(), guard.Close())
	}
	l, err := start(f, info.Size(), o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close(), guard.Close())
	}
	l.release = guard.Close
	return l, nil
}

// openFile makes a new log under another name first, so that a log is there with its header or not at all.
func openFile(folder, path string, rand io.Reader) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		if err != nil {
			err = fmt.Errorf("embedded: open the log: %w", err)
		}
		return f, err
	}
	header := append(magic(), make([]byte, idSize)...)
	if _, err := io.ReadFull(rand, header[len(magic()):]); err != nil {
		return nil, fmt.Errorf("embedded: draw the id of a new log: %w", err)
	}
	fresh := path + ".new"
	f, err = os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded: make the log: %w", err)
	}
	_, err = f.Write(header)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err == nil {
		err = syncFolder(folder)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded: make the log: %w", err), f.Close())
	}
	return f, nil
}

// start reads the file, cuts a torn tail off, and begins to take records.
func start(f file, size int64, o Options) (*Log, error) {
	id, list, end, err := scan(f, size, o.MaxRecord)
	if err != nil {
		return nil, err
	}
	if end < size {
		if err := f.Truncate(end); err != nil {
			return nil, fmt.Errorf("embedded: cut the torn tail off at byte %d: %w", end, err)
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("embedded: cut the torn tail off at byte %d: %w", end, err)
		}
	}
	l := &Log{
		now: o.Now, maxRecord: o.MaxRecord, id: id, file: f, release: func() error { return nil },
		queue: make(chan *waiting, 256), stop: make(chan struct{}), done: make(chan struct{}),
		frames: list, end: end, grown: make(chan struct{}),
	}
	go l.write()
	return l, nil
}

// Submit returns nil when the record lies on the disk and is final. After an error of the
// context the record may have been taken.
func (l *Log) Submit(ctx context.Context, s order.Submission) error {
	if len(s.Record) == 0 {
		return errors.New("embedded: the record is empty")
	}
	if len(s.Record) > l.maxRecord {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", order.ErrTooLarge, len(s.Record), l.maxRecord)
	}
	w := &waiting{record: s.Record, done: make(chan error, 1)}
	if l.isClosed() {
		return order.ErrClosed
	}
	select {
	case l.queue <- w:
	case <-l.stop:
		return order.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("embedded: the log is busy: %w", context.Cause(ctx))
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("embedded: record may or may not be in the log: %w", context.Cause(ctx))
	case <-l.done:
		select {
		case err := <-w.done:
			return err
		default:
			return order.ErrClosed
		}
	}
}

// Read returns the entries after a position: at most limit, and at most 4 MiB of records beyond the first.
func (l *Log) Read(ctx context.Context, after uint64, limit int) ([]order.Entry, error) {
	if l.isClosed() {
		return nil, order.ErrClosed
	}
	l.mu.Lock()
	var list []frame
	if n := uint64(len(l.frames)); after < n && limit > 0 {
		list = l.frames[after:min(n, after+uint64(limit))]
	}
	l.mu.Unlock()
	var entries []order.Entry
	size := 0
	for i, f := range list {
		if size += int(f.length); i > 0 && size > readBytes {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := l.entry(after+uint64(i)+1, f)
		if err != nil {
			if l.isClosed() {
				return nil, order.ErrClosed
			}
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Wait returns nil when there is an entry after a position.
func (l *Log) Wait(ctx context.Context, after uint64) error {
	for {
		if l.isClosed() {
			return order.ErrClosed
		}
		l.mu.Lock()
		there, grown := uint64(len(l.frames)) > after, l.grown
		l.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-grown:
		case <-l.stop:
			return order.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Head returns the last position and its time.
func (l *Log) Head(context.Context) (position, time uint64, err error) {
	if l.isClosed() {
		return 0, 0, order.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.frames) == 0 {
		return 0, 0, nil
	}
	return uint64(len(l.frames)), l.frames[len(l.frames)-1].time, nil
}

// ID tells this log from every other; 16 random bytes from when it was made.
func (l *Log) ID() [16]byte { return l.id }

// Proof returns nil: an operator's word has no proof.
func (l *Log) Proof(context.Context) ([]byte, error) { return nil, nil }

// Assurance is "operator".
func (l *Log) Assurance() order.Assurance { return order.AssuranceOperator }

// MaxRecord is the longest record in bytes.
func (l *Log) MaxRecord() int { return l.maxRecord }

// Close ends the log. Records that wait and were not acknowledged get ErrClosed.
func (l *Log) Close() error {
	l.closing.Do(func() {
		close(l.stop)
		<-l.done
		l.closed = errors.Join(l.file.Close(), l.release())
	})
	return l.closed
}

func (l *Log) isClosed() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}
