package collateral

import (
	"fmt"
	"strconv"

	"hitoku.dev/attest"
)

// Kind says what a document is about.
type Kind string

// The kinds of documents.
const (
	SGXTCBInfo           Kind = "sgx-tcb-info"           // subject: FMSPC
	TDXTCBInfo           Kind = "tdx-tcb-info"           // subject: FMSPC
	QEIdentity           Kind = "qe-identity"            // SGX quoting enclave
	TDQEIdentity         Kind = "td-qe-identity"         // TDX quoting enclave
	QVEIdentity          Kind = "qve-identity"           // quote verification enclave
	QAEIdentity          Kind = "qae-identity"           // quote appraisal enclave
	SGXEvaluationNumbers Kind = "sgx-evaluation-numbers" // which evaluation numbers there are
	TDXEvaluationNumbers Kind = "tdx-evaluation-numbers"
	PCKCRL               Kind = "pck-crl"         // subject: processor or platform
	RootCRL              Kind = "root-crl"        // of the Intel SGX Root CA
	PCKCertificate       Kind = "pck-certificate" // subject: PPID-CPUSVN-PCESVN, hexadecimal
	VCEK                 Kind = "vcek"            // subject: product-chip-TCB; see [Document]
	VLEK                 Kind = "vlek"
	AMDCRL               Kind = "amd-crl"   // subject: product
	Authority            Kind = "authority" // a certificate that signs others or documents
)

// signedMember is the member of a signed JSON document that holds its body;
// empty for kinds that are no such documents.
func (k Kind) signedMember() string {
	switch k {
	case SGXTCBInfo, TDXTCBInfo:
		return "tcbInfo"
	case QEIdentity, TDQEIdentity, QVEIdentity, QAEIdentity:
		return "enclaveIdentity"
	case SGXEvaluationNumbers, TDXEvaluationNumbers:
		return "tcbEvaluationDataNumbers"
	}
	return ""
}

// numbered reports whether documents of this kind are published once for each
// evaluation number.
func (k Kind) numbered() bool {
	return k.signedMember() != "" && k != SGXEvaluationNumbers && k != TDXEvaluationNumbers
}

func tcbInfoKind(t attest.TEE) Kind {
	if t == attest.TDX {
		return TDXTCBInfo
	}
	return SGXTCBInfo
}

func identityKind(t attest.TEE) Kind {
	if t == attest.TDX {
		return TDQEIdentity
	}
	return QEIdentity
}

// State is what a document is worth at a time.
type State string

// The states.
const (
	Fresh   State = "fresh"   // verified, and its next update is still to come
	Stale   State = "stale"   // verified, and its next update has passed
	Revoked State = "revoked" // verified, and a revocation list names it or its signer
	Unknown State = "unknown" // not verified under a trusted root, or not valid yet
)

// Choice says which evaluation number is wanted: [Standard], [Early], or a
// number from [Pinned]. The empty choice is [Standard].
type Choice string

// Intel publishes a new evaluation number early; it becomes the standard one
// when platforms had time to update (PCS API, parameter "update").
const (
	Standard Choice = "standard"
	Early    Choice = "early"
)

// Pinned chooses one evaluation number.
func Pinned(number int) Choice { return Choice(strconv.Itoa(number)) }

// ParseChoice reads "standard", "early" or a number of 1 to 99999.
func ParseChoice(s string) (Choice, error) {
	switch c := Choice(s); c {
	case Standard, Early:
		return c, nil
	case "":
		return Standard, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n > 99999 || strconv.FormatUint(n, 10) != s {
		return "", fmt.Errorf("evaluation number %q: wanted early, standard or a number", s)
	}
	return Choice(s), nil
}

// number returns the pinned number; 0 when there is none.
func (c Choice) number() int {
	n, err := strconv.Atoi(string(c))
	if err != nil {
		return 0
	}
	return n
}
