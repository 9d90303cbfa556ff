package guest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/csr"
	"hitoku.dev/measure/workload"
)

// prover makes evidence about this guest.
type prover interface {
	Evidence(ctx context.Context, b *attest.Binding) ([]byte, error)
}

// issuer obtains certificates through the node agent.
type issuer struct {
	accountRoot string // lower-case hexadecimal
	agent       *agentClient
	tee         prover
	clock       Clock
	rand        io.Reader
	log         *Log
	patience    time.Duration // how long an agent that does not answer is waited for
}

// newIssuer makes what obtains the certificates of m from the agent that env names. It is nil
// where m wants no certificate, and with an error.
func newIssuer(m *workload.Manifest, env []string, tee prover, clock Clock, rand io.Reader, log *Log) (*issuer, error) {
	if m.AccountRoot == "" {
		log.Printf("converted without a manager: no certificate is asked for")
	}
	if len(m.Certificates) == 0 {
		return nil, nil
	}
	base, err := agentBase(env)
	if err != nil {
		return nil, err
	}
	return &issuer{
		accountRoot: m.AccountRoot, agent: newAgentClient(base), tee: tee,
		clock: clock, rand: rand, log: log, patience: agentPatience,
	}, nil
}

const (
	agentPatience = 90 * time.Second
	firstRetry    = 500 * time.Millisecond
	lastRetry     = 10 * time.Second
	firstPoll     = 2 * time.Second
	lastPoll      = 15 * time.Second
	// remindEvery is how often a wait is mentioned again in the log.
	remindEvery = 10 * time.Minute
)

// backoff grows by half from first to last.
type backoff struct{ now, last time.Duration }

func (b *backoff) next() time.Duration {
	d := b.now
	b.now = min(b.now+b.now/2, b.last)
	return d
}

// obtain returns a certificate for c over a new key. While a task is pending it
// waits; once it is approved it sends fresh evidence (ruling 20). An agent that
// cannot be reached is waited for, but not for ever.
func (i *issuer) obtain(ctx context.Context, c *workload.Certificate) (*issued, error) {
	key, err := newKey(i.rand, c)
	if err != nil {
		return nil, err
	}
	retry := backoff{firstRetry, lastRetry}
	giveUp := i.clock.Now().Add(i.patience)
	for {
		state, err := i.request(ctx, key, c)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && temporary(err):
			if i.clock.Now().After(giveUp) {
				return nil, fmt.Errorf("certificate for %s: the node agent at %s did not help within %v: %w; check %s and `hitoku agent status` on the node", c.Subject, i.agent.base, i.patience, err, agentURLEnv)
			}
			i.log.Printf("certificate for %s: waiting for the node agent at %s: %v", c.Subject, i.agent.base, err)
			if err := i.clock.Wait(ctx, retry.next()); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, explainRequest(c.Subject, err)
		case state.Certificate != "":
			return checkIssued(state.Certificate, state.AccountRoot, wanted{i.accountRoot, key, names(c), i.clock.Now()})
		}
		if err := i.follow(ctx, c.Subject, state); err != nil {
			return nil, err
		}
		retry, giveUp = backoff{firstRetry, lastRetry}, i.clock.Now().Add(i.patience)
	}
}

// request sends one request with evidence over a fresh nonce.
func (i *issuer) request(ctx context.Context, key crypto.Signer, c *workload.Certificate) (*taskState, error) {
	info, err := i.agent.targetInfo(ctx)
	if err != nil {
		return nil, err
	}
	der, err := i.signedRequest(ctx, key, c, info.Nonce)
	if err != nil {
		return nil, err
	}
	state, err := i.agent.issue(ctx, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	if err != nil {
		return nil, err
	}
	if state.AccountRoot == "" {
		state.AccountRoot = info.AccountRoot
	}
	return state, nil
}

func (i *issuer) signedRequest(ctx context.Context, key crypto.Signer, c *workload.Certificate, nonce []byte) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	root, err := parseAccountRoot(i.accountRoot)
	if err != nil {
		return nil, err
	}
	binding := &attest.Binding{Purpose: attest.PurposeAppTLS, Subject: attest.SPKIHash(spki), Nonce: nonce, AccountRoot: root}
	bindingDER, err := binding.MarshalDER()
	if err != nil {
		return nil, err
	}
	quote, err := i.tee.Evidence(ctx, binding)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return csr.Create(i.rand, csr.Template{
		CommonName: c.Subject,
		DNSNames:   names(c),
		Attributes: []csr.Attribute{{OID: attest.OIDQuote, Value: quote}, {OID: attest.OIDBinding, Value: bindingDER}},
	}, key)
}

