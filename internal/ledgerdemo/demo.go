// Package ledgerdemo shows a whole ledger on one machine: what puts records in order,
// three nodes and a vault under the simulated TEE, wallets that transfer sealed
// amounts, a receipt that is verified offline, a rotation under load, a node that is
// killed and recovers, refusals, and what the host has seen of it all.
//
// Each step calls the command that a person would type (package play). Between all
// parties stands a wiretap that writes down what they say, as any host can.
//
// It promises nothing about secrecy: the simulated TEE protects nothing from the
// owner of the machine.
package ledgerdemo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"hitoku.dev/internal/demo/play"
)

// Options says where the demonstration finds its program and what it prints to.
type Options struct {
	Exe    string // the hitoku program, with hitoku-ledger beside it
	Order  string // "embedded" or "chain", which needs hitoku-devchain beside it
	Dir    string // working folder; made, and removed at the end unless Keep is set
	Keep   bool
	Once   bool // end after the last step instead of waiting for Ctrl-C
	Colour bool
	Out    io.Writer
}

const (
	executors = 3
	vaultSlot = executors + 1
	// patience is how long a step may wait for the ledger.
	patience = 60 * time.Second
)

type demo struct {
	*play.Play
	options Options
	start   time.Time

	ledger   string // its id, hex
	order    []string
	endpoint string // of the chain
	taps     []*wiretap
	nodes    [vaultSlot + 1]member // by slot, from 1
	amount   uint64                // that nobody but two clients may learn
	accounts map[string]string     // account ids by name, hex
	keys     map[string]string     // their public keys, hex
	receipt  string                // file
}

// member is a node of the demonstration.
type member struct {
	url  string // at which others reach it, through the wiretap
	args []string
	proc *play.Process
}

// Run shows everything. The error names the step that failed.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{options: o, start: time.Now(), accounts: map[string]string{}, keys: map[string]string{}, Play: &play.Play{Exe: o.Exe, Dir: o.Dir, Out: o.Out, Colour: o.Colour}}
	defer func() {
		d.Stop()
		for _, t := range d.taps {
			t.close()
		}
		if o.Keep {
			fmt.Fprintf(d.Out, "Kept: %s\n", d.Dir)
		} else {
			err = errors.Join(err, play.RemoveAll(d.Dir))
		}
	}()
	for _, folder := range []string{"", "host", "captured", "client"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, folder), 0o700); err != nil {
			return err
		}
	}
	if err := d.draw(); err != nil {
		return err
	}
	order := "the embedded log, one process"
	if o.Order == "chain" {
		order = "a contract on a development chain"
	}
	fmt.Fprintln(d.Out, d.Bold("Hitoku: a ledger that nobody can read, on this machine, on the simulated TEE."))
	fmt.Fprintf(d.Out, "Records are put in order by %s.\nThe simulation makes real evidence under a root of its own. It protects nothing from the machine's owner.\n", order)
	fmt.Fprintf(d.Out, "DEMO stands for %s. Between all parties there is a wiretap, which writes down what they say.\n", d.Dir)
	if err := d.Perform(ctx, d.stages()); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "\n%s in %.1f s.\n", d.Bold("All of it worked"), time.Since(d.start).Seconds())
	if o.Once {
		return nil
	}
	if err := d.writeState(); err != nil {
		return err
	}
	d.summary()
	<-ctx.Done()
	fmt.Fprintln(d.Out, "\nStopping.")
	return nil
}

// draw draws the amount that is looked for afterwards: 61 bits, so that it stands nowhere by chance.
func (d *demo) draw() error {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	d.amount = binary.BigEndian.Uint64(b[:])>>3 | 1<<60
	return nil
}

func (d *demo) stages() []play.Stage {
	first := []play.Stage{{Title: "Found a ledger: genesis, keys, policy", Run: d.found}, {Title: "Start the log that puts records in order", Run: d.startLog}}
	if d.options.Order == "chain" {
		first = []play.Stage{
			{Title: "Start a development chain", Run: d.startChain},
			{Title: "Found a ledger: genesis, keys, policy, and the address of its contract", Run: d.found},
			{Title: "Put the contract on the chain, where the genesis says", Run: d.deploy},
		}
	}
	return append(first, []play.Stage{
		{Title: "Start three nodes and a vault, each in a TEE", Run: d.startNodes},
		{Title: "The administrator lets them in", Run: d.approve},
		{Title: "Make three wallets", Run: d.wallets},
		{Title: "Verify a node before it is told anything", Run: d.verifyNodes},
		{Title: "Issue a token, and transfer a secret amount", Run: d.transfer},
		{Title: "Ask for balances: each account only its own", Run: d.balances},
		{Title: "Verify the receipt of the transfer, offline", Run: d.verifyReceipt},
		{Title: "Rotate all keys while transfers go on", Run: d.rotate},
		{Title: "Kill a node (kill -9), go on without it, and have it recover", Run: d.killAndRecover},
		{Title: "Refusal: money of an account that did not allow it", Run: d.refuseForeign},
		{Title: "Refusal: a receipt that was changed", Run: d.refuseForged},
		{Title: "What the host sees: every file, and all that went over the wire", Run: d.hostSees},
	}...)
}

// state is what demo.json tells programs about what stays up.
type state struct {
	Ledger  string   `json:"ledger"`
	Genesis string   `json:"genesis"`
	Root    string   `json:"simulated_root"`
	Nodes   []string `json:"nodes"`
	Vault   string   `json:"vault"`
	Order   string   `json:"order"`
	PIDs    []int    `json:"node_pids"`
}

// writeState writes demo.json into the working folder.
func (d *demo) writeState() error {
	s := state{Ledger: d.ledger, Genesis: d.genesis(), Root: d.root(), Vault: d.nodes[vaultSlot].url, Order: d.options.Order}
	for slot := 1; slot <= executors; slot++ {
		s.Nodes = append(s.Nodes, d.nodes[slot].url)
		s.PIDs = append(s.PIDs, d.nodes[slot].proc.PID())
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := d.Path("demo.json.part")
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.Path("demo.json"))
}

func (d *demo) genesis() string { return d.Path("ledger", "genesis") }
func (d *demo) root() string    { return d.Path("ledger", "simulated", "simulated-root.pem") }
