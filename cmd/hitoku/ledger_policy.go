package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/ledger/simhost"
	"hitoku.dev/internal/ledger/wire"
)

// simulatedFolder is the simulated TEE's authority in a new ledger's folder.
const simulatedFolder = "simulated"

// ledgerPolicyFlags say which programs may be nodes.
type ledgerPolicyFlags struct {
	simulated     bool
	simulatedRoot string
	roots         []string
	measurements  []string
	signer        string
	minSVN        uint16
	statuses      []string
	minEvaluation uint32
	evidenceAge   time.Duration
	debug         bool
}

func (o *ledgerPolicyFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&o.simulated, "simulated", false, "accept nodes under a simulated TEE, whose authority is made in DIR/simulated")
	f.StringVar(&o.simulatedRoot, "trust-simulated-root", "", "PEM `file` of a simulated root that is accepted; with --simulated, beside the one that is made")
	f.StringArrayVar(&o.roots, "root", nil, "PEM `file` of a TEE maker's root, may be repeated (default: Intel's)")
	f.StringArrayVar(&o.measurements, "measurement", nil, "measurement in `hex` of a program that may be a node, may be repeated (default: that of --program under the simulated TEE)")
	f.StringVar(&o.signer, "signer", "", "signer (MRSIGNER) in `hex` that the programs must have (default: any)")
	f.Uint16Var(&o.minSVN, "min-svn", 0, "lowest security `version` of the programs")
	f.StringArrayVar(&o.statuses, "tcb-status", []string{"UpToDate"}, "TCB `status` that is accepted, may be repeated")
	f.Uint32Var(&o.minEvaluation, "min-tcb-evaluation", 0, "lowest evaluation `number` of the maker's collateral")
	f.DurationVar(&o.evidenceAge, "evidence-age", 24*time.Hour, "after what `time` a node's evidence must be renewed")
	f.BoolVar(&o.debug, "allow-debug", false, "accept programs that can be debugged: nothing in them is secret")
}

func (o *ledgerPolicyFlags) check() error {
	switch {
	case o.simulated && len(o.roots) > 0:
		return errors.New("--simulated makes the root; leave --root out: a ledger with a simulated root protects nothing")
	case o.simulatedRoot != "" && len(o.roots) > 0:
		return errors.New("--trust-simulated-root and --root exclude each other: a ledger with a simulated root protects nothing")
	case !o.simulated && o.simulatedRoot == "" && len(o.measurements) == 0:
		return errors.New("say what may be a node: --measurement HEX for a program under a real TEE, or --simulated for a try on this machine")
	case o.evidenceAge < time.Minute || o.evidenceAge%time.Second != 0:
		return fmt.Errorf("--evidence-age %s: wanted whole seconds, at least a minute", o.evidenceAge)
	}
	for _, m := range o.measurements {
		if raw, err := hex.DecodeString(m); err != nil || len(raw) < 32 || len(raw) > 64 {
			return fmt.Errorf("--measurement %q: wanted 64 to 128 hexadecimal digits", m)
		}
	}
	if raw, err := hex.DecodeString(o.signer); err != nil || len(raw) != 0 && len(raw) != 32 {
		return fmt.Errorf("--signer %q: wanted 64 hexadecimal digits", o.signer)
	}
	return nil
}

// measured says that no program file is needed.
func (o *ledgerPolicyFlags) measured() bool { return len(o.measurements) > 0 }

// authority is the folder of the simulated TEE's authority, empty where the founder has none.
func (o *ledgerPolicyFlags) authority(dir string) string {
	switch {
	case o.simulated:
		return filepath.Join(dir, simulatedFolder)
	case o.simulatedRoot != "" && filepath.Base(o.simulatedRoot) == simhost.RootFile:
		return filepath.Dir(o.simulatedRoot)
	}
	return ""
}

// build makes the part of Policy_0 that speaks about programs. With --simulated it makes the authority.
func (o *ledgerPolicyFlags) build(dir, program string) (wire.Policy, error) {
	p := wire.Policy{TCBStatuses: slices.Clone(o.statuses), MinEvaluation: o.minEvaluation, EvidenceAge: uint64(o.evidenceAge / time.Second)}
	if o.debug {
		p.Flags |= wire.PolicyDebug
	}
	signer, err := hex.DecodeString(o.signer)
	if err != nil {
		return p, err
	}
	switch {
	case o.simulated:
		a, err := simhost.OpenAuthority(filepath.Join(dir, simulatedFolder), rand.Reader, time.Now())
		if err != nil {
			return p, err
		}
		if len(signer) == 0 {
			s := a.Signer()
			signer = s[:]
		}
		p.Roots = []wire.Hash{a.Root()}
		if o.simulatedRoot != "" { // nodes under another authority too
			root, err := rootHash(o.simulatedRoot)
			if err != nil {
				return p, err
			}
			p.Roots = append(p.Roots, root)
			slices.SortFunc(p.Roots, func(a, b wire.Hash) int { return slices.Compare(a[:], b[:]) })
			p.Roots = slices.Compact(p.Roots)
		}
		p.Flags |= wire.PolicySimulated
	case o.simulatedRoot != "":
		root, err := rootHash(o.simulatedRoot)
		if err != nil {
			return p, err
		}
		p.Roots = []wire.Hash{root}
		p.Flags |= wire.PolicySimulated
	default:
		if p.Roots, err = o.realRoots(); err != nil {
			return p, err
		}
	}
	if p.Programs, err = o.programs(program, signer); err != nil {
		return p, err
	}
	return p, nil
}

func (o *ledgerPolicyFlags) realRoots() ([]wire.Hash, error) {
	if len(o.roots) == 0 {
		return []wire.Hash{attest.SPKIHash(dcap.IntelRoot().RawSubjectPublicKeyInfo)}, nil
	}
	var out []wire.Hash
	for _, file := range o.roots {
		h, err := rootHash(file)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b wire.Hash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out), nil
}

func (o *ledgerPolicyFlags) programs(program string, signer []byte) ([]wire.Program, error) {
	var out []wire.Program
	for _, m := range o.measurements {
		raw, err := hex.DecodeString(m)
		if err != nil {
			return nil, err
		}
		out = append(out, wire.Program{Measurement: raw, Signer: signer, MinSVN: o.minSVN})
	}
	if len(out) > 0 {
		return out, nil
	}
	m, err := simhost.Measurement(program)
	if err != nil {
		return nil, err
	}
	return []wire.Program{{Measurement: m[:], Signer: signer, MinSVN: o.minSVN}}, nil
}

// rootHash is the SHA-256 of the SubjectPublicKeyInfo of a certificate in a PEM file.
func rootHash(file string) (wire.Hash, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return wire.Hash{}, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return wire.Hash{}, fmt.Errorf("%s: no PEM certificate in it", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wire.Hash{}, fmt.Errorf("%s: %w", file, err)
	}
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo), nil
}
