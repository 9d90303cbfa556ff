package ethereum

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// State is what the contract holds at a block, as proved.
type State struct {
	Block    uint64 // the block's number
	Hash     Hash   // the block's hash
	Chain    Hash   // C at Position; the ledger id where Position is 0
	Position uint64
	Time     uint64 // of Position, in seconds since 1970
	CodeHash Hash   // Keccak-256 of the contract's code
}

// maxProof bounds a proof in bytes.
const maxProof = 1 << 20

// accountProof is eth_getProof's answer for slots 0 and 1 of the contract.
type accountProof struct {
	account, head, counters [][]byte
}

// verify leads from a header's state root to what the contract holds.
func (p *accountProof) verify(h *header, contract Address) (State, error) {
	s := State{Block: h.number, Hash: h.hash}
	value, err := trieGet(h.stateRoot, keccak(contract[:]), p.account)
	if err != nil {
		return s, fmt.Errorf("the account: %w", err)
	}
	if value == nil {
		return s, fmt.Errorf("ethereum: no contract at %s in block %d", contract, h.number)
	}
	a, err := parseRLP(value)
	if err != nil || len(a.list) != 4 || len(a.list[2].bytes) != 32 || len(a.list[3].bytes) != 32 {
		return s, fmt.Errorf("the account: %w", errRLP)
	}
	root := Hash(a.list[2].bytes)
	s.CodeHash = Hash(a.list[3].bytes)
	if s.Chain, err = slot(root, 0, p.head); err != nil {
		return s, fmt.Errorf("the chain value: %w", err)
	}
	counters, err := slot(root, 1, p.counters)
	if err != nil {
		return s, fmt.Errorf("the sequence number: %w", err)
	}
	s.Position, s.Time = binary.BigEndian.Uint64(counters[24:]), binary.BigEndian.Uint64(counters[16:])
	return s, nil
}

func slot(root Hash, number byte, proof [][]byte) (word Hash, err error) {
	var key Hash
	key[31] = number
	value, err := trieGet(root, keccak(key[:]), proof)
	if err != nil || value == nil {
		return word, err
	}
	i, err := parseRLP(value)
	if err != nil || i.isList || len(i.bytes) > 32 || len(i.bytes) == 0 || i.bytes[0] == 0 {
		return word, errRLP
	}
	copy(word[32-len(i.bytes):], i.bytes)
	return word, nil
}

// encode writes the proof that others verify: RLP [header, [account nodes], [slot 0 nodes], [slot 1 nodes]], where
// header is a header's RLP with its seals.
func (p *accountProof) encode(h *header) []byte {
	list := []item{{bytes: h.bytes()}}
	for _, nodes := range [][][]byte{p.account, p.head, p.counters} {
		i := item{isList: true}
		for _, n := range nodes {
			i.list = append(i.list, item{bytes: n})
		}
		list = append(list, i)
	}
	return item{isList: true, list: list}.append(nil)
}

// VerifyProof checks what Proof returned, for a receipt: that a quorum of the validators, which the genesis names,
// sealed a block in which the contract holds the State that it returns.
func VerifyProof(proof []byte, contract Address, validators []Address) (State, error) {
	if len(proof) > maxProof {
		return State{}, fmt.Errorf("ethereum: proof of %d bytes, at most %d wanted", len(proof), maxProof)
	}
	i, err := parseRLP(proof)
	if err != nil {
		return State{}, err
	}
	if len(i.list) != 4 || i.list[0].isList {
		return State{}, errRLP
	}
	h, err := parseHeader(i.list[0].bytes, true)
	if err != nil {
		return State{}, err
	}
	if err := h.verifySeals(validators); err != nil {
		return State{}, err
	}
	var p accountProof
	for n, nodes := range []*[][]byte{&p.account, &p.head, &p.counters} {
		if !i.list[n+1].isList {
			return State{}, errRLP
		}
		for _, e := range i.list[n+1].list {
			if e.isList {
				return State{}, errRLP
			}
			*nodes = append(*nodes, e.bytes)
		}
	}
	return p.verify(h, contract)
}

var errNoProof = errors.New("ethereum: no proof yet; ask again when a block with the contract is final")
