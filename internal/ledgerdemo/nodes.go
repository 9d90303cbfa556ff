package ledgerdemo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"hitoku.dev/internal/demo/play"
	ledgermember "hitoku.dev/internal/ledger/member"
)

// through puts a wiretap before an address and returns the address to use instead.
func (d *demo) through(name, target string) (string, error) {
	t, err := tap(target, d.Path("captured", name))
	if err != nil {
		return "", err
	}
	d.taps = append(d.taps, t)
	return t.address(), nil
}

func (d *demo) found(ctx context.Context) (string, error) {
	args := []string{"ledger", "init", d.Path("ledger"), "--simulated", "--executors", strconv.Itoa(executors), "--vaults", "1"}
	if d.options.Order == "chain" {
		args = append(args, "--order", "chain", "--endpoint", d.endpoint, "--deployer-key", d.Path("deployer.key"), "--finality", "immediate")
	}
	var f struct{ Ledger, Measurement, Contract string }
	if err := d.CommandJSON(ctx, &f, args...); err != nil {
		return "", err
	}
	d.ledger = f.Ledger
	said := "ledger id    " + f.Ledger + "   (clients pin it)\nmeasurement  " + f.Measurement + "   (of the only program that may be a node)"
	if f.Contract != "" {
		said += "\ncontract     " + f.Contract + "   (not there yet)"
	}
	return said, nil
}

func (d *demo) startLog(ctx context.Context) (string, error) {
	listen := play.FreeOr("127.0.0.1", 7400)
	p, err := d.Spawn("log", "ledger", "log", "--dir", d.Path("host", "log"), "--listen", listen)
	if err != nil {
		return "", err
	}
	if err := d.Until(ctx, p, patience, logHas(p, "listening on")); err != nil {
		return "", err
	}
	through, err := d.through("log", listen)
	d.order = []string{"--log", through}
	return "one durable file; it sees sealed records only", err
}

func (d *demo) startChain(ctx context.Context) (string, error) {
	var accounts []string
	for _, name := range []string{"deployer", "submit-1", "submit-2", "submit-3", "submit-4"} {
		out, err := d.Command(ctx, "", "ledger", "deploy", "key", d.Path(name+".key"))
		if err != nil {
			return "", err
		}
		accounts = append(accounts, strings.TrimSpace(out))
	}
	listen := play.FreeOr("127.0.0.1", 8545)
	args := []string{"ledger", "devchain", "--data", d.Path("host", "chain"), "--listen", listen}
	for _, a := range accounts {
		args = append(args, "--fund", a+"=1000")
	}
	p, err := d.Spawn("devchain", args...)
	if err != nil {
		return "", err
	}
	if err := d.Until(ctx, p, patience, logHas(p, "JSON-RPC on")); err != nil {
		return "", err
	}
	through, err := d.through("chain", listen)
	d.endpoint = "http://" + through
	return "JSON-RPC on " + d.endpoint + ", a block at once for each transaction", err
}

func (d *demo) deploy(ctx context.Context) (string, error) {
	args := []string{"ledger", "deploy", "--genesis", d.genesis(), "--endpoint", d.endpoint, "--key", d.Path("deployer.key")}
	for slot := 1; slot <= vaultSlot; slot++ {
		out, err := d.Quiet(ctx, "", "ledger", "deploy", "key", d.Path(fmt.Sprintf("submit-%d.key", slot)))
		if err != nil {
			return "", err
		}
		args = append(args, "--submitter", strings.TrimSpace(out))
	}
	return d.Command(ctx, "", args...)
}

