package manager

import (
	"encoding/hex"
	"strings"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/gramine"
	"hitoku.dev/enclave/gramine/graminetest"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// TestGramineEvidence: a build is registered by its MRENCLAVE, and a program in an
// enclave under Gramine gets its certificate by DCAP evidence, through collateral
// of the platform's maker. The maker is made up; the bytes and the path are those
// of hardware.
func TestGramineEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	maker := collateraltest.New(t, w.clock.Now())
	client, err := collateral.NewClient(maker.Serve().Options())
	w.must(err)
	w.m.opts.Collateral = collateral.NewSource(collateral.Options{Intel: maker.Root(), Client: client, Now: maker.Now})

	app := w.app("web", "web.example")
	w.must(w.approve(w.admin, app.PendingTaskID))
	mrenclave, mrsigner := [32]byte{0x11}, [32]byte{0x22}
	request := wire.BuildRequest{AppID: app.AppID, MRSigner: hex.EncodeToString(mrsigner[:]), MREnclave: hex.EncodeToString(mrenclave[:]), ISVProdID: 3, ISVSVN: 4}
	build, err := w.m.CreateBuild(t.Context(), w.admin, request)
	w.must(err)

	here, there := maker.Platform("00906ed50000", dcap.CAPlatform), maker.Platform("00606a000000", dcap.CAPlatform)
	m := w.enrol(1)
	ext, err := dcap.PCKExtensionOf(here.Certificate())
	w.must(err)
	// No release has a reference value for nodes of hardware yet, so that the node's row is made one.
	w.must(w.m.update(t.Context(), func(tx *store.Tx) error {
		n, err := tx.Nodes().Get(t.Context(), w.account, m.node)
		if err != nil {
			return err
		}
		n.AttestationType, n.PlatformID, n.Platform = attestationDCAP, hex.EncodeToString(ext.PPID[:]), ""
		if err := tx.Nodes().Update(t.Context(), n); err != nil {
			return err
		}
		return tx.Audit(t.Context(), &store.Event{
			AccountID: w.account, ZoneID: n.ZoneID, Severity: "INFO", Code: "TEST", ActionType: "NODE_ATTESTATION", ActorType: "SYSTEM", Description: "made a node of hardware",
		})
	}))

	ask := func(p *collateraltest.Platform, edit func(*dcap.ReportBody)) string {
		t.Helper()
		body := graminetest.Identity(mrenclave, mrsigner)
		edit(&body)
		tee, err := gramine.Open(graminetest.New(p, body))
		w.must(err)
		key := testKey(t)
		binding := &attest.Binding{Purpose: attest.PurposeAppTLS, Subject: issuetest.SubjectHash(t, key), Nonce: m.nonce(attest.PurposeAppTLS), AccountRoot: m.root()}
		quote, err := tee.Evidence(t.Context(), binding)
		w.must(err)
		der, err := binding.MarshalDER()
		w.must(err)
		r, err := m.issue(&message{csr: issuetest.Request(t, key, "web.example", []string{"web.example"}, quote, der)})
		return outcome(r, err)
	}
	same := func(*dcap.ReportBody) {}
	if got := ask(here, same); got == "issued" {
		t.Error("issued before the build was approved")
	}
	w.must(w.approve(w.admin, build.PendingTaskID))
	if got := ask(here, same); got != "issued" {
		t.Fatal(got)
	}
	for name, c := range map[string]struct {
		platform *collateraltest.Platform
		edit     func(*dcap.ReportBody)
		want     string
	}{
		"another enclave":  {here, func(b *dcap.ReportBody) { b.MREnclave[0]++ }, "known_image"},
		"another signer":   {here, func(b *dcap.ReportBody) { b.MRSigner[0]++ }, "signer"},
		"another product":  {here, func(b *dcap.ReportBody) { b.ISVProdID++ }, "prod_id"},
		"older version":    {here, func(b *dcap.ReportBody) { b.ISVSVN-- }, "svn"},
		"debug enclave":    {here, func(b *dcap.ReportBody) { b.Flags |= dcap.FlagDebug }, "debug"},
		"another platform": {there, same, "same_platform"},
	} {
		if got := ask(c.platform, c.edit); got == "issued" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, wanted %s", name, got, c.want)
		}
	}
}
