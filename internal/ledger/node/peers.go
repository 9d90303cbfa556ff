package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// Paths between nodes.
const (
	pathCheckpoints = "/api/v1/peer/checkpoints"
	pathFresh       = "/api/v1/peer/fresh"
	pathSnapshot    = "/api/v1/peer/snapshot"
	pathBackup      = "/api/v1/peer/backup"
)

const (
	// maxPush is how many checkpoints go in one call.
	maxPush      = 256
	maxReason    = 4096
	callTimeout  = 10 * time.Second
	stateTimeout = 30 * time.Minute // of a snapshot or a backup
)

// peers are the connections to other nodes.
type peers struct {
	n *Node

	mu     sync.Mutex
	urls   map[uint16]string
	conns  map[uint16]*peer
	wanted chan struct{} // closed when the list of peers has changed
	backup chan struct{}
}

// peer is another node.
type peer struct {
	n      *Node
	slot   uint16
	url    string
	client *http.Client
}

func newPeers(n *Node, urls map[uint16]string) *peers {
	p := &peers{n: n, urls: map[uint16]string{}, conns: map[uint16]*peer{}, wanted: make(chan struct{}), backup: make(chan struct{}, 1)}
	for slot, url := range urls {
		p.set(slot, url)
	}
	return p
}

// set names a peer's URL; an empty one forgets it.
func (p *peers) set(slot uint16, url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot == p.n.o.Slot || p.urls[slot] == url {
		return
	}
	if old := p.conns[slot]; old != nil {
		old.client.CloseIdleConnections()
	}
	delete(p.urls, slot)
	delete(p.conns, slot)
	if url != "" {
		p.urls[slot] = url
		p.conns[slot] = p.n.newPeer(slot, url)
	}
	close(p.wanted)
	p.wanted = make(chan struct{})
}

func (n *Node) newPeer(slot uint16, url string) *peer {
	accept := func(pk [32]byte) error {
		s, err := n.standing(pk)
		if err == nil && s.slot != slot {
			err = fmt.Errorf("it is the incarnation of slot %d, wanted slot %d", s.slot, slot)
		}
		return err
	}
	return &peer{n: n, slot: slot, url: url, client: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: member.ClientConfig(&n.cert, accept), MaxIdleConnsPerHost: 4, IdleConnTimeout: 2 * time.Minute,
			TLSHandshakeTimeout: callTimeout, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *peers) list() []*peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*peer, 0, len(p.conns))
	for _, c := range p.conns {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *peer) int { return int(a.slot) - int(b.slot) })
	return out
}

// of lists the peers whose slot holds a member of a kind in the epoch in force.
func (p *peers) of(kind uint8) []*peer {
	slots := map[uint16]bool{}
	p.n.r.View(func(c *control.State) {
		for _, m := range c.Epoch().Members {
			slots[m.Slot] = m.Kind == kind
		}
	})
	return slices.DeleteFunc(p.list(), func(x *peer) bool { return !slots[x.slot] })
}

func (p *peers) close() {
	for _, c := range p.list() {
		c.client.CloseIdleConnections()
	}
}

