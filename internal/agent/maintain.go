package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/wire"
)

const (
	defaultRefresh   = 5 * time.Minute
	minRefresh       = time.Second
	maxRefresh       = time.Hour
	defaultThreshold = 20 // percent of the life that is left when renewal begins
	callTimeout      = 30 * time.Second
)

// maintain enrols the node when it is not, then reports its status and renews its
// certificate until ctx ends.
func (a *Agent) maintain(ctx context.Context) error {
	if err := a.join(ctx); err != nil {
		return err
	}
	wait := a.newBackoff()
	for {
		pause, err := a.report(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			wait.reset()
			pause = a.jitter(pause)
		case refused(err):
			a.status.refusedByManager(err)
			pause = a.jitter(a.o.BackoffMax)
			a.o.Log.Error("the manager does not accept this node; workloads get no certificates here until it does", "error", err, "again in", pause.Round(time.Millisecond))
		default:
			pause = wait.next()
			a.status.unreachable(err, pause)
			a.o.Log.Warn("waiting for the manager", "error", err, "again in", pause.Round(time.Millisecond))
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// join returns when the node has a certificate that is not expired.
func (a *Agent) join(ctx context.Context) error {
	wait := a.newBackoff()
	for {
		a.mu.Lock()
		n := a.node
		a.mu.Unlock()
		var err error
		switch {
		case n == nil:
			a.status.waiting("the manager's answer to the enrolment")
			err = a.enrol(ctx)
		case !n.hasCertificate():
			err = a.awaitTask(ctx, n)
		case !a.o.Now().Before(n.leaf.NotAfter):
			if a.token == nil {
				return fmt.Errorf("agent: the certificate of node %s expired at %s while the agent was away; pass a new --join-token to enrol again", n.NodeID, n.leaf.NotAfter.UTC().Format(time.RFC3339))
			}
			a.o.Log.Warn("the node certificate has expired, enrolling again", "node", n.NodeID)
			err = a.enrol(ctx)
		default:
			a.o.Log.Info("node is enrolled", "node", n.NodeID, "account", n.AccountID, "certificate until", n.leaf.NotAfter.UTC().Format(time.RFC3339))
			return nil
		}
		var denied *deniedError
		switch {
		case err == nil:
			wait.reset()
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case refused(err), errors.As(err, &denied), errors.Is(err, errIdentity), isLocal(err):
			a.status.refusedByManager(err)
			return err
		}
		pause := wait.next()
		a.status.unreachable(err, pause)
		a.o.Log.Warn("waiting for the manager", "error", err, "again in", pause.Round(time.Millisecond))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// isLocal reports whether err did not come from the network or the manager, so
// that waiting does not mend it.
func isLocal(err error) bool {
	var e *ManagerError
	return !errors.As(err, &e) && !errors.Is(err, errTransport)
}

// awaitTask polls the task of a pending enrolment once it is decided; a task that
// is approved without a certificate means: prove yourself again, with fresh evidence.
func (a *Agent) awaitTask(ctx context.Context, n *node) error {
	c, err := newRootedClient(a.manager, n)
	if err != nil {
		return err
	}
	defer c.close()
	a.status.waiting(fmt.Sprintf("task %s (NODE_ATTESTATION): somebody approves platform %s with `hitoku task approve %s`", n.PendingTask, a.o.Platform.ID(), n.PendingTask))
	a.o.Log.Info("waiting for an approval", "task", n.PendingTask, "type", "NODE_ATTESTATION", "platform", a.o.Platform.ID())
	pause := 2 * a.o.BackoffMin
	for {
		var res wire.TaskResult
		if err := c.call(ctx, http.MethodGet, "/v1/tasks/status/"+n.PendingTask, nil, &res); err != nil {
			return err
		}
		switch {
		case res.Certificate != "":
			pending := *n
			pending.Certificate, pending.PendingTask = res.Certificate, ""
			return a.install(&pending)
		case res.TaskStatus != nil && res.TaskStatus.Status == "SUCCESS":
			if a.token == nil {
				return fmt.Errorf("agent: task %s is approved and the manager wants fresh evidence; start the agent once more with --join-token", n.PendingTask)
			}
			return a.enrol(ctx)
		}
		if err := stillOpen(&res); err != nil {
			return err
		}
		if err := sleep(ctx, a.jitter(pause)); err != nil {
			return err
		}
		pause = min(pause*3/2, 15*a.o.BackoffMin)
	}
}

func (a *Agent) install(n *node) error {
	if err := n.complete(); err != nil {
		return fmt.Errorf("agent: certificate from the manager: %w", err)
	}
	if err := n.save(a.o.DataDir); err != nil {
		return err
	}
	return a.adopt(n)
}

// report tells the manager that this node runs, renews the certificate when it is
// time, and returns how long to wait until the next report.
func (a *Agent) report(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, mgr := a.current()
	if !a.o.Now().Before(n.leaf.NotAfter) {
		return 0, fmt.Errorf("the node certificate expired at %s; start the agent again with a new --join-token", n.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	var reply wire.NodeStatusReply
	err := mgr.call(ctx, http.MethodPost, "/v1/node/status", wire.NodeStatusRequest{
		Name: a.o.Name, IPAddress: a.address(), SGXVersion: sgxVersion, Description: a.o.Description,
		Status: "RUNNING", Version: a.o.Version,
	}, &reply)
	if err != nil {
		return 0, err
	}
	a.status.reported(a.o.Now())
	threshold := reply.NodeRenewalThreshold
	if threshold <= 0 || threshold >= 100 {
		threshold = defaultThreshold
	}
	if left, life := n.remaining(a.o.Now()); left*100 < life*time.Duration(threshold) {
		if err := a.renew(ctx, n, mgr); err != nil {
			return 0, fmt.Errorf("renewal of the node certificate: %w", err)
		}
	}
	if reply.NodeRefreshInterval <= 0 {
		return defaultRefresh, nil
	}
	if reply.NodeRefreshInterval > int64(maxRefresh/time.Second) {
		return maxRefresh, nil
	}
	return max(time.Duration(reply.NodeRefreshInterval)*time.Second, minRefresh), nil
}

// renew replaces key and certificate, on fresh evidence.
func (a *Agent) renew(ctx context.Context, n *node, mgr *managerClient) error {
	nonce, err := mgr.nonce(ctx, n.NodeID, attest.PurposeNode)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), a.o.Rand)
	if err != nil {
		return err
	}
	_, request, err := a.evidence(ctx, nonce, n.root, key)
	if err != nil {
		return err
	}
	var res wire.TaskResult
	if err := mgr.call(ctx, http.MethodPost, "/v1/nodes/"+n.NodeID+"/certificate", wire.CertificateRequest{CSR: request, NodeID: n.NodeID}, &res); err != nil {
		return err
	}
	if res.Certificate == "" {
		return fmt.Errorf("the manager gave none: %s", res.Reason)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	renewed := *n
	renewed.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	renewed.Certificate = res.Certificate
	renewed.adoptRoot(res.AccountRoot)
	if err := a.install(&renewed); err != nil {
		return err
	}
	a.o.Log.Info("node certificate renewed", "until", renewed.leaf.NotAfter.UTC().Format(time.RFC3339))
	return nil
}

// backoff doubles its wait up to a bound, with jitter so that many nodes do not
// return to a restarted manager at once.
type backoff struct {
	a    *Agent
	wait time.Duration
}

func (a *Agent) newBackoff() *backoff { return &backoff{a: a} }

func (b *backoff) reset() { b.wait = 0 }

func (b *backoff) next() time.Duration {
	b.wait = min(max(b.wait*2, b.a.o.BackoffMin), b.a.o.BackoffMax)
	return b.a.jitter(b.wait)
}

// jitter returns a duration between d/2 and d.
func (a *Agent) jitter(d time.Duration) time.Duration {
	var raw [8]byte
	if _, err := a.o.Rand.Read(raw[:]); err != nil || d <= 1 {
		return d
	}
	return d/2 + time.Duration(binary.BigEndian.Uint64(raw[:])%uint64(d/2+1))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
