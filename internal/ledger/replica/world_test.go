package replica_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

// world is a ledger whose host is the test: it holds the log, carries every message, and may do
// with them whatever it likes.
type world struct {
	t       testing.TB
	rng     *mathrand.Rand
	file    wire.GenesisFile
	ledger  wire.Hash
	admins  []ed25519.PrivateKey
	ops     []ed25519.PrivateKey
	machine *ledger.Machine
	log     []order.Entry
	now     time.Time
	nodes   []*node
	seals   *sealBook
	limits  replica.Limits
}

// node is one slot with the process that runs in it, if any.
type node struct {
	w     *world
	slot  uint16
	kind  uint8
	r     *replica.Replica // nil while it is down
	at    int              // entries delivered
	sent  map[uint16]uint64
	disk  sealedFile
	vault *replica.Identity // what a vault has stored
	queue []order.Submission
}

// sealedFile is what a node's disk holds: state that opens with one epoch's key.
type sealedFile struct {
	epoch uint64
	snap  [32]byte
	saved replica.Saved
}

// sealBook remembers every AES-GCM encryption of a run: no (key, nonce) may have two plaintexts.
type sealBook struct {
	mu   sync.Mutex
	seen map[[32]byte][32]byte
	bad  string
}

func (b *sealBook) record(key, nonce, aad, plaintext []byte) {
	id := sha256.Sum256(append(bytes.Clone(key), nonce...))
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(aad))
	h.Write(aad)
	h.Write(plaintext)
	what := [32]byte(h.Sum(nil))
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.seen[id]; ok && old != what {
		b.bad = fmt.Sprintf("key %x… and nonce %x sealed two plaintexts", key[:4], nonce)
	}
	b.seen[id] = what
}

type worldOptions struct {
	executors, vaults int
	seed              uint64
	window            uint64
	rotation          uint64
	checkpointEvery   uint32
	suite             wire.Suite
	anchorAge         uint64
	evidenceAge       uint64
	limits            replica.Limits
}

// goodEvidence is what appraise accepts here; package member judges real evidence.
const goodEvidence = "measured well"

type attester struct{ evidence string }

func (a attester) Evidence(_ context.Context, subject, nonce [32]byte) (*member.Proof, error) {
	b := attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: nonce[:]}
	der, err := b.MarshalDER()
	return &member.Proof{Evidence: []byte(a.evidence), Binding: der}, err
}

func appraise(j wire.Join, joinTime uint64, p wire.Policy, t uint64) error {
	if string(j.Evidence) != goodEvidence {
		return errors.New("evidence is not good")
	}
	if t > joinTime && t-joinTime > p.EvidenceAge {
		return errors.New("evidence is too old")
	}
	return nil
}

func newKey(t testing.TB) ed25519.PrivateKey {
	_, sk, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sk
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk.Public().(ed25519.PublicKey)) }

func newWorld(t testing.TB, o worldOptions) *world {
	t.Helper()
	if o.window == 0 {
		o.window = 4
	}
	if o.suite == 0 {
		o.suite = wire.SuiteX25519
	}
	if o.anchorAge == 0 {
		o.anchorAge = 200
	}
	if o.evidenceAge == 0 {
		o.evidenceAge = 1 << 30
	}
	machine, err := ledger.NewMachine(erc20.App)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, rng: mathrand.New(mathrand.NewPCG(o.seed, 1)), machine: machine,
		now: time.Unix(1_800_000_000, 0), seals: &sealBook{seen: map[[32]byte][32]byte{}}, limits: o.limits,
	}
	p := wire.Policy{Programs: []wire.Program{{Measurement: bytes.Repeat([]byte{7}, 32)}}, TCBStatuses: []string{"UpToDate"}, Roots: []wire.Hash{{1}}, Flags: wire.PolicySimulated, EvidenceAge: o.evidenceAge, Threshold: 2}
	for range 3 {
		w.admins = append(w.admins, newKey(t))
	}
	sortKeys(w.admins)
	for _, a := range w.admins {
		p.Admins = append(p.Admins, public(a))
	}
	for i := range o.executors + o.vaults {
		w.ops = append(w.ops, newKey(t))
		kind := wire.KindExecutor
		if i >= o.executors {
			kind = wire.KindVault
		}
		p.Slots = append(p.Slots, wire.Slot{Slot: uint16(i), Kind: kind, Operator: public(w.ops[i])})
		w.nodes = append(w.nodes, &node{w: w, slot: uint16(i), kind: kind})
	}
	g := wire.Genesis{
		Suite: o.suite, Name: "test", Applications: []wire.Application{{Name: erc20.App.Name, Version: erc20.App.Version}},
		Window: o.window, AnchorAge: o.anchorAge, PolicyDelay: 2, Rotation: o.rotation, EntryMax: 1 << 16, CheckpointEvery: o.checkpointEvery,
		Order: wire.Order{Driver: wire.DriverEmbedded, Finality: wire.FinalityImmediate, Endpoints: 1}, PolicyBytes: p.Encode(),
	}
	w.ledger = g.ID()
	w.file = wire.GenesisFile{Genesis: g.Encode()}
	for i, a := range w.admins[:2] {
		w.file.Signatures = append(w.file.Signatures, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, g.Message()))})
	}
	return w
}

