package wire

import (
	"bytes"
	"cmp"
	"fmt"
)

const genesisVersion = 1

func (w *writer) order(o Order) {
	w.u8(o.Driver)
	w.u64(o.ChainID)
	w.raw(o.Contract[:])
	w.u8(o.Finality)
	w.u32(o.Confirmations)
	w.u8(o.Endpoints)
	writeList(w, o.Validators, func(v [20]byte) { w.raw(v[:]) })
}

func (r *reader) order() (o Order) {
	o.Driver = r.oneOf("order driver", DriverEmbedded, DriverEthereum)
	o.ChainID = r.u64("chain id")
	copy(o.Contract[:], r.take(20, "contract"))
	o.Finality = r.oneOf("finality", FinalityConfirmations, FinalityFinalized, FinalityImmediate)
	o.Confirmations = r.u32("confirmations")
	o.Endpoints = r.u8("endpoints")
	o.Validators = list(r, MaxValidators, 20, "validators", func() (v [20]byte) {
		copy(v[:], r.take(20, "validator"))
		return v
	})
	ascending(r, "validators", o.Validators, func(a, b [20]byte) int { return bytes.Compare(a[:], b[:]) })
	return o
}

// Encode writes the genesis.
func (g Genesis) Encode() []byte {
	var w writer
	w.u8(genesisVersion)
	w.u8(uint8(g.Suite))
	w.text(g.Name)
	writeList(&w, g.Applications, func(a Application) { w.text(a.Name); w.text(a.Version) })
	w.u64(g.Window)
	w.u64(g.AnchorAge)
	w.u64(g.PolicyDelay)
	w.u64(g.Rotation)
	w.u32(g.EntryMax)
	w.u32(g.CheckpointEvery)
	w.u8(g.Flags)
	w.order(g.Order)
	w.lv(g.PolicyBytes)
	return w.b
}

// ParseGenesis reads a genesis. It judges the bytes; [GenesisFile.Open] judges the whole.
func ParseGenesis(b []byte) (Genesis, error) {
	return parse("genesis", b, MaxGenesis, func(r *reader) (g Genesis) {
		r.oneOf("version", genesisVersion)
		g.Suite = Suite(r.oneOf("suite", uint8(SuiteX25519), uint8(SuiteHybrid)))
		g.Name = r.text(MaxName, "name")
		g.Applications = list(r, MaxApplications, 8, "applications", func() Application {
			return Application{Name: r.text(MaxName, "application name"), Version: r.text(MaxName, "application version")}
		})
		g.Window = r.u64("window")
		g.AnchorAge = r.u64("anchor age")
		g.PolicyDelay = r.u64("policy delay")
		g.Rotation = r.u64("rotation")
		g.EntryMax = r.u32("entry_max")
		g.CheckpointEvery = r.u32("checkpoint_every")
		g.Flags = r.flags("flags", GenesisCryptoBox)
		g.Order = r.order()
		g.PolicyBytes = r.lv(MaxGenesis, "policy")
		return g
	})
}

func (w *writer) adminSignatures(list []AdminSignature) {
	writeList(w, list, func(s AdminSignature) { w.u8(s.Index); w.raw(s.Signature[:]) })
}

// adminSignatures reads signatures with ascending indices.
func (r *reader) adminSignatures(field string) []AdminSignature {
	out := list(r, MaxAdmins, 65, field, func() AdminSignature {
		return AdminSignature{Index: r.u8(field), Signature: r.signature(field)}
	})
	ascending(r, field, out, func(a, b AdminSignature) int { return cmp.Compare(a.Index, b.Index) })
	return out
}

// Encode writes the genesis file.
func (f GenesisFile) Encode() []byte {
	var w writer
	w.lv(f.Genesis)
	w.adminSignatures(f.Signatures)
	return w.b
}

// ParseGenesisFile reads a genesis file of at most MaxGenesis bytes. Nothing in it is believed
// before [GenesisFile.Open].
func ParseGenesisFile(b []byte) (GenesisFile, error) {
	return parse("genesis file", b, MaxGenesis, func(r *reader) GenesisFile {
		return GenesisFile{Genesis: r.lv(MaxGenesis, "genesis"), Signatures: r.adminSignatures("signatures")}
	})
}

// Bounds of what a genesis may say, so that a node can hold what it must remember.
const (
	minEntry     = 4 << 10
	maxPositions = 1 << 20
)

// Open reads the genesis and its policy, checks what they say, and that at least m administrators
// signed. It returns the ledger id.
func (f GenesisFile) Open() (Genesis, Policy, Hash, error) {
	g, err := ParseGenesis(f.Genesis)
	if err != nil {
		return Genesis{}, Policy{}, Hash{}, err
	}
	p, err := ParsePolicy(g.PolicyBytes)
	if err == nil {
		err = g.check(p)
	}
	if err == nil {
		err = VerifyAdmins(p, g.Message(), f.Signatures)
	}
	if err != nil {
		return Genesis{}, Policy{}, Hash{}, fmt.Errorf("genesis of %q: %w", g.Name, err)
	}
	return g, p, g.ID(), nil
}

// check applies the rules of section 2 that are not about bytes.
func (g Genesis) check(p Policy) error {
	names := map[string]bool{}
	for _, a := range g.Applications {
		if a.Name == "" || names[a.Name] {
			return fmt.Errorf("%w: application %q is empty or stands there twice", ErrMalformed, a.Name)
		}
		names[a.Name] = true
	}
	executors := 0
	for _, s := range p.Slots {
		if s.Kind == KindExecutor {
			executors++
		}
	}
	switch {
	case len(g.Applications) == 0:
		return fmt.Errorf("%w: no application, wanted at least one", ErrMalformed)
	case executors == 0:
		return fmt.Errorf("%w: no slot for an executor, wanted at least one", ErrMalformed)
	case p.Ledger != Hash{} || p.Version != 0 || p.Previous != Hash{} || p.ActiveFrom != 0:
		return fmt.Errorf("%w: the first policy names a ledger, version, predecessor or position; all must be zero", ErrMalformed)
	case g.EntryMax < minEntry || g.EntryMax > MaxRecord:
		return fmt.Errorf("%w: entry_max %d, wanted %d to %d", ErrMalformed, g.EntryMax, minEntry, MaxRecord)
	case g.AnchorAge == 0 || g.AnchorAge > maxPositions || g.Window > maxPositions || g.PolicyDelay > maxPositions:
		return fmt.Errorf("%w: anchor age %d, window %d, policy delay %d; wanted at most %d, the first not zero", ErrMalformed, g.AnchorAge, g.Window, g.PolicyDelay, maxPositions)
	}
	return nil
}
