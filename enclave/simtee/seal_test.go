package simtee

import (
	"bytes"
	"errors"
	"testing"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave"
)

func program1() identity {
	return identity{measurement: [32]byte{1}, signer: [32]byte{2}, prodID: 3, svn: 4, flags: dcap.FlagMode64, xfrm: 3}
}

func seal() enclave.SealRequest { return enclave.SealRequest{SVN: 4, KeyID: [32]byte{5}} }

func sealRequest(bySigner bool, svn uint16) enclave.SealRequest {
	return enclave.SealRequest{BySigner: bySigner, SVN: svn}
}

func mustSeal(t testing.TB, p *Platform, id identity, r enclave.SealRequest) []byte {
	t.Helper()
	k, err := p.sealKey(id, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(k) != 32 {
		t.Fatalf("key of %d bytes", len(k))
	}
	return k
}

// TestSealMatrix is T5: who gets the key of program 1, for each difference.
func TestSealMatrix(t *testing.T) {
	t.Parallel()
	p, other := newPlatform(t, 1, nil), newPlatform(t, 2, nil)
	for _, c := range []struct {
		name             string
		platform         *Platform
		edit             func(*identity)
		byMeasure, bySig bool // same key expected
	}{
		{"same program", p, func(*identity) {}, true, true},
		{"another machine", other, func(*identity) {}, false, false},
		{"new measurement, same signer", p, func(i *identity) { i.measurement[31] = 9 }, false, true},
		{"same measurement, another signer", p, func(i *identity) { i.signer[31] = 9 }, true, false},
		{"another product", p, func(i *identity) { i.prodID = 8 }, false, false},
		{"higher version", p, func(i *identity) { i.svn = 5 }, true, true},
		{"debug", p, func(i *identity) { i.flags |= dcap.FlagDebug }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			id := program1()
			c.edit(&id)
			for _, bySigner := range []bool{false, true} {
				r := seal()
				r.BySigner = bySigner
				want := c.byMeasure
				if bySigner {
					want = c.bySig
				}
				if same := bytes.Equal(mustSeal(t, p, program1(), r), mustSeal(t, c.platform, id, r)); same != want {
					t.Errorf("by signer %v: same key %v, wanted %v", bySigner, same, want)
				}
			}
		})
	}
}

func TestSealRequests(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, 1, nil)
	seen := map[string]string{}
	for name, edit := range map[string]func(*enclave.SealRequest){
		"plain":     func(*enclave.SealRequest) {},
		"by signer": func(r *enclave.SealRequest) { r.BySigner = true },
		"lower SVN": func(r *enclave.SealRequest) { r.SVN = 3 },
		"SVN 0":     func(r *enclave.SealRequest) { r.SVN = 0 },
		"key id":    func(r *enclave.SealRequest) { r.KeyID[31] = 1 },
	} {
		r := seal()
		edit(&r)
		k := string(mustSeal(t, p, program1(), r))
		if before, ok := seen[k]; ok {
			t.Errorf("%s and %s give one key", name, before)
		}
		seen[k] = name
	}
}

func TestSealRefusals(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, 1, nil)
	noProduct := program1()
	noProduct.prodID = 0
	bySigner := seal()
	bySigner.BySigner = true
	for _, c := range []struct {
		rule string
		id   identity
		r    enclave.SealRequest
	}{
		{"seal_svn", program1(), enclave.SealRequest{SVN: 5}},
		{"seal_svn", program1(), enclave.SealRequest{SVN: 65535, BySigner: true}},
		{"seal_product_id", noProduct, bySigner},
	} {
		_, err := p.sealKey(c.id, c.r)
		refused := (*RefusedError)(nil)
		if !errors.As(err, &refused) || refused.Rule != c.rule {
			t.Errorf("wanted rule %s, got %v", c.rule, err)
		}
	}
	mustSeal(t, p, noProduct, seal())
}
