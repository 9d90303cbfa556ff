package client

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger/receipt"
)

// checkpointReply is what makes a position committed.
type checkpointReply struct {
	Checkpoint []byte `json:"checkpoint"`
	Signatures []struct {
		Incarnation string `json:"iid"`
		Signature   []byte `json:"signature"`
	} `json:"signatures"`
	Count          uint32   `json:"count"`
	Before         []byte   `json:"before"`
	After          [][]byte `json:"after"`
	OrderAssurance string   `json:"order_assurance"`
	OrderProof     []byte   `json:"order_proof"`
}

// Receipt gets the receipt of a committed command of the account, and verifies it as anybody will
// (package receipt). It waits until more than half of the executors have signed.
func (c *Client) Receipt(ctx context.Context, account Signer, command Command) ([]byte, *receipt.Report, error) {
	s, err := wire.ParseSigned(command.Signed)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := wire.ParseCommand(s.Body)
	if err != nil {
		return nil, nil, err
	}
	if own, of := wire.AccountID(account.Scheme(), account.PublicKey()), wire.AccountID(parsed.Scheme, parsed.Key); own != of {
		return nil, nil, fmt.Errorf("receipt: the command is of account %x; account %x cannot ask for its outcome", of, own)
	}
	for {
		data, report, err := c.receipt(ctx, account, parsed.Application, command)
		var refused *RefusedError
		if err == nil || errors.As(err, &refused) || hopeless(err) || ctx.Err() != nil {
			return data, report, err
		}
		pause(ctx, c.o.Retry)
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("receipt: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// receipt gets a receipt from one node: outcome, checkpoint and control records must fit together.
func (c *Client) receipt(ctx context.Context, account Signer, application string, command Command) (data []byte, report *receipt.Report, err error) {
	err = c.each(ctx, func(ctx context.Context, s *session) error {
		body, err := c.askNode(ctx, s, account, "/api/v1/state/query", wire.Query{Kind: wire.KindOutcome, Application: application, Arguments: command.Hash[:]}, wire.ModeLocal, largeReply)
		if err != nil {
			return err
		}
		x := body.Results[0]
		if x.Status != wire.StatusCommitted {
			return fmt.Errorf("%w: the node does not know the command; it was never ordered, or so long ago that it is forgotten", ErrPending)
		}
		var check checkpointReply
		if _, err := c.call(ctx, s.http, http.MethodGet, s.url, fmt.Sprintf("/api/v1/checkpoints/%d", x.Position), nil, &check, maxAnswer); err != nil {
			return err
		}
		var control json.RawMessage
		if _, err := c.call(ctx, s.http, http.MethodGet, s.url, "/api/v1/control", nil, &control, maxControl); err != nil {
			return err
		}
		r, err := assemble(c.o.Ledger, command, x, check, control)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if data, err = json.Marshal(r); err != nil {
			return err
		}
		data = append(data, '\n')
		if report, err = receipt.Verify(data, receipt.Options{Ledger: c.o.Ledger, Roots: c.o.Roots, SimulatedRoots: c.o.SimulatedRoots}); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return data, report, nil
}

// assemble writes down what a node has given. Whether it holds is for package receipt.
func assemble(ledger [32]byte, command Command, x wire.Result, check checkpointReply, control json.RawMessage) (wire.Receipt, error) {
	r := wire.Receipt{
		Format: wire.ReceiptFormat, Ledger: ledger, Command: command.Signed, Outcome: x.Outcome.Encode(), Position: x.Position, Index: x.Index,
		Blind: wire.Base64Hash(x.Blind), Count: x.Count, Checkpoint: check.Checkpoint, OrderAssurance: check.OrderAssurance, OrderProof: check.OrderProof,
	}
	var err error
	if r.Control, err = wire.ParseControl(control); err != nil {
		return r, err
	}
	hash := func(b []byte) (h wire.Base64Hash) {
		if len(b) != len(h) {
			err = fmt.Errorf("a hash of %d bytes, wanted %d", len(b), len(h))
		}
		copy(h[:], b)
		return h
	}
	for _, h := range x.Proof {
		r.Proof = append(r.Proof, wire.Base64Hash(h))
	}
	r.Before = hash(check.Before)
	for _, h := range check.After {
		r.After = append(r.After, hash(h))
	}
	for _, s := range check.Signatures {
		id, e := hex.DecodeString(s.Incarnation)
		if e != nil || len(id) != 32 || len(s.Signature) != 64 {
			return r, fmt.Errorf("a signature of incarnation %.80q: %s", s.Incarnation, base64.StdEncoding.EncodeToString(s.Signature))
		}
		r.Signatures = append(r.Signatures, wire.ReceiptSignature{Incarnation: wire.HexHash(id), Signature: wire.Base64Signature(s.Signature)})
	}
	return r, err
}

// day is the form of times in reports.
func day(t uint64) time.Time { return time.Unix(int64(min(t, 1<<40)), 0).UTC() }
