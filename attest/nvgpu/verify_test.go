package nvgpu

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func TestHonestContainers(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	u := m.gpu(1)
	member := u.member()
	bare := func(names ...string) map[string]any {
		out := map[string]any{}
		for _, n := range names {
			out[n] = member[n]
		}
		return out
	}
	declared := u.member()
	declared["driver_version"], declared["vbios_version"], declared["version"] = "590.12", "96.00.A5.00.01", "1.0"
	trustee := bare("evidence", "certificate")
	trustee["arch"], trustee["uuid"] = "Hopper", "GPU-1"
	report := u.report()
	o := m.options()
	with := o
	with.Chain = pemOf(u.chain...)
	for name, tc := range map[string]struct {
		raw []byte
		o   Options
	}{
		"list":                      {list(u), o},
		"object":                    {encode(member), o},
		"list that names versions":  {encode([]any{declared}), o},
		"request to NVIDIA":         {encode(map[string]any{"nonce": member["nonce"], "arch": "HOPPER", "claims_version": "3.0", "evidence_list": []any{bare("evidence", "certificate")}}), o},
		"trustee's list":            {encode(map[string]any{"device_evidence_list": []any{trustee}}), o},
		"binary and certificates":   {append(bytes.Clone(report), pemOf(u.chain...)...), o},
		"binary, chain in options":  {report, with},
		"hexadecimal and its chain": {append([]byte(hex.EncodeToString(report)+"\r\n"), pemOf(u.chain...)...), o},
		"zero byte after it":        {append([]byte(hex.EncodeToString(report)+"00\n"), pemOf(u.chain...)...), o},
		"hexadecimal, chain aside":  {[]byte(hex.EncodeToString(report)), with},
		"white space":               {append([]byte(" \n"), append(list(u), " \n"...)...), o},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !Recognise(tc.raw) {
				t.Error("not recognised")
			}
			r, err := Verify(tc.raw, tc.o)
			if err != nil || !r.OK() {
				t.Fatalf("refused: %v %+v", err, r)
			}
			c := r.Claims
			if c.Format != FormatReport || c.TEE != attest.NVIDIAGPU || c.PlatformID != "412901" || !bytes.Equal(c.Nonce, u.nonce[:]) || !bytes.Equal(c.Measurement, fwidValue()) || c.Debug || len(c.Devices) != 1 {
				t.Errorf("claims %+v", c)
			}
			if len(c.Measurements) != 40 || c.Measurements["measurement_39"] != strings.Repeat("27", 48) {
				t.Errorf("measurements %v", c.Measurements)
			}
			for name, want := range map[string]string{
				"driver_version": "590.12", "vbios_version": "96.00.A5.00.01", "chip": "GH100 A01", "chip_sku": "885", "project": "G520", "project_sku": "0200",
				"board_id": "37040000", "nvdec0": "disabled", "protected_pcie": "enabled", "feature_flag": "ppcie", "fwid": hex.EncodeToString(fwidValue()),
			} {
				if c.Facts[name] != want || c.Devices[0].Facts[name] != want {
					t.Errorf("fact %s is %q, wanted %q", name, c.Facts[name], want)
				}
			}
			if len(r.NotChecked) != 3 {
				t.Errorf("not checked: %q", r.NotChecked)
			}
		})
	}
}

func TestSwitchIsNoGPU(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	r, err := Verify(list(m.nvswitch(9)), m.options())
	if err != nil || !r.OK() {
		t.Fatalf("refused: %v %+v", err, r)
	}
	if c := r.Claims; c.TEE != Switch || c.Devices[0].TEE != Switch || c.Facts["vbios_version"] != "96.10.55.00.01" || c.Facts["device_pdi"] != "0102030405060709" || c.Facts["chip"] != "LS_10 A01" {
		t.Errorf("claims %+v", c)
	}
}

func TestBlackwellFirmwareID(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	for _, id := range []asn1.ObjectIdentifier{{2, 23, 133, 5, 4, 1}, {2, 23, 133, 5, 4, 1, 1}} {
		u := m.unit("GB100", "BLACKWELL", 3, nil, func(place int, c *x509.Certificate) {
			if place == 0 {
				c.ExtraExtensions = []pkix.Extension{{Id: id, Value: tcbInfo(t)}}
			}
		})
		u.opaque = []field{{fieldFWID, fwidValue()}, {fieldChipInfo, []byte("GB100\x00\x00")}}
		r, err := Verify(list(u), m.options())
		if err != nil || !r.OK() || r.Claims.Facts["chip_info"] != "GB100" || !bytes.Equal(r.Claims.Measurement, fwidValue()) {
			t.Errorf("%v: %v %+v", id, err, r)
		}
	}
}

