package ledgertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// Lose empties the folder of a node that does not run.
func (n *Node) Lose(tb testing.TB) {
	tb.Helper()
	for _, name := range n.files(tb) {
		if err := os.Remove(filepath.Join(n.Dir, name)); err != nil {
			tb.Fatal(err)
		}
	}
}

// Spoil flips a bit in the middle of every base of a node that does not run.
func (n *Node) Spoil(tb testing.TB) {
	tb.Helper()
	for _, name := range n.files(tb) {
		if strings.HasPrefix(name, "base") {
			n.SpoilFile(tb, name)
		}
	}
}

// SpoilFile flips a bit in the middle of a file of a node that does not run.
func (n *Node) SpoilFile(tb testing.TB, name string) {
	tb.Helper()
	path := filepath.Join(n.Dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (n *Node) files(tb testing.TB) []string {
	tb.Helper()
	if n.Node() != nil {
		tb.Fatalf("slot %d runs", n.Slot)
	}
	list, err := os.ReadDir(n.Dir)
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// Backup has an executor give the vaults its state, until each holds all that a recovery needs:
// a vault that follows the log a little later takes it a little later. It returns what they hold.
func (c *Cluster) Backup(i int) []api.Backup {
	c.tb.Helper()
	var out api.Backups
	c.Wait("complete backups", func() bool {
		at := c.Nodes[i].Replica().Status().Position
		for _, n := range c.Started() {
			if r := n.Replica(); n.Kind == wire.KindVault && (r == nil || !r.Status().Running || r.Status().Position < at) {
				return false
			}
		}
		if err := c.Nodes[i].Admin("POST", "/api/v1/backup", nil, &out); err != nil {
			c.tb.Fatal(err)
		}
		return !slices.ContainsFunc(out.Vaults, func(v api.Backup) bool { return !v.Complete })
	})
	return out.Vaults
}

// Recover starts all nodes after an outage of all, and has administrators approve at a vault
// until they run.
func (c *Cluster) Recover(vault int) {
	c.tb.Helper()
	for _, n := range c.Started() {
		n.Start()
	}
	executors := 0
	for _, n := range c.Started() {
		if n.Kind == wire.KindExecutor {
			executors++
		}
	}
	c.Wait("a proposal of the vault with all executors", func() bool {
		p, ok := c.Nodes[vault].Replica().Proposal()
		return ok && len(p.Adds) == executors
	})
	c.Wait("an approval", func() bool { return c.Approve(vault) })
	c.WaitRunning()
}

// Rotate begins a new epoch through a node, and waits until all nodes that run have it.
func (c *Cluster) Rotate(i int) {
	c.tb.Helper()
	var before api.EpochReply
	c.Wait("a rotation is taken", func() bool {
		return c.Nodes[i].Admin("POST", "/api/v1/key_rotation", nil, &before) == nil
	})
	c.Wait("a new epoch", func() bool {
		for _, n := range c.Nodes {
			if r := n.Node(); r != nil {
				if st := r.Replica().Status(); st.Epoch <= before.Epoch || !st.Member {
					return false
				}
			}
		}
		return true
	})
}

// Acknowledged says whether every member of the epoch in force has sent its next key, as every
// node that runs has seen.
func (c *Cluster) Acknowledged() bool {
	all := true
	for _, n := range c.Nodes {
		if r := n.Node(); r != nil {
			r.Replica().View(func(s *control.State) {
				for _, m := range s.Epoch().Members {
					all = all && s.Incarnation(m.Incarnation).AckEpoch >= s.Epoch().Number
				}
			})
		}
	}
	return all
}
