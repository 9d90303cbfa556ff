package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/attest"
)

// The node agent's interface (ccm.md, section 2.3). Nothing that it answers is
// trusted: a certificate is judged by checkIssued, a nonce only has to be fresh
// for the manager.

const (
	agentCallTimeout = 60 * time.Second
	maxAgentReply    = 1 << 20
)

type targetInfo struct {
	Nonce       []byte `json:"nonce"`
	AccountRoot string `json:"account_root"`
}

// taskState is what the agent says about a request for a certificate.
type taskState struct {
	TaskID      string        `json:"task_id"`
	Status      string        `json:"task_status"`
	Certificate string        `json:"certificate"`
	AccountRoot string        `json:"account_root"`
	Reason      string        `json:"reason"`
	Rules       []attest.Rule `json:"rules"`
	Task        struct {
		Description string `json:"description"`
	} `json:"task"`
}

// agentError is a reply other than 200.
type agentError struct {
	Status  int
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Rules   []attest.Rule `json:"rules"`
}

func (e *agentError) Error() string {
	s := fmt.Sprintf("node agent answers %d", e.Status)
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// temporary reports whether asking again later can help: the agent cannot be
// reached, is not enrolled yet or has lost its manager.
func temporary(err error) bool {
	var reply *agentError
	if errors.As(err, &reply) {
		return reply.Status >= 500 || reply.Status == http.StatusTooManyRequests || reply.Status == http.StatusRequestTimeout
	}
	var network *agentUnreachable
	return errors.As(err, &network)
}

// agentUnreachable says that no reply came.
type agentUnreachable struct{ err error }

func (e *agentUnreachable) Error() string { return e.err.Error() }
func (e *agentUnreachable) Unwrap() error { return e.err }

type agentClient struct {
	base string // scheme://host:port
	http *http.Client
}

// newAgentClient returns a client that follows no redirect and asks no proxy.
func newAgentClient(base string) *agentClient {
	return &agentClient{base: base, http: &http.Client{
		Transport:     &http.Transport{Proxy: nil, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       agentCallTimeout,
	}}
}

func (c *agentClient) targetInfo(ctx context.Context) (*targetInfo, error) {
	var info targetInfo
	if err := c.call(ctx, http.MethodGet, "/v1/enclave/target-info", nil, &info); err != nil {
		return nil, err
	}
	if len(info.Nonce) != attest.NonceSize {
		return nil, fmt.Errorf("node agent at %s gives a nonce of %d bytes, wanted %d: is it a Hitoku agent?", c.base, len(info.Nonce), attest.NonceSize)
	}
	return &info, nil
}

func (c *agentClient) issue(ctx context.Context, request string) (*taskState, error) {
	body, err := json.Marshal(map[string]string{"csr": request})
	if err != nil {
		return nil, err
	}
	var state taskState
	return &state, c.call(ctx, http.MethodPost, "/v1/certificate/issue", body, &state)
}

func (c *agentClient) result(ctx context.Context, task string) (*taskState, error) {
	if !isTaskID(task) {
		return nil, fmt.Errorf("node agent at %s names a task %q, which is no id", c.base, task)
	}
	var state taskState
	return &state, c.call(ctx, http.MethodPost, "/v1/certificate/result/"+task, nil, &state)
}

func isTaskID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (c *agentClient) call(ctx context.Context, method, path string, body []byte, reply any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &agentUnreachable{err}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAgentReply+1))
	if err != nil {
		return &agentUnreachable{fmt.Errorf("read reply of %s%s: %w", c.base, path, err)}
	}
	if len(data) > maxAgentReply {
		return fmt.Errorf("node agent at %s: reply of more than %d bytes", c.base, maxAgentReply)
	}
	if response.StatusCode != http.StatusOK {
		return decodeAgentError(response.StatusCode, data)
	}
	if err := json.Unmarshal(data, reply); err != nil {
		return fmt.Errorf("node agent at %s: reply of %s: %w", c.base, path, err)
	}
	return nil
}

func decodeAgentError(status int, data []byte) error {
	e := &agentError{}
	if json.Unmarshal(data, e) != nil {
		e.Message = string(data[:min(len(data), 300)])
	}
	e.Status = status
	return e
}
