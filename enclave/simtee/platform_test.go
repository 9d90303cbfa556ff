package simtee

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
)

func nodeQuote(t testing.TB, p *Platform) []byte {
	t.Helper()
	q, err := p.NodeEvidence(t.Context(), binding(attest.PurposeNode))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestNodeEvidenceVerifies(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p := newPlatform(t, 2, a)
	r := verify(t, nodeQuote(t, p), a)
	if !r.OK() {
		t.Fatal(failed(r))
	}
	c := r.Claims
	data := binding(attest.PurposeNode).ReportData()
	switch {
	case !bytes.Equal(c.Measurement, authority.NodeMeasurement[:]), !bytes.Equal(c.Signer, authority.NodeSigner[:]), c.ProdID != 0, c.SVN != NodeSVN:
		t.Errorf("identity: %+v", c)
	case c.PlatformID != p.ID(), c.FMSPC != authority.FMSPC, c.Debug, !c.Simulated:
		t.Errorf("platform: %+v", c)
	case !bytes.Equal(c.ReportData, data[:]):
		t.Errorf("report data %x", c.ReportData)
	case c.TCB.Overall != "UpToDate", c.TCB.QE != "UpToDate":
		t.Errorf("TCB: %+v", c.TCB)
	}
}

func TestNodeEvidenceIsForNodesOnly(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, 2, newAuthority(t, 1))
	for _, purpose := range []attest.Purpose{attest.PurposeApp, attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, "root"} {
		if _, err := p.NodeEvidence(t.Context(), binding(purpose)); err == nil {
			t.Errorf("evidence for purpose %q", purpose)
		}
	}
	short := binding(attest.PurposeNode)
	short.Nonce = short.Nonce[:31]
	if _, err := p.NodeEvidence(t.Context(), short); err == nil {
		t.Error("evidence over a short nonce")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.NodeEvidence(ctx, binding(attest.PurposeNode)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTCBSettings(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	quote := nodeQuote(t, newPlatform(t, 2, a))
	a.SetTCB(authority.TCB{Status: "SWHardeningNeeded", Advisories: []string{"INTEL-SA-00615"}, Date: epoch, QEStatus: "OutOfDate", Evaluation: 7})
	c := verify(t, quote, a).Claims
	if c.TCB.Platform != "SWHardeningNeeded" || c.TCB.QE != "OutOfDate" || c.TCB.Overall != "OutOfDate" || c.TCBEvaluation != 7 ||
		!slices.Equal(c.TCB.Advisories, []string{"INTEL-SA-00615"}) {
		t.Errorf("claims %+v", c)
	}
}

func TestRevokedPlatform(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p, other := newPlatform(t, 2, a), newPlatform(t, 3, a)
	a.Revoke(p.PPID(), epoch)
	if r := verify(t, nodeQuote(t, p), a); !failedRule(r, "pck_revocation") {
		t.Errorf("revoked platform: %+v", r.Rules)
	}
	if r := verify(t, nodeQuote(t, other), a); !r.OK() {
		t.Errorf("other platform: %s", failed(r))
	}
}

// TestTwoPlatforms is T3: one authority, two machines.
func TestTwoPlatforms(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	one, two := newPlatform(t, 2, a), newPlatform(t, 3, a)
	r1, r2 := verify(t, nodeQuote(t, one), a), verify(t, nodeQuote(t, two), a)
	if !r1.OK() || !r2.OK() {
		t.Fatal(failed(r1), failed(r2))
	}
	if r1.Claims.PlatformID == r2.Claims.PlatformID {
		t.Error("two machines have one platform id")
	}
	if bytes.Equal(mustSeal(t, one, program1(), seal()), mustSeal(t, two, program1(), seal())) {
		t.Error("two machines have one sealing key")
	}
	chain, err := a.IssuePCK(two.PCKPublic(), two.PPID(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.InstallPCK(chain); err == nil {
		t.Error("a platform took the certificate of another")
	}
}

func TestRootsDoNotMix(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t, 1), newAuthority(t, 2)
	quote := nodeQuote(t, newPlatform(t, 3, a))
	if r := verifyUnder(t, quote, a, dcap.IntelRoot()); r.OK() || !failedRule(r, "root_trusted") {
		t.Errorf("simulated evidence under Intel's root: %+v", r.Rules)
	}
	if r := verifyUnder(t, quote, b, b.Root()); r.OK() || !failedRule(r, "root_trusted") {
		t.Errorf("evidence of another account: %+v", r.Rules)
	}
	if r := verifyUnder(t, quote, b, a.Root()); r.OK() {
		t.Error("collateral of another account was taken")
	}
}

// TestFlipQuote flips each byte of a quote that its signatures cover.
func TestFlipQuote(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	quote := nodeQuote(t, newPlatform(t, 2, a))
	c, err := a.Collateral(epoch)
	if err != nil {
		t.Fatal(err)
	}
	signed := len(quote) - len("\n-----END CERTIFICATE-----\n\x00")
	for i := range signed {
		bad := bytes.Clone(quote)
		bad[i] ^= 1
		r, err := dcap.Verify(bad, dcap.Options{Root: a.Root(), Collateral: c, At: epoch, Simulated: true})
		if err == nil && r.OK() {
			t.Errorf("byte %d flipped, accepted", i)
		}
	}
}

func TestPlatformFile(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	path := filepath.Join(t.TempDir(), "platform.json")
	p, err := loadOrCreate(path, seeded(2))
	if err != nil {
		t.Fatal(err)
	}
	if p.Provisioned() {
		t.Error("a new platform has a certificate")
	}
	if _, err := p.NodeEvidence(t.Context(), binding(attest.PurposeNode)); !errors.Is(err, ErrNotProvisioned) {
		t.Errorf("evidence before enrolment: %v", err)
	}
	provision(t, p, a)
	again, err := LoadOrCreatePlatform(path)
	if err != nil {
		t.Fatal(err)
	}
	if again.ID() != p.ID() || !again.PCKPublic().Equal(p.PCKPublic()) || !again.Provisioned() {
		t.Error("another platform came back")
	}
	if !bytes.Equal(nodeQuote(t, again), nodeQuote(t, p)) || !bytes.Equal(mustSeal(t, again, program1(), seal()), mustSeal(t, p, program1(), seal())) {
		t.Error("the platform that came back gives other evidence or keys")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreatePlatform(path); err == nil {
		t.Error("a file that others may read was taken")
	}
}

func TestPlatformFileRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := loadOrCreate(filepath.Join(dir, "p"), seeded(2))
	if err != nil {
		t.Fatal(err)
	}
	provision(t, p, newAuthority(t, 1))
	good, err := os.ReadFile(filepath.Join(dir, "p"))
	if err != nil {
		t.Fatal(err)
	}
	other := newPlatform(t, 3, newAuthority(t, 1))
	for name, b := range map[string][]byte{
		"empty":           nil,
		"version":         bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 2`), 1),
		"unknown member":  bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 1, "x": 1`), 1),
		"after the end":   append(bytes.Clone(good), '{'),
		"short id":        bytes.Replace(good, []byte(`"ppid": "`), []byte(`"ppid": "AAAA`), 1),
		"another's chain": bytes.Replace(good, chainJSON(p), chainJSON(other), 1),
	} {
		path := filepath.Join(dir, "bad")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreatePlatform(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := LoadOrCreatePlatform(filepath.Join(dir, "none", "p")); err == nil {
		t.Error("made a platform in a folder that is not there")
	}
}

func chainJSON(p *Platform) []byte {
	return bytes.ReplaceAll(p.pckChain(), []byte("\n"), []byte(`\n`))
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p := newPlatform(t, 2, nil)
	chain, err := a.IssuePCK(p.PCKPublic(), p.PPID(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	foreignID, err := a.IssuePCK(p.PCKPublic(), [16]byte{1}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	otherRoot, err := newAuthority(t, 5).IssuePCK(p.PCKPublic(), p.PPID(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	const end = "-----END CERTIFICATE-----\n"
	leaf, rest, _ := bytes.Cut(chain, []byte(end))
	_, otherRest, _ := bytes.Cut(otherRoot, []byte(end))
	leaf = append(leaf, end...)
	for name, bad := range map[string][]byte{
		"empty":           nil,
		"leaf only":       leaf,
		"without leaf":    rest,
		"other authority": slices.Concat(leaf, otherRest),
		"other id":        foreignID,
		"four":            slices.Concat(chain, leaf),
		"a key":           slices.Concat(chain, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
		"long":            slices.Concat(bytes.Repeat([]byte("\n"), maxChain), chain),
	} {
		if err := p.InstallPCK(bad); err == nil {
			t.Errorf("%s: installed", name)
		}
	}
	if p.Provisioned() {
		t.Error("provisioned")
	}
	if err := p.InstallPCK(chain); err != nil || !p.Provisioned() {
		t.Errorf("the good one: %v", err)
	}
}

func TestTargetInfo(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, 2, nil)
	b := p.TargetInfo()
	r := authority.QEReport()
	if len(b) != 512 || !bytes.Equal(b[:32], r.MREnclave[:]) || b[32] != 0x15 || !bytes.Equal(b[64:], make([]byte, 448)) {
		t.Errorf("%x", b)
	}
}

func FuzzParsePlatform(f *testing.F) {
	p, err := loadOrCreate(filepath.Join(f.TempDir(), "p"), seeded(2))
	if err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(p.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parsePlatform(b) })
}

func BenchmarkQuote(b *testing.B) {
	p := newPlatform(b, 2, newAuthority(b, 1))
	bind := binding(attest.PurposeNode)
	for b.Loop() {
		if _, err := p.NodeEvidence(b.Context(), bind); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "quotes/s")
}