// run pushes checkpoints to every executor, and backups to the vaults.
func (p *peers) run(ctx context.Context) {
	if p.n.kind != wire.KindExecutor {
		return
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { p.backups(ctx) })
	for {
		p.mu.Lock()
		changed := p.wanted
		p.mu.Unlock()
		round, stop := context.WithCancel(ctx)
		var pushing sync.WaitGroup
		for _, c := range p.list() {
			pushing.Go(func() { c.push(round) })
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
		stop()
		pushing.Wait()
		if ctx.Err() != nil {
			return
		}
	}
}

// push sends the own checkpoints to a peer as they come about. A node that has halted still
// sends those it signed before: they show the peer on what the two differ.
func (c *peer) push(ctx context.Context) {
	retry := c.n.backoff(time.Second)
	var to wire.Hash
	var after uint64
	for ctx.Err() == nil {
		changed, halted := c.n.r.Changed(), c.n.r.Err() != nil
		if now, ok := c.executor(); ok {
			if now != to { // another incarnation needs what makes the committed position so
				to, after = now, max(c.n.r.Status().Committed, 1)-1
			}
			if list := c.n.r.Checkpoints(after, maxPush); len(list) > 0 {
				if err := c.sendCheckpoints(ctx, list); err != nil {
					c.n.o.Logger.Debug("checkpoints did not reach a peer", "slot", c.slot, "reason", err)
					retry.wait(ctx)
					continue
				}
				retry.reset()
				after = list[len(list)-1].Checkpoint.Position
				continue
			}
		}
		if halted {
			return
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// executor returns the executor that the peer's slot holds in the epoch in force.
func (c *peer) executor() (id wire.Hash, ok bool) {
	c.n.r.View(func(s *control.State) {
		m, there := s.Epoch().InSlot(c.slot)
		id, ok = m.Incarnation, there && m.Kind == wire.KindExecutor
	})
	return id, ok
}

func (c *peer) sendCheckpoints(ctx context.Context, list []replica.OwnCheckpoint) error {
	var body []byte
	for _, x := range list {
		body = append(body, x.SignedCheckpoint.Encode()...)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.call(ctx, http.MethodPost, pathCheckpoints, bytes.NewReader(body), 0)
	return err
}

// Fresh implements api.Operator and replica.FreshFunc.
func (n *Node) Fresh(ctx context.Context, qid [16]byte) (uint64, error) {
	own, err := n.r.Fresh(qid)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var quorum, executors int
	n.r.View(func(c *control.State) { quorum, executors = c.Epoch().Quorum(), c.Epoch().Executors() })
	list := n.peers.of(wire.KindExecutor)
	type answer struct {
		position uint64
		err      error
	}
	answers := make(chan answer, len(list))
	for _, p := range list {
		go func() {
			position, err := p.fresh(ctx, qid)
			answers <- answer{position, err}
		}()
	}
	have, highest := 1, own.Position
	for range list {
		if have >= quorum {
			break
		}
		if a := <-answers; a.err == nil {
			have, highest = have+1, max(highest, a.position)
		} else {
			n.o.Logger.Debug("a peer does not vouch for how far the ledger is", "reason", a.err)
		}
	}
	if have < quorum {
		return 0, fmt.Errorf("%d of %d executors answered, wanted %d", have, executors, quorum)
	}
	return highest, nil
}

func (c *peer) fresh(ctx context.Context, qid [16]byte) (uint64, error) {
	id, ok := c.executor()
	if !ok {
		return 0, fmt.Errorf("slot %d holds no executor", c.slot)
	}
	b, err := c.call(ctx, http.MethodPost, pathFresh, bytes.NewReader(qid[:]), freshSize)
	if err != nil {
		return 0, err
	}
	a, err := parseFresh(b)
	if err != nil {
		return 0, fmt.Errorf("slot %d: %w", c.slot, err)
	}
	return a.Position, c.n.r.CheckFresh(id, qid, a)
}

// call makes a short call and returns at most limit bytes.
func (c *peer) call(ctx context.Context, method, path string, body io.Reader, limit int64) ([]byte, error) {
	r, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("an answer of more than %d bytes", limit)
	}
	if err != nil {
		return nil, fmt.Errorf("slot %d: %s: %w", c.slot, path, err)
	}
	return b, nil
}

// open makes a call and returns the answer's body. The caller closes it.
func (c *peer) open(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	r, err := c.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("slot %d: %w", c.slot, err)
	}
	if r.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(r.Body, maxReason)) // what came of it
		return nil, errors.Join(fmt.Errorf("slot %d: %s: %s: %.200q", c.slot, path, r.Status, reason), r.Body.Close())
	}
	return r.Body, nil
}

// standing is what the log says about a key's incarnation.
type standing struct {
	id      wire.Hash
	slot    uint16
	kind    uint8
	present bool // a member of the epoch in force
}

// standing says whether a key's incarnation is welcome: a member, one that was until the
// window ends, or one that waits to be added.
func (n *Node) standing(pk [32]byte) (s standing, err error) {
	s.id = wire.IncarnationID(pk)
	err = errors.New("no member of the ledger, as far as this node has followed it")
	n.r.View(func(c *control.State) {
		in := c.Incarnation(s.id)
		if in == nil {
			return
		}
		s.slot, s.kind = in.Slot, in.Kind
		now := c.Epoch()
		if _, s.present = now.Member(s.id); s.present {
			err = nil
			return
		}
		if in.RemovedAt == 0 && in.Expelled == 0 && slices.ContainsFunc(c.Pending(), func(x *control.Incarnation) bool { return x.ID == s.id }) {
			err = nil
			return
		}
		if before := c.EpochNumber(now.Number - 1); now.Number > 0 && before != nil && c.Position() <= now.Position+c.Genesis().Window {
			if _, was := before.Member(s.id); was && in.Expelled == 0 {
				err = nil
			}
		}
	})
	return s, err
}

// acceptAny is for the listener that clients share, who show no certificate.
func (n *Node) acceptAny(pk [32]byte) error {
	_, err := n.standing(pk)
	return err
}

// caller is who has made a call, by the certificate of its connection.
func (n *Node) caller(state *tls.ConnectionState) (standing, error) {
	pk, err := member.PeerKey(state)
	if err != nil {
		return standing{}, err
	}
	return n.standing(pk)
}
