package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// controlEvery is after how many positions the public state is saved again.
const controlEvery = 4096

// files writes an executor's state to its sealed files, apart from following the log.
type files struct {
	n       *Node
	sealing *sealing
	wake    chan struct{}

	mu     sync.Mutex
	latest *disk.Saved // newest executed state

	// Of the loop alone.
	begun     bool
	written   uint64 // position of the newest durable state
	covered   uint64 // position up to which that state is the ledger's
	ring      uint64 // epoch of the newest ring that this process wrote
	epochSeen uint64 // newest epoch whose removals have changed the file's key
	gen       uint64 // generation at the last backup
	saved     uint64 // position of the newest saved control state
	savedIn   uint64 // and its epoch
}

func newFiles(n *Node, s *sealing) *files {
	f := &files{n: n, sealing: s, wake: make(chan struct{}, 1)}
	if n.kind == wire.KindExecutor {
		n.r.OnPersist(f.note)
	}
	return f
}

// note takes a step of the executed state. It is called under the replica's lock.
func (f *files) note(p *replica.Persist) {
	f.set(&disk.Saved{Position: p.Position, Chain: p.Chain, Outcomes: p.Outcomes, Tree: p.After})
}

func (f *files) set(s *disk.Saved) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest == nil || s.Position > f.latest.Position {
		f.latest = s
	}
}

func (f *files) kick() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *files) run(ctx context.Context) {
	retry := f.n.backoff(5 * time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		if f.n.r.Err() != nil {
			return
		}
		if err := f.step(ctx); err != nil {
			if errors.Is(err, disk.ErrClosed) {
				return
			}
			f.n.o.Logger.Error("the state cannot be saved; going on from memory and trying again", "reason", err)
			retry.wait(ctx)
			f.kick()
			continue
		}
		retry.reset()
	}
}

// step makes the newest state durable, and keeps ring and control state up to date.
func (f *files) step(ctx context.Context) error {
	st := f.n.r.Status() // first: all blocks up to Executed are in latest
	f.mu.Lock()
	latest := f.latest
	f.mu.Unlock()
	if f.n.kind == wire.KindExecutor {
		if latest == nil || !st.Running {
			return nil
		}
		if err := f.write(latest); err != nil {
			return err
		}
		f.covered = max(latest.Position, st.Executed)
		if err := f.rings(); err != nil {
			return err
		}
	}
	return f.saveControl(latest)
}

func (f *files) write(latest *disk.Saved) error {
	d := f.n.dir
	if !f.begun {
		if err := d.Begin(*latest); err != nil {
			return err
		}
		f.begun = true
	} else if latest.Position > f.written {
		if err := d.Append(*latest); err != nil {
			return err
		}
	}
	if f.ring != 0 {
		if err := d.Sync(); err != nil {
			return err
		}
	}
	f.written = latest.Position
	if g := d.Usage().Generation; g != f.gen {
		f.gen = g
		f.n.peers.backupSoon()
	}
	return nil
}

// rings writes the ring of the newest epoch whose window the state has passed (protocol,
// section 10), and drops older ones. A COMMIT that removed an incarnation changes the
// file's key too. The first state of a process gets a ring at once, so that it is not lost.
func (f *files) rings() error {
	held := f.n.r.EpochKeys()
	target, removal := uint64(0), false
	f.n.r.View(func(c *control.State) {
		window := c.Genesis().Window
		for e := c.Epoch(); e != nil && e.Number > 0; e = c.EpochNumber(e.Number - 1) {
			if _, ok := held[e.Number]; !ok {
				break
			}
			if f.covered >= e.Position+window || e.Number == 1 || e.Removal && f.covered >= e.Position || f.ring == 0 {
				target = e.Number
				break
			}
		}
		for n := f.epochSeen + 1; n <= target; n++ {
			if e := c.EpochNumber(n); e != nil && e.Removal {
				removal = true
			}
		}
	})
	if target <= f.ring {
		return nil
	}
	if removal && f.ring != 0 {
		if err := f.n.dir.Rekey(); err != nil {
			return err
		}
	}
	if err := f.n.dir.WriteRing(target, held[target].Snap, tail(held, f.first(target))); err != nil {
		return err
	}
	if err := f.n.dir.Sync(); err != nil { // the older ring may go only when the new one leads to a state
		return err
	}
	f.ring, f.epochSeen = target, target
	f.n.o.Logger.Info("sealed files are under a new epoch's key", "epoch", target, "position", f.written)
	f.n.peers.backupSoon()
	return f.n.dir.DropRings(target)
}

