package node

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// vault is what only a vault's node does: it keeps its incarnation over restarts, and
// backups under the newest epoch's key.
type vault struct {
	n    *Node
	key  *sealing
	kept atomic.Uint64 // epoch whose keys, and all before, the stored identity has

	rewrapping sync.Mutex
}

// keptIdentity is a vault's identity as it lies in the sealed file.
type keptIdentity struct {
	Suite   wire.Suite   `json:"suite"`
	Seed    []byte       `json:"seed"` // of the Ed25519 key
	HPKE    [][]byte     `json:"hpke"`
	N       uint64       `json:"n"`
	Epochs  []keys.Epoch `json:"epochs"`
	Records [][]byte     `json:"records"`
}

// load reads the identity; nil where there is none yet. One that does not open is an error:
// a new incarnation could not stand in for the keys that the old one has kept.
func (v *vault) load(ledger wire.Hash) (*replica.Identity, error) {
	blob, err := v.n.dir.OpenBlob(func(id [32]byte) ([32]byte, error) {
		if id != v.key.label {
			return [32]byte{}, fmt.Errorf("%w: it is sealed for another slot", disk.ErrForeign)
		}
		return v.key.blob, nil
	})
	if errors.Is(err, disk.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the vault's identity: %w; put the file back as it was, or empty the folder to begin as a new vault without the old keys", err)
	}
	defer clear(blob)
	var k keptIdentity
	if err := json.Unmarshal(blob, &k); err != nil || len(k.Seed) != ed25519.SeedSize {
		return nil, errors.New("the vault's identity: the sealed file holds something else")
	}
	id := &replica.Identity{Key: ed25519.NewKeyFromSeed(k.Seed), N: k.N, Epochs: k.Epochs, Records: k.Records}
	for _, secret := range k.HPKE {
		key, err := keys.ParseHPKE(k.Suite, secret)
		if err != nil {
			return nil, fmt.Errorf("the vault's identity: %w", err)
		}
		id.HPKE = append(id.HPKE, key)
	}
	return id, nil
}

// keep stores the identity when the vault has signed something or has new keys. Nothing is
// handed over before it is stored. It returns false when ctx has ended first.
func (v *vault) keep(ctx context.Context, signed bool) bool {
	epoch := v.n.r.Status().Epoch
	if !signed && epoch == v.kept.Load() {
		return true
	}
	retry := v.n.backoff(5 * time.Second)
	for {
		err := v.store()
		if err == nil {
			break
		}
		if errors.Is(err, replica.ErrHalted) {
			return false
		}
		v.n.o.Logger.Error("the vault's identity cannot be stored; handing nothing over until it is", "reason", err)
		if retry.wait(ctx); ctx.Err() != nil {
			return false
		}
	}
	if epoch != v.kept.Load() {
		v.kept.Store(epoch)
		v.rewrap()
	}
	return true
}

func (v *vault) store() error {
	id, err := v.n.r.Keep()
	if err != nil {
		return err
	}
	k := keptIdentity{Seed: id.Key.Seed(), N: id.N, Epochs: id.Epochs, Records: id.Records}
	for _, h := range id.HPKE {
		k.Suite = h.Suite()
		k.HPKE = append(k.HPKE, h.Bytes())
	}
	blob, err := json.Marshal(k)
	if err != nil {
		return err
	}
	defer clear(blob)
	return v.n.dir.SealBlob(v.key.blob, v.key.label, blob)
}

// rewrap puts the backups under the present epoch's key, so that the older keys can go.
func (v *vault) rewrap() {
	v.rewrapping.Lock()
	defer v.rewrapping.Unlock()
	epoch, snap, err := v.n.exportKey()
	if err != nil {
		return // no member yet
	}
	held := v.n.r.EpochKeys()
	list, err := v.n.dir.Snapshots()
	if err != nil {
		v.n.o.Logger.Error("cannot look at the backups", "reason", err)
		return
	}
	for _, h := range list {
		if h.Epoch == epoch {
			continue
		}
		old, ok := held[h.Epoch]
		if !ok {
			v.n.o.Logger.Warn("a backup is under a key that is not kept any more", "position", h.Position, "epoch", h.Epoch)
			continue
		}
		if err := v.n.dir.RewrapSnapshot(h.Position, old.Snap, epoch, snap); err != nil {
			v.n.o.Logger.Error("a backup cannot be put under the new epoch's key", "position", h.Position, "reason", err)
		}
	}
}
