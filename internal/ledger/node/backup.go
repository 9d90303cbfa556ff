package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// pathHeld is where a vault says what it holds.
const pathHeld = pathBackup + "/held"

const (
	// keptBackups is how many backups a vault keeps.
	keptBackups = 2
	maxHeld     = 4096
)

// takeBackup stores what an executor pushes: an exported file under the epoch in force.
func (n *Node) takeBackup(w http.ResponseWriter, r *http.Request, from standing) error {
	if n.vault == nil {
		return api.Fail(http.StatusForbidden, api.CodeForbidden, "slot %d is no vault", n.o.Slot)
	}
	if !from.present || from.kind != wire.KindExecutor {
		return api.Fail(http.StatusForbidden, api.CodeForbidden, "backups are taken from executors of the epoch in force")
	}
	long(w)
	in := bufio.NewReaderSize(r.Body, 64<<10)
	head, err := in.Peek(disk.HeadSize)
	if err != nil {
		return api.Fail(http.StatusBadRequest, api.CodeBadRequest, "the backup ended early")
	}
	h, err := disk.ReadHead(head, n.r.Status().Ledger)
	if err != nil {
		return api.Fail(http.StatusBadRequest, api.CodeBadRequest, "%v", err)
	}
	if _, ok := n.r.EpochKeys()[h.Epoch]; !ok {
		return fmt.Errorf("the backup is sealed for epoch %d, whose key this vault does not have", h.Epoch)
	}
	if held := n.held(); held.Position >= h.Position {
		_, _ = io.Copy(io.Discard, io.LimitReader(in, 1<<20)) // a newer one is here
		return answer(w, held)
	}
	if _, err := n.dir.StoreSnapshot(in, n.o.StateLimit); err != nil {
		return err
	}
	n.vault.rewrap() // an epoch may have begun meanwhile
	if list, err := n.dir.Snapshots(); err == nil && len(list) > keptBackups {
		if err := n.dir.DropSnapshots(list[len(list)-keptBackups].Position); err != nil {
			n.o.Logger.Warn("an old backup stays", "reason", err)
		}
	}
	n.o.Logger.Info("took a backup", "slot", from.slot, "position", h.Position)
	return answer(w, n.held())
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who has gone learns nothing
	return nil
}

func (n *Node) giveHeld(w http.ResponseWriter, _ *http.Request, _ standing) error {
	if n.vault == nil {
		return api.Fail(http.StatusNotFound, api.CodeNotFound, "slot %d is no vault", n.o.Slot)
	}
	return answer(w, n.held())
}

// held says what the vault holds, and whether that leads to the newest position: a backup
// under a key that is here, and the keys of all epochs since.
func (n *Node) held() api.Backup {
	out := api.Backup{Slot: n.o.Slot}
	list, err := n.dir.Snapshots()
	if err != nil {
		out.Error = "its files cannot be read"
		return out
	}
	if len(list) == 0 {
		out.Error = "it holds no backup yet"
		return out
	}
	newestBackup := list[len(list)-1]
	out.Position = newestBackup.Position
	keptKeys := n.r.EpochKeys()
	n.r.View(func(c *control.State) {
		out.To = c.Epoch().Number
		out.From = out.To
		for out.From > 1 && has(keptKeys, out.From-1) {
			out.From--
		}
		out.Complete = has(keptKeys, out.To) && has(keptKeys, newestBackup.Epoch) && out.From <= firstNeeded(c, out.Position)
	})
	return out
}

func has(held map[uint64]keys.Epoch, n uint64) bool {
	k, ok := held[n]
	return ok && k.HasLog()
}

// firstNeeded is the oldest epoch whose keys records after a position may need.
func firstNeeded(c *control.State, position uint64) uint64 {
	e := c.EpochAt(position)
	if e.Number > 1 && !e.Removal && position < e.Position+c.Genesis().Window {
		return e.Number - 1
	}
	return max(e.Number, 1)
}

