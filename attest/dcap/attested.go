package dcap

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
)

// attestedKeys remembers attestation keys for which a PCK key was seen to have
// signed the QE report. A platform makes thousands of quotes with one attestation
// key and one QE report; whether their signature holds does not change. Only
// what held is remembered, under a hash of all that was signed and the signature.
type attestedKeys struct {
	mu   sync.Mutex
	next int
	list [maxAttestedKeys]attestedKey
}

// maxAttestedKeys bounds what is remembered for one PCK certificate. A platform
// has a key for each of its quoting enclaves.
const maxAttestedKeys = 4

type attestedKey struct {
	id  [32]byte
	key *ecdsa.PublicKey
}

// attestationID names a QE report, its signature and the attestation key.
func attestationID(q *Quote) (id [32]byte) {
	report := q.QEReport.Bytes()
	h := sha256.New()
	h.Write(report[:])
	h.Write(q.QEReportSignature[:])
	h.Write(q.AttestationKey[:])
	h.Sum(id[:0])
	return id
}

// find returns the parsed attestation key, or nil.
func (a *attestedKeys) find(id [32]byte) *ecdsa.PublicKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.list {
		if k := &a.list[i]; k.key != nil && k.id == id {
			return k.key
		}
	}
	return nil
}

func (a *attestedKeys) add(id [32]byte, key *ecdsa.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list[a.next] = attestedKey{id, key}
	a.next = (a.next + 1) % len(a.list)
}
