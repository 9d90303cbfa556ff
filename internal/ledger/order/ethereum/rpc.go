package ethereum

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds an answer of an endpoint in bytes.
const maxAnswer = 64 << 20

// endpoint is one JSON-RPC server; it may lag, lie and fail.
type endpoint struct {
	url     string
	client  *http.Client
	timeout time.Duration
}

// rpcError is an error that the endpoint itself answered.
type rpcError struct {
	Code    int64  `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string {
	return fmt.Sprintf("answers error %d %q", e.Code, e.Message[:min(len(e.Message), 300)])
}

var errTooMuch = errors.New("answer is too large")

type rpcRequest struct {
	Version string `json:"jsonrpc"`
	ID      int    `json:"id"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
}

type rpcAnswer struct {
	ID     *int            `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
}

// call makes one call and puts its result into out.
func (e *endpoint) call(ctx context.Context, out any, method string, params ...any) error {
	err := e.try(ctx, out, method, params)
	if err != nil {
		return fmt.Errorf("ethereum: endpoint %s, %s: %w", e.url, method, err)
	}
	return nil
}

func (e *endpoint) try(ctx context.Context, out any, method string, params []any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(rpcRequest{"2.0", 1, method, params})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(b) > maxAnswer {
		return errTooMuch
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return parseAnswer(b, out)
}

func parseAnswer(b []byte, out any) error {
	var a rpcAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("the answer is not JSON-RPC: %w", err)
	}
	if a.Error != nil {
		return a.Error
	}
	if a.ID == nil || *a.ID != 1 || len(a.Result) == 0 {
		return errors.New("the answer is to another question")
	}
	if err := json.Unmarshal(a.Result, out); err != nil {
		return fmt.Errorf("the result is of another form: %w", err)
	}
	return nil
}

func (e *endpoint) number(ctx context.Context, method string, params ...any) (uint64, error) {
	var s string
	if err := e.call(ctx, &s, method, params...); err != nil {
		return 0, err
	}
	n, err := parseQuantity(s)
	if err != nil {
		return 0, fmt.Errorf("ethereum: endpoint %s, %s: %w", e.url, method, err)
	}
	return n, nil
}

var errNoBlock = errors.New("has no such block")

// block returns the header of a block by number or tag, its hash recomputed.
func (e *endpoint) block(ctx context.Context, which string) (*header, error) {
	var j *headerJSON
	if err := e.call(ctx, &j, "eth_getBlockByNumber", which, false); err != nil {
		return nil, err
	}
	if j == nil {
		return nil, fmt.Errorf("ethereum: endpoint %s, block %s: %w", e.url, which, errNoBlock)
	}
	h, err := j.header()
	if err == nil && len(which) > 1 && which[1] == 'x' && which != quantity(h.number) {
		err = fmt.Errorf("block %d instead of %s", h.number, which)
	}
	if err != nil {
		return nil, fmt.Errorf("ethereum: endpoint %s: %w", e.url, err)
	}
	return h, nil
}

type logJSON struct {
	Address     string   `json:"address"`
	Topics      []string `json:"topics"`
	Data        string   `json:"data"`
	BlockNumber string   `json:"blockNumber"`
	Removed     bool     `json:"removed"`
}

// events returns the records of the contract in a range of blocks, those of the given sequence numbers if there are any.
func (e *endpoint) events(ctx context.Context, contract Address, from, to uint64, numbers []uint64) ([]event, error) {
	topics := []any{recordedTopic().String()}
	if len(numbers) > 0 {
		words := make([]string, len(numbers))
		for i, n := range numbers {
			words[i] = hexBytes(uintWord(n))
		}
		topics = append(topics, words)
	}
	filter := map[string]any{"address": contract.String(), "fromBlock": quantity(from), "toBlock": quantity(to), "topics": topics}
	var list []logJSON
	if err := e.call(ctx, &list, "eth_getLogs", filter); err != nil {
		return nil, err
	}
	events := make([]event, len(list))
	for i, j := range list {
		var err error
		if events[i], err = j.event(contract); err == nil && (events[i].block < from || events[i].block > to) {
			err = errEvent
		}
		if err != nil {
			return nil, fmt.Errorf("ethereum: endpoint %s, eth_getLogs: %w", e.url, err)
		}
	}
	return events, nil
}

type proofJSON struct {
	AccountProof []string `json:"accountProof"`
	StorageProof []struct {
		Proof []string `json:"proof"`
	} `json:"storageProof"`
}

// proof returns what proves the contract's first two slots in a block.
func (e *endpoint) proof(ctx context.Context, contract Address, block uint64) (*accountProof, error) {
	var j proofJSON
	slots := []string{hexBytes(uintWord(0)), hexBytes(uintWord(1))}
	if err := e.call(ctx, &j, "eth_getProof", contract.String(), slots, quantity(block)); err != nil {
		return nil, err
	}
	p, err := j.parse()
	if err != nil {
		return nil, fmt.Errorf("ethereum: endpoint %s, eth_getProof: %w", e.url, err)
	}
	return p, nil
}

func (j *proofJSON) parse() (*accountProof, error) {
	if len(j.StorageProof) != 2 {
		return nil, fmt.Errorf("proofs of %d slots, 2 wanted", len(j.StorageProof))
	}
	var p accountProof
	for _, x := range []struct {
		from []string
		to   *[][]byte
	}{{j.AccountProof, &p.account}, {j.StorageProof[0].Proof, &p.head}, {j.StorageProof[1].Proof, &p.counters}} {
		if len(x.from) > maxTrieNodes {
			return nil, errTrie
		}
		for _, s := range x.from {
			b, err := parseHex(s, -1)
			if err != nil {
				return nil, err
			}
			*x.to = append(*x.to, b)
		}
	}
	return &p, nil
}
