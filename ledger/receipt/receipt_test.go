package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/clienttest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/receipt"
)

// world is a ledger with four positions of commands: 1, 3, 5 and 1 of them.
type world struct {
	*clienttest.Ledger
	alice ed25519.PrivateKey
}

func newWorld(tb testing.TB, o clienttest.Options) *world {
	tb.Helper()
	w := &world{Ledger: clienttest.New(tb, o)}
	w.alice = w.NewKey()
	nonce := uint64(0)
	for _, n := range []int{1, 3, 5, 1} {
		var items [][]byte
		var outcomes []wire.Outcome
		for i := range n {
			nonce++
			items = append(items, w.Command(w.alice, nonce, "say", fmt.Sprintf(`{"n":%d}`, i)))
			outcomes = append(outcomes, wire.Outcome{Result: fmt.Appendf(nil, `{"n":%d}`, i)})
		}
		outcomes[0] = wire.Outcome{Code: ledger.CodeRefused, Message: "not_today"}
		w.Execute(items, outcomes)
		w.Skip(1)
	}
	return w
}

func (w *world) options() receipt.Options {
	return receipt.Options{Ledger: w.ID, SimulatedRoots: []*x509.Certificate{w.Root()}}
}

func encode(tb testing.TB, r wire.Receipt) []byte {
	tb.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{})
	for block, n := range []int{1, 3, 5, 1} {
		for index := range n {
			for under := block; under < 4; under++ {
				r, err := receipt.Verify(encode(t, w.Receipt(block, index, under)), w.options())
				if err != nil {
					t.Fatalf("command %d of block %d under block %d: %v", index, block, under, err)
				}
				if !r.Accepted || !r.Simulated || r.Epoch != 1 || r.Executors != 3 || len(r.Signers) != 3 || r.OrderAssurance != "operator" || int(r.Index) != index {
					t.Errorf("%+v", r)
				}
				if word := map[bool]string{true: "refused", false: "ok"}[index == 0]; r.Outcome.Word != word || r.Command.Name != "say" || r.Command.Scheme != "ed25519" {
					t.Errorf("%+v, %+v", r.Outcome, r.Command)
				}
				if !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "command_count: ") }) {
					t.Errorf("the report does not say that the number of commands is not proved: %q", r.NotChecked)
				}
			}
		}
	}
}