func sortKeys(ks []ed25519.PrivateKey) {
	for i := range ks {
		for j := i; j > 0; j-- {
			a, b := public(ks[j-1]), public(ks[j])
			if bytes.Compare(a[:], b[:]) > 0 {
				ks[j-1], ks[j] = ks[j], ks[j-1]
			}
		}
	}
}

func (w *world) clock() time.Time { return w.now }

// logger is silent but for one schedule run by itself.
func (w *world) logger(slot uint16) *slog.Logger {
	if *seedFlag == 0 {
		return nil
	}
	return slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("slot", slot)
}

// start runs a new process in a slot.
func (n *node) start() {
	n.w.t.Helper()
	o := replica.Options{
		Genesis: n.w.file, Slot: n.slot, Operator: n.w.ops[n.slot], Attester: attester{goodEvidence}, Appraise: appraise,
		Random: rand.Reader, Now: n.w.clock, Recorder: n.w.seals.record,
		Timing: replica.Timing{Stagger: 3, Resubmit: 25, Checkpoint: 12, VaultWait: 20, Lonely: 15},
		Log:    n.w.logger(n.slot), Limits: n.w.limits,
		FileEpoch: n.disk.epoch, FilePosition: n.disk.saved.Position,
	}
	if n.kind == wire.KindExecutor {
		o.Machine = n.w.machine
	} else {
		o.Identity = n.vault
	}
	r, err := replica.New(o)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.r, n.at, n.sent, n.queue = r, 0, map[uint16]uint64{}, nil
	r.OnPersist(n.persist)
}

// persist is the node's disk: the newest state, under the newest epoch's key whose window is past.
func (n *node) persist(p *replica.Persist) {
	n.disk.saved.Position, n.disk.saved.Chain, n.disk.saved.Tree, n.disk.saved.Outcomes = p.Position, p.Chain, p.After, p.Outcomes
}

// ring renews the ring of the disk as package node does.
func (n *node) ring() {
	if n.r == nil || n.kind != wire.KindExecutor || n.disk.saved.Tree == nil {
		return
	}
	st := n.r.Status()
	if !st.Running {
		return
	}
	held := n.r.EpochKeys()
	k, ok := held[st.Epoch]
	if !ok || st.Epoch == n.disk.epoch || !n.r.PastWindow(n.disk.saved.Position) {
		return
	}
	n.disk.epoch, n.disk.snap, n.disk.saved.Epochs = st.Epoch, k.Snap, []keys.Epoch{k.Clone()}
}

// kill ends the process; memory is gone, the disk stays.
func (n *node) kill() { n.r = nil }

// deliver gives a node at most k further entries.
func (n *node) deliver(k int) {
	if n.r == nil {
		return
	}
	to := min(len(n.w.log), n.at+k)
	if n.at == to {
		return
	}
	err := n.r.Apply(n.w.log[n.at:to]...)
	n.at = to
	if err != nil && !errors.Is(err, replica.ErrHalted) {
		n.w.t.Fatalf("slot %d: %v", n.slot, err)
	}
	n.ring()
}

// tick lets time pass for a node, and takes what it wants to submit.
func (n *node) tick() {
	if n.r == nil || n.r.Err() != nil {
		return
	}
	if n.at == len(n.w.log) && n.r.NeedsJoin() {
		if err := n.r.Join(context.Background()); err != nil {
			n.w.t.Fatalf("slot %d: %v", n.slot, err)
		}
	}
	n.acquire()
	n.r.Tick()
	if n.kind == wire.KindVault {
		if id, err := n.r.Keep(); err == nil {
			n.vault = &id
		}
	}
	n.queue = append(n.queue, n.r.Outgoing()...)
}