// follow waits until a pending task is approved. It returns an error when the
// request was refused.
func (i *issuer) follow(ctx context.Context, subject string, state *taskState) error {
	poll := backoff{firstPoll, lastPoll}
	task, reminded := state.TaskID, time.Time{}
	giveUp := i.clock.Now().Add(i.patience)
	for {
		switch state.Status {
		case "SUCCESS":
			return nil
		case "PENDING_WHITELIST", "INPROGRESS":
		default:
			return refusedRequest(subject, state)
		}
		if now := i.clock.Now(); now.Sub(reminded) >= remindEvery {
			i.log.Printf("certificate for %s: waiting for task %s: %s", subject, task, waitingFor(state))
			reminded = now
		}
		if err := i.clock.Wait(ctx, poll.next()); err != nil {
			return err
		}
		if task == "" {
			return nil // nothing to poll: ask again
		}
		next, err := i.agent.result(ctx, task)
		switch {
		case err == nil:
			state, giveUp = next, i.clock.Now().Add(i.patience)
		case ctx.Err() != nil:
			return ctx.Err()
		case !temporary(err) || i.clock.Now().After(giveUp):
			return fmt.Errorf("certificate for %s: task %s: %w", subject, task, err)
		default:
			i.log.Printf("certificate for %s: waiting for the node agent at %s: %v", subject, i.agent.base, err)
		}
	}
}

func waitingFor(s *taskState) string {
	switch {
	case s.Task.Description != "":
		return s.Task.Description
	case s.Reason != "":
		return s.Reason
	}
	return "an approval"
}

func refusedRequest(subject string, s *taskState) error {
	what := "certificate for " + subject
	if s.TaskID != "" {
		what += " (task " + s.TaskID + ")"
	}
	// A reason that is made of the rules would only say them twice.
	failed := failedRules(s.Rules)
	if s.Reason != "" && !slices.ContainsFunc(failed, func(r attest.Rule) bool { return strings.Contains(s.Reason, r.Name+": ") }) {
		what += ": " + s.Reason
	}
	return &refusedCertificate{what: what, status: s.Status, rules: failedRules(s.Rules)}
}

func explainRequest(subject string, err error) error {
	var reply *agentError
	if errors.As(err, &reply) && len(reply.Rules) > 0 {
		return &refusedCertificate{what: "certificate for " + subject + ": " + reply.Error(), status: "DENIED", rules: failedRules(reply.Rules)}
	}
	return fmt.Errorf("certificate for %s: %w", subject, err)
}

func failedRules(rules []attest.Rule) []attest.Rule {
	var failed []attest.Rule
	for _, r := range rules {
		if !r.OK {
			failed = append(failed, r)
		}
	}
	return failed
}

// refusedCertificate is a refusal by the manager; each rule is a line of its own.
type refusedCertificate struct {
	what, status string
	rules        []attest.Rule
}

func (e *refusedCertificate) Error() string { return strings.Join(e.Lines(), "; ") }

// Lines returns the refusal and each failed rule.
func (e *refusedCertificate) Lines() []string {
	lines := []string{e.what + ": " + e.status}
	for _, r := range e.rules {
		lines = append(lines, Refusal{Rule: "refused by rule", Path: r.Name, Wanted: r.Wanted, Seen: r.Seen, Advice: r.Advice}.String())
	}
	return lines
}
