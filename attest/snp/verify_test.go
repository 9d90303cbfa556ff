package snp_test

import (
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

func failedNames(r *attest.Result) []string {
	var out []string
	for _, rule := range r.Rules {
		if !rule.OK {
			out = append(out, rule.Name)
		}
	}
	return out
}

func ruleOf(t testing.TB, r *attest.Result, name string) attest.Rule {
	t.Helper()
	i := slices.IndexFunc(r.Rules, func(rule attest.Rule) bool { return rule.Name == name })
	if i < 0 {
		t.Fatalf("no rule %s in %+v", name, r.Rules)
	}
	return r.Rules[i]
}

func options(w *snptest.World, c *snp.Collateral) snp.Options {
	return snp.Options{At: now, Roots: w.Roots(), Collateral: c}
}

func verify(t testing.TB, raw []byte, o snp.Options) *attest.Result {
	t.Helper()
	r, err := snp.Verify(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEveryProductAndVersion accepts honest reports, signed by either key, with
// their certificates inside the evidence and beside it.
func TestEveryProductAndVersion(t *testing.T) {
	t.Parallel()
	w := world()
	for _, p := range snp.Products() {
		for version := uint32(snp.MinVersion); version <= snp.MaxVersion; version++ {
			for _, masked := range []bool{false, true} {
				report := w.Report(p, version)
				if masked {
					snptest.Masked(report)
				}
				l := w.Line(p)
				issuer := l.Issuer(report.KeyInfo.SigningKey()).Cert
				raw := w.SignAs(p, report)
				c := &snp.Collateral{Certs: [][]byte{l.ARK.Cert.Raw, w.LeafAs(p, report).Cert.Raw, issuer.Raw}}
				r := verify(t, raw, options(w, c))
				if !r.OK() {
					t.Fatalf("%s version %d masked %v: %+v", p, version, masked, r.Rules)
				}
				if got := r.Claims.Facts["product"]; got != string(p) {
					t.Errorf("product %q, wanted %s", got, p)
				}
				wantID := hex.EncodeToString(report.ChipID[:])
				if masked {
					wantID = ""
				}
				if r.Claims.PlatformID != wantID {
					t.Errorf("platform id %q, wanted %q", r.Claims.PlatformID, wantID)
				}
				if got := slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "platform:") }); got != masked {
					t.Errorf("masked %v, but not checked is %q", masked, r.NotChecked)
				}
				if !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "revocation:") }) {
					t.Errorf("a missing revocation list is not stated: %q", r.NotChecked)
				}
				if version >= 3 {
					if r := verify(t, w.SignExtended(report), options(w, nil)); !r.OK() {
						t.Errorf("%s version %d masked %v, extended: %+v", p, version, masked, r.Rules)
					}
				}
			}
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Turin, 5)
	report.Policy = snp.NewPolicy(1, 55, snp.PolicyDebug|snp.PolicyMigrateMA|snp.PolicyPageSwapDisable|snp.PolicyCiphertextHiding)
	report.PlatformInfo |= snp.PlatformTIO
	report.VMPL = 2
	report.Current.Build = 30
	report.ReportedTCB = snp.TCBParts{FMC: 1, Bootloader: 2, TEE: 0, SNP: 4, Microcode: 5}.Version(snp.Turin)
	report.KeyInfo = snp.NewKeyInfo(snp.VCEK, false, true)
	r := verify(t, w.Sign(report), options(w, w.Collateral(report)))
	if !r.OK() {
		t.Fatalf("%+v", r.Rules)
	}
	c := r.Claims
	if c.Format != snp.FormatReport || c.TEE != attest.SEVSNP || !c.Debug || c.TCB.Overall != "" {
		t.Errorf("claims %+v", c)
	}
	if [48]byte(c.Measurement) != report.Measurement || [64]byte(c.ReportData) != report.ReportData {
		t.Error("measurement or report data differ")
	}
	for name, want := range map[string]uint64{"fmc": 1, "bootloader": 2, "tee": 0, "snp": 4, "microcode": 5, "guest": 7} {
		if got, ok := c.SVNs[name]; !ok || got != want {
			t.Errorf("SVN %s is %d, wanted %d", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"reported_tcb": "0500000004000201", "current_tcb": "db00000018000401", "launch_mit_vector": "0000000000000003", "current_mit_vector": "0000000000000007",
		"host_data": strings.Repeat("55", 32), "measurement": strings.Repeat("33", 48), "report_id_ma": strings.Repeat("ff", 32), "family_id": strings.Repeat("f1", 16),
	} {
		if got := c.Measurements[name]; got != want {
			t.Errorf("%s is %q, wanted %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"vmpl": "2", "product": "Turin", "signing_key": "vcek", "debug_allowed": "true", "migration_agent_allowed": "true", "smt_allowed": "false",
		"page_swap_disabled": "true", "ciphertext_hiding_required": "true", "ciphertext_hiding_enabled": "false", "tio_enabled": "true",
		"alias_check_complete": "true", "firmware_current": "1.55.30", "firmware_committed": "1.55.29", "abi_required": "1.55",
		"provisional_firmware": "true", "author_key": "true", "chip_id_masked": "false",
	} {
		if got := c.Facts[name]; got != want {
			t.Errorf("fact %s is %q, wanted %q", name, got, want)
		}
	}
	vlek := snptest.Masked(w.Report(snp.Genoa, 3))
	r = verify(t, w.SignExtended(vlek), options(w, nil))
	if r.Claims.Facts["csp"] != snptest.CSP || r.Claims.Facts["chip_id_masked"] != "true" {
		t.Errorf("facts %v", r.Claims.Facts)
	}
}

// TestRefusals has one case for every way in which a report is refused by a rule.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := world()
	milan := w.Line(snp.Milan)
	other := snptest.New(t, now).Line(snp.Milan)
	template := func() *snp.Report { return w.Report(snp.Milan, 3) }
	chip := template().ChipID
	tcb := template().ReportedTCB
	// with makes evidence from a certificate changed by edit, signed with its key.
	with := func(edit func(*x509.Certificate)) ([]byte, *snp.Collateral) {
		leaf := milan.NewVCEK(chip, tcb, edit)
		return w.SignWith(template(), leaf.Key), &snp.Collateral{Certs: [][]byte{leaf.Cert.Raw, milan.ASK.Cert.Raw}}
	}
	report := func(edit func(*snp.Report)) func() ([]byte, *snp.Collateral) {
		return func() ([]byte, *snp.Collateral) {
			r := template()
			honest := w.Collateral(r)
			key := w.Leaf(r).Key
			edit(r)
			return w.SignWith(r, key), honest
		}
	}
	certificate := func(edit func(*x509.Certificate)) func() ([]byte, *snp.Collateral) {
		return func() ([]byte, *snp.Collateral) { return with(edit) }
	}
	authority := func(name string, edit func(*x509.Certificate)) func() ([]byte, *snp.Collateral) {
		return func() ([]byte, *snp.Collateral) {
			// Made by hand: a VCEK under an ASK that is not as it should be, in the evidence.
			ca := milan.Authority(name, 77, edit)
			leaf := milan.NewVCEKUnder(ca, chip, tcb)
			table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertVCEK, Data: leaf.Cert.Raw}, {Kind: snp.CertASK, Data: ca.Cert.Raw}})
			if err != nil {
				t.Fatal(err)
			}
			return append(w.SignWith(template(), leaf.Key), table...), nil
		}
	}
	for name, tc := range map[string]struct {
		make func() ([]byte, *snp.Collateral)
		want []string // failed rules
	}{
		"reserved policy bit":     {report(func(r *snp.Report) { r.Policy |= 1 << 30 }), []string{"report_format"}},
		"page swap bit before v5": {report(func(r *snp.Report) { r.Policy |= snp.PolicyPageSwapDisable }), []string{"report_format"}},
		"policy bit 17 zero":      {report(func(r *snp.Report) { r.Policy &^= 1 << 17 }), []string{"report_format"}},
		"reserved platform bit":   {report(func(r *snp.Report) { r.PlatformInfo |= 1 << 6 }), []string{"report_format"}},
		"TIO before version 5":    {report(func(r *snp.Report) { r.PlatformInfo |= snp.PlatformTIO }), []string{"report_format"}},
		"reserved key bit":        {report(func(r *snp.Report) { r.KeyInfo |= 1 << 9 }), []string{"report_format"}},
		"reserved signing key":    {report(func(r *snp.Report) { r.KeyInfo = 3 << 2 }), []string{"report_format", "root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"reserved TCB byte":       {report(func(r *snp.Report) { r.LaunchTCB |= 1 << 16 }), []string{"report_format"}},
		"mitigations before v5":   {report(func(r *snp.Report) { r.LaunchMit = 1 }), []string{"report_format"}},
		"unknown processor":       {report(func(r *snp.Report) { r.Family = 0x17 }), []string{"report_format", "vcek_product"}},
		"another product":         {report(func(r *snp.Report) { r.Model = 0x11 }), []string{"vcek_product"}},
		"another chip":            {report(func(r *snp.Report) { r.ChipID[5]++ }), []string{"vcek_chip_id"}},
		"another TCB":             {report(func(r *snp.Report) { r.ReportedTCB-- }), []string{"vcek_tcb"}},
		"reported above current":  {report(func(r *snp.Report) { r.CurrentTCB-- }), []string{"tcb_order"}},
		"committed above current": {report(func(r *snp.Report) { r.CommittedTCB++ }), []string{"tcb_order"}},
		"asked for by the host":   {report(func(r *snp.Report) { r.VMPL = 0xffffffff }), []string{"report_origin"}},
		"VMPL 4":                  {report(func(r *snp.Report) { r.VMPL = 4 }), []string{"report_origin"}},
		"chip key masked":         {report(func(r *snp.Report) { r.KeyInfo = snp.NewKeyInfo(snp.VCEK, true, false) }), []string{"report_signature"}},
		"another algorithm":       {report(func(r *snp.Report) { r.SignatureAlgo = 2 }), []string{"report_signature"}},
		"not signed":              {report(func(r *snp.Report) { r.KeyInfo = snp.NewKeyInfo(snp.None, false, false) }), []string{"root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"VLEK asked, VCEK given":  {report(func(r *snp.Report) { r.KeyInfo = snp.NewKeyInfo(snp.VLEK, false, false) }), []string{"root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"signed by another key": {func() ([]byte, *snp.Collateral) {
			return w.SignWith(template(), milan.NewVCEK(chip, tcb, nil).Key), w.Collateral(template())
		}, []string{"report_signature"}},
		"not yet valid":                 {certificate(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), []string{"vcek_chain"}},
		"expired":                       {certificate(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), []string{"vcek_chain"}},
		"certificate authority":         {certificate(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), []string{"vcek_chain", "report_signature"}},
		"critical extension":            {certificate(snptest.Critical), []string{"vcek_chain", "report_signature"}},
		"ASK signed otherwise":          {authority("SEV-Milan", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }), nil},
		"ASK is no authority":           {authority("SEV-Milan", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), nil},
		"ASK of another product":        {authority("SEV-Genoa", nil), nil},
		"VCEK from an ASVK":             {authority("SEV-VLEK-Milan", nil), []string{"vcek_chain"}},
		"ASK without a known name":      {authority("SEV-Rome", nil), nil},
		"ASK with a critical extension": {authority("SEV-Milan", snptest.Critical), []string{"root_trusted", "vcek_chain"}},
		"ASK expired":                   {authority("SEV-Milan", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), []string{"vcek_chain"}},
		"another world": {func() ([]byte, *snp.Collateral) {
			leaf := other.VCEK(chip, tcb)
			return w.SignWith(template(), leaf.Key), &snp.Collateral{Certs: [][]byte{leaf.Cert.Raw, other.ASK.Cert.Raw, other.ARK.Cert.Raw}}
		}, []string{"root_trusted", "vcek_chain"}},
		"another world's root in evidence": {func() ([]byte, *snp.Collateral) {
			table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertARK, Data: other.ARK.Cert.Raw}})
			if err != nil {
				t.Fatal(err)
			}
			return append(w.Sign(template()), table...), w.Collateral(template())
		}, []string{"root_trusted"}},
		"no certificate": {func() ([]byte, *snp.Collateral) { return w.Sign(template()), nil }, []string{"root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"certificate but no ASK": {func() ([]byte, *snp.Collateral) {
			return w.Sign(template()), &snp.Collateral{Certs: [][]byte{w.Leaf(template()).Cert.Raw}}
		}, []string{"root_trusted", "vcek_chain"}},
		"broken certificate": {func() ([]byte, *snp.Collateral) {
			return w.Sign(template()), &snp.Collateral{Certs: [][]byte{{1, 2, 3}}}
		}, []string{"root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"oversized certificate": {func() ([]byte, *snp.Collateral) {
			return w.Sign(template()), &snp.Collateral{Certs: [][]byte{make([]byte, 5000)}}
		}, []string{"root_trusted", "vcek_chain", "vcek_product", "vcek_chip_id", "vcek_tcb", "report_signature"}},
		"version 2 of a Turin TCB": {func() ([]byte, *snp.Collateral) {
			r := w.Report(snp.Turin, 2)
			return w.SignAs(snp.Milan, r), w.Collateral(r)
		}, []string{"vcek_product"}},
	} {
		raw, c := tc.make()
		r, err := snp.Verify(raw, options(w, c))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := failedNames(r)
		if r.OK() || tc.want != nil && !slices.Equal(got, tc.want) {
			t.Errorf("%s: failed %v, wanted %v: %+v", name, got, tc.want, r.Rules)
		}
		for _, rule := range r.Rules {
			if !rule.OK && (rule.Advice == "" || rule.Seen == "" || rule.Wanted == "") {
				t.Errorf("%s: a refusal that does not explain itself: %+v", name, rule)
			}
		}
	}
}