// acquire gets an executor's state: its own files, or a peer's snapshot.
func (n *node) acquire() {
	needs, from, released := n.r.Wants()
	if !needs {
		return
	}
	if released != nil && released.Epoch == n.disk.epoch && released.Snap == n.disk.snap {
		if n.r.Restore(n.disk.saved) == nil {
			return
		}
	}
	for _, peer := range n.w.nodes {
		if peer == n || peer.r == nil || peer.kind != wire.KindExecutor {
			continue
		}
		s, err := peer.r.Snapshot()
		if err != nil || s.Checkpoint.Position < from {
			continue
		}
		if n.r.Install(s) == nil {
			return
		}
	}
}

// submit moves up to k of a node's records into the log.
func (n *node) submit(k int) {
	for ; k > 0 && len(n.queue) > 0; k-- {
		n.w.append(n.queue[0].Record)
		n.queue = n.queue[1:]
	}
}

// append puts bytes at the end of the log.
func (w *world) append(record []byte) {
	w.log = append(w.log, order.Entry{Position: uint64(len(w.log)) + 1, Time: uint64(w.now.Unix()), Record: record})
}

// gossip carries checkpoints from one node to another.
func (n *node) gossip(to *node) {
	if n.r == nil || to.r == nil || n == to {
		return
	}
	for _, c := range n.r.Checkpoints(n.sent[to.slot], 64) {
		if err := to.r.Receive(c.Incarnation, c.SignedCheckpoint); err != nil && !errors.Is(err, replica.ErrHalted) {
			return // not known there yet; comes again
		}
		n.sent[to.slot] = c.Checkpoint.Position
	}
}

// approve signs whatever waits for administrators.
func (w *world) approve() {
	for _, n := range w.nodes {
		if n.r == nil {
			continue
		}
		p, ok := n.r.Proposal()
		if !ok || p.Have >= p.Need {
			continue
		}
		var sigs []wire.AdminSignature
		for i, a := range w.admins[:2] {
			sigs = append(sigs, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, p.Message))})
		}
		_ = n.r.Approve(sigs) // the proposal may have changed
	}
}

// round is everything in order once: an honest host.
func (w *world) round() {
	w.now = w.now.Add(time.Second)
	for _, n := range w.nodes {
		n.deliver(1 << 20)
		n.tick()
		n.submit(1 << 20)
	}
	for _, n := range w.nodes {
		n.deliver(1 << 20)
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			a.gossip(b)
		}
	}
	w.approve()
}

// settle runs honest rounds until ready says true.
func (w *world) settle(what string, ready func() bool) {
	w.t.Helper()
	for range 600 {
		if ready() {
			return
		}
		w.round()
	}
	for _, n := range w.nodes {
		if n.r != nil {
			st := n.r.Status()
			needs, from, released := n.r.Wants()
			w.t.Logf("slot %d: position %d epoch %d member %v running %v executed %d committed %d; wants state %v from %d, released %v; disk: epoch %d, position %d; halted %v",
				n.slot, st.Position, st.Epoch, st.Member, st.Running, st.Executed, st.Committed, needs, from, released != nil, n.disk.epoch, n.disk.saved.Position, st.Halted)
		}
	}
	w.t.Fatalf("did not come about: %s", what)
}

// allRunning says whether every process runs and has committed what the log holds.
func (w *world) allRunning() bool {
	for _, n := range w.nodes {
		if n.r == nil {
			continue
		}
		if st := n.r.Status(); !st.Running || n.kind == wire.KindExecutor && st.Committed == 0 {
			return false
		}
	}
	return true
}

func (w *world) startAll() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.start()
	}
	w.settle("all nodes run", w.allRunning)
}

// check holds the invariants that no schedule may break.
func (w *world) check() {
	w.t.Helper()
	if w.seals.bad != "" {
		w.t.Fatal(w.seals.bad)
	}
	var first replica.Snapshot
	for _, n := range w.nodes {
		if n.r == nil || n.kind != wire.KindExecutor || n.r.Err() != nil {
			continue
		}
		s, err := n.r.Snapshot()
		if err != nil {
			continue
		}
		if first.Tree == nil {
			first = s
		} else if s.Checkpoint.Position == first.Checkpoint.Position && s.Checkpoint != first.Checkpoint {
			w.t.Fatalf("slot %d committed another state at position %d", n.slot, s.Checkpoint.Position)
		}
	}
}

// user is a client with one account.
type user struct {
	w     *world
	key   ed25519.PrivateKey
	nonce uint64
	floor uint64
	chain wire.Hash
}

func (w *world) user() *user { return &user{w: w, key: newKey(w.t)} }

func (u *user) account() string {
	pub := public(u.key)
	return fmt.Sprintf("%x", wire.AccountID(wire.SchemeEd25519, pub[:]))
}

