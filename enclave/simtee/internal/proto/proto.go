// Package proto is the conversation between a program and the simulated TEE:
// one JSON message a packet on a SOCK_SEQPACKET Unix socket, the server first.
//
//	server: {"version":1,"challenge":…}
//	client: {"op":"measure","challenge":…,"sigstruct":…}      with one sealed memfd: the manifest
//	server: {"version":1,"challenge":…}                        or {"refused":{rule,wanted,seen,advice}, …}
//	client: {"op":"evidence","challenge":…,"binding":…}
//	server: {"version":1,"challenge":…,"evidence":…}
//	client: {"op":"seal_key","challenge":…,"seal":{…}}
//	server: {"version":1,"challenge":…,"key":…}
//	client: {"op":"report","challenge":…,"binding":…,"target_info":…}
//	server: {"version":1,"challenge":…,"report":…}
//	client: {"op":"verify_report","challenge":…,"report":…}
//	server: {"version":1,"challenge":…}
//
// Every request repeats the challenge of the message before it. The server
// looks at the program behind the socket before it sends a challenge and again
// when the request has come, so that a request can only stem from a program
// that was genuine the whole time. Without it a process could queue requests,
// then execute the genuine guest, and let a helper read the answers.
package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version of the protocol.
const Version = 1

// Limits in bytes.
const (
	MaxRequest    = 16 << 10
	MaxReply      = 64 << 10
	ChallengeSize = 32
)

// Lengths of SGX structures in bytes (Intel SDM vol. 3D, tables 36-21 and 36-22).
const (
	ReportSize     = 432
	TargetInfoSize = 512
)

// Operations.
const (
	OpMeasure  = "measure"
	OpEvidence = "evidence"
	OpSealKey  = "seal_key"
	OpReport   = "report"
	OpVerify   = "verify_report"
)

// Request is what a client sends. Byte strings are base64.
type Request struct {
	Op        string `json:"op"`
	Challenge []byte `json:"challenge"`
	Sigstruct []byte `json:"sigstruct,omitempty"` // measure
	Binding   []byte `json:"binding,omitempty"`   // evidence, report: attest.Binding in DER
	Seal      *Seal  `json:"seal,omitempty"`      // seal_key
	Target    []byte `json:"target_info,omitempty"`
	Report    []byte `json:"report,omitempty"` // verify_report
}

// Seal is enclave.SealRequest.
type Seal struct {
	BySigner bool   `json:"by_signer"`
	SVN      uint16 `json:"svn"`
	KeyID    []byte `json:"key_id"` // 32 bytes
}

// Reply is what the server sends, first unasked and then to each request. When
// Challenge is empty the server closes the connection.
type Reply struct {
	Version   int           `json:"version"`
	Challenge []byte        `json:"challenge,omitempty"`
	Evidence  []byte        `json:"evidence,omitempty"`
	Key       []byte        `json:"key,omitempty"`
	Report    []byte        `json:"report,omitempty"`
	Refused   *RefusedError `json:"refused,omitempty"`
}

// RefusedError says which rule of the simulated TEE refused, what it wanted and
// what it saw.
type RefusedError struct {
	Rule   string `json:"rule"`
	Wanted string `json:"wanted"`
	Seen   string `json:"seen"`
	Advice string `json:"advice,omitempty"` // what a person can do about it
}

func (e *RefusedError) Error() string {
	s := "simulated TEE refused: " + e.Rule + ": wanted " + e.Wanted + ", seen " + e.Seen
	if e.Advice != "" {
		s += " (" + e.Advice + ")"
	}
	return s
}

// DecodeRequest reads a request strictly: one JSON object, every member known
// and there at most once, and only those members that belong to its operation.
func DecodeRequest(b []byte) (*Request, error) {
	var r Request
	if err := decode(b, MaxRequest, &r); err != nil {
		return nil, err
	}
	if len(r.Challenge) != ChallengeSize {
		return nil, fmt.Errorf("challenge has %d bytes, wanted %d", len(r.Challenge), ChallengeSize)
	}
	want := Request{Op: r.Op, Challenge: r.Challenge}
	switch r.Op {
	case OpMeasure:
		want.Sigstruct = r.Sigstruct
	case OpEvidence:
		want.Binding = r.Binding
	case OpSealKey:
		want.Seal = r.Seal
		if r.Seal == nil || len(r.Seal.KeyID) != 32 {
			return nil, errors.New("seal_key wants a key id of 32 bytes")
		}
	case OpReport:
		want.Binding, want.Target = r.Binding, r.Target
	case OpVerify:
		want.Report = r.Report
	default:
		return nil, fmt.Errorf("operation %q is not known", r.Op)
	}
	if len(r.Sigstruct) != len(want.Sigstruct) || len(r.Binding) != len(want.Binding) || r.Seal != want.Seal ||
		len(r.Target) != len(want.Target) || len(r.Report) != len(want.Report) {
		return nil, fmt.Errorf("a member does not belong to operation %q", r.Op)
	}
	return &r, nil
}

// DecodeReply reads a reply.
func DecodeReply(b []byte) (*Reply, error) {
	var r Reply
	if err := decode(b, MaxReply, &r); err != nil {
		return nil, err
	}
	if r.Version != Version {
		return nil, fmt.Errorf("protocol version %d, wanted %d", r.Version, Version)
	}
	return &r, nil
}

func decode(b []byte, limit int, into any) error {
	if len(b) > limit {
		return fmt.Errorf("%d bytes, at most %d allowed", len(b), limit)
	}
	if err := noDuplicates(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// noDuplicates checks that b is one JSON object in which no object has a member
// twice. encoding/json matches names without regard to case, so this does too.
func noDuplicates(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	type frame struct {
		seen map[string]bool // nil in an array
		key  bool            // the next token is a member's name
	}
	var stack []frame
	for first := true; first || len(stack) > 0; first = false {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		delim, isDelim := tok.(json.Delim)
		if first && delim != '{' {
			return errors.New("not a JSON object")
		}
		if isDelim && (delim == '}' || delim == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if n := len(stack); n > 0 && stack[n-1].seen != nil {
			top := &stack[n-1]
			if top.key {
				name := string(bytes.ToLower([]byte(tok.(string))))
				if top.seen[name] {
					return fmt.Errorf("member %q is there twice", name)
				}
				top.seen[name], top.key = true, false
				continue
			}
			top.key = true
		}
		if isDelim {
			f := frame{}
			if delim == '{' {
				f = frame{seen: map[string]bool{}, key: true}
			}
			stack = append(stack, f)
		}
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("bytes after the message")
	}
	return nil
}
