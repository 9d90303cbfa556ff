package embedded

import (
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/order"
)

// write is the only writer of the file: it takes all that waits, writes it as
// one batch, makes it durable, and only then answers.
func (l *Log) write() {
	defer close(l.done)
	for {
		var batch []*waiting
		select {
		case w := <-l.queue:
			batch = append(batch, w)
		case <-l.stop:
			l.refuse()
			return
		}
		size := frameOverhead + len(batch[0].record)
	gather:
		// Room for one more of the longest record stays, so that no batch is ever too long.
		for size+frameOverhead+l.maxRecord <= maxBatch {
			select {
			case w := <-l.queue:
				batch = append(batch, w)
				size += frameOverhead + len(w.record)
			default:
				break gather
			}
		}
		err := l.append(batch, size)
		for _, w := range batch {
			w.done <- err
		}
	}
}

// refuse answers what waits when the log ends.
func (l *Log) refuse() {
	for {
		select {
		case w := <-l.queue:
			w.done <- order.ErrClosed
		default:
			return
		}
	}
}

func (l *Log) append(batch []*waiting, size int) error {
	l.mu.Lock()
	end, broken := l.end, l.broken
	first, time := uint64(len(l.frames))+1, uint64(max(l.now().Unix(), 0))
	if first > 1 {
		time = max(time, l.frames[first-2].time)
	}
	l.mu.Unlock()
	if broken != nil {
		return broken
	}
	b := make([]byte, batchHeaderSize, batchHeaderSize+size)
	list := make([]frame, len(batch))
	for i, w := range batch {
		list[i] = frame{offset: end + int64(len(b)), length: uint32(len(w.record)), time: time}
		b = appendFrame(b, first+uint64(i), time, w.record)
	}
	putBatchHeader(b, l.id, first, len(batch))
	if _, err := l.file.WriteAt(b, end); err != nil {
		err = fmt.Errorf("embedded: write position %d: %w", first, err)
		// Nothing half written may stay: the next batch goes to the same place.
		if cut := l.file.Truncate(end); cut != nil {
			return l.breakDown(errors.Join(err, cut))
		}
		return err
	}
	if err := l.file.Sync(); err != nil {
		// What the kernel has dropped cannot be told; only reading the file anew can.
		return l.breakDown(fmt.Errorf("embedded: fsync at position %d: %w", first, err))
	}
	l.mu.Lock()
	l.frames = append(l.frames, list...)
	l.end = end + int64(len(b))
	close(l.grown)
	l.grown = make(chan struct{})
	l.mu.Unlock()
	return nil
}

func (l *Log) breakDown(err error) error {
	err = fmt.Errorf("%w; nothing more is taken until the log is opened again", err)
	l.mu.Lock()
	l.broken = err
	l.mu.Unlock()
	return err
}
