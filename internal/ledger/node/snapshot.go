package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// A snapshot between nodes is u32 count ‖ count × (32 bytes iid ‖ 64 bytes signature) ‖ the
// 136 bytes of its checkpoint ‖ an exported file (package disk) under the sender's epoch.
const (
	signerSize        = 32 + 64
	bareCheckpoint    = checkpointSize - 64
	maxSigners        = wire.MaxSlots
	snapshotHeadLimit = 4 + maxSigners*signerSize + bareCheckpoint
)

// giveSnapshot gives the newest committed state to an executor of the epoch in force.
func (n *Node) giveSnapshot(w http.ResponseWriter, _ *http.Request, from standing) error {
	if !from.present || from.kind != wire.KindExecutor {
		return api.Fail(http.StatusForbidden, api.CodeForbidden, "snapshots are for executors of the epoch in force")
	}
	s, err := n.r.Snapshot()
	if err != nil {
		return err
	}
	epoch, snap, err := n.exportKey()
	if err != nil {
		return err
	}
	long(w)
	n.o.Logger.Info("giving a snapshot", "slot", from.slot, "position", s.Checkpoint.Position)
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.Write(snapshotHead(s)) // Flush tells
	if err := n.exporter().Export(out, epoch, snap, disk.Saved{Position: s.Checkpoint.Position, Chain: s.Checkpoint.Chain, Outcomes: s.Checkpoint.Outcomes, Tree: s.Tree}); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: cut it, so that it does not look whole
	}
	if err := out.Flush(); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func snapshotHead(s replica.Snapshot) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s.Signatures)))
	for _, x := range s.Signatures {
		b = append(append(b, x.Incarnation[:]...), x.Signature[:]...)
	}
	return append(b, s.Checkpoint.Encode()...)
}

func readSnapshotHead(r io.Reader) (s replica.Snapshot, err error) {
	var count [4]byte
	if _, err := io.ReadFull(r, count[:]); err != nil {
		return s, fmt.Errorf("snapshot: %w", err)
	}
	n := binary.BigEndian.Uint32(count[:])
	if n > maxSigners {
		return s, fmt.Errorf("snapshot: %d signatures, at most %d are allowed", n, maxSigners)
	}
	b := make([]byte, int(n)*signerSize+bareCheckpoint)
	if _, err := io.ReadFull(r, b); err != nil {
		return s, fmt.Errorf("snapshot: %w", err)
	}
	for ; n > 0; n, b = n-1, b[signerSize:] {
		s.Signatures = append(s.Signatures, replica.OwnSignature{Incarnation: wire.Hash(b[:32]), Signature: [64]byte(b[32:signerSize])})
	}
	s.Checkpoint, err = wire.ParseCheckpoint(b)
	return s, err
}

// exporter writes exported files.
func (n *Node) exporter() disk.Exporter {
	return disk.Exporter{Ledger: n.r.Status().Ledger, Random: n.o.Random, Recorder: n.o.Recorder}
}

// exportKey is the snapshot key of the epoch in force.
func (n *Node) exportKey() (uint64, [32]byte, error) {
	epoch := n.r.Status().Epoch
	k, ok := n.r.EpochKeys()[epoch]
	if !ok {
		return 0, [32]byte{}, fmt.Errorf("epoch %d: its keys are not there", epoch)
	}
	return epoch, k.Snap, nil
}

// imported reads an exported file that another member has sealed for an epoch whose key
// this node has.
func (n *Node) imported(r *bufio.Reader) (*disk.Saved, error) {
	head, err := r.Peek(disk.HeadSize)
	if err != nil {
		return nil, fmt.Errorf("state from another node: %w", err)
	}
	ledger := n.r.Status().Ledger
	h, err := disk.ReadHead(head, ledger)
	if err != nil {
		return nil, err
	}
	k, ok := n.r.EpochKeys()[h.Epoch]
	if !ok {
		return nil, fmt.Errorf("state from another node: it is sealed for epoch %d, whose key this node does not have", h.Epoch)
	}
	_, s, err := disk.Import(r, ledger, k.Snap, n.o.StateLimit)
	return s, err
}

// fetchSnapshot asks a peer for its committed state and installs it.
func (c *peer) fetchSnapshot(ctx context.Context, from uint64) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	body, err := c.open(ctx, http.MethodGet, pathSnapshot, nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // nothing was written
	in := bufio.NewReaderSize(body, 64<<10)
	s, err := readSnapshotHead(in)
	if err != nil {
		return fmt.Errorf("slot %d: %w", c.slot, err)
	}
	if s.Checkpoint.Position < from {
		return fmt.Errorf("slot %d: its snapshot is of position %d, wanted %d or later", c.slot, s.Checkpoint.Position, from)
	}
	state, err := c.n.imported(in)
	if err != nil {
		return fmt.Errorf("slot %d: %w", c.slot, err)
	}
	if state.Position != s.Checkpoint.Position {
		return fmt.Errorf("slot %d: a state of position %d under a checkpoint of %d", c.slot, state.Position, s.Checkpoint.Position)
	}
	s.Tree = state.Tree
	if err := c.n.r.Install(s); err != nil {
		return err
	}
	c.n.files.begin(&disk.Saved{Position: s.Checkpoint.Position, Chain: s.Checkpoint.Chain, Outcomes: s.Checkpoint.Outcomes, Tree: s.Tree})
	c.n.o.Logger.Info("took a snapshot", "slot", c.slot, "position", s.Checkpoint.Position)
	return nil
}

// acquire gets the state that this incarnation needs: from its own files when a COMMIT has
// released their key, else from the executors, else from a vault.
func (n *Node) acquire(ctx context.Context) {
	n.acquiring.Lock()
	defer n.acquiring.Unlock()
	retry := n.backoff(5 * time.Second)
	own := true
	for ctx.Err() == nil {
		wanted, from, released := n.r.Wants()
		if !wanted {
			return
		}
		var err error
		if own && released != nil {
			own = false
			err = n.restore(released)
			if err == nil {
				return
			}
			n.o.Logger.Warn("the own sealed files are of no use", "epoch", released.Epoch, "reason", err)
		}
		if err = n.ask(ctx, from); err == nil {
			return
		}
		n.o.Logger.Info("no state yet; asking again", "from", from, "reason", err)
		retry.wait(ctx)
	}
}

// restore opens the own files.
func (n *Node) restore(key *replica.Released) error {
	s, err := n.dir.Load(key.Epoch, key.Snap)
	if err != nil {
		return err
	}
	if err := n.r.Restore(savedOf(s)); err != nil {
		return err
	}
	n.files.begin(s)
	n.o.Logger.Info("opened the own sealed files", "epoch", key.Epoch, "position", s.Position)
	return nil
}

// ask tries executors, then vaults, once each.
func (n *Node) ask(ctx context.Context, from uint64) error {
	errs := []error{errors.New("no other node has given it")}
	for _, p := range n.peers.of(wire.KindExecutor) {
		err := p.fetchSnapshot(ctx, from)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	for _, p := range n.peers.of(wire.KindVault) {
		err := p.fetchBackup(ctx)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func savedOf(s *disk.Saved) replica.Saved {
	return replica.Saved{Position: s.Position, Chain: s.Chain, Outcomes: s.Outcomes, Tree: s.Tree, Epochs: s.Epochs}
}
