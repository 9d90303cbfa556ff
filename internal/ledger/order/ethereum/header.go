package ethereum

import (
	"fmt"
)

// header is a block's header: its fields as RLP items in their order, of which a few are read.
// Fields that younger forks appended are kept as they are; the hash covers all.
type header struct {
	fields    []item
	hash      Hash
	parent    Hash
	stateRoot Hash
	number    uint64
	time      uint64
	extra     []byte
}

// headerJSON is eth_getBlockByNumber's answer, of which only the header is read.
type headerJSON struct {
	ParentHash       *string `json:"parentHash"`
	UnclesHash       *string `json:"sha3Uncles"`
	Miner            *string `json:"miner"`
	StateRoot        *string `json:"stateRoot"`
	TransactionsRoot *string `json:"transactionsRoot"`
	ReceiptsRoot     *string `json:"receiptsRoot"`
	LogsBloom        *string `json:"logsBloom"`
	Difficulty       *string `json:"difficulty"`
	Number           *string `json:"number"`
	GasLimit         *string `json:"gasLimit"`
	GasUsed          *string `json:"gasUsed"`
	Timestamp        *string `json:"timestamp"`
	ExtraData        *string `json:"extraData"`
	MixHash          *string `json:"mixHash"`
	Nonce            *string `json:"nonce"`
	BaseFee          *string `json:"baseFeePerGas"`
	WithdrawalsRoot  *string `json:"withdrawalsRoot"`
	BlobGasUsed      *string `json:"blobGasUsed"`
	ExcessBlobGas    *string `json:"excessBlobGas"`
	BeaconRoot       *string `json:"parentBeaconBlockRoot"`
	RequestsHash     *string `json:"requestsHash"`
	AccessListHash   *string `json:"blockAccessListHash"`
	SlotNumber       *string `json:"slotNumber"`
	Hash             *string `json:"hash"`
}

const (
	quantityField = 0
	anyBytes      = -1
)

type headerField struct {
	name     string
	value    *string
	size     int // bytes, quantityField or anyBytes
	optional bool
}

func (j *headerJSON) list() []headerField {
	return []headerField{
		{"parentHash", j.ParentHash, 32, false}, {"sha3Uncles", j.UnclesHash, 32, false}, {"miner", j.Miner, 20, false},
		{"stateRoot", j.StateRoot, 32, false}, {"transactionsRoot", j.TransactionsRoot, 32, false},
		{"receiptsRoot", j.ReceiptsRoot, 32, false}, {"logsBloom", j.LogsBloom, 256, false},
		{"difficulty", j.Difficulty, quantityField, false}, {"number", j.Number, quantityField, false},
		{"gasLimit", j.GasLimit, quantityField, false}, {"gasUsed", j.GasUsed, quantityField, false},
		{"timestamp", j.Timestamp, quantityField, false}, {"extraData", j.ExtraData, anyBytes, false},
		{"mixHash", j.MixHash, 32, false}, {"nonce", j.Nonce, 8, false},
		{"baseFeePerGas", j.BaseFee, quantityField, true}, {"withdrawalsRoot", j.WithdrawalsRoot, 32, true},
		{"blobGasUsed", j.BlobGasUsed, quantityField, true}, {"excessBlobGas", j.ExcessBlobGas, quantityField, true},
		{"parentBeaconBlockRoot", j.BeaconRoot, 32, true}, {"requestsHash", j.RequestsHash, 32, true},
		{"blockAccessListHash", j.AccessListHash, 32, true}, {"slotNumber", j.SlotNumber, quantityField, true},
	}
}

// The places of the fields that are read.
const (
	fieldParent    = 0
	fieldStateRoot = 3
	fieldNumber    = 8
	fieldTime      = 11
	fieldExtra     = 12
	minFields      = 15
	maxFields      = 32
)

// header checks that the fields make the hash that stands beside them, in the usual way or in QBFT's.
func (j *headerJSON) header() (*header, error) {
	var fields []item
	ended := ""
	for _, f := range j.list() {
		if f.value == nil {
			if !f.optional {
				return nil, fmt.Errorf("ethereum: header without %s", f.name)
			}
			if ended == "" {
				ended = f.name
			}
			continue
		}
		if ended != "" {
			return nil, fmt.Errorf("ethereum: header with %s, but without %s before it", f.name, ended)
		}
		var b []byte
		var err error
		if f.size == quantityField {
			b, err = parseBig(*f.value)
		} else {
			b, err = parseHex(*f.value, f.size)
		}
		if err != nil {
			return nil, fmt.Errorf("ethereum: %s of a header: %w", f.name, err)
		}
		fields = append(fields, item{bytes: b})
	}
	h, err := newHeader(fields, false)
	if err != nil {
		return nil, err
	}
	if j.Hash != nil && *j.Hash != h.hash.String() {
		if q, err := newHeader(fields, true); err == nil {
			h = q
		}
	}
	if j.Hash == nil || *j.Hash != h.hash.String() {
		return nil, fmt.Errorf("ethereum: the fields of block %d make the hash %s, another stands beside them; the node may follow a fork that this program does not know", h.number, h.hash)
	}
	return h, nil
}

// parseHeader reads a header's RLP.
func parseHeader(b []byte, qbft bool) (*header, error) {
	i, err := parseRLP(b)
	if err != nil {
		return nil, err
	}
	if !i.isList {
		return nil, errRLP
	}
	return newHeader(i.list, qbft)
}

func newHeader(fields []item, qbft bool) (*header, error) {
	if len(fields) < minFields || len(fields) > maxFields {
		return nil, fmt.Errorf("ethereum: header of %d fields, %d to %d wanted", len(fields), minFields, maxFields)
	}
	for _, f := range fields {
		if f.isList {
			return nil, errRLP
		}
	}
	h := &header{fields: fields, extra: fields[fieldExtra].bytes}
	var err error
	if h.number, err = fields[fieldNumber].uint(); err != nil {
		return nil, err
	}
	if h.time, err = fields[fieldTime].uint(); err != nil {
		return nil, err
	}
	if len(fields[fieldParent].bytes) != 32 || len(fields[fieldStateRoot].bytes) != 32 {
		return nil, errRLP
	}
	h.parent, h.stateRoot = Hash(fields[fieldParent].bytes), Hash(fields[fieldStateRoot].bytes)
	if qbft {
		x, err := parseQBFT(h.extra)
		if err != nil {
			return nil, err
		}
		h.hash = h.hashWith(x.bytes(false, false))
	} else {
		h.hash = keccak(h.bytes())
	}
	return h, nil
}

func (h *header) bytes() []byte { return item{isList: true, list: h.fields}.append(nil) }

// hashWith is the header's hash with other extra data.
func (h *header) hashWith(extra []byte) Hash {
	fields := append([]item(nil), h.fields...)
	fields[fieldExtra] = item{bytes: extra}
	return keccak(item{isList: true, list: fields}.append(nil))
}
