package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

// adminKeys are keys from files; the private part is nil where somebody else keeps it.
type adminKeys struct {
	keys      []adminKey
	operators *adminKeys // where these are the administrators of a new ledger
}

type adminKey struct {
	file    string
	public  [32]byte
	private ed25519.PrivateKey
	made    bool // it is new, and not in its file yet
}

// write writes the keys that were made, those of the operators too.
func (k *adminKeys) write() error {
	if k == nil {
		return nil
	}
	for _, e := range k.keys {
		if !e.made {
			continue
		}
		if err := keyfile.Write(e.file, e.private); err != nil {
			return err
		}
	}
	return k.operators.write()
}

func readAdminKeys(files []string) (*adminKeys, error) {
	k := &adminKeys{}
	for _, f := range files {
		public, private, err := keyfile.Read(f)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, adminKey{file: f, public: public, private: private})
	}
	return k, nil
}

func (k *adminKeys) files() []string {
	var out []string
	for _, e := range k.keys {
		out = append(out, e.file)
	}
	return out
}

// ascending returns the public keys as a policy lists them.
func (k *adminKeys) ascending() ([][32]byte, error) {
	var out [][32]byte
	for _, e := range k.keys {
		out = append(out, e.public)
	}
	slices.SortFunc(out, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	if n := len(slices.Compact(slices.Clone(out))); n != len(out) {
		return nil, fmt.Errorf("%d administrator keys, of which only %d are different", len(out), n)
	}
	return out, nil
}

// sign makes the signatures of the keys that are at hand and in the policy, by ascending index.
func (k *adminKeys) sign(p wire.Policy, message []byte) []wire.AdminSignature {
	var out []wire.AdminSignature
	for i, admin := range p.Admins {
		for _, e := range k.keys {
			if e.public == admin && e.private != nil {
				out = append(out, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(e.private, message))})
				break
			}
		}
	}
	return out
}

// ledgerProgram finds the node's program.
func ledgerProgram(given string) (string, error) { return besides(given, "hitoku-ledger", "--program") }

// besides is a program that was named, or the one beside this program.
func besides(given, name, flag string) (string, error) {
	if given != "" {
		return given, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(exe), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside hitoku in %s; build it with `make build`, or name it with %s", name, filepath.Dir(exe), flag)
	}
	return path, nil
}

// applications are those that were named, or those that the program says it has.
func applications(ctx context.Context, program string, given []string) ([]wire.Application, error) {
	var out []wire.Application
	for _, g := range given {
		name, version, ok := strings.Cut(g, "=")
		if !ok || name == "" || version == "" {
			return nil, usageError{fmt.Errorf("--application %q: wanted NAME=VERSION", g)}
		}
		out = append(out, wire.Application{Name: name, Version: version})
	}
	if len(out) > 0 {
		return out, nil
	}
	if program == "" {
		return nil, errors.New("name the applications with --application NAME=VERSION: there is no program here to ask")
	}
	raw, err := exec.CommandContext(ctx, program, "--applications").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its applications: %w; name them with --application NAME=VERSION", program, err)
	}
	var has []struct{ Name, Version, Access string }
	if err := json.Unmarshal(raw, &has); err != nil {
		return nil, fmt.Errorf("%s --applications gave %.80q, wanted a list of names and versions", program, raw)
	}
	for _, a := range has {
		// What takes commands without signatures is there only for those who ask for it by name.
		if a.Access == "signatures" {
			out = append(out, wire.Application{Name: a.Name, Version: a.Version})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no application that wants signatures; name those of this ledger with --application NAME=VERSION", program)
	}
	return out, nil
}

// looseGenesis reads a genesis file that may lack signatures.
func looseGenesis(file string) (f wire.GenesisFile, g wire.Genesis, p wire.Policy, err error) {
	raw, err := os.ReadFile(file)
	if err == nil {
		f, err = wire.ParseGenesisFile(raw)
	}
	if err == nil {
		g, err = wire.ParseGenesis(f.Genesis)
	}
	if err == nil {
		p, err = wire.ParsePolicy(g.PolicyBytes)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return f, g, p, err
}

// adminIndex is a key's place among a policy's administrators.
func adminIndex(p wire.Policy, key ed25519.PrivateKey) (uint8, error) {
	i := slices.Index(p.Admins, [32]byte(key[ed25519.SeedSize:]))
	if i < 0 {
		return 0, fmt.Errorf("not the key of one of the %d administrators of this ledger", len(p.Admins))
	}
	return uint8(i), nil
}

// mergeSignature puts a signature into its place, instead of an older one of the same administrator.
func mergeSignature(list []wire.AdminSignature, s wire.AdminSignature) []wire.AdminSignature {
	out := slices.DeleteFunc(slices.Clone(list), func(o wire.AdminSignature) bool { return o.Index == s.Index })
	out = append(out, s)
	slices.SortFunc(out, func(a, b wire.AdminSignature) int { return int(a.Index) - int(b.Index) })
	return out
}
