package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

// adminKeys are three administrators in the order of their public keys.
func adminKeys() []ed25519.PrivateKey {
	out := []ed25519.PrivateKey{seeded(11), seeded(12), seeded(13)}
	for i := range out {
		for j := i; j > 0; j-- {
			a, b := public(out[j-1]), public(out[j])
			if bytes.Compare(a[:], b[:]) > 0 {
				out[j-1], out[j] = out[j], out[j-1]
			}
		}
	}
	return out
}

func goodPolicy() wire.Policy {
	p := wire.Policy{
		Programs:    []wire.Program{{Measurement: bytes.Repeat([]byte{7}, 32), Signer: bytes.Repeat([]byte{8}, 32), MinSVN: 2}},
		TCBStatuses: []string{"UpToDate"}, MinEvaluation: 17, Roots: []wire.Hash{{1}, {2}}, Flags: wire.PolicySimulated, EvidenceAge: 86400, Threshold: 2,
	}
	for _, a := range adminKeys() {
		p.Admins = append(p.Admins, public(a))
	}
	for i := range uint16(4) {
		kind := wire.KindExecutor
		if i == 3 {
			kind = wire.KindVault
		}
		p.Slots = append(p.Slots, wire.Slot{Slot: i + 1, Kind: kind, Operator: public(seeded(byte(21 + i)))})
	}
	return p
}

func goodGenesis() wire.Genesis {
	return wire.Genesis{
		Suite: wire.SuiteX25519, Name: "vectors", Applications: []wire.Application{{Name: "erc20", Version: "1"}},
		Window: 16, AnchorAge: 128, PolicyDelay: 100, Rotation: 3600, EntryMax: 1 << 16, CheckpointEvery: 8, Flags: wire.GenesisCryptoBox,
		Order:       wire.Order{Driver: wire.DriverEthereum, ChainID: 1337, Contract: [20]byte{5}, Finality: wire.FinalityImmediate, Confirmations: 6, Endpoints: 2, Validators: [][20]byte{{1}, {2}}},
		PolicyBytes: goodPolicy().Encode(),
	}
}

func signGenesis(g wire.Genesis, indices ...int) wire.GenesisFile {
	f := wire.GenesisFile{Genesis: g.Encode()}
	for _, i := range indices {
		f.Signatures = append(f.Signatures, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(adminKeys()[i], g.Message()))})
	}
	return f
}