// command signs one; its number is the account's next.
func (u *user) command(name, args string) []byte {
	u.nonce++
	return u.sign(u.nonce, name, args)
}

func (u *user) sign(nonce uint64, name, args string) []byte {
	pub := public(u.key)
	c := wire.Command{Ledger: u.w.ledger, Application: erc20.App.Name, Scheme: wire.SchemeEd25519, Key: pub[:], Nonce: nonce, ExpiresAt: 1 << 40, Name: name, Arguments: []byte(args)}
	return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(u.key, c.Message())}.Encode()
}

// pending is a request that was sent.
type pending struct {
	item   []byte
	node   *node
	ticket wire.Hash
	opener *keys.ReplyOpener
	result *wire.Result
}

// send seals a command to a node. It returns nil when the node does not take it now.
func (u *user) send(n *node, item []byte) *pending {
	if n.r == nil {
		return nil
	}
	info, _, err := n.r.KeyInfo()
	if err != nil {
		return nil
	}
	req, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: wire.SuiteX25519, Info: info, Kind: wire.RequestCommands, NotAfter: uint64(u.w.now.Unix()) + 60,
		Payload: wire.Payload{FloorPosition: u.floor, FloorChain: u.chain, ReplyBucket: 4096, Items: [][]byte{item}},
	})
	if err != nil {
		u.w.t.Fatal(err)
	}
	id, _, err := n.r.Submit(req.Encode())
	if err != nil {
		return nil
	}
	return &pending{item: item, node: n, ticket: id, opener: opener}
}

// poll opens the reply when it is there. lost says that the node no longer holds the ticket.
func (u *user) poll(p *pending) (done, lost bool) {
	if p.node.r == nil {
		return false, true
	}
	raw, known := p.node.r.Ticket(p.ticket)
	if !known {
		return false, true
	}
	if raw == nil {
		return false, false
	}
	reply, err := wire.ParseReply(raw)
	if err != nil {
		u.w.t.Fatal(err)
	}
	body, err := p.opener.Open(reply)
	if err != nil {
		u.w.t.Fatal(err)
	}
	if body.Position >= u.floor {
		u.floor, u.chain = body.Position, body.Chain
	}
	p.result = &body.Results[0]
	return true, false
}

// do sends a command and waits for its outcome under an honest host.
func (u *user) do(n *node, name, args string) wire.Result {
	u.w.t.Helper()
	p := u.send(n, u.command(name, args))
	if p == nil {
		u.w.t.Fatalf("slot %d takes no request: %v", n.slot, n.r.Err())
	}
	u.w.settle(name, func() bool { done, _ := u.poll(p); return done })
	return *p.result
}

// balance asks a node, from committed state.
func (u *user) balance(n *node) string {
	u.w.t.Helper()
	return u.query(n, wire.KindQuery, "balanceOf", []byte("{}"), wire.ModeLocal, nil)
}

func (u *user) query(n *node, kind uint8, name string, args []byte, mode uint8, fresh replica.FreshFunc) string {
	u.w.t.Helper()
	info, _, err := n.r.KeyInfo()
	if err != nil {
		u.w.t.Fatal(err)
	}
	pub := public(u.key)
	q := wire.Query{Kind: kind, Ledger: u.w.ledger, Application: erc20.App.Name, Scheme: wire.SchemeEd25519, Key: pub[:], NotAfter: uint64(u.w.now.Unix()) + 30, Name: name, Arguments: args}
	if _, err := io.ReadFull(rand.Reader, q.ID[:]); err != nil {
		u.w.t.Fatal(err)
	}
	signed := wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(u.key, q.Message())}
	req, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: wire.SuiteX25519, Info: info, Kind: wire.RequestQuery, NotAfter: uint64(u.w.now.Unix()) + 60,
		Payload: wire.Payload{FloorPosition: u.floor, FloorChain: u.chain, Mode: mode, ReplyBucket: 4096, Items: [][]byte{signed.Encode()}},
	})
	if err != nil {
		u.w.t.Fatal(err)
	}
	raw, err := n.r.Query(context.Background(), req.Encode(), fresh)
	if err != nil {
		u.w.t.Fatal(err)
	}
	reply, err := wire.ParseReply(raw)
	if err != nil {
		u.w.t.Fatal(err)
	}
	body, err := opener.Open(reply)
	if err != nil {
		u.w.t.Fatal(err)
	}
	x := body.Results[0]
	if x.Outcome.Code != 0 {
		return ledger.CodeWord(x.Outcome.Code)
	}
	return string(x.Outcome.Result)
}
