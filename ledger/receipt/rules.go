package receipt

import (
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/history"
	"hitoku.dev/internal/ledger/merkle"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum"
	"hitoku.dev/internal/ledger/wire"
)

// position wants the checkpoint to be that of the command's position, or a later one that the roots in
// between lead to.
func (v *verifier) position() {
	c := v.checkpoint.Position
	wanted := fmt.Sprintf("the checkpoint of position %d, without later roots", v.r.Position)
	if len(v.r.After) > 0 {
		wanted = fmt.Sprintf("a checkpoint at least %d positions after position %d, for as many later roots", len(v.r.After), v.r.Position)
	}
	ok := c == v.r.Position && len(v.r.After) == 0 || len(v.r.After) > 0 && c > v.r.Position && c-v.r.Position >= uint64(len(v.r.After))
	v.rule("checkpoint_position", wanted, fmt.Sprintf("position %d", c), ok, "the receipt was damaged or changed")
}

// inclusion leads from command and outcome to what was signed.
func (v *verifier) inclusion() {
	leaf := wire.Leaf(v.o.Ledger, v.r.Position, v.r.Index, wire.SignedHash(v.r.Command), v.outcome, wire.Hash(v.r.Blind))
	proof := make([]wire.Hash, 0, len(v.r.Proof))
	for _, h := range v.r.Proof {
		proof = append(proof, wire.Hash(h))
	}
	root, ok := merkle.RootFrom(leaf, v.r.Index, v.r.Count, proof)
	if !v.rule("inclusion", fmt.Sprintf("a proof for command %d of %d", v.r.Index, v.r.Count), fmt.Sprintf("%d hashes", len(proof)), ok, "the receipt was damaged or changed") {
		return
	}
	q := wire.NextOutcomes(wire.Hash(v.r.Before), root)
	for _, h := range v.r.After {
		q = wire.NextOutcomes(q, wire.Hash(h))
	}
	v.rule("outcomes", fmt.Sprintf("outcomes %s, which the checkpoint names", short(v.checkpoint.Outcomes)), short(q), q == v.checkpoint.Outcomes,
		"command, outcome, position or proof are not what the executors signed")
	v.notChecked("command_count: that position %d holds %d commands is what the receipt says; the proof binds the command's place, and the number only as far as it gives the proof its shape", v.r.Position, v.r.Count)
}

// quorum wants more than half of the executors of the checkpoint's epoch.
func (v *verifier) quorum() {
	epoch, next := v.history.Epoch(v.checkpoint.Epoch)
	seen := "no epoch of these records"
	if epoch != nil {
		seen = fmt.Sprintf("epoch %d, which begins at position %d", epoch.Number, epoch.Position)
	}
	ok := epoch != nil && epoch.Number > 0 && epoch.Position <= v.checkpoint.Position && (next == nil || v.checkpoint.Position < next.Position)
	if !v.rule("checkpoint_epoch", fmt.Sprintf("the epoch in force at position %d", v.checkpoint.Position), seen, ok, "the control records are of another time, or were changed") {
		return
	}
	executors := epoch.Executors()
	v.report.Epoch, v.report.Executors = epoch.Number, len(executors)
	wanted := fmt.Sprintf("signatures of at least %d of %d executors, each once, and nothing else", epoch.Quorum(), len(executors))
	for _, s := range v.r.Signatures {
		i := slices.IndexFunc(executors, func(m history.Member) bool { return m.Incarnation == wire.Hash(s.Incarnation) })
		switch {
		case i < 0:
			v.rule("quorum", wanted, fmt.Sprintf("a signature of incarnation %s, no executor of epoch %d", short(wire.Hash(s.Incarnation)), epoch.Number), false, "the receipt was changed")
			return
		case slices.Contains(v.report.Signers, executors[i].Slot):
			v.rule("quorum", wanted, fmt.Sprintf("slot %d twice", executors[i].Slot), false, "the receipt was changed")
			return
		case !(wire.SignedCheckpoint{Checkpoint: v.checkpoint, Signature: [64]byte(s.Signature)}).Verify(v.o.Ledger, executors[i].Key):
			v.rule("quorum", wanted, fmt.Sprintf("a signature of slot %d that does not hold", executors[i].Slot), false, "the receipt was damaged or changed")
			return
		}
		v.report.Signers = append(v.report.Signers, executors[i].Slot)
	}
	v.rule("quorum", wanted, fmt.Sprintf("%d", len(v.report.Signers)), len(v.report.Signers) >= epoch.Quorum(), "too few executors have signed")
	v.report.Simulated = v.history.Policy(v.checkpoint.Position).Flags&wire.PolicySimulated != 0
}

// assurance is what the order rests on, as the genesis says.
func assurance(o wire.Order) order.Assurance {
	switch {
	case o.Driver == wire.DriverEthereum && len(o.Validators) > 0:
		return order.AssuranceValidators
	case o.Driver == wire.DriverEthereum && o.Endpoints > 1:
		return order.AssuranceEndpoints
	}
	return order.AssuranceOperator
}

// order judges what the order of positions rests on.
func (v *verifier) order() {
	g := v.history.Genesis().Order
	wanted := assurance(g)
	v.rule("order_assurance", fmt.Sprintf("%q, as the genesis says", wanted), fmt.Sprintf("%q", v.r.OrderAssurance), v.r.OrderAssurance == string(wanted), "the receipt was changed")
	switch wanted {
	case order.AssuranceOperator:
		v.notChecked("order: whoever runs the log and all hosts can show different readers different histories")
	case order.AssuranceEndpoints:
		v.notChecked("order: that %d endpoints of the chain agreed is what the executors say", g.Endpoints)
	case order.AssuranceValidators:
		v.orderProof(g)
		return
	}
	if len(v.r.OrderProof) > 0 {
		v.rule("order_proof", "none: this order has no proofs", fmt.Sprintf("%d bytes", len(v.r.OrderProof)), false, "the receipt was changed")
	}
}

// orderProof verifies what the chain's validators have sealed.
func (v *verifier) orderProof(g wire.Order) {
	if len(v.r.OrderProof) == 0 {
		v.notChecked("order_proof: that the validators sealed this order is what the executors say; the receipt holds no proof")
		return
	}
	validators := make([]ethereum.Address, 0, len(g.Validators))
	for _, a := range g.Validators {
		validators = append(validators, ethereum.Address(a))
	}
	wanted := "a block, sealed by the validators that the genesis names, with the ledger's contract"
	s, err := ethereum.VerifyProof(v.r.OrderProof, ethereum.Address(g.Contract), validators)
	if err != nil {
		v.rule("order_proof", wanted, err.Error(), false, "the receipt was damaged, or the chain is another one")
		return
	}
	seen := fmt.Sprintf("block %d, position %d with chain value %s", s.Block, s.Position, short(wire.Hash(s.Chain)))
	if s.Position == v.checkpoint.Position {
		v.rule("order_proof", wanted+fmt.Sprintf(", and chain value %s at position %d", short(v.checkpoint.Chain), s.Position), seen, wire.Hash(s.Chain) == v.checkpoint.Chain, "the executors and the chain have different histories")
		return
	}
	v.rule("order_proof", wanted, seen, true, "")
	v.notChecked("order_proof: it is about position %d; that the checkpoint of position %d is of the same history is what the executors say", s.Position, v.checkpoint.Position)
}
