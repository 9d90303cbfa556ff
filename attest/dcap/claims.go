package dcap

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"hitoku.dev/attest"
)

func (c *check) claims() attest.Claims {
	out := attest.Claims{
		Format:         c.q.Format(),
		TEE:            c.q.TEE(),
		TCB:            c.tcb,
		Simulated:      c.v.simulated,
		CollateralDate: c.v.collateralDate,
		TCBEvaluation:  c.evaluation(),
	}
	if c.q.TD != nil {
		out.Facts = make(map[string]string, 16)
		tdClaims(c.q.TD, &out)
	} else {
		out.Facts = make(map[string]string, 8)
		sgxClaims(&c.q.Report, &out)
	}
	if c.pck != nil && c.pck.ext != nil {
		out.PlatformID, out.FMSPC = c.pck.platformID, c.pck.fmspc
		platformFacts(c.pck.ext, out.Facts)
	}
	if c.platform != nil {
		out.TCBDate = c.platform.Date
	}
	partFacts("tdx_module", c.module, out.Facts)
	partFacts("qe", c.qe, out.Facts)
	return out
}

// partFacts tells the advisories of a part of the platform, and since when it is not up to date.
func partFacts(part string, l *IdentityLevel, facts map[string]string) {
	if l == nil {
		return
	}
	if len(l.Advisories) > 0 {
		facts[part+"_advisories"] = strings.Join(l.Advisories, " ")
	}
	if l.Status != UpToDate {
		facts[part+"_tcb_date"] = l.Date.UTC().Format(time.DateOnly)
	}
}

func sgxClaims(r *ReportBody, out *attest.Claims) {
	out.Measurement, out.Signer = r.MREnclave[:], r.MRSigner[:]
	out.ProdID, out.SVN = r.ISVProdID, r.ISVSVN
	out.Debug, out.ReportData, out.CPUSVN = r.Debug(), r.ReportData[:], r.CPUSVN[:]

	list := [5]register{{"mrenclave", r.MREnclave[:]}, {"mrsigner", r.MRSigner[:]}}
	registers := list[:2]
	for _, o := range [3]register{{"config_id", r.ConfigID[:]}, {"isv_family_id", r.ISVFamilyID[:]}, {"isv_ext_prod_id", r.ISVExtProdID[:]}} {
		if !allZero(o.value) {
			registers = append(registers, o)
		}
	}
	out.Measurements = hexMap(registers)

	out.Facts["provision_key"] = truth(r.Flags&FlagProvisionKey != 0)
	out.Facts["kss"] = truth(r.Flags&FlagKSS != 0)
	out.Facts["aex_notify"] = truth(r.Flags&FlagAEXNotify != 0)
}

func tdClaims(r *TDReport, out *attest.Claims) {
	out.Measurement, out.Debug, out.ReportData = r.MRTD[:], r.Debug(), r.ReportData[:]
	list := [11]register{
		{"mrtd", r.MRTD[:]},
		{"rtmr0", r.RTMR[0][:]},
		{"rtmr1", r.RTMR[1][:]},
		{"rtmr2", r.RTMR[2][:]},
		{"rtmr3", r.RTMR[3][:]},
		{"mrconfigid", r.MRConfigID[:]},
		{"mrowner", r.MROwner[:]},
		{"mrownerconfig", r.MROwnerConfig[:]},
		{"mrseam", r.MRSEAM[:]},
		{"mrsignerseam", r.MRSignerSEAM[:]},
		{"mrservicetd", r.MRServiceTD[:]},
	}
	registers := list[:]
	if !r.TDX15 {
		registers = registers[:10]
	}
	out.Measurements = hexMap(registers)

	f := out.Facts
	for _, bit := range [...]struct {
		name string
		mask uint64
	}{
		{"sept_ve_disable", TDSEPTVEDisable},
		{"migratable", TDMigratable},
		{"pks", TDPKS},
		{"key_locker", TDKeyLocker},
		{"lass", TDLASS},
		{"tpa", TDTPA},
		{"perfmon", TDPerfmon},
	} {
		f[bit.name] = truth(r.TDAttributes&bit.mask != 0)
	}
	// The integers as the report holds them, and the security version numbers.
	var words [16]byte
	binary.LittleEndian.PutUint64(words[:8], r.TDAttributes)
	binary.LittleEndian.PutUint64(words[8:], r.XFAM)
	list = [11]register{{"td_attributes", words[:8]}, {"xfam", words[8:]}, {"tee_tcb_svn", r.TEETCBSVN[:]}, {"tee_tcb_svn2", r.TEETCBSVN2[:]}}
	registers = list[:4]
	if !r.TDX15 {
		registers = registers[:3]
	}
	addHex(f, registers)
}

// platformFacts tells what the PCK certificate says about the platform's configuration.
func platformFacts(e *PCKExtension, facts map[string]string) {
	switch e.SGXType {
	case SGXTypeStandard:
		facts["sgx_type"] = "standard"
	case SGXTypeScalable:
		facts["sgx_type"] = "scalable"
	case SGXTypeScalableWithIntegrity:
		facts["sgx_type"] = "scalable_with_integrity"
	}
	if e.Configuration == nil {
		return
	}
	known := func(name string, b *bool) {
		if b != nil {
			facts[name] = truth(*b)
		}
	}
	known("dynamic_platform", e.Configuration.DynamicPlatform)
	known("cached_keys", e.Configuration.CachedKeys)
	known("smt_enabled", e.Configuration.SMTEnabled)
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// register is a named value to be shown in hexadecimal.
type register struct {
	name  string
	value []byte
}

func hexMap(list []register) map[string]string {
	m := make(map[string]string, len(list))
	addHex(m, list)
	return m
}

// addHex puts registers into m. All of the text is one allocation.
func addHex(m map[string]string, list []register) {
	n := 0
	for _, r := range list {
		n += hex.EncodedLen(len(r.value))
	}
	var text strings.Builder
	text.Grow(n)
	const digits = "0123456789abcdef"
	for _, r := range list {
		for _, x := range r.value {
			text.WriteByte(digits[x>>4])
			text.WriteByte(digits[x&15])
		}
	}
	all := text.String()
	for _, r := range list {
		n := hex.EncodedLen(len(r.value))
		m[r.name], all = all[:n], all[n:]
	}
}

// evaluation returns the lower of the evaluation numbers, 0 when one is not known.
func (c *check) evaluation() int {
	if c.v.tcbInfo.body == nil || c.v.identity.body == nil {
		return 0
	}
	return min(c.v.tcbInfo.body.EvaluationNumber, c.v.identity.body.EvaluationNumber)
}

// oldest returns the earliest of the times that are known.
func oldest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
