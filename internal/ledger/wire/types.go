package wire

import "crypto/sha256"

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// RecordType says what a record's body is.
type RecordType uint8

// The types of records (section 3).
const (
	TypeJoin       RecordType = 1
	TypeCommit     RecordType = 2
	TypeAck        RecordType = 3
	TypeData       RecordType = 4
	TypeCheckpoint RecordType = 5
	TypePolicy     RecordType = 6
	TypeAlarm      RecordType = 7
)

// Suite is the HPKE suite of a ledger.
type Suite uint8

// The suites (section 1).
const (
	SuiteX25519 Suite = 1
	SuiteHybrid Suite = 2
)

// Kinds of slots.
const (
	KindExecutor uint8 = 1
	KindVault    uint8 = 2
)

// Order drivers and finality in the genesis.
const (
	DriverEmbedded uint8 = 1
	DriverEthereum uint8 = 2

	FinalityConfirmations uint8 = 1
	FinalityFinalized     uint8 = 2
	FinalityImmediate     uint8 = 3
)

// Flags.
const (
	GenesisCryptoBox uint8 = 1 << 0

	PolicySimulated uint8 = 1 << 0
	PolicyDebug     uint8 = 1 << 1
)

// Reasons of removal in a COMMIT.
const (
	RemoveReplaced uint8 = 1
	RemoveClone    uint8 = 2
	RemoveExpired  uint8 = 3
	RemoveAlarm    uint8 = 4
	RemoveByAdmins uint8 = 5
	RemovePolicy   uint8 = 6
)

// Schemes of client keys.
const (
	SchemeNone    uint8 = 0
	SchemeEd25519 uint8 = 1
	SchemeP256    uint8 = 2
)

// Kinds of signed things and of requests.
const (
	KindCommand  uint8 = 1
	KindQuery    uint8 = 2
	KindCounter  uint8 = 3
	KindRegister uint8 = 4
	KindOutcome  uint8 = 5

	RequestCommands uint8 = 1
	RequestQuery    uint8 = 2

	ModeLocal uint8 = 0
	ModeFresh uint8 = 1
)

// Status words of a Result.
const (
	StatusCommitted uint8 = 1
	StatusRejected  uint8 = 2
	StatusAnswer    uint8 = 3
	StatusRefused   uint8 = 4
	StatusPending   uint8 = 5
)

// Application is an application's line in the genesis.
type Application struct{ Name, Version string }

// Order names the log in the genesis.
type Order struct {
	Driver        uint8
	ChainID       uint64
	Contract      [20]byte
	Finality      uint8
	Confirmations uint32
	Endpoints     uint8
	Validators    [][20]byte
}

// Genesis is what a ledger is (section 2). PolicyBytes is the encoding of Policy_0.
type Genesis struct {
	Suite           Suite
	Name            string
	Applications    []Application
	Window          uint64
	AnchorAge       uint64
	PolicyDelay     uint64
	Rotation        uint64 // seconds, 0 for none
	EntryMax        uint32
	CheckpointEvery uint32
	Flags           uint8
	Order           Order
	PolicyBytes     []byte
}

// AdminSignature is an administrator's, by index in the policy.
type AdminSignature struct {
	Index     uint8
	Signature [64]byte
}

// GenesisFile is a genesis with the administrators' signatures.
type GenesisFile struct {
	Genesis    []byte
	Signatures []AdminSignature
}

// Program is one approved program.
type Program struct {
	Measurement []byte // 32 to 64 bytes
	Signer      []byte // empty: any
	MinSVN      uint16
}

// Slot is a place for a node.
type Slot struct {
	Slot     uint16
	Kind     uint8
	Operator [32]byte // Ed25519 public key
}

// Policy says who may be a member (section 2).
type Policy struct {
	Ledger        Hash
	Version       uint64
	Previous      Hash
	ActiveFrom    uint64
	Programs      []Program
	TCBStatuses   []string
	MinEvaluation uint32
	Roots         []Hash
	Flags         uint8
	EvidenceAge   uint64 // seconds
	Threshold     uint8
	Admins        [][32]byte
	Slots         []Slot
}

// Header is the start of each record.
type Header struct {
	Type        RecordType
	Ledger      Hash
	Epoch       uint64
	Incarnation Hash
	N           uint64
	PrevOwn     Hash
	Anchor      uint64
	AnchorChain Hash
}

// Record is one record: its sender signs RECORD(Header, H(Body)).
type Record struct {
	Header    Header
	Body      []byte
	Signature [64]byte
}

