package receipt

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/history"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// ErrFormat means that bytes are no receipt.
var ErrFormat = errors.New("not a receipt")

// MaxSize is the longest receipt in bytes.
const MaxSize = wire.MaxReceiptJSON

// Options are what a verifier knows beside the receipt.
type Options struct {
	// Ledger is the ledger id.
	Ledger [32]byte
	// Roots are those of TEE makers that are believed; Intel's when no root of either kind is named.
	Roots []*x509.Certificate
	// SimulatedRoots protect nothing from the owner of the machine; name them in tests only.
	SimulatedRoots []*x509.Certificate
}

// ParseLedger reads a ledger id of 64 hexadecimal digits.
func ParseLedger(text string) (id [32]byte, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("ledger id %.80q: wanted 64 hexadecimal digits", text)
	}
	return [32]byte(b), nil
}

// Command is what an account has asked for.
type Command struct {
	Hash        string `json:"hash"` // hex; the command's name on the ledger
	Application string `json:"application"`
	Name        string `json:"name"`
	Arguments   string `json:"arguments"` // JSON
	Account     string `json:"account"`   // hex
	Scheme      string `json:"scheme"`    // ed25519, p256, or none: the account is claimed and not proved
	Nonce       uint64 `json:"nonce"`
	ExpiresAt   uint64 `json:"expires_at"` // position
}

// Outcome is what became of it.
type Outcome struct {
	Code    uint16 `json:"code"`
	Word    string `json:"word"`
	Message string `json:"message,omitempty"`
	Result  string `json:"result,omitempty"` // JSON
}

// Report is what a receipt shows, and each rule that was judged. Nothing in it but Rules counts unless
// Accepted is set.
type Report struct {
	Accepted       bool          `json:"accepted"`
	Ledger         string        `json:"ledger"` // hex
	Name           string        `json:"name"`   // of the ledger
	Simulated      bool          `json:"simulated,omitempty"`
	Command        Command       `json:"command"`
	Outcome        Outcome       `json:"outcome"`
	Position       uint64        `json:"position"`
	Index          uint32        `json:"index"`      // among the commands of the position
	Checkpoint     uint64        `json:"checkpoint"` // position that was signed
	Epoch          uint64        `json:"epoch"`
	Signers        []uint16      `json:"signers"`   // slots
	Executors      int           `json:"executors"` // of the epoch
	OrderAssurance string        `json:"order_assurance"`
	Rules          []attest.Rule `json:"rules"`
	NotChecked     []string      `json:"not_checked"`
}

// Err is nil for an accepted receipt, and an [attest.RefusedError] with the rules that failed otherwise.
func (r *Report) Err() error {
	if r.Accepted {
		return nil
	}
	e := &attest.RefusedError{What: "receipt"}
	for _, rule := range r.Rules {
		if !rule.OK {
			e.Rules = append(e.Rules, rule)
		}
	}
	return e
}

// Verify judges a receipt. The error is nil for one that is accepted; it wraps ErrFormat when there is no
// report, and is the report's Err otherwise.
func Verify(data []byte, o Options) (*Report, error) {
	r, err := wire.ParseReceipt(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	v := &verifier{o: o, r: r, report: &Report{
		Ledger: hex.EncodeToString(r.Ledger[:]), Position: r.Position, Index: r.Index, OrderAssurance: r.OrderAssurance,
		Signers: []uint16{}, Rules: []attest.Rule{}, NotChecked: []string{},
	}}
	v.run()
	v.report.Accepted = len(v.report.Rules) > 0
	for _, rule := range v.report.Rules {
		v.report.Accepted = v.report.Accepted && rule.OK
	}
	return v.report, v.report.Err()
}

// verifier is one verification.
type verifier struct {
	o      Options
	r      wire.Receipt
	report *Report

	history    *history.History
	outcome    wire.Outcome
	checkpoint wire.Checkpoint
}

// rule notes one rule.
func (v *verifier) rule(name, wanted, seen string, ok bool, advice string) bool {
	if ok {
		advice = ""
	}
	v.report.Rules = append(v.report.Rules, attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice})
	return ok
}

// parsed notes whether something can be read.
func (v *verifier) parsed(name, wanted string, err error) bool {
	seen := wanted
	if err != nil {
		seen = err.Error()
	}
	return v.rule(name, wanted, seen, err == nil, "the receipt was damaged or changed")
}

func (v *verifier) notChecked(format string, a ...any) {
	v.report.NotChecked = append(v.report.NotChecked, fmt.Sprintf(format, a...))
}