// TestQuorum: more than half of the executors, each once, and nobody else.
func TestQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{Executors: 4, Vaults: 1, Spare: 1})
	good := w.Receipt(1, 1, 2)
	check, err := wire.ParseCheckpoint(good.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	stranger := w.Join(5)
	for name, c := range map[string]struct {
		signatures []wire.ReceiptSignature
		ok         bool
	}{
		"all":                  {good.Signatures, true},
		"three of four":        {good.Signatures[1:], true},
		"another order":        {[]wire.ReceiptSignature{good.Signatures[3], good.Signatures[0], good.Signatures[2]}, true},
		"half":                 {good.Signatures[:2], false},
		"none":                 {nil, false},
		"one three times":      {[]wire.ReceiptSignature{good.Signatures[0], good.Signatures[0], good.Signatures[0]}, false},
		"a vault":              {append(slices.Clone(good.Signatures[:2]), w.SignCheckpoint(w.Members[4], check)), false},
		"somebody who waits":   {append(slices.Clone(good.Signatures[:2]), w.SignCheckpoint(stranger, check)), false},
		"all and a stranger":   {append(slices.Clone(good.Signatures), w.SignCheckpoint(stranger, check)), false},
		"names changed":        {[]wire.ReceiptSignature{good.Signatures[0], good.Signatures[1], {Incarnation: good.Signatures[2].Incarnation, Signature: good.Signatures[3].Signature}}, false},
		"another's checkpoint": {append(slices.Clone(good.Signatures[:2]), w.SignCheckpoint(w.Members[2], wire.Checkpoint{})), false},
	} {
		r := good
		r.Signatures = c.signatures
		report, err := receipt.Verify(encode(t, r), w.options())
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok && !failed(report, "quorum") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failed(r *receipt.Report, name string) bool {
	return r != nil && slices.ContainsFunc(r.Rules, func(x attest.Rule) bool { return x.Name == name && !x.OK })
}

// TestRefused names, for each thing that is not as it should be, a rule that fails.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{})
	other := newWorld(t, clienttest.Options{Seed: 1})
	bump := func(h *wire.Base64Hash) { h[7] ^= 1 }
	for name, c := range map[string]struct {
		edit func(r *wire.Receipt)
		rule string
	}{
		"another ledger's name":   {func(r *wire.Receipt) { r.Ledger[0]++ }, "ledger"},
		"no control records":      {func(r *wire.Receipt) { r.Control.Records = nil }, "checkpoint_epoch"},
		"another genesis":         {func(r *wire.Receipt) { r.Control.Genesis = other.Control().Genesis }, "genesis"},
		"no genesis":              {func(r *wire.Receipt) { r.Control.Genesis = nil }, "genesis"},
		"another ledger's record": {func(r *wire.Receipt) { r.Control.Records[1] = other.Control().Records[1] }, "control_records"},
		"another command":         {func(r *wire.Receipt) { r.Command = w.Command(w.alice, 99, "say", `{"n":1}`) }, "outcomes"},
		"no command":              {func(r *wire.Receipt) { r.Command = nil }, "command_format"},
		"bytes after the command": {func(r *wire.Receipt) { r.Command = append(r.Command, 0) }, "command_format"},
		"an unsigned command":     {func(r *wire.Receipt) { r.Command[len(r.Command)-1] ^= 1 }, "command_signature"},
		"another outcome":         {func(r *wire.Receipt) { r.Outcome = wire.Outcome{Result: []byte(`{"n":2}`)}.Encode() }, "outcomes"},
		"no outcome":              {func(r *wire.Receipt) { r.Outcome = nil }, "outcome_format"},
		"another code":            {func(r *wire.Receipt) { r.Outcome = wire.Outcome{Code: 1, Result: []byte(`{"n":1}`)}.Encode() }, "outcomes"},
		"another position":        {func(r *wire.Receipt) { r.Position++ }, "outcomes"},
		"another index":           {func(r *wire.Receipt) { r.Index-- }, "outcomes"},
		"a later one of fewer":    {func(r *wire.Receipt) { r.Count = 2 }, "inclusion"},
		"more of them":            {func(r *wire.Receipt) { r.Count = 300 }, "inclusion"},
		"another blind":           {func(r *wire.Receipt) { bump(&r.Blind) }, "outcomes"},
		"another proof":           {func(r *wire.Receipt) { bump(&r.Proof[0]) }, "outcomes"},
		"a shorter proof":         {func(r *wire.Receipt) { r.Proof = r.Proof[1:] }, "inclusion"},
		"a longer proof":          {func(r *wire.Receipt) { r.Proof = append(r.Proof, r.Proof[0]) }, "inclusion"},
		"another before":          {func(r *wire.Receipt) { bump(&r.Before) }, "outcomes"},
		"another after":           {func(r *wire.Receipt) { bump(&r.After[0]) }, "outcomes"},
		"none after":              {func(r *wire.Receipt) { r.After = nil }, "checkpoint_position"},
		"too many after":          {func(r *wire.Receipt) { r.After = append(r.After, r.After[0], r.After[0], r.After[0]) }, "checkpoint_position"},
		"another checkpoint":      {func(r *wire.Receipt) { r.Checkpoint = w.Receipt(1, 1, 3).Checkpoint }, "outcomes"},
		"no checkpoint":           {func(r *wire.Receipt) { r.Checkpoint = nil }, "checkpoint_format"},
		"another epoch":           {func(r *wire.Receipt) { r.Checkpoint[len(r.Checkpoint)-1] ^= 1 }, "checkpoint_epoch"},
		"another digest":          {func(r *wire.Receipt) { r.Checkpoint[50] ^= 1 }, "quorum"},
		"a better order":          {func(r *wire.Receipt) { r.OrderAssurance = "validators" }, "order_assurance"},
		"a proof of order":        {func(r *wire.Receipt) { r.OrderProof = []byte{1} }, "order_proof"},
	} {
		r := w.Receipt(1, 1, 2)
		c.edit(&r)
		report, err := receipt.Verify(encode(t, r), w.options())
		var refused *attest.RefusedError
		if !errors.As(err, &refused) || report.Accepted || !failed(report, c.rule) {
			t.Errorf("%s: %v, wanted %s to fail", name, err, c.rule)
		}
		var text bytes.Buffer
		if err := report.WriteText(&text); err != nil || !strings.Contains(text.String(), "REFUSED") || !strings.Contains(text.String(), c.rule) || strings.Contains(text.String(), "\nProved") {
			t.Errorf("%s: %v\n%s", name, err, &text)
		}
	}
}

// TestOtherVerifier: who knows another ledger or believes other makers refuses.
func TestOtherVerifier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{})
	good := encode(t, w.Receipt(1, 1, 2))
	for name, c := range map[string]struct {
		o    receipt.Options
		rule string
	}{
		"another ledger":                      {receipt.Options{Ledger: [32]byte{1}, SimulatedRoots: []*x509.Certificate{w.Root()}}, "ledger"},
		"Intel's root":                        {receipt.Options{Ledger: w.ID}, "trusted_root"},
		"simulated root that is not named so": {receipt.Options{Ledger: w.ID, Roots: []*x509.Certificate{w.Root()}}, "trusted_root"},
	} {
		if report, err := receipt.Verify(good, c.o); err == nil || !failed(report, c.rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.World.Identity.Measurement[0]++
	w.Change(w.Members[0], []*clienttest.Incarnation{w.Join(1)}, []wire.Remove{{Slot: 1, Incarnation: w.Members[1].ID, Reason: wire.RemoveReplaced}})
	if report, err := receipt.Verify(encode(t, w.Receipt(1, 1, 2)), w.options()); err == nil || !failed(report, "evidence") {
		t.Errorf("a member with another program: %v", err)
	}
}

// TestEpochs: the members of the checkpoint's time count, and nobody else's.
func TestEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{})
	old := w.Receipt(1, 1, 3)
	w.Change(w.Members[0], []*clienttest.Incarnation{w.Join(1)}, []wire.Remove{{Slot: 1, Incarnation: w.Members[1].ID, Reason: wire.RemoveReplaced}})
	w.Execute([][]byte{w.Command(w.alice, 11, "say", "{}")}, []wire.Outcome{{}})
	for name, r := range map[string]wire.Receipt{
		"before the change":      old,
		"before, told later":     w.Receipt(1, 1, 3),
		"before, with a later":   w.Receipt(1, 1, 4),
		"after the change":       w.Receipt(4, 0, 4),
		"the newest of earliers": w.Receipt(3, 0, 3),
	} {
		if _, err := receipt.Verify(encode(t, r), w.options()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Members of the first epoch sign for a position of the second one.
	r := w.Receipt(4, 0, 4)
	c, err := wire.ParseCheckpoint(r.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	first, err := wire.ParseCheckpoint(old.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	c.Epoch = first.Epoch
	r.Checkpoint = c.Encode()
	if report, err := receipt.Verify(encode(t, r), w.options()); !failed(report, "checkpoint_epoch") {
		t.Errorf("an old epoch: %v", err)
	}
}

// TestNoCommand: a command whose signature does not hold has a receipt that says so. What is no command
// of this ledger cannot be in a batch, and has none.
func TestNoCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{Executors: 1})
	pk := w.alice.Public().(ed25519.PublicKey)
	body := wire.Command{Ledger: wire.Hash{1}, Application: "echo", Scheme: wire.SchemeEd25519, Key: pk, Nonce: 1, Name: "say"}
	forged := w.Command(w.alice, 50, "say", "{}")
	forged[len(forged)-1] ^= 1
	claimed := wire.Signed{Body: wire.Command{Ledger: w.ID, Application: "echo", Key: make([]byte, 20), Nonce: 1, Name: "say"}.Encode()}.Encode()
	for i, item := range []struct {
		item []byte
		code uint16
		rule string // that refuses it
	}{
		{[]byte("junk"), ledger.CodeMalformed, "command_format"},
		{wire.Signed{Body: body.Encode(), Signature: ed25519.Sign(w.alice, body.Message())}.Encode(), ledger.CodeWrongLedger, "command_ledger"},
		{forged, ledger.CodeBadSignature, ""},
		{claimed, ledger.CodeOK, ""},
	} {
		w.Execute([][]byte{item.item, item.item}, []wire.Outcome{{Code: item.code}, {Code: ledger.CodeUnknownCommand}})
		report, err := receipt.Verify(encode(t, w.Receipt(4+i, 0, 4+i)), w.options())
		if item.rule != "" {
			if err == nil || !failed(report, item.rule) {
				t.Errorf("code %d: %v, wanted it refused by %s", item.code, err, item.rule)
			}
			continue
		}
		if err != nil {
			t.Errorf("code %d: %v", item.code, err)
		}
		if item.code == ledger.CodeOK {
			if !strings.HasPrefix(report.NotChecked[0], "command_signature: ") || report.Command.Scheme != "none" {
				t.Errorf("%+v", report)
			}
			continue
		}
		if _, err := receipt.Verify(encode(t, w.Receipt(4+i, 1, 4+i)), w.options()); err == nil {
			t.Errorf("an outcome that says it is a command, of what has code %d, is accepted", item.code)
		}
	}
}

// TestText: what a receipt says cannot steer a terminal.
func TestText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{Executors: 1})
	w.Execute([][]byte{w.Command(w.alice, 50, "say", "{\"a\":\"\x1b[2J\"}")}, []wire.Outcome{{Code: ledger.CodeRefused, Message: "\x1b[31mred\r\n"}})
	report, err := receipt.Verify(encode(t, w.Receipt(4, 0, 4)), w.options())
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ACCEPTED", "SIMULATED", "\nProved", "refused: ?[31mred", "Not checked", "1 of 1 executors of epoch 1, slots 0"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &text)
		}
	}
	if strings.ContainsAny(text.String(), "\x1b\r") {
		t.Errorf("control characters in %q", &text)
	}
}

