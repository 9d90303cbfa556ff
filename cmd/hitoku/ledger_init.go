package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

// firstPort is that of the first slot's node in the commands that init prints.
const firstPort = 7411

// genesisName is the genesis file in a new ledger's folder.
const genesisName = "genesis"

type ledgerInitOptions struct {
	output
	dir  string
	name string

	program      string
	applications []string
	executors    int
	vaults       int
	admins       int
	adminFiles   []string
	threshold    int
	operators    []string

	suite           string
	window          uint64
	anchorAge       uint64
	policyDelay     uint64
	rotation        time.Duration
	entryMax        uint32
	checkpointEvery uint32
	cryptoBox       bool

	policy ledgerPolicyFlags
	order  ledgerOrderFlags
}

func newLedgerInitCommand() *cobra.Command {
	var o ledgerInitOptions
	cmd := &cobra.Command{
		Use:   "init [flags] DIR",
		Short: "Found a ledger: its genesis, the keys of administrators and operators, its policy",
		Long: `Found a ledger. The genesis says for ever what the ledger is: its applications, its
slots, who administers it, which programs may be its nodes, and where its records
are put in order. Its hash is the ledger id, which clients pin.

Keys are made in the folder, one file each (mode 0600), and nothing that is there is
overwritten. Keys that others have made are given as files: --admin and --operator
take private keys, and public ones, whose owners keep theirs. When the private keys
at hand are fewer than --threshold, the others sign afterwards with
"hitoku ledger admin sign".

Which program may be a node:
  --simulated                       the hitoku-ledger beside hitoku, under a simulated TEE
                                    whose authority is made in DIR/simulated
  --trust-simulated-root FILE       the same, under a simulated TEE that is there already;
                                    with --simulated, under either
  --measurement HEX --root FILE     an approved program under a real TEE (default root: Intel's)`,
		Example: `  hitoku ledger init shop --simulated
  hitoku ledger init shop --simulated --order chain --endpoint http://127.0.0.1:8545 --deployer-key deployer.key`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			o.dir = a[0]
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the ledger, for people (default: the name of DIR)")
	f.StringVar(&o.program, "program", "", "the node's `program` (default: hitoku-ledger beside hitoku)")
	f.StringArrayVar(&o.applications, "application", nil, "`NAME=VERSION` of an application, may be repeated (default: those of the program that want signatures)")
	f.IntVar(&o.executors, "executors", 3, "`number` of slots for executors; more than half of them must agree")
	f.IntVar(&o.vaults, "vaults", 1, "`number` of slots for vaults; without one, the state is lost when all executors stop at once")
	f.IntVar(&o.admins, "admins", 1, "`number` of administrator keys to make, where no --admin is given")
	f.StringArrayVar(&o.adminFiles, "admin", nil, "`file` with an administrator's key, private or public; may be repeated")
	f.IntVar(&o.threshold, "threshold", 0, "`number` of administrators that must sign (default: more than half)")
	f.StringArrayVar(&o.operators, "operator", nil, "`file` with the key of a slot's operator, private or public; may be repeated, in the order of slots (default: one is made for each slot)")
	f.StringVar(&o.suite, "suite", "x25519", "encryption to nodes: x25519, or hybrid (ML-KEM-768 and X25519)")
	f.Uint64Var(&o.window, "window", 64, "for how many `positions` after a rotation records of the epoch before are taken")
	f.Uint64Var(&o.anchorAge, "anchor-age", 256, "after how many `positions` a record that is not in order yet is void")
	f.Uint64Var(&o.policyDelay, "policy-delay", 256, "how many `positions` before it takes effect a policy must be known")
	f.DurationVar(&o.rotation, "rotation", time.Hour, "`time` between rotations of the keys; 0: only on demand")
	f.Uint32Var(&o.entryMax, "entry-max", 0, "longest record in `bytes` (default: 131072, with --order chain 120000)")
	f.Uint32Var(&o.checkpointEvery, "checkpoint-every", 100, "after how many `positions` a checkpoint goes to the log")
	f.BoolVar(&o.cryptoBox, "crypto-box", false, "take requests in Anonify's crypto_box form, for applications that check no signatures")
	o.policy.register(f)
	o.order.register(f)
	o.flag(cmd)
	return cmd
}

// founded is what init tells.
type founded struct {
	Ledger         string   `json:"ledger"`
	Genesis        string   `json:"genesis"`
	Name           string   `json:"name"`
	Applications   []string `json:"applications"`
	Administrators []string `json:"administrator_keys"`
	Threshold      int      `json:"threshold"`
	Signatures     int      `json:"signatures"`
	Operators      []string `json:"operator_keys"`
	Measurement    string   `json:"measurement"`
	Simulated      bool     `json:"simulated"`
	Authority      string   `json:"simulated_authority,omitempty"` // folder
	Order          string   `json:"order"`
	Contract       string   `json:"contract,omitempty"`
}

func (o *ledgerInitOptions) run(cmd *cobra.Command) error {
	if err := o.check(); err != nil {
		return usageError{fmt.Errorf("ledger init: %w", err)}
	}
	if err := o.found(cmd); err != nil {
		return fmt.Errorf("ledger init: %w", err)
	}
	return nil
}

func (o *ledgerInitOptions) check() error {
	switch {
	case o.executors < 1 || o.vaults < 0 || o.executors+o.vaults > 256:
		return fmt.Errorf("--executors %d --vaults %d: wanted at least 1 executor and at most 256 slots", o.executors, o.vaults)
	case len(o.operators) != 0 && len(o.operators) != o.executors+o.vaults:
		return fmt.Errorf("--operator is given %d times for %d slots; give one for each, or none", len(o.operators), o.executors+o.vaults)
	case o.suite != "x25519" && o.suite != "hybrid":
		return fmt.Errorf("--suite %q: wanted x25519 or hybrid", o.suite)
	case o.rotation < 0 || o.rotation%time.Second != 0:
		return fmt.Errorf("--rotation %s: wanted whole seconds, or 0", o.rotation)
	case o.window == 0 || o.anchorAge == 0:
		return errors.New("--window and --anchor-age: wanted at least 1")
	}
	if len(o.adminFiles) > 0 {
		o.admins = len(o.adminFiles)
	}
	if o.threshold == 0 {
		o.threshold = o.admins/2 + 1
	}
	if o.admins < 1 || o.admins > 16 || o.threshold < 1 || o.threshold > o.admins {
		return fmt.Errorf("%d administrators of whom %d must sign: wanted 1 to 16, and a threshold from 1 to their number", o.admins, o.threshold)
	}
	return errors.Join(o.policy.check(), o.order.check())
}

func (o *ledgerInitOptions) found(cmd *cobra.Command) error {
	program, err := ledgerProgram(o.program)
	if err != nil && !o.policy.measured() {
		return err
	}
	apps, err := applications(cmd.Context(), program, o.applications)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	out := filepath.Join(o.dir, genesisName)
	if _, err := os.Lstat(out); err == nil {
		return fmt.Errorf("%s is there already: DIR is a ledger; name another folder", out)
	}
	policy, err := o.policy.build(o.dir, program)
	if err != nil {
		return err
	}
	order, err := o.order.genesis(cmd.Context())
	if err != nil {
		return err
	}
	keys, err := o.keys(&policy)
	if err != nil {
		return err
	}
	if o.name == "" {
		o.name = filepath.Base(mustAbs(o.dir))
	}
	g := wire.Genesis{
		Suite: wire.SuiteX25519, Name: o.name, Applications: apps, Window: o.window, AnchorAge: o.anchorAge,
		PolicyDelay: o.policyDelay, Rotation: uint64(o.rotation / time.Second), EntryMax: o.entryMax,
		CheckpointEvery: o.checkpointEvery, Order: order, PolicyBytes: policy.Encode(),
	}
	if o.suite == "hybrid" {
		g.Suite = wire.SuiteHybrid
	}
	if g.EntryMax == 0 {
		g.EntryMax = defaultEntryMax(order.Driver)
	}
	if o.cryptoBox {
		g.Flags |= wire.GenesisCryptoBox
	}
	file := wire.GenesisFile{Genesis: g.Encode(), Signatures: keys.sign(policy, g.Message())}
	if len(file.Signatures) >= o.threshold {
		if _, _, _, err := file.Open(); err != nil {
			return fmt.Errorf("the new genesis is refused: %w", err)
		}
	}
	// What is refused leaves nothing behind that a second try would stumble over.
	if err := keys.write(); err != nil {
		return err
	}
	if err := keyfile.WriteNew(out, file.Encode(), 0o644); err != nil {
		return err
	}
	return o.tell(cmd, g, policy, keys, out, len(file.Signatures))
}

func mustAbs(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// keys draws or reads the administrators' and operators' keys, and puts them into the policy.
func (o *ledgerInitOptions) keys(p *wire.Policy) (*adminKeys, error) {
	admins, err := o.keyFiles(o.adminFiles, "admin", o.admins)
	if err != nil {
		return nil, err
	}
	operators, err := o.keyFiles(o.operators, "operator", o.executors+o.vaults)
	if err != nil {
		return nil, err
	}
	p.Threshold = uint8(o.threshold)
	if p.Admins, err = admins.ascending(); err != nil {
		return nil, err
	}
	for i, k := range operators.keys {
		s := wire.Slot{Slot: uint16(i + 1), Kind: wire.KindExecutor, Operator: k.public}
		if i >= o.executors {
			s.Kind = wire.KindVault
		}
		p.Slots = append(p.Slots, s)
	}
	admins.operators = operators
	return admins, nil
}

// keyFiles reads the files, or draws so many keys for new files in the folder.
func (o *ledgerInitOptions) keyFiles(files []string, kind string, number int) (*adminKeys, error) {
	if len(files) > 0 {
		return readAdminKeys(files)
	}
	k := &adminKeys{}
	for i := range number {
		path := filepath.Join(o.dir, fmt.Sprintf("%s-%d.key", kind, i+1))
		private, err := keyfile.Generate(rand.Reader)
		if err != nil {
			return nil, err
		}
		k.keys = append(k.keys, adminKey{file: path, public: [32]byte(private[32:]), private: private, made: true})
	}
	return k, nil
}

func (o *ledgerInitOptions) tell(cmd *cobra.Command, g wire.Genesis, p wire.Policy, keys *adminKeys, out string, signatures int) error {
	id := g.ID()
	v := founded{
		Ledger: hex.EncodeToString(id[:]), Genesis: out, Name: g.Name, Administrators: keys.files(), Threshold: o.threshold,
		Signatures: signatures, Operators: keys.operators.files(), Simulated: p.Flags&wire.PolicySimulated != 0, Authority: o.policy.authority(o.dir), Order: o.order.driver,
	}
	if len(p.Programs) > 0 {
		v.Measurement = hex.EncodeToString(p.Programs[0].Measurement)
	}
	for _, a := range g.Applications {
		v.Applications = append(v.Applications, a.Name+"="+a.Version)
	}
	if g.Order.Driver == wire.DriverEthereum {
		v.Contract = "0x" + hex.EncodeToString(g.Order.Contract[:])
	}
	return o.print(cmd, v, func(w io.Writer) { v.show(w, o) })
}

func (v *founded) show(w io.Writer, o *ledgerInitOptions) {
	fmt.Fprintf(w, "ledger\t%s\nname\t%s\napplications\t%s\ngenesis\t%s\n", v.Ledger, v.Name, list(v.Applications), v.Genesis)
	fmt.Fprintf(w, "administrators\t%d, of whom %d must sign: %s\n", len(v.Administrators), v.Threshold, list(v.Administrators))
	fmt.Fprintf(w, "operators\t%s\nmeasurement\t%s\n", list(v.Operators), v.Measurement)
	if v.Simulated {
		fmt.Fprintln(w, "TEE\tsimulated: it protects nothing from the owner of the machine")
	}
	if v.Contract != "" {
		fmt.Fprintf(w, "contract\t%s (not deployed yet)\n", v.Contract)
	}
	if v.Signatures < v.Threshold {
		fmt.Fprintf(w, "\n%d of %d signatures are there. Let the others sign:\n  hitoku ledger admin sign --genesis %s --key KEY\n", v.Signatures, v.Threshold, v.Genesis)
		return
	}
	v.next(w, o)
}

// next says which commands bring the ledger up.
func (v *founded) next(w io.Writer, o *ledgerInitOptions) {
	fmt.Fprint(w, "\nNext:\n")
	order := "--log 127.0.0.1:7400"
	if v.Contract != "" {
		order = "--endpoint " + or(o.order.endpoint) + " --submit-key SUBMIT.key"
		fmt.Fprintf(w, "  hitoku ledger deploy --genesis %s --endpoint %s --key %s --submitter 0x…\n", v.Genesis, or(o.order.endpoint), or(o.order.deployerKey))
	} else {
		fmt.Fprintf(w, "  hitoku ledger log --dir %s --listen 127.0.0.1:7400\n", filepath.Join(o.dir, "log"))
	}
	if v.Authority == "" {
		fmt.Fprintln(w, "  the nodes, each in a converted image: docs/ledger.md says how")
	} else {
		var peers strings.Builder
		for i := range v.Operators {
			fmt.Fprintf(&peers, " --peer %d=https://127.0.0.1:%d", i+1, firstPort+i)
		}
		for i, key := range v.Operators {
			kind := "node"
			if i >= o.executors {
				kind = "vault"
			}
			fmt.Fprintf(w, "  hitoku ledger %s --genesis %s --slot %d --operator-key %s --dir %s --listen 127.0.0.1:%d --simulated %s %s%s\n", kind, v.Genesis, i+1,
				key, filepath.Join(o.dir, fmt.Sprintf("%s-%d", kind, i+1)), firstPort+i, v.Authority, order, peers.String())
		}
	}
	fmt.Fprintf(w, "  hitoku ledger admin approve --genesis %s --node https://127.0.0.1:%d --key %s\n", v.Genesis, firstPort, v.Administrators[0])
}
