package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"hitoku.dev/measure/sgx"
)

// fromFiles fills measurement, signer, product id and version from a ready SIGSTRUCT or
// SGX stream, and refuses those that contradict each other or the flags.
func (o *imageRegisterOptions) fromFiles(changed func(flag string) bool) error {
	if o.sigstruct == "" && o.sgxs == "" {
		return nil
	}
	if changed("tee") && o.tee != "sgx" {
		return usageError{errors.New("image register: --sigstruct and --sgxs are for --tee sgx")}
	}
	o.tee = "sgx"
	agree := func(flag string, value *string, found, file string) error {
		if *value != "" && *value != found {
			return fmt.Errorf("image register: --%s %s, but %s has %s", flag, *value, file, found)
		}
		*value = found
		return nil
	}
	if o.sgxs != "" {
		s, err := readSGXS(o.sgxs)
		if err != nil {
			return fmt.Errorf("image register: --sgxs: %w", err)
		}
		if err := agree("measurement", &o.measurement, hex.EncodeToString(s.MRENCLAVE[:]), o.sgxs); err != nil {
			return err
		}
	}
	if o.sigstruct == "" {
		return nil
	}
	raw, err := readLimited(o.sigstruct, 64<<10)
	if err != nil {
		return fmt.Errorf("image register: --sigstruct: %w", err)
	}
	s, err := sgx.Parse(raw)
	if err == nil {
		err = s.Verify()
	}
	if err != nil {
		return fmt.Errorf("image register: --sigstruct %s: %w", o.sigstruct, err)
	}
	if s.Attributes.Flags&s.AttributesMask.Flags&sgx.FlagDebug != 0 {
		return fmt.Errorf("image register: --sigstruct %s: it is for debug enclaves only, whose memory the host reads; sign a production enclave", o.sigstruct)
	}
	signer := s.MRSigner()
	for _, v := range []struct {
		flag  string
		value *string
		found [32]byte
	}{{"measurement", &o.measurement, s.EnclaveHash}, {"signer", &o.signer, signer}} {
		if err := agree(v.flag, v.value, hex.EncodeToString(v.found[:]), o.sigstruct); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		flag  string
		value *uint16
		found uint16
	}{{"isv-prod-id", &o.prodID, s.ISVProdID}, {"isv-svn", &o.svn, s.ISVSVN}} {
		if changed(v.flag) && *v.value != v.found {
			return fmt.Errorf("image register: --%s %d, but %s has %d", v.flag, *v.value, o.sigstruct, v.found)
		}
		*v.value = v.found
	}
	return nil
}
