package agent

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"time"

	"hitoku.dev/internal/wire"
)

// enrolledOr returns the node and its client, or the reply that explains why
// there is none.
func (a *Agent) enrolledOr() (*node, *managerClient, error) {
	n, mgr := a.current()
	if n == nil {
		s := a.Status()
		return nil, nil, fail(http.StatusServiceUnavailable, "NODE_NOT_ENROLLED", "this node is not enrolled yet; it waits for: %s", s.WaitingFor)
	}
	return n, mgr, nil
}

func (a *Agent) handleTargetInfo(ctx context.Context) (any, error) {
	n, mgr, err := a.enrolledOr()
	if err != nil {
		return nil, err
	}
	var nonce []byte
	err = a.patiently(ctx, func() error {
		nonce, err = a.workloadNonce(ctx, mgr, n.NodeID)
		return err
	})
	if err != nil {
		return nil, a.managerFailed(err)
	}
	return TargetInfoReply{TargetInfo: a.o.Platform.TargetInfo(), Nonce: nonce, AccountRoot: n.AccountRoot}, nil
}

// issue forwards a certificate request and answers in the words of this
// interface. The manager judges the request; here only its form is looked at.
func (a *Agent) issue(ctx context.Context, request string) (*IssueReply, error) {
	parsed, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	n, mgr, err := a.enrolledOr()
	if err != nil {
		return nil, err
	}
	var res wire.TaskResult
	err = a.patiently(ctx, func() error {
		return mgr.call(ctx, http.MethodPost, "/v1/certificates", wire.CertificateRequest{CSR: request, NodeID: n.NodeID}, &res)
	})
	if err != nil {
		return nil, a.managerFailed(err)
	}
	reply := newIssueReply(&res, n)
	a.status.issued(a.o.Now(), parsed.Subject.CommonName, clipAll(parsed.DNSNames), reply)
	a.o.Log.Info("certificate request", "subject", clip(parsed.Subject.CommonName), "status", reply.TaskStatus, "task", reply.TaskID, "reason", clip(reply.Reason))
	return reply, nil
}

// result says how a task stands. A request that had to wait is never answered
// with a certificate later: the workload asks again with fresh evidence.
func (a *Agent) result(ctx context.Context, taskID string) (*IssueReply, error) {
	n, mgr, err := a.enrolledOr()
	if err != nil {
		return nil, err
	}
	var res wire.TaskResult
	err = a.patiently(ctx, func() error {
		return mgr.call(ctx, http.MethodGet, "/v1/tasks/status/"+taskID, nil, &res)
	})
	if err != nil {
		return nil, a.managerFailed(err)
	}
	if res.TaskID == "" {
		res.TaskID = taskID
	}
	return newIssueReply(&res, n), nil
}

// newIssueReply translates the manager's answer.
func newIssueReply(res *wire.TaskResult, n *node) *IssueReply {
	r := &IssueReply{TaskID: res.TaskID, Certificate: res.Certificate, Reason: res.Reason, Rules: res.Rules, AccountRoot: n.AccountRoot}
	if res.TaskStatus != nil {
		r.TaskStatus = res.TaskStatus.Status
	}
	switch {
	case res.Certificate != "":
		r.TaskStatus = "SUCCESS"
	case r.TaskStatus == "INPROGRESS" && res.TaskID != "":
		// An open task is what the clients of this interface know by this word.
		r.TaskStatus = "PENDING_WHITELIST"
	}
	if r.TaskStatus == "PENDING_WHITELIST" {
		r.Task = &TaskRef{TaskID: res.TaskID, Description: res.Reason}
		if r.Task.Description == "" {
			r.Task.Description = strings.TrimSpace(res.TaskType + " waits for an approval")
		}
	}
	return r
}

// parseRequest checks that text is one PEM block with a request in it.
func parseRequest(text string) (*x509.CertificateRequest, error) {
	if text == "" {
		return nil, fail(http.StatusBadRequest, "MISSING_REQUIRED_PARAMETER", "request body: member \"csr\" is missing")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || strings.TrimSpace(string(rest)) != "" || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fail(http.StatusBadRequest, "BAD_REQUEST", "csr: wanted one PEM block of type CERTIFICATE REQUEST")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "BAD_REQUEST", "csr: %v", err)
	}
	return parsed, nil
}

// patiently repeats f while the manager cannot be reached at all, so that a
// restart of the manager costs a workload seconds and not its start. A request
// that may have reached the manager is not repeated: its nonce is used up.
func (a *Agent) patiently(ctx context.Context, f func() error) error {
	wait := a.newBackoff()
	for {
		err := f()
		if err == nil || !neverSent(err) {
			return err
		}
		pause := wait.next()
		if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// managerFailed turns a failed call to the manager into a reply of this interface.
func (a *Agent) managerFailed(err error) *apiError {
	var e *ManagerError
	if !errors.As(err, &e) {
		return fail(http.StatusServiceUnavailable, "MANAGER_UNREACHABLE", "%v; the agent keeps trying, ask again", err)
	}
	out := fail(http.StatusBadGateway, e.Body.Code, "%v", e)
	if refused(err) {
		out.status = e.Status
	}
	out.body.Rules = e.Body.Rules
	return out
}

func clipAll(in []string) []string {
	out := make([]string, 0, min(len(in), 32))
	for _, s := range in[:cap(out)] {
		out = append(out, clip(s))
	}
	return out
}
