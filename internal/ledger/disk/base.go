package disk

import (
	"io"
	"sync/atomic"
)

// baseJob writes a base file in the background.
type baseJob struct {
	stop atomic.Bool
	done chan struct{}
	size int64
	err  error
}

// startBase writes s as the base of generation g.
func (d *Dir) startBase(g generation, s *Saved) {
	j := &baseJob{done: make(chan struct{})}
	d.base = j
	go func() {
		defer close(j.done)
		j.size, j.err = d.writeBase(g, s, &j.stop)
	}()
}

func (d *Dir) writeBase(g generation, s *Saved, stop *atomic.Bool) (size int64, err error) {
	name := numbered(prefixBase, g.number)
	err = d.replace(name, func(w io.Writer) error {
		h := header{kindBase, d.o.Ledger, g.number, s.Position}.encode()
		if _, err := w.Write(h); err != nil {
			return err
		}
		out := newStreamWriter(w, newAEAD(g.key, d.o.Recorder), domainBase, h)
		err := writeState(out, s, nil, func() error {
			if stop.Load() {
				return ErrClosed
			}
			return nil
		})
		if err == nil {
			err = out.Close()
		}
		size = headerSize + out.written
		return err
	})
	return size, err
}

// stopBase ends the job that runs, if any.
func (d *Dir) stopBase() {
	if d.base != nil {
		d.base.stop.Store(true)
		<-d.base.done
		d.settle()
	}
}

// settle takes in the result of a job that has ended.
func (d *Dir) settle() {
	if d.base == nil {
		return
	}
	select {
	case <-d.base.done:
	default:
		return
	}
	j := d.base
	d.base, d.baseDone, d.fault = nil, j.err == nil, j.err
	if j.err != nil {
		d.retry = d.log.end + max(d.o.Compact, d.baseSize/4)
		return
	}
	d.baseSize = j.size
	d.clean()
}

// clean removes the generations before the one that is written, once its base is there and a ring
// names it. What fails is done at the next occasion; it costs room alone.
func (d *Dir) clean() {
	if d.closed || !d.baseDone || !d.ringKnows || d.finishRing() != nil {
		return
	}
	newest := d.gens[len(d.gens)-1]
	if len(d.gens) > 1 {
		if err := d.saveRing(d.ring, []generation{newest}); err != nil {
			return
		}
		clear(d.gens)
		d.gens = []generation{newest}
	}
	for _, prefix := range []string{prefixBase, prefixLog} {
		numbers, err := d.numbers(prefix)
		if err != nil {
			return
		}
		for _, n := range numbers {
			if n < newest.number {
				_ = d.o.FS.Remove(numbered(prefix, n)) // tried again by the next clean
			}
		}
	}
}
