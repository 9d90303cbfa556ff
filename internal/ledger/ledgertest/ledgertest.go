// Package ledgertest runs whole ledgers in one process for tests: nodes and vaults with
// genuine evidence of simulated TEEs, mutual TLS on loopback, sealed files in temporary
// folders, and one log for all. Nothing outside tests imports it.
//
// A node that is killed loses its memory at once and keeps its folder, as a process that
// is killed does. What a test measures here is not what separate machines would give.
package ledgertest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/freeport"
	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/embedded"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// Options say what ledger is run. Zero values mean what is said at each member.
type Options struct {
	Executors int // 1
	Vaults    int // 0; their slots come after the executors'
	// Late executors have slots and are not started, which are the last ones.
	Late int

	Apps []*ledger.App // erc20.App
	// AppsOf gives a node other applications than the genesis names, for nodes that diverge.
	AppsOf          func(slot int) []*ledger.App
	Suite           wire.Suite // X25519
	Window          uint64     // 16
	AnchorAge       uint64     // 1000
	PolicyDelay     uint64     // 2
	Rotation        uint64     // seconds; none
	EntryMax        uint32     // 64 KiB
	CheckpointEvery uint32     // 64
	Flags           uint8
	EvidenceAge     uint64 // seconds; seven days

	// Order and Log name another order than the embedded one: Log opens the log for a node.
	// It is called again when the node starts again.
	Order wire.Order
	Log   func(tb testing.TB, slot int) order.Log

	// FS wraps the folder of a node.
	FS        func(slot int, fs disk.FS) disk.FS
	Tick      time.Duration // 2 ms
	Timing    replica.Timing
	Limits    replica.Limits
	Retention uint64
	Compact   int64
	Requests  api.Rate // no limit
	Admin     api.Rate // no limit
	Recorder  keys.Recorder
	Logger    *slog.Logger // the test's log under -v
	Now       func() time.Time
	// Clock gives a node another clock than Now.
	Clock func(slot int) func() time.Time
	// Front stands before a node: it gets the address where the node listens, and returns the
	// one that clients and other nodes call.
	Front func(slot int, address string) string
	// Serve wraps a node's REST layer, and Client the connections of users, both inside TLS.
	Serve  func(slot int, h http.Handler) http.Handler
	Client func(slot int, t http.RoundTripper) http.RoundTripper
	// Idle leaves all nodes stopped: the test starts them.
	Idle bool
}

// Threshold is how many of the three administrators must sign.
const Threshold = 2

// patience is how long a test waits for what must come about.
const patience = 90 * time.Second

// Cluster is a running ledger.
type Cluster struct {
	World   *membertest.World
	Genesis wire.GenesisFile
	Policy  wire.Policy
	Ledger  wire.Hash
	// Admins are in the policy's order.
	Admins []ed25519.PrivateKey
	Nodes  []*Node

	tb  testing.TB
	o   Options
	log order.Log
}

// Start makes a ledger and, unless it shall be idle, waits until all its nodes run.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	fill(&o)
	c := &Cluster{tb: tb, o: o, World: membertest.New(tb, 1, o.Now())}
	for range 3 {
		c.Admins = append(c.Admins, newKey(tb))
	}
	slices.SortFunc(c.Admins, func(a, b ed25519.PrivateKey) int {
		return bytes.Compare(a.Public().(ed25519.PublicKey), b.Public().(ed25519.PublicKey))
	})
	c.makeNodes()
	c.makeGenesis()
	if o.Log == nil {
		l, err := embedded.Open(tb.TempDir(), embedded.Options{Now: o.Now, Rand: rand.Reader, MaxRecord: int(o.EntryMax)})
		if err != nil {
			tb.Fatal(err)
		}
		c.log = l
		tb.Cleanup(func() { _ = l.Close() }) // the test is over
	}
	tb.Cleanup(c.Stop)
	if !o.Idle {
		c.StartAll()
	}
	return c
}

func fill(o *Options) {
	def := func(v *uint64, d uint64) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Executors == 0 {
		o.Executors = 1
	}
	if o.Apps == nil {
		o.Apps = []*ledger.App{erc20.App}
	}
	if o.Suite == 0 {
		o.Suite = wire.SuiteX25519
	}
	def(&o.Window, 16)
	def(&o.AnchorAge, 1000)
	def(&o.PolicyDelay, 2)
	def(&o.EvidenceAge, 7*24*60*60)
	if o.EntryMax == 0 {
		o.EntryMax = 64 << 10
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 64
	}
	if o.Order.Driver == 0 {
		o.Order = wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate, Endpoints: 1}
	}
	if o.Tick == 0 {
		o.Tick = 2 * time.Millisecond
	}
	if o.Timing == (replica.Timing{}) {
		o.Timing = replica.Timing{Stagger: 50, Resubmit: 1000, Checkpoint: 250, VaultWait: 250, Lonely: 250}
	}
	if o.Requests == (api.Rate{}) {
		o.Requests = api.Rate{PerSecond: -1}
	}
	if o.Admin == (api.Rate{}) {
		o.Admin = api.Rate{PerSecond: -1}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func newKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, sk, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return sk
}

