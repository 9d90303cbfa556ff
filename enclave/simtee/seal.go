package simtee

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave"
	"hitoku.dev/enclave/simtee/authority"
)

const (
	sealLabel = "hitoku/simtee/seal/1"

	policyMeasurement = 1 // KEYREQUEST.KEYPOLICY bit 0, MRENCLAVE
	policySigner      = 2 // bit 1, MRSIGNER
)

// sealKey derives a program's sealing key as EGETKEY does (security decision
// S15; Intel SDM vol. 3D, EGETKEY, key dependencies): HKDF-SHA256 of the
// platform's secret, with
//
//	LV(label, policy, measurement or signer, ISVPRODID, ISVSVN asked for, CPUSVN, debug, key id)
//
// as info, each item as its length in four big-endian bytes followed by the
// item. A program of a higher ISVSVN gets the keys of lower ones, never the
// other way round.
func (p *Platform) sealKey(id identity, r enclave.SealRequest) ([]byte, error) {
	if r.SVN > id.svn {
		return nil, &RefusedError{
			Rule: "seal_svn", Wanted: fmt.Sprintf("at most the program's own ISVSVN, %d", id.svn), Seen: fmt.Sprint(r.SVN),
		}
	}
	policy, who := byte(policyMeasurement), id.measurement
	if r.BySigner {
		if id.prodID == 0 {
			return nil, &RefusedError{
				Rule: "seal_product_id", Wanted: "a product id above 0 for keys bound to the signer", Seen: "0",
				Advice: "every program of this signer without a product id would share the key; convert with a product id, or seal to the measurement",
			}
		}
		policy, who = policySigner, id.signer
	}
	var debug byte
	if id.flags&dcap.FlagDebug != 0 {
		debug = 1
	}
	cpuSVN := authority.CPUSVN()
	be := binary.BigEndian
	var info []byte
	for _, item := range [][]byte{
		[]byte(sealLabel), {policy}, who[:], be.AppendUint16(nil, id.prodID), be.AppendUint16(nil, r.SVN), cpuSVN[:], {debug}, r.KeyID[:],
	} {
		info = be.AppendUint32(info, uint32(len(item)))
		info = append(info, item...)
	}
	return hkdf.Key(sha256.New, p.sealRoot[:], nil, string(info), 32)
}