// first is the oldest epoch whose keys records after the covered position may need.
func (f *files) first(target uint64) uint64 {
	first := target
	f.n.r.View(func(c *control.State) {
		e := c.EpochNumber(target)
		if e != nil && target > 1 && !e.Removal && f.covered < e.Position+c.Genesis().Window {
			first--
		}
	})
	return first
}

// tail lists the keys of an epoch and the later ones, as far as they are there.
func tail(held map[uint64]keys.Epoch, from uint64) []keys.Epoch {
	var out []keys.Epoch
	for n, k := range held {
		if n >= from {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b keys.Epoch) int { return cmp.Compare(a.Number, b.Number) })
	return out
}

// begin notes a state that was not executed here, but loaded or given by others.
func (f *files) begin(s *disk.Saved) {
	f.set(s)
	f.kick()
}

// saveControl saves the public state under a MAC, now and then. What is saved is not
// ahead of the state in the sealed files: the records between would never be seen again.
func (f *files) saveControl(latest *disk.Saved) error {
	if f.sealing == nil {
		return nil
	}
	var position, epoch uint64
	var chain wire.Hash
	var body []byte
	var err error
	f.n.r.View(func(c *control.State) {
		position, chain, epoch = c.Position(), c.Chain(), c.Epoch().Number
		if position < f.saved+controlEvery && epoch == f.savedIn {
			return
		}
		body, err = c.Marshal()
	})
	if body == nil || err != nil {
		return err
	}
	if f.n.vault != nil && f.n.vault.kept.Load() < epoch { // its key would be gone after a restart: a later step saves
		return nil
	}
	var state uint64
	if latest != nil {
		f.mu.Lock()
		newer := f.latest != latest
		f.mu.Unlock()
		if newer || !f.n.r.Status().Running { // executed meanwhile, and not durable: a later step saves
			return nil
		}
		state = latest.Position
	}
	body = append(binary.BigEndian.AppendUint64(nil, state), body...)
	if len(body) > disk.MaxControl {
		return nil // a start follows the log from its beginning
	}
	if err := f.n.dir.SaveControl(f.sealing.mac, position, chain, body); err != nil {
		return err
	}
	f.saved, f.savedIn = position, epoch
	return nil
}

// loadControl returns the saved public state, nil where there is none that is of use.
func (n *Node) loadControl(s *sealing, o *replica.Options) *control.State {
	if s == nil {
		return nil
	}
	position, chain, body, err := n.dir.LoadControl(s.mac)
	if err != nil || len(body) < 8 {
		if err != nil && !errors.Is(err, disk.ErrNone) {
			n.o.Logger.Warn("the saved public state is of no use; following the log from its start", "reason", err)
		}
		return nil
	}
	state := binary.BigEndian.Uint64(body)
	if n.kind == wire.KindExecutor && (state == 0 || o.FilePosition < state) {
		n.o.Logger.Warn("the saved public state is ahead of the sealed files; following the log from its start", "position", position)
		return nil
	}
	c, err := control.Load(o.Genesis, o.Appraise, body[8:])
	if err != nil || c.Position() != position || c.Chain() != chain {
		n.o.Logger.Warn("the saved public state is of no use; following the log from its start", "reason", err)
		return nil
	}
	return c
}