// TestBadExtensions refuses certificates whose members are missing, twice as long, or of another kind.
func TestBadExtensions(t *testing.T) {
	t.Parallel()
	w := world()
	number := func(v ...byte) []byte { return append([]byte{2, byte(len(v))}, v...) }
	for _, tc := range []struct {
		name    string
		product snp.Product
		value   []byte
		arcs    []int
	}{
		{"no structure version", snp.Milan, nil, []int{1}},
		{"structure version 2", snp.Milan, number(2), []int{1}},
		{"no product name", snp.Milan, nil, []int{2}},
		{"unknown product", snp.Milan, []byte{0x16, 4, 'R', 'o', 'm', 'e'}, []int{2}},
		{"product as UTF-8", snp.Milan, []byte{0x0c, 5, 'M', 'i', 'l', 'a', 'n'}, []int{2}},
		{"another product", snp.Milan, []byte{0x16, 5, 'G', 'e', 'n', 'o', 'a'}, []int{2}},
		{"no microcode", snp.Milan, nil, []int{3, 8}},
		{"no reserved level", snp.Milan, nil, []int{3, 4}},
		{"first mutable code on Milan", snp.Milan, number(0), []int{3, 9}},
		{"no first mutable code on Turin", snp.Turin, nil, []int{3, 9}},
		{"level 256", snp.Milan, number(1, 0), []int{3, 8}},
		{"negative level", snp.Milan, number(0xff), []int{3, 8}},
		{"bytes after a level", snp.Milan, append(number(219), 0), []int{3, 8}},
		{"empty level", snp.Milan, []byte{}, []int{3, 8}},
		{"no chip", snp.Milan, nil, []int{4}},
		{"short chip", snp.Milan, make([]byte, 8), []int{4}},
		{"long chip on Turin", snp.Turin, make([]byte, 64), []int{4}},
		{"odd chip", snp.Milan, make([]byte, 63), []int{4}},
		{"chip and provider", snp.Milan, []byte{0x16, 1, 'x'}, []int{5}},
	} {
		r := w.Report(tc.product, 3)
		leaf := w.Line(tc.product).NewVCEK(r.ChipID, r.ReportedTCB, snptest.EditExtension(tc.value, tc.arcs...))
		table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertVCEK, Data: leaf.Cert.Raw}, {Kind: snp.CertASK, Data: w.Line(tc.product).ASK.Cert.Raw}})
		if err != nil {
			t.Fatal(err)
		}
		got := verify(t, append(w.SignWith(r, leaf.Key), table...), options(w, nil))
		if !slices.Contains(failedNames(got), "vcek_chain") {
			t.Errorf("%s: failed %v", tc.name, failedNames(got))
		}
		if r := verify(t, w.SignWith(r, leaf.Key), options(w, &snp.Collateral{Certs: [][]byte{leaf.Cert.Raw, w.Line(tc.product).ASK.Cert.Raw}})); r.OK() {
			t.Errorf("%s: accepted from collateral", tc.name)
		}
	}
	// The hardware id as an OCTET STRING, as newer certificates have it, is the same.
	r := w.Report(snp.Turin, 5)
	octets := append([]byte{4, 8}, r.ChipID[:8]...)
	leaf := w.Line(snp.Turin).NewVCEK(r.ChipID, r.ReportedTCB, snptest.EditExtension(octets, 4))
	c := &snp.Collateral{Certs: [][]byte{leaf.Cert.Raw, w.Line(snp.Turin).ASK.Cert.Raw}}
	if r := verify(t, w.SignWith(r, leaf.Key), options(w, c)); !r.OK() {
		t.Errorf("%+v", r.Rules)
	}
	vlek := snptest.Masked(w.Report(snp.Milan, 3))
	bad := w.Line(snp.Milan).NewVLEK("CN=x", vlek.ReportedTCB, snptest.EditExtension(nil, 5))
	c = &snp.Collateral{Certs: [][]byte{bad.Cert.Raw, w.Line(snp.Milan).ASVK.Cert.Raw}}
	if verify(t, w.SignWith(vlek, bad.Key), options(w, c)).OK() {
		t.Error("a VLEK without a provider was accepted")
	}
}

