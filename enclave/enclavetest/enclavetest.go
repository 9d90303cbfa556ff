// Package enclavetest tests drivers of enclave.TEE: what every TEE must do,
// whichever hardware makes it. A driver's own tests call [Run], in the manner of
// testing/fstest.
//
// It judges a driver by what its evidence says once verified, so it needs the
// driver's verifier; it knows no format itself. It does not test that a TEE
// protects anything: that is each driver's own burden.
package enclavetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
)

// Driver is what a driver's test gives.
type Driver struct {
	// Open returns a TEE as the identity below, ready for use. Run closes it. Every call must
	// lead to the same machine.
	Open func(t testing.TB) enclave.TEE
	// OpenElsewhere does the same on another machine; nil where there is only one.
	OpenElsewhere func(t testing.TB) enclave.TEE
	// Verify checks evidence completely and returns its claims.
	Verify func(t testing.TB, evidence []byte) *attest.Result
	// Measurement, Signer, ProdID and SVN are the identity that Open's callers have. ProdID and
	// SVN must be above 0.
	Measurement, Signer []byte
	ProdID, SVN         uint16
	// Purposes are those that a program of this TEE may ask evidence for.
	Purposes []attest.Purpose
}

// Run runs all tests as subtests of t.
func Run(t *testing.T, d Driver) {
	t.Run("evidence", d.testEvidence)
	t.Run("evidence is bound", d.testBinding)
	t.Run("bad bindings", d.testBadBindings)
	t.Run("other purposes", d.testOtherPurposes)
	t.Run("sealing", d.testSealing)
	t.Run("sealing refusals", d.testSealRefusals)
	t.Run("another machine", d.testElsewhere)
	t.Run("context", d.testContext)
	t.Run("close", d.testClose)
	t.Run("together", d.testTogether)
}

func (d *Driver) open(t testing.TB) enclave.TEE {
	t.Helper()
	tee := d.Open(t)
	t.Cleanup(func() { tee.Close() })
	return tee
}

// Binding returns a well-formed binding for a purpose.
func Binding(purpose attest.Purpose) *attest.Binding {
	return &attest.Binding{
		Purpose:     purpose,
		Subject:     [32]byte{1, 2, 3},
		Nonce:       bytes.Repeat([]byte{4}, attest.NonceSize),
		AccountRoot: [32]byte{5, 6},
	}
}

