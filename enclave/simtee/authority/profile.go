package authority

import (
	"crypto/sha256"

	"hitoku.dev/attest/dcap"
)

// FMSPC is the reserved value that all simulated platforms share, in lower-case
// hexadecimal. Intel's values for real platforms do not begin with it.
const FMSPC = "00e0f0514d01"

// The level of every simulated platform and of its quoting enclave.
const (
	PCESVN   = 15
	QESVN    = 8
	QEProdID = 1
)

var (
	fmspc    = [6]byte{0x00, 0xe0, 0xf0, 0x51, 0x4d, 0x01}
	cpuSVN   = [16]byte{8, 8, 2, 2, 255, 1}
	qeSigner = sha256.Sum256([]byte("hitoku simulated quoting enclave signer 1"))
	qeHash   = sha256.Sum256([]byte("hitoku simulated quoting enclave 1"))
)

const (
	qeFlags = dcap.FlagInit | dcap.FlagMode64 | dcap.FlagProvisionKey
	qeXFRM  = 3
)

// CPUSVN returns the CPUSVN of every simulated platform, 16 bytes, which are
// also the 16 components of its TCB.
func CPUSVN() [16]byte { return cpuSVN }

// QEReport returns the report of the simulated quoting enclave, report data zero.
func QEReport() dcap.ReportBody {
	return dcap.ReportBody{
		CPUSVN:    cpuSVN,
		Flags:     qeFlags,
		XFRM:      qeXFRM,
		MREnclave: qeHash,
		MRSigner:  qeSigner,
		ISVProdID: QEProdID,
		ISVSVN:    QESVN,
	}
}
