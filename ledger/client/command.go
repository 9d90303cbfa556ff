package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Signer is an account's key; [hitoku.dev/ledger/wallet.Account] is one.
type Signer interface {
	// Scheme is ledger.SchemeEd25519 or ledger.SchemeP256.
	Scheme() uint8
	// PublicKey is 32 bytes of Ed25519, or 33 of P-256 in its compressed form.
	PublicKey() []byte
	// Sign gives 64 bytes over the message: Ed25519, or ECDSA over SHA-256 as r ‖ s with s in the lower half.
	Sign(message []byte) ([]byte, error)
}

// Call names what an application shall do or answer. Arguments is JSON, empty for none.
type Call struct {
	Application string
	Name        string
	Arguments   json.RawMessage
}

// Command is a signed command. Its bytes can be kept, and handed over again.
type Command struct {
	Signed []byte   // encoded SignedCommand
	Hash   [32]byte // the command's name on the ledger
	// Account is whose command it is.
	Account ledger.AccountID
	Nonce   uint64
	// ExpiresAt is the position after which it is not executed any more.
	ExpiresAt uint64
}

// ParseCommand reads the bytes of a signed command that was kept.
func ParseCommand(signed []byte) (Command, error) {
	s, err := wire.ParseSigned(signed)
	if err != nil {
		return Command{}, err
	}
	c, err := s.VerifyCommand()
	if err != nil {
		return Command{}, err
	}
	return Command{signed, wire.SignedHash(signed), wire.AccountID(c.Scheme, c.Key), c.Nonce, c.ExpiresAt}, nil
}

// SignCommand signs one command with a number of the account, good until a position.
func SignCommand(ledgerID [32]byte, account Signer, call Call, nonce, expiresAt uint64) (Command, error) {
	c := wire.Command{
		Ledger: ledgerID, Application: call.Application, Scheme: account.Scheme(), Key: account.PublicKey(), Nonce: nonce, ExpiresAt: expiresAt,
		Name: call.Name, Arguments: call.Arguments,
	}
	signature, err := account.Sign(c.Message())
	if err != nil {
		return Command{}, fmt.Errorf("sign %s: %w", call.Name, err)
	}
	command, err := ParseCommand(wire.Signed{Body: c.Encode(), Signature: signature}.Encode())
	if err != nil {
		return Command{}, fmt.Errorf("sign %s: %w", call.Name, err)
	}
	return command, nil
}

// Sign signs commands of one application with the account's next numbers, which it asks the ledger for.
// They expire Options.Lifetime positions after the newest one that was seen.
func (c *Client) Sign(ctx context.Context, account Signer, calls ...Call) ([]Command, error) {
	if len(calls) == 0 {
		return nil, errors.New("sign: no command is given")
	}
	nonce, err := c.Counter(ctx, account, calls[0].Application)
	if err != nil {
		return nil, err
	}
	var out []Command
	for i, call := range calls {
		if call.Application != calls[0].Application {
			return nil, fmt.Errorf("sign: commands of %q and %q; each application has numbers of its own", calls[0].Application, call.Application)
		}
		s, err := SignCommand(c.o.Ledger, account, call, nonce+1+uint64(i), c.Floor().Position+c.o.Lifetime)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Outcome is what became of a command.
type Outcome struct {
	// Committed means that it was ordered and executed, with success or not. If it is not set, the command
	// was refused before it was ordered, and may never be executed.
	Committed bool
	Code      uint16 // a Code of package ledger, 0 for success
	Message   string
	Result    json.RawMessage // nil for none
	Position  uint64
	Index     uint32 // among the commands of the position

	result wire.Result
}

// Word is the word for the code.
func (o Outcome) Word() string { return ledger.CodeWord(o.Code) }

// Err is nil for a command that happened, and a [*RefusedError] otherwise.
func (o Outcome) Err() error {
	if o.Code == ledger.CodeOK {
		return nil
	}
	return &RefusedError{Executed: o.Committed, Code: o.Code, Message: o.Message}
}

func outcomeOf(x wire.Result) Outcome {
	return Outcome{
		Committed: x.Status == wire.StatusCommitted, Code: x.Outcome.Code, Message: x.Outcome.Message, Result: notEmpty(x.Outcome.Result),
		Position: x.Position, Index: x.Index, result: x,
	}
}

func notEmpty(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

// Do signs commands, hands them over, and waits for what becomes of them. The error is ErrPending when ctx
// ends after they were handed over; the commands that are returned can be handed over again with Send.
func (c *Client) Do(ctx context.Context, account Signer, calls ...Call) ([]Command, []Outcome, error) {
	commands, err := c.Sign(ctx, account, calls...)
	if err != nil {
		return nil, nil, err
	}
	outcomes, err := c.Send(ctx, commands...)
	return commands, outcomes, err
}

// nodeCode is an error where a result is the node's refusal to serve at all.
func nodeCode(x wire.Result) error {
	if x.Status != wire.StatusRejected && x.Status != wire.StatusRefused {
		return nil
	}
	switch x.Outcome.Code {
	case ledger.CodeForked:
		return fmt.Errorf("%w, as it says itself", ErrFork)
	case ledger.CodeBehind:
		return fmt.Errorf("%w, as it says itself", ErrStale)
	case ledger.CodeReplayed:
		return fmt.Errorf("%w: the question was asked before; its host has repeated it", ErrAnswer)
	case ledger.CodeBusy, ledger.CodeNotFresh:
		return &NodeError{Status: 503, Code: ledger.CodeWord(x.Outcome.Code), Message: x.Outcome.Message}
	}
	return nil
}
