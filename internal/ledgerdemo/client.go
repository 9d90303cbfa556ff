package ledgerdemo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	// supply is what the first client issues.
	supply = 9_000_000_000_000_000_000
	// transfers is how many transfers each of two clients makes during the rotations.
	transfers = 8
	rotations = 3
)

// as is a command line of a client: its verb, its wallet, and the nodes it may ask, all three by default.
func (d *demo) as(name string, words []string, slots ...int) []string {
	args := append([]string{"ledger"}, words...)
	args = append(args, "--wallet", d.Path("client", name, "wallet"), "--no-passphrase", "--trust-simulated-root", d.root())
	if len(slots) == 0 {
		slots = []int{1, 2, 3}
	}
	for _, slot := range slots {
		args = append(args, "--node", d.nodes[slot].url)
	}
	return args
}

func (d *demo) verifyNodes(ctx context.Context) (string, error) {
	d.Note("$ export HITOKU_LEDGER=%s", d.ledger)
	d.Env = append(d.Env, "HITOKU_LEDGER="+d.ledger)
	out, err := d.Command(ctx, "", "ledger", "key", "--trust-simulated-root", d.root(), "--node", d.nodes[1].url, "--wallet", d.Path("client", "alice", "wallet"))
	return "from the ledger id alone, as every client does before it seals anything:\n" + out, err
}

func (d *demo) wallets(ctx context.Context) (string, error) {
	var said strings.Builder
	for _, name := range []string{"alice", "bob", "carol"} {
		var w struct{ Account, Key string }
		if err := d.CommandJSON(ctx, &w, "ledger", "wallet", "init", "--wallet", d.Path("client", name, "wallet"), "--no-passphrase"); err != nil {
			return "", err
		}
		d.accounts[name], d.keys[name] = w.Account, w.Key
		fmt.Fprintf(&said, "%-6s account %s\n", name, w.Account)
	}
	return said.String(), nil
}

func (d *demo) transfer(ctx context.Context) (string, error) {
	if _, err := d.Command(ctx, "", d.as("alice", []string{"erc20", "construct", strconv.Itoa(supply)})...); err != nil {
		return "", err
	}
	d.receipt = d.Path("client", "receipt.json")
	amount := strconv.FormatUint(d.amount, 10)
	return d.Command(ctx, "", d.as("alice", []string{"erc20", "transfer", d.accounts["bob"], amount, "--save-receipt", d.receipt})...)
}

// balance asks for a client's balance.
func (d *demo) balance(ctx context.Context, name string, slots ...int) (uint64, error) {
	out, err := d.Command(ctx, "", d.as(name, []string{"erc20", "balance-of"}, slots...)...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(out), 10, 64)
}

// holds checks a client's balance.
func (d *demo) holds(ctx context.Context, name string, want uint64, slots ...int) error {
	got, err := d.balance(ctx, name, slots...)
	if err == nil && got != want {
		err = fmt.Errorf("%s holds %d, wanted %d", name, got, want)
	}
	return err
}

func (d *demo) balances(ctx context.Context) (string, error) {
	if err := d.holds(ctx, "bob", d.amount); err != nil {
		return "", err
	}
	if err := d.holds(ctx, "carol", 0); err != nil {
		return "", err
	}
	return fmt.Sprintf("bob holds %d, carol 0; there is no question about somebody else's balance", d.amount), nil
}

func (d *demo) verifyReceipt(ctx context.Context) (string, error) {
	out, err := d.Command(ctx, "", "ledger", "receipt", "verify", d.receipt, "--trust-simulated-root", d.root())
	if err != nil {
		return "", err
	}
	return out, nil
}

// payments has one client transfer 1 to carol, several times one after the other.
func (d *demo) payments(ctx context.Context, name string) error {
	for i := range transfers {
		if _, err := d.Quiet(ctx, "", d.as(name, []string{"erc20", "transfer", d.accounts["carol"], "1"})...); err != nil {
			return fmt.Errorf("transfer %d of %s: %w", i+1, name, err)
		}
	}
	return nil
}

