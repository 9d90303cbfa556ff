package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/nodeconfig"
	"hitoku.dev/internal/ledger/simhost"
	"hitoku.dev/internal/ledger/wire"
)

// nodeStopTimeout is how long a node may take to end.
const nodeStopTimeout = 20 * time.Second

type ledgerNodeOptions struct {
	chainFeeFlags
	kind        uint8
	verb        string
	config      nodeconfig.Config
	peers       []string
	endpoints   []string
	submitKey   string
	firstBlock  uint64
	poll        time.Duration
	tick        time.Duration
	program     string
	simulated   string
	printConfig bool
}

func newLedgerNodeCommand() *cobra.Command {
	return newLedgerMemberCommand("node", wire.KindExecutor, "Run a node of a ledger that executes commands",
		"A node of a ledger: it follows the log, executes commands inside the TEE, agrees with\nthe other nodes on the outcome, and answers clients.")
}

func newLedgerVaultCommand() *cobra.Command {
	return newLedgerMemberCommand("vault", wire.KindVault, "Run a vault of a ledger, which keeps keys and executes nothing",
		"A vault of a ledger: it follows the log and keeps the keys and snapshots that nodes\nneed when all of them were stopped. It executes nothing and answers no clients.")
}

func newLedgerMemberCommand(verb string, kind uint8, short, long string) *cobra.Command {
	o := ledgerNodeOptions{kind: kind, verb: verb}
	cmd := &cobra.Command{
		Use:   verb + " --genesis FILE --slot N --operator-key FILE --dir DIR --listen ADDRESS",
		Short: short,
		Long: long + `

The program, hitoku-ledger beside hitoku, is started under a simulated TEE: formats,
evidence and refusals are real, but the simulation protects nothing from the owner of
this machine. To run it in a converted image instead, see docs/ledger.md;
--print-config writes the configuration for that.

It ends on SIGTERM or Ctrl-C; its exit code is the program's.`,
		Example: fmt.Sprintf("  hitoku ledger %s --genesis shop/genesis --slot 1 --operator-key shop/operator-1.key --dir shop/%s-1 --listen 127.0.0.1:7411 --log 127.0.0.1:7400", verb, verb),
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f, c := cmd.Flags(), &o.config
	f.StringVar(&c.Genesis, "genesis", "", "genesis `file` (required)")
	f.Uint16Var(&c.Slot, "slot", 0, "`number` of the slot (required)")
	f.StringVar(&c.OperatorKey, "operator-key", "", "`file` with the private key of the slot's operator (required)")
	f.StringVar(&c.Dir, "dir", "", "`folder` for sealed state; each slot needs its own (required)")
	f.StringVar(&c.Listen, "listen", "", "`address` for clients and other nodes, host:port (required)")
	f.StringArrayVar(&o.peers, "peer", nil, "another node, `SLOT=https://HOST:PORT`; may be repeated")
	f.StringVar(&c.Log, "log", "", "`address` of the embedded log: host:port or unix:PATH")
	f.StringArrayVar(&o.endpoints, "endpoint", nil, "chain: `URL` of a JSON-RPC endpoint; may be repeated")
	f.StringVar(&o.submitKey, "submit-key", "", "chain: `file` with the private key of an account that may submit")
	f.Uint64Var(&o.firstBlock, "first-block", 0, "chain: the `block` in which the contract was deployed")
	f.DurationVar(&o.poll, "poll", time.Second, "chain: `time` between two looks at it")
	f.DurationVar(&o.tick, "tick", 0, "`time` for which commands are gathered into one record (default: 20ms with the embedded log, 200ms with a chain)")
	f.Uint64Var(&c.VaultEpochs, "keep-epochs", 0, "vault: `number` of epochs whose keys it keeps (default 16)")
	f.BoolVar(&c.DetailedMetrics, "detailed-metrics", false, "show counts in /metrics that padding hides from the host otherwise")
	f.StringVar(&c.Collateral, "collateral", "", "`file` or folder of the TEE maker's collateral (simulated: it comes with the TEE)")
	f.BoolVar(&c.LogJSON, "json", false, "log JSON lines")
	f.StringVar(&o.simulated, "simulated", "", "`folder` of the simulated TEE's authority (default: simulated beside the genesis)")
	f.StringVar(&o.program, "program", "", "the `program` to run (default: hitoku-ledger beside hitoku)")
	f.BoolVar(&o.printConfig, "print-config", false, "print the configuration for hitoku-ledger in a converted image, and run nothing")
	o.chainFeeFlags.register(f)
	return cmd
}

func (o *ledgerNodeOptions) run(cmd *cobra.Command) error {
	if err := o.complete(); err != nil {
		return usageError{fmt.Errorf("ledger %s: %w", o.verb, err)}
	}
	if o.printConfig {
		o.config.TEE = nodeconfig.TEEApp + ":/run/hitoku/enclave.sock"
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(o.config)
	}
	err := o.start(cmd)
	var exit exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("ledger %s: %w", o.verb, err)
}

// complete makes the configuration from the flags and checks it, as far as that needs no file.
func (o *ledgerNodeOptions) complete() error {
	c := &o.config
	if c.Genesis == "" || c.Slot == 0 || c.OperatorKey == "" || c.Dir == "" || c.Listen == "" {
		return errors.New("--genesis, --slot, --operator-key, --dir and --listen are all needed")
	}
	if c.Log == "" && len(o.endpoints) == 0 {
		return errors.New("say where the records are put in order: --log ADDRESS, or --endpoint URL and --submit-key FILE")
	}
	if len(o.endpoints) > 0 {
		c.Chain = &nodeconfig.Chain{
			Endpoints: o.endpoints, Key: o.submitKey, FirstBlock: o.firstBlock, PollMilliseconds: int(o.poll / time.Millisecond),
			LegacyFees: o.fees.Legacy, GasPrice: o.fees.Price, Tip: o.fees.Tip, MaxFee: o.fees.Max,
		}
	}
	c.TickMilliseconds = int(o.tick / time.Millisecond)
	c.Peers = map[string]string{}
	for _, p := range o.peers {
		slot, link, err := nodeconfig.ParsePeer(p)
		if err != nil {
			return fmt.Errorf("--peer: %w", err)
		}
		if slot != c.Slot {
			c.Peers[strconv.Itoa(int(slot))] = link
		}
	}
	checked := *c
	checked.TEE = nodeconfig.TEEApp + ":" + checked.Dir // what is said later
	return checked.Check()
}

// start runs the program under the simulated TEE until it ends.
func (o *ledgerNodeOptions) start(cmd *cobra.Command) error {
	if err := needsLinux("a node under the simulated TEE", false); err != nil {
		return err
	}
	g, p, id, err := readGenesis(o.config.Genesis)
	if err != nil {
		return err
	}
	if err := o.config.Fits(g.Order); err != nil {
		return err
	}
	if s, ok := p.Slot(o.config.Slot); ok && s.Kind != o.kind {
		return fmt.Errorf("slot %d of this ledger is a %s's; run `hitoku ledger %[2]s`", o.config.Slot, map[uint8]string{wire.KindExecutor: "node", wire.KindVault: "vault"}[s.Kind])
	}
	program, err := ledgerProgram(o.program)
	if err != nil {
		return err
	}
	if o.simulated == "" {
		o.simulated = filepath.Join(filepath.Dir(o.config.Genesis), simulatedFolder)
	}
	if !exists(filepath.Join(o.simulated, simhost.RootFile)) {
		return fmt.Errorf("%s holds no simulated TEE; name the folder that `hitoku ledger init --simulated` made with --simulated", o.simulated)
	}
	authority, err := simhost.OpenAuthority(o.simulated, rand.Reader, time.Now())
	if err != nil {
		return err
	}
	home := filepath.Join(o.config.Dir, "machine")
	forgetTEE(home)
	machine, err := authority.Start(cmd.Context(), simhost.MachineOptions{
		Dir: home, Program: program, SVN: 1, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
	})
	if err != nil {
		return err
	}
	defer machine.Close()
	if err := keyfile.Replace(filepath.Join(home, teeNote), []byte(machine.Dir()), 0o600); err != nil {
		return err
	}
	o.config.TEE = nodeconfig.TEESimulated + ":" + machine.Dir()
	fmt.Fprintf(cmd.ErrOrStderr(), "%s in slot %d of ledger %x, measurement %x\nThe TEE is simulated: it protects nothing from the owner of this machine.\n",
		o.verb, o.config.Slot, id, machine.Measurement())
	return runMeasured(cmd.Context(), machine, &o.config, cmd.OutOrStdout(), cmd.ErrOrStderr())
}

// teeNote is the file that names the folder of a machine's TEE.
const teeNote = "tee-folder"

// forgetTEE removes the folder of a TEE that was killed before it could do so itself.
func forgetTEE(home string) {
	raw, err := os.ReadFile(filepath.Join(home, teeNote))
	if dir := string(raw); err == nil && filepath.Dir(dir) == filepath.Clean(os.TempDir()) && strings.HasPrefix(filepath.Base(dir), "hitoku-tee-") {
		_ = os.RemoveAll(dir) // what stays harms nobody
	}
}

// runMeasured runs the program with a configuration on its standard input, and hands on the wish that it ends.
func runMeasured(ctx context.Context, machine *simhost.Machine, config *nodeconfig.Config, stdout, stderr io.Writer) error {
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	// The kernel ends the program with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := machine.Command("--config", "-")
	child.Stdin, child.Stdout, child.Stderr = bytes.NewReader(raw), stdout, stderr
	if err := child.Start(); err != nil {
		return simhost.Explain(err)
	}
	over := make(chan struct{})
	go endWith(ctx, child, over)
	err = child.Wait()
	close(over)
	return ended(err)
}

// endWith asks a program to end when the context does, and kills it when it does not.
func endWith(ctx context.Context, child *exec.Cmd, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-ctx.Done():
	}
	_ = child.Process.Signal(syscall.SIGTERM)
	select {
	case <-over:
	case <-time.After(nodeStopTimeout):
		fmt.Fprintf(os.Stderr, "hitoku: the node did not end within %s and is killed\n", nodeStopTimeout)
		_ = child.Process.Kill()
	}
}
