package wire

import (
	"crypto/sha256"
	"encoding/binary"
)

// Protocol is the label before everything that is hashed, signed or derived.
const Protocol = "hitoku-ledger/1"

// Name is NAME(a, b, …) of section 1: lv("hitoku-ledger/1") ‖ lv(name) ‖ lv(a) ‖ ….
func Name(name string, items ...[]byte) []byte {
	n := 8 + len(Protocol) + len(name)
	for _, i := range items {
		n += 4 + len(i)
	}
	w := writer{make([]byte, 0, n)}
	w.text(Protocol)
	w.text(name)
	for _, i := range items {
		w.lv(i)
	}
	return w.b
}

// Sum is the SHA-256 of Name.
func Sum(name string, items ...[]byte) Hash { return sha256.Sum256(Name(name, items...)) }

// U64 is v in eight big-endian bytes.
func U64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// U32 is v in four big-endian bytes.
func U32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// U16 is v in two big-endian bytes.
func U16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// U8 is v as one byte.
func U8(v uint8) []byte { return []byte{v} }

// ID is the ledger id L of a genesis.
func (g Genesis) ID() Hash { return sha256.Sum256(g.Message()) }

// Message is what administrators sign in a genesis.
func (g Genesis) Message() []byte { return Name("GENESIS", g.Encode()) }

// Message is what administrators sign in a policy.
func (p Policy) Message() []byte { return Name("POLICY", p.Encode()) }

// Hash is what the next policy links to.
func (p Policy) Hash() Hash { return sha256.Sum256(p.Message()) }

// IncarnationID is the id of an incarnation with the Ed25519 key pk.
func IncarnationID(pk [32]byte) Hash { return Sum("INCARNATION", pk[:]) }

// ReportSubject is the subject of an incarnation's evidence (section 4).
func ReportSubject(ledger Hash, slot uint16, pk [32]byte, hpk []byte, policyVersion, anchor uint64, anchorChain Hash) Hash {
	return Sum("REPORT", ledger[:], U16(slot), pk[:], hpk, U64(policyVersion), U64(anchor), anchorChain[:])
}

// OperatorMessage is what a slot's operator signs for an incarnation.
func OperatorMessage(ledger Hash, slot uint16, pk [32]byte, hpk []byte) []byte {
	return Name("OPERATOR", ledger[:], U16(slot), pk[:], hpk)
}

// NextT is T_{e+1} = H(T(T_e, core)).
func NextT(t Hash, core []byte) Hash { return Sum("T", t[:], core) }

// ApproveMessage is what administrators sign for a change of members.
func ApproveMessage(ledger, t Hash, epoch uint64, adds []Add, removes []Remove) []byte {
	var w writer
	w.adds(adds)
	w.removes(removes)
	change := sha256.Sum256(w.b)
	return Name("APPROVE", ledger[:], t[:], U64(epoch), change[:])
}

// CheckpointMessage is what an executor signs for a checkpoint.
func CheckpointMessage(ledger, iid Hash, c Checkpoint) []byte {
	return Name("CHECKPOINT", ledger[:], iid[:], c.Encode())
}

// FreshMessage is what an executor signs in mode fresh.
func FreshMessage(ledger Hash, qid [16]byte, position uint64, chain Hash) []byte {
	return Name("FRESH", ledger[:], qid[:], U64(position), chain[:])
}

// NextOutcomes is Q_i = H(OUTCOMES(Q before, root_i)).
func NextOutcomes(before, root Hash) Hash { return Sum("OUTCOMES", before[:], root[:]) }

// Leaf is a command's leaf data (section 6). The command is that of SignedHash.
func Leaf(ledger Hash, position uint64, index uint32, command Hash, o Outcome, blind Hash) []byte {
	outcome := sha256.Sum256(o.Encode())
	return Name("LEAF", ledger[:], U64(position), U32(index), command[:], outcome[:], blind[:])
}

// SignedHash is H of an encoded Signed: a command's name on the ledger.
func SignedHash(signed []byte) Hash { return sha256.Sum256(signed) }

// AccountID is the account of a client's key (section 5).
func AccountID(scheme uint8, key []byte) (id [32]byte) {
	if scheme == SchemeNone {
		copy(id[12:], key)
		return id
	}
	return Sum("ACCOUNT", U8(scheme), key)
}

// RequestKeyID is the id of a key that clients seal to.
func RequestKeyID(rk []byte) Hash { return Sum("RK", rk) }

// Message is what the node signs in a KeyInfo.
func (k KeyInfo) Message() []byte { return Name("KEYINFO", k.Encode()) }

// Message is what the client signs in a command.
func (c Command) Message() []byte { return Name("COMMAND", c.Encode()) }

// Message is what the client signs in a query.
func (q Query) Message() []byte { return Name("QUERY", q.Encode()) }
