package atls_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/verify/verifytest"
)

func options(w *verifytest.World) atls.Options {
	return atls.Options{
		Root: w.Account.Certificate, SimulatedRoot: w.Authority.Root(), Name: verifytest.Name,
		Measurements: [][]byte{w.Measurement[:]}, Now: func() time.Time { return verifytest.Now.Add(time.Minute) },
	}
}

func failedRules(v *attest.Verdict) []string {
	var names []string
	for _, r := range v.Failed() {
		names = append(names, r.Name)
	}
	return names
}

func TestVerify(t *testing.T) {
	t.Parallel()
	noCollateral := []string{
		"pck_revocation", "root_crl", "tcb_info_signature", "tcb_info_current", "tcb_info_match",
		"qe_identity_signature", "qe_identity_current", "qe_identity", "tcb_level", "tcb_status",
	}
	noRoot := append([]string{"root_trusted"}, noCollateral...)
	noEvidence := []string{"evidence_extension", "tcb_status", "measurement", "binding"}
	cases := map[string]struct {
		world   func(w *verifytest.World)
		chain   func(w *verifytest.World, chain []*x509.Certificate) []*x509.Certificate
		options func(w *verifytest.World, o *atls.Options)
		failed  []string
	}{
		"honest": {},
		"root sent along": {chain: func(w *verifytest.World, c []*x509.Certificate) []*x509.Certificate {
			return append(c, w.Account.Certificate)
		}},
		"no certificate":    {chain: func(*verifytest.World, []*x509.Certificate) []*x509.Certificate { return nil }, failed: []string{"certificate_chain", "tcb_status"}},
		"no zone authority": {chain: func(_ *verifytest.World, c []*x509.Certificate) []*x509.Certificate { return c[:1] }, failed: []string{"certificate_chain"}},
		"another account":   {options: func(w *verifytest.World, o *atls.Options) { o.Root = verifytest.New(t).Account.Certificate }, failed: []string{"certificate_chain", "account"}},
		"no account root":   {options: func(_ *verifytest.World, o *atls.Options) { o.Root = nil }, failed: []string{"certificate_chain"}},
		"another zone":      {options: func(_ *verifytest.World, o *atls.Options) { o.Zone = verifytest.New(t).Zone.Certificate }, failed: []string{"certificate_zone"}},
		"its own zone":      {options: func(w *verifytest.World, o *atls.Options) { o.Zone = w.Zone.Certificate }},
		"zone as root":      {options: func(w *verifytest.World, o *atls.Options) { o.Root = w.Zone.Certificate }, failed: []string{"certificate_chain", "account"}},
		"another name":      {options: func(_ *verifytest.World, o *atls.Options) { o.Name = "other.example.com" }, failed: []string{"certificate_name"}},
		"no name":           {options: func(_ *verifytest.World, o *atls.Options) { o.Name = "" }, failed: []string{"certificate_name"}},
		"wildcard": {world: func(w *verifytest.World) {
			w.EditLeaf = func(c *x509.Certificate) { c.DNSNames = []string{"*.example.com"} }
		}, failed: []string{"certificate_name"}},
		"name outside constraint": {world: func(w *verifytest.World) {
			w.EditLeaf = func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "example.org") }
		}, failed: []string{"certificate_chain"}},
		"no attested application": {world: func(w *verifytest.World) { w.EditLeaf = func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil } }, failed: []string{"certificate_usage"}},
		"no server":               {world: func(w *verifytest.World) { w.EditLeaf = func(c *x509.Certificate) { c.ExtKeyUsage = nil } }, failed: []string{"certificate_usage"}},
		"expired": {options: func(_ *verifytest.World, o *atls.Options) {
			o.Now = func() time.Time { return verifytest.Now.Add(25 * time.Hour) }
		}, failed: []string{"certificate_time"}},
		"not yet valid": {world: func(w *verifytest.World) {
			w.EditLeaf = func(c *x509.Certificate) { c.NotBefore = verifytest.Now.Add(time.Hour) }
		}, failed: []string{"certificate_time"}},
		"no mark of simulation": {world: func(w *verifytest.World) {
			w.EditLeaf = func(c *x509.Certificate) { c.PolicyIdentifiers, c.Policies = nil, nil }
		}, failed: []string{"certificate_kind"}},
		"no evidence": {world: func(w *verifytest.World) { w.EditExtensions = func([]pkix.Extension) []pkix.Extension { return nil } }, failed: noEvidence},
		"two pieces of evidence": {world: func(w *verifytest.World) {
			w.EditExtensions = func(e []pkix.Extension) []pkix.Extension { e = append(e, e[0]); e[1].Id = attest.OIDTCGCMW; return e }
		}, failed: noEvidence},
		"evidence under TCG's OID": {world: func(w *verifytest.World) {
			w.EditLeaf = func(c *x509.Certificate) { c.ExtraExtensions[0].Id = attest.OIDTCGCMW }
		}},
		"evidence that is no quote": {world: func(w *verifytest.World) { w.EditMessage = func(m *atls.Message) { m.Evidence = []byte("x") } }, failed: []string{"quote_format", "tcb_status", "measurement", "binding"}},
		"simulated root not named":  {options: func(_ *verifytest.World, o *atls.Options) { o.SimulatedRoot = nil }, failed: noRoot},
		"simulated root as maker's": {options: func(w *verifytest.World, o *atls.Options) { o.SimulatedRoot, o.TEERoot = nil, w.Authority.Root() }, failed: []string{"root_trusted"}},
		"another simulated root":    {options: func(_ *verifytest.World, o *atls.Options) { o.SimulatedRoot = verifytest.New(t).Authority.Root() }, failed: noRoot},
		"no collateral":             {world: func(w *verifytest.World) { w.EditMessage = func(m *atls.Message) { m.Collateral = nil } }, failed: noCollateral},
		"own collateral": {
			world:   func(w *verifytest.World) { w.EditMessage = func(m *atls.Message) { m.Collateral = nil } },
			options: func(w *verifytest.World, o *atls.Options) { o.Collateral = w.Collateral() },
		},
		"platform revoked": {options: func(w *verifytest.World, o *atls.Options) {
			w.Authority.Revoke([16]byte{1, 2, 3}, verifytest.Now)
			o.Collateral = w.Collateral()
		}, failed: []string{"pck_revocation"}},
		"debug":                      {world: func(w *verifytest.World) { w.EditQuote = func(q *dcap.Quote) { q.Report.Flags |= dcap.FlagDebug } }, failed: []string{"debug"}},
		"another measurement":        {world: func(w *verifytest.World) { w.EditQuote = func(q *dcap.Quote) { q.Report.MREnclave[0] ^= 1 } }, failed: []string{"measurement"}},
		"no measurement given":       {options: func(_ *verifytest.World, o *atls.Options) { o.Measurements = nil }, failed: []string{"measurement"}},
		"another key":                {world: func(w *verifytest.World) { w.EditBinding = func(b *attest.Binding) { b.Subject[0] ^= 1 } }, failed: []string{"key_binding"}},
		"another purpose":            {world: func(w *verifytest.World) { w.EditBinding = func(b *attest.Binding) { b.Purpose = attest.PurposeApp } }, failed: []string{"purpose"}},
		"binding to another account": {world: func(w *verifytest.World) { w.EditBinding = func(b *attest.Binding) { b.AccountRoot[0] ^= 1 } }, failed: []string{"account"}},
		"binding swapped": {world: func(w *verifytest.World) {
			w.EditQuote = func(q *dcap.Quote) { q.Report.ReportData[0] ^= 1 }
		}, failed: []string{"binding"}},
		"binding malformed":       {world: func(w *verifytest.World) { w.EditMessage = func(m *atls.Message) { m.Binding = append(m.Binding, 0) } }, failed: []string{"evidence_extension", "binding"}},
		"configuration not named": {world: func(w *verifytest.World) { w.EditBinding = func(b *attest.Binding) { b.ConfigID = make([]byte, 32) } }, failed: []string{"config"}},
		"configuration named":     {world: func(w *verifytest.World) { w.EditBinding = func(b *attest.Binding) { b.ConfigID = make([]byte, 32) } }, options: func(_ *verifytest.World, o *atls.Options) { o.ConfigID = make([]byte, 32) }},
		"configuration missing":   {options: func(_ *verifytest.World, o *atls.Options) { o.ConfigID = make([]byte, 32) }, failed: []string{"config"}},
		"policy":                  {options: func(w *verifytest.World, o *atls.Options) { o.Policy = policy.Policy{Signers: [][]byte{{1}}} }, failed: []string{"signer"}},
		"measurement in the policy": {options: func(w *verifytest.World, o *atls.Options) {
			o.Policy.Measurements, o.Measurements = o.Measurements, nil
		}},
		"report": {options: func(_ *verifytest.World, o *atls.Options) { o.Report, o.Name, o.Measurements = true, "", nil }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := verifytest.New(t)
			if tc.world != nil {
				tc.world(w)
			}
			chain := w.Chain()
			if tc.chain != nil {
				chain = tc.chain(w, chain)
			}
			o := options(w)
			if tc.options != nil {
				tc.options(w, &o)
			}
			out, err := atls.Verify(chain, o)
			failed := failedRules(&out.Verdict)
			if (err == nil) != (len(tc.failed) == 0) || out.Verdict.Accepted != (err == nil) {
				t.Fatalf("error %v, accepted %v, failed %v", err, out.Verdict.Accepted, failed)
			}
			if !slices.Equal(failed, tc.failed) {
				t.Errorf("failed %v, wanted %v", failed, tc.failed)
			}
			var refused *attest.RefusedError
			if err != nil && !errors.As(err, &refused) {
				t.Errorf("error %T is no refusal", err)
			}
		})
	}
}

