package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"

	"pgregory.net/rapid"

	"hitoku.dev/internal/ledger/wire"
)

// seeded is an Ed25519 key made from one byte.
func seeded(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(sk ed25519.PrivateKey) [32]byte { return [32]byte(sk.Public().(ed25519.PublicKey)) }

// codec is one structure: random valid values, and its parser as bytes to bytes.
type codec struct {
	name string
	// draw gives a value, its encoding, and what the parser makes of the encoding.
	draw func(t *rapid.T) (value any, encoded []byte, parsed any, err error)
	// again parses and encodes.
	again func(b []byte) ([]byte, error)
}

func of[T interface{ Encode() []byte }](name string, parse func([]byte) (T, error), gen func(*rapid.T) T) codec {
	return codec{
		name: name,
		draw: func(t *rapid.T) (any, []byte, any, error) {
			v := gen(t)
			b := v.Encode()
			back, err := parse(b)
			return v, b, back, err
		},
		again: func(b []byte) ([]byte, error) {
			v, err := parse(b)
			if err != nil {
				return nil, err
			}
			return v.Encode(), nil
		},
	}
}

// codecs are all structures. The order is the selector of the fuzz target.
func codecs() []codec {
	return []codec{
		of("genesis", wire.ParseGenesis, drawGenesis),
		of("genesis file", wire.ParseGenesisFile, func(t *rapid.T) wire.GenesisFile {
			return wire.GenesisFile{Genesis: drawGenesis(t).Encode(), Signatures: adminSignatures(t)}
		}),
		of("policy", wire.ParsePolicy, drawPolicy),
		of("POLICY", wire.ParsePolicyUpdate, func(t *rapid.T) wire.PolicyUpdate {
			return wire.PolicyUpdate{Policy: drawPolicy(t).Encode(), Signatures: adminSignatures(t)}
		}),
		of("header", wire.ParseHeader, drawHeader),
		of("record", wire.ParseRecord, func(t *rapid.T) wire.Record {
			return wire.Record{Header: drawHeader(t), Body: some(t, 300), Signature: signature(t)}
		}),
		of("JOIN", wire.ParseJoin, func(t *rapid.T) wire.Join {
			return wire.Join{
				Slot: u16(t), Key: key(t), HPKE: some(t, 40), PolicyVersion: u64(t), FileEpoch: u64(t),
				Evidence: some(t, 40), Binding: some(t, 40), Collateral: some(t, 40), OperatorSig: signature(t),
			}
		}),
		of("core", wire.ParseCore, func(t *rapid.T) wire.Core {
			return wire.Core{
				Epoch: u64(t), Previous: hash(t), PolicyVersion: u64(t), Time: u64(t),
				Adds: rising(t, func(s uint16) wire.Add {
					return wire.Add{Slot: s, Incarnation: hash(t), JoinPosition: u64(t), Released: u64(t)}
				}),
				Removes: rising(t, func(s uint16) wire.Remove {
					return wire.Remove{Slot: s, Incarnation: hash(t), Reason: rapid.Uint8Range(1, 6).Draw(t, "reason"), Position: u64(t)}
				}),
				Keys: rising(t, func(s uint16) wire.MemberKey { return wire.MemberKey{Slot: s, Position: u64(t)} }),
			}
		}),
		of("COMMIT", wire.ParseCommit, func(t *rapid.T) wire.Commit {
			return wire.Commit{
				CoreBytes: some(t, 40), Approvals: adminSignatures(t), Commitment: hash(t),
				Wraps: rising(t, func(s uint16) wire.Wrap { return wire.Wrap{Slot: s, Enc: some(t, 40), CT: some(t, 88)} }),
			}
		}),
		of("ACK", wire.ParseAck, func(t *rapid.T) wire.Ack { return wire.Ack{Epoch: u64(t), HPKE: some(t, 40)} }),
		of("DATA", wire.ParseData, func(t *rapid.T) wire.Data { return wire.Data{Salt: hash(t), CT: some(t, 300)} }),
		of("ALARM", wire.ParseAlarm, func(t *rapid.T) wire.Alarm { return wire.Alarm{Epoch: u64(t), Slot: u16(t)} }),
		of("checkpoint", wire.ParseCheckpoint, drawCheckpoint),
		of("CHECKPOINT", wire.ParseSignedCheckpoint, func(t *rapid.T) wire.SignedCheckpoint {
			return wire.SignedCheckpoint{Checkpoint: drawCheckpoint(t), Signature: signature(t)}
		}),
		of("command", wire.ParseCommand, func(t *rapid.T) wire.Command {
			scheme, k := clientKey(t)
			return wire.Command{Ledger: hash(t), Application: name(t), Scheme: scheme, Key: k, Nonce: u64(t), ExpiresAt: u64(t), Name: name(t), Arguments: some(t, 100)}
		}),
		of("query", wire.ParseQuery, func(t *rapid.T) wire.Query {
			scheme, k := clientKey(t)
			q := wire.Query{Kind: rapid.Uint8Range(2, 5).Draw(t, "kind"), Ledger: hash(t), Application: name(t), Scheme: scheme, Key: k, NotAfter: u64(t), Name: name(t), Arguments: some(t, 100)}
			copy(q.ID[:], exactly(t, 16))
			return q
		}),
		of("signed", wire.ParseSigned, func(t *rapid.T) wire.Signed { return wire.Signed{Body: some(t, 200), Signature: some(t, 64)} }),
		of("outcome", wire.ParseOutcome, drawOutcome),
		of("KeyInfo", wire.ParseKeyInfo, func(t *rapid.T) wire.KeyInfo {
			return wire.KeyInfo{Ledger: hash(t), Slot: u16(t), Incarnation: hash(t), Key: key(t), RequestKey: some(t, 32), NotAfter: u64(t), Position: u64(t), Chain: hash(t)}
		}),
		of("request", wire.ParseRequest, func(t *rapid.T) wire.Request {
			b := bucket(t)
			return wire.Request{Kind: rapid.Uint8Range(1, 2).Draw(t, "kind"), KeyID: hash(t), NotAfter: u64(t), Bucket: uint32(b), Enc: some(t, 32), CT: exactly(t, b+16)}
		}),
		of("payload", wire.ParsePayload, func(t *rapid.T) wire.Payload {
			return wire.Payload{FloorPosition: u64(t), FloorChain: hash(t), Mode: rapid.Uint8Range(0, 1).Draw(t, "mode"), ReplyBucket: uint32(bucket(t)), Items: append(items(t), some(t, 9))}
		}),
		of("reply", wire.ParseReply, func(t *rapid.T) wire.Reply { return wire.Reply{Nonce: hash(t), CT: exactly(t, bucket(t)+16)} }),
		of("reply body", wire.ParseReplyBody, func(t *rapid.T) wire.ReplyBody {
			return wire.ReplyBody{Position: u64(t), Chain: hash(t), Time: u64(t), Results: rapid.SliceOfN(rapid.Custom(drawResult), 0, 3).Draw(t, "results")}
		}),
		of("notification", wire.ParseNotice, func(t *rapid.T) wire.Notice {
			return wire.Notice{Position: u64(t), Index: rapid.Uint32().Draw(t, "index"), Application: name(t), Payload: some(t, 100)}
		}),
		of("sealed notification", wire.ParseSealedNotice, func(t *rapid.T) wire.SealedNotice {
			return wire.SealedNotice{Enc: some(t, 32), CT: exactly(t, bucket(t)+16)}
		}),
		of("batch", parsedBatch, func(t *rapid.T) packedBatch {
			return packedBatch{wire.Hash{1}, repeat(t, func() []byte { return drawSigned(t, wire.Hash{1}) })}
		}),
	}
}

func u16(t *rapid.T) uint16 { return rapid.Uint16().Draw(t, "u16") }
func u64(t *rapid.T) uint64 { return rapid.Uint64().Draw(t, "u64") }

func exactly(t *rapid.T, n int) []byte {
	seed := rapid.Byte().Draw(t, "seed")
	out := make([]byte, n)
	for i := range out {
		out[i] = seed + byte(i*7)
	}
	return out
}

func some(t *rapid.T, limit int) []byte {
	return exactly(t, rapid.IntRange(0, limit).Draw(t, "length"))
}
func hash(t *rapid.T) wire.Hash     { return wire.Hash(exactly(t, 32)) }
func signature(t *rapid.T) [64]byte { return [64]byte(exactly(t, 64)) }
func key(t *rapid.T) [32]byte       { return public(seeded(rapid.Byte().Draw(t, "key"))) }
func bucket(t *rapid.T) int         { return 1024 << rapid.IntRange(0, 2).Draw(t, "bucket") }
func items(t *rapid.T) [][]byte     { return repeat(t, func() []byte { return some(t, 20) }) }
func name(t *rapid.T) string        { return rapid.StringN(0, 16, 64).Draw(t, "name") }
func repeat[T any](t *rapid.T, f func() T) (out []T) {
	for range rapid.IntRange(0, 3).Draw(t, "count") {
		out = append(out, f())
	}
	return out
}

// rising draws items with rising slots.
func rising[T any](t *rapid.T, f func(slot uint16) T) (out []T) {
	slots := rapid.SliceOfNDistinct(rapid.Uint16(), 0, 3, rapid.ID).Draw(t, "slots")
	slices.Sort(slots)
	for _, s := range slots {
		out = append(out, f(s))
	}
	return out
}

func risingKeys(t *rapid.T, least int) (out [][32]byte) {
	for _, seed := range rapid.SliceOfNDistinct(rapid.Byte(), least, 4, rapid.ID).Draw(t, "keys") {
		out = append(out, public(seeded(seed)))
	}
	slices.SortFunc(out, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return out
}

func adminSignatures(t *rapid.T) []wire.AdminSignature {
	var out []wire.AdminSignature
	for i := range rapid.Uint8Range(0, 3).Draw(t, "signatures") {
		out = append(out, wire.AdminSignature{Index: 3 * i, Signature: signature(t)})
	}
	return out
}

func clientKey(t *rapid.T) (uint8, []byte) {
	scheme := rapid.Uint8Range(0, 2).Draw(t, "scheme")
	return scheme, exactly(t, []int{20, 32, 33}[scheme])
}

func drawOutcome(t *rapid.T) wire.Outcome {
	return wire.Outcome{Code: u16(t), Message: name(t), Result: some(t, 40)}
}

func drawResult(t *rapid.T) wire.Result {
	return wire.Result{
		Status: rapid.Uint8Range(1, 5).Draw(t, "status"), Outcome: drawOutcome(t), Position: u64(t),
		Index: rapid.Uint32().Draw(t, "index"), Count: rapid.Uint32().Draw(t, "count"), Blind: hash(t),
		Proof: repeat(t, func() wire.Hash { return hash(t) }),
	}
}

func drawHeader(t *rapid.T) wire.Header {
	return wire.Header{
		Type: wire.RecordType(rapid.Uint8Range(1, 7).Draw(t, "type")), Ledger: hash(t), Epoch: u64(t), Incarnation: hash(t),
		N: u64(t), PrevOwn: hash(t), Anchor: u64(t), AnchorChain: hash(t),
	}
}

func drawCheckpoint(t *rapid.T) wire.Checkpoint {
	return wire.Checkpoint{Position: u64(t), Chain: hash(t), Digest: hash(t), Outcomes: hash(t), Epoch: hash(t)}
}

func drawPolicy(t *rapid.T) wire.Policy {
	p := wire.Policy{
		Ledger: hash(t), Version: u64(t), Previous: hash(t), ActiveFrom: u64(t),
		Programs: repeat(t, func() wire.Program {
			return wire.Program{Measurement: exactly(t, rapid.IntRange(32, 64).Draw(t, "length")), Signer: some(t, 64), MinSVN: u16(t)}
		}),
		TCBStatuses: repeat(t, func() string { return name(t) }), MinEvaluation: rapid.Uint32().Draw(t, "evaluation"),
		Roots: risingKeys(t, 0), Flags: rapid.Uint8Range(0, 3).Draw(t, "flags"), EvidenceAge: u64(t), Admins: risingKeys(t, 1),
		Slots: rising(t, func(s uint16) wire.Slot {
			return wire.Slot{Slot: s, Kind: rapid.Uint8Range(1, 2).Draw(t, "kind"), Operator: key(t)}
		}),
	}
	p.Threshold = rapid.Uint8Range(1, uint8(len(p.Admins))).Draw(t, "threshold")
	return p
}

func drawGenesis(t *rapid.T) wire.Genesis {
	g := wire.Genesis{
		Suite: wire.Suite(rapid.Uint8Range(1, 2).Draw(t, "suite")), Name: name(t),
		Applications: repeat(t, func() wire.Application { return wire.Application{Name: name(t), Version: name(t)} }),
		Window:       u64(t), AnchorAge: u64(t), PolicyDelay: u64(t), Rotation: u64(t),
		EntryMax: rapid.Uint32().Draw(t, "entry"), CheckpointEvery: rapid.Uint32().Draw(t, "every"), Flags: rapid.Uint8Range(0, 1).Draw(t, "flags"),
		Order: wire.Order{
			Driver: rapid.Uint8Range(1, 2).Draw(t, "driver"), ChainID: u64(t), Contract: [20]byte(exactly(t, 20)),
			Finality: rapid.Uint8Range(1, 3).Draw(t, "finality"), Confirmations: rapid.Uint32().Draw(t, "confirmations"), Endpoints: rapid.Byte().Draw(t, "endpoints"),
		},
		PolicyBytes: some(t, 60),
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "validators") {
		g.Order.Validators = append(g.Order.Validators, [20]byte{byte(i), 7})
	}
	return g
}
