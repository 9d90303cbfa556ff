package simtee

import (
	"encoding/hex"
	"fmt"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/measure/sgx"
)

// launch is what EINIT does: it turns measured bytes and a SIGSTRUCT into a
// program's identity, or says why not. guest is the digest that the manifest
// names, running that of the program which runs.
func launch(measurement [32]byte, guest, running string, sigstruct []byte) (identity, error) {
	var id identity
	if guest != running {
		return id, &RefusedError{
			Rule: "guest_digest", Wanted: "program " + guest + ", which the manifest names", Seen: running,
			Advice: "the program at the start of the container is not the guest that this image was converted with",
		}
	}
	s, err := sgx.Parse(sigstruct)
	if err != nil {
		return id, &RefusedError{Rule: "sigstruct_format", Wanted: "a well-formed SIGSTRUCT", Seen: err.Error()}
	}
	if err := s.Verify(); err != nil {
		return id, &RefusedError{Rule: "sigstruct_signature", Wanted: "a valid signature", Seen: err.Error()}
	}
	if s.EnclaveHash != measurement {
		return id, &RefusedError{
			Rule: "sigstruct_enclave_hash", Wanted: hex.EncodeToString(s.EnclaveHash[:]) + ", which the SIGSTRUCT signs", Seen: hex.EncodeToString(measurement[:]),
			Advice: "the manifest is not the one that was signed",
		}
	}
	if err := checkAttributes(s); err != nil {
		return id, err
	}
	return identity{
		measurement: measurement,
		signer:      s.MRSigner(),
		prodID:      s.ISVProdID,
		svn:         s.ISVSVN,
		flags:       s.Attributes.Flags,
		xfrm:        s.Attributes.XFRM,
	}, nil
}

// checkAttributes admits what this CPU has: 64-bit programs with x87 and SSE
// state, whose author forbids debugging.
func checkAttributes(s *sgx.Sigstruct) error {
	switch {
	case s.Attributes.Flags&dcap.FlagDebug != 0 || s.AttributesMask.Flags&dcap.FlagDebug == 0:
		return &RefusedError{
			Rule: "sigstruct_debug", Wanted: "DEBUG clear and compared", Seen: fmt.Sprintf("flags %#x, mask %#x", s.Attributes.Flags, s.AttributesMask.Flags),
			Advice: "sign again without debug",
		}
	case s.Attributes.Flags != dcap.FlagMode64 || s.Attributes.XFRM&3 != 3 || s.MiscSelect&s.MiscMask != 0:
		return &RefusedError{
			Rule:   "sigstruct_attributes",
			Wanted: "flags 0x4, XFRM with x87 and SSE, MISCSELECT 0",
			Seen:   fmt.Sprintf("flags %#x, XFRM %#x, MISCSELECT %#x", s.Attributes.Flags, s.Attributes.XFRM, s.MiscSelect&s.MiscMask),
		}
	}
	return nil
}