func TestOpenGenesis(t *testing.T) {
	t.Parallel()
	g, p, id, err := signGenesis(goodGenesis(), 0, 1).Open()
	if err != nil {
		t.Fatal(err)
	}
	if want := goodGenesis(); id != want.ID() || g.Name != "vectors" || p.Hash() != goodPolicy().Hash() {
		t.Error("the genesis that was opened is another one")
	}
	if s, ok := p.Slot(4); !ok || s.Kind != wire.KindVault {
		t.Errorf("slot 4 is %+v", s)
	}
	if _, ok := p.Slot(9); ok {
		t.Error("slot 9 is there")
	}
	edit := func(f func(*wire.Genesis)) wire.GenesisFile {
		g := goodGenesis()
		f(&g)
		return signGenesis(g, 0, 1)
	}
	policy := func(f func(*wire.Policy)) wire.GenesisFile {
		p := goodPolicy()
		f(&p)
		return edit(func(g *wire.Genesis) { g.PolicyBytes = p.Encode() })
	}
	for name, c := range map[string]struct {
		file wire.GenesisFile
		want string
	}{
		"no signature":             {signGenesis(goodGenesis()), "0 signatures of administrators, wanted 2"},
		"one signature":            {signGenesis(goodGenesis(), 1), "1 signatures of administrators, wanted 2"},
		"not a genesis":            {wire.GenesisFile{Genesis: []byte{1}}, "malformed genesis"},
		"no application":           {edit(func(g *wire.Genesis) { g.Applications = nil }), "no application"},
		"application twice":        {edit(func(g *wire.Genesis) { g.Applications = append(g.Applications, g.Applications[0]) }), "twice"},
		"application without name": {edit(func(g *wire.Genesis) { g.Applications[0].Name = "" }), "empty"},
		"entry_max too small":      {edit(func(g *wire.Genesis) { g.EntryMax = 1000 }), "entry_max 1000"},
		"entry_max too large":      {edit(func(g *wire.Genesis) { g.EntryMax = wire.MaxRecord + 1 }), "entry_max 131073"},
		"no anchor age":            {edit(func(g *wire.Genesis) { g.AnchorAge = 0 }), "anchor age 0"},
		"huge window":              {edit(func(g *wire.Genesis) { g.Window = 1 << 40 }), "window 1099511627776"},
		"huge delay":               {edit(func(g *wire.Genesis) { g.PolicyDelay = 1 << 63 }), "policy delay"},
		"no policy":                {edit(func(g *wire.Genesis) { g.PolicyBytes = nil }), "malformed policy"},
		"policy of a ledger":       {policy(func(p *wire.Policy) { p.Ledger[0] = 1 }), "must be zero"},
		"policy version 1":         {policy(func(p *wire.Policy) { p.Version = 1 }), "must be zero"},
		"policy with predecessor":  {policy(func(p *wire.Policy) { p.Previous[0] = 1 }), "must be zero"},
		"policy from later on":     {policy(func(p *wire.Policy) { p.ActiveFrom = 1 }), "must be zero"},
		"vaults only":              {policy(func(p *wire.Policy) { p.Slots = p.Slots[3:] }), "no slot for an executor"},
		"threshold 0":              {policy(func(p *wire.Policy) { p.Threshold = 0 }), "threshold: 0 of 3"},
		"threshold 4":              {policy(func(p *wire.Policy) { p.Threshold = 4 }), "threshold: 4 of 3"},
	} {
		if _, _, id, err := c.file.Open(); err == nil || !strings.Contains(err.Error(), c.want) || id != (wire.Hash{}) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
	}
	good := signGenesis(goodGenesis(), 0, 1)
	b := good.Encode()
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		f, err := wire.ParseGenesisFile(changed)
		if err == nil {
			_, _, _, err = f.Open()
		}
		if err == nil {
			t.Fatalf("byte %d of the genesis file changed: still good", i)
		}
	}
}

func TestRefusedLists(t *testing.T) {
	t.Parallel()
	swap := func(f func(*wire.Policy)) []byte {
		p := goodPolicy()
		f(&p)
		return p.Encode()
	}
	g := goodGenesis()
	g.Order.Validators[0], g.Order.Validators[1] = g.Order.Validators[1], g.Order.Validators[0]
	unsorted := wire.Core{Adds: []wire.Add{{Slot: 2}, {Slot: 1}}}
	twice := wire.Core{Keys: []wire.MemberKey{{Slot: 2}, {Slot: 2}}}
	for name, err := range map[string]error{
		"administrators":    second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Admins[0], p.Admins[1] = p.Admins[1], p.Admins[0] }))),
		"roots":             second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Roots[1] = p.Roots[0] }))),
		"slots":             second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Slots[1].Slot = 1 }))),
		"slot kind":         second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Slots[1].Kind = 3 }))),
		"flags":             second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Flags = 4 }))),
		"short measurement": second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.Programs[0].Measurement = make([]byte, 31) }))),
		"status no UTF-8":   second(wire.ParsePolicy(swap(func(p *wire.Policy) { p.TCBStatuses[0] = "\xff" }))),
		"validators":        second(wire.ParseGenesis(g.Encode())),
		"adds":              second(wire.ParseCore(unsorted.Encode())),
		"keys":              second(wire.ParseCore(twice.Encode())),
	} {
		if !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
}

