package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
)

const (
	account = "11111111-2222-4333-8444-555555555555"
	zoneID  = "21111111-2222-4333-8444-555555555555"
	appID   = "31111111-2222-4333-8444-555555555555"
	buildID = "41111111-2222-4333-8444-555555555555"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func authorities(t *testing.T, simulated bool, domains ...string) (root, zone *Authority) {
	t.Helper()
	root, err := NewRoot(rand.Reader, now, RootParams{AccountID: account, Name: "acme", Simulated: simulated})
	if err != nil {
		t.Fatal(err)
	}
	zone, err = NewZone(root, rand.Reader, now, ZoneParams{AccountID: account, ZoneID: zoneID, Name: "Default", Simulated: simulated, Domains: domains})
	if err != nil {
		t.Fatal(err)
	}
	return root, zone
}

func appLeaf(t *testing.T, names ...string) Leaf {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := Leaf{
		Use: ForApp, Public: key.Public(), DNSNames: names, Lifetime: AppLifetime,
		ID:             AppID(TrustDomain(account, "manager.example"), appID, buildID),
		Extensions:     []pkix.Extension{{Id: attest.OIDCMW, Value: []byte{0x30, 0}}},
		RevocationList: "https://manager.example/v1/zones/z/crl",
	}
	if len(names) > 0 {
		l.CommonName = names[0]
	}
	return l
}

func verify(root, zone *Authority, leaf *x509.Certificate, name string, at time.Time, use ...x509.ExtKeyUsage) error {
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Certificate)
	middle.AddCert(zone.Certificate)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, DNSName: name, CurrentTime: at, KeyUsages: use})
	return err
}

func TestAppLeaf(t *testing.T) {
	t.Parallel()
	for _, simulated := range []bool{false, true} {
		root, zone := authorities(t, simulated, "app.example")
		leaf, err := zone.Issue(rand.Reader, now, appLeaf(t, "app.example"))
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(root, zone, leaf, "app.example", now, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("simulated %v: %v", simulated, err)
		}
		if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("leaf is CA %v, key usage %v", leaf.IsCA, leaf.KeyUsage)
		}
		if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, attest.OIDAttestedAppEKU.Equal) {
			t.Error("no extended key usage of its own")
		}
		if got := leaf.URIs[0].String(); got != "spiffe://"+account+".manager.example/app/"+appID+"/build/"+buildID {
			t.Errorf("SPIFFE id %s", got)
		}
		if got := slices.ContainsFunc(leaf.PolicyIdentifiers, attest.OIDSimulatedPolicy.Equal); got != simulated {
			t.Errorf("simulated %v: policy in the leaf %v", simulated, got)
		}
		if zone.Simulated() != simulated || strings.HasPrefix(zone.Certificate.Subject.CommonName, "Simulated") != simulated {
			t.Errorf("simulated %v: zone %s", simulated, zone.Certificate.Subject)
		}
		if leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() > 128 || leaf.SerialNumber.BitLen() < 64 {
			t.Errorf("serial of %d bits", leaf.SerialNumber.BitLen())
		}
		if err := verify(root, zone, leaf, "app.example", now.Add(25*time.Hour), x509.ExtKeyUsageServerAuth); err == nil {
			t.Error("valid after its end")
		}
	}
}

