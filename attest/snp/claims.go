package snp

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"hitoku.dev/attest"
)

// product is the product line of the report: from its CPUID, or in version 2 from
// the certificate, or from a CHIP_ID of Turin's length; "" where nothing says.
func (c *check) product() Product {
	if c.r.Version >= 3 {
		return c.r.Product()
	}
	if c.chain != nil && c.chain.info != nil {
		return c.chain.info.Product
	}
	if c.r.ChipID != [64]byte{} && allZero(c.r.ChipID[8:]) {
		return Turin
	}
	return ""
}

// claims says what the report says. Most texts are cut out of one long one, since a
// verification should cost little beside its signature.
func (c *check) claims() attest.Claims {
	r := c.r
	out := attest.Claims{
		Format:         FormatReport,
		TEE:            attest.SEVSNP,
		Measurement:    r.Measurement[:],
		Debug:          r.Policy.Has(PolicyDebug),
		ReportData:     r.ReportData[:],
		SVNs:           c.svns(),
		CollateralDate: c.crlDate,
	}
	// The report's digits, then those of the numbers with the highest byte first.
	const words = 0x1e0
	var plain [words + 6*8]byte
	copy(plain[:], c.e.Raw[:words])
	for i, v := range [...]uint64{uint64(r.ReportedTCB), uint64(r.CurrentTCB), uint64(r.CommittedTCB), uint64(r.LaunchTCB), r.LaunchMit, r.CurrentMit} {
		binary.BigEndian.PutUint64(plain[words+8*i:], v)
	}
	var buf [2*len(plain) + 32]byte
	hex.Encode(buf[:], plain[:])
	all, ends := appendVersions(buf[:2*len(plain)], r)
	digits := string(all)
	cut := func(from, size int) string { return digits[2*from : 2*(from+size)] }
	word := func(i int) string { return cut(words+8*i, 8) }
	if r.ChipID != [64]byte{} {
		out.PlatformID = cut(0x1a0, 64)
	}
	m := make(map[string]string, 14)
	m["measurement"] = cut(0x90, 48)
	m["host_data"] = cut(0xc0, 32)
	m["id_key_digest"] = cut(0xe0, 48)
	m["author_key_digest"] = cut(0x110, 48)
	m["family_id"] = cut(0x10, 16)
	m["image_id"] = cut(0x20, 16)
	m["report_id"] = cut(0x140, 32)
	m["report_id_ma"] = cut(0x160, 32)
	m["reported_tcb"] = word(0)
	m["current_tcb"] = word(1)
	m["committed_tcb"] = word(2)
	m["launch_tcb"] = word(3)
	if r.Version >= 5 {
		m["launch_mit_vector"] = word(4)
		m["current_mit_vector"] = word(5)
	}
	out.Measurements = m
	out.Facts = c.facts()
	out.Facts["firmware_current"] = digits[2*len(plain) : ends[0]]
	out.Facts["firmware_committed"] = digits[ends[0]:ends[1]]
	out.Facts["abi_required"] = digits[ends[1]:ends[2]]
	return out
}

// svns are the parts of the reported TCB and the guest's own number.
func (c *check) svns() map[string]uint64 {
	product := c.product()
	s := c.r.ReportedTCB.Parts(product)
	m := make(map[string]uint64, 6)
	m["bootloader"] = uint64(s.Bootloader)
	m["tee"] = uint64(s.TEE)
	m["snp"] = uint64(s.SNP)
	m["microcode"] = uint64(s.Microcode)
	if product == Turin {
		m["fmc"] = uint64(s.FMC)
	}
	m["guest"] = uint64(c.r.GuestSVN)
	return m
}

func (c *check) facts() map[string]string {
	r := c.r
	m := make(map[string]string, 26)
	flag := func(name string, set bool) {
		m[name] = "false"
		if set {
			m[name] = "true"
		}
	}
	flag("smt_allowed", r.Policy.Has(PolicySMT))
	flag("migration_agent_allowed", r.Policy.Has(PolicyMigrateMA))
	flag("debug_allowed", r.Policy.Has(PolicyDebug))
	flag("single_socket_required", r.Policy.Has(PolicySingleSocket))
	flag("cxl_allowed", r.Policy.Has(PolicyCXLAllow))
	flag("aes_256_xts_required", r.Policy.Has(PolicyAES256XTS))
	flag("rapl_disable_required", r.Policy.Has(PolicyRAPLDisable))
	flag("ciphertext_hiding_required", r.Policy.Has(PolicyCiphertextHiding))
	flag("page_swap_disabled", r.Policy.Has(PolicyPageSwapDisable))
	flag("smt_enabled", r.PlatformInfo.Has(PlatformSMT))
	flag("tsme_enabled", r.PlatformInfo.Has(PlatformTSME))
	flag("ecc_enabled", r.PlatformInfo.Has(PlatformECC))
	flag("rapl_disabled", r.PlatformInfo.Has(PlatformRAPLDisabled))
	flag("ciphertext_hiding_enabled", r.PlatformInfo.Has(PlatformCiphertextHiding))
	flag("alias_check_complete", r.PlatformInfo.Has(PlatformAliasCheck))
	flag("tio_enabled", r.PlatformInfo.Has(PlatformTIO))
	flag("provisional_firmware", r.CurrentTCB != r.CommittedTCB || r.Current != r.Committed)
	flag("chip_id_masked", r.ChipID == [64]byte{})
	flag("chip_key_masked", r.KeyInfo.MaskChipKey())
	flag("author_key", r.KeyInfo.AuthorKey())
	m["signing_key"] = r.KeyInfo.SigningKey().String()
	m["vmpl"] = "host"
	if r.VMPL <= 3 {
		m["vmpl"] = "0123"[r.VMPL : r.VMPL+1]
	}
	if p := c.product(); p != "" {
		m["product"] = string(p)
	}
	if c.chain != nil && c.chain.err == nil && c.chain.info.CSP != "" {
		m["csp"] = c.chain.info.CSP
	}
	return m
}

// appendVersions writes the current and committed firmware and the ABI that the
// policy asks for, each as dotted numbers, and says where each ends.
func appendVersions(b []byte, r *Report) (out []byte, ends [3]int) {
	for i, f := range [...][3]int{
		{int(r.Current.Major), int(r.Current.Minor), int(r.Current.Build)},
		{int(r.Committed.Major), int(r.Committed.Minor), int(r.Committed.Build)},
		{int(r.Policy.ABIMajor()), int(r.Policy.ABIMinor()), -1},
	} {
		b = strconv.AppendInt(b, int64(f[0]), 10)
		b = strconv.AppendInt(append(b, '.'), int64(f[1]), 10)
		if f[2] >= 0 {
			b = strconv.AppendInt(append(b, '.'), int64(f[2]), 10)
		}
		ends[i] = len(b)
	}
	return b, ends
}