func TestLeafIssuedByAccountRootItself(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	w.Zone = &ca.Authority{Certificate: w.Account.Certificate, Key: w.Account.Key}
	w.EditLeaf = func(*x509.Certificate) {}
	out, err := atls.Verify(w.Chain()[:1], options(w))
	if err == nil || !slices.Contains(failedRules(&out.Verdict), "certificate_chain") {
		t.Fatalf("accepted: %v", err)
	}
}

// TestFlipLeaf flips bytes of the leaf: what the zone authority signed, and its signature.
func TestFlipLeaf(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	chain := w.Chain()
	raw := chain[0].Raw
	step := 1
	if testing.Short() {
		step = 37
	}
	for i := 0; i < len(raw); i += step {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		leaf, err := x509.ParseCertificate(bad)
		if err != nil {
			continue
		}
		if _, err := leaf, leaf.CheckSignatureFrom(chain[1]); err == nil {
			t.Fatalf("byte %d flipped, signature still good", i)
		}
	}
}

// TestResumptionAfterPolicyChange: a session that was judged under one policy does not pass under
// another one, even where a caller turns resumption on and keeps its session cache.
func TestResumptionAfterPolicyChange(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{w.Certificate()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	sessions := tls.NewLRUClientSessionCache(4)
	talk := func(o atls.Options, tickets bool) (bool, error) {
		cfg := atls.ClientConfig(o)
		cfg.ClientSessionCache, cfg.SessionTicketsDisabled = sessions, !tickets
		cfg.Time = func() time.Time { return verifytest.Now }
		c, err := tls.Dial("tcp", l.Addr().String(), cfg)
		if err != nil {
			return false, err
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil { // a ticket comes with the first answer
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().DidResume, nil
	}
	if _, err := talk(options(w), true); err != nil {
		t.Fatal(err)
	}
	changed := options(w)
	changed.Measurements = [][]byte{make([]byte, 32)}
	if _, err := talk(changed, true); err == nil || !strings.Contains(err.Error(), "resumed") {
		t.Errorf("a resumed session: %v", err)
	}
	var refused *attest.RefusedError
	if _, err := talk(changed, false); !errors.As(err, &refused) || refused.Rules[0].Name != "measurement" {
		t.Errorf("another policy: %v", err)
	}
	if resumed, err := talk(options(w), false); err != nil || resumed {
		t.Errorf("the configuration as it is made: resumed %v, %v", resumed, err)
	}
}

func TestClientConfig(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	serve := func(cert tls.Certificate) string {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(c, c); c.Close() }()
			}
		}()
		return l.Addr().String()
	}
	addr := serve(w.Certificate())
	cfg := atls.ClientConfig(options(w))
	for range 2 { // the second time with remembered collateral
		c, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if s := c.ConnectionState(); s.Version != tls.VersionTLS13 || s.DidResume {
			t.Errorf("version %x, resumed %v", s.Version, s.DidResume)
		}
		c.Close()
	}
	o := options(w)
	o.Measurements = [][]byte{make([]byte, 32)}
	c, err := tls.Dial("tcp", addr, atls.ClientConfig(o))
	var refused *attest.RefusedError
	if err == nil {
		c.Close()
	}
	if !errors.As(err, &refused) || refused.Rules[0].Name != "measurement" {
		t.Fatalf("another measurement: %v", err)
	}
	// A server that shows an honest certificate without its key gets no connection.
	stolen := w.Certificate()
	stolen.PrivateKey = w.Certificate().PrivateKey
	if c, err := net.Dial("tcp", serve(stolen)); err == nil {
		if tls.Client(c, cfg).HandshakeContext(t.Context()) == nil {
			t.Fatal("a stolen certificate was accepted")
		}
		c.Close()
	}
}