// TestMessages compares the messages and hashes that are signed, field by field, with NAME.
func TestMessages(t *testing.T) {
	t.Parallel()
	l, h, iid, pk, hpk, qid := filled(1), filled(2), filled(3), public(seeded(4)), filledSlice(5), [16]byte{6}
	c := wire.Checkpoint{Position: 7, Chain: filled(8)}
	adds, removes := []wire.Add{{Slot: 1, Incarnation: iid, JoinPosition: 2, Released: 3}}, []wire.Remove{{Slot: 4, Incarnation: h, Reason: 5, Position: 6}}
	lists := slices.Concat(
		wire.U32(1), wire.U16(1), iid[:], wire.U64(2), wire.U64(3),
		wire.U32(1), wire.U16(4), h[:], wire.U8(5), wire.U64(6),
	)
	change := sha256.Sum256(lists)
	sum := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	bytesOf := func(h wire.Hash) []byte { return h[:] }
	outcome := wire.Outcome{Code: 1, Message: "m"}
	for name, x := range map[string]struct{ got, want []byte }{
		"operator":    {wire.OperatorMessage(l, 9, pk, hpk), wire.Name("OPERATOR", l[:], wire.U16(9), pk[:], hpk)},
		"report":      {bytesOf(wire.ReportSubject(l, 9, pk, hpk, 10, 11, h)), sum(wire.Name("REPORT", l[:], wire.U16(9), pk[:], hpk, wire.U64(10), wire.U64(11), h[:]))},
		"approve":     {wire.ApproveMessage(l, h, 12, adds, removes), wire.Name("APPROVE", l[:], h[:], wire.U64(12), change[:])},
		"checkpoint":  {wire.CheckpointMessage(l, iid, c), wire.Name("CHECKPOINT", l[:], iid[:], c.Encode())},
		"fresh":       {wire.FreshMessage(l, qid, 13, h), wire.Name("FRESH", l[:], qid[:], wire.U64(13), h[:])},
		"incarnation": {bytesOf(wire.IncarnationID(pk)), sum(wire.Name("INCARNATION", pk[:]))},
		"T":           {bytesOf(wire.NextT(h, []byte("core"))), sum(wire.Name("T", h[:], []byte("core")))},
		"outcomes":    {bytesOf(wire.NextOutcomes(h, l)), sum(wire.Name("OUTCOMES", h[:], l[:]))},
		"leaf":        {wire.Leaf(l, 14, 15, h, outcome, iid), wire.Name("LEAF", l[:], wire.U64(14), wire.U32(15), h[:], sum(outcome.Encode()), iid[:])},
		"request key": {bytesOf(wire.RequestKeyID(hpk)), sum(wire.Name("RK", hpk))},
		"account":     {bytesOf(wire.AccountID(wire.SchemeEd25519, pk[:])), sum(wire.Name("ACCOUNT", []byte{1}, pk[:]))},
		"KeyInfo":     {wire.KeyInfo{Slot: 1}.Message(), wire.Name("KEYINFO", wire.KeyInfo{Slot: 1}.Encode())},
		"command":     {wire.Command{Nonce: 1}.Message(), wire.Name("COMMAND", wire.Command{Nonce: 1}.Encode())},
		"query":       {wire.Query{NotAfter: 1}.Message(), wire.Name("QUERY", wire.Query{NotAfter: 1}.Encode())},
		"policy":      {bytesOf(goodPolicy().Hash()), sum(wire.Name("POLICY", goodPolicy().Encode()))},
		"genesis":     {bytesOf(goodGenesis().ID()), sum(wire.Name("GENESIS", goodGenesis().Encode()))},
		"signed":      {bytesOf(wire.SignedHash([]byte("signed"))), sum([]byte("signed"))},
	} {
		if !bytes.Equal(x.got, x.want) {
			t.Errorf("%s: %x, wanted %x", name, x.got, x.want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got, want := string(wire.Name("X", []byte("ab"), nil)), "\x00\x00\x00\x0fhitoku-ledger/1\x00\x00\x00\x01X\x00\x00\x00\x02ab\x00\x00\x00\x00"; got != want {
		t.Errorf("NAME is %q, wanted %q", got, want)
	}
	if id := wire.AccountID(wire.SchemeNone, bytes.Repeat([]byte{7}, 20)); id != [32]byte(append(make([]byte, 12), bytes.Repeat([]byte{7}, 20)...)) {
		t.Errorf("account of scheme 0 is %x", id)
	}
	seen := map[wire.Hash]string{}
	for name, h := range map[string]wire.Hash{
		"one item":       wire.Sum("X", []byte("ab")),
		"two items":      wire.Sum("X", []byte("a"), []byte("b")),
		"other boundary": wire.Sum("X", []byte(""), []byte("ab")),
		"other name":     wire.Sum("Xa", []byte("b")),
	} {
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[h] = name
	}
}