// TestManyDevices judges lists of several devices.
func TestManyDevices(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	a, b, sw := m.gpu(1), m.gpu(2), m.nvswitch(3)
	other := m.gpu(4)
	other.nonce = [32]byte{9}
	again := *a
	again.measurements = a.measurements[1:]
	forged := *b
	forged.key = a.key
	older := *b
	older.opaque = slices.Clone(b.opaque)
	older.opaque[5].data = []byte("550.1\x00")
	for name, tc := range map[string]struct {
		raw     []byte
		devices int
		failed  []string
		check   func(c *attest.Claims) bool
	}{
		"two GPUs": {raw: list(a, b), devices: 2, check: func(c *attest.Claims) bool {
			return c.PlatformID == "" && c.TEE == attest.NVIDIAGPU && len(c.Measurements) == 40 && c.Facts["driver_version"] == "590.12" && len(c.Nonce) == 32 && c.Devices[1].PlatformID == "412902"
		}},
		"GPUs and a switch": {raw: list(a, b, sw), devices: 3, check: func(c *attest.Claims) bool {
			return c.TEE == attest.NVIDIAGPU && c.Facts["driver_version"] == "" && c.Devices[2].TEE == Switch
		}},
		"versions that differ": {raw: list(a, &older), devices: 2, check: func(c *attest.Claims) bool {
			return c.Facts["driver_version"] == "" && c.Devices[1].Facts["driver_version"] == "550.1"
		}},
		"copies":      {raw: encode([]any{a.member(), a.member(), b.member()}), devices: 2},
		"two nonces":  {raw: list(a, other), devices: 2, failed: []string{"same_nonce"}, check: func(c *attest.Claims) bool { return c.Nonce != nil && len(c.Nonce) == 0 }},
		"two reports": {raw: list(a, &again), devices: 1, failed: []string{"distinct_devices"}},
		"one forged":  {raw: list(a, &forged), devices: 2, failed: []string{"device_2_report_signature"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := Verify(tc.raw, m.options())
			if err != nil {
				t.Fatal(err)
			}
			if got := failed(r); !slices.Equal(got, tc.failed) {
				t.Errorf("failed %v, wanted %v", got, tc.failed)
			}
			if len(r.Claims.Devices) != tc.devices || tc.check != nil && !tc.check(&r.Claims) {
				t.Errorf("%d devices, facts %v, platform %q, nonce %x", len(r.Claims.Devices), r.Claims.Facts, r.Claims.PlatformID, r.Claims.Nonce)
			}
		})
	}
}

