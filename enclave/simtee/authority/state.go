package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	stateVersion = 1
	maxState     = 256 << 20
)

// state is the private form of an authority. Byte strings are base64 in JSON.
type state struct {
	Version    int           `json:"version"`
	Root       statePair     `json:"root"`
	PlatformCA statePair     `json:"platform_ca"`
	TCBSigning statePair     `json:"tcb_signing"`
	Issued     []stateIssued `json:"issued"`
	TCB        TCB           `json:"tcb"`
}

type statePair struct {
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // raw P-256 scalar, 32 bytes
}

type stateIssued struct {
	PPID    string     `json:"ppid"`   // 32 hexadecimal digits
	Serial  string     `json:"serial"` // hexadecimal
	Revoked *time.Time `json:"revoked,omitempty"`
}

// Marshal returns the whole state in JSON, with the private keys: encrypt it
// before it is stored.
func (a *Authority) Marshal() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := state{Version: stateVersion, TCB: a.tcb, Issued: []stateIssued{}}
	for _, p := range a.pairs(&s) {
		key, err := p.from.key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("simulated authority: %w", err)
		}
		*p.to = statePair{p.from.cert.Raw, key}
	}
	for _, i := range a.issued {
		e := stateIssued{PPID: hex.EncodeToString(i.PPID[:]), Serial: hex.EncodeToString(i.Serial)}
		if !i.Revoked.IsZero() {
			e.Revoked = &i.Revoked
		}
		s.Issued = append(s.Issued, e)
	}
	return json.Marshal(s)
}

type statePart struct {
	from *pair
	to   *statePair
}

func (a *Authority) pairs(s *state) []statePart {
	return []statePart{{&a.root, &s.Root}, {&a.platformCA, &s.PlatformCA}, {&a.tcbSigning, &s.TCBSigning}}
}

// Parse reads what Marshal wrote.
func Parse(b []byte) (*Authority, error) {
	a, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("simulated authority: %w", err)
	}
	return a, nil
}

func parse(b []byte) (*Authority, error) {
	if len(b) > maxState {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(b), maxState)
	}
	var s state
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("bytes after the end")
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("state version %d, wanted %d", s.Version, stateVersion)
	}
	a := &Authority{tcb: s.TCB}
	for _, p := range a.pairs(&s) {
		var err error
		if p.from.cert, err = x509.ParseCertificate(p.to.Certificate); err != nil {
			return nil, err
		}
		if p.from.key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), p.to.Key); err != nil {
			return nil, err
		}
		if !p.from.key.PublicKey.Equal(p.from.cert.PublicKey) {
			return nil, fmt.Errorf("key and certificate %q do not belong together", p.from.cert.Subject.CommonName)
		}
	}
	for _, e := range s.Issued {
		i, err := parseIssued(e)
		if err != nil {
			return nil, err
		}
		a.issued = append(a.issued, i)
	}
	return a, nil
}

func parseIssued(e stateIssued) (issued, error) {
	var i issued
	ppid, err := hex.DecodeString(e.PPID)
	if err != nil || len(ppid) != len(i.PPID) {
		return i, fmt.Errorf("platform id %q: wanted 32 hexadecimal digits", e.PPID)
	}
	copy(i.PPID[:], ppid)
	if i.Serial, err = hex.DecodeString(e.Serial); err != nil || len(i.Serial) == 0 {
		return i, fmt.Errorf("serial number %q of platform %s: wanted hexadecimal digits", e.Serial, e.PPID)
	}
	if e.Revoked != nil {
		i.Revoked = *e.Revoked
	}
	return i, nil
}
