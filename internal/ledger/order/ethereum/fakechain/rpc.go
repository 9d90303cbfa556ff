package fakechain

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Endpoint is a JSON-RPC server of a chain. Set its behaviour by Set.
type Endpoint struct {
	mu    sync.Mutex
	b     Behaviour
	calls map[string]int
}

// Behaviour is how an endpoint answers.
type Behaviour struct {
	Chain     *Chain
	Down      bool   // answers nothing of use
	Lag       uint64 // does not know the newest blocks
	MaxBlocks uint64 // of one eth_getLogs, 0: any number
	MaxLogs   int    // of one answer to it
	// Lie changes a result before it is sent.
	Lie func(method string, params []json.RawMessage, result json.RawMessage) json.RawMessage
}

// NewEndpoint returns an honest endpoint of a chain.
func NewEndpoint(c *Chain) *Endpoint {
	return &Endpoint{b: Behaviour{Chain: c}, calls: map[string]int{}}
}

// Set changes the behaviour.
func (e *Endpoint) Set(change func(*Behaviour)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.b)
}

// Calls returns how often a method was called.
func (e *Endpoint) Calls(method string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[method]
}

// ServeHTTP answers one call.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err == nil {
		err = json.Unmarshal(body, &q)
	}
	e.mu.Lock()
	b := e.b
	e.calls[q.Method]++
	e.mu.Unlock()
	if err != nil || b.Down {
		http.Error(w, "out of service", http.StatusServiceUnavailable)
		return
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": q.ID}
	result, err := b.answer(q.Method, q.Params)
	if err != nil {
		answer["error"] = map[string]any{"code": -32000, "message": err.Error()}
	} else {
		raw, err := json.Marshal(result)
		if err != nil {
			panic(err)
		}
		if b.Lie != nil {
			raw = b.Lie(q.Method, q.Params, raw)
		}
		answer["result"] = json.RawMessage(raw)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func hex0x(b []byte) string { return "0x" + hex.EncodeToString(b) }

func hexUint(n uint64) string { return "0x" + strconv.FormatUint(n, 16) }

func text(p []json.RawMessage, i int) (s string) {
	if i < len(p) {
		_ = json.Unmarshal(p[i], &s)
	}
	return s
}

func unhex(s string) []byte {
	b, _ := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	return b
}

func (b *Behaviour) answer(method string, p []json.RawMessage) (any, error) {
	c := b.Chain
	if method == "eth_sendRawTransaction" {
		t, err := c.send(unhex(text(p, 0)))
		if err != nil {
			return nil, err
		}
		return hex0x(t.hash[:]), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	blocks := c.blocks[:max(1, uint64(len(c.blocks))-min(b.Lag, uint64(len(c.blocks))))]
	switch method {
	case "eth_chainId":
		return hexUint(c.o.ChainID), nil
	case "eth_blockNumber":
		return hexUint(blocks[len(blocks)-1].number), nil
	case "eth_getBlockByNumber":
		if bl := c.find(blocks, text(p, 0)); bl != nil {
			return bl.json(), nil
		}
		return nil, nil
	case "eth_getTransactionCount":
		bl := c.find(blocks, text(p, 1))
		if bl == nil {
			return nil, errors.New("header not found")
		}
		a := [20]byte(unhex(text(p, 0)))
		n := bl.after.nonces[a]
		if text(p, 1) == "pending" {
			for c.pool[a][n] != nil {
				n++
			}
		}
		return hexUint(n), nil
	case "eth_estimateGas":
		var call struct{ Data string }
		t := &tx{}
		if c.o.Gas == nil || len(p) == 0 || json.Unmarshal(p[0], &call) != nil {
			return nil, errors.New("execution reverted")
		}
		t.data = unhex(call.Data)
		record, _, _, ok := t.submission()
		if !ok || len(record) > c.o.MaxRecord {
			return nil, errors.New("execution reverted")
		}
		return hexUint(c.o.Gas(len(record))), nil
	case "eth_getTransactionReceipt":
		return receipt(blocks, text(p, 0)), nil
	case "eth_getLogs":
		return b.logs(blocks, p)
	case "eth_getProof":
		bl := c.find(blocks, text(p, 2))
		var slots []string
		if bl == nil || len(p) != 3 || json.Unmarshal(p[1], &slots) != nil {
			return nil, errors.New("header not found")
		}
		var keys [][]byte
		for _, s := range slots {
			keys = append(keys, unhex(s))
		}
		_, account, storage := c.prove(bl.after, keys)
		list := []any{}
		for i, proof := range storage {
			list = append(list, map[string]any{"key": slots[i], "value": "0x0", "proof": hexList(proof)})
		}
		return map[string]any{"address": text(p, 0), "accountProof": hexList(account), "storageProof": list}, nil
	}
	return nil, fmt.Errorf("the method %s does not exist/is not available", method)
}

func hexList(list [][]byte) []string {
	s := []string{}
	for _, b := range list {
		s = append(s, hex0x(b))
	}
	return s
}

func (c *Chain) find(blocks []*block, which string) *block {
	switch which {
	case "latest", "pending":
		return blocks[len(blocks)-1]
	case "finalized":
		n := uint64(len(blocks) - 1)
		return blocks[n-min(n, c.o.Finality)]
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(which, "0x"), 16, 64)
	if err != nil || n >= uint64(len(blocks)) {
		return nil
	}
	return blocks[n]
}

func (bl *block) json() map[string]any {
	names := []string{"parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom", "difficulty", "number",
		"gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas"}
	m := map[string]any{"hash": hex0x(bl.hash), "transactions": []string{}, "size": "0x0"}
	for i, f := range bl.fields {
		var content []byte
		if i != 12 {
			content, _, _, _ = one(f)
		}
		switch {
		case i == 12:
			m[names[i]] = hex0x(bl.extra)
		case i >= 7 && i <= 11 || i == 15:
			m[names[i]] = hexUint(toUint(content))
		default:
			m[names[i]] = hex0x(content)
		}
	}
	return m
}

func receipt(blocks []*block, hash string) any {
	for _, bl := range blocks {
		for _, t := range bl.txs {
			if hex0x(t.hash[:]) != hash {
				continue
			}
			status := "0x1"
			if bl.failed[t.hash] {
				status = "0x0"
			}
			return map[string]any{"status": status, "blockNumber": hexUint(bl.number), "gasUsed": "0x5208", "logs": []any{}}
		}
	}
	return nil
}

func (b *Behaviour) logs(blocks []*block, p []json.RawMessage) (any, error) {
	var f struct {
		Address   string            `json:"address"`
		FromBlock string            `json:"fromBlock"`
		ToBlock   string            `json:"toBlock"`
		Topics    []json.RawMessage `json:"topics"`
	}
	if len(p) != 1 || json.Unmarshal(p[0], &f) != nil {
		return nil, errors.New("invalid argument 0")
	}
	from, to := toUint(unhexOdd(f.FromBlock)), toUint(unhexOdd(f.ToBlock))
	if b.MaxBlocks > 0 && to-from >= b.MaxBlocks {
		return nil, fmt.Errorf("query exceeds max block range %d", b.MaxBlocks)
	}
	topic := hex0x(keccak([]byte("Recorded(uint64,uint64,bytes32,uint64,bytes)")))
	var wanted []string
	if len(f.Topics) > 1 {
		_ = json.Unmarshal(f.Topics[1], &wanted)
	}
	list := []any{}
	for _, bl := range blocks {
		if bl.number < from || bl.number > to || f.Address != hex0x(b.Chain.o.Contract[:]) {
			continue
		}
		for i, l := range bl.logs {
			position := hex0x(word(l.position))
			if len(wanted) > 0 && !contains(wanted, position) {
				continue
			}
			list = append(list, map[string]any{"address": f.Address, "topics": []string{topic, position}, "data": hex0x(l.data),
				"blockNumber": hexUint(bl.number), "blockHash": hex0x(bl.hash), "logIndex": hexUint(uint64(i)), "removed": false})
			if b.MaxLogs > 0 && len(list) > b.MaxLogs {
				return nil, fmt.Errorf("query returned more than %d results", b.MaxLogs)
			}
		}
	}
	return list, nil
}

func unhexOdd(s string) []byte {
	s = strings.TrimPrefix(s, "0x")
	if len(s)%2 == 1 {
		s = "0" + s
	}
	return unhex(s)
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
