package ethereum

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/order"
)

const (
	// cacheBytes is how many bytes of records are kept; older ones are asked for again, and held against their hash.
	cacheBytes = 64 << 20
	// readBytes bounds the bytes of records that one Read returns beyond its first.
	readBytes = 4 << 20
)

// shed lets go of the oldest records; mu is held.
func (l *Log) shed() {
	n := 0
	for l.held > cacheBytes {
		l.held -= len(l.records[n])
		l.records[n] = nil
		n++
	}
	l.records = l.records[n:]
}

// Read returns final entries after a position: at most limit, and at most 4 MiB of records beyond the first.
func (l *Log) Read(ctx context.Context, after uint64, limit int) ([]order.Entry, error) {
	l.mu.Lock()
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	head := uint64(len(l.index))
	if after >= head || limit <= 0 {
		l.mu.Unlock()
		return nil, nil
	}
	places := l.index[after:min(head, after+uint64(limit))]
	var entries []order.Entry
	size := 0
	if oldest := head - uint64(len(l.records)); after >= oldest {
		for i, p := range places {
			record := l.records[after-oldest+uint64(i)]
			if size += len(record); i > 0 && size > readBytes {
				break
			}
			entries = append(entries, order.Entry{Position: after + uint64(i) + 1, Time: p.time, Record: record})
		}
		l.mu.Unlock()
		return entries, nil
	}
	l.mu.Unlock()
	return l.again(ctx, after, places[:min(page, len(places))])
}

// again asks for records that are known by their hashes.
func (l *Log) again(ctx context.Context, after uint64, places []place) ([]order.Entry, error) {
	var errs []error
	for count := len(places); count > 0; count /= 2 {
		for _, e := range l.endpoints {
			list, err := l.refetch(ctx, e, after, places[:count])
			if err == nil {
				return list, nil
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			l.report(e, err)
			errs = append(errs, err)
		}
	}
	return nil, fmt.Errorf("ethereum: positions from %d: %w", after+1, errors.Join(errs...))
}

func (l *Log) refetch(ctx context.Context, e *endpoint, after uint64, places []place) ([]order.Entry, error) {
	numbers := make([]uint64, len(places))
	for i := range numbers {
		numbers[i] = after + uint64(i) + 1
	}
	events, err := e.events(ctx, l.config.Contract, places[0].block, places[len(places)-1].block, numbers)
	if err != nil {
		return nil, err
	}
	entries := make([]order.Entry, len(places))
	for _, ev := range events {
		if ev.position <= after || ev.position-after > uint64(len(places)) {
			return nil, errEvent
		}
		i := ev.position - after - 1
		if sha256.Sum256(ev.record) != places[i].record {
			return nil, fmt.Errorf("ethereum: endpoint %s: the record at position %d is another one", e.url, ev.position)
		}
		entries[i] = order.Entry{Position: ev.position, Time: places[i].time, Record: ev.record}
	}
	for i, en := range entries {
		if en.Record == nil {
			return nil, fmt.Errorf("ethereum: endpoint %s: the record at position %d is missing", e.url, numbers[i])
		}
	}
	return entries, nil
}