func (d *demo) startNodes(ctx context.Context) (string, error) {
	listen := map[int]string{}
	for slot := 1; slot <= vaultSlot; slot++ {
		listen[slot] = play.FreeOr("127.0.0.1", 7410+slot)
		through, err := d.through(fmt.Sprintf("node-%d", slot), listen[slot])
		if err != nil {
			return "", err
		}
		d.nodes[slot].url = "https://" + through
	}
	for slot := 1; slot <= vaultSlot; slot++ {
		verb := "node"
		if slot == vaultSlot {
			verb = "vault"
		}
		args := []string{
			"ledger", verb, "--genesis", d.genesis(), "--slot", strconv.Itoa(slot), "--operator-key", d.Path("ledger", fmt.Sprintf("operator-%d.key", slot)),
			"--dir", d.Path("host", fmt.Sprintf("%s-%d", verb, slot)), "--listen", listen[slot],
		}
		if d.options.Order == "chain" {
			args = append(args, "--endpoint", d.endpoint, "--submit-key", d.Path(fmt.Sprintf("submit-%d.key", slot)), "--poll", "100ms")
		} else {
			args = append(args, d.order...)
		}
		for peer := 1; peer <= vaultSlot; peer++ {
			if peer != slot {
				args = append(args, "--peer", fmt.Sprintf("%d=%s", peer, d.nodes[peer].url))
			}
		}
		d.nodes[slot].args = args
		if err := d.startNode(slot); err != nil {
			return "", err
		}
	}
	// Each JOIN is on the log when node 1 knows it as pending.
	var m members
	err := d.Until(ctx, d.nodes[1].proc, patience, func() error {
		m = members{}
		if _, err := d.get(ctx, 1, "/api/v1/members", &m); err != nil {
			return err
		}
		if len(m.Pending) != vaultSlot {
			return fmt.Errorf("%d of %d nodes have proved themselves", len(m.Pending), vaultSlot)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, p := range m.Pending {
		if p.Refused != "" {
			return "", fmt.Errorf("slot %d is refused: %s", p.Slot, p.Refused)
		}
	}
	return fmt.Sprintf("%d programs have put evidence of what they run on the log; each judges the others", len(m.Pending)), nil
}

func (d *demo) startNode(slot int) (err error) {
	name := fmt.Sprintf("node-%d", slot)
	if slot == vaultSlot {
		name = "vault"
	}
	d.nodes[slot].proc, err = d.Spawn(name, d.nodes[slot].args...)
	return err
}

// members is part of what GET /api/v1/members answers.
type members struct {
	Epoch   uint64
	Members []struct {
		Slot int
		Kind string
		IID  string
	}
	Pending []struct {
		Slot    int
		Refused string
	}
}

// health is what GET /api/v1/health answers.
type health struct {
	Status, Reason             string
	Position, Committed, Epoch uint64
}

func (d *demo) approve(ctx context.Context) (string, error) {
	out, err := d.Command(ctx, "", "ledger", "admin", "approve", "--genesis", d.genesis(), "--node", d.nodes[1].url, "--key", d.Path("ledger", "admin-1.key"))
	if err != nil {
		return "", err
	}
	for slot := 1; slot <= vaultSlot; slot++ {
		if err := d.running(ctx, slot); err != nil {
			return "", err
		}
	}
	return out, nil
}

// running waits until a node serves.
func (d *demo) running(ctx context.Context, slot int) error {
	return d.Until(ctx, d.nodes[slot].proc, patience, func() error {
		_, err := d.health(ctx, slot)
		return err
	})
}

// get asks a node directly, whoever it is: nothing that it answers is believed.
func (d *demo) get(ctx context.Context, slot int, path string, out any) (int, error) {
	transport := &http.Transport{TLSClientConfig: ledgermember.ClientConfig(nil, func([32]byte) error { return nil })}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.nodes[slot].url+path, nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return 0, err
	}
	return res.StatusCode, json.Unmarshal(raw, out)
}

// logHas says whether a process has printed something.
func logHas(p *play.Process, text string) func() error {
	return func() error {
		raw, err := os.ReadFile(p.Log)
		if err == nil && !strings.Contains(string(raw), text) {
			err = errors.New("it has not said " + strconv.Quote(text))
		}
		return err
	}
}