func TestExtension(t *testing.T) {
	t.Parallel()
	m := atls.Message{Evidence: []byte{1, 2}, Binding: []byte{3}, Collateral: &dcap.Collateral{TCBInfo: []byte("x")}}
	ext, err := atls.MarshalExtension(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := atls.ParseExtension(ext.Value)
	if err != nil || string(got.Evidence) != "\x01\x02" || string(got.Collateral.TCBInfo) != "x" {
		t.Fatalf("%+v %v", got, err)
	}
	var text string
	if _, err := asn1.UnmarshalWithParams(ext.Value, &text, "utf8"); err != nil {
		t.Fatal(err)
	}
	utf8 := func(s string) []byte {
		der, err := asn1.MarshalWithParams(s, "utf8")
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	octets, _ := asn1.Marshal([]byte(text))
	if _, err := atls.ParseExtension(octets); err != nil {
		t.Errorf("JSON in an octet string: %v", err)
	}
	for name, der := range map[string][]byte{
		"nothing":         nil,
		"byte after":      append(slices.Clone(ext.Value), 0),
		"space":           utf8(text + " "),
		"second value":    utf8(text + text),
		"unknown member":  utf8(`{"a":1,` + text[1:]),
		"capital member":  utf8(`{"__CMWC_T"` + text[len(`{"__cmwc_t"`):]),
		"no evidence":     utf8(`{"__cmwc_t":"` + atls.TypeCollection + `","binding":["` + atls.TypeBinding + `","Aw",4]}`),
		"other type":      utf8(`{"__cmwc_t":"tag:other"` + text[len(`{"__cmwc_t":"`+atls.TypeCollection+`"`):]),
		"CBOR":            {0x04, 0x02, 0xa1, 0x00},
		"padding":         utf8(`{"__cmwc_t":"` + atls.TypeCollection + `","binding":["` + atls.TypeBinding + `","Aw==",4],"evidence":["` + atls.TypeEvidence + `","AQI",4]}`),
		"record too long": utf8(`{"__cmwc_t":"` + atls.TypeCollection + `","binding":["` + atls.TypeBinding + `","Aw",4,4],"evidence":["` + atls.TypeEvidence + `","AQI",4]}`),
		"huge":            utf8(string(make([]byte, 300<<10))),
	} {
		if _, err := atls.ParseExtension(der); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, bad := range []atls.Message{{}, {Evidence: []byte{1}}, {Binding: []byte{1}}, {Evidence: make([]byte, 65<<10), Binding: []byte{1}}} {
		if _, err := atls.MarshalExtension(bad); err == nil {
			t.Errorf("%d bytes of evidence, %d of binding: written", len(bad.Evidence), len(bad.Binding))
		}
	}
}

func FuzzParseExtension(f *testing.F) {
	ext, err := atls.MarshalExtension(atls.Message{Evidence: []byte{1, 2}, Binding: []byte{3}, Collateral: &dcap.Collateral{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ext.Value)
	f.Add([]byte{0x0c, 0x02, '{', '}'})
	f.Add([]byte{0x04, 0x02, '{', '}'})
	f.Fuzz(func(t *testing.T, der []byte) {
		m, err := atls.ParseExtension(der)
		if err != nil {
			return
		}
		again, err := atls.MarshalExtension(*m)
		if err != nil || len(der) > 0 && der[0] == 0x0c && string(again.Value) != string(der) {
			t.Fatalf("two encodings: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := verifytest.New(b)
	chain, o := w.Chain(), options(w)
	for b.Loop() {
		if _, err := atls.Verify(chain, o); err != nil {
			b.Fatal(err)
		}
	}
}
