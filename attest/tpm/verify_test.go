package tpm

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"hitoku.dev/attest"
	"hitoku.dev/attest/eventlog"
)

func TestSchemes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ak           crypto.Signer
		scheme, hash tpm2.TPMAlgID
		failed       []string
	}{
		"RSASSA": {newRSA(t), tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256, nil},
		"RSAPSS": {newRSA(t), tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA384, nil},
		"P-256":  {newECC(t, elliptic.P256()), tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256, nil},
		"P-384":  {newECC(t, elliptic.P384()), tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA384, nil},
		"SHA-1":  {newECC(t, elliptic.P256()), tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA1, []string{"quote_signature"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, tc.ak, tc.scheme, tc.hash)
			if failed := w.failed(w.evidence(eventlog.SHA256), w.pinned()); !slices.Equal(failed, tc.failed) {
				t.Errorf("failed %v, wanted %v", failed, tc.failed)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.evidence(eventlog.SHA1, eventlog.SHA256)
	e.Quotes = append(e.Quotes, w.quote(eventlog.SHA384, 0, 7, 23))
	r, err := VerifyEvidence(e, w.pinned())
	w.must(err)
	c := r.Claims
	if !r.OK() || c.Format != Format || c.TEE != attest.TPM || string(c.Nonce) != "a nonce" || len(c.PlatformID) != 64 {
		t.Errorf("%+v", r)
	}
	if len(c.Measurements) != 3 || len(c.Measurement) != 48 || len(c.Measurements["pcr23"]) != 96 {
		t.Errorf("measurements %v: the strongest bank has three registers", c.Measurements)
	}
	for name, want := range map[string]string{"tpm_clock": "77", "tpm_reset_count": "3", "tpm_restart_count": "2", "tpm_clock_safe": "true", "tpm_firmware_version": "0000000000000102"} {
		if c.Facts[name] != want {
			t.Errorf("%s is %q", name, c.Facts[name])
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	shared, other := newWorld(t), newWorld(t)
	type change func(w *world, e *Evidence, o *Options)
	for name, tc := range map[string]struct {
		change change
		failed []string
	}{
		"nobody vouches":       {func(_ *world, _ *Evidence, o *Options) { o.Keys = nil }, []string{"ak_trusted"}},
		"another pin":          {func(_ *world, _ *Evidence, o *Options) { o.Keys = []crypto.PublicKey{other.ak.Public()} }, []string{"ak_trusted"}},
		"unrestricted key":     {func(w *world, e *Evidence, _ *Options) { w.attributes.Restricted = false; e.AKPublic = w.public() }, []string{"ak_attributes"}},
		"imported key":         {func(w *world, e *Evidence, _ *Options) { w.attributes.FixedTPM = false; e.AKPublic = w.public() }, []string{"ak_attributes"}},
		"decrypting key":       {func(w *world, e *Evidence, _ *Options) { w.attributes.Decrypt = true; e.AKPublic = w.public() }, []string{"ak_attributes"}},
		"signature of another": {func(_ *world, e *Evidence, _ *Options) { e.Quotes[0].Signature = other.sign(e.Quotes[0].Attest) }, []string{"quote_signature"}},
		"no signature":         {func(_ *world, e *Evidence, _ *Options) { e.Quotes[0].Signature = nil }, []string{"quote_signature", "pcr_digest", "pcr_bank"}},
		"not made by a TPM": {func(w *world, e *Evidence, _ *Options) {
			w.editAttest = func(a *tpm2.TPMSAttest) { a.Magic = 1 }
			e.Quotes[0] = w.quote(eventlog.SHA256)
		}, []string{"quote_format", "pcr_digest", "pcr_bank"}},
		"another scheme": {func(w *world, e *Evidence, _ *Options) {
			w.hash = tpm2.TPMAlgSHA384
			e.Quotes[0] = w.quote(eventlog.SHA256)
		}, []string{"quote_signature"}},
		"two nonces": {func(w *world, e *Evidence, _ *Options) {
			w.nonce = []byte("another")
			e.Quotes = append(e.Quotes, w.quote(eventlog.SHA384))
		}, []string{"quote_format"}},
		"restart between": {func(w *world, e *Evidence, _ *Options) {
			w.editAttest = func(a *tpm2.TPMSAttest) { a.ClockInfo.ResetCount++ }
			e.Quotes = append(e.Quotes, w.quote(eventlog.SHA384))
		}, []string{"quote_format"}},
		"register changed between": {func(w *world, e *Evidence, _ *Options) {
			w.pcrs = PCRs{eventlog.SHA256: maps.Clone(w.pcrs[eventlog.SHA256])}
			w.pcrs[eventlog.SHA256][7] = sumOf(eventlog.SHA256, nil)
			e.Quotes = append(e.Quotes, w.quote(eventlog.SHA256, 7))
		}, []string{"pcr_digest"}},
		"second quote changed": {func(w *world, e *Evidence, _ *Options) {
			e.Quotes = append(e.Quotes, w.quote(eventlog.SHA1))
			e.Quotes[1].Attest[20] ^= 1
		}, []string{"quote_signature"}},
		"a register changed": {func(_ *world, e *Evidence, _ *Options) {
			e.Quotes[0].PCRs[eventlog.SHA256][7] = sumOf(eventlog.SHA256, nil)
		}, []string{"pcr_digest", "pcr_bank"}},
		"a register missing": {func(_ *world, e *Evidence, _ *Options) { delete(e.Quotes[0].PCRs[eventlog.SHA256], 7) }, []string{"pcr_digest", "pcr_bank"}},
		"values of another bank": {func(w *world, e *Evidence, _ *Options) {
			e.Quotes[0].PCRs = PCRs{eventlog.SHA384: w.pcrs[eventlog.SHA384]}
		}, []string{"pcr_digest", "pcr_bank"}},
		"SHA-1 bank alone": {func(w *world, e *Evidence, _ *Options) { e.Quotes[0] = w.quote(eventlog.SHA1) }, []string{"pcr_bank"}},
		"nothing selected": {func(w *world, e *Evidence, _ *Options) {
			w.editAttest = func(a *tpm2.TPMSAttest) {
				a.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{PCRDigest: tpm2.TPM2BDigest{Buffer: sumOf(eventlog.SHA256, nil)}})
			}
			e.Quotes[0] = w.quote(eventlog.SHA256)
		}, []string{"pcr_digest", "pcr_bank"}},
		"bare key":    {func(w *world, e *Evidence, o *Options) { e.AKPublic, e.AKKey, o.Keys = nil, w.ak.Public(), nil }, []string{"ak_attributes", "ak_trusted"}},
		"no key":      {func(_ *world, e *Evidence, _ *Options) { e.AKPublic = nil }, []string{"ak_attributes", "ak_trusted", "quote_signature"}},
		"broken key":  {func(_ *world, e *Evidence, _ *Options) { e.AKPublic = []byte{0, 1, 0} }, []string{"ak_attributes", "ak_trusted", "quote_signature"}},
		"broken log":  {func(_ *world, e *Evidence, _ *Options) { e.EventLog = []byte("x") }, []string{"event_log_replay"}},
		"broken cert": {func(_ *world, e *Evidence, _ *Options) { e.AKCert = []byte("x") }, []string{"ak_certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := *shared
			w.t = t
			e, o := w.evidence(eventlog.SHA256), w.pinned()
			tc.change(&w, e, &o)
			r, err := VerifyEvidence(e, o)
			w.must(err)
			if failed := failedNames(r.Rules); !slices.Equal(failed, tc.failed) {
				t.Errorf("failed %v, wanted %v", failed, tc.failed)
			}
			for _, rule := range r.Rules {
				if !rule.OK && (rule.Advice == "" || rule.Seen == "" || rule.Wanted == "") {
					t.Errorf("a refusal that does not explain itself: %+v", rule)
				}
			}
		})
	}
}

func TestAKCertificate(t *testing.T) {
	t.Parallel()
	shared := newWorld(t)
	use := func(oids ...asn1.ObjectIdentifier) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.UnknownExtKeyUsage = oids }
	}
	for name, tc := range map[string]struct {
		edit   func(*x509.Certificate)
		change func(w *world, e *Evidence, o *Options)
		failed []string
	}{
		"honest":        {},
		"GCE's use":     {edit: use(oidEKCertificate())},
		"no use":        {edit: use()},
		"critical name": {edit: func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, directoryName()) }},
		"another use":   {edit: use(asn1.ObjectIdentifier{1, 2, 3}), failed: []string{"ak_trusted"}},
		"web server": {edit: func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, failed: []string{"ak_trusted"}},
		"authority":    {edit: func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }, failed: []string{"ak_trusted"}},
		"key usage":    {edit: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, failed: []string{"ak_trusted"}},
		"expired":      {edit: func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, failed: []string{"root_trusted"}},
		"not yet":      {edit: func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, failed: []string{"root_trusted"}},
		"no roots":     {change: func(_ *world, _ *Evidence, o *Options) { o.Roots = nil }, failed: []string{"root_trusted"}},
		"another root": {change: func(_ *world, _ *Evidence, o *Options) { o.Roots = []*x509.Certificate{newWorld(t).root} }, failed: []string{"root_trusted"}},
		"no authority": {change: func(_ *world, e *Evidence, _ *Options) { e.Intermediates = nil }, failed: []string{"root_trusted"}},
		"another key":  {change: func(_ *world, e *Evidence, _ *Options) { e.AKCert = newWorld(t).akCert.Raw }, failed: []string{"root_trusted", "ak_trusted"}},
		"collateral": {change: func(w *world, e *Evidence, o *Options) {
			e.AKCert, e.Intermediates = nil, nil
			o.Collateral = &Collateral{Certs: [][]byte{w.ca.Raw, w.akCert.Raw}}
		}},
		"not revoked": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey, 9)}}
		}},
		"revoked": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey, 9, 3)}}
		}, failed: []string{"ak_revocation"}},
		"authority revoked": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey), w.crl(w.root, w.rootKey, 2)}}
		}, failed: []string{"ak_revocation"}},
		"list of another": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.root, w.rootKey)}}
		}},
		"list of an impostor": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.ca, newECC(t, elliptic.P256()))}}
		}, failed: []string{"ak_revocation"}},
		"list of changes": {change: func(w *world, _ *Evidence, o *Options) {
			delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
			o.Collateral = &Collateral{CRLs: [][]byte{w.partialCRL(w.ca, w.caKey, []pkix.Extension{delta})}}
		}, failed: []string{"ak_revocation"}},
		"list of authorities": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.partialCRL(w.ca, w.caKey, []pkix.Extension{distributionPoint(2)})}}
		}, failed: []string{"ak_revocation"}},
		"list of leaves": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral = &Collateral{CRLs: [][]byte{w.partialCRL(w.ca, w.caKey, []pkix.Extension{distributionPoint(1)})}}
		}},
		"no time":        {change: func(_ *world, _ *Evidence, o *Options) { o.At = time.Time{} }, failed: []string{"root_trusted"}},
		"list is broken": {change: func(_ *world, _ *Evidence, o *Options) { o.Collateral = &Collateral{CRLs: [][]byte{{1}}} }, failed: []string{"ak_revocation"}},
		"list is old": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral, o.At = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey)}}, now.AddDate(0, 0, 30)
		}, failed: []string{"ak_revocation"}},
		"list is old, allowed": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral, o.At, o.Grace = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey)}}, now.AddDate(0, 0, 30), 48*time.Hour
		}},
		"list is of tomorrow": {change: func(w *world, _ *Evidence, o *Options) {
			o.Collateral, o.At = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey)}}, now.AddDate(0, 0, -2)
		}, failed: []string{"ak_revocation"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := *shared
			w.t, w.edit = t, tc.edit
			w.issue()
			e := w.evidence(eventlog.SHA256)
			e.AKCert, e.Intermediates = w.akCert.Raw, [][]byte{w.ca.Raw, w.root.Raw}
			o := Options{At: now, Roots: []*x509.Certificate{w.root}}
			if tc.change != nil {
				tc.change(&w, e, &o)
			}
			if failed := w.failed(e, o); !slices.Equal(failed, tc.failed) {
				t.Errorf("failed %v, wanted %v", failed, tc.failed)
			}
		})
	}
}