func TestNodeLeafIsNoServer(t *testing.T) {
	t.Parallel()
	root, zone := authorities(t, true)
	l := appLeaf(t)
	l.Use, l.CommonName, l.ID = ForNode, "node-1", NodeID("x.manager.example", zoneID, "n")
	leaf, err := zone.Issue(rand.Reader, now, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(root, zone, leaf, "", now, x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if err := verify(root, zone, leaf, "", now, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a node certificate may serve")
	}
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	_, zone := authorities(t, true, "app.example")
	for name, change := range map[string]func(*Leaf){
		"no use":           func(l *Leaf) { l.Use = 0 },
		"no id":            func(l *Leaf) { l.ID = nil },
		"other scheme":     func(l *Leaf) { l.ID.Scheme = "https" },
		"no lifetime":      func(l *Leaf) { l.Lifetime = 0 },
		"over seven days":  func(l *Leaf) { l.Lifetime = MaxSimulatedLife + 1 },
		"outside the zone": func(l *Leaf) { l.DNSNames = []string{"other.example"} },
		"suffix only":      func(l *Leaf) { l.DNSNames = []string{"xapp.example"} },
		"wildcard":         func(l *Leaf) { l.DNSNames = []string{"*.app.example"} },
		"other extension":  func(l *Leaf) { l.Extensions[0].Id = asn1.ObjectIdentifier{2, 5, 29, 19} },
	} {
		l := appLeaf(t, "app.example")
		change(&l)
		if _, err := zone.Issue(rand.Reader, now, l); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	if _, err := zone.Issue(rand.Reader, now.Add(ZoneLifetime), appLeaf(t, "app.example")); err == nil {
		t.Error("issued by an authority that has ended")
	}
	_, plain := authorities(t, false)
	l := appLeaf(t, "app.example")
	l.Lifetime = MaxLifetime + 1
	if _, err := plain.Issue(rand.Reader, now, l); err == nil {
		t.Error("issued for more than 90 days")
	}
}

func TestNameConstraintHoldsWhereClientsVerify(t *testing.T) {
	t.Parallel()
	root, zone := authorities(t, true, "app.example")
	// Somebody who steals the zone key signs whatever they like.
	for _, names := range [][]string{{"bank.example"}, {"app.example", "bank.example"}} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), DNSNames: names,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, zone.Certificate, appLeaf(t).Public, zone.Key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, _ := x509.ParseCertificate(der)
		if err := verify(root, zone, leaf, names[0], now, x509.ExtKeyUsageServerAuth); err == nil {
			t.Errorf("%v verifies under a zone for app.example", names)
		}
	}
	_, empty := authorities(t, true)
	if empty.Permits("app.example") {
		t.Error("a simulated zone without approved domains permits a name")
	}
	wider, err := RenewZone(root, zone, rand.Reader, now, ZoneParams{AccountID: account, ZoneID: zoneID, Simulated: true, Domains: []string{"b.example", "app.example", "b.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if wider.SPKIHash() != zone.SPKIHash() || !wider.Permits("b.example") || !wider.Permits("x.app.example") {
		t.Errorf("renewed zone permits %v", wider.Certificate.PermittedDNSDomains)
	}
	many := make([]string, maxDomains+1)
	for i := range many {
		many[i] = "d" + big.NewInt(int64(i)).String() + ".example"
	}
	if _, err := RenewZone(root, zone, rand.Reader, now, ZoneParams{Simulated: true, Domains: many}); err == nil {
		t.Error("a name constraint without end")
	}
}

func TestRootRenewalKeepsThePinnedKey(t *testing.T) {
	t.Parallel()
	root, zone := authorities(t, false)
	later := now.Add(RootLifetime - time.Hour)
	again, err := RenewRoot(root, rand.Reader, later, RootParams{AccountID: account, Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if again.SPKIHash() != root.SPKIHash() || !again.Certificate.NotAfter.After(root.Certificate.NotAfter) {
		t.Error("another key, or no later end")
	}
	if _, err := NewZone(root, rand.Reader, now.Add(RootLifetime+time.Hour), ZoneParams{}); err == nil {
		t.Error("a root that has ended signs a zone")
	}
	if zone.Certificate.NotAfter.After(root.Certificate.NotAfter) {
		t.Error("the zone outlives its root")
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, kind := range []KeyType{P256, RSA3072} {
		root, err := NewRoot(rand.Reader, now, RootParams{AccountID: account, Name: "acme", Key: kind})
		if err != nil {
			t.Fatal(err)
		}
		key, err := root.MarshalKey()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Load(root.Certificate.Raw, key)
		if err != nil || back.SPKIHash() != root.SPKIHash() {
			t.Fatalf("%s: %v", kind, err)
		}
		other, _ := authorities(t, false)
		if _, err := Load(other.Certificate.Raw, key); err == nil {
			t.Errorf("%s: loaded with the key of another", kind)
		}
		if _, err := Load(root.Certificate.Raw, key[:20]); err == nil {
			t.Errorf("%s: loaded a cut key", kind)
		}
		if _, rsaKey := root.Key.(*rsa.PrivateKey); rsaKey != (kind == RSA3072) {
			t.Errorf("%s: key is %T", kind, root.Key)
		}
	}
	if _, err := NewRoot(rand.Reader, now, RootParams{Key: "DSA"}); err == nil {
		t.Error("made a key of unknown type")
	}
}

func TestServerLeaf(t *testing.T) {
	t.Parallel()
	root, zone := authorities(t, true)
	for _, host := range []string{"manager.example", "127.0.0.1", "::1", "localhost"} {
		name := TrustDomain(account, host)
		leaf, err := root.ServerLeaf(rand.Reader, now, appLeaf(t).Public, []string{name}, ServerLifetime)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(root, zone, leaf, name, now, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	web, err := NewWeb(rand.Reader, now, "manager.example")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := web.ServerLeaf(rand.Reader, now, appLeaf(t).Public, []string{"manager.example", "192.0.2.1", "::1"}, WebLifetime)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manager.example", "192.0.2.1", "::1"} {
		if err := verify(web, web, leaf, name, now, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, names := range [][]string{nil, {"*.example"}, {"UPPER.example"}} {
		if _, err := web.ServerLeaf(rand.Reader, now, appLeaf(t).Public, names, WebLifetime); err == nil {
			t.Errorf("%v: signed", names)
		}
	}
}

func TestRevocationList(t *testing.T) {
	t.Parallel()
	_, zone := authorities(t, true)
	der, err := zone.RevocationList(rand.Reader, now, big.NewInt(7), []Revoked{{Serial: big.NewInt(99), At: now, Reason: ReasonCessation}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(zone.Certificate); err != nil {
		t.Error(err)
	}
	if e := list.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Int64() != 99 || e[0].ReasonCode != ReasonCessation {
		t.Errorf("entries %+v", e)
	}
	if !list.NextUpdate.Equal(now.Add(ListLifetime)) || list.Number.Int64() != 7 {
		t.Errorf("list %v to %v", list.Number, list.NextUpdate)
	}
}

func TestCheckDNSName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "app.example", "xn--bcher-kva.example", "_dmarc.example", "1.2.3.4.example", strings.Repeat("a", 63) + ".example"} {
		if err := CheckDNSName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", ".", "a.", ".a", "a..b", "*.example", "App.example", "-a.example", "a-.example", "a b", "a/b", "a@b", "bücher.example",
		"127.0.0.1", "::1", "a\x00.example", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa",
	} {
		if err := CheckDNSName(name); err == nil {
			t.Errorf("%q accepted", name)
		}
	}
}

func TestPEM(t *testing.T) {
	t.Parallel()
	root, zone := authorities(t, false)
	text := EncodePEM(zone.Certificate, root.Certificate)
	certs, err := ParsePEM(text)
	if err != nil || len(certs) != 2 || !certs[0].Equal(zone.Certificate) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	for _, bad := range []string{"", "x", text + "trailing", strings.ReplaceAll(text, "CERTIFICATE", "PRIVATE KEY"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParsePEM(bad); err == nil {
			t.Errorf("accepted %.40q", bad)
		}
	}
}
