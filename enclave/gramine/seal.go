package gramine

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"hitoku.dev/enclave"
	"hitoku.dev/measure/workload"
)

const (
	sealLabel = "hitoku/gramine/seal/1"

	policyMeasurement = 1 // KEYREQUEST.KEYPOLICY bit 0, MRENCLAVE
	policySigner      = 2 // bit 1, MRSIGNER
)

// SealKey implements [enclave.TEE] (security decision S15): HKDF-SHA256 of the
// 16-byte sealing key that Gramine gets from EGETKEY, with
//
//	LV("hitoku/gramine/seal/1", policy, measurement or signer, ISVPRODID, SVN asked for, CPUSVN, debug, key id)
//
// as info, each item as its length in four big-endian bytes followed by the item.
// The package comment says what the key is not bound to.
func (t *TEE) SealKey(ctx context.Context, r enclave.SealRequest) ([]byte, error) {
	return t.do(ctx, func() ([]byte, error) { return t.sealKey(r) })
}

func (t *TEE) sealKey(r enclave.SealRequest) ([]byte, error) {
	if r.SVN > t.own.svn {
		return nil, fmt.Errorf("sealing key of security version %d: wanted at most the program's own ISVSVN, %d", r.SVN, t.own.svn)
	}
	policy, who, name := byte(policyMeasurement), t.own.measurement, workload.KeyMREnclave
	if r.BySigner {
		if t.own.prodID == 0 {
			return nil, errors.New("sealing key bound to the signer: wanted a product id above 0, as every program of this signer without one would share the key; convert with a product id, or seal to the measurement")
		}
		policy, who, name = policySigner, t.own.signer, workload.KeyMRSigner
	}
	root, err := t.files.Read(dirKeys+name, KeySize)
	if err != nil {
		return nil, err
	}
	if len(root) != KeySize {
		return nil, fmt.Errorf("%s/%s%s has %d bytes, wanted %d", Dir, dirKeys, name, len(root), KeySize)
	}
	var debug byte
	if t.own.debug {
		debug = 1
	}
	be := binary.BigEndian
	var info []byte
	for _, item := range [][]byte{
		[]byte(sealLabel), {policy}, who[:], be.AppendUint16(nil, t.own.prodID), be.AppendUint16(nil, r.SVN), t.own.cpuSVN[:], {debug}, r.KeyID[:],
	} {
		info = be.AppendUint32(info, uint32(len(item)))
		info = append(info, item...)
	}
	return hkdf.Key(sha256.New, root, nil, string(info), 32)
}

// SetKey gives Gramine the key of the encrypted mounts that name it. It must come
// before the first use of such a mount. The keys that Gramine derives itself
// cannot be set.
func SetKey(files Files, name string, key [KeySize]byte) error {
	err := files.Write(dirKeys+name, key[:])
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("gramine: key %s: no encrypted mount of the enclave's manifest names it: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("gramine: key %s: %w", name, err)
	}
	return nil
}