// Join is the body of a JOIN.
type Join struct {
	Slot          uint16
	Key           [32]byte // Ed25519 public key pk
	HPKE          []byte
	PolicyVersion uint64
	FileEpoch     uint64
	Evidence      []byte
	Binding       []byte
	Collateral    []byte
	OperatorSig   [64]byte
}

// Add is a member that a COMMIT adds.
type Add struct {
	Slot         uint16
	Incarnation  Hash
	JoinPosition uint64
	Released     uint64
}

// Remove is a member that a COMMIT removes.
type Remove struct {
	Slot        uint16
	Incarnation Hash
	Reason      uint8
	Position    uint64
}

// MemberKey names the record that carried a member's HPKE key.
type MemberKey struct {
	Slot     uint16
	Position uint64
}

// Core is the part of a COMMIT that T chains.
type Core struct {
	Epoch         uint64
	Previous      Hash // T_e
	PolicyVersion uint64
	Time          uint64
	Adds          []Add
	Removes       []Remove
	Keys          []MemberKey
}

// Wrap is the epoch's secret for one member.
type Wrap struct {
	Slot uint16
	Enc  []byte
	CT   []byte
}

// Commit is the body of a COMMIT. CoreBytes is the encoding of Core.
type Commit struct {
	CoreBytes  []byte
	Approvals  []AdminSignature
	Commitment Hash
	Wraps      []Wrap
}

// Ack is the body of an ACK.
type Ack struct {
	Epoch uint64
	HPKE  []byte
}

// Data is the body of a DATA record.
type Data struct {
	Salt Hash
	CT   []byte
}

// Checkpoint is what an executor signs.
type Checkpoint struct {
	Position uint64
	Chain    Hash
	Digest   Hash
	Outcomes Hash
	Epoch    Hash // T
}

// SignedCheckpoint is the body of a CHECKPOINT record.
type SignedCheckpoint struct {
	Checkpoint Checkpoint
	Signature  [64]byte
}

// PolicyUpdate is the body of a POLICY record.
type PolicyUpdate struct {
	Policy     []byte
	Signatures []AdminSignature
}

// Alarm is the body of an ALARM record.
type Alarm struct {
	Epoch uint64
	Slot  uint16
}

// Command is what a client signs.
type Command struct {
	Ledger      Hash
	Application string
	Scheme      uint8
	Key         []byte
	Nonce       uint64
	ExpiresAt   uint64 // position
	Name        string
	Arguments   []byte // JSON
}

// Query is a signed question.
type Query struct {
	Kind        uint8
	Ledger      Hash
	Application string
	Scheme      uint8
	Key         []byte
	ID          [16]byte
	NotAfter    uint64 // seconds
	Name        string
	Arguments   []byte
}

// Signed is a Command or a Query in its encoding, with its signature.
type Signed struct {
	Body      []byte
	Signature []byte
}

// Outcome is what became of a command.
type Outcome struct {
	Code    uint16
	Message string
	Result  []byte
}

// KeyInfo is what a client seals to.
type KeyInfo struct {
	Ledger      Hash
	Slot        uint16
	Incarnation Hash
	Key         [32]byte
	RequestKey  []byte
	NotAfter    uint64 // seconds
	Position    uint64
	Chain       Hash
}

// Request is a sealed request.
type Request struct {
	Kind     uint8
	KeyID    Hash
	NotAfter uint64
	Bucket   uint32
	Enc      []byte
	CT       []byte
}

// Payload is the inside of a Request.
type Payload struct {
	FloorPosition uint64
	FloorChain    Hash
	Mode          uint8
	ReplyBucket   uint32
	Items         [][]byte // SignedCommand or SignedQuery, encoded
}

// Reply is a sealed reply.
type Reply struct {
	Nonce Hash // rn
	CT    []byte
}

// Result answers one item of a payload.
type Result struct {
	Status   uint8
	Outcome  Outcome
	Position uint64
	Index    uint32
	Count    uint32 // commands of the position
	Blind    Hash
	Proof    []Hash
}

// ReplyBody is the inside of a Reply.
type ReplyBody struct {
	Position uint64
	Chain    Hash
	Time     uint64
	Results  []Result
}

// Notice is the inside of a notification.
type Notice struct {
	Position    uint64
	Index       uint32
	Application string
	Payload     []byte
}

// SealedNotice is a notification.
type SealedNotice struct {
	Enc []byte
	CT  []byte
}