// TestRefusals spoils one thing at a time and wants exactly the rules that must fail.
func TestRefusals(t *testing.T) {
	t.Parallel()
	m, stranger := newMaker(t), newMaker(t)
	chain := []string{"certificate_chain", "device_kind", "fwid", "report_signature"}
	all := append([]string{"root_trusted"}, chain...)
	u := m.gpu(1)
	spoilt := func(place int, edit func(c *x509.Certificate)) *unit {
		v := m.unit("GH100", "HOPPER", 1, compositeID, func(p int, c *x509.Certificate) {
			if p == place {
				edit(c)
			}
		})
		v.opaque = u.opaque
		return v
	}
	member := func(name string, value any) []byte {
		out := u.member()
		out[name] = value
		return encode([]any{out})
	}
	certs := func(certs ...*x509.Certificate) []byte {
		return member("certificate", base64.StdEncoding.EncodeToString(pemOf(certs...)))
	}
	with := func(edit func(v *unit)) []byte {
		v := *u
		v.opaque = slices.Clone(u.opaque)
		edit(&v)
		return list(&v)
	}
	capital := *u
	capital.nonce[31] = 0xab
	loud := capital.member()
	loud["nonce"] = strings.ToUpper(hex.EncodeToString(capital.nonce[:]))
	inCapitals := encode([]any{loud})
	foreign := *u
	foreign.chain = stranger.gpu(1).chain
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	withoutID := func(value []byte) *unit {
		return spoilt(0, func(c *x509.Certificate) {
			c.ExtraExtensions = nil
			if value != nil {
				c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}, Value: value}}
			}
		})
	}
	sha256ID := sha384FWID()
	sha256ID.Algorithm = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	for name, tc := range map[string]struct {
		raw    []byte
		edit   func(o *Options)
		failed []string
	}{
		"no time":             {raw: list(u), edit: func(o *Options) { o.At = time.Time{} }, failed: []string{"root_trusted", "certificate_chain"}},
		"before its time":     {raw: list(u), edit: func(o *Options) { o.At = now.AddDate(-4, 0, 0) }, failed: []string{"root_trusted", "certificate_chain"}},
		"NVIDIA's root":       {raw: list(u), edit: func(o *Options) { o.Roots = nil }, failed: all},
		"no root":             {raw: list(u), edit: func(o *Options) { o.Roots = []*x509.Certificate{} }, failed: all},
		"a root that is none": {raw: list(u), edit: func(o *Options) { o.Roots = []*x509.Certificate{u.chain[0]} }, failed: all},
		"another maker":       {raw: list(&foreign), failed: all},
		"chain without root":  {raw: certs(u.chain[:4]...), failed: all},
		"chain of four":       {raw: certs(u.chain[0], u.chain[1], u.chain[2], u.chain[4]), failed: chain},
		"wrong order":         {raw: certs(u.chain[0], u.chain[2], u.chain[1], u.chain[3], u.chain[4]), failed: chain},
		"root as its own":     {raw: certs(u.chain[0], u.chain[1], u.chain[2], u.chain[4], u.chain[4]), failed: chain},
		"no chain":            {raw: u.report(), failed: all},
		"empty chain":         {raw: member("certificate", ""), failed: all},
		"chain of six":        {raw: certs(append(slices.Clone(u.chain), u.chain[4])...), failed: all},
		"chain in no PEM":     {raw: member("certificate", base64.StdEncoding.EncodeToString([]byte("certificates"))), failed: all},
		"chain and more":      {raw: append(append(u.report(), pemOf(u.chain...)...), "more"...), failed: all},
		"chain without end":   {raw: append(u.report(), pemOf(u.chain...)[:100]...), failed: all},
		"chain of no base64":  {raw: append(u.report(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"...), failed: all},
		"chain of no DER":     {raw: append(u.report(), append([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), pemOf(u.chain[1:]...)...)...), failed: chain},
		"long certificate":    {raw: append(u.report(), "-----BEGIN CERTIFICATE-----\n"+strings.Repeat("AAAA", 1000)+"\n-----END CERTIFICATE-----\n"...), failed: all},

		"leaf is an authority":      {raw: list(spoilt(0, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })), failed: chain},
		"leaf signs certificates":   {raw: list(spoilt(0, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })), failed: chain},
		"authority that is none":    {raw: list(spoilt(2, func(c *x509.Certificate) { c.IsCA = false })), failed: chain},
		"path length":               {raw: list(spoilt(3, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })), failed: chain},
		"critical extension":        {raw: list(spoilt(1, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknown} })), failed: chain},
		"authority expired":         {raw: list(spoilt(1, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })), failed: []string{"certificate_chain"}},
		"SHA-256":                   {raw: list(spoilt(0, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 })), failed: chain},
		"chip that is not known":    {raw: list(spoilt(1, func(c *x509.Certificate) { c.Subject.CommonName = "XX1 A01 GSP BROM" })), failed: []string{"device_kind"}},
		"chip without a name":       {raw: list(spoilt(1, func(c *x509.Certificate) { c.Subject.CommonName = "" })), failed: []string{"device_kind"}},
		"another architecture":      {raw: member("arch", "BLACKWELL"), failed: []string{"device_kind"}},
		"a GPU as a switch":         {raw: member("arch", "LS10"), failed: []string{"device_kind"}},
		"architecture in small":     {raw: member("arch", "hopper"), failed: []string{"device_kind"}},
		"architecture not known":    {raw: member("arch", "KEPLER"), failed: []string{"device_kind"}},
		"certificate without fwid":  {raw: list(withoutID(nil)), failed: []string{"fwid"}},
		"fwid of another form":      {raw: list(withoutID([]byte{4, 0})), failed: []string{"fwid"}},
		"fwid list of another form": {raw: list(withoutID([]byte{0x30, 2, 0x86, 5})), failed: []string{"fwid"}},
		"fwid list without fwid":    {raw: list(withoutID([]byte{0x30, 0})), failed: []string{"fwid"}},
		"fwid cut off":              {raw: list(withoutID([]byte{0x30, 3, 2, 1, 1})), failed: []string{"fwid"}},
		"fwid of SHA-256": {raw: list(withoutID(mustMarshal(t, struct {
			FWIDs []fwidASN1 `asn1:"tag:6"`
		}{[]fwidASN1{sha256ID}}))), failed: []string{"fwid"}},
		"fwid empty": {raw: list(withoutID(mustMarshal(t, struct {
			FWIDs []fwidASN1 `asn1:"tag:6"`
		}{}))), failed: []string{"fwid"}},
		"another fwid":        {raw: with(func(v *unit) { v.opaque[7].data = make([]byte, 48) }), failed: []string{"fwid"}},
		"newer opaque data":   {raw: with(func(v *unit) { v.opaque[9].data = []byte{2, 0} }), failed: []string{"report_format"}},
		"long opaque version": {raw: with(func(v *unit) { v.opaque[9].data = make([]byte, 9) }), failed: []string{"report_format"}},
		"another key":         {raw: with(func(v *unit) { v.key = m.rootKey }), failed: []string{"report_signature"}},
		"another nonce":       {raw: member("nonce", strings.Repeat("0", 64)), failed: []string{"nonce_binding"}},
		"nonce in capitals":   {raw: inCapitals},
		"nonce with more":     {raw: member("nonce", hex.EncodeToString(u.nonce[:])+"A"), failed: []string{"nonce_binding"}},
		"another driver":      {raw: member("driver_version", "590.13"), failed: []string{"declared_versions"}},
		"another VBIOS":       {raw: member("vbios_version", "96.00.a5.00.01"), failed: []string{"declared_versions"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := m.options()
			if tc.edit != nil {
				tc.edit(&o)
			}
			r, err := Verify(tc.raw, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := failed(r); !slices.Equal(got, tc.failed) {
				t.Errorf("failed %v, wanted %v: %+v", got, tc.failed, r.Rules)
			}
			for _, rule := range r.Rules {
				if !rule.OK && (rule.Wanted == "" || rule.Seen == "" || rule.Advice == "") {
					t.Errorf("a refusal without reason: %+v", rule)
				}
			}
		})
	}
}