// run judges all that can be judged, so that one report names everything that is wrong.
func (v *verifier) run() {
	v.rule("ledger", hex.EncodeToString(v.o.Ledger[:]), v.report.Ledger, [32]byte(v.r.Ledger) == v.o.Ledger, "it is a receipt of another ledger")
	members := v.members()
	outcome := v.readOutcome()
	v.command()
	var err error
	v.checkpoint, err = wire.ParseCheckpoint(v.r.Checkpoint)
	checkpoint := v.parsed("checkpoint_format", "a checkpoint", err)
	if checkpoint {
		v.report.Checkpoint = v.checkpoint.Position
		v.position()
	}
	if outcome && checkpoint {
		v.inclusion()
	}
	if members && checkpoint {
		v.quorum()
		v.order()
	}
	v.notChecked("evidence_today: executors' evidence was judged as of the times when they were let in, which the ledger states")
}

// members follows the control records.
func (v *verifier) members() bool {
	trust := history.TrustCertificates(v.o.Roots, v.o.SimulatedRoots)
	h, err := history.Follow(v.o.Ledger, v.r.Control, trust)
	var refused *attest.RefusedError
	var record *history.RecordError
	switch {
	case err == nil:
	case errors.Is(err, history.ErrUntrusted):
		return v.rule("trusted_root", "a policy whose roots are trusted here", err.Error(), false, "name the root of the TEE's maker; a simulated one has to be named as such, in tests only")
	case errors.As(err, &refused):
		return v.rule("evidence", "evidence of every member that the ledger's policy accepts", err.Error(), false, "the members are not what the policy asks for")
	case errors.As(err, &record) && record.Position == 0:
		return v.rule("genesis", "the genesis of the ledger, signed by its administrators", err.Error(), false, "the receipt was damaged or changed")
	default:
		return v.rule("control_records", "records that lead from the genesis to the members", err.Error(), false, "the receipt was damaged or changed")
	}
	v.history = h
	g := h.Genesis()
	v.report.Name = g.Name
	v.rule("genesis", "the genesis of the ledger, signed by its administrators", fmt.Sprintf("%q", g.Name), true, "")
	v.rule("control_records", "records that lead from the genesis to the members", fmt.Sprintf("%d records, %d epochs", h.Records(), h.Newest().Number), true, "")
	v.rule("evidence", "evidence of every member that the ledger's policy accepts", "evidence of every member, under trusted roots", true, "")
	return true
}

func (v *verifier) readOutcome() bool {
	var err error
	v.outcome, err = wire.ParseOutcome(v.r.Outcome)
	o := &v.report.Outcome
	o.Code, o.Word, o.Message, o.Result = v.outcome.Code, ledger.CodeWord(v.outcome.Code), v.outcome.Message, string(v.outcome.Result)
	return v.parsed("outcome_format", "an outcome", err)
}

// command reads what the account has signed. That its signature does not hold is an outcome that is
// proved as well as any other; what is no command of this ledger cannot be in a batch.
func (v *verifier) command() {
	hash := wire.SignedHash(v.r.Command)
	c := &v.report.Command
	c.Hash = hex.EncodeToString(hash[:])
	s, err := wire.ParseSigned(v.r.Command)
	var command wire.Command
	if err == nil {
		command, err = s.VerifyCommand()
	}
	if err != nil && !errors.Is(err, wire.ErrSignature) {
		v.rule("command_format", "a signed command", err.Error(), false, "the receipt was damaged or changed")
		return
	}
	account := wire.AccountID(command.Scheme, command.Key)
	*c = Command{
		Hash: c.Hash, Application: command.Application, Name: command.Name, Arguments: string(command.Arguments), Account: hex.EncodeToString(account[:]),
		Scheme: schemeWord(command.Scheme), Nonce: command.Nonce, ExpiresAt: command.ExpiresAt,
	}
	v.rule("command_format", "a signed command", "a signed command", true, "")
	v.rule("command_ledger", hex.EncodeToString(v.o.Ledger[:]), hex.EncodeToString(command.Ledger[:]), command.Ledger == v.o.Ledger, "it is a command for another ledger")
	if command.Scheme == wire.SchemeNone {
		v.notChecked("command_signature: the application lets anybody act for this account")
		return
	}
	seen := "it holds"
	if err != nil {
		seen = "it does not hold"
	}
	v.rule("command_signature", "the account's signature over the command", seen, err == nil || v.outcome.Code == ledger.CodeBadSignature, "the account has not asked for this")
}

func schemeWord(scheme uint8) string {
	switch scheme {
	case wire.SchemeEd25519:
		return "ed25519"
	case wire.SchemeP256:
		return "p256"
	}
	return "none"
}

// short is the beginning of a hash.
func short(h wire.Hash) string { return strings.ToLower(fmt.Sprintf("%x…", h[:8])) }