// TestNoCertificateAdvice names the address at which the certificate can be fetched.
func TestNoCertificateAdvice(t *testing.T) {
	t.Parallel()
	w := world()
	chip := func(n int) string { return strings.Repeat("c1", n) }
	masked := w.Report(snp.Milan, 3)
	masked.ChipID = [64]byte{}
	for _, tc := range []struct {
		report *snp.Report
		want   string
	}{
		{w.Report(snp.Milan, 3), "https://kdsintf.amd.com/vcek/v1/Milan/" + chip(64) + "?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"},
		{w.Report(snp.Turin, 5), "https://kdsintf.amd.com/vcek/v1/Turin/" + chip(8) + "?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"},
		{w.Report(snp.Milan, 2), "/vcek/v1/Milan/" + chip(64) + "?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219 or https://kdsintf.amd.com/vcek/v1/Genoa/" + chip(64)},
		{w.Report(snp.Turin, 2), "/vcek/v1/Turin/" + chip(8) + "?fmcSPL=01"},
		{snptest.Masked(w.Report(snp.Genoa, 3)), "https://kdsintf.amd.com/vlek/v1/Genoa/cert?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"},
		{masked, "masked"},
	} {
		r := verify(t, w.Sign(tc.report), options(w, nil))
		if advice := ruleOf(t, r, "vcek_chain").Advice; !strings.Contains(advice, tc.want) {
			t.Errorf("advice %q, wanted %q in it", advice, tc.want)
		}
	}
}