// giveBackup gives an executor of the epoch in force the newest backup, with the keys of
// the epochs since. Each time stands in the log.
func (n *Node) giveBackup(w http.ResponseWriter, _ *http.Request, from standing) error {
	if n.vault == nil {
		return api.Fail(http.StatusNotFound, api.CodeNotFound, "slot %d is no vault", n.o.Slot)
	}
	if !from.present || from.kind != wire.KindExecutor {
		return api.Fail(http.StatusForbidden, api.CodeForbidden, "backups are given to executors of the epoch in force")
	}
	s, err := n.openBackup()
	if err != nil {
		return err
	}
	epoch, snap, err := n.exportKey()
	if err != nil {
		return err
	}
	n.o.Logger.Warn("releasing a backup", "slot", from.slot, "incarnation", fmt.Sprintf("%x", from.id[:8]), "position", s.Position, "epoch", epoch)
	long(w)
	out := bufio.NewWriterSize(w, 64<<10)
	err = n.exporter().Export(out, epoch, snap, *s)
	if err = errors.Join(err, out.Flush()); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: cut it, so that it does not look whole
	}
	return nil
}

// openBackup opens the newest backup that opens, and adds the keys that its tail needs.
func (n *Node) openBackup() (*disk.Saved, error) {
	list, err := n.dir.Snapshots()
	if err != nil {
		return nil, err
	}
	errs := []error{errors.New("the vault holds no backup that opens")}
	for i := len(list) - 1; i >= 0; i-- {
		s, err := n.readBackup(list[i].Position)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		held := n.r.EpochKeys()
		n.r.View(func(c *control.State) {
			s.Epochs = nil
			for e := firstNeeded(c, s.Position); e <= c.Epoch().Number; e++ {
				if k, ok := held[e]; ok {
					s.Epochs = append(s.Epochs, k)
				}
			}
		})
		return s, nil
	}
	return nil, errors.Join(errs...)
}

func (n *Node) readBackup(position uint64) (*disk.Saved, error) {
	r, err := n.dir.OpenSnapshot(position)
	if err != nil {
		return nil, err
	}
	s, err := n.imported(bufio.NewReaderSize(r, 64<<10))
	return s, errors.Join(err, r.Close())
}

// fetchBackup asks a vault for its backup and restores from it.
func (c *peer) fetchBackup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	body, err := c.open(ctx, http.MethodGet, pathBackup, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // nothing was written
	s, err := c.n.imported(bufio.NewReaderSize(body, 64<<10))
	if err != nil {
		return fmt.Errorf("slot %d: %w", c.slot, err)
	}
	if at := c.n.r.Status().Position; s.Position > at {
		return fmt.Errorf("slot %d: its backup is of position %d, and this node has followed to %d; asking again later", c.slot, s.Position, at)
	}
	err = c.n.r.Restore(savedOf(s))
	if errors.Is(err, replica.ErrTooOld) {
		if err = c.n.r.Refill(ctx, s.Position, c.n.o.Log.Read); err == nil {
			err = c.n.r.Restore(savedOf(s))
		}
	}
	if err != nil {
		return fmt.Errorf("slot %d: %w", c.slot, err)
	}
	c.n.files.begin(s)
	c.n.o.Logger.Info("recovered from a vault", "slot", c.slot, "position", s.Position)
	return nil
}

// pushBackup gives a vault the committed state.
func (c *peer) pushBackup(ctx context.Context, s replica.Snapshot) (api.Backup, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	epoch, snap, err := c.n.exportKey()
	if err != nil {
		return api.Backup{}, err
	}
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 64<<10)
		err := c.n.exporter().Export(out, epoch, snap, disk.Saved{Position: s.Checkpoint.Position, Chain: s.Checkpoint.Chain, Outcomes: s.Checkpoint.Outcomes, Tree: s.Tree})
		_ = w.CloseWithError(errors.Join(err, out.Flush())) // never fails
	}()
	defer func() { _ = r.Close() }() // ends the goroutine
	b, err := c.call(ctx, http.MethodPost, pathBackup, r, maxHeld)
	return c.parseHeld(b, err)
}

// heldBy asks a vault what it holds.
func (c *peer) heldBy(ctx context.Context) (api.Backup, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	b, err := c.call(ctx, http.MethodGet, pathHeld, nil, maxHeld)
	return c.parseHeld(b, err)
}

func (c *peer) parseHeld(b []byte, err error) (out api.Backup, _ error) {
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("slot %d: %w", c.slot, err)
	}
	out.Slot = c.slot
	return out, nil
}

