package snp

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// KDS is the address of AMD's key distribution service (publ. 57230, chapter 4).
const KDS = "https://kdsintf.amd.com"

// VCEKPath returns the path and query below [KDS] at which the certificate of a
// chip's key (VCEK) for a reported TCB lies, in DER. chipID is the report's
// CHIP_ID; it errs when that is masked (zero), since such a chip cannot be asked for.
func VCEKPath(p Product, chipID *[64]byte, tcb TCBVersion) (string, error) {
	if !p.Known() {
		return "", fmt.Errorf("product %q is not known to the KDS; wanted Milan, Genoa or Turin", p)
	}
	if *chipID == [64]byte{} {
		return "", errors.New("the CHIP_ID is masked (zero): the host must give the certificate, or unmask it")
	}
	hwid := chipID[:p.HWIDSize()]
	if !allZero(chipID[len(hwid):]) {
		return "", fmt.Errorf("a CHIP_ID of %s ends in zeros after %d bytes, and this one does not", p, len(hwid))
	}
	return "/vcek/v1/" + string(p) + "/" + hex.EncodeToString(hwid) + "?" + tcbQuery(p, tcb), nil
}

// VLEKPath returns the path and query below [KDS] at which a cloud provider finds
// its VLEK certificate for a TCB. Only the provider can ask for it; guests receive
// it from the host, in the certificate table.
func VLEKPath(p Product, tcb TCBVersion) string {
	return "/vlek/v1/" + string(p) + "/cert?" + tcbQuery(p, tcb)
}

// ChainPath returns the path below [KDS] of a product's intermediate (ASK for a
// VCEK, ASVK for a VLEK) and root certificate, in PEM and in this order.
func ChainPath(p Product, k SigningKey) string {
	return "/" + k.String() + "/v1/" + string(p) + "/cert_chain"
}

// CRLPath returns the path below [KDS] of the revocation list, in DER, that a
// product's root key signs.
func CRLPath(p Product, k SigningKey) string { return "/" + k.String() + "/v1/" + string(p) + "/crl" }

func tcbQuery(p Product, tcb TCBVersion) string {
	s := tcb.Parts(p)
	q := fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", s.Bootloader, s.TEE, s.SNP, s.Microcode)
	if p == Turin {
		q = fmt.Sprintf("fmcSPL=%02d&", s.FMC) + q
	}
	return q
}