// TestCollateralOfManyPlatforms finds the certificate of the report among others.
func TestCollateralOfManyPlatforms(t *testing.T) {
	t.Parallel()
	w := world()
	c := &snp.Collateral{}
	var reports []*snp.Report
	for _, p := range snp.Products() {
		l := w.Line(p)
		c.Certs = append(c.Certs, l.ChainPEM(snp.VLEK), l.ChainPEM(snp.VCEK))
		for i := range 3 {
			r := w.Report(p, 3)
			r.ChipID[1] = byte(i)
			r.ReportedTCB -= snp.TCBVersion(i) << 56
			if i == 2 {
				snptest.Masked(r)
			}
			reports = append(reports, r)
			expired := l.NewVCEK(r.ChipID, r.ReportedTCB, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
			c.Certs = append(c.Certs, expired.Cert.Raw, w.Leaf(r).Cert.Raw)
		}
	}
	v := snp.NewVerifier(options(w, c))
	for _, r := range reports {
		got, err := v.Verify(w.Sign(r), now)
		if err != nil || !got.OK() {
			t.Errorf("%v: %+v", err, got)
		}
	}
	// A host that kept the certificate of an older firmware does not stand in the way of the right one.
	r := w.Report(snp.Milan, 3)
	old := w.Line(snp.Milan).NewVCEK(r.ChipID, r.ReportedTCB-1, nil)
	table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertVCEK, Data: old.Cert.Raw}})
	if err != nil {
		t.Fatal(err)
	}
	raw := append(w.Sign(r), table...)
	if got := verify(t, raw, options(w, w.Collateral(r))); !got.OK() {
		t.Errorf("%+v", got.Rules)
	}
	c = &snp.Collateral{Certs: [][]byte{w.Line(snp.Milan).ASK.Cert.Raw}}
	if got := verify(t, raw, options(w, c)); !slices.Equal(failedNames(got), []string{"vcek_tcb", "report_signature"}) {
		t.Errorf("failed %v", failedNames(got))
	}
}

