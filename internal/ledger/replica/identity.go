package replica

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/wire"
)

// Identity is an incarnation's private keys. Executors never let it out of memory;
// a vault keeps it sealed to its measurement.
type Identity struct {
	Key ed25519.PrivateKey
	// HPKE are the private keys that may still have to open a wrap.
	HPKE []*keys.HPKEKey
	// N is the number of the next record, as far as it was stored.
	N uint64
	// Epochs are the keys that a vault retains.
	Epochs []keys.Epoch
	// Records are those that were signed and may not have been submitted.
	Records [][]byte
}

// privateKey is an own HPKE key: position is where the log carries its public half,
// 0 while that is not final.
type privateKey struct {
	position uint64
	key      *keys.HPKEKey
}

// flight is an own record that is signed and may become final.
type flight struct {
	record []byte
	hash   wire.Hash
	header wire.Header
	items  []queued // of a DATA record
	full   bool     // it had no room for what came next
	check  *block   // of a CHECKPOINT record
	since  int      // tick of the last hand-over
}

func (r *Replica) identify() error {
	if r.o.Identity != nil {
		r.id, r.kept = *r.o.Identity, true
		for _, e := range r.id.Epochs {
			r.epochs[e.Number] = &epochKeys{Epoch: e}
			r.keptTo = max(r.keptTo, e.Number)
		}
	} else {
		_, sk, err := ed25519.GenerateKey(r.o.Random)
		if err != nil {
			return err
		}
		k, err := keys.NewHPKE(r.ctl.Genesis().Suite, r.o.Random)
		if err != nil {
			return err
		}
		r.id = Identity{Key: sk, HPKE: []*keys.HPKEKey{k}}
	}
	for _, k := range r.id.HPKE {
		r.hpke = append(r.hpke, privateKey{key: k})
	}
	kept := r.id.Records
	r.o.Identity, r.id = nil, Identity{Key: r.id.Key, N: r.id.N} // keys live in one place, and are erased there
	r.iid = wire.IncarnationID([32]byte(r.id.Key.Public().(ed25519.PublicKey)))
	if in := r.ctl.Incarnation(r.iid); in != nil {
		r.joined, r.prevOwn = in.JoinPosition, in.LastHash
		r.id.N = max(r.id.N, in.LastN+1)
		r.acked(in.HPKE.Position, in.HPKE.Key)
	}
	for _, b := range kept {
		rec, err := wire.ParseRecord(b)
		if err != nil {
			return fmt.Errorf("kept record: %w", err)
		}
		f := &flight{record: b, hash: rec.Hash(), header: rec.Header}
		r.flights, r.prevOwn = append(r.flights, f), f.hash
		switch rec.Header.Type {
		case wire.TypeAck:
			r.acking = rec.Header.Epoch
		case wire.TypeJoin:
			r.joining = true
		}
		r.out = append(r.out, order.Submission{Record: b, Sender: r.iid, N: rec.Header.N})
	}
	return nil
}

// Keep returns what a vault must have stored, sealed, before it submits what Outgoing gave:
// a record number that was used twice would expel it. On a node that has halted it is an error
// (ErrHalted): the keys are erased there, and what was stored before must stay.
func (r *Replica) Keep() (Identity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted != nil {
		return Identity{}, r.halted
	}
	id := Identity{Key: r.id.Key, N: r.id.N}
	for _, k := range r.hpke {
		id.HPKE = append(id.HPKE, k.key)
	}
	for _, e := range r.epochs {
		id.Epochs = append(id.Epochs, e.Epoch)
	}
	slices.SortFunc(id.Epochs, func(a, b keys.Epoch) int { return cmp.Compare(a.Number, b.Number) })
	for _, f := range r.flights {
		id.Records = append(id.Records, f.record)
	}
	return id, nil
}

// Key is the incarnation's Ed25519 key; the node's TLS certificate carries its public half.
func (r *Replica) Key() ed25519.PrivateKey { return r.id.Key }

// ID is the incarnation's id.
func (r *Replica) ID() wire.Hash { return r.iid }

// sign makes the next own record and puts it on its way.
func (r *Replica) sign(t wire.RecordType, epoch uint64, body []byte) *flight {
	return r.launch(r.header(t, epoch), body)
}

// header is the header of the next own record.
func (r *Replica) header(t wire.RecordType, epoch uint64) wire.Header {
	return wire.Header{
		Type: t, Ledger: r.ctl.Ledger(), Epoch: epoch, Incarnation: r.iid, N: r.id.N,
		PrevOwn: r.prevOwn, Anchor: r.ctl.Position(), AnchorChain: r.ctl.Chain(),
	}
}

// launch signs a record and hands it over. The next own record follows it, in the hope that
// it will be effective; when it is not, settle starts anew from the last effective one.
func (r *Replica) launch(h wire.Header, body []byte) *flight {
	rec := wire.SignRecord(h, body, r.id.Key)
	f := &flight{record: rec.Encode(), hash: rec.Hash(), header: h, since: r.ticks}
	r.id.N++
	r.prevOwn = f.hash
	r.flights = append(r.flights, f)
	r.out = append(r.out, order.Submission{Record: f.record, Sender: r.iid, N: h.N})
	return f
}