func (d *demo) rotate(ctx context.Context) (string, error) {
	before, err := d.health(ctx, 1)
	if err != nil {
		return "", err
	}
	d.Note("(alice and bob transfer 1 to carol, %d times each, while this happens)", transfers)
	var paying sync.WaitGroup
	var failed [2]error
	for i, name := range []string{"alice", "bob"} {
		paying.Go(func() { failed[i] = d.payments(ctx, name) })
	}
	for range rotations {
		if err = d.rotateOnce(ctx); err != nil {
			break
		}
	}
	paying.Wait()
	for _, e := range append(failed[:], err) {
		if e != nil {
			return "", e
		}
	}
	if err := d.holds(ctx, "carol", 2*transfers); err != nil {
		return "", err
	}
	after, err := d.health(ctx, 1)
	return fmt.Sprintf("epoch %d became epoch %d; all %d transfers arrived, each once", before.Epoch, after.Epoch, 2*transfers), err
}

// victim is the slot of the node that is killed.
const victim = 2

func (d *demo) killAndRecover(ctx context.Context) (string, error) {
	if err := d.kill(ctx, victim); err != nil {
		return "", err
	}
	if _, err := d.Command(ctx, "", d.as("bob", []string{"erc20", "transfer", d.accounts["carol"], "100"}, 1, 3)...); err != nil {
		return "", err
	}
	if err := d.startNode(victim); err != nil {
		return "", err
	}
	if err := d.running(ctx, victim); err != nil {
		return "", err
	}
	// The transfer that it has missed is asked for at itself.
	if err := d.holds(ctx, "carol", 2*transfers+100, victim); err != nil {
		return "", err
	}
	h, err := d.health(ctx, victim)
	return fmt.Sprintf("node %d is a new incarnation: it proved itself anew, got the keys of epoch %d from the others, opened its own sealed\nfiles, and knows what happened while it was dead", victim, h.Epoch), err
}

func (d *demo) refuseForeign(ctx context.Context) (string, error) {
	return d.Refused(ctx, "insufficient_allowance", d.as("carol", []string{"erc20", "transfer-from", d.accounts["alice"], d.accounts["carol"], "1"})...)
}

// refuseForged changes the amount in a receipt.
func (d *demo) refuseForged(ctx context.Context) (string, error) {
	raw, err := os.ReadFile(d.receipt)
	if err != nil {
		return "", err
	}
	var r map[string]any
	if err := json.Unmarshal(raw, &r); err != nil {
		return "", err
	}
	command, err := receiptCommand(raw)
	if err != nil {
		return "", err
	}
	amount := []byte(strconv.FormatUint(d.amount, 10))
	other := []byte(strconv.FormatUint(d.amount+1, 10))
	if !bytes.Contains(command, amount) || len(other) != len(amount) {
		return "", fmt.Errorf("%s: the amount is not in the command", d.receipt)
	}
	r["command"] = bytes.Replace(command, amount, other, 1)
	if raw, err = json.Marshal(r); err != nil {
		return "", err
	}
	forged := filepath.Join(filepath.Dir(d.receipt), "forged.json")
	if err := os.WriteFile(forged, raw, 0o600); err != nil {
		return "", err
	}
	d.Note("(somebody writes %d into the receipt)", d.amount+1)
	out, err := d.Refused(ctx, "is refused", "ledger", "receipt", "verify", forged, "--trust-simulated-root", d.root())
	return failures(out), err
}

// failures leaves of a report what it says at its head, and the rules that failed.
func failures(report string) string {
	var kept []string
	keep := true
	for _, line := range strings.Split(report, "\n") {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "FAILED"):
			keep = true
		case strings.HasPrefix(text, "SIMULATED"), strings.HasPrefix(text, "Claimed"), strings.HasPrefix(text, "ok "), strings.HasPrefix(text, "Not checked"):
			keep = false
		}
		if keep {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// receiptCommand is the signed command in a receipt.
func receiptCommand(raw []byte) ([]byte, error) {
	var r struct {
		Command []byte `json:"command"`
	}
	err := json.Unmarshal(raw, &r)
	return r.Command, err
}

// summary says what stays up and how to get at it.
func (d *demo) summary() {
	fmt.Fprintf(d.Out, `
What stays up until Ctrl-C: three nodes, a vault, the order; processes and addresses stand in %s.
Try it, in another terminal:
    export HITOKU_LEDGER=%s
    hitoku ledger members --trust-simulated-root %s --node %s
    hitoku ledger erc20 balance-of --wallet %s --no-passphrase --trust-simulated-root %s --node %s
    hitoku ledger admin rotate --genesis %s --node %s --key %s
`, d.Path("demo.json"), d.ledger, d.root(), d.nodes[1].url, d.Path("client", "bob", "wallet"), d.root(), d.nodes[1].url,
		d.genesis(), d.nodes[1].url, d.Path("ledger", "operator-1.key"))
}