// TestRoots refuses roots that cannot be one, and the wrong product's.
func TestRoots(t *testing.T) {
	t.Parallel()
	w := world()
	r := w.Report(snp.Milan, 3)
	raw := w.SignExtended(r)
	for name, roots := range map[string][]*x509.Certificate{
		"none":                  {},
		"AMD's":                 nil,
		"of another product":    {w.Line(snp.Genoa).ARK.Cert},
		"an intermediate":       {w.Line(snp.Milan).ASK.Cert},
		"of another world":      {snptest.New(t, now).Line(snp.Milan).ARK.Cert},
		"an endorsement's cert": {w.Leaf(r).Cert},
	} {
		if got := verify(t, raw, snp.Options{At: now, Roots: roots}); !slices.Contains(failedNames(got), "root_trusted") {
			t.Errorf("%s: failed %v", name, failedNames(got))
		}
	}
	late := now.AddDate(6, 0, 0)
	if got := verify(t, raw, snp.Options{At: late, Roots: w.Roots()}); !slices.Contains(failedNames(got), "root_trusted") {
		t.Errorf("an expired root: failed %v", failedNames(got))
	}
}

// TestShortNumbers verifies a signature with a number that has fewer than 48 bytes.
func TestShortNumbers(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Milan, 3)
	v := snp.NewVerifier(options(w, w.Collateral(report)))
	for range 10000 {
		raw := w.Sign(report)
		if raw[snp.SignedSize+47] != 0 && raw[snp.SignedSize+72+47] != 0 {
			continue
		}
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			t.Errorf("%v %+v", err, r)
		}
		return
	}
	t.Error("no short number in 10000 signatures")
}
