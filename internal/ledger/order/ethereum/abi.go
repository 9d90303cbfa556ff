package ethereum

import (
	"encoding/binary"
	"errors"

	"hitoku.dev/contracts"
)

// The contract's interface, encoded by hand (Solidity ABI specification): contracts/out/Order.abi in Go.

func selector(signature string) []byte { h := keccak([]byte(signature)); return h[:4] }

func recordedTopic() Hash { return keccak([]byte("Recorded(uint64,uint64,bytes32,uint64,bytes)")) }

func uintWord(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 24, 32), n)
}

func addressWord(a Address) []byte { return append(make([]byte, 12, 32), a[:]...) }

func appendPadded(b, s []byte) []byte {
	b = append(b, s...)
	return append(b, make([]byte, (32-len(s)%32)%32)...)
}

// submitCall is the input of submit(record, sender, n).
func submitCall(record []byte, sender [32]byte, n uint64) []byte {
	b := make([]byte, 0, 4+4*32+len(record)+31)
	b = append(b, selector("submit(bytes,bytes32,uint64)")...)
	b = append(b, uintWord(96)...)
	b = append(b, sender[:]...)
	b = append(b, uintWord(n)...)
	b = append(b, uintWord(uint64(len(record)))...)
	return appendPadded(b, record)
}

func appendAddresses(b []byte, list []Address) []byte {
	b = append(b, uintWord(uint64(len(list)))...)
	for _, a := range list {
		b = append(b, addressWord(a)...)
	}
	return b
}

// Terms are what an Order contract is made with.
type Terms struct {
	Ledger     [32]byte  // the ledger id, C_0
	MaxRecord  int       // bytes
	Threshold  int       // how many signers change the allow-list
	Signers    []Address // ascending
	Submitters []Address // who may submit from the beginning
}

func (t Terms) words() []byte {
	b := append([]byte(nil), t.Ledger[:]...)
	b = append(b, uintWord(uint64(t.MaxRecord))...)
	b = append(b, uintWord(uint64(t.Threshold))...)
	return b
}

// creation is the code that makes the contract, with its arguments.
func (t Terms) creation() []byte {
	b := append(contracts.Order(), t.words()...)
	b = append(b, uintWord(5*32)...)
	b = append(b, uintWord(uint64(6+len(t.Signers))*32)...)
	return appendAddresses(appendAddresses(b, t.Signers), t.Submitters)
}

// makeCall is the input of the factory's make(salt, …).
func (t Terms) makeCall(salt [32]byte) []byte {
	b := selector("make(bytes32,bytes32,uint256,uint256,address[],address[])")
	b = append(b, salt[:]...)
	b = append(b, t.words()...)
	b = append(b, uintWord(6*32)...)
	b = append(b, uintWord(uint64(7+len(t.Signers))*32)...)
	return appendAddresses(appendAddresses(b, t.Signers), t.Submitters)
}

// changeCall is the input of change(add, remove, signatures).
func changeCall(add, remove []Address, signatures []byte) []byte {
	b := selector("change(address[],address[],bytes)")
	b = append(b, uintWord(96)...)
	b = append(b, uintWord(uint64(96+32*(1+len(add))))...)
	b = append(b, uintWord(uint64(96+32*(2+len(add)+len(remove))))...)
	b = appendAddresses(appendAddresses(b, add), remove)
	b = append(b, uintWord(uint64(len(signatures)))...)
	return appendPadded(b, signatures)
}

// event is one record as the contract told it.
type event struct {
	position, time, block, n uint64
	sender                   [32]byte
	record                   []byte
}

var errEvent = errors.New("a log that the contract cannot have made")

// event reads a log strictly: the form is the one that the contract writes.
func (j *logJSON) event(contract Address) (event, error) {
	var e event
	address, err := parseHex(j.Address, 20)
	if err != nil || Address(address) != contract || len(j.Topics) != 2 || j.Removed {
		return e, errEvent
	}
	name, err := parseHex(j.Topics[0], 32)
	if err != nil || Hash(name) != recordedTopic() {
		return e, errEvent
	}
	position, err := parseHex(j.Topics[1], 32)
	if err != nil {
		return e, errEvent
	}
	data, err := parseHex(j.Data, -1)
	if err != nil {
		return e, errEvent
	}
	if e.block, err = parseQuantity(j.BlockNumber); err != nil {
		return e, errEvent
	}
	return e, e.parse(position, data)
}

func (e *event) parse(position, data []byte) error {
	if len(data) < 5*32 || len(data)%32 != 0 {
		return errEvent
	}
	var offset, length uint64
	for _, w := range []struct {
		word []byte
		to   *uint64
	}{{position, &e.position}, {data[:32], &e.time}, {data[64:96], &e.n}, {data[96:128], &offset}, {data[128:160], &length}} {
		for _, c := range w.word[:24] {
			if c != 0 {
				return errEvent
			}
		}
		*w.to = binary.BigEndian.Uint64(w.word[24:])
	}
	e.sender = [32]byte(data[32:64])
	body := data[160:]
	if offset != 128 || length == 0 || length > uint64(len(body)) || uint64(len(body))-length >= 32 {
		return errEvent
	}
	for _, c := range body[length:] {
		if c != 0 {
			return errEvent
		}
	}
	e.record = body[:length:length]
	return nil
}
