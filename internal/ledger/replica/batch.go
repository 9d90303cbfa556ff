package replica

import (
	"slices"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// queued is a signed command on its way into the log.
type queued struct {
	item []byte // encoded wire.Signed
	hash wire.Hash
	size int // bytes that it takes in a batch
}

// Bounds of one batch.
const (
	maxBatch = 1024
	// sealOverhead is what a DATA record has beside its padded batch: header, salt, tag,
	// lengths and signature.
	sealOverhead = 512
)

// enqueue puts a command into the queue, once.
func (r *Replica) enqueue(q queued) {
	if r.queued[q.hash] {
		return
	}
	r.queued[q.hash] = true
	r.queue = append(r.queue, q)
	r.queueBytes += len(q.item)
}

// queueFull says whether no more commands may wait for the log.
func (r *Replica) queueFull() bool {
	return len(r.queue) >= r.o.Limits.Queue || r.queueBytes >= r.o.Limits.QueueBytes
}

// capacity is the longest batch in bytes: the largest bucket that fits into a record.
func (r *Replica) capacity() int {
	room := int(r.ctl.Genesis().EntryMax) - sealOverhead
	size := 1024
	for size*2 <= room {
		size *= 2
	}
	return size - 8 // two lengths
}

// flush seals what waits into DATA records.
func (r *Replica) flush() {
	if !r.running() || r.exec.kind != wire.KindExecutor || r.joining || r.committing.core.Epoch != 0 {
		return // what is sealed behind an own COMMIT would be for the wrong epoch
	}
	for len(r.queue) > 0 && len(r.flights) < r.o.Limits.InFlight {
		n, size, room := 0, 0, r.capacity()
		for n < len(r.queue) && n < maxBatch && size+r.queue[n].size <= room {
			size += r.queue[n].size
			n++
		}
		if n == 0 { // can never fit; Submit refuses such
			delete(r.queued, r.queue[0].hash)
			r.queueBytes -= len(r.queue[0].item)
			r.queue = r.queue[1:]
			continue
		}
		if n == len(r.queue) && r.filling() {
			return // what waits fills a record with what comes meanwhile, at no cost in time: others are before it
		}
		items := r.queue[:n:n]
		r.queue = r.queue[n:]
		batch := make([][]byte, n)
		for i, q := range items {
			batch[i] = q.item
			r.queueBytes -= len(q.item)
		}
		e := r.ctl.Epoch().Number
		h := r.header(wire.TypeData, e)
		t := r.o.Now()
		d, err := keys.SealData(r.epochs[e].Log, h, batch, r.o.Recorder)
		r.stats.Seal += int64(r.o.Now().Sub(t))
		if err != nil {
			_ = r.halt(err)
			return
		}
		f := r.launch(h, d.Encode())
		f.items, f.full = items, len(r.queue) > 0
	}
}

// filling says whether a record that had no room for more is on its way: then commands come
// faster than the log takes them, and a record that is not full costs the log what a full one does.
func (r *Replica) filling() bool {
	return slices.ContainsFunc(r.flights, func(f *flight) bool { return f.full })
}
