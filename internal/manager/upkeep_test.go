package manager

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/wire"
)

func (w *world) only(pem string) *x509.Certificate {
	w.t.Helper()
	certs, err := ca.ParsePEM(pem)
	w.must(err)
	return certs[0]
}

func (w *world) zoneCertificate() *x509.Certificate {
	w.t.Helper()
	zones, err := w.m.Zones(w.t.Context(), w.admin)
	w.must(err)
	c := w.only(zones[0].Certificate)
	if zones[0].CertificateEndsAt != c.NotAfter.Unix() {
		w.t.Errorf("zone ends at %d, its certificate at %d", zones[0].CertificateEndsAt, c.NotAfter.Unix())
	}
	return c
}

// told counts audit events that contain text.
func (w *world) told(text string) int {
	w.t.Helper()
	events, err := w.m.AuditEvents(w.t.Context(), w.admin, ListOptions{}, "", "", 0, 0)
	w.must(err)
	n := 0
	for _, e := range events.Items {
		if strings.Contains(e.Description, text) {
			n++
		}
	}
	return n
}

func TestZoneCertificatesAreRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask", "a.example")
	w.must(w.approve(w.admin, app.PendingTaskID))
	first := w.zoneCertificate()
	w.must(w.m.Upkeep(ctx))
	if !w.zoneCertificate().Equal(first) {
		t.Error("renewed at once")
	}
	w.clock.Advance(first.NotAfter.Sub(w.clock.Now()) - zoneRenewal - time.Minute)
	w.must(w.m.Upkeep(ctx))
	if !w.zoneCertificate().Equal(first) {
		t.Error("renewed too early")
	}
	w.clock.Advance(2 * time.Minute)
	w.must(w.m.Upkeep(ctx))
	second := w.zoneCertificate()
	switch {
	case second.Equal(first) || !second.NotAfter.After(first.NotAfter):
		t.Fatalf("ends at %s, before at %s", second.NotAfter, first.NotAfter)
	case string(second.RawSubjectPublicKeyInfo) != string(first.RawSubjectPublicKeyInfo) || string(second.RawSubject) != string(first.RawSubject):
		t.Error("another key or subject")
	case strings.Join(second.PermittedDNSDomains, ",") != "a.example":
		t.Errorf("permits %v", second.PermittedDNSDomains)
	}
	if n := w.told("was renewed over the same key"); n != 1 {
		t.Errorf("%d events", n)
	}
	root, err := w.m.AccountRoot(ctx, w.admin, w.account)
	w.must(err)
	w.must(second.CheckSignatureFrom(w.only(root.Certificate)))

	// What the old certificate issued is good under the new one, and the other way round.
	machine := w.enrol(1)
	for _, zone := range []*x509.Certificate{first, second} {
		w.must(machine.chain[0].CheckSignatureFrom(zone))
	}
	w.must(w.m.Upkeep(ctx))
	if !w.zoneCertificate().Equal(second) || w.told("was renewed over the same key") != 1 {
		t.Error("renewed again")
	}
	w.must(w.m.CheckTrusted(ctx))
}

func TestDeactivatedAccountsAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.zoneCertificate()
	_, err := w.m.UpdateAccount(t.Context(), w.admin, w.account, wire.AccountUpdate{AccountStatus: "Deactivated"})
	w.must(err)
	w.clock.Advance(ca.ZoneLifetime - time.Hour)
	w.must(w.m.Upkeep(t.Context()))
	if !w.zoneCertificate().Equal(first) {
		t.Error("renewed")
	}
}

func TestAccountRootsThatEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	root := func() *wire.RootReply {
		t.Helper()
		r, err := w.m.AccountRoot(ctx, w.admin, w.account)
		w.must(err)
		return r
	}
	first := root()
	old := w.only(first.Certificate)
	if first.Warning != "" || first.EndsAt != old.NotAfter.Unix() {
		t.Errorf("a new root: %+v", first)
	}
	w.clock.Advance(old.NotAfter.Sub(w.clock.Now()) - rootWarning + time.Hour)
	for range 3 {
		w.must(w.m.Upkeep(ctx))
	}
	if n := w.told("The account root ends at"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if r := root(); !strings.Contains(r.Warning, "hitoku account renew-root") {
		t.Errorf("%+v", r)
	}
	// A zone authority ends with its root: it is not renewed for nothing.
	if z := w.zoneCertificate(); z.NotAfter.After(old.NotAfter) || w.told("was renewed over the same key") != 1 {
		t.Errorf("zone ends at %s, renewed %d times", z.NotAfter, w.told("was renewed over the same key"))
	}
	w.clock.Advance(rootReminder + time.Hour)
	w.must(w.m.Upkeep(ctx))
	if n := w.told("The account root ends at"); n != 2 {
		t.Errorf("%d warnings after a month", n)
	}

	_, err := w.m.RenewAccountRoot(ctx, w.member("w@example.org", "WRITER"), w.account)
	refused(t, "a WRITER renews the root", err, Forbidden, CodeForbidden)
	_, err = w.m.UpdateAccount(ctx, w.admin, w.account, wire.AccountUpdate{Name: to("another name")})
	w.must(err)
	renewed, err := w.m.RenewAccountRoot(ctx, w.admin, w.account)
	w.must(err)
	fresh := w.only(renewed.Certificate)
	if renewed.SPKISHA256 != first.SPKISHA256 || renewed.Warning != "" || !fresh.NotAfter.After(old.NotAfter) || string(fresh.RawSubject) != string(old.RawSubject) {
		t.Errorf("renewed root %+v", renewed)
	}
	zone := w.zoneCertificate()
	w.must(zone.CheckSignatureFrom(fresh))
	w.must(zone.CheckSignatureFrom(old))
	w.must(w.m.Upkeep(ctx)) // now the zone has somewhere to go
	if z := w.zoneCertificate(); !z.NotAfter.After(old.NotAfter) {
		t.Errorf("zone ends at %s", z.NotAfter)
	}
	machine := w.enrol(1)
	if got := outcome(machine.renew(machine.message(issuetest.Node(), attest.PurposeNode, machine.nonce(attest.PurposeNode)))); got != "issued" {
		t.Errorf("renewal of a node: %s", got)
	}
	w.must(w.m.CheckTrusted(ctx))
}