func TestParseLedger(t *testing.T) {
	t.Parallel()
	if id, err := receipt.ParseLedger(strings.Repeat("0f", 32)); err != nil || id[31] != 15 {
		t.Errorf("%x, %v", id, err)
	}
	for _, bad := range []string{"", "0f", strings.Repeat("0g", 32), strings.Repeat("00", 33)} {
		if _, err := receipt.ParseLedger(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestEveryByte flips bits of every byte of a receipt. Only the times and places that the giver claims for
// control records may change unnoticed (section 9): they prove nothing.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{Executors: 1})
	good := encode(t, w.Receipt(1, 1, 2))
	records := bytes.Index(good, []byte(`"records"`))
	end := bytes.Index(good, []byte(`"command"`))
	if records < 0 || end < records {
		t.Fatal("the receipt is not in the order that this test knows")
	}
	check := func(i int, mask byte) {
		bad := slices.Clone(good)
		bad[i] ^= mask
		if _, err := receipt.Verify(bad, w.options()); err == nil {
			t.Errorf("byte %d, %q for %q: accepted: …%s…", i, bad[i], good[i], good[max(0, i-40):min(len(good), i+40)])
		}
	}
	for i := range good {
		if i >= records && i < end {
			continue
		}
		for _, mask := range []byte{1, 2, 0x20} {
			check(i, mask)
		}
	}
	for i := records; i < end; i += 97 {
		around := good[max(0, i-30):i]
		if n := bytes.LastIndexAny(around, `,{`); n >= 0 && (bytes.HasPrefix(around[n+1:], []byte(`"time":`)) || bytes.HasPrefix(around[n+1:], []byte(`"position":`))) {
			continue
		}
		check(i, 1)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clienttest.Options{Executors: 1})
	good := string(encode(t, w.Receipt(1, 1, 2)))
	for name, text := range map[string]string{
		"nothing": "", "a list": "[]", "another format": strings.Replace(good, "receipt/1", "receipt/2", 1), "two": good + good, "cut": good[:len(good)-1],
		"unknown member": strings.Replace(good, `"index"`, `"extra":1,"index"`, 1), "member twice": strings.Replace(good, `"index"`, `"index":1,"index"`, 1),
		"member in capitals": strings.Replace(good, `"index"`, `"Index"`, 1), "index beyond count": strings.Replace(good, `"index":1`, `"index":3`, 1),
	} {
		if report, err := receipt.Verify([]byte(text), w.options()); !errors.Is(err, receipt.ErrFormat) || report != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f, clienttest.Options{Executors: 1})
	f.Add(encode(f, w.Receipt(1, 1, 2)))
	f.Add(encode(f, w.Receipt(0, 0, 0)))
	f.Add([]byte(`{"format":"hitoku-ledger-receipt/1"}`))
	want := map[string]string{}
	for block, n := range []int{1, 3, 5, 1} {
		for i := range n {
			r, err := receipt.Verify(encode(f, w.Receipt(block, i, block)), w.options())
			if err != nil {
				f.Fatal(err)
			}
			want[r.Command.Hash] = fmt.Sprint(r.Position, r.Index, r.Outcome)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := receipt.Verify(data, w.options())
		if err == nil && want[r.Command.Hash] != fmt.Sprint(r.Position, r.Index, r.Outcome) {
			t.Errorf("a forged receipt is accepted: %+v", r)
		}
	})
}
