package ledgerdemo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// rotateOnce begins a new epoch and waits until every node has its keys.
func (d *demo) rotateOnce(ctx context.Context) error {
	before, err := d.health(ctx, 1)
	if err != nil {
		return err
	}
	if _, err := d.Command(ctx, "", "ledger", "admin", "rotate", "--genesis", d.genesis(), "--node", d.nodes[1].url, "--key", d.Path("ledger", "operator-1.key")); err != nil {
		return err
	}
	for slot := 1; slot <= vaultSlot; slot++ {
		err := d.Until(ctx, d.nodes[slot].proc, patience, func() error {
			h, err := d.health(ctx, slot)
			if err == nil && h.Epoch <= before.Epoch {
				err = fmt.Errorf("node %d is in epoch %d", slot, h.Epoch)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// health asks a node how far it is; one that does not serve is an error.
func (d *demo) health(ctx context.Context, slot int) (h health, err error) {
	status, err := d.get(ctx, slot, "/api/v1/health", &h)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("node %d is %s %s", slot, h.Status, h.Reason)
	}
	return h, err
}

// kill kills the program in a node's TEE as kill -9 does, and waits until nothing of it is left.
func (d *demo) kill(ctx context.Context, slot int) error {
	pid, err := childOf(d.nodes[slot].proc.PID())
	if err != nil {
		return err
	}
	d.Note("$ kill -9 %d   (hitoku-ledger in slot %d)", pid, slot)
	program, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := program.Kill(); err != nil {
		return err
	}
	select {
	case <-d.nodes[slot].proc.Ended():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("hitoku ledger node did not end after its program was killed")
	}
}

// childOf is the only child of a process.
func childOf(pid int) (int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	var children []string
	for _, file := range lists {
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		children = append(children, strings.Fields(string(raw))...)
	}
	if len(children) != 1 {
		return 0, fmt.Errorf("process %d has %d children, wanted the node's program alone", pid, len(children))
	}
	return strconv.Atoi(children[0])
}
