package dcap

import (
	"slices"
	"sync"
	"testing"
)

// TestAttestedKeysAreNotMixedUp sends quotes through a verifier that knows their
// attestation key, with one part exchanged each.
func TestAttestedKeysAreNotMixedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := NewVerifier(w.root, w.collateral(), false)
	failed := func(q *Quote) []string {
		t.Helper()
		r, err := v.Verify(w.marshal(q), now)
		if err != nil {
			t.Fatal(err)
		}
		return failedNames(r.Rules)
	}
	honest := w.quote()
	w.seal(honest)
	for range 2 {
		if f := failed(honest); f != nil {
			t.Fatalf("honest quote: failed %v", f)
		}
	}
	other := w.quote()
	w.attestationKey = newKey(t)
	w.seal(other)
	for name, tc := range map[string]struct {
		edit   func(q *Quote)
		failed []string
	}{
		"quote signature":     {func(q *Quote) { q.Signature[9] ^= 1 }, []string{"quote_signature"}},
		"report":              {func(q *Quote) { q.Report.ReportData[0] ^= 1 }, []string{"quote_signature"}},
		"QE report signature": {func(q *Quote) { q.QEReportSignature[9] ^= 1 }, []string{"qe_report_signature"}},
		"QE report":           {func(q *Quote) { q.QEReport.ISVSVN++ }, []string{"qe_report_signature"}},
		"authentication data": {func(q *Quote) { q.AuthData = []byte("other") }, []string{"qe_report_data"}},
		"attestation key":     {func(q *Quote) { q.AttestationKey = other.AttestationKey }, []string{"qe_report_data", "quote_signature"}},
		"key and signature":   {func(q *Quote) { q.AttestationKey, q.Signature = other.AttestationKey, other.Signature }, []string{"qe_report_data"}},
		"key off the curve":   {func(q *Quote) { q.AttestationKey[0] ^= 1 }, []string{"qe_report_data", "quote_signature"}},
	} {
		q := *honest
		tc.edit(&q)
		for range 2 { // the second time, whatever was remembered counts
			if f := failed(&q); !slices.Equal(f, tc.failed) {
				t.Errorf("%s: failed %v, wanted %v", name, f, tc.failed)
			}
		}
	}
	if f := failed(honest); f != nil {
		t.Errorf("honest quote, at last: failed %v", f)
	}
}

// TestAttestedKeysOfAnotherPlatform has two platforms whose quoting enclaves
// claim the same report and key.
func TestAttestedKeysOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := NewVerifier(w.root, w.collateral(), false)
	q := w.quote()
	raw := w.seal(q)
	if r, err := v.Verify(raw, now); err != nil || !r.OK() {
		t.Fatalf("refused: %v", err)
	}
	w.pckKey = newKey(t)
	w.issuePCK() // of another platform, under the same CA
	q.CertData = pemOf(w.pck, w.ca, w.root)
	r, err := v.Verify(w.marshal(q), now)
	if err != nil || !slices.Equal(failedNames(r.Rules), []string{"qe_report_signature"}) {
		t.Errorf("failed %v: %v", failedNames(r.Rules), err)
	}
}

func TestVerifierForManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newTDWorld(t)
	v := NewVerifier(w.root, w.collateral(), false)
	var raws [][]byte
	for range 2*maxAttestedKeys + 1 {
		w.attestationKey = newKey(t)
		raws = append(raws, w.seal(w.tdQuote(Version5, true)))
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 40 {
				if r, err := v.Verify(raws[(i+n)%len(raws)], now); err != nil || !r.OK() {
					t.Errorf("refused: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocations holds the promise of at most 20 allocations beyond the
// standard library's two verifications, and its reading of the key where that is new.
func TestAllocations(t *testing.T) {
	floor := testing.AllocsPerRun(20, twoSignatures(t))
	const readKey = 7 // ecdsa.ParseUncompressedPublicKey
	for name, kind := range kinds {
		w, q := kind(t)
		v := NewVerifier(w.root, w.collateral(), false)
		verify := func(raw []byte) {
			if r, err := v.Verify(raw, now); err != nil || !r.OK() {
				t.Errorf("refused: %v", err)
			}
		}
		raw := w.seal(q)
		if n := testing.AllocsPerRun(20, func() { verify(raw) }); n > floor+20 {
			t.Errorf("%s: %v allocations, at most %v wanted", name, n, floor+20)
		}
		var raws [][]byte
		for range 2 * maxAttestedKeys {
			w.attestationKey = newKey(t)
			raws = append(raws, w.seal(q))
		}
		i := 0
		if n := testing.AllocsPerRun(20, func() { verify(raws[i%len(raws)]); i++ }); n > floor+20+readKey {
			t.Errorf("%s with a new key: %v allocations, at most %v wanted", name, n, floor+20+readKey)
		}
	}
}