// distributionPoint says that a list holds one kind of certificates only.
func distributionPoint(tag byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x80 | tag, 1, 0xff}}
}

// A bare key with a certificate that does not call it an attestation key could be unrestricted.
func TestBareKeyWithCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := Options{At: now, Roots: []*x509.Certificate{w.root}}
	evidence := func() *Evidence {
		e := w.evidence(eventlog.SHA256)
		e.AKPublic, e.AKKey, e.AKCert, e.Intermediates = nil, w.ak.Public(), w.akCert.Raw, [][]byte{w.ca.Raw}
		return e
	}
	if failed := w.failed(evidence(), o); failed != nil {
		t.Errorf("failed %v", failed)
	}
	w.edit = func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }
	w.issue()
	o.Roots = []*x509.Certificate{w.root}
	if failed := w.failed(evidence(), o); !slices.Equal(failed, []string{"ak_attributes"}) {
		t.Errorf("failed %v", failed)
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := w.evidence(eventlog.SHA256, eventlog.SHA384)
	e.AKCert, e.Intermediates = w.akCert.Raw, [][]byte{w.ca.Raw}
	spki, err := x509.MarshalPKIXPublicKey(w.ak.Public())
	w.must(err)
	trustee := func(key []byte) []byte {
		q := w.quote(eventlog.SHA256)
		var pcrs []string
		for i := range numPCRs {
			pcrs = append(pcrs, hex.EncodeToString(q.PCRs[eventlog.SHA256][i]))
		}
		b, err := json.Marshal(map[string]any{"ak_public": key, "tpm_quote": map[string]any{"message": q.Attest, "signature": q.Signature, "pcrs": pcrs}, "other": 1})
		w.must(err)
		return b
	}
	for name, raw := range map[string][]byte{"protobuf": e.protobuf(), "trustee": trustee(spki), "trustee with TPMT_PUBLIC": trustee(w.public())} {
		if !Recognise(raw) {
			t.Errorf("%s: not recognised", name)
		}
		r, err := Verify(raw, w.pinned())
		if err != nil || !r.OK() || len(r.Claims.Measurements) != numPCRs {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	for name, raw := range map[string]string{
		"nothing": "", "text": "hello", "other JSON": `{"a":1}`, "other protobuf": "\x0a\x02ab", "HCL alone": "HCLA",
		"quote twice":  `{"quote":{"message":"","signature":"","pcrs":[]},"tpm_quote":{"message":"","signature":"","pcrs":[]},"ak_public":""}`,
		"member twice": `{"ak_public":"","ak_public":"","message":0,"pcrs":0}`, "no quote": `{"ak_public":"` + strings.Repeat("A", 8) + `","message":0,"pcrs":0}`,
		"no end": `{"ak_public":"","message":0,"pcrs":[`, "after the end": `{"version":1} "message" "pcrs" "ak_public"`,
		"octets": `{"hcl_report":[256],"message":0,"pcrs":0}`, "vcek alone": `{"vcek":"AAAA","tpm_quote":{"message":"","signature":"","pcrs":[]},"x":"ak_public"}`,
		"pcrs": `{"tpm_quote":{"message":"","signature":"","pcrs":{}},"ak_public":""}`, "unknown": `{"tpm_quote":{"x":"","message":0,"pcrs":0},"ak_public":""}`,
	} {
		if _, err := Verify([]byte(raw), w.pinned()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// directoryName is the critical subject alternative name of TPM certificates.
func directoryName() pkix.Extension {
	name, err := asn1.Marshal(pkix.Name{CommonName: "vTPM"}.ToRDNSequence())
	if err != nil {
		panic(err)
	}
	inner, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name})
	if err != nil {
		panic(err)
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: inner})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: oidSubjectAltName(), Critical: true, Value: value}
}

// booted is evidence with a log of a short start.
func booted(w *world) *Evidence {
	u32 := func(v int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
	spec := slices.Concat([]byte("Spec ID Event03\x00"), u32(0), []byte{0, 2, 0, 2}, u32(2), []byte{4, 0, 20, 0, 0x0b, 0, 32, 0, 0})
	log := slices.Concat(u32(0), u32(3), make([]byte, 20), u32(len(spec)), spec)
	for i := range 8 {
		log = slices.Concat(log, u32(i), u32(4), u32(2))
		for _, bank := range []eventlog.Alg{eventlog.SHA1, eventlog.SHA256} {
			digest := sumOf(bank, make([]byte, 4))
			log = slices.Concat(log, []byte{byte(bank), 0}, digest)
			w.pcrs[bank][i] = sumOf(bank, slices.Concat(make([]byte, bank.Size()), digest))
		}
		log = slices.Concat(log, u32(4), u32(0))
	}
	e := w.evidence(eventlog.SHA1, eventlog.SHA256)
	e.EventLog = log
	return e
}

func TestEventLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := booted(w)
	r, err := Verify(e.protobuf(), w.pinned())
	if err != nil || !r.OK() || r.Claims.Facts[eventlog.FactSeparators] != "complete" {
		t.Fatalf("%v %+v", err, r)
	}
	flipAll(e.EventLog, func(i int, flipped []byte) {
		changed := *e
		changed.EventLog = flipped
		r, err := VerifyEvidence(&changed, w.pinned())
		w.must(err)
		if r.OK() && r.Claims.Facts[eventlog.FactSeparators] != "complete" {
			t.Errorf("byte %d of the log changed a fact", i)
		}
	})
	// The digests of the weaker bank were signed as well.
	weak := *e
	weak.EventLog = slices.Clone(e.EventLog)
	weak.EventLog[len(weak.EventLog)-8-32-2-1] ^= 1 // the last SHA-1 digest
	if failed := w.failed(&weak, w.pinned()); !slices.Equal(failed, []string{eventlog.RuleReplay}) {
		t.Errorf("failed %v", failed)
	}
	// The same log beside the evidence.
	beside := *e
	beside.EventLog = nil
	r, err = VerifyEvidence(&beside, w.pinned())
	w.must(err)
	l, err := eventlog.Parse(e.EventLog)
	AppendEventLog(r, l, err)
	if !r.OK() || r.Claims.Facts[eventlog.FactSeparators] != "complete" {
		t.Errorf("%+v", r)
	}
	r.Claims.Measurements["pcr3"] = r.Claims.Measurements["pcr8"]
	AppendEventLog(r, l, nil)
	if r.OK() {
		t.Error("a log of other registers was accepted")
	}
}

func TestHugeKeyInCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), maxCertKey), E: 65537}
	huge.N.SetBit(huge.N, 0, 1)
	c := w.certificate("huge", 9, w.ca, w.caKey, huge, true, nil)
	if _, err := parseCert(c.Raw); err == nil {
		t.Error("accepted")
	}
	if _, err := parseCert(make([]byte, maxCertSize+1)); err == nil {
		t.Error("an oversized certificate was read")
	}
}