func (c *Cluster) makeNodes() {
	c.tb.Helper()
	for i := range c.o.Executors + c.o.Vaults + c.o.Late {
		n := &Node{Slot: uint16(i), Kind: wire.KindExecutor, Operator: newKey(c.tb), Attester: c.World.Attester(byte(i), c.World.Identity), c: c}
		if i >= c.o.Executors && i < c.o.Executors+c.o.Vaults {
			n.Kind = wire.KindVault
		}
		n.Dir = filepath.Join(c.tb.TempDir(), "node")
		if err := os.Mkdir(n.Dir, 0o700); err != nil {
			c.tb.Fatal(err)
		}
		var err error
		if n.address, err = freeport.Find("127.0.0.1"); err != nil {
			c.tb.Fatal(err)
		}
		n.URL = "https://" + n.address
		if c.o.Front != nil {
			n.URL = "https://" + c.o.Front(i, n.address)
		}
		c.Nodes = append(c.Nodes, n)
	}
}

func (c *Cluster) makeGenesis() {
	c.tb.Helper()
	c.Policy = wire.Policy{Threshold: Threshold}
	c.World.Approve(&c.Policy)
	c.Policy.EvidenceAge = c.o.EvidenceAge
	for _, a := range c.Admins {
		c.Policy.Admins = append(c.Policy.Admins, public(a))
	}
	for _, n := range c.Nodes {
		c.Policy.Slots = append(c.Policy.Slots, wire.Slot{Slot: n.Slot, Kind: n.Kind, Operator: public(n.Operator)})
	}
	g := wire.Genesis{
		Suite: c.o.Suite, Name: "test", Window: c.o.Window, AnchorAge: c.o.AnchorAge, PolicyDelay: c.o.PolicyDelay,
		Rotation: c.o.Rotation, EntryMax: c.o.EntryMax, CheckpointEvery: c.o.CheckpointEvery, Flags: c.o.Flags,
		Order: c.o.Order, PolicyBytes: c.Policy.Encode(),
	}
	for _, a := range c.o.Apps {
		g.Applications = append(g.Applications, wire.Application{Name: a.Name, Version: a.Version})
	}
	c.Ledger = g.ID()
	c.Genesis = wire.GenesisFile{Genesis: g.Encode(), Signatures: c.Sign(g.Message())}
}

// Sign has as many administrators sign a message as must.
func (c *Cluster) Sign(message []byte) []wire.AdminSignature {
	var out []wire.AdminSignature
	for i, a := range c.Admins[:Threshold] {
		out = append(out, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, message))})
	}
	return out
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk.Public().(ed25519.PublicKey)) }

// Started lists the nodes that Start starts: all but the late ones.
func (c *Cluster) Started() []*Node { return c.Nodes[:c.o.Executors+c.o.Vaults] }

// StartAll starts every node but the late ones, approves the first epoch with all of them,
// and waits until they run.
func (c *Cluster) StartAll() {
	c.tb.Helper()
	for _, n := range c.Started() {
		n.Start()
	}
	want := len(c.Started())
	c.Wait("a proposal with all nodes", func() bool {
		p, ok := c.Nodes[0].Replica().Proposal()
		return ok && len(p.Adds) == want
	})
	if !c.Approve(0) {
		c.tb.Fatal("the first epoch was not approved")
	}
	c.WaitRunning()
}

// Approve has administrators sign what waits at a node, through REST. It returns false when
// nothing waits, or the proposal changed meanwhile.
func (c *Cluster) Approve(i int) bool {
	c.tb.Helper()
	n := c.Nodes[i]
	var p api.Proposal
	if n.Admin("GET", "/api/v1/proposal", nil, &p) != nil {
		return false
	}
	var in api.Approvals
	for _, s := range c.Sign(p.Message) {
		in.Approvals = append(in.Approvals, api.Approval{Index: s.Index, Signature: s.Signature[:]})
	}
	return n.Admin("POST", "/api/v1/approvals", in, nil) == nil
}

// Wait waits until ready says true.
func (c *Cluster) Wait(what string, ready func() bool) {
	c.tb.Helper()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ready() {
		select {
		case <-poll.C:
		case <-deadline.C:
			c.tb.Fatalf("did not come about: %s\n%s", what, c.describe())
		}
	}
}

func (c *Cluster) describe() string {
	var b strings.Builder
	for _, n := range c.Nodes {
		if r := n.Node(); r != nil {
			st := r.Replica().Status()
			fmt.Fprintf(&b, "slot %d: position %d, epoch %d, member %v, running %v, executed %d, committed %d, queue %d, halted: %v\n",
				n.Slot, st.Position, st.Epoch, st.Member, st.Running, st.Executed, st.Committed, st.Queue, st.Halted)
		}
	}
	return b.String()
}

// WaitRunning waits until every node that was started, and not killed, runs, and the executors have
// committed the epoch in force.
func (c *Cluster) WaitRunning() {
	c.tb.Helper()
	c.Wait("all nodes run", c.allRun)
}

// WaitApproving is WaitRunning where a vault may need administrators, since too few executors
// were left.
func (c *Cluster) WaitApproving(vault int) {
	c.tb.Helper()
	c.Wait("all nodes run, with approvals", func() bool {
		c.Approve(vault)
		return c.allRun()
	})
}

func (c *Cluster) allRun() bool {
	for _, n := range c.Nodes {
		r := n.Node()
		if r == nil {
			continue
		}
		st := r.Replica().Status()
		var epoch uint64
		r.Replica().View(func(s *control.State) { epoch = s.Epoch().Position })
		if !st.Running || n.Kind == wire.KindExecutor && st.Committed < epoch {
			return false
		}
	}
	return true
}

// Stop stops every node.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}