func (d *Driver) evidence(t testing.TB, tee enclave.TEE, b *attest.Binding) *attest.Claims {
	t.Helper()
	raw, err := tee.Evidence(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	r := d.Verify(t, raw)
	for _, rule := range r.Rules {
		if !rule.OK {
			t.Errorf("rule %s: wanted %s, seen %s", rule.Name, rule.Wanted, rule.Seen)
		}
	}
	return &r.Claims
}

func (d *Driver) testEvidence(t *testing.T) {
	tee := d.open(t)
	for _, purpose := range d.Purposes {
		b := Binding(purpose)
		c := d.evidence(t, tee, b)
		data := b.ReportData()
		switch {
		case !bytes.Equal(c.ReportData, data[:]):
			t.Errorf("%s: report data %x, wanted %x", purpose, c.ReportData, data)
		case !bytes.Equal(c.Measurement, d.Measurement) || !bytes.Equal(c.Signer, d.Signer) || c.ProdID != d.ProdID || c.SVN != d.SVN:
			t.Errorf("%s: identity %x %x %d %d", purpose, c.Measurement, c.Signer, c.ProdID, c.SVN)
		case c.Debug:
			t.Errorf("%s: debug", purpose)
		case c.PlatformID == "":
			t.Errorf("%s: no platform id", purpose)
		}
	}
}

// testBinding changes each member: the report data must follow.
func (d *Driver) testBinding(t *testing.T) {
	tee := d.open(t)
	purpose := d.Purposes[0]
	seen := map[string]string{}
	for name, edit := range map[string]func(*attest.Binding){
		"plain":         func(*attest.Binding) {},
		"subject":       func(b *attest.Binding) { b.Subject[31]++ },
		"nonce":         func(b *attest.Binding) { b.Nonce[31]++ },
		"account":       func(b *attest.Binding) { b.AccountRoot[31]++ },
		"configuration": func(b *attest.Binding) { b.ConfigID = make([]byte, 32) },
	} {
		b := Binding(purpose)
		edit(b)
		data := string(d.evidence(t, tee, b).ReportData)
		if other, ok := seen[data]; ok {
			t.Errorf("%s and %s have one report data", name, other)
		}
		seen[data] = name
	}
}

func (d *Driver) testBadBindings(t *testing.T) {
	tee := d.open(t)
	for name, edit := range map[string]func(*attest.Binding){
		"no purpose":          func(b *attest.Binding) { b.Purpose = "" },
		"unknown purpose":     func(b *attest.Binding) { b.Purpose = "root" },
		"no nonce":            func(b *attest.Binding) { b.Nonce = nil },
		"short nonce":         func(b *attest.Binding) { b.Nonce = b.Nonce[1:] },
		"short configuration": func(b *attest.Binding) { b.ConfigID = []byte{1} },
	} {
		b := Binding(d.Purposes[0])
		edit(b)
		if _, err := tee.Evidence(t.Context(), b); err == nil {
			t.Errorf("%s: evidence", name)
		}
	}
	d.evidence(t, tee, Binding(d.Purposes[0])) // a refusal does not end the connection
}

func (d *Driver) testOtherPurposes(t *testing.T) {
	tee := d.open(t)
	allowed := map[attest.Purpose]bool{}
	for _, p := range d.Purposes {
		allowed[p] = true
	}
	if allowed[attest.PurposeNode] {
		t.Error("programs must not obtain evidence of the node")
	}
	for _, p := range []attest.Purpose{attest.PurposeNode, attest.PurposeAppTLS, attest.PurposeATLS, attest.PurposeLedgerMember, attest.PurposeApp} {
		if allowed[p] {
			continue
		}
		if _, err := tee.Evidence(t.Context(), Binding(p)); err == nil {
			t.Errorf("evidence for purpose %s", p)
		}
	}
}

func key(t testing.TB, tee enclave.TEE, r enclave.SealRequest) string {
	t.Helper()
	k, err := tee.SealKey(t.Context(), r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	if len(k) != 32 || bytes.Equal(k, make([]byte, 32)) {
		t.Fatalf("%+v: key %x", r, k)
	}
	return string(k)
}

func (d *Driver) sealRequests() map[string]enclave.SealRequest {
	return map[string]enclave.SealRequest{
		"measurement":          {SVN: d.SVN},
		"signer":               {SVN: d.SVN, BySigner: true},
		"measurement, old SVN": {SVN: d.SVN - 1},
		"signer, old SVN":      {SVN: d.SVN - 1, BySigner: true},
		"measurement, key id":  {SVN: d.SVN, KeyID: [32]byte{31: 1}},
		"signer, key id":       {SVN: d.SVN, BySigner: true, KeyID: [32]byte{31: 1}},
	}
}

func (d *Driver) testSealing(t *testing.T) {
	first := map[string]string{}
	seen := map[string]string{}
	tee := d.open(t)
	for name, r := range d.sealRequests() {
		k := key(t, tee, r)
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s give one key", name, other)
		}
		seen[k], first[name] = name, k
		if key(t, tee, r) != k {
			t.Errorf("%s: two keys in one connection", name)
		}
	}
	again := d.open(t)
	for name, r := range d.sealRequests() {
		if key(t, again, r) != first[name] {
			t.Errorf("%s: another key in another connection", name)
		}
	}
}

func (d *Driver) testSealRefusals(t *testing.T) {
	tee := d.open(t)
	for _, bySigner := range []bool{false, true} {
		if _, err := tee.SealKey(t.Context(), enclave.SealRequest{SVN: d.SVN + 1, BySigner: bySigner}); err == nil {
			t.Errorf("a key of a later version, by signer %v", bySigner)
		}
	}
	key(t, tee, enclave.SealRequest{SVN: d.SVN})
}

func (d *Driver) testElsewhere(t *testing.T) {
	if d.OpenElsewhere == nil {
		t.Skip("the driver's test has one machine only")
	}
	here, there := d.open(t), d.OpenElsewhere(t)
	t.Cleanup(func() { there.Close() })
	b := Binding(d.Purposes[0])
	if a, b := d.evidence(t, here, b), d.evidence(t, there, b); a.PlatformID == b.PlatformID {
		t.Errorf("two machines have one platform id, %s", a.PlatformID)
	}
	for name, r := range d.sealRequests() {
		if key(t, here, r) == key(t, there, r) {
			t.Errorf("%s: two machines have one key", name)
		}
	}
}

func (d *Driver) testContext(t *testing.T) {
	tee := d.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tee.Evidence(ctx, Binding(d.Purposes[0])); !errors.Is(err, context.Canceled) {
		t.Errorf("evidence with a cancelled context: %v", err)
	}
	if _, err := tee.SealKey(ctx, enclave.SealRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("key with a cancelled context: %v", err)
	}
	d.evidence(t, tee, Binding(d.Purposes[0])) // and it still works
}

func (d *Driver) testClose(t *testing.T) {
	tee := d.Open(t)
	if err := tee.Close(); err != nil {
		t.Error(err)
	}
	if _, err := tee.Evidence(t.Context(), Binding(d.Purposes[0])); err == nil {
		t.Error("evidence after Close")
	}
	if _, err := tee.SealKey(t.Context(), enclave.SealRequest{}); err == nil {
		t.Error("a key after Close")
	}
}

// testTogether uses one TEE from several goroutines: each gets its own answer.
func (d *Driver) testTogether(t *testing.T) {
	tee := d.open(t)
	var wg sync.WaitGroup
	results := make([][]byte, 16)
	errs := make([]error, len(results))
	binding := func(i int) *attest.Binding {
		b := Binding(d.Purposes[0])
		b.Subject = [32]byte{byte(i), 9}
		return b
	}
	for i := range results {
		wg.Go(func() { results[i], errs[i] = tee.Evidence(t.Context(), binding(i)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, raw := range results {
		data := binding(i).ReportData()
		if got := d.Verify(t, raw).Claims.ReportData; !bytes.Equal(got, data[:]) {
			t.Errorf("caller %d got the evidence of another", i)
		}
	}
}