// Outgoing takes the records that are to be submitted, in their order. The caller submits
// each, again where that failed, before the next.
func (r *Replica) Outgoing() []order.Submission {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.out
	r.out = nil
	return out
}

// resubmit hands over again what has not become final for a while: it may have been lost.
func (r *Replica) resubmit() {
	for _, f := range r.flights {
		if r.ticks-f.since >= r.o.Timing.Resubmit {
			f.since = r.ticks
			r.out = append(r.out, order.Submission{Record: f.record, Sender: r.iid, N: f.header.N})
		}
	}
}

// settle notes that an own record is final, or that it can no longer be effective.
func (r *Replica) settle(ev *control.Event) {
	for i, f := range r.flights {
		if f.hash != ev.Hash {
			continue
		}
		if ev.Skipped == "" {
			// Records signed before it that are not final cannot follow any more.
			r.abandon(r.flights[:i])
			r.flights = r.flights[i+1:]
			return
		}
		r.o.Log.Info("own record was skipped", "position", ev.Position, "number", f.header.N, "reason", ev.Skipped)
		r.restart()
		return
	}
}

// restart abandons all records in flight: the next own record follows the last effective one.
// Abandoned records may still become effective, since the host can repeat them; then the ones
// signed later are skipped, and their commands, which are executed once only, come again.
func (r *Replica) restart() {
	r.abandon(r.flights)
	r.flights = nil
	r.prevOwn = wire.Hash{}
	if in := r.ctl.Incarnation(r.iid); in != nil {
		r.prevOwn = in.LastHash
	}
}

func (r *Replica) abandon(flights []*flight) {
	var again []queued
	for _, f := range flights {
		switch f.header.Type {
		case wire.TypeJoin:
			r.joining = false
		case wire.TypeCommit:
			r.committing = commitState{}
			r.proposal.failed = min(r.proposal.failed+1, 64)
			r.proposal.notBefore = r.ticks + r.proposal.failed
		case wire.TypeAck:
			r.acking = 0
		case wire.TypeAlarm:
			r.alarming = false
		case wire.TypePolicy:
			r.policy.flying = false
		case wire.TypeCheckpoint:
			if f.check != nil {
				f.check.posted = false // a quorum may depend on it
			}
		}
		for _, q := range f.items {
			if _, done := r.exec.outcomes[q.hash]; !done {
				again = append(again, q)
				r.queueBytes += len(q.item)
			}
		}
	}
	r.queue = append(again, r.queue...)
}

// expire restarts when a record in flight can no longer become effective.
func (r *Replica) expire() {
	for _, f := range r.flights {
		if f.header.Anchor+r.ctl.Genesis().AnchorAge < r.ctl.Position()+1 {
			r.restart()
			return
		}
	}
}

// Join makes the own JOIN with fresh evidence, and puts it on its way. The evidence is made
// without the lock, since the TEE may take its time.
func (r *Replica) Join(ctx context.Context) error {
	r.mu.Lock()
	if r.halted != nil || r.joining {
		defer r.mu.Unlock()
		return r.halted
	}
	if len(r.flights) > 0 {
		r.restart()
	}
	r.joining = true
	h := r.header(wire.TypeJoin, r.ctl.Epoch().Number)
	policy := r.ctl.Policy(r.ctl.Position() + 1)
	key := r.hpke[len(r.hpke)-1].key
	if r.joined != 0 && !r.kept {
		var err error
		if key, err = keys.NewHPKE(r.ctl.Genesis().Suite, r.o.Random); err != nil {
			defer r.mu.Unlock()
			return r.halt(err)
		}
		r.hpke = append(r.hpke, privateKey{key: key})
	}
	r.mu.Unlock()

	j := wire.Join{Slot: r.o.Slot, Key: [32]byte(r.id.Key.Public().(ed25519.PublicKey)), HPKE: key.Public(), PolicyVersion: policy.Version, FileEpoch: r.o.FileEpoch}
	copy(j.OperatorSig[:], ed25519.Sign(r.o.Operator, wire.OperatorMessage(h.Ledger, j.Slot, j.Key, j.HPKE)))
	subject := wire.ReportSubject(h.Ledger, j.Slot, j.Key, j.HPKE, j.PolicyVersion, h.Anchor, h.AnchorChain)
	proof, err := r.o.Attester.Evidence(ctx, subject, h.AnchorChain)

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.joining = false
		return fmt.Errorf("slot %d: evidence: %w", r.o.Slot, err)
	}
	j.Evidence, j.Binding, j.Collateral = proof.Evidence, proof.Binding, proof.Collateral
	if len(r.flights) > 0 { // something was signed meanwhile
		r.restart()
	}
	r.joining = true
	h.N, h.PrevOwn = r.id.N, r.prevOwn
	body := j.Encode()
	if n, most := len(wire.Record{Header: h, Body: body}.Encode()), int(r.ctl.Genesis().EntryMax); n > most {
		r.joining = false
		return fmt.Errorf("slot %d: the JOIN with its evidence has %d bytes; this ledger's records have at most %d", r.o.Slot, n, most)
	}
	r.launch(h, body)
	return nil
}