// Backup implements api.Operator: it pushes to every vault, and says what each holds.
func (n *Node) Backup(ctx context.Context) ([]api.Backup, error) {
	if n.kind != wire.KindExecutor {
		return []api.Backup{n.held()}, nil
	}
	s, err := n.committed()
	if err != nil {
		return nil, err
	}
	var out []api.Backup
	for _, v := range n.peers.of(wire.KindVault) {
		b, err := v.pushBackup(ctx, s)
		if err != nil {
			n.o.Logger.Warn("a backup did not reach a vault", "slot", v.slot, "reason", err)
			b = api.Backup{Slot: v.slot, Error: "the vault did not take it; the node's log says why"}
		}
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, api.Fail(http.StatusConflict, api.CodeConflict, "the ledger has no vault that is a member and whose address this node knows")
	}
	return out, nil
}

// committed is the newest state that a quorum has signed. A snapshot for other executors may be
// ahead of it.
func (n *Node) committed() (replica.Snapshot, error) {
	s, err := n.r.Snapshot()
	if err == nil && s.Checkpoint.Position > n.r.Status().Committed {
		err = replica.ErrNotRunning
	}
	return s, err
}

// backupSoon asks for an automatic backup.
func (p *peers) backupSoon() {
	select {
	case p.backup <- struct{}{}:
	default:
	}
}

// backups pushes the state to the vaults when the sealed files have changed their key or
// were compacted. Executors wait by their rank, so that usually one of them pushes.
func (p *peers) backups(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.backup:
		}
		wait := time.NewTimer(time.Duration(p.n.rank()) * rankWait)
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
		retry := p.n.backoff(30 * time.Second)
		for ctx.Err() == nil && !p.backUp(ctx) {
			retry.wait(ctx)
		}
	}
}

// rankWait is how much longer each further executor waits before it makes a backup.
const rankWait = 2 * time.Second

// backUp brings every vault up to the epoch in force, and says whether that is done.
func (p *peers) backUp(ctx context.Context) bool {
	s, err := p.n.committed()
	if err != nil {
		return p.n.r.Err() != nil
	}
	var from uint64
	p.n.r.View(func(c *control.State) { from = c.Epoch().Position })
	done := true
	for _, v := range p.of(wire.KindVault) {
		held, err := v.heldBy(ctx)
		if err == nil && (held.Position < from || !held.Complete) {
			held, err = v.pushBackup(ctx, s)
		}
		if err != nil {
			p.n.o.Logger.Warn("a backup did not reach a vault; trying again", "slot", v.slot, "reason", err)
			done = false
		}
	}
	return done
}

// rank is this node's place among the executors of the epoch in force.
func (n *Node) rank() (rank int) {
	n.r.View(func(c *control.State) {
		for _, m := range c.Epoch().Members {
			if m.Kind == wire.KindExecutor && m.Slot < n.o.Slot {
				rank++
			}
		}
	})
	return rank
}

// Recover implements api.Operator: where this node has no state, it takes a vault's backup
// now instead of waiting for other executors.
func (n *Node) Recover(ctx context.Context) (api.Recovery, error) {
	st := n.r.Status()
	if n.kind != wire.KindExecutor {
		return api.Recovery{}, api.Fail(http.StatusConflict, api.CodeConflict, "a vault executes nothing, and has nothing to recover")
	}
	if st.Running {
		return api.Recovery{Position: st.Executed}, nil
	}
	if wanted, _, _ := n.r.Wants(); !wanted {
		return api.Recovery{}, api.Fail(http.StatusConflict, api.CodeConflict, "the node is no member yet: a member, or a vault and administrators, must add it first")
	}
	errs := []error{errors.New("no vault has given a backup")}
	for _, v := range n.peers.of(wire.KindVault) {
		err := v.fetchBackup(ctx)
		if err == nil {
			return api.Recovery{Recovered: true, Position: n.r.Status().Executed}, nil
		}
		errs = append(errs, err)
	}
	return api.Recovery{}, api.Fail(http.StatusConflict, api.CodeConflict, "%v", errors.Join(errs...))
}

// Rejoin implements api.Operator.
func (n *Node) Rejoin(ctx context.Context) error {
	if !n.caughtUp.Load() {
		return replica.ErrNotRunning
	}
	return n.r.Join(ctx)
}
